//! Probes look together until something changes the host, and never after it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use wiab_engine::id::{RunId, StepId};
use wiab_engine::look::Look;
use wiab_engine::outcome::{Before, Failure, Outcome, Probe, Receipt};
use wiab_engine::plan::StepSpec;
use wiab_engine::ports::{BoxFuture, NoSecrets, Step, StepCx, Steps};
use wiab_engine::record::JournalLog;
use wiab_engine::runner::{Runner, World};
use wiab_engine::survey::Surveyor;

use crate::journalled::{Still, chain, never, open, opened};

const RUN: RunId = RunId([1; 16]);

/// A host with a list of what is there; every step asks for the whole list.
#[derive(Debug, Clone, Default)]
struct Lister {
    there: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicU32>,
}

impl Lister {
    fn with(there: &[&str]) -> Self {
        let lister = Self::default();
        let there = there.iter().map(|name| (*name).to_owned());
        lister.there.lock().unwrap().extend(there);
        lister
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    async fn list(&self) -> Vec<String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.there.lock().unwrap().clone()
    }
}

#[derive(Debug)]
struct Listed(StepId, Lister);

impl Step for Listed {
    fn probe<'a>(&'a self, cx: &'a StepCx) -> BoxFuture<'a, Result<Probe, Failure>> {
        Box::pin(async move {
            let list = cx.once("the list", self.1.list()).await;
            let there = list.iter().any(|name| name == self.0.as_str());
            Ok(if there {
                Probe::Satisfied(Receipt::default())
            } else {
                Probe::Absent
            })
        })
    }
    fn capture<'a>(&'a self, cx: &'a StepCx) -> BoxFuture<'a, Result<Before, Failure>> {
        assert!(!cx.looks_together(), "what is to be restored is read anew");
        Box::pin(async { Ok(Before::Nothing) })
    }
    fn apply<'a>(
        &'a self,
        _: &'a StepCx,
        _: &'a Before,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        self.1.there.lock().unwrap().push(self.0.to_string());
        Box::pin(async { Ok(Receipt::default()) })
    }
    fn undo<'a>(&'a self, _: &'a StepCx, _: &'a Before) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

impl Steps for Lister {
    fn build(&self, spec: &StepSpec, _: serde_json::Value) -> Result<Arc<dyn Step>, String> {
        Ok(Arc::new(Listed(spec.id.clone(), self.clone())))
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn run(lister: &Lister) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Still);
    let world = World {
        steps: Arc::new(lister.clone()),
        clock: clock.clone(),
        log: Arc::new(JournalLog {
            journal: open(dir.path()),
            run: RUN,
            actor: "test".to_owned(),
            clock,
        }),
        scrub: Arc::new(NoSecrets),
        progress: None,
        observer: None,
    };
    let runner = Runner::fresh(RUN, opened(chain(&["a", "b", "c"])), world);
    block(runner.drive(never())).unwrap().ended.unwrap()
}

#[test]
fn a_survey_asks_once() {
    let lister = Lister::with(&["a", "c"]);
    let surveyor = Surveyor {
        steps: Arc::new(lister.clone()),
        clock: Arc::new(Still),
        scrub: Arc::new(NoSecrets),
        progress: None,
        width: 8,
    };
    for surveys in 1..=2 {
        let survey = block(surveyor.survey(&chain(&["a", "b", "c"])));
        let right = survey.findings.values().filter(|one| one.is_satisfied());
        assert_eq!((right.count(), lister.asked()), (2, surveys));
    }
}

#[test]
fn a_run_that_changes_nothing_asks_once() {
    let lister = Lister::with(&["a", "b", "c"]);
    assert_eq!((run(&lister), lister.asked()), (Outcome::Completed, 1));
}

#[test]
fn after_the_first_effect_every_look_is_a_new_one() {
    // One for `a` and `b`; `b` verifies; `c` must see what is there by then, and verifies.
    let lister = Lister::with(&["a"]);
    assert_eq!((run(&lister), lister.asked()), (Outcome::Completed, 4));
    assert_eq!(*lister.there.lock().unwrap(), ["a", "b", "c"]);
}

/// What a step of this look has at hand.
fn cx(look: &Arc<Look>) -> StepCx {
    StepCx {
        look: Some(look.clone()),
        ..StepCx::new(RUN, StepId::new("a").unwrap(), Arc::new(Still))
    }
}

async fn counted(count: &AtomicU32) -> u32 {
    let number = count.fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    number
}

#[test]
fn a_question_is_asked_once_until_the_look_is_over() {
    let (look, count) = (Arc::default(), AtomicU32::new(0));
    let cx = cx(&look);
    block(async {
        let ask = || cx.once("q", counted(&count));
        let answers = tokio::join!(ask(), ask(), ask());
        assert_eq!((answers, ask().await), ((0, 0, 0), 0));
        assert_eq!(cx.once("other", counted(&count)).await, 1);
        let other = cx.once("q", async { "of another type" }).await;
        assert_eq!(other, "of another type");
        look.end();
        assert!(!cx.looks_together());
        assert_eq!((ask().await, ask().await), (2, 3));
    });
}

#[test]
fn who_is_cancelled_leaves_the_question_to_the_next() {
    let (look, count) = (Arc::default(), AtomicU32::new(0));
    let cx = cx(&look);
    block(async {
        tokio::select! {
            biased;
            _ = cx.once("q", std::future::pending::<u32>()) => panic!("nothing was answered"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(cx.once("q", counted(&count)).await, 0);
    });
}

#[test]
fn an_answer_that_comes_after_the_end_is_not_kept() {
    let (look, count) = (Arc::<Look>::default(), AtomicU32::new(0));
    let cx = cx(&look);
    block(async {
        let slow = cx.once("q", async {
            look.end();
            counted(&count).await
        });
        assert_eq!(slow.await, 0);
        assert_eq!(cx.once("q", counted(&count)).await, 1);
    });
}
