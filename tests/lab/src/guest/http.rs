//! Just enough HTTP for services that ask each other how they are: one request per connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long another machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest request line and answer, in bytes.
const LONGEST: u64 = 1 << 20;

/// An answer: status and body.
pub(crate) type Reply = (u16, String);

/// Answers every request on a port with what `handle` says about its path, for ever.
pub(crate) fn serve(
    listener: &TcpListener,
    handle: impl Fn(&str, &mut TcpStream) -> Option<Reply> + Send + Sync + 'static,
) {
    let handle = std::sync::Arc::new(handle);
    for stream in listener.incoming().flatten() {
        let handle = std::sync::Arc::clone(&handle);
        // A client that goes away in the middle is its own concern.
        std::thread::spawn(move || {
            let _ = one(stream, &*handle);
        });
    }
}

fn one(
    mut stream: TcpStream,
    handle: &dyn Fn(&str, &mut TcpStream) -> Option<Reply>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?.take(LONGEST)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
    // `None`: the handler has spoken itself.
    let Some((status, body)) = handle(&path, &mut stream) else {
        return Ok(());
    };
    let words = if status == 200 { "OK" } else { "Not so" };
    let head = format!(
        "HTTP/1.1 {status} {words}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// Listens on all addresses.
pub(crate) fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("0.0.0.0", port))
}

/// A connection to a machine, by name or address.
pub(crate) fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "no address");
    let address = (host, port).to_socket_addrs()?.next().ok_or_else(none)?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What a machine answers to a path, if it answers and says yes.
pub(crate) fn get(host: &str, port: u16, path: &str) -> Option<String> {
    let mut stream = connect(host, port).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.take(LONGEST).read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_and_the_other_answers() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            serve(&listener, |path, _| {
                Some(if path == "/a" {
                    (200, "b\n".to_owned())
                } else {
                    (404, String::new())
                })
            });
        });
        assert_eq!(get("127.0.0.1", port, "/a").as_deref(), Some("b\n"));
        assert_eq!(get("127.0.0.1", port, "/c"), None);
    }
}
