//! Room reserved ahead of the writer, which makes a sync cheaper.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, fallocate};

use crate::database::SEGMENT_BYTES;

/// The reserve is looked after when this many bytes were written since the last look.
const RESERVE_CHECK_BYTES: u64 = 64 << 10;

/// Disk blocks reserved behind the end of sled's file. A sync of data that lands in reserved blocks need not write
/// the file system's own journal, which is half of its cost. Reserving never touches bytes that were written, and sled
/// takes the zeros behind its end for free segments.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: File,
    /// Where the reserved part ends, in bytes; 0 before the first look.
    end: u64,
    written: u64,
    broken: bool,
}

impl Reserve {
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            end: 0,
            written: RESERVE_CHECK_BYTES,
            broken: false,
        }
    }

    /// Looks after the reserve when enough was written.
    pub(crate) fn tend(&mut self, bytes: usize) {
        self.written += u64::try_from(bytes).unwrap_or(0) + 1024;
        if self.broken || self.written < RESERVE_CHECK_BYTES {
            return;
        }
        self.written = 0;
        if self.end == 0 || self.in_use(self.end.saturating_sub(2 * SEGMENT_BYTES)) {
            self.extend();
        }
    }

    /// Whether a segment begins with something; what cannot be read counts as used.
    fn in_use(&self, segment: u64) -> bool {
        let mut start = [0; 20];
        self.file.read_exact_at(&mut start, segment).is_err() || start != [0; 20]
    }

    fn extend(&mut self) {
        let Ok(metadata) = self.file.metadata() else {
            return;
        };
        // sled may have cut off free segments, and a part of the reserve with them.
        let from = metadata.len();
        let end = from
            .div_ceil(SEGMENT_BYTES)
            .saturating_add(3)
            .saturating_mul(SEGMENT_BYTES);
        match fallocate(&self.file, FallocateFlags::empty(), from, end - from) {
            Ok(()) => self.end = end,
            Err(error) => {
                // Not every file system can; a full disk shows at the next write.
                tracing::debug!(%error, "no room was reserved for the journal");
                self.broken = true;
            }
        }
    }
}
