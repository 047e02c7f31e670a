//! Export, import, recovery.

use wiab_journal::{Frame, Journal, JournalError, Reader, Source, bundle, recover, verify};

use crate::common::{all, batch, copy_tree, hex, options, run, scratch};

/// A journal of two interleaved runs, one of which names a blob.
fn sample() -> (tempfile::TempDir, Vec<Frame>) {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    let blob = journal.blobs().put(b"captured output").expect("put");
    journal.blobs().put(b"of nobody").expect("put");
    journal.append(batch(run(1), "one", 2)).expect("append");
    journal.append(batch(run(2), "two", 1)).expect("append");
    let mut naming = batch(run(1), "three", 1);
    naming.entries[0].body.extend_from_slice(&blob.hash);
    journal.append(naming).expect("append");
    let frames = all(&journal);
    journal.close().expect("close");
    (dir, frames)
}

fn exported(dir: &std::path::Path) -> Vec<u8> {
    let reader = Reader::open(dir, options()).expect("read");
    let mut file = Vec::new();
    let report = bundle::export(&reader, &run(1), &mut file).expect("export");
    assert_eq!(
        (report.frames, report.blobs, report.bytes),
        (3, 1, file.len() as u64)
    );
    assert!(matches!(
        bundle::export(&reader, &run(9), &mut Vec::new()),
        Err(JournalError::NoSuchRun { .. })
    ));
    file
}

#[test]
fn a_run_travels_and_is_never_ours() {
    let (home, frames) = sample();
    let file = exported(home.path());
    let of_run: Vec<Frame> = frames
        .iter()
        .filter(|frame| frame.run == run(1))
        .cloned()
        .collect();
    let away = scratch();
    let journal = Journal::open(away.path(), options()).expect("open");
    journal.append(batch(run(5), "ours", 1)).expect("append");
    let imported = bundle::import(&journal, &mut file.as_slice()).expect("import");
    assert!(imported.run.imported);
    assert_eq!((imported.run.frames, imported.blobs), (3, 1));
    assert!(matches!(
        bundle::import(&journal, &mut file.as_slice()),
        Err(JournalError::AlreadyImported { .. })
    ));
    assert_eq!(
        journal
            .runs()
            .iter()
            .map(|run| run.imported)
            .collect::<Vec<_>>(),
        [false, true]
    );
    assert!(
        all(&journal).iter().all(|frame| frame.run != run(1)),
        "imported events are not in our chain"
    );
    assert_eq!(journal.run_frames(&run(1)).expect("run"), of_run);
    let runs = journal.runs();
    journal.close().expect("close");

    let reader = Reader::open(away.path(), options()).expect("read");
    assert_eq!(reader.runs(), runs);
    assert_eq!(reader.run_frames(&run(1)).expect("run"), of_run);
    let mut again = Vec::new();
    bundle::export(&reader, &run(1), &mut again).expect("export");
    assert!(again == file, "an imported run is exported as it came");
    drop(reader);
    let report = verify::verify(away.path(), options()).expect("verify");
    assert!(report.ok() && report.imported == 1, "{report:?}");
    let journal = Journal::open(home.path(), options()).expect("open");
    assert!(matches!(
        bundle::import(&journal, &mut file.as_slice()),
        Err(JournalError::RunExists { .. })
    ));
}

#[test]
fn every_wrong_byte_and_length_of_an_exported_run_is_refused() {
    let (home, _) = sample();
    let file = exported(home.path());
    assert_eq!(
        bundle::inspect(&mut file.as_slice())
            .expect("inspect")
            .frames
            .len(),
        3
    );
    for at in 0..file.len() {
        let mut wrong = file.clone();
        wrong[at] ^= 1 << (at % 8);
        assert!(bundle::inspect(&mut wrong.as_slice()).is_err(), "byte {at}");
        assert!(bundle::inspect(&mut &file[..at]).is_err(), "length {at}");
    }
}

#[test]
fn a_broken_database_is_rebuilt_exactly() {
    let (dir, frames) = sample();
    std::fs::write(dir.path().join("db/db"), b"gone").expect("damage");
    assert!(Journal::open(dir.path(), options()).is_err());
    let report = recover::recover(dir.path(), options()).expect("recover");
    assert_eq!(
        (
            report.frames,
            report.missing.len(),
            report.damaged_lines.len()
        ),
        (5, 0, 0)
    );
    assert!(report.kept.expect("kept").join("db").is_file());
    let journal = Journal::open(dir.path(), options()).expect("open");
    let mut now = all(&journal);
    assert_eq!(
        now.pop().map(|last| last.kind),
        Some(2),
        "the recovery is an event"
    );
    assert!(now == frames);
    journal.append(batch(run(2), "goes on", 1)).expect("append");
    journal.close().expect("close");
    assert!(verify::verify(dir.path(), options()).expect("verify").ok());
}

