//! Rebuilding the database from the copies and from what is left of it, when it is damaged or has lost events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::codec;
use crate::copy;
use crate::database::build;
use crate::error::JournalError;
use crate::frame::ZERO_HASH;
use crate::layout::{Layout, entries, rename_durably, sync_tree, write_atomic};
use crate::lock::Lock;
use crate::opening::{Access, open};
use crate::options::Options;
use crate::own::{NO_RUN, RECOVERED, Recovered};
use crate::scan::Part;
use crate::store::Store;
use crate::types::{Frame, Hash, RunKey};

/// What recovery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverReport {
    /// Events in the new database, without the one that records the recovery.
    pub frames: u64,
    /// Those among them that no copy holds and the old database does.
    pub from_database: u64,
    /// First and last number of each stretch of events that neither a copy nor the old database holds.
    pub missing: Vec<(u64, u64)>,
    /// Damaged lines, as path and line with the reason. The damaged files are kept beside the new ones.
    pub damaged_lines: Vec<String>,
    /// The old database, kept.
    pub kept: Option<PathBuf>,
}

/// Rebuilds the database of `dir`. Refuses while somebody holds the journal. Nothing is deleted: the old database and
/// damaged copies are kept under new names.
///
/// Events after the last one in any copy cannot be known about; up to there the report is exact.
#[expect(
    clippy::needless_pass_by_value,
    reason = "as everywhere where a journal is opened"
)]
pub fn recover(dir: &Path, options: Options) -> Result<RecoverReport, JournalError> {
    let layout = Layout::new(dir, &options);
    if !dir.is_dir() {
        return Err(JournalError::Missing {
            path: dir.to_owned(),
        });
    }
    refuse_healthy(&layout, &options)?;
    let _lock = Lock::take(&layout.lock(), &options, false)?;
    layout.check_space(options.space_min_bytes)?;
    if layout.db_recovering().is_dir() {
        let path = layout.db_recovering();
        fs_err::remove_dir_all(&path).map_err(|error| JournalError::io(&path, error))?;
    }
    let mut frames = BTreeMap::new();
    let mut damaged_lines = Vec::new();
    let mut damaged_copies = Vec::new();
    for path in layout.copies()? {
        let before = damaged_lines.len();
        for line in copy::read_all(&path)? {
            match line {
                Ok(frame) => {
                    frames.insert(frame.seq, frame);
                }
                Err((number, why)) => {
                    damaged_lines.push(format!("{} line {number}: {why}", path.display()));
                }
            }
        }
        if damaged_lines.len() > before {
            damaged_copies.push(path);
        }
    }
    let from_database = add_stored(&mut frames, &layout, &options);
    if frames.is_empty() {
        return Err(JournalError::Corrupt {
            seq: 1,
            what: "neither a copy nor the old database holds an intact event".to_owned(),
        });
    }
    let kept = kept_name(&layout)?;
    let report = RecoverReport {
        frames: u64::try_from(frames.len()).unwrap_or(u64::MAX),
        from_database,
        missing: gaps(&frames),
        damaged_lines,
        kept: layout.db().is_dir().then(|| kept.clone()),
    };
    let (frame, bytes) = recovered_frame(&frames, &report, &kept, &options)?;
    check(&frames, &bytes, frame.seq, &options)?;
    let rows = frames.values().map(|frame| (frame.seq, frame.encode()));
    build(
        &layout.db_recovering(),
        rows.chain(std::iter::once((frame.seq, bytes))),
    )?;
    read_back(&layout, &frame, &options)?;
    if report.kept.is_some() {
        rename_durably(&layout.db(), &kept, dir)?;
    }
    // From here on, the next opening would finish what is left.
    rename_durably(&layout.db_recovering(), &layout.db(), dir)?;
    frames.insert(frame.seq, frame);
    for path in damaged_copies {
        renew_copy(&path, &frames, &options)?;
    }
    Ok(report)
}

/// An intact database is never replaced. Whether it is, opening says.
fn refuse_healthy(layout: &Layout, options: &Options) -> Result<(), JournalError> {
    match open(layout, options, Access::Read) {
        Ok(_) => Err(JournalError::Healthy {
            path: layout.dir.clone(),
        }),
        // Damage can show as a file that is missing or too short; trouble with reading shows again later.
        Err(JournalError::Corrupt { .. } | JournalError::Sled { .. } | JournalError::Io { .. }) => {
            Ok(())
        }
        Err(other) => Err(other),
    }
}

