//! Holding everything against everything: database, copies, blobs, imported runs.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::bundle;
use crate::catalog::Head;
use crate::copy;
use crate::error::JournalError;
use crate::layout::entries;
use crate::options::Options;
use crate::own::NO_RUN;
use crate::reader::{Reader, Source};
use crate::text::{hex, unhex};
use crate::types::{Hash, RunKey};

/// The place of findings about the database.
const DATABASE: &str = "database";
/// What becomes of a damaged copy while the database is intact.
const RENEWED: &str = "; the next command that writes renews it from the database";
const RENEWED_WHEN_REMOVED: &str =
    "; remove the copy, and the next command that writes renews it from the database";

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: `database`, or a path within the state directory.
    pub place: String,
    /// The event, where one is concerned.
    pub seq: Option<u64>,
    /// The run, where one is concerned.
    pub run: Option<RunKey>,
    /// What is wrong, in one sentence.
    pub what: String,
}

/// What was verified and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Events of the database: own hash, both chains, no gaps.
    pub frames: u64,
    /// Lines of the copies.
    pub lines: u64,
    /// Blobs whose content matches their name.
    pub blobs: u64,
    /// Imported runs.
    pub imported: u64,
    /// Runs, own and imported.
    pub runs: u64,
    /// The last event: its hash is a fingerprint of the whole journal.
    pub head: Head,
    /// Everything that is wrong; empty when all is well.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether the database itself is damaged: only then is there something to recover.
    pub fn database_damaged(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.place == DATABASE)
    }

    fn find(
        &mut self,
        place: &str,
        seq: Option<u64>,
        run: Option<RunKey>,
        what: impl Into<String>,
    ) {
        self.findings.push(Finding {
            place: place.to_owned(),
            seq,
            run,
            what: what.into(),
        });
    }
}

/// The event with this hash, in the journal or in an imported run: if there is one and the chains are whole, nothing up to
/// it was altered or left out since the hash was noted.
#[expect(
    clippy::needless_pass_by_value,
    reason = "as everywhere where a journal is opened"
)]
pub fn place_of(dir: &Path, options: Options, hash: &Hash) -> Result<Option<u64>, JournalError> {
    let reader = Reader::open(dir, options.clone())?;
    for frame in reader.frames(1) {
        let frame = frame?;
        if frame.hash == *hash {
            return Ok(Some(frame.seq));
        }
    }
    for run in reader.runs().iter().filter(|run| run.imported) {
        let frames = reader.run_frames(&run.run)?;
        if let Some(frame) = frames.iter().find(|frame| frame.hash == *hash) {
            return Ok(Some(frame.seq));
        }
    }
    Ok(None)
}

/// Verifies a journal. What is damaged is a finding; an error means that nothing could be verified: a missing or
/// newer journal, or one that somebody holds.
#[expect(
    clippy::needless_pass_by_value,
    reason = "as everywhere where a journal is opened"
)]
pub fn verify(dir: &Path, options: Options) -> Result<VerifyReport, JournalError> {
    let mut report = VerifyReport::default();
    // The lock is asked for first: through a live socket nothing would be verified.
    let reader = match Reader::open(dir, options.clone()) {
        Ok(reader) if *reader.source() == Source::Live => {
            return Err(held(dir, &options));
        }
        other => other?,
    };
    if let Source::Copy { why } = reader.source() {
        report.find(DATABASE, None, None, why.clone());
    } else {
        report.frames = reader.opening().frames;
    }
    report.head = reader.head();
    report.runs = u64::try_from(reader.runs().len()).unwrap_or(u64::MAX);
    check_copies(&reader, &mut report)?;
    check_blobs(&reader, &mut report)?;
    check_outputs(&reader, &mut report)?;
    for run in reader.runs().iter().filter(|run| run.imported) {
        report.imported += 1;
        let place = format!("imported run {}", reader.run_name(&run.run));
        match bundle::stored(&reader.shared().layout, &run.run) {
            Ok(kept) if kept.frames.last().map(|last| last.hash) == Some(run.last_hash) => {}
            Ok(_) => report.find(
                &place,
                None,
                Some(run.run),
                "it is not the file that was imported",
            ),
            Err(error) => report.find(&place, None, Some(run.run), error.chain()),
        }
    }
    Ok(report)
}

