//! Runs of steps that do nothing, through the real runner and the real journal.

use std::path::Path;
use std::sync::Arc;

use wiab_engine::event::{
    Event, Evidence, Limits, OnFailure, RunOpened, StepStarted, StepSucceeded,
};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::{Before, Failure, How, Outcome as Ended, Probe, Receipt, UndoClass};
use wiab_engine::plan::{Plan, RetryPolicy, StepSpec};
use wiab_engine::ports::{
    BoxFuture, Busy, Clock, LogError, NoSecrets, RunLog, Step, StepCx, Steps,
};
use wiab_engine::record::{self, EventRender, JournalLog};
use wiab_engine::runner::{Runner, World};
use wiab_journal::{Journal, Options};

use crate::Outcome;
use crate::watch::Watch;

/// The run of every measurement.
pub(crate) const RUN: RunId = RunId([7; 16]);

/// A step that does nothing: one that cannot look (its effect simply runs), or one that finds work to do once and keeps a
/// before-image.
#[derive(Debug)]
struct Noop {
    changing: bool,
    applied: std::sync::atomic::AtomicBool,
}

impl Step for Noop {
    fn probe<'a>(&'a self, _: &'a StepCx) -> BoxFuture<'a, Result<Probe, Failure>> {
        let applied = self.applied.load(std::sync::atomic::Ordering::Relaxed);
        let found = match (self.changing, applied) {
            (false, _) => Probe::Unknown { why: String::new() },
            (true, false) => Probe::Absent,
            (true, true) => Probe::Satisfied(Receipt::default()),
        };
        Box::pin(std::future::ready(Ok(found)))
    }

    fn capture<'a>(&'a self, _: &'a StepCx) -> BoxFuture<'a, Result<Before, Failure>> {
        Box::pin(std::future::ready(Ok(Before::Image("null".to_owned()))))
    }

    fn apply<'a>(
        &'a self,
        _: &'a StepCx,
        _: &'a Before,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        self.applied
            .store(true, std::sync::atomic::Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(Receipt::note("done"))))
    }

    fn undo<'a>(&'a self, _: &'a StepCx, _: &'a Before) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[derive(Debug)]
struct Noops;

impl Steps for Noops {
    fn build(&self, spec: &StepSpec, _: serde_json::Value) -> Result<Arc<dyn Step>, String> {
        Ok(Arc::new(Noop {
            changing: spec.kind == CHANGING,
            applied: false.into(),
        }))
    }
}

const PLAIN: &str = "bench.noop/1";
const CHANGING: &str = "bench.changing/1";

/// Time that passes; nothing in these runs waits for it.
#[derive(Debug)]
struct RealClock(Watch);

impl Clock for RealClock {
    fn wall_ms(&self) -> u64 {
        1_700_000_000_000 + self.mono_ms()
    }

    fn mono_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'_, ()> {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        Box::pin(tokio::time::sleep(std::time::Duration::from_millis(ms)))
    }

    fn alarm(&self, ms: u64) -> BoxFuture<'_, Busy> {
        Box::pin(async move {
            self.sleep(ms).await;
            Busy::default()
        })
    }

    fn busy(&self) -> Busy {
        Busy::default()
    }
}

fn plan(count: usize, kind: &str, chained: bool) -> Outcome<Plan> {
    let mut steps: Vec<StepSpec> = Vec::with_capacity(count);
    for number in 0..count {
        let after = steps.last().filter(|_| chained).map(|step| step.id.clone());
        steps.push(StepSpec {
            id: StepId::new(&format!("site.step{number}"))?,
            kind: kind.to_owned(),
            summary: "do nothing".to_owned(),
            undo_summary: "nothing".to_owned(),
            after: after.into_iter().collect(),
            lanes: Vec::new(),
            undo: UndoClass::NothingToUndo,
            idempotent: true,
            retry: RetryPolicy::NEVER,
            timeout_ms: 60_000,
            usual_ms: 1,
            inputs: "{}".to_owned(),
        });
    }
    let plan = Plan {
        name: "benchmark".to_owned(),
        steps,
    };
    plan.check()?;
    Ok(plan)
}

