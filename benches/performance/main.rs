//! How fast and how small: every promise of `docs/performance.md`, measured in one run on one disk.
//!
//! `cargo bench --bench performance -- [--check] [--rounds N] [PART…]`

mod binary;
mod engine;
mod history;
mod others;
mod raw;
mod report;
mod stats;
mod watch;

use std::error::Error;
use std::path::Path;

use report::Report;

/// What most measurements answer with.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// Steps of the usual plan.
const STEPS: usize = 1_000;

/// The parts, in order.
const PARTS: &[(&str, &str)] = &[
    (
        "steps",
        "cost of a durable step, interleaved with raw appends and a naive SQLite journal",
    ),
    ("scale", "cost of a step in plans of 100, 1,000 and 10,000"),
    ("resume", "10,000 finished steps to the first decision"),
    ("verify", "1,000,000 events"),
    ("binary", "size, start and memory of the release binary"),
    ("terraform", "the same chain as terraform_data resources"),
];

struct Args {
    /// Ends with an error when a promise is not kept.
    check: bool,
    rounds: usize,
    parts: Vec<String>,
}

fn args() -> Outcome<Args> {
    let mut args = Args {
        check: false,
        rounds: 5,
        parts: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Added by cargo.
            "--bench" => {}
            "--check" => args.check = true,
            "--rounds" => args.rounds = words.next().unwrap_or_default().parse()?,
            part if PARTS.iter().any(|(name, _)| *name == part) => args.parts.push(word),
            _ => return Err(format!("unknown argument `{word}`; parts: {}", part_names()).into()),
        }
    }
    Ok(args)
}

fn part_names() -> String {
    PARTS
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn main() -> Outcome<()> {
    let args = args()?;
    let dir = tempfile::Builder::new()
        .prefix("performance-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut report = Report::new();
    for (name, about) in PARTS {
        if args.parts.is_empty() || args.parts.iter().any(|part| part == name) {
            report.part(name, about);
            run(name, &args, dir.path(), &mut report)?;
        }
    }
    let missed = report.missed();
    if args.check && missed > 0 {
        return Err(format!("{missed} promises were not kept").into());
    }
    Ok(())
}

fn run(part: &str, args: &Args, dir: &Path, report: &mut Report) -> Outcome<()> {
    match part {
        "steps" => steps(args, dir, report),
        "scale" => scale(args, dir, report),
        "resume" => history::resume(args.rounds, dir, report),
        "verify" => history::verify(dir, report),
        "binary" => binary::all(args.rounds, dir, report),
        "terraform" => others::terraform(dir, report),
        _ => Ok(()),
    }
}

/// A step in a chain, one of eight at once, and one that keeps a before-image, against a raw append.
fn steps(args: &Args, dir: &Path, report: &mut Report) -> Outcome<()> {
    let mut samples: [Vec<f64>; 7] = Default::default();
    let mut sqlite_missing = None;
    for round in 0..args.rounds {
        let [raw, chain, wide, changing, sqlite, alone, append] = &mut samples;
        let dir = dir.join(format!("steps-{round}"));
        fs_err::create_dir(&dir)?;
        raw.push(raw::append_us(&dir, STEPS)?);
        chain.push(engine::step_us(
            &dir.join("chain"),
            &engine::chain(STEPS)?,
            1,
        )?);
        raw.push(raw::append_us(&dir, STEPS)?);
        wide.push(engine::step_us(
            &dir.join("wide"),
            &engine::wide(STEPS)?,
            8,
        )?);
        raw.push(raw::append_us(&dir, STEPS)?);
        alone.push(engine::alone_us(&engine::chain(STEPS)?)?);
        append.push(engine::append_us(
            &dir.join("append"),
            &engine::chain(STEPS)?,
        )?);
        changing.push(engine::step_us(
            &dir.join("changing"),
            &engine::changing(STEPS)?,
            1,
        )?);
        match others::sqlite_step_us(&dir, STEPS)? {
            Ok(us) => sqlite.push(us),
            Err(missing) => sqlite_missing = Some(missing),
        }
        fs_err::remove_dir_all(&dir)?;
    }
    let [raw, chain, wide, changing, sqlite, alone, append] = samples.map(stats::median);
    report.line("raw append with fdatasync", format!("{raw:.0} µs"));
    report.at_most(
        "step in a chain of 1,000",
        format!("{chain:.0} µs"),
        chain / raw,
        1.6,
        "× raw",
    );
    report.at_most(
        "independent step, width 8",
        format!("{wide:.0} µs"),
        wide / raw,
        0.6,
        "× raw",
    );
    report.line(
        "of which the engine, without a journal",
        format!("{alone:.0} µs"),
    );
    report.line(
        "the journal, without the engine: a batch of two events",
        format!("{append:.0} µs, {:.2} × raw", append / raw),
    );
    report.line(
        "step in a chain that keeps a before-image",
        format!("{changing:.0} µs, {:.2} × raw (two syncs)", changing / raw),
    );
    match sqlite_missing {
        Some(missing) => report.missing("naive SQLite journal", &missing),
        None => report.line(
            "naive SQLite journal (WAL, synchronous FULL, a commit per event)",
            format!("{sqlite:.0} µs a step, {:.2} × raw", sqlite / raw),
        ),
    }
    Ok(())
}

/// The cost of a step must not grow with the plan.
fn scale(args: &Args, dir: &Path, report: &mut Report) -> Outcome<()> {
    let sizes = [100, 1_000, 10_000];
    let mut ratios: [Vec<f64>; 3] = Default::default();
    let mut costs: [Vec<f64>; 3] = Default::default();
    for round in 0..args.rounds.min(3) {
        for ((size, ratios), costs) in sizes.iter().zip(&mut ratios).zip(&mut costs) {
            let dir = dir.join(format!("scale-{round}-{size}"));
            fs_err::create_dir(&dir)?;
            let raw = raw::append_us(&dir, STEPS)?;
            let us = engine::step_us(&dir.join("state"), &engine::chain(*size)?, 1)?;
            ratios.push(us / raw);
            costs.push(us);
            fs_err::remove_dir_all(&dir)?;
        }
    }
    let costs = costs.map(stats::median);
    let ratios = ratios.map(stats::median);
    for ((size, us), ratio) in sizes.iter().zip(costs).zip(ratios) {
        report.line(
            &format!("step in a chain of {size}"),
            format!("{us:.0} µs, {ratio:.2} × raw"),
        );
    }
    let [small, _, large] = ratios;
    report.at_most(
        "10,000 against 100",
        String::new(),
        large / small,
        1.25,
        "×",
    );
    Ok(())
}
