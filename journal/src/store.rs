//! The sled database: opened with its traps closed, written in durable batches, read in order.

use std::fs::File;
use std::ops::RangeFrom;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use sled::IVec;

use crate::catalog::Catalog;
use crate::copy;
use crate::error::JournalError;
use crate::frame::announced_len;
use crate::layout::{Layout, create_dir, entries, sync_dir, sync_tree, write_atomic};
use crate::lock::Lock;
use crate::options::Options;
use crate::own::{JOURNAL_CREATED, JournalCreated, NO_RUN};
use crate::scan::Part;
use crate::types::Frame;

/// A frame is stored in pieces of this size, so that 17 of them, the most a sled leaf holds, stay well below the
/// size (a quarter of a segment) above which sled moves a page into a file of its own that it never syncs the name of.
pub(crate) const PIECE_BYTES: usize = 4096;
/// sled's segment size in bytes; its default. It cannot change during a database's life.
pub(crate) const SEGMENT_BYTES: u64 = 512 << 10;
/// Memory for sled's page cache, in bytes.
const CACHE_BYTES: u64 = 16 << 20;
/// Pieces in one database batch of a large frame, so that every batch stays within one segment.
const PIECES_PER_BATCH: usize = 32;
/// How often, and how long apart in milliseconds, sled's own lock is tried.
const REOPEN_TRIES: u32 = 1000;
const REOPEN_WAIT_MS: u64 = 2;
/// From this many frames on, two threads verify.
const PARALLEL_FROM_SEQ: u64 = 4096;
/// What sled 0.34 writes into `db/conf` for our settings, with its checksum. sled writes it without a sync and in two
/// pieces, and refuses to open when only the first arrived.
pub(crate) const CONF: &[u8] =
    b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n\x76\x19\x51\xc1";

/// What opening did and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// Whether the journal was created.
    pub created: bool,
    /// Frames whose hash and place in both chains were verified.
    pub frames: u64,
    /// Runs among them, without imported ones.
    pub runs: u64,
    /// Names of unfinished files that were removed, or of files that were finished.
    pub leftovers: Vec<String>,
    /// Runs whose `events.jsonl` was completed or written anew, with the reason.
    pub copies_repaired: Vec<String>,
    /// Duration in milliseconds.
    pub took_ms: u64,
}

/// What opening is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Create when absent, repair copies, write.
    Write,
    /// Only read. sled itself still writes while it opens.
    Read,
}

/// The open database and the lock that protects it.
#[derive(Debug)]
pub(crate) struct Store {
    db: sled::Db,
    file: File,
    // Released last: fields drop in order.
    _lock: Lock,
}

/// Everything that opening yields.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    pub(crate) catalog: Catalog,
    pub(crate) opening: Opening,
}

/// Takes the lock, cleans up, opens and verifies.
pub(crate) fn open(
    layout: &Layout,
    options: &Options,
    access: Access,
) -> Result<Opened, JournalError> {
    let started_ms = (options.now_ms)();
    let mut opening = Opening::default();
    if access == Access::Write {
        layout.ensure()?;
    } else if !layout.dir.is_dir() {
        return Err(JournalError::Missing {
            path: layout.dir.clone(),
        });
    }
    let lock = Lock::take(&layout.lock(), options)?;
    layout.check_space(options.space_min_bytes)?;
    clean(layout, &mut opening.leftovers)?;
    if !layout.db().is_dir() {
        refuse_lost_database(layout)?;
        if access == Access::Read {
            return Err(JournalError::Missing {
                path: layout.dir.clone(),
            });
        }
        create(layout, options)?;
        opening.created = true;
    }
    let store = Store::open(&layout.db(), lock)?;
    let catalog = store.scan(options)?;
    if access == Access::Write {
        store.remove_orphans(catalog.head_seq)?;
    }
    copy::check_all(
        layout,
        options,
        &store,
        &catalog,
        access,
        &mut opening.copies_repaired,
    )?;
    opening.frames = catalog
        .runs
        .values()
        .map(|state| state.summary.frames)
        .sum();
    opening.runs = u64::try_from(
        catalog
            .summaries()
            .iter()
            .filter(|run| !run.imported)
            .count(),
    )
    .unwrap_or(0);
    opening.took_ms = (options.now_ms)().saturating_sub(started_ms);
    Ok(Opened {
        store: Arc::new(store),
        catalog,
        opening,
    })
}

