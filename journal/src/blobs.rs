//! Captured output, stored once under its BLAKE3 hash.

use std::io;
use std::path::PathBuf;

use crate::error::JournalError;
use crate::layout::{create_dir, entries, sync_dir, write_atomic};
use crate::text::{hex, unhex};
use crate::types::Hash;

/// Largest blob, in bytes.
pub const BLOB_BYTES_MAX: usize = 16 << 20;

/// A stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRef {
    /// Its hash.
    pub hash: Hash,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The blobs of one installation: `out/<first 2 hex digits>/<64 hex digits>`.
#[derive(Debug, Clone)]
pub struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let name = hex(hash);
        let fan = name.get(..2).unwrap_or_default();
        self.dir.join(fan).join(&name)
    }

    /// Stores bytes durably; the same bytes are stored once.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobRef, JournalError> {
        if bytes.len() > BLOB_BYTES_MAX {
            let what = format!(
                "a blob has {} bytes, more than {BLOB_BYTES_MAX}",
                bytes.len()
            );
            return Err(JournalError::Batch { what });
        }
        let hash = *blake3::hash(bytes).as_bytes();
        let path = self.path(&hash);
        let stored = BlobRef {
            hash,
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        };
        // A file that is there may be a damaged one; storing the same again heals it.
        if fs_err::read(&path).is_ok_and(|found| found == bytes) {
            return Ok(stored);
        }
        if let Some(fan) = path.parent().filter(|fan| !fan.is_dir()) {
            create_dir(fan)?;
            sync_dir(&self.dir)?;
        }
        write_atomic(&path, bytes)?;
        Ok(stored)
    }

    /// Reads a blob and checks it against its hash; `None` when it is not there.
    pub fn get(&self, hash: &Hash) -> Result<Option<Vec<u8>>, JournalError> {
        let path = self.path(hash);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(JournalError::io(&path, error)),
        };
        if blake3::hash(&bytes).as_bytes() == hash {
            return Ok(Some(bytes));
        }
        let what = format!("the content of blob {} does not match its name", hex(hash));
        Err(JournalError::Corrupt { seq: 0, what })
    }

    /// The hashes of all blobs, by their names. Files with other names are not listed.
    pub(crate) fn names(&self) -> Result<Vec<Hash>, JournalError> {
        let mut hashes = Vec::new();
        for fan in entries(&self.dir)? {
            for path in entries(&fan)? {
                hashes.extend(
                    path.file_name()
                        .and_then(|name| unhex(&name.to_string_lossy())),
                );
            }
        }
        Ok(hashes)
    }
}
