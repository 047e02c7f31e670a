//! The journal as a child process under `strace`: killed at every system call that changes something, cut off from power
//! at every one, and on a disk that is full from every one on. Nothing acknowledged may be lost.
//!
//! The child is this test binary, started again with `WIAB_JOURNAL_CHILD` set. All its writing is done by one thread, so
//! that counting that thread's calls enumerates every point.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use wiab_journal::{Journal, JournalError, Reader, Source};

use crate::common::{all, batch, copy_tree, options, run, scratch};

/// Calls that change something on disk.
const CHANGES: [&str; 11] = [
    "openat",
    "write",
    "pwrite64",
    "sync_file_range",
    "fdatasync",
    "fsync",
    "fallocate",
    "ftruncate",
    "rename",
    "unlink",
    "mkdir",
];
/// Batches the child appends.
const BATCHES: usize = 4;

/// Not a test of its own: the child's part. Acknowledged batches are reported on standard output.
#[test]
fn child() {
    let Ok(dir) = std::env::var("WIAB_JOURNAL_CHILD") else {
        return;
    };
    let mut out = std::io::stdout();
    let mut say = |line: String| {
        out.write_all(format!("\n{line}\n").as_bytes())
            .expect("stdout");
        out.flush().expect("stdout");
    };
    if std::env::var_os("WIAB_JOURNAL_READ").is_some() {
        let reader = Reader::open(Path::new(&dir), options()).expect("read");
        say(format!("failed {:?}", reader.source()));
        return say(format!(
            "ack {}",
            reader
                .frames(1)
                .map(|frame| frame.expect("frame").seq)
                .max()
                .unwrap_or(0)
        ));
    }
    let journal = match Journal::open(Path::new(&dir), options()) {
        Ok(journal) => journal,
        Err(error) => return say(format!("refused {}", error.chain())),
    };
    say(format!("opened {}", journal.head().seq));
    for (text, entries) in work() {
        match journal.append(batch(run(1), &text, entries)) {
            Ok(appended) => say(format!("ack {}", appended.last_seq)),
            Err(error) => say(format!("failed {}", error.chain())),
        }
    }
    if let Err(error) = journal.close() {
        say(format!("failed {}", error.chain()));
    }
    say("finished".to_owned());
}

/// The child's batches: their text and number of events.
fn work() -> Vec<(String, usize)> {
    match std::env::var("WIAB_JOURNAL_WORK").as_deref() {
        // Enough for several of sled's segments.
        Ok("large") => vec![("large ".repeat(8_000), 2); 4 * BATCHES],
        // One batch, and in it one atomic write, larger than two segments.
        Ok("wide") => vec![("wide ".repeat(760), 300); 3],
        // One batch is stored in pieces.
        _ => (0..BATCHES)
            .map(|number| {
                (
                    if number == 2 {
                        "large ".repeat(2_000)
                    } else {
                        "small".to_owned()
                    },
                    2,
                )
            })
            .collect(),
    }
}

/// What a child reported before its end.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) acknowledged: u64,
    pub(crate) finished: bool,
    pub(crate) refused: Vec<String>,
}

pub(crate) fn strace(dir: &Path, arguments: &[String]) -> Report {
    let program = std::env::current_exe().expect("own path");
    let output = Command::new("strace")
        .args(["-f", "-qq"])
        .args(arguments)
        .arg(program)
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env("WIAB_JOURNAL_CHILD", dir)
        .stdin(Stdio::null())
        .output()
        .expect(
            "`strace` is needed for the crash tests and could not be started; `./test` installs it",
        );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut report = Report::default();
    for line in text.lines() {
        if let Some(seq) = line
            .strip_prefix("ack ")
            .or_else(|| line.strip_prefix("opened "))
        {
            report.acknowledged = seq.parse().expect("number");
        }
        if let Some(why) = line
            .strip_prefix("refused ")
            .or_else(|| line.strip_prefix("failed "))
        {
            report.refused.push(why.to_owned());
        }
        report.finished |= line == "finished";
    }
    report
}

/// A journal with some events, closed or killed.
fn prepared(killed: bool) -> tempfile::TempDir {
    let dir = scratch();
    if killed {
        let report = strace(
            dir.path(),
            &inject("fdatasync", "signal=SIGKILL", "6", dir.path()),
        );
        assert!(report.acknowledged > 0 && !report.finished, "{report:?}");
    } else {
        let journal = Journal::open(dir.path(), options()).expect("open");
        journal.append(batch(run(1), "before", 3)).expect("append");
        journal.close().expect("close");
    }
    dir
}