/// Adds the intact events of the old database that no copy holds; returns their number. When both together are no
/// chain, the copies alone are taken.
fn add_stored(frames: &mut BTreeMap<u64, Frame>, layout: &Layout, options: &Options) -> u64 {
    if !layout.db().is_dir() {
        return 0;
    }
    let store = match Store::open(&layout.db(), None) {
        Ok(store) => store,
        Err(error) => {
            tracing::debug!(error = error.chain(), "the old database cannot be read");
            return 0;
        }
    };
    let mut merged = frames.clone();
    for row in store.frames(0, u64::MAX) {
        // What follows an unreadable row cannot be reached.
        let Ok((seq, bytes)) = row else { break };
        if let Some(frame) = Frame::decode(&bytes).ok().filter(|frame| frame.seq == seq) {
            merged.entry(seq).or_insert(frame);
        }
    }
    let added = merged.len().saturating_sub(frames.len());
    let mut part = Part::new(options.run_dir_name);
    let chained = merged
        .values()
        .all(|frame| part.push(frame.seq, &frame.encode()).is_ok());
    if !chained {
        return 0;
    }
    *frames = merged;
    u64::try_from(added).unwrap_or(u64::MAX)
}

/// Reads the new database in full before the old one is moved away.
fn read_back(layout: &Layout, last: &Frame, options: &Options) -> Result<(), JournalError> {
    let path = layout.db_recovering();
    let catalog = Store::open(&path, None)?.scan(options)?;
    if catalog.head_hash != last.hash {
        let what =
            "the rebuilt database does not hold what was written; the old one was left alone";
        return Err(JournalError::Corrupt {
            seq: last.seq,
            what: what.to_owned(),
        });
    }
    sync_tree(&path)
}

/// A free name for the old database.
fn kept_name(layout: &Layout) -> Result<PathBuf, JournalError> {
    let taken = entries(&layout.dir)?.len().saturating_add(1);
    let free = (1..=taken).map(|number| layout.dir.join(format!("db.broken-{number}")));
    let mut free = free.filter(|path| !path.exists());
    free.next().ok_or_else(|| JournalError::Missing {
        path: layout.dir.clone(),
    })
}

fn gaps(frames: &BTreeMap<u64, Frame>) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let mut expected = 1;
    for seq in frames.keys() {
        if *seq > expected {
            gaps.push((expected, seq - 1));
        }
        expected = seq.saturating_add(1);
    }
    gaps
}

/// The event that records the recovery, chained behind the last one.
fn recovered_frame(
    frames: &BTreeMap<u64, Frame>,
    report: &RecoverReport,
    kept: &Path,
    options: &Options,
) -> Result<(Frame, Vec<u8>), JournalError> {
    let body = Recovered {
        kept: kept
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        frames: report.frames,
        missing: report.missing.clone(),
        tool: options.tool.clone(),
    };
    let (seq, prev) = frames
        .last_key_value()
        .map_or((0, ZERO_HASH), |(seq, frame)| (*seq, frame.hash));
    let own: Option<&Frame> = frames.values().rev().find(|frame| frame.run == NO_RUN);
    let (run_seq, run_prev): (u64, Hash) =
        own.map_or((0, ZERO_HASH), |own| (own.run_seq, own.hash));
    let frame = Frame {
        seq: seq + 1,
        run_seq: run_seq + 1,
        run: NO_RUN,
        time_ms: (options.now_ms)(),
        actor: options.user.clone(),
        kind: RECOVERED,
        prev,
        run_prev,
        body: codec::encode(&body).map_err(|what| JournalError::Batch { what })?,
        hash: ZERO_HASH,
    };
    Ok(frame.sealed()?)
}

/// The rebuilt journal must pass the checks of opening before the old one is moved.
fn check(
    frames: &BTreeMap<u64, Frame>,
    last: &[u8],
    last_seq: u64,
    options: &Options,
) -> Result<(), JournalError> {
    let mut part = Part::new(options.run_dir_name);
    for frame in frames.values() {
        part.push(frame.seq, &frame.encode())?;
    }
    part.push(last_seq, last)?;
    part.finish().map(drop)
}

/// Writes a damaged copy anew from the intact events and keeps the damaged file.
fn renew_copy(
    path: &Path,
    frames: &BTreeMap<u64, Frame>,
    options: &Options,
) -> Result<(), JournalError> {
    let of_path = |run: &RunKey| {
        let dir = path.parent().and_then(Path::file_name);
        dir.is_some_and(|dir| dir.to_string_lossy() == options.run_name(run))
    };
    let mut lines = Vec::new();
    for frame in frames.values().filter(|frame| of_path(&frame.run)) {
        lines.extend(copy::line(
            frame,
            &options.run_name(&frame.run),
            options.render.as_ref(),
        ));
    }
    let kept = path.with_extension("jsonl.broken");
    fs_err::rename(path, &kept).map_err(|error| JournalError::io(path, error))?;
    write_atomic(path, &lines)
}
