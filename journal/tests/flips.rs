//! Every byte of a small journal, damaged one at a time: the damage is named, or it is proven harmless because everything
//! reads as before.

use std::path::{Path, PathBuf};

use wiab_journal::{Frame, Journal, JournalError, Options, Reader, Source, verify};

use crate::common::{all, batch, copy_tree, options, run, scratch};

/// Past this many bytes of a wiped end of a file, only every [`WIPED_STEP`]th byte is tried.
const WIPED_WHOLE: usize = 512;
const WIPED_STEP: usize = 4_999;

/// Without blocks reserved ahead the files are small.
fn small() -> Options {
    Options {
        reserve: false,
        ..options()
    }
}

/// The journal keeps sled's panics from being printed, except those of sled's own helper threads; nobody wants to read
/// thousands of them.
fn silence_sled() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic
                .location()
                .is_some_and(|at| at.file().contains("sled-") || at.file().contains("/library/"))
            {
                usual(panic);
            }
        }));
    });
}

/// A closed journal of two runs, and its frames.
fn sample(reopened: bool) -> (tempfile::TempDir, Vec<Frame>) {
    let dir = scratch();
    let journal = Journal::open(dir.path(), small()).expect("open");
    journal.append(batch(run(1), "one", 2)).expect("append");
    journal.append(batch(run(2), "two", 1)).expect("append");
    let frames = all(&journal);
    journal.close().expect("close");
    if reopened {
        Journal::open(dir.path(), small())
            .expect("reopen")
            .close()
            .expect("close");
    }
    (dir, frames)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Offsets to damage: all, thinned out where the file's end is wiped.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let live = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let dense = (live + WIPED_WHOLE).min(bytes.len());
    (0..dense)
        .chain((dense..bytes.len()).step_by(WIPED_STEP))
        .collect()
}

#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    healed: usize,
    harmless: usize,
}

/// Opens a damaged journal; everything but silence about a difference is fine.
fn judge(dir: &Path, frames: &[Frame], context: &str, tally: &mut Tally) {
    match Journal::open(dir, small()) {
        Ok(journal) => {
            assert!(
                all(&journal) == frames,
                "{context}: other events, and nothing was said"
            );
            let opening = journal.opening();
            let said = opening.leftovers.len() + opening.copies_repaired.len();
            journal.close().expect("close");
            if said > 0 {
                tally.healed += 1;
            } else {
                tally.harmless += 1;
            }
        }
        Err(error) => {
            let named = matches!(
                error,
                JournalError::Corrupt { .. } | JournalError::Sled { .. } | JournalError::Io { .. }
            );
            assert!(named, "{context}: {error:?}");
            tally.refused += 1;
            let reader = Reader::open(dir, small())
                .unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
            assert!(matches!(reader.source(), Source::Copy { .. }), "{context}");
            let copied: Vec<Frame> = reader.frames(1).map(|frame| frame.expect("copy")).collect();
            assert!(copied == frames, "{context}: the copies lost events");
        }
    }
}

fn damage_everything(
    reopened: bool,
    place: &str,
    mut judge: impl FnMut(&Path, &[Frame], &str, bool),
) {
    silence_sled();
    let (start, frames) = sample(reopened);
    for file in files(&start.path().join(place)) {
        let bytes = std::fs::read(&file).expect("read");
        let relative = file.strip_prefix(start.path()).expect("within");
        let live = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        for at in offsets(&bytes) {
            let dir = scratch();
            copy_tree(start.path(), dir.path());
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(dir.path().join(relative), damaged).expect("damage");
            judge(
                dir.path(),
                &frames,
                &format!("{} byte {at}", relative.display()),
                at < live,
            );
        }
    }
}

#[test]
fn every_byte_of_the_database_after_closing() {
    let mut tally = Tally::default();
    damage_everything(false, "db", |dir, frames, context, _| {
        judge(dir, frames, context, &mut tally);
    });
    println!("{tally:?}");
    assert!(tally.refused > 500, "{tally:?}");
}

#[test]
fn every_byte_of_the_database_after_reopening() {
    let mut tally = Tally::default();
    damage_everything(true, "db", |dir, frames, context, _| {
        judge(dir, frames, context, &mut tally);
    });
    println!("{tally:?}");
    assert!(tally.refused > 500, "{tally:?}");
}

#[test]
fn every_byte_of_the_copies() {
    let mut tally = Tally::default();
    let mut found = 0;
    damage_everything(false, "runs", |dir, frames, context, _| {
        // `verify` looks at every line, opening only at the last one.
        let report = verify::verify(dir, small()).expect("verify");
        assert!(!report.ok(), "{context}: not found");
        found += report.findings.len();
        judge(dir, frames, context, &mut tally);
    });
    println!("{found} findings, {tally:?}");
    assert!(tally.refused == 0, "the record is whole: {tally:?}");
}

#[test]
fn every_length_of_a_truncated_database_and_copy() {
    silence_sled();
    let (start, frames) = sample(false);
    let mut tally = Tally::default();
    for file in files(&start.path().join("db"))
        .into_iter()
        .chain(files(&start.path().join("runs")))
    {
        let bytes = std::fs::read(&file).expect("read");
        let relative = file.strip_prefix(start.path()).expect("within");
        let lengths = offsets(&bytes);
        // Copies may lose any part of their end; a database that does has lost what the copies still know.
        for length in lengths.into_iter().step_by(3) {
            let dir = scratch();
            copy_tree(start.path(), dir.path());
            std::fs::write(dir.path().join(relative), &bytes[..length]).expect("truncate");
            judge(
                dir.path(),
                &frames,
                &format!("{} cut to {length}", relative.display()),
                &mut tally,
            );
        }
    }
    println!("{tally:?}");
}
