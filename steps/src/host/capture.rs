//! Bounded capture of a stream, and its lines as they come.

use std::collections::VecDeque;

use super::{LineSink, OUTPUT_BYTES_MAX};

/// Longest line that is passed on whole, in bytes.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Keeps head and tail of a stream.
#[derive(Debug, Default)]
pub(super) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
    line: Vec<u8>,
}

impl Capture {
    /// Takes bytes; complete lines go to `line`.
    pub(super) fn push(&mut self, bytes: &[u8], line: LineSink<'_>) {
        let half = OUTPUT_BYTES_MAX / 2;
        let room = half.saturating_sub(self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(half);
        self.tail.drain(..over);
        self.dropped += over as u64;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= LINE_BYTES_MAX {
                self.flush(line);
            }
        }
    }

    /// Notes that bytes are missing here: whoever captured them first kept only their end.
    pub(super) fn skip(&mut self, bytes: u64) {
        if bytes > 0 {
            self.dropped += bytes + self.tail.len() as u64;
            self.tail.clear();
        }
    }

    /// Passes on what is left of an unfinished line.
    pub(super) fn flush(&mut self, line: LineSink<'_>) {
        if !self.line.is_empty() {
            let text = String::from_utf8_lossy(&self.line);
            line(text.trim_end_matches(['\n', '\r']));
            self.line.clear();
        }
    }

    /// All bytes, the middle replaced by a note if there were too many.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.head;
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n… {} bytes left out …\n", self.dropped).as_bytes());
        }
        bytes.extend(self.tail);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn lines_and_bounds() {
        let lines = Mutex::new(Vec::new());
        let sink = |text: &str| lines.lock().unwrap().push(text.to_owned());
        let mut capture = Capture::default();
        for bytes in ["a", "b\nc\r\n", "\nd"] {
            capture.push(bytes.as_bytes(), &sink);
        }
        capture.flush(&sink);
        assert_eq!(*lines.lock().unwrap(), ["ab", "c", "", "d"]);
        assert_eq!(capture.into_bytes(), b"ab\nc\r\n\nd");
        let mut capture = Capture::default();
        for _ in 0..80 {
            capture.push(&vec![b'x'; 1 << 16], &|_| {});
        }
        let bytes = capture.into_bytes();
        assert!(bytes.len() < OUTPUT_BYTES_MAX + 100);
        assert!(String::from_utf8_lossy(&bytes).contains("… 1048576 bytes left out …"));
    }
}
