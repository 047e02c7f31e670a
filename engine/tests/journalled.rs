//! Runs that pass through the real journal: closed, reopened, folded, resumed.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use wiab_engine::event::{Limits, OnFailure, RunOpened, RunResumed};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::{Before, Failure, Outcome, Probe, Receipt, UndoClass};
use wiab_engine::plan::{Plan, RetryPolicy, StepSpec};
use wiab_engine::ports::{BoxFuture, Busy, Clock, NoSecrets, Step, StepCx, Steps};
use wiab_engine::record::{EventRender, JournalLog, installation};
use wiab_engine::runner::{Runner, Stop, World};
use wiab_journal::{Journal, Options};

const RUN: RunId = RunId([3; 16]);

/// The step that asks for a stop, and through which door.
type StopAt = (String, mpsc::Sender<Stop>);

/// Notes who was applied; says a line as evidence; fails where asked.
#[derive(Debug, Clone, Default)]
struct Notes {
    applied: Arc<Mutex<Vec<String>>>,
    fail_once: Arc<Mutex<Option<String>>>,
    stop_at: Arc<Mutex<Option<StopAt>>>,
    probes: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Note(Notes, StepId);

impl Step for Note {
    fn probe<'a>(&'a self, _cx: &'a StepCx) -> BoxFuture<'a, Result<Probe, Failure>> {
        self.0.probes.fetch_add(1, Ordering::SeqCst);
        let done = self
            .0
            .applied
            .lock()
            .unwrap()
            .iter()
            .any(|name| name == self.1.as_str());
        Box::pin(async move {
            Ok(if done {
                Probe::Satisfied(Receipt::default())
            } else {
                Probe::Absent
            })
        })
    }
    fn capture<'a>(&'a self, _cx: &'a StepCx) -> BoxFuture<'a, Result<Before, Failure>> {
        Box::pin(async { Ok(Before::Image("{}".to_owned())) })
    }
    fn apply<'a>(
        &'a self,
        cx: &'a StepCx,
        _: &'a Before,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(async move {
            cx.evidence.push("$ note\n");
            let stop = self
                .0
                .stop_at
                .lock()
                .unwrap()
                .take_if(|(name, _)| name == self.1.as_str());
            if let Some((_, stops)) = stop {
                stops
                    .send(Stop::Finish {
                        by: "SIGINT".to_owned(),
                    })
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
            if self
                .0
                .fail_once
                .lock()
                .unwrap()
                .take_if(|name| name == self.1.as_str())
                .is_some()
            {
                return Err(Failure::dirty("planned"));
            }
            self.0.applied.lock().unwrap().push(self.1.to_string());
            Ok(Receipt::note("noted"))
        })
    }
    fn undo<'a>(&'a self, _cx: &'a StepCx, _: &'a Before) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

impl Steps for Notes {
    fn build(&self, spec: &StepSpec, _inputs: serde_json::Value) -> Result<Arc<dyn Step>, String> {
        Ok(Arc::new(Note(self.clone(), spec.id.clone())))
    }
}

#[derive(Debug)]
pub(crate) struct Still;

impl Clock for Still {
    fn wall_ms(&self) -> u64 {
        1_700_000_000_000
    }
    fn mono_ms(&self) -> u64 {
        0
    }
    fn sleep(&self, _ms: u64) -> BoxFuture<'_, ()> {
        // Who waits lets others go on, however short it is.
        Box::pin(tokio::task::yield_now())
    }
    fn alarm(&self, _ms: u64) -> BoxFuture<'_, Busy> {
        Box::pin(std::future::pending())
    }
    fn busy(&self) -> Busy {
        Busy::default()
    }
}

pub(crate) fn chain(names: &[&str]) -> Plan {
    let mut steps: Vec<StepSpec> = Vec::new();
    for name in names {
        steps.push(StepSpec {
            id: StepId::new(name).unwrap(),
            kind: "note/1".to_owned(),
            summary: String::new(),
            undo_summary: String::new(),
            after: steps
                .last()
                .map(|step| step.id.clone())
                .into_iter()
                .collect(),
            lanes: vec![],
            undo: UndoClass::Reversible,
            idempotent: true,
            retry: RetryPolicy::NEVER,
            timeout_ms: 1_000,
            usual_ms: 1,
            inputs: "{}".to_owned(),
        });
    }
    Plan {
        name: "chain".to_owned(),
        steps,
    }
}

