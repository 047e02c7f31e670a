//! The open database: frames in, in durable groups; frames out, in order, put together from their pieces.

use std::fs::File;
use std::ops::RangeFrom;
use std::path::Path;

use sled::IVec;

use crate::catalog::Catalog;
use crate::database::{PIECE_BYTES, apply, guarded, open_sled, put, read_key, sled_error};
use crate::error::JournalError;
use crate::frame::announced_len;
use crate::layout::sync_dir;
use crate::lock::Lock;
use crate::options::Options;
use crate::scan::Part;

/// From this many frames on, two threads verify.
const PARALLEL_FROM_SEQ: u64 = 4096;

/// The open database and the lock that protects it.
#[derive(Debug)]
pub(crate) struct Store {
    db: sled::Db,
    file: File,
    // Released last: fields drop in order.
    _lock: Option<Lock>,
}

impl Store {
    /// Opens a database. `lock` is released with it; without one the caller holds it.
    pub(crate) fn open(path: &Path, lock: Option<Lock>) -> Result<Self, JournalError> {
        let (db, file) = open_sled(path)?;
        // sled has written its snapshot and wiped the rest of its last segment: settle that before the first append.
        file.sync_data()
            .map_err(|error| JournalError::io(path, error))?;
        sync_dir(path)?;
        Ok(Self {
            db,
            file,
            _lock: lock,
        })
    }

    /// A second handle of the database file, for reserving room.
    pub(crate) fn file(&self) -> Result<File, JournalError> {
        self.file.try_clone().map_err(|error| JournalError::Sled {
            during: "opening",
            why: error.to_string(),
        })
    }

    /// Stores frames; they are durable on return.
    pub(crate) fn put(&self, frames: &[(u64, Vec<u8>)]) -> Result<(), JournalError> {
        put(&self.db, &self.file, frames)
    }

    /// The frames from `from` to `to`, both included.
    pub(crate) fn frames(&self, from: u64, to: u64) -> StoredFrames {
        let start = self.row_of(from).to_be_bytes();
        let rows = match to.checked_add(1) {
            Some(end) if end > from => self.db.range(start..end.to_be_bytes()),
            Some(_) => self.db.range(start..start),
            None => self.db.range::<_, RangeFrom<[u8; 8]>>(start..),
        };
        StoredFrames {
            rows,
            rest: None,
            from,
            to,
            failed: false,
        }
    }

    /// The number under which the row that holds `seq` is stored: its own, or that of a frame shortly before it.
    fn row_of(&self, seq: u64) -> u64 {
        let Some(next) = seq.checked_add(1) else {
            return seq;
        };
        // What cannot be read here is told by the iteration itself.
        match guarded("reading", || self.db.get_lt(next.to_be_bytes())) {
            Ok(Some((key, _))) => read_key(&key).map_or(seq, |(row, _)| row),
            Ok(None) | Err(_) => seq,
        }
    }

    /// Verifies everything, with two threads when it is much.
    pub(crate) fn scan(&self, options: &Options) -> Result<Catalog, JournalError> {
        let last = guarded("reading", || self.db.last())?;
        let last = last.map_or(Ok(0), |(key, _)| read_key(&key).map(|(seq, _)| seq))?;
        let scan = |from: u64, to: u64| -> Result<Part, JournalError> {
            let mut part = Part::new(options.run_dir_name);
            for row in self.frames(from, to) {
                let (seq, bytes) = row?;
                part.push(seq, &bytes)?;
            }
            Ok(part)
        };
        if last < PARALLEL_FROM_SEQ {
            return scan(0, u64::MAX)?.finish();
        }
        let middle = last / 2;
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| scan(middle + 1, u64::MAX));
            (scan(0, middle), second.join())
        });
        let gave_up = || JournalError::Corrupt {
            seq: 0,
            what: "sled gave up while reading".to_owned(),
        };
        first?.join(second.map_err(|_| gave_up())??)?.finish()
    }

    /// Removes pieces of a large frame whose head was never written: it was never acknowledged.
    pub(crate) fn remove_orphans(&self, head_seq: u64) -> Result<(), JournalError> {
        let mut orphans = sled::Batch::default();
        let mut found = false;
        for row in self
            .db
            .range::<_, RangeFrom<[u8; 8]>>(head_seq.saturating_add(1).to_be_bytes()..)
        {
            let (key, _) = row.map_err(|error| sled_error("reading", &error))?;
            orphans.remove(key);
            found = true;
        }
        if found {
            apply(&self.db, &self.file, orphans)
        } else {
            Ok(())
        }
    }
}

/// Frames in order, taken out of their rows and put together from their pieces.
pub(crate) struct StoredFrames {
    rows: sled::Iter,
    /// Frames of the present row that are still to come, and the number of the first.
    rest: Option<(u64, IVec)>,
    from: u64,
    to: u64,
    failed: bool,
}

impl StoredFrames {
    fn row(&mut self) -> Option<Result<(IVec, IVec), JournalError>> {
        match guarded("reading", || self.rows.next().transpose()) {
            Ok(row) => row.map(Ok),
            Err(error) => Some(Err(error)),
        }
    }

    /// The next frame of a row; what follows it is kept.
    fn take(&mut self, seq: u64, row: IVec) -> Result<(u64, IVec), JournalError> {
        let shared = announced_len(&row).filter(|length| *length < row.len());
        let Some(length) = shared else {
            return self.assemble(seq, row);
        };
        self.rest = Some((seq + 1, row.subslice(length, row.len() - length)));
        Ok((seq, row.subslice(0, length)))
    }

    fn assemble(&mut self, seq: u64, head: IVec) -> Result<(u64, IVec), JournalError> {
        let Some(length) = announced_len(&head).filter(|length| *length > head.len()) else {
            return Ok((seq, head));
        };
        // A full head is followed by pieces; a shorter one is damaged and the frame's decoder says how.
        if head.len() != PIECE_BYTES {
            return Ok((seq, head));
        }
        let mut bytes = head.to_vec();
        while bytes.len() < length {
            let Some(row) = self.row() else { break };
            let (piece_key, piece) = row?;
            if read_key(&piece_key)? != (seq, false) {
                let what = "a piece of the frame is missing".to_owned();
                return Err(JournalError::Corrupt { seq, what });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((seq, IVec::from(bytes)))
    }
}

impl Iterator for StoredFrames {
    type Item = Result<(u64, IVec), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let frame = match self.rest.take() {
                Some((seq, rest)) => self.take(seq, rest),
                None => match self.row()? {
                    // A piece without head: of a large frame whose writing was cut off.
                    Ok((key, _)) if read_key(&key).is_ok_and(|(_, head)| !head) => continue,
                    Ok((key, row)) => read_key(&key).and_then(|(seq, _)| self.take(seq, row)),
                    Err(error) => Err(error),
                },
            };
            match &frame {
                Ok((seq, _)) if *seq < self.from => continue,
                Ok((seq, _)) if *seq > self.to => return None,
                Ok(_) => {}
                Err(_) => self.failed = true,
            }
            return Some(frame);
        }
        None
    }
}
