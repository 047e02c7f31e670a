//! Opening, appending, reading, and every refusal that needs no crash.

use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use wiab_journal::{Batch, Entry, Journal, JournalError, Reader, Source, verify};

use crate::common::{all, batch, copy_tree, hex, options, run, scratch};

#[test]
fn appended_events_come_back_after_reopening() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    assert!(journal.opening().created);
    let appended = journal.append(batch(run(1), "one", 2)).expect("append");
    assert_eq!((appended.first_seq, appended.last_seq), (2, 3));
    journal.append(batch(run(2), "two", 1)).expect("append");
    journal.append(batch(run(1), "three", 1)).expect("append");
    let before = all(&journal);
    let runs = journal.runs();
    journal.close().expect("close");

    let journal = Journal::open(dir.path(), options()).expect("reopen");
    assert_eq!(all(&journal), before);
    assert_eq!(journal.runs(), runs);
    assert_eq!(journal.opening().frames, 5);
    assert_eq!(journal.opening().copies_repaired, Vec::<String>::new());
    assert_eq!(journal.opening().leftovers, Vec::<String>::new());
    let numbers: Vec<u64> = journal
        .run_frames(&run(1))
        .expect("run")
        .iter()
        .map(|frame| frame.seq)
        .collect();
    assert_eq!(numbers, [2, 3, 5]);
    assert_eq!(
        runs.iter()
            .map(|run| (run.first_seq, run.last_seq, run.frames))
            .collect::<Vec<_>>(),
        [(2, 5, 3), (4, 4, 1)]
    );
    journal.close().expect("close");
    let report = verify::verify(dir.path(), options()).expect("verify");
    assert!(report.ok(), "{report:?}");
    assert_eq!((report.frames, report.lines, report.runs), (5, 5, 2));
}

#[test]
fn large_bodies_are_stored_in_pieces_and_sled_makes_no_files_of_its_own() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    for bytes in [3_900, 4_096, 5_000, 100_000, 3_000_000] {
        let body = (0..bytes).map(|at: u32| at.to_le_bytes()[0]).collect();
        let batch = Batch {
            entries: vec![Entry { kind: 16, body }],
            ..batch(run(1), "", 1)
        };
        journal.append(batch).expect("append");
    }
    let before = all(&journal);
    journal.close().expect("close");
    let journal = Journal::open(dir.path(), options()).expect("reopen");
    assert!(all(&journal) == before, "large bodies changed");
    let blobs = std::fs::read_dir(dir.path().join("db/blobs"))
        .expect("blobs")
        .count();
    assert_eq!(blobs, 0);
}

#[test]
fn many_frames_are_verified_by_two_threads() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    for round in 0..60 {
        let run = run(round % 3);
        journal.append(batch(run, "body", 100)).expect("append");
    }
    let before = all(&journal);
    assert_eq!(before.len(), 6001);
    let runs = journal.runs();
    journal.close().expect("close");
    let journal = Journal::open(dir.path(), options()).expect("reopen");
    assert_eq!(journal.runs(), runs);
    assert!(all(&journal) == before);
}

#[test]
fn a_second_holder_is_told_who_the_first_is() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    match Journal::open(dir.path(), options()) {
        Err(JournalError::Locked { holder }) => {
            assert_eq!(
                (holder.user.as_str(), holder.command.as_str()),
                ("tester", "wiab apply")
            );
            assert_eq!(
                (holder.pid, holder.since_ms),
                (std::process::id(), 1_800_000_000_000)
            );
        }
        other => panic!("{other:?}"),
    }
    journal.close().expect("close");
    Journal::open(dir.path(), options()).expect("free again");
}

#[test]
fn a_reader_in_the_way_is_waited_for() {
    let dir = scratch();
    Journal::open(dir.path(), options())
        .expect("open")
        .close()
        .expect("close");
    let reader = Reader::open(dir.path(), options()).expect("read");
    assert_eq!(*reader.source(), Source::Database);
    let path = dir.path().to_owned();
    let opening = std::thread::spawn(move || Journal::open(&path, options()));
    drop(reader);
    opening.join().expect("thread").expect("open");
}

#[test]
fn a_clone_cannot_write_after_closing() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    let clone = journal.clone();
    journal.close().expect("close");
    assert!(matches!(
        clone.append(batch(run(1), "late", 1)),
        Err(JournalError::Closed)
    ));
    assert!(matches!(
        clone.frames(1).next(),
        Some(Err(JournalError::Closed))
    ));
}

#[test]
fn batches_that_break_a_rule_are_refused_alone() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    let good = batch(run(1), "good", 1);
    for bad in [
        Batch {
            run: [0; 16],
            ..good.clone()
        },
        Batch {
            entries: Vec::new(),
            ..good.clone()
        },
        Batch {
            actor: "x".repeat(257),
            ..good.clone()
        },
        Batch {
            entries: vec![Entry {
                kind: 15,
                body: Vec::new(),
            }],
            ..good.clone()
        },
        Batch {
            entries: vec![Entry {
                kind: 16,
                body: vec![0; (16 << 20) + 1],
            }],
            ..good.clone()
        },
    ] {
        assert!(matches!(
            journal.append(bad),
            Err(JournalError::Batch { .. })
        ));
    }
    assert_eq!(journal.append(good).expect("append").first_seq, 2);
}