#[test]
fn what_no_copy_holds_is_named_and_admitted() {
    let (dir, frames) = sample();
    std::fs::remove_dir_all(dir.path().join("db")).expect("damage");
    // The copy of run 2 is gone, and one line of run 1 is damaged.
    let runs = dir.path().join("runs");
    let of = |frame: &Frame| runs.join(hex(&frame.run[8..]) + &hex(&frame.run[..8]));
    std::fs::remove_dir_all(of(&frames[3])).expect("remove");
    let path = of(&frames[1]).join("events.jsonl");
    let text = std::fs::read_to_string(&path).expect("copy");
    std::fs::write(&path, text.replacen("one 0", "one 7", 1)).expect("damage");

    let report = recover::recover(dir.path(), options()).expect("recover");
    assert_eq!(report.missing, [(2, 2), (4, 4)]);
    assert_eq!(report.damaged_lines.len(), 1);
    assert_eq!(report.kept, None);
    let journal = Journal::open(dir.path(), options()).expect("open");
    assert_eq!(
        all(&journal)
            .iter()
            .map(|frame| frame.seq)
            .collect::<Vec<_>>(),
        [1, 3, 5, 6]
    );
    journal.append(batch(run(1), "goes on", 1)).expect("append");
    journal.close().expect("close");
    let report = verify::verify(dir.path(), options()).expect("verify");
    let whats: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.what.as_str())
        .collect();
    assert_eq!(
        whats, ["the line does not continue the one before it"; 0],
        "{report:?}"
    );

    // A second recovery admits the old losses again.
    std::fs::write(dir.path().join("db/db"), b"gone").expect("damage");
    let report = recover::recover(dir.path(), options()).expect("recover");
    assert_eq!(report.missing, [(2, 2), (4, 4)]);
    assert_eq!(
        Journal::open(dir.path(), options())
            .expect("open")
            .head()
            .seq,
        8
    );
}