/// Removes what an interrupted process left, and finishes an interrupted recovery.
fn clean(layout: &Layout, leftovers: &mut Vec<String>) -> Result<(), JournalError> {
    let remove_tree =
        |path: &Path| fs_err::remove_dir_all(path).map_err(|error| JournalError::io(path, error));
    if layout.db_creating().is_dir() {
        remove_tree(&layout.db_creating())?;
        leftovers.push("db.creating".to_owned());
    }
    if layout.db_recovering().is_dir() {
        if layout.db().is_dir() {
            remove_tree(&layout.db_recovering())?;
        } else {
            // It was complete and durable before the old database was moved aside.
            rename_durably(&layout.db_recovering(), &layout.db(), &layout.dir)?;
        }
        leftovers.push("db.recovering".to_owned());
    }
    for path in entries(&layout.db())? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".generating") || name.starts_with('.') {
            fs_err::remove_file(&path).map_err(|error| JournalError::io(&path, error))?;
            leftovers.push(format!("db/{name}"));
        }
    }
    let conf = layout.db().join("conf");
    if layout.db().is_dir() && fs_err::read(&conf).map_or(true, |found| found != CONF) {
        write_atomic(&conf, CONF)?;
        leftovers.push("db/conf".to_owned());
    }
    Ok(())
}

/// A journal without database is new only if no copy says otherwise.
fn refuse_lost_database(layout: &Layout) -> Result<(), JournalError> {
    for path in layout.copies()? {
        if copy::tail(&path)?.last.is_some() {
            let what = format!("the database is missing, but {} is there", path.display());
            return Err(JournalError::Corrupt { seq: 1, what });
        }
    }
    Ok(())
}

/// Creates the database with its first event; it appears under its name when it is durable.
fn create(layout: &Layout, options: &Options) -> Result<(), JournalError> {
    let body = JournalCreated {
        installation: *uuid::Uuid::now_v7().as_bytes(),
        tool: options.tool.clone(),
    };
    let body = crate::codec::encode(&body).map_err(|what| JournalError::Batch { what })?;
    let (frame, bytes) = Frame {
        seq: 1,
        run_seq: 1,
        run: NO_RUN,
        time_ms: (options.now_ms)(),
        actor: options.user.clone(),
        kind: JOURNAL_CREATED,
        prev: [0; 32],
        run_prev: [0; 32],
        body,
        hash: [0; 32],
    }
    .sealed()?;
    build(&layout.db_creating(), std::iter::once((frame.seq, bytes)))?;
    rename_durably(&layout.db_creating(), &layout.db(), &layout.dir)
}

/// Renames inside the state directory and makes it last.
pub(crate) fn rename_durably(from: &Path, to: &Path, dir: &Path) -> Result<(), JournalError> {
    fs_err::rename(from, to).map_err(|error| JournalError::io(from, error))?;
    sync_dir(dir)
}

/// Writes a whole database into a new directory and makes every file and name of it durable.
pub(crate) fn build(
    path: &Path,
    frames: impl Iterator<Item = (u64, Vec<u8>)>,
) -> Result<(), JournalError> {
    create_dir(path)?;
    write_atomic(&path.join("conf"), CONF)?;
    let (db, file) = open_sled(path)?;
    let mut group = Vec::new();
    for frame in frames {
        group.push(frame);
        if group.len() == PIECES_PER_BATCH {
            put(&db, &file, &group)?;
            group.clear();
        }
    }
    put(&db, &file, &group)?;
    guarded("closing", move || {
        drop(db);
        Ok(())
    })?;
    sync_tree(path)
}

/// Runs a sled call; a panic inside sled, its answer to some damage, becomes an error.
fn guarded<T>(
    during: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, JournalError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(sled_error(during, &error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = format!("sled gave up while {during}: {}", text.unwrap_or_default());
            Err(JournalError::Corrupt { seq: 0, what })
        }
    }
}

fn sled_error(during: &'static str, error: &sled::Error) -> JournalError {
    match error {
        sled::Error::Corruption { .. } => {
            let what = format!("sled found damage while {during}: {error}");
            JournalError::Corrupt { seq: 0, what }
        }
        other => JournalError::Sled {
            during,
            why: other.to_string(),
        },
    }
}

fn open_sled(path: &Path) -> Result<(sled::Db, File), JournalError> {
    let config = sled::Config::new()
        .path(path)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(500));
    let db = open_patiently(&config)?;
    let file = path.join("db");
    let mut open = File::options();
    let file = open
        .read(true)
        .write(true)
        .open(&file)
        .map_err(|error| JournalError::io(&file, error))?;
    Ok((db, file))
}