/// Each step after the one before.
pub(crate) fn chain(count: usize) -> Outcome<Plan> {
    plan(count, PLAIN, true)
}

/// All steps independent.
pub(crate) fn wide(count: usize) -> Outcome<Plan> {
    plan(count, PLAIN, false)
}

/// A chain whose steps keep a before-image.
pub(crate) fn changing(count: usize) -> Outcome<Plan> {
    plan(count, CHANGING, true)
}

pub(crate) fn options() -> Options {
    Options::new(Arc::new(EventRender))
}

pub(crate) fn opened(plan: Plan, width: u32) -> RunOpened {
    RunOpened {
        plan,
        limits: Limits {
            width,
            on_failure: OnFailure::Keep,
            fail_fast: false,
        },
        host: "none".to_owned(),
        tool: "wiab".to_owned(),
        command_line: "benchmark".to_owned(),
    }
}

/// What a run acts through.
pub(crate) fn world(journal: &Journal) -> World {
    let clock = Arc::new(RealClock(Watch::start()));
    let log = JournalLog {
        journal: journal.clone(),
        run: RUN,
        actor: "benchmark".to_owned(),
        clock: clock.clone(),
    };
    around(clock, Arc::new(log))
}

fn around(clock: Arc<RealClock>, log: Arc<dyn RunLog>) -> World {
    World {
        steps: Arc::new(Noops),
        clock,
        log,
        scrub: Arc::new(NoSecrets),
        progress: None,
        observer: None,
    }
}

/// A log that forgets: what is left is the engine itself.
#[derive(Debug)]
struct Forgets;

impl RunLog for Forgets {
    fn append(&self, _: Vec<Event>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn store(&self, _: Vec<u8>) -> BoxFuture<'_, Result<Evidence, LogError>> {
        let why = "nothing is stored here".to_owned();
        Box::pin(std::future::ready(Err(LogError { why })))
    }
}

fn drive(plan: &Plan, width: u32, world: World) -> Outcome<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let runner = Runner::fresh(RUN, opened(plan.clone(), width), world);
    let watch = Watch::start();
    let state = runtime.block_on(async {
        let (_stop, stops) = tokio::sync::mpsc::channel(1);
        runner.drive(stops).await
    })?;
    let us = watch.us_each(plan.steps.len());
    if state.ended != Some(Ended::Completed) {
        return Err(format!("the run ended as {:?}", state.ended).into());
    }
    Ok(us)
}

/// Runs a plan to its end in a new journal; microseconds a step, opening and closing left out.
pub(crate) fn step_us(dir: &Path, plan: &Plan, width: u32) -> Outcome<f64> {
    let journal = Journal::open(dir, options())?;
    let us = drive(plan, width, world(&journal))?;
    journal.close()?;
    Ok(us)
}

/// Runs a plan to its end without a journal; microseconds a step.
pub(crate) fn alone_us(plan: &Plan) -> Outcome<f64> {
    drive(
        plan,
        1,
        around(Arc::new(RealClock(Watch::start())), Arc::new(Forgets)),
    )
}

/// The journal without the engine: what a step in the middle of a chain appends; microseconds a batch.
pub(crate) fn append_us(dir: &Path, plan: &Plan) -> Outcome<f64> {
    let journal = Journal::open(dir, options())?;
    let watch = Watch::start();
    for pair in plan.steps.windows(2) {
        let [done, next] = pair else { continue };
        let (done, next) = (done.id.clone(), next.id.clone());
        let events = [
            succeeded(done),
            StepStarted {
                step: next,
                attempt: 1,
            }
            .into(),
        ];
        journal.append(record::batch(RUN, 1_700_000_000_000, "benchmark", &events)?)?;
    }
    let us = watch.us_each(plan.steps.len().saturating_sub(1));
    journal.close()?;
    Ok(us)
}

/// The outcome of a step that did nothing.
pub(crate) fn succeeded(step: StepId) -> Event {
    StepSucceeded {
        step,
        attempt: 1,
        how: How::Changed,
        receipt: Receipt::note("done"),
        evidence: None,
        took_ms: 1,
    }
    .into()
}
