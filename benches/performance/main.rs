//! How fast and how small: every promise of `docs/performance.md`, measured in one run on one disk.
//!
//! `cargo bench --bench performance -- [--check] [--rounds N] [PART…]`

mod binary;
mod classify;
mod engine;
mod history;
mod makespan;
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
    (
        "makespan",
        "the whole installation in virtual time, with the reference durations",
    ),
    (
        "classify",
        "complaints of cert-manager's log, from line to cause",
    ),
    ("binary", "size, start and memory of the release binary"),
    ("terraform", "a shorter chain of terraform_data resources"),
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
        "makespan" => makespan::all(report),
        "classify" => {
            classify::all(args.rounds, report);
            Ok(())
        }
        "binary" => binary::all(args.rounds, dir, report),
        "terraform" => others::terraform(dir, report),
        _ => Ok(()),
    }
}

/// What is measured in one directory: microseconds a step, or why it cannot be.
type Measure<'a> = &'a dyn Fn(&Path) -> Outcome<Result<f64, String>>;

/// Measures between two series of raw appends, `rounds` times; medians of the microseconds and of their ratio to raw.
fn beside_raw(
    rounds: usize,
    dir: &Path,
    measure: Measure<'_>,
) -> Outcome<Result<(f64, f64), String>> {
    let (mut costs, mut ratios) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let dir = dir.join(format!("round-{round}"));
        fs_err::create_dir(&dir)?;
        let before = raw::append_us(&dir, STEPS)?;
        let us = match measure(&dir.join("state"))? {
            Ok(us) => us,
            Err(missing) => return Ok(Err(missing)),
        };
        let after = raw::append_us(&dir, STEPS)?;
        costs.push(us);
        ratios.push(us / f64::midpoint(before, after));
        fs_err::remove_dir_all(&dir)?;
    }
    Ok(Ok((stats::median(costs), stats::median(ratios))))
}

/// A step in a chain, one of eight at once, and one that keeps a before-image, against a raw append.
fn steps(args: &Args, dir: &Path, report: &mut Report) -> Outcome<()> {
    let (chain, wide, changing) = (
        engine::chain(STEPS)?,
        engine::wide(STEPS)?,
        engine::changing(STEPS)?,
    );
    let rows: [(&str, Option<f64>, Measure<'_>); 6] = [
        ("step in a chain of 1,000", Some(1.6), &|dir| {
            engine::step_us(dir, &chain, 1).map(Ok)
        }),
        ("independent step, width 8", Some(0.6), &|dir| {
            engine::step_us(dir, &wide, 8).map(Ok)
        }),
        (
            "step in a chain that keeps a before-image (two syncs)",
            None,
            &|dir| engine::step_us(dir, &changing, 1).map(Ok),
        ),
        ("the engine alone, without a journal", None, &|_| {
            engine::alone_us(&chain).map(Ok)
        }),
        ("the journal alone: a batch of two events", None, &|dir| {
            engine::append_us(dir, &chain).map(Ok)
        }),
        (
            "naive SQLite journal (WAL, synchronous FULL, a commit per event), a step",
            None,
            &|dir| {
                fs_err::create_dir(dir)?;
                others::sqlite_step_us(dir, STEPS)
            },
        ),
    ];
    for (what, limit, measure) in rows {
        match (beside_raw(args.rounds, dir, measure)?, limit) {
            (Ok((us, ratio)), Some(limit)) => {
                report.at_most(what, format!("{us:.0} µs"), ratio, limit, "× raw");
            }
            (Ok((us, ratio)), None) => report.line(what, format!("{us:.0} µs, {ratio:.2} × raw")),
            (Err(missing), _) => report.missing(what, &missing),
        }
    }
    let raw = (0..args.rounds)
        .map(|_| raw::append_us(dir, STEPS))
        .collect::<Outcome<Vec<f64>>>()?;
    report.line(
        "raw append of 512 bytes with fdatasync",
        format!("{:.0} µs", stats::median(raw)),
    );
    Ok(())
}

/// The cost of a step must not grow with the plan. Sizes take turns, so that a busy disk is busy for all of them.
fn scale(args: &Args, dir: &Path, report: &mut Report) -> Outcome<()> {
    let sizes = [100, 1_000, 10_000];
    let mut costs: [Vec<f64>; 3] = Default::default();
    let mut growth = Vec::new();
    for round in 0..args.rounds {
        let mut turn = Vec::new();
        for (size, costs) in sizes.iter().zip(&mut costs) {
            let dir = dir.join(format!("scale-{round}-{size}"));
            let us = engine::step_us(&dir, &engine::chain(*size)?, 1)?;
            fs_err::remove_dir_all(&dir)?;
            costs.push(us);
            turn.push(us);
        }
        if let [small, _, large] = turn.as_slice() {
            growth.push(large / small);
        }
    }
    for (size, costs) in sizes.iter().zip(costs) {
        report.line(
            &format!("step in a chain of {size}"),
            format!("{:.0} µs", stats::median(costs)),
        );
    }
    report.at_most("10,000 against 100", "", stats::median(growth), 1.25, "×");
    Ok(())
}
