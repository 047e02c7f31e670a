//! What a durable append costs, against the least the same disk can do; and how fast opening verifies.
//!
//! `cargo bench -p wiab-journal --bench append -- [--dir DIR] [--rounds N] [--events N] [--verify FRAMES]`
//!
//! Each round measures, one after the other: a raw append of 300 bytes with `fdatasync`; the journal with one writer,
//! two events per batch; the journal with eight writers, two events per batch. Ratios are taken within a round,
//! because the disk's mood changes between rounds. The directory must be on the disk in question (default: `target`).
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures time and prints"
)]
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark, not a product"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use wiab_journal::{Batch, Entry, Journal, Options, Render};

/// Shows no bodies.
#[derive(Debug)]
struct Quiet;

impl Render for Quiet {
    fn name(&self, _kind: u16) -> Option<&'static str> {
        Some("Bench")
    }

    fn body(&self, _kind: u16, body: &[u8]) -> Result<serde_json::Value, String> {
        Ok(serde_json::json!({ "bytes": body.len() }))
    }
}

/// The command line.
struct Args {
    dir: PathBuf,
    rounds: usize,
    events: usize,
    verify: Option<usize>,
}

fn args() -> Args {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let mut args = Args {
        dir: target,
        rounds: 7,
        events: 500,
        verify: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        match flag.as_str() {
            "--dir" => args.dir = given.next().unwrap().into(),
            "--rounds" => args.rounds = given.next().unwrap().parse().unwrap(),
            "--events" => args.events = given.next().unwrap().parse().unwrap(),
            "--verify" => args.verify = Some(given.next().unwrap().parse().unwrap()),
            _ => {}
        }
    }
    args
}

fn batch(run: u8, bytes: usize, entries: usize) -> Batch {
    Batch {
        run: [run; 16],
        time_ms: 1_800_000_000_000,
        actor: "bench@machine 1".to_owned(),
        entries: (0..entries)
            .map(|_| Entry {
                kind: 19,
                body: vec![b'x'; bytes],
            })
            .collect(),
    }
}

fn open(dir: &Path) -> Journal {
    Journal::open(dir, Options::new(Arc::new(Quiet))).unwrap()
}

/// Microseconds per append of 300 bytes with `fdatasync`.
fn raw(dir: &Path, events: usize) -> f64 {
    let mut file = std::fs::File::create(dir.join("raw")).unwrap();
    let bytes = [b'x'; 300];
    let start = Instant::now();
    for _ in 0..events {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed().as_secs_f64() * 1e6 / events as f64
}

/// Microseconds per batch of two events with so many writers.
fn journal(dir: &Path, events: usize, writers: u8) -> f64 {
    let journal = open(dir);
    journal.append(batch(1, 40, 1)).unwrap();
    let each = events / usize::from(writers);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let journal = &journal;
            scope.spawn(move || {
                for _ in 0..each {
                    journal.append(batch(writer + 1, 40, 2)).unwrap();
                }
            });
        }
    });
    start.elapsed().as_secs_f64() * 1e6 / (each * usize::from(writers)) as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn row(name: &str, micros: &[f64], raw: &[f64]) {
    let ratios: Vec<f64> = micros.iter().zip(raw).map(|(one, raw)| one / raw).collect();
    let least = micros.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{name:<44} {:>8.0} {least:>8.0} {:>8.2}",
        median(micros),
        median(&ratios)
    );
}

fn appends(args: &Args) {
    let (mut raws, mut ones, mut eights) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let dir = tempfile::tempdir_in(&args.dir).unwrap();
        raws.push(raw(dir.path(), args.events));
        ones.push(journal(&dir.path().join("one"), args.events, 1));
        eights.push(journal(&dir.path().join("eight"), args.events, 8));
    }
    println!("{} rounds of {} appends", args.rounds, args.events);
    println!(
        "{:<44} {:>8} {:>8} {:>8}",
        "microseconds per durable append", "median", "least", "to raw"
    );
    row("raw append of 300 bytes + fdatasync", &raws, &raws);
    row("journal, 1 writer, batch of 2 events", &ones, &raws);
    row("journal, 8 writers, batches of 2 events", &eights, &raws);
}

fn verify(args: &Args, frames: usize) {
    let dir = tempfile::tempdir_in(&args.dir).unwrap();
    let fill = open(dir.path());
    for _ in 0..frames / 1000 {
        fill.append(batch(1, 130, 1000)).unwrap();
    }
    fill.close().unwrap();
    for round in 0..5 {
        let start = Instant::now();
        let journal = open(dir.path());
        let seconds = start.elapsed().as_secs_f64();
        let verified = journal.opening().frames;
        println!(
            "open {round}: {verified} frames of about 300 bytes verified in {:.1} ms, {:.0} per second",
            seconds * 1e3,
            verified as f64 / seconds
        );
        journal.close().unwrap();
    }
}

fn main() {
    let args = args();
    std::fs::create_dir_all(&args.dir).unwrap();
    match args.verify {
        Some(frames) => verify(&args, frames),
        None => appends(&args),
    }
}