fn inject(call: &str, what: &str, when: &str, dir: &Path) -> Vec<String> {
    let log = dir.with_extension("strace");
    vec![
        "-o".to_owned(),
        log.display().to_string(),
        "-e".to_owned(),
        format!("trace={call}"),
        "-e".to_owned(),
        format!("inject={call}:{what}:when={when}"),
    ]
}

/// Opens what is left and holds it against what was acknowledged.
fn survives(dir: &Path, report: &Report, context: &str) {
    let journal = Journal::open(dir, options())
        .unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
    let frames = all(&journal);
    let head = journal.head().seq;
    assert!(
        head >= report.acknowledged,
        "{context}: {} acknowledged, {head} kept",
        report.acknowledged
    );
    assert_eq!(frames.len() as u64, head, "{context}");
    journal
        .append(batch(run(2), "after", 1))
        .unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
    journal
        .close()
        .unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
}

/// The paths within the state directory that a child starting from `start` touches. Restricting `strace` to them keeps the
/// loader's and the harness's calls out of the count.
fn touched(start: &Path) -> BTreeSet<String> {
    let dir = scratch();
    copy_tree(start, dir.path());
    let log = dir.path().with_extension("strace");
    let arguments = [
        "-o".to_owned(),
        log.display().to_string(),
        "-s".to_owned(),
        "4096".to_owned(),
    ];
    let report = strace(dir.path(), &arguments);
    assert!(report.finished && report.refused.is_empty(), "{report:?}");
    let log = String::from_utf8_lossy(&std::fs::read(log).expect("log")).into_owned();
    let here = format!("\"{}/", dir.path().display());
    let paths = log
        .match_indices(&here)
        .map(|(at, _)| &log[at + here.len()..]);
    paths
        .filter_map(|rest| rest.split_once('"'))
        .map(|(path, _)| path.to_owned())
        .collect()
}

/// Restricts `strace` to paths within `dir`.
fn only(paths: &BTreeSet<String>, dir: &Path) -> Vec<String> {
    let here = std::iter::once(dir.display().to_string());
    let below = paths
        .iter()
        .map(|path| dir.join(path).display().to_string());
    here.chain(below)
        .flat_map(|path| ["-P".to_owned(), path])
        .collect()
}

/// How many points there are, counted in an undisturbed child: for each call, how often the busiest thread makes it.
fn countable(start: &Path, paths: &BTreeSet<String>) -> usize {
    let dir = scratch();
    copy_tree(start, dir.path());
    let log = dir.path().with_extension("strace");
    let trace = format!("trace={}", CHANGES.join(","));
    let mut arguments = vec![
        "-o".to_owned(),
        log.display().to_string(),
        "-e".to_owned(),
        trace,
    ];
    arguments.extend(only(paths, dir.path()));
    assert!(strace(dir.path(), &arguments).finished);
    let log = std::fs::read_to_string(log).expect("log");
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (thread, rest) in log.lines().filter_map(|line| line.split_once(' ')) {
        if let Some((call, _)) = rest.trim_start().split_once('(') {
            *counts.entry((call, thread)).or_default() += 1;
        }
    }
    let busiest = |call: &str| {
        counts
            .iter()
            .filter(|((of, _), _)| *of == call)
            .map(|(_, count)| *count)
            .max()
    };
    CHANGES.iter().filter_map(|call| busiest(call)).sum()
}

/// Kills the child at its every change, starting from `start` each time; returns the number of points.
fn kill_everywhere(start: &Path) -> usize {
    let paths = touched(start);
    let mut points = 0;
    for call in CHANGES {
        for when in 1.. {
            let dir = scratch();
            copy_tree(start, dir.path());
            let mut arguments = inject(call, "signal=SIGKILL", &when.to_string(), dir.path());
            arguments.extend(only(&paths, dir.path()));
            let report = strace(dir.path(), &arguments);
            survives(dir.path(), &report, &format!("killed at {call} {when}"));
            if report.finished {
                break;
            }
            points += 1;
        }
    }
    // A retried lock or a sync of sled's background thread makes the number vary a little.
    let expected = countable(start, &paths);
    assert!(
        10 * points >= 9 * expected,
        "{points} points of {expected}: some were passed over"
    );
    points
}

#[test]
fn killed_at_every_change_of_creating_and_appending() {
    let empty = scratch();
    let points = kill_everywhere(empty.path());
    println!("{points} kill points, 0 events lost");
    assert!(
        points > 60,
        "only {points} points: the enumeration is broken"
    );
}

