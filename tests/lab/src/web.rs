//! A web server that tells who it is and who asked: stands for the ingress controller of a node.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::error::Result;

/// The port of the ingress controller on every node.
const PORT: u16 = 31_772;
/// Longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves on every address until it is killed.
pub(crate) fn serve(name: &str) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;
    for stream in listener.incoming().flatten() {
        let name = name.to_owned();
        // A client that goes away is its own affair.
        std::thread::spawn(move || answer(stream, &name).is_ok());
    }
    Ok(())
}

fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut request, mut buffer) = (Vec::<u8>::new(), [0; 1024]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut buffer)?;
        if count == 0 || request.len() > REQUEST_BYTES_MAX {
            return Ok(());
        }
        request.extend(buffer.iter().take(count));
    }
    let body = format!("{name} {}\n", stream.peer_addr()?.ip());
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
