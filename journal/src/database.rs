//! The only place that talks to sled's configuration and write path: opening, durable batches, and the keys.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use crate::error::JournalError;
use crate::layout::{create_dir, sync_tree, write_atomic};

/// A frame is stored in pieces of this size, so that 17 of them, the most a sled leaf holds, stay well below the
/// size (a quarter of a segment) above which sled moves a page into a file of its own that it never syncs the name of.
pub(crate) const PIECE_BYTES: usize = 4096;
/// sled's segment size in bytes; its default. It cannot change during a database's life.
pub(crate) const SEGMENT_BYTES: u64 = 512 << 10;
/// Memory for sled's page cache, in bytes.
const CACHE_BYTES: u64 = 16 << 20;
/// Pieces in one database batch of a large frame, so that every batch stays within one segment.
pub(crate) const PIECES_PER_BATCH: usize = 32;
/// How often, and how long apart in milliseconds, sled's own lock is tried.
const REOPEN_TRIES: u32 = 1000;
const REOPEN_WAIT_MS: u64 = 2;
/// What sled 0.34 writes into `db/conf` for our settings, with its checksum. sled writes it without a sync and in two
/// pieces, and refuses to open when only the first arrived.
pub(crate) const CONF: &[u8] =
    b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n\x76\x19\x51\xc1";

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

thread_local! {
    /// Whether this thread is inside sled, whose panics are caught and told as errors.
    static INSIDE_SLED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics that become errors from being printed as well. Everything else goes to the hook that was there.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if INSIDE_SLED.get() {
                tracing::debug!(%panic, "sled gave up");
            } else {
                usual(panic);
            }
        }));
    });
}

/// Runs a sled call; a panic inside sled, its answer to some damage, becomes an error.
pub(crate) fn guarded<T>(
    during: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, JournalError> {
    hush();
    INSIDE_SLED.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    INSIDE_SLED.set(false);
    match result {
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

pub(crate) fn sled_error(during: &'static str, error: &sled::Error) -> JournalError {
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

pub(crate) fn open_sled(path: &Path) -> Result<(sled::Db, File), JournalError> {
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
pub(crate) fn open_patiently(config: &sled::Config) -> Result<sled::Db, JournalError> {
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
///
/// Frames that fit share a row: one row needs one write, while sled writes and waits twice for a batch.
pub(crate) fn put(
    db: &sled::Db,
    file: &File,
    frames: &[(u64, Vec<u8>)],
) -> Result<(), JournalError> {
    let mut heads: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut pieces = sled::Batch::default();
    let mut waiting = 0;
    for (seq, bytes) in frames {
        let mut chunks = bytes.chunks(PIECE_BYTES);
        let head = chunks.next().unwrap_or_default();
        match heads.last_mut() {
            // Never quite full: a full row announces pieces.
            Some((_, row)) if row.len() + head.len() < PIECE_BYTES => row.extend_from_slice(head),
            Some(_) | None => heads.push((*seq, head.to_vec())),
        }
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
    match heads.as_mut_slice() {
        [] => Ok(()),
        [(seq, row)] => {
            let row = std::mem::take(row);
            guarded("writing", || {
                db.insert(seq.to_be_bytes(), row)?;
                db.flush()
            })?;
            sync(file)
        }
        rows => {
            let mut batch = sled::Batch::default();
            for (seq, row) in rows {
                batch.insert(&seq.to_be_bytes(), std::mem::take(row));
            }
            apply(db, file, batch)
        }
    }
}

fn sync(file: &File) -> Result<(), JournalError> {
    file.sync_data().map_err(|error| JournalError::Sled {
        during: "syncing",
        why: error.to_string(),
    })
}

/// One batch, durable on return. sled's `flush` only starts the writing on Linux; the sync is ours.
pub(crate) fn apply(db: &sled::Db, file: &File, batch: sled::Batch) -> Result<(), JournalError> {
    guarded("writing", || {
        db.apply_batch(batch)?;
        db.flush()
    })?;
    sync(file)
}

pub(crate) fn piece_key(seq: u64, number: u16) -> [u8; 10] {
    let mut key = [0; 10];
    let (head, tail) = key.split_at_mut(8);
    head.copy_from_slice(&seq.to_be_bytes());
    tail.copy_from_slice(&number.to_be_bytes());
    key
}

/// Reads a key: sequence number, and whether it is a head.
pub(crate) fn read_key(key: &[u8]) -> Result<(u64, bool), JournalError> {
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
