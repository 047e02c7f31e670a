//! Long histories: resuming after many finished steps, and verifying many events.

use std::path::Path;

use wiab_engine::decide::{InFlight, decide};
use wiab_engine::event::{Event, RunEnded, RunResumed, StepStarted};
use wiab_engine::id::RunId;
use wiab_engine::outcome::Outcome as Ended;
use wiab_engine::plan::Plan;
use wiab_engine::record;
use wiab_journal::Journal;

use crate::report::Report;
use crate::watch::Watch;
use crate::{Outcome, engine, stats};

/// Events of one batch while a history is written; larger than in life, to be quick.
const BATCH: usize = 1_000;

/// The events of a run in which the first `done` steps are done and, if all are, the run has ended.
fn history(plan: &Plan, done: usize) -> Vec<Event> {
    let mut events: Vec<Event> = vec![engine::opened(plan.clone(), 1).into()];
    for step in plan.steps.iter().take(done) {
        events.push(
            StepStarted {
                step: step.id.clone(),
                attempt: 1,
            }
            .into(),
        );
        events.push(engine::succeeded(step.id.clone()));
    }
    if done >= plan.steps.len() {
        events.push(
            RunEnded {
                outcome: Ended::Completed,
            }
            .into(),
        );
    }
    events
}

fn write(journal: &Journal, run: RunId, events: &[Event]) -> Outcome<()> {
    for (at, events) in events.chunks(BATCH).enumerate() {
        journal.append(record::batch(
            run,
            1_700_000_000_000 + at as u64,
            "benchmark",
            events,
        )?)?;
    }
    Ok(())
}

/// From a closed journal to knowing what to do next.
pub(crate) fn resume(rounds: usize, dir: &Path, report: &mut Report) -> Outcome<()> {
    let dir = dir.join("resume");
    let plan = engine::chain(10_001)?;
    let journal = Journal::open(&dir, engine::options())?;
    write(&journal, engine::RUN, &history(&plan, 10_000))?;
    journal.close()?;
    let (mut opening, mut folding, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let watch = Watch::start();
        let journal = Journal::open(&dir, engine::options())?;
        opening.push(watch.ms());
        let installation = record::installation(journal.frames(1))?;
        folding.push(watch.ms() - opening.last().copied().unwrap_or_default());
        let mut state = installation
            .run(engine::RUN)
            .ok_or("the run is missing")?
            .state
            .clone();
        let resumed = RunResumed {
            tool: "wiab".to_owned(),
            command_line: "benchmark".to_owned(),
        };
        state.apply(&resumed.into())?;
        let commands = decide(&state, &InFlight::default());
        whole.push(watch.ms());
        if commands.len() != 1 {
            return Err(format!("expected one decision, got {}", commands.len()).into());
        }
        journal.close()?;
    }
    report.line(
        "opening and verifying the journal",
        format!("{:.1} ms", stats::median(opening)),
    );
    report.line(
        "reading and folding 20,001 events",
        format!("{:.1} ms", stats::median(folding)),
    );
    report.at_most("first decision", "", stats::median(whole), 100.0, "ms");
    Ok(())
}

/// Opening verifies every frame; `journal verify` holds the copies against them, too.
pub(crate) fn verify(dir: &Path, report: &mut Report) -> Outcome<()> {
    let dir = dir.join("verify");
    let plan = engine::chain(4_999)?;
    let events = history(&plan, 4_999);
    let journal = Journal::open(&dir, engine::options())?;
    let watch = Watch::start();
    for number in 0..100_u8 {
        write(&journal, RunId([number; 16]), &events)?;
    }
    let count = journal.head().seq;
    report.line(
        "events written in large batches",
        format!("{count} in {:.1} s", watch.ms() / 1e3),
    );
    journal.close()?;
    let watch = Watch::start();
    let journal = Journal::open(&dir, engine::options())?;
    let per_s = stats::real(journal.opening().frames) / watch.elapsed().as_secs_f64();
    journal.close()?;
    report.at_least(
        "opening: hash and both chains of every event",
        "",
        per_s,
        300_000.0,
        "events/s",
    );
    let watch = Watch::start();
    let found = wiab_journal::verify::verify(&dir, engine::options())?;
    let per_s = stats::real(found.frames) / watch.elapsed().as_secs_f64();
    report.line(
        "`journal verify`: the same, and the copies against it",
        format!("{per_s:.0} events/s"),
    );
    if !found.ok() {
        return Err(format!("verification found {:?}", found.findings).into());
    }
    Ok(())
}
