//! Addresses of names, from the name server that the whole lab asks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The server that pods ask in a real cluster; complaints name it.
const POD_SERVER: &str = "169.254.25.10:53";

/// The address of a name; the error is in the words of Go's resolver.
pub(super) fn address(server: SocketAddr, name: &str) -> Result<IpAddr, String> {
    let say = |what: &str| format!("dial tcp: lookup {name} on {POD_SERVER}: {what}");
    let answer = ask(server, name).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            format!("dial tcp: lookup {name} on {POD_SERVER}: read udp {POD_SERVER}: i/o timeout")
        }
        _ => say("server misbehaving"),
    })?;
    // The last four bits of the flags.
    match answer.get(3).map(|byte| byte & 15) {
        Some(0) => read(&answer)
            .map(IpAddr::V4)
            .ok_or_else(|| say("no such host")),
        Some(3) => Err(say("no such host")),
        _ => Err(say("server misbehaving")),
    }
}

fn ask(server: SocketAddr, name: &str) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&question(name), server)?;
    let mut buffer = vec![0; 1_500];
    let (count, _) = socket.recv_from(&mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

/// A question for the A record: recursion desired, one question.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x57, 0x42, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend(label.bytes().take(63));
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The first A record of an answer.
fn read(answer: &[u8]) -> Option<Ipv4Addr> {
    let number = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    let (questions, answers) = (number(4)?, number(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(answer, at)? + 4;
    }
    for _ in 0..answers {
        at = after_name(answer, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = answer.get(at + 10..at + 10 + length)?;
        if let (1, [a, b, c, d]) = (kind, data) {
            return Some(Ipv4Addr::new(*a, *b, *c, *d));
        }
        at += 10 + length;
    }
    None
}

/// Where a name ends: after its empty label, or after a pointer.
fn after_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            length if length >= 192 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer_with_an_alias_before_the_address() {
        let mut answer = question("a.example");
        answer.splice(2..8, [0x81, 0x80, 0, 1, 0, 2]);
        let alias = [192, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 192, 14];
        let address = [192, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7];
        answer.extend(alias);
        answer.extend(address);
        assert_eq!(read(&answer), Some(Ipv4Addr::new(192, 0, 2, 7)));
        assert_eq!(read(&answer[..answer.len() - 1]), None);
        assert_eq!(read(&question("a.example")), None);
    }
}
