//! One run as one self-contained, verified file: its frames and the captured output they name.
//!
//! Layout, all numbers big-endian: `WIABRUN1`, installation (16), run (16), number of frames (u64), each frame as
//! length (u32) and bytes, number of blobs (u64), each blob as length (u32) and bytes, BLAKE3 of all before.

use std::collections::HashSet;
use std::io::{Read, Write};

use crate::blobs::BLOB_BYTES_MAX;
use crate::catalog::RunSummary;
use crate::codec;
use crate::error::JournalError;
use crate::frame::{ACTOR_BYTES_MAX, BODY_BYTES_MAX, ZERO_HASH};
use crate::journal::Journal;
use crate::layout::{Layout, create_dir, write_atomic};
use crate::own::{NO_RUN, RUN_IMPORTED, RunImported};
use crate::reader::Reader;
use crate::types::{Frame, Hash, RunKey};

/// First bytes of the file.
pub const BUNDLE_MAGIC: [u8; 8] = *b"WIABRUN1";
/// Largest file that is read, in bytes.
pub const BUNDLE_BYTES_MAX: u64 = 1 << 30;
/// Largest frame in a file, in bytes.
const FRAME_BYTES_MAX: usize = BODY_BYTES_MAX + ACTOR_BYTES_MAX + 256;

/// What was written to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Events.
    pub frames: u64,
    /// Blobs.
    pub blobs: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Hash of the run's last event.
    pub last_hash: Hash,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The run, marked as imported.
    pub run: RunSummary,
    /// The installation it comes from.
    pub installation: [u8; 16],
    /// Blobs stored.
    pub blobs: u64,
}

/// A file's verified content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The installation it comes from.
    pub installation: [u8; 16],
    /// The run.
    pub run: RunKey,
    /// Its events, in order; hashes and the run's chain are checked.
    pub frames: Vec<Frame>,
    /// Captured output the events name.
    pub blobs: Vec<Vec<u8>>,
    /// Hash of the whole file without its last 32 bytes.
    pub hash: Hash,
}

fn broken(what: impl Into<String>) -> JournalError {
    JournalError::Bundle { what: what.into() }
}

/// Writes a run to `out`. Own and imported runs alike.
///
/// The journal does not know where bodies name blobs: every stored blob whose 32 hash bytes occur in a body goes along.
pub fn export(
    reader: &Reader,
    run: &RunKey,
    out: &mut dyn Write,
) -> Result<Exported, JournalError> {
    let frames = reader.run_frames(run)?;
    let Some(last) = frames.last() else {
        return Err(JournalError::NoSuchRun {
            run: reader.run_name(run),
        });
    };
    follow(&frames, run)?;
    let blobs = named_blobs(reader, &frames)?;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&BUNDLE_MAGIC);
    bytes.extend_from_slice(&reader.installation_of(run));
    bytes.extend_from_slice(run);
    let counted = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    bytes.extend_from_slice(&counted(frames.len()).to_be_bytes());
    for frame in &frames {
        push(&mut bytes, &frame.encode());
    }
    bytes.extend_from_slice(&counted(blobs.len()).to_be_bytes());
    for blob in &blobs {
        push(&mut bytes, blob);
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    out.write_all(&bytes)
        .map_err(|error| broken(format!("it cannot be written: {error}")))?;
    Ok(Exported {
        frames: counted(frames.len()),
        blobs: counted(blobs.len()),
        bytes: counted(bytes.len()),
        last_hash: last.hash,
    })
}

fn push(bytes: &mut Vec<u8>, piece: &[u8]) {
    let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(piece);
}

/// The stored blobs whose hash occurs in a body, in order of their hash.
fn named_blobs(reader: &Reader, frames: &[Frame]) -> Result<Vec<Vec<u8>>, JournalError> {
    let known: HashSet<Hash> = reader.blobs().names()?.into_iter().collect();
    let mut named: Vec<Hash> = Vec::new();
    if !known.is_empty() {
        for frame in frames {
            let windows = frame.body.windows(ZERO_HASH.len());
            named.extend(
                windows
                    .filter_map(|window| Hash::try_from(window).ok())
                    .filter(|hash| known.contains(hash)),
            );
        }
    }
    named.sort_unstable();
    named.dedup();
    let blobs = named.iter().map(|hash| reader.blobs().get(hash));
    blobs.filter_map(Result::transpose).collect()
}

/// Reads and verifies a file without importing it.
pub fn inspect(input: &mut dyn Read) -> Result<Bundle, JournalError> {
    let mut all = Vec::new();
    let read = input.take(BUNDLE_BYTES_MAX).read_to_end(&mut all);
    read.map_err(|error| broken(format!("it cannot be read: {error}")))?;
    parse(&all)
}