/// Opens sled; waits a moment for its own lock. sled's helper threads can hold a closed database's file a little longer,
/// so that reopening it in the same process fails now and then. No other process can be in the way: ours is the lock.
fn open_patiently(config: &sled::Config) -> Result<sled::Db, JournalError> {
    for _ in 0..REOPEN_TRIES {
        match guarded("opening", || config.open()) {
            Err(JournalError::Sled { why, .. }) if why.contains("could not acquire lock") => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "waits for a thread of sled; no clock of ours is concerned"
                )]
                std::thread::sleep(std::time::Duration::from_millis(REOPEN_WAIT_MS));
            }
            other => return other,
        }
    }
    guarded("opening", || config.open())
}

/// Stores frames durably. Continuation pieces go first, in batches of their own; the heads, which make the frames
/// visible, go last and together.
fn put(db: &sled::Db, file: &File, frames: &[(u64, Vec<u8>)]) -> Result<(), JournalError> {
    let mut heads = sled::Batch::default();
    let mut pieces = sled::Batch::default();
    let mut waiting = 0;
    for (seq, bytes) in frames {
        let mut chunks = bytes.chunks(PIECE_BYTES);
        heads.insert(&seq.to_be_bytes(), chunks.next().unwrap_or_default());
        for (number, chunk) in (1_u16..).zip(chunks) {
            pieces.insert(&piece_key(*seq, number), chunk);
            waiting += 1;
            if waiting == PIECES_PER_BATCH {
                apply(db, file, std::mem::take(&mut pieces))?;
                waiting = 0;
            }
        }
    }
    if waiting > 0 {
        apply(db, file, pieces)?;
    }
    if frames.is_empty() {
        Ok(())
    } else {
        apply(db, file, heads)
    }
}

/// One batch, durable on return. sled's `flush` only starts the writing on Linux; the sync is ours.
fn apply(db: &sled::Db, file: &File, batch: sled::Batch) -> Result<(), JournalError> {
    guarded("writing", || {
        db.apply_batch(batch)?;
        db.flush()
    })?;
    let sync = |error: std::io::Error| JournalError::Sled {
        during: "syncing",
        why: error.to_string(),
    };
    file.sync_data().map_err(sync)
}

fn piece_key(seq: u64, number: u16) -> [u8; 10] {
    let mut key = [0; 10];
    let (head, tail) = key.split_at_mut(8);
    head.copy_from_slice(&seq.to_be_bytes());
    tail.copy_from_slice(&number.to_be_bytes());
    key
}

/// Reads a key: sequence number, and whether it is a head.
fn read_key(key: &[u8]) -> Result<(u64, bool), JournalError> {
    let strange = || JournalError::Corrupt {
        seq: 0,
        what: "the database holds a strange key".to_owned(),
    };
    let (seq, rest) = key.split_first_chunk::<8>().ok_or_else(strange)?;
    match rest.len() {
        0 => Ok((u64::from_be_bytes(*seq), true)),
        2 => Ok((u64::from_be_bytes(*seq), false)),
        _ => Err(strange()),
    }
}

impl Store {
    fn open(path: &Path, lock: Lock) -> Result<Self, JournalError> {
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
        let start = from.to_be_bytes();
        let rows = match to.checked_add(1) {
            Some(end) if end > from => self.db.range(start..end.to_be_bytes()),
            Some(_) => self.db.range(start..start),
            None => self.db.range::<_, RangeFrom<[u8; 8]>>(start..),
        };
        StoredFrames {
            rows,
            failed: false,
        }
    }

    /// Verifies everything, with two threads when it is much.
    fn scan(&self, options: &Options) -> Result<Catalog, JournalError> {
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
    fn remove_orphans(&self, head_seq: u64) -> Result<(), JournalError> {
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

/// Frames in order, put together from their pieces.
pub(crate) struct StoredFrames {
    rows: sled::Iter,
    failed: bool,
}

impl StoredFrames {
    fn row(&mut self) -> Option<Result<(IVec, IVec), JournalError>> {
        match guarded("reading", || self.rows.next().transpose()) {
            Ok(row) => row.map(Ok),
            Err(error) => Some(Err(error)),
        }
    }

    fn assemble(&mut self, key: &IVec, head: IVec) -> Result<(u64, IVec), JournalError> {
        let (seq, _) = read_key(key)?;
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
            let frame = match self.row()? {
                // A piece without head: of a large frame whose writing was cut off.
                Ok((key, _)) if read_key(&key).is_ok_and(|(_, head)| !head) => continue,
                Ok((key, head)) => self.assemble(&key, head),
                Err(error) => Err(error),
            };
            self.failed = frame.is_err();
            return Some(frame);
        }
        None
    }
}