#[test]
fn killed_at_every_change_of_reopening_and_appending() {
    for killed in [false, true] {
        let start = prepared(killed);
        let points = kill_everywhere(start.path());
        println!(
            "after {}: {points} kill points, 0 events lost",
            if killed { "a kill" } else { "closing" }
        );
        assert!(
            points > 40,
            "only {points} points: the enumeration is broken"
        );
    }
}

#[test]
fn a_disk_that_is_full_from_every_write_on() {
    let start = prepared(false);
    let paths = touched(start.path());
    let mut reasons = BTreeSet::new();
    let mut points = 0;
    for call in [
        "pwrite64",
        "write",
        "fallocate",
        "fdatasync",
        "fsync",
        "openat",
        "mkdir",
        "rename",
    ] {
        for when in 1.. {
            let dir = scratch();
            copy_tree(start.path(), dir.path());
            let mut arguments = inject(call, "error=ENOSPC", &format!("{when}+"), dir.path());
            arguments.extend(only(&paths, dir.path()));
            let report = strace(dir.path(), &arguments);
            let context = format!("full from {call} {when} on");
            reasons.extend(report.refused.iter().cloned());
            survives(dir.path(), &report, &context);
            // Copies are derived: their errors refuse nothing, so the end is where no call was left to fail.
            let log = std::fs::read_to_string(dir.path().with_extension("strace")).expect("log");
            if !log.contains("INJECTED") {
                break;
            }
            points += 1;
            assert!(points < 400, "the enumeration does not end");
        }
    }
    println!("{points} points of a full disk, 0 events lost");
    assert!(
        reasons.iter().any(|why| why.contains("No space left")),
        "{reasons:?}"
    );
}

#[test]
fn after_a_write_error_everything_is_refused_with_the_first_reason() {
    let start = prepared(false);
    let dir = scratch();
    copy_tree(start.path(), dir.path());
    let quiet = strace(
        dir.path(),
        &inject("fdatasync", "error=EIO", "1000", dir.path()),
    );
    assert!(quiet.finished && quiet.refused.is_empty(), "{quiet:?}");
    let mut seen = false;
    for when in 1..12 {
        let dir = scratch();
        copy_tree(start.path(), dir.path());
        // One failure only; the disk is well again afterwards, the journal must not be.
        let report = strace(
            dir.path(),
            &inject("fdatasync", "error=EIO", &when.to_string(), dir.path()),
        );
        survives(dir.path(), &report, &format!("EIO at fdatasync {when}"));
        let poisoned: Vec<&String> = report
            .refused
            .iter()
            .filter(|why| why.contains("first write error"))
            .collect();
        if poisoned.is_empty() {
            continue;
        }
        seen = true;
        assert!(
            poisoned.iter().all(|why| *why == poisoned[0]),
            "{poisoned:?}"
        );
        assert!(poisoned[0].contains("Input/output error"), "{poisoned:?}");
    }
    assert!(seen, "no append was ever hit");
}

#[test]
fn reading_works_where_sled_cannot_open() {
    let start = prepared(false);
    std::fs::write(
        start.path().join("db/db"),
        b"not a database any more, by far",
    )
    .expect("damage");
    assert!(Journal::open(start.path(), options()).is_err());
    let reader = Reader::open(start.path(), options()).expect("read");
    assert!(
        matches!(reader.source(), Source::Copy { .. }),
        "{:?}",
        reader.source()
    );
    assert_eq!(reader.frames(1).count(), 4);
    assert_eq!(reader.run_frames(&run(1)).expect("run").len(), 3);
}

#[test]
fn reading_works_on_a_full_disk() {
    let start = prepared(false);
    let paths = touched(start.path());
    for call in ["pwrite64", "write"] {
        let dir = scratch();
        copy_tree(start.path(), dir.path());
        let mut arguments = inject(call, "error=ENOSPC", "1+", dir.path());
        arguments.extend(only(&paths, dir.path()));
        arguments.extend(["-E".to_owned(), "WIAB_JOURNAL_READ=1".to_owned()]);
        let report = strace(dir.path(), &arguments);
        assert_eq!(report.acknowledged, 4, "{report:?}");
        assert!(
            report.refused[0].contains("Copy") && report.refused[0].contains("No space left"),
            "{report:?}"
        );
    }
}

#[test]
fn a_second_process_is_refused_while_the_first_lives() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    let report = strace(
        dir.path(),
        &inject("fdatasync", "error=EIO", "1000", dir.path()),
    );
    assert!(
        report
            .refused
            .iter()
            .any(|why| why.contains("in use by process")),
        "{report:?}"
    );
    assert!(matches!(
        Journal::open(dir.path(), options()),
        Err(JournalError::Locked { .. })
    ));
    journal.close().expect("close");
}