pub(crate) fn open(dir: &Path) -> Journal {
    Journal::open(dir, Options::new(Arc::new(EventRender))).unwrap()
}

fn drive(
    journal: &Journal,
    notes: &Notes,
    fresh: Option<Plan>,
    stops: mpsc::Receiver<Stop>,
) -> Outcome {
    let clock = Arc::new(Still);
    let log = JournalLog {
        journal: journal.clone(),
        run: RUN,
        actor: "test".to_owned(),
        clock: clock.clone(),
    };
    let world = World {
        steps: Arc::new(notes.clone()),
        clock,
        log: Arc::new(log),
        scrub: Arc::new(NoSecrets),
        progress: None,
        observer: None,
    };
    let runner = if let Some(plan) = fresh {
        Runner::fresh(RUN, opened(plan), world)
    } else {
        let history = installation(journal.frames(1)).unwrap();
        let resumed = RunResumed {
            tool: String::new(),
            command_line: String::new(),
        };
        let state = history.run(RUN).unwrap().state.clone();
        Runner::resume(RUN, state, vec![resumed.into()], world).unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(runner.drive(stops))
        .unwrap()
        .ended
        .unwrap()
}

pub(crate) fn opened(plan: Plan) -> RunOpened {
    RunOpened {
        plan,
        limits: Limits {
            width: 4,
            on_failure: OnFailure::Keep,
            fail_fast: false,
        },
        host: String::new(),
        tool: String::new(),
        command_line: String::new(),
    }
}

pub(crate) fn never() -> mpsc::Receiver<Stop> {
    mpsc::channel(1).1
}

#[test]
fn a_failed_run_is_resumed_from_the_reopened_journal_and_finished_steps_stay_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    *notes.fail_once.lock().unwrap() = Some("c".to_owned());
    let journal = open(dir.path());
    assert_eq!(
        drive(
            &journal,
            &notes,
            Some(chain(&["a", "b", "c", "d"])),
            never()
        ),
        Outcome::FailedKept
    );
    journal.close().unwrap();

    let journal = open(dir.path());
    assert_eq!(drive(&journal, &notes, None, never()), Outcome::Completed);
    assert_eq!(*notes.applied.lock().unwrap(), ["a", "b", "c", "d"]);
    let folded = installation(journal.frames(1)).unwrap();
    let run = folded.run(RUN).unwrap();
    assert_eq!(
        (run.state.done(), run.state.ended),
        (4, Some(Outcome::Completed))
    );
    let evidence = journal
        .blobs()
        .get(blake3::hash(b"$ note\n").as_bytes())
        .unwrap();
    assert_eq!(evidence.as_deref(), Some(&b"$ note\n"[..]));
}

#[test]
fn a_stop_lets_the_running_step_finish_and_the_resume_goes_on_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let (stop, stops) = mpsc::channel(1);
    *notes.stop_at.lock().unwrap() = Some(("b".to_owned(), stop));
    let journal = open(dir.path());
    assert_eq!(
        drive(&journal, &notes, Some(chain(&["a", "b", "c"])), stops),
        Outcome::Interrupted
    );
    assert_eq!(*notes.applied.lock().unwrap(), ["a", "b"]);
    assert_eq!(drive(&journal, &notes, None, never()), Outcome::Completed);
    assert_eq!(*notes.applied.lock().unwrap(), ["a", "b", "c"]);
}

#[test]
fn a_poisoned_journal_stops_the_run_before_anything_else_starts() {
    let dir = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let journal = open(dir.path());
    journal.clone().close().unwrap();
    let clock = Arc::new(Still);
    let log = JournalLog {
        journal,
        run: RUN,
        actor: "test".to_owned(),
        clock: clock.clone(),
    };
    let world = World {
        steps: Arc::new(notes.clone()),
        clock,
        log: Arc::new(log),
        scrub: Arc::new(NoSecrets),
        progress: None,
        observer: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ended = runtime.block_on(Runner::fresh(RUN, opened(chain(&["a"])), world).drive(never()));
    assert!(ended.is_err());
    assert_eq!(
        notes.probes.load(Ordering::SeqCst),
        0,
        "nothing may even look before its intent is durable"
    );
}