#[test]
fn bad_directories_are_refused() {
    let dir = scratch();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").expect("write");
    assert!(matches!(
        Journal::open(&file, options()),
        Err(JournalError::NotADirectory { .. })
    ));
    assert!(matches!(
        Journal::open(&file.join("below"), options()),
        Err(JournalError::NotADirectory { .. })
    ));
    assert!(matches!(
        Reader::open(&file, options()),
        Err(JournalError::NotADirectory { .. })
    ));
    let absent = dir.path().join("absent");
    assert!(matches!(
        Reader::open(&absent, options()),
        Err(JournalError::Missing { .. })
    ));
    assert!(!absent.exists());
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).expect("create");
    assert!(matches!(
        Reader::open(&empty, options()),
        Err(JournalError::Missing { .. })
    ));
    assert_eq!(
        std::fs::read_dir(&empty).expect("list").count(),
        0,
        "looking left something"
    );
}

#[test]
fn too_little_room_is_said_and_the_copy_is_read() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    journal.append(batch(run(1), "kept", 3)).expect("append");
    let before = all(&journal);
    journal.close().expect("close");
    let mut greedy = options();
    greedy.space_min_bytes = u64::MAX;
    assert!(matches!(
        Journal::open(dir.path(), greedy.clone()),
        Err(JournalError::NoSpace { .. })
    ));
    let reader = Reader::open(dir.path(), greedy).expect("read");
    assert!(
        matches!(reader.source(), Source::Copy { why } if why.contains("free")),
        "{:?}",
        reader.source()
    );
    assert_eq!(
        reader
            .frames(1)
            .collect::<Result<Vec<_>, _>>()
            .expect("frames"),
        before
    );
    assert_eq!(reader.runs().len(), 1);
}

#[test]
fn a_lost_database_is_not_taken_for_a_new_journal() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    journal.append(batch(run(1), "kept", 3)).expect("append");
    journal.close().expect("close");
    std::fs::remove_dir_all(dir.path().join("db")).expect("remove");
    assert!(matches!(
        Journal::open(dir.path(), options()),
        Err(JournalError::Corrupt { seq: 1, .. })
    ));
}

#[test]
fn an_older_database_than_its_copies_is_damage() {
    let dir = scratch();
    let old = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    journal.append(batch(run(1), "old", 1)).expect("append");
    journal.close().expect("close");
    copy_tree(&dir.path().join("db"), &old.path().join("db"));
    let journal = Journal::open(dir.path(), options()).expect("open");
    journal.append(batch(run(1), "new", 1)).expect("append");
    journal.close().expect("close");
    std::fs::remove_dir_all(dir.path().join("db")).expect("remove");
    copy_tree(&old.path().join("db"), &dir.path().join("db"));
    match Journal::open(dir.path(), options()) {
        Err(JournalError::Corrupt { seq: 3, what }) => {
            assert!(what.contains("copy knows event 3"), "{what}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn blobs_are_stored_once_and_checked() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    let stored = journal.blobs().put(b"output").expect("put");
    assert_eq!(journal.blobs().put(b"output").expect("again"), stored);
    assert_eq!(
        journal.blobs().get(&stored.hash).expect("get").as_deref(),
        Some(&b"output"[..])
    );
    assert_eq!(journal.blobs().get(&[7; 32]).expect("get"), None);
    let name = hex(&stored.hash);
    let path = dir.path().join("out").join(&name[..2]).join(&name);
    std::fs::write(&path, b"outpuT").expect("damage");
    assert!(matches!(
        journal.blobs().get(&stored.hash),
        Err(JournalError::Corrupt { .. })
    ));
    journal.blobs().put(b"output").expect("heals");
    assert!(journal.blobs().get(&stored.hash).expect("get").is_some());
}

#[test]
fn eight_writers_at_once_lose_nothing() {
    const WRITERS: u8 = 8;
    const BATCHES: usize = 100;
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    let (finished, watchdog) = mpsc::channel();
    let gate = Arc::new(Barrier::new(usize::from(WRITERS)));
    for writer in 0..WRITERS {
        let (journal, gate, finished) = (journal.clone(), Arc::clone(&gate), finished.clone());
        std::thread::spawn(move || {
            gate.wait();
            let seqs: Vec<_> = (0..BATCHES)
                .map(|number| {
                    journal
                        .append(batch(run(writer), &number.to_string(), 2))
                        .expect("append")
                })
                .collect();
            finished.send((writer, seqs)).expect("report");
        });
    }
    for _ in 0..WRITERS {
        // Only a deadlock waits this long.
        let (writer, seqs) = watchdog
            .recv_timeout(Duration::from_mins(2))
            .expect("deadlock");
        let frames = journal.run_frames(&run(writer)).expect("run");
        assert_eq!(frames.len(), 2 * BATCHES);
        let acknowledged: Vec<u64> = seqs
            .iter()
            .flat_map(|at| [at.first_seq, at.last_seq])
            .collect();
        assert_eq!(
            frames.iter().map(|frame| frame.seq).collect::<Vec<_>>(),
            acknowledged
        );
    }
    journal.close().expect("close");
    let journal = Journal::open(dir.path(), options()).expect("reopen");
    assert_eq!(
        journal.head().seq,
        1 + u64::from(WRITERS) * 2 * BATCHES as u64
    );
}
