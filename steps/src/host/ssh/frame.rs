//! Frames between wiab and its helper: a length, and fields with a length each.

/// Longest frame, in bytes; the helper refuses longer ones, too.
pub(super) const FRAME_BYTES_MAX: usize = 64 << 20;

/// What the helper says first, so that what a login shell prints before is not mistaken for frames.
pub(super) const GREETING: &[u8] = b"\nwiab-helper 1\n";

/// Most bytes that may come before the greeting.
const NOISE_BYTES_MAX: usize = 64 << 10;

/// Not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came is no frame")]
pub(super) struct Garbled;

/// One frame of these fields; `None` if it is too long.
pub(super) fn encode(fields: &[&[u8]]) -> Option<Vec<u8>> {
    let length: usize = fields.iter().map(|field| field.len() + 4).sum();
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let mut frame = Vec::with_capacity(length + 4);
    put(&mut frame, length)?;
    for field in fields {
        put(&mut frame, field.len())?;
        frame.extend_from_slice(field);
    }
    Some(frame)
}

fn put(frame: &mut Vec<u8>, length: usize) -> Option<()> {
    frame.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    Some(())
}

/// What was taken, and what is left.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Takes a length and that many bytes from the front; `None` if they are not there yet.
fn chunk(bytes: &[u8]) -> Result<Option<Split<'_>>, Garbled> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*head)).map_err(|_| Garbled)?;
    if length > FRAME_BYTES_MAX {
        return Err(Garbled);
    }
    Ok(rest.split_at_checked(length))
}

/// Puts frames together from what comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    greeted: bool,
}

impl Decoder {
    /// Takes bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame's fields.
    pub(super) fn frame(&mut self) -> Result<Option<Vec<Vec<u8>>>, Garbled> {
        if !self.greeted && !self.greeting()? {
            return Ok(None);
        }
        let Some((frame, rest)) = chunk(&self.bytes)? else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        let mut left = frame;
        while !left.is_empty() {
            let (field, after) = chunk(left)?.ok_or(Garbled)?;
            fields.push(field.to_vec());
            left = after;
        }
        let used = self.bytes.len() - rest.len();
        self.bytes.drain(..used);
        Ok(Some(fields))
    }

    fn greeting(&mut self) -> Result<bool, Garbled> {
        let mut windows = self.bytes.windows(GREETING.len());
        if let Some(at) = windows.position(|window| window == GREETING) {
            self.bytes.drain(..at + GREETING.len());
            self.greeted = true;
        } else if self.bytes.len() > NOISE_BYTES_MAX {
            return Err(Garbled);
        }
        Ok(self.greeted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_from_any_pieces() {
        let wanted: [&[&[u8]]; 3] = [&[b"1", b"run", b""], &[b"\0\xff", b"x"], &[b""]];
        let mut wire = b"Welcome!\n".to_vec();
        wire.extend_from_slice(GREETING);
        for fields in wanted {
            wire.extend(encode(fields).unwrap());
        }
        for size in 1..wire.len() {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in wire.chunks(size) {
                decoder.push(piece);
                while let Some(fields) = decoder.frame().unwrap() {
                    found.push(fields);
                }
            }
            assert_eq!(found, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        let mut decoder = Decoder::default();
        decoder.push(&vec![b'x'; NOISE_BYTES_MAX + 1]);
        assert_eq!(decoder.frame(), Err(Garbled));
        let mut decoder = Decoder::default();
        decoder.push(GREETING);
        decoder.push(&[0xff; 8]);
        assert_eq!(decoder.frame(), Err(Garbled));
        // A field that is longer than its frame.
        let mut decoder = Decoder::default();
        decoder.push(GREETING);
        decoder.push(&[0, 0, 0, 5, 0, 0, 0, 9, 1]);
        assert_eq!(decoder.frame(), Err(Garbled));
        assert_eq!(encode(&[&vec![0; FRAME_BYTES_MAX]]), None);
    }
}