/// The error that names the holder.
fn held(dir: &Path, options: &Options) -> JournalError {
    let layout = crate::layout::Layout::new(dir, options);
    match crate::lock::Lock::take(&layout.lock(), options, true) {
        Err(error) => error,
        Ok(_) => JournalError::Live {
            what: "the holder of the journal has just ended; try again".to_owned(),
        },
    }
}

/// Each line of each copy against the record: the same events, all of them, in order.
fn check_copies(reader: &Reader, report: &mut VerifyReport) -> Result<(), JournalError> {
    let recorded = *reader.source() == Source::Database;
    let mut record: HashMap<u64, (RunKey, Hash)> = HashMap::new();
    if recorded {
        for frame in reader.frames(1) {
            let frame = frame?;
            record.insert(frame.seq, (frame.run, frame.hash));
        }
    }
    let (renewed, removed) = if recorded {
        (RENEWED, RENEWED_WHEN_REMOVED)
    } else {
        ("", "")
    };
    let layout = &reader.shared().layout;
    for path in layout.copies()? {
        let place = path
            .strip_prefix(&layout.dir)
            .unwrap_or(&path)
            .display()
            .to_string();
        let mut before: Option<(u64, Hash)> = None;
        for line in copy::read_all(&path)? {
            report.lines += 1;
            let frame = match line {
                Ok(frame) => frame,
                Err((number, why)) => {
                    report.find(&place, None, None, format!("line {number}: {why}{renewed}"));
                    before = None;
                    continue;
                }
            };
            let (seq, run) = (Some(frame.seq), Some(frame.run));
            if before
                .is_some_and(|before| before != (frame.run_seq.saturating_sub(1), frame.run_prev))
            {
                report.find(
                    &place,
                    seq,
                    run,
                    format!("the line does not continue the one before it{removed}"),
                );
            }
            before = Some((frame.run_seq, frame.hash));
            if layout.copy(&frame.run) != path {
                report.find(
                    &place,
                    seq,
                    run,
                    format!("the event belongs to another run{removed}"),
                );
            }
            if recorded && record.remove(&frame.seq) != Some((frame.run, frame.hash)) {
                report.find(
                    &place,
                    seq,
                    run,
                    format!("the event is not in the database, or stands here twice{removed}"),
                );
            }
        }
    }
    missing_lines(reader, record, report);
    Ok(())
}

/// The events that stand in no copy.
fn missing_lines(reader: &Reader, record: HashMap<u64, (RunKey, Hash)>, report: &mut VerifyReport) {
    let mut missing: Vec<_> = record.into_iter().collect();
    missing.sort_unstable();
    for (seq, (run, _)) in missing {
        let name = reader.run_name(&run);
        report.find(
            &format!("runs/{name}"),
            Some(seq),
            Some(run),
            format!("the event is not in the copy{RENEWED}"),
        );
    }
}

/// Each file in `out/` against its name.
fn check_blobs(reader: &Reader, report: &mut VerifyReport) -> Result<(), JournalError> {
    let layout = &reader.shared().layout;
    for fan in entries(&layout.out())? {
        for path in entries(&fan)? {
            let place = path
                .strip_prefix(&layout.dir)
                .unwrap_or(&path)
                .display()
                .to_string();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            match unhex(&name).map(|hash: Hash| reader.blobs().get(&hash)) {
                Some(Ok(Some(_))) => report.blobs += 1,
                Some(Ok(None)) => report.find(
                    &place,
                    None,
                    None,
                    "the blob is not in the directory its name says",
                ),
                Some(Err(error)) => report.find(&place, None, None, error.chain()),
                None if name.starts_with('.') => {}
                None => report.find(&place, None, None, "the file is no blob"),
            }
        }
    }
    Ok(())
}

/// Each blob that an event names must be there; what it holds was checked with all the others.
fn check_outputs(reader: &Reader, report: &mut VerifyReport) -> Result<(), JournalError> {
    let stored: HashSet<Hash> = reader.blobs().names()?.into_iter().collect();
    let show = &reader.shared().options.render;
    for frame in reader.frames(1) {
        let frame = frame?;
        if frame.run == NO_RUN {
            continue;
        }
        for hash in show.outputs(frame.kind, &frame.body) {
            if !stored.contains(&hash) {
                let name = hex(&hash);
                let fan = name.get(..2).unwrap_or_default();
                report.find(
                    &format!("out/{fan}/{name}"),
                    Some(frame.seq),
                    Some(frame.run),
                    "the captured output that the event names is missing",
                );
            }
        }
    }
    Ok(())
}
