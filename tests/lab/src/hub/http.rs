//! As much of HTTP/1.1 as the lab's servers and clients need: one request for each connection.

use std::io::{Read, Write};

/// Longest head, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The head of a request or an answer.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// The words of the first line.
    pub(crate) words: Vec<String>,
    headers: Vec<(String, String)>,
    /// What was read beyond it.
    rest: Vec<u8>,
}

impl Head {
    /// The value of a header, by its name in lower case; empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// What a request asks for.
    pub(crate) fn target(&self) -> &str {
        self.words.get(1).map_or("/", String::as_str)
    }

    /// The host that a request names, without a port, in lower case.
    pub(crate) fn host(&self) -> String {
        let host = self.header("host");
        host.split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.words
            .get(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0)
    }
}

fn broken(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}

/// Reads a head; `None` when the other side closes before it says anything.
pub(crate) fn head(stream: &mut impl Read) -> std::io::Result<Option<Head>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0_u8; 4096]);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four: &[u8]| four == b"\r\n\r\n") {
            break at;
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(broken("the head is too long"));
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return if bytes.is_empty() {
                Ok(None)
            } else {
                Err(std::io::ErrorKind::UnexpectedEof.into())
            };
        }
        bytes.extend(buffer.iter().take(count));
    };
    let rest = bytes.split_off(end + 4);
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Some(Head {
        words: first.split_whitespace().map(str::to_owned).collect(),
        headers,
        rest,
    }))
}

/// Reads the body that belongs to a head; `answer`: one without a length goes on until the other side closes.
pub(crate) fn body(
    stream: &mut impl Read,
    head: &mut Head,
    answer: bool,
) -> std::io::Result<Vec<u8>> {
    let rest = std::mem::take(&mut head.rest);
    let mut from = std::io::Cursor::new(rest).chain(stream);
    let mut body = Vec::new();
    if head
        .header("transfer-encoding")
        .eq_ignore_ascii_case("chunked")
    {
        loop {
            let line = line(&mut from)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| broken("a chunk without a size"))?;
            exactly(&mut from, size, &mut body)?;
            if size == 0 {
                return Ok(body);
            }
            self::line(&mut from)?;
        }
    }
    match head.header("content-length").parse() {
        Ok(size) => exactly(&mut from, size, &mut body)?,
        Err(_) if answer && head.status() != 204 => {
            from.take(BODY_BYTES_MAX as u64).read_to_end(&mut body)?;
        }
        Err(_) => {}
    }
    Ok(body)
}

fn line(from: &mut impl Read) -> std::io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0_u8]);
    while line.len() < 100 {
        from.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(String::from_utf8_lossy(&line).trim().to_owned());
        }
        line.extend(byte);
    }
    Err(broken("a line is too long"))
}

fn exactly(from: &mut impl Read, size: usize, to: &mut Vec<u8>) -> std::io::Result<()> {
    if to.len().saturating_add(size) > BODY_BYTES_MAX {
        return Err(broken("the body is too long"));
    }
    let at = to.len();
    to.resize(at + size, 0);
    from.read_exact(to.get_mut(at..).unwrap_or_default())
}

/// Answers a request and says that the connection ends.
pub(crate) fn answer(stream: &mut impl Write, status: &str, body: &[u8]) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bodies_of_every_kind() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "abc"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
                "abc",
            ),
            ("HTTP/1.1 200 OK\r\n\r\nabc", "abc"),
        ] {
            let mut stream = text.as_bytes();
            let mut head = head(&mut stream).unwrap().unwrap();
            assert_eq!(head.status(), 200);
            let body = body(&mut stream, &mut head, true).unwrap();
            assert_eq!(String::from_utf8(body).unwrap(), expected);
        }
        let mut request = "GET /x HTTP/1.1\r\nHost: A.example:80\r\n\r\n".as_bytes();
        let mut head = head(&mut request).unwrap().unwrap();
        assert_eq!((head.target(), head.host().as_str()), ("/x", "a.example"));
        assert!(body(&mut request, &mut head, false).unwrap().is_empty());
        assert!(super::head(&mut &b""[..]).unwrap().is_none());
        assert!(super::head(&mut &b"GET"[..]).is_err());
    }
}