/// What is in the state directory and matters: everything but the lock's text.
fn tree(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|end| end == "jsonl") {
                let bytes = std::fs::read(&path).expect("read");
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_damaged_copy_of_an_intact_database_is_renewed_and_never_recovered() {
    let (dir, frames) = sample();
    let name = hex(&frames[1].run[8..]) + &hex(&frames[1].run[..8]);
    let copy = dir.path().join("runs").join(&name).join("events.jsonl");
    let whole = std::fs::read_to_string(&copy).expect("copy");
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(lines.len(), 3);
    let cases = [
        whole.replacen("one 1", "one 7", 1),
        // A line less, and one twice.
        format!("{}\n{}\n", lines[0], lines[2]),
        format!("{}\n{}\n{}\n{}\n", lines[0], lines[1], lines[1], lines[2]),
    ];
    for damaged in cases {
        std::fs::write(&copy, &damaged).expect("damage");
        let report = verify::verify(dir.path(), options()).expect("verify");
        assert!(!report.ok() && !report.database_damaged(), "{report:?}");
        for finding in &report.findings {
            assert!(finding.place.contains(&name), "{report:?}");
            assert!(finding.what.contains("renews it"), "{report:?}");
        }
        let before = tree(dir.path());
        let refused = recover::recover(dir.path(), options()).expect_err("intact");
        assert!(matches!(refused, JournalError::Healthy { .. }), "{refused}");
        assert_eq!(tree(dir.path()), before);
        assert!(!dir.path().join("db.broken-1").exists());

        let journal = Journal::open(dir.path(), options()).expect("open");
        let said = &journal.opening().copies_repaired;
        assert!(
            said.len() == 1 && said[0].contains("written anew"),
            "{said:?}"
        );
        journal.close().expect("close");
        assert_eq!(std::fs::read_to_string(&copy).expect("copy"), whole);
        let kept = copy.with_file_name("events.jsonl.damaged");
        assert_eq!(std::fs::read_to_string(kept).expect("kept"), damaged);
        assert!(verify::verify(dir.path(), options()).expect("verify").ok());
    }
}

#[test]
fn recovery_takes_from_the_old_database_what_no_copy_holds() {
    let (dir, frames) = sample();
    let copy = |frame: &Frame| {
        let name = hex(&frame.run[8..]) + &hex(&frame.run[..8]);
        dir.path().join("runs").join(name).join("events.jsonl")
    };
    // The database is older than the copy of run 1, and the copy of run 2 is lost.
    let old = scratch();
    copy_tree(&dir.path().join("db"), old.path());
    let journal = Journal::open(dir.path(), options()).expect("open");
    journal.append(batch(run(1), "later", 1)).expect("append");
    let newest = all(&journal).pop().expect("last");
    journal.close().expect("close");
    std::fs::remove_dir_all(dir.path().join("db")).expect("remove");
    copy_tree(old.path(), &dir.path().join("db"));
    assert!(Journal::open(dir.path(), options()).is_err());
    std::fs::remove_file(copy(&frames[3])).expect("remove");

    let report = recover::recover(dir.path(), options()).expect("recover");
    assert_eq!((report.frames, report.from_database), (6, 1));
    assert_eq!(report.missing, []);
    let journal = Journal::open(dir.path(), options()).expect("open");
    let mut expected = frames;
    expected.push(newest);
    assert_eq!(all(&journal)[..6], expected);
}

#[test]
fn missing_captured_output_is_found() {
    let (dir, frames) = sample();
    std::fs::remove_dir_all(dir.path().join("out")).expect("remove");
    let report = verify::verify(dir.path(), options()).expect("verify");
    assert!(!report.database_damaged());
    let [finding] = report.findings.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(
        (finding.seq, finding.run),
        (Some(frames[4].seq), Some(run(1)))
    );
    assert!(finding.place.starts_with("out/"), "{report:?}");
    assert!(finding.what.contains("missing"), "{report:?}");
}

#[test]
fn recovery_refuses_while_locked_and_finishes_when_it_was_cut_off() {
    let (dir, frames) = sample();
    let journal = Journal::open(dir.path(), options()).expect("open");
    assert!(matches!(
        recover::recover(dir.path(), options()),
        Err(JournalError::Locked { .. })
    ));
    journal.close().expect("close");
    // Cut off between moving the old database away and the new one in.
    let before = scratch();
    copy_tree(dir.path(), before.path());
    std::fs::rename(dir.path().join("db"), dir.path().join("db.recovering")).expect("rename");
    let journal = Journal::open(dir.path(), options()).expect("open");
    assert_eq!(journal.opening().leftovers, ["db.recovering"]);
    assert!(all(&journal) == frames);
    journal.close().expect("close");
    assert!(matches!(
        recover::recover(&dir.path().join("absent"), options()),
        Err(JournalError::Missing { .. })
    ));
}

#[test]
fn verify_names_what_is_wrong() {
    let (dir, frames) = sample();
    let report = verify::verify(dir.path(), options()).expect("verify");
    assert!(report.ok(), "{report:?}");
    assert_eq!(
        (report.frames, report.lines, report.blobs, report.runs),
        (5, 5, 2, 2)
    );
    let mut blob = dir.path().join("out");
    for _ in 0..2 {
        blob = std::fs::read_dir(&blob)
            .expect("list")
            .next()
            .expect("one")
            .expect("entry")
            .path();
    }
    std::fs::write(&blob, b"changed").expect("damage");
    let report = verify::verify(dir.path(), options()).expect("verify");
    assert_eq!(report.findings.len(), 1);
    assert!(
        report.findings[0].place.starts_with("out/")
            && report.findings[0].what.contains("does not match"),
        "{report:?}"
    );
    std::fs::write(dir.path().join("db/db"), b"gone").expect("damage");
    let report = verify::verify(dir.path(), options()).expect("verify");
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.place == "database"),
        "{report:?}"
    );
    assert_eq!(
        Reader::open(dir.path(), options())
            .expect("read")
            .frames(1)
            .count(),
        frames.len()
    );
    let journal = Journal::open(&dir.path().join("held"), options()).expect("open");
    assert!(matches!(
        verify::verify(&dir.path().join("held"), options()),
        Err(JournalError::Locked { .. }) | Ok(_)
    ));
    drop(journal);
}

#[test]
fn an_imported_run_is_read_when_the_database_is_broken() {
    let (home, _) = sample();
    let file = exported(home.path());
    let away = scratch();
    let journal = Journal::open(away.path(), options()).expect("open");
    bundle::import(&journal, &mut file.as_slice()).expect("import");
    journal.close().expect("close");
    std::fs::write(away.path().join("db/db"), b"gone").expect("damage");
    let reader = Reader::open(away.path(), options()).expect("read");
    assert!(matches!(reader.source(), Source::Copy { .. }));
    assert_eq!(reader.run_frames(&run(1)).expect("run").len(), 3);
}
