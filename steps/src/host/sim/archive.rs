//! Tar archives of the simulated machine: those of releases, which are made of nothing, and small real ones.

use super::artifact::{self, Member};
use super::entity::Data;

const BLOCK: usize = 512;

/// Largest real archive, in bytes.
const ARCHIVE_BYTES_MAX: u64 = 1 << 20;

/// Files of an archive, by name.
type Members = Vec<(String, Vec<u8>)>;

/// The members of an archive; `None` for what is none.
pub(crate) fn members(data: &Data) -> Option<Vec<Member>> {
    if let Some(members) = artifact::archive(data) {
        return Some(members);
    }
    let files = unpack(&data.bytes(ARCHIVE_BYTES_MAX)?)?;
    let member = |(path, content): (String, Vec<u8>)| Member {
        path,
        mode: 0o644,
        data: Data::of(&content),
    };
    Some(files.into_iter().map(member).collect())
}

/// An archive of regular files.
pub(crate) fn pack(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        bytes.extend_from_slice(&header(name, content.len()));
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

fn header(name: &str, len: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        for (slot, byte) in block.iter_mut().skip(at).zip(text.bytes()) {
            *slot = byte;
        }
    };
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{len:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let mut put = |at: usize, text: &str| {
        for (slot, byte) in block.iter_mut().skip(at).zip(text.bytes()) {
            *slot = byte;
        }
    };
    put(148, &format!("{sum:06o}\0 "));
    block
}

/// The regular files of an archive; `None` for what is none.
fn unpack(bytes: &[u8]) -> Option<Members> {
    let (mut members, mut at) = (Vec::new(), 0);
    loop {
        let block = bytes.get(at..at + BLOCK)?;
        if block.iter().all(|byte| *byte == 0) {
            return Some(members);
        }
        if block.get(257..262)? != b"ustar" {
            return None;
        }
        let text = |range: std::ops::Range<usize>| {
            let field = block.get(range).unwrap_or_default();
            let end = field.iter().position(|byte| *byte == 0);
            let field = field.get(..end.unwrap_or(field.len())).unwrap_or_default();
            String::from_utf8_lossy(field).trim().to_owned()
        };
        let len = usize::from_str_radix(&text(124..136), 8).ok()?;
        let content = bytes.get(at + BLOCK..at + BLOCK + len)?;
        if matches!(block.get(156), Some(b'0' | 0)) {
            members.push((text(0..100), content.to_vec()));
        }
        at += BLOCK + len.next_multiple_of(BLOCK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let members: [(&str, &[u8]); 3] = [
            ("manifest.json", b"[]"),
            ("a/b.json", &[7; 512]),
            ("empty", b""),
        ];
        let bytes = pack(&members);
        assert_eq!(bytes.len() % BLOCK, 0);
        let found = unpack(&bytes).unwrap();
        let wanted: Members = members
            .iter()
            .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
            .collect();
        assert_eq!(found, wanted);
        assert_eq!(unpack(b"no archive"), None);
        assert_eq!(unpack(bytes.get(..600).unwrap()), None);
    }
}
