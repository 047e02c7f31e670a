//! Power cuts, modelled: a child's system calls are recorded, and for every one of them the disk is rebuilt as a power cut
//! right after it could leave it. Every rebuilt journal must open and hold everything acknowledged by then.
//!
//! The model, per file and per directory: what a sync covered survives. What no sync covered
//! * is lost, names included (`Strict`);
//! * is lost, but names survive, as file systems that journal their metadata do it (`Names`);
//! * survives or not, each write by itself, decided by a printed seed (`Some`).

use std::collections::BTreeMap;
use std::path::Path;

use wiab_journal::Journal;

use crate::common::{all, batch, copy_tree, options, run, scratch};
use crate::crash::strace;
use crate::disk::{Dice, Disk, Survival};
use crate::syscalls::{below, call, pending, perform};

/// Records a child that starts from `start`; returns the log and the state directory's path.
fn record(start: &Path, work: &str) -> (String, String) {
    let dir = scratch();
    copy_tree(start, dir.path());
    let log = dir.path().with_extension("strace");
    let calls =
        "trace=openat,mkdir,write,pwrite64,ftruncate,fallocate,rename,unlink,fsync,fdatasync";
    let flags = ["-xx", "-y", "-s", "2000000", "-e", calls, "-o"].map(str::to_owned);
    let mut arguments = flags.to_vec();
    arguments.push(log.display().to_string());
    arguments.extend(["-E".to_owned(), format!("WIAB_JOURNAL_WORK={work}")]);
    assert!(strace(dir.path(), &arguments).finished);
    (
        std::fs::read_to_string(log).expect("log"),
        dir.path().display().to_string(),
    )
}

/// Puts calls that other threads interrupted together again. A sync covers only what was pending when it began.
#[derive(Default)]
struct Threads(BTreeMap<String, (String, Option<usize>)>);

impl Threads {
    fn whole(&mut self, line: &str, disk: &Disk, here: &str) -> Option<(String, Option<usize>)> {
        let (thread, text) = line.split_once(' ')?;
        let text = text.trim_start();
        if let Some(beginning) = text.strip_suffix("<unfinished ...>") {
            let covered = pending(disk, beginning, here);
            self.0
                .insert(thread.to_owned(), (beginning.to_owned(), covered));
            return None;
        }
        let Some(end) = text.strip_prefix("<... ") else {
            return Some((text.to_owned(), None));
        };
        let (beginning, covered) = self.0.remove(thread)?;
        Some((beginning + end.split_once("resumed>")?.1, covered))
    }
}

/// Cuts the power after every call of a child that starts from `start`; returns the number of disks tried.
fn cut_everywhere(start: &Path, work: &str) -> usize {
    let mut disk = Disk::load(start);
    let (log, here) = record(start, work);
    let mut threads = Threads::default();
    let (mut acknowledged, mut disks) = (0, 0);
    for line in log.lines() {
        let Some((text, covered)) = threads.whole(line, &disk, &here) else {
            continue;
        };
        let Some(call) = call(&text) else { continue };
        acknowledged = perform(&mut disk, &call, &here, covered).unwrap_or(acknowledged);
        let touches = call
            .arguments
            .iter()
            .take(2)
            .any(|argument| below(argument, &here).is_some());
        let reads = call.name == "openat" && !call.argument(2).contains("O_CREAT");
        if !touches || reads {
            continue;
        }
        for survival in [
            Survival::Strict,
            Survival::Names,
            Survival::Some(disks as u64),
        ] {
            let cut = scratch();
            disk.build(0, cut.path(), survival, &mut Dice(disks as u64));
            holds(
                cut.path(),
                acknowledged,
                &format!("{survival:?} cut after {} {}", call.name, call.argument(0)),
            );
            disks += 1;
        }
    }
    assert!(acknowledged > 8, "the child acknowledged nothing");
    disks
}

fn holds(dir: &Path, acknowledged: u64, context: &str) {
    let journal = Journal::open(dir, options())
        .unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
    let frames = all(&journal);
    let kept = frames.len() as u64;
    let by_child = frames
        .iter()
        .filter(|frame| frame.kind == 19 && !frame.body.starts_with(b"before"))
        .count();
    let whole = by_child
        % if frames.iter().any(|frame| frame.body.starts_with(b"wide")) {
            300
        } else {
            2
        }
        == 0;
    assert!(whole, "{context}: {by_child} events are no whole batches");
    assert!(
        kept >= acknowledged,
        "{context}: {acknowledged} acknowledged, {kept} kept"
    );
    journal
        .append(batch(run(3), "after", 1))
        .unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
    journal
        .close()
        .unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
}

#[test]
fn power_cut_at_every_call_of_creating_and_appending() {
    let disks = cut_everywhere(scratch().path(), "small");
    println!("{disks} disks after a power cut, 0 events lost");
}

#[test]
fn power_cut_at_every_call_of_reopening_and_appending() {
    let start = scratch();
    let journal = Journal::open(start.path(), options()).expect("open");
    journal.append(batch(run(1), "before", 3)).expect("append");
    journal.close().expect("close");
    let disks = cut_everywhere(start.path(), "small");
    println!("{disks} disks after a power cut, 0 events lost");
}

#[test]
fn power_cut_at_every_call_across_segments() {
    let disks = cut_everywhere(scratch().path(), "large");
    println!("{disks} disks after a power cut, 0 events lost");
}

#[test]
fn power_cut_at_every_call_of_a_batch_wider_than_a_segment() {
    let disks = cut_everywhere(scratch().path(), "wide");
    println!("{disks} disks after a power cut, 0 events lost");
}