fn parse(all: &[u8]) -> Result<Bundle, JournalError> {
    let mut bytes = all;
    match take::<8>(&mut bytes)? {
        magic if magic == BUNDLE_MAGIC => {}
        magic if magic.starts_with(b"WIABRUN") => {
            return Err(broken("a newer wiab wrote it; use that one to read it"));
        }
        _ => return Err(broken("it does not begin with `WIABRUN1`")),
    }
    let at = all.len().saturating_sub(ZERO_HASH.len());
    let (content, sum) = all
        .split_at_checked(at)
        .ok_or_else(|| broken("it is too short"))?;
    let hash = *blake3::hash(content).as_bytes();
    if sum != hash {
        return Err(broken(
            "its content does not match its checksum; it is damaged or cut off",
        ));
    }
    let installation = take(&mut bytes)?;
    let run = take(&mut bytes)?;
    let count = u64::from_be_bytes(take(&mut bytes)?);
    let mut frames = Vec::new();
    for _ in 0..count {
        frames.push(Frame::decode(pull(&mut bytes, FRAME_BYTES_MAX)?)?);
    }
    let count = u64::from_be_bytes(take(&mut bytes)?);
    let mut blobs = Vec::new();
    for _ in 0..count {
        blobs.push(pull(&mut bytes, BLOB_BYTES_MAX)?.to_vec());
    }
    if bytes.len() != ZERO_HASH.len() {
        return Err(broken("bytes are left over"));
    }
    follow(&frames, &run)?;
    Ok(Bundle {
        installation,
        run,
        frames,
        blobs,
        hash,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], JournalError> {
    let (head, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or_else(|| broken("it is too short"))?;
    *bytes = rest;
    Ok(*head)
}

fn pull<'a>(bytes: &mut &'a [u8], bytes_max: usize) -> Result<&'a [u8], JournalError> {
    let length = usize::try_from(u32::from_be_bytes(take(bytes)?)).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(broken(format!(
            "a piece of it has {length} bytes, more than {bytes_max}"
        )));
    }
    let (piece, rest) = bytes
        .split_at_checked(length)
        .ok_or_else(|| broken("it is too short"))?;
    *bytes = rest;
    Ok(piece)
}

/// Checks that the frames are one run from its beginning, chained.
fn follow(frames: &[Frame], run: &RunKey) -> Result<(), JournalError> {
    let mut before = (0, ZERO_HASH);
    for frame in frames {
        let expected = (*run, before.0 + 1, before.1);
        if (frame.run, frame.run_seq, frame.run_prev) != expected {
            return Err(broken(format!(
                "event {} does not continue the run",
                frame.seq
            )));
        }
        before = (frame.run_seq, frame.hash);
    }
    if *run == NO_RUN {
        return Err(broken("the journal's own events are no run"));
    }
    Ok(())
}

/// Imports a run for reading. It stays apart from this installation's own runs: its file is kept beside the database
/// and one event of the journal itself says so.
pub fn import(journal: &Journal, input: &mut dyn Read) -> Result<Imported, JournalError> {
    let mut all = Vec::new();
    let read = input.take(BUNDLE_BYTES_MAX).read_to_end(&mut all);
    read.map_err(|error| broken(format!("it cannot be read: {error}")))?;
    let bundle = parse(&all)?;
    let (Some(first), Some(last)) = (bundle.frames.first(), bundle.frames.last()) else {
        return Err(broken("it holds no events"));
    };
    let shared = journal.shared();
    let name = shared.options.run_name(&bundle.run);
    if let Some(known) = journal.runs().iter().find(|known| known.run == bundle.run) {
        return Err(if known.imported {
            JournalError::AlreadyImported { run: name }
        } else {
            JournalError::RunExists { run: name }
        });
    }
    for blob in &bundle.blobs {
        journal.blobs().put(blob)?;
    }
    let path = shared.layout.imported(&bundle.run);
    if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
        create_dir(dir)?;
        crate::layout::sync_dir(&shared.layout.dir)?;
    }
    write_atomic(&path, &all)?;
    let body = RunImported {
        run: bundle.run,
        installation: bundle.installation,
        frames: u64::try_from(bundle.frames.len()).unwrap_or(u64::MAX),
        first_seq: first.seq,
        last_seq: last.seq,
        first_ms: first.time_ms,
        last_ms: last.time_ms,
        last_hash: last.hash,
        bundle: bundle.hash,
    };
    let encoded = codec::encode(&body).map_err(|what| JournalError::Batch { what })?;
    journal.append_own(RUN_IMPORTED, encoded)?;
    shared
        .catalog
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .imported
        .push(body);
    let run = journal
        .runs()
        .into_iter()
        .find(|known| known.run == bundle.run);
    Ok(Imported {
        run: run.ok_or_else(|| broken("it was not taken up"))?,
        installation: bundle.installation,
        blobs: u64::try_from(bundle.blobs.len()).unwrap_or(u64::MAX),
    })
}

/// The events of an imported run, from its kept file.
pub(crate) fn stored_frames(layout: &Layout, run: &RunKey) -> Result<Vec<Frame>, JournalError> {
    stored(layout, run).map(|bundle| bundle.frames)
}

/// The kept file of an imported run.
pub(crate) fn stored(layout: &Layout, run: &RunKey) -> Result<Bundle, JournalError> {
    let path = layout.imported(run);
    let bytes = fs_err::read(&path).map_err(|error| JournalError::io(&path, error))?;
    let bundle = parse(&bytes)?;
    if bundle.run == *run {
        Ok(bundle)
    } else {
        Err(broken("it holds another run"))
    }
}
