//! Sockets that listen, as `ss` lists them.

use wiab_engine::outcome::Failure;

use crate::host::Cmd;
use crate::host::shell::Shell;

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    /// `tcp` or `udp`.
    pub(super) protocol: String,
    /// Its address without interface and brackets; `0.0.0.0`, `*` and `::` are all addresses.
    pub(super) address: String,
    /// Its port.
    pub(super) port: u16,
    /// The process; empty for the kernel's own, such as a tunnel's.
    pub(super) process: String,
}

impl Socket {
    /// Whether it takes what comes to every address.
    pub(super) fn everywhere(&self) -> bool {
        matches!(self.address.as_str(), "0.0.0.0" | "*" | "::")
    }

    /// Whether only this machine reaches it.
    pub(super) fn is_local(&self) -> bool {
        self.address.starts_with("127.") || self.address == "::1"
    }

    /// For people: the process, if it has one.
    pub(super) fn whose(&self) -> &str {
        if self.process.is_empty() {
            "the kernel"
        } else {
            &self.process
        }
    }
}

fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace();
    let protocol = fields.next()?;
    let (address, port) = fields.nth(3)?.rsplit_once(':')?;
    let (address, _interface) = address.split_once('%').unwrap_or((address, ""));
    let process = line
        .split_once("((\"")
        .and_then(|(_, rest)| rest.split('"').next());
    Some(Socket {
        protocol: protocol.to_owned(),
        address: address.trim_matches(['[', ']']).to_owned(),
        port: port.parse().ok()?,
        process: process.unwrap_or_default().to_owned(),
    })
}

/// All listening sockets; `None` without `ss`.
pub(super) async fn listening(sh: Shell<'_>) -> Result<Option<Vec<Socket>>, Failure> {
    let ss = Cmd::new(["ss", "-H", "-l", "-n", "-t", "-u", "-p"]).root();
    let Some(output) = sh.probe(&ss).await? else {
        return Ok(None);
    };
    if !output.ok() {
        return Err(Failure::clean(format!("ss: {}", output.error_text())));
    }
    Ok(Some(output.text().lines().filter_map(socket).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ss_are_read() {
        let cases = [
            (
                "udp   UNCONN 0      0          127.0.0.53%lo:53         0.0.0.0:*    users:((\"systemd-resolve\",pid=812,fd=13))",
                ("udp", "127.0.0.53", 53, "systemd-resolve"),
            ),
            (
                "tcp   LISTEN 0      128             [::]:22           [::]:*    users:((\"sshd\",pid=900,fd=4))",
                ("tcp", "::", 22, "sshd"),
            ),
            (
                "udp   UNCONN 0      0            0.0.0.0:51820      0.0.0.0:*",
                ("udp", "0.0.0.0", 51_820, ""),
            ),
            (
                "tcp   LISTEN 0      511                *:80                *:*    users:((\"apache2\",pid=1,fd=4),(\"apache2\",pid=2,fd=4))",
                ("tcp", "*", 80, "apache2"),
            ),
        ];
        for (line, (protocol, address, port, process)) in cases {
            let found = socket(line).unwrap();
            assert_eq!(
                (
                    &*found.protocol,
                    &*found.address,
                    found.port,
                    &*found.process
                ),
                (protocol, address, port, process),
                "{line}"
            );
        }
        assert_eq!(socket("Netid State"), None);
    }
}
