//! Accounts of steps through the real journal: scrubbed, bounded, and owed over runs until settled.

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use wiab_engine::book::{Book, BookError, Diagnosis, EVIDENCE_BYTES_MAX, EVIDENCE_MAX, Notebook};
use wiab_engine::event::{CureOutcome, Event, RunOpened, Suspect};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::installation::Installation;
use wiab_engine::outcome::{Before, Failure, Outcome, Probe, Receipt, UndoClass};
use wiab_engine::plan::StepSpec;
use wiab_engine::ports::{BoxFuture, Scrub, Step, StepCx, Steps};
use wiab_engine::record::{JournalLog, installation, recorded};
use wiab_engine::runner::{Runner, World};
use wiab_journal::Journal;

use crate::journalled::{Still, chain, never, open, opened};

const FIRST: RunId = RunId([1; 16]);
const SECOND: RunId = RunId([2; 16]);

/// A step that is always as wanted, except that it may leave a temporary rule behind.
#[derive(Debug, Clone, Default)]
struct Ruler {
    /// Whether the step's own effect is there.
    done: Arc<AtomicBool>,
    /// Whether the temporary rule is there.
    rule: Arc<AtomicBool>,
    /// Whether it fails after the rule was put there.
    fails: Arc<AtomicBool>,
    applied: Arc<AtomicU32>,
    refused: Arc<Mutex<Vec<BookError>>>,
}

impl Ruler {
    async fn perform(&self, cx: &StepCx) -> Result<Receipt, Failure> {
        self.applied.fetch_add(1, Ordering::SeqCst);
        let long = "x".repeat(EVIDENCE_BYTES_MAX + 10);
        cx.take_evidence("nft", "the rules, hunter2 too", &long)
            .await?;
        let suspect = Suspect {
            cause: "hairpin".to_owned(),
            meaning: "packets do not come back".to_owned(),
            facts_for: vec!["the password is hunter2".to_owned()],
            ..Suspect::default()
        };
        let diagnosis = Diagnosis {
            ranking: vec![suspect],
            unknown: vec![],
            chosen: Some("hairpin".to_owned()),
        };
        cx.diagnosed(&diagnosis).await?;
        cx.open_obligation("nat.rule", "a temporary rule", "delete it")
            .await?;
        self.rule.store(true, Ordering::SeqCst);
        cx.cure_tried("hairpin", "insert the rule", None).await?;
        if self.fails.swap(false, Ordering::SeqCst) {
            return Err(Failure::clean("the machine fell over"));
        }
        self.done.store(true, Ordering::SeqCst);
        cx.cure_ended("hairpin", CureOutcome::Worked, "packets come back")
            .await?;
        self.settle(cx).await?;
        Ok(Receipt::default())
    }

    async fn settle(&self, cx: &StepCx) -> Result<(), BookError> {
        self.rule.store(false, Ordering::SeqCst);
        cx.settle_obligation("nat.rule", "the rule is gone").await
    }
}

impl Step for Ruler {
    fn probe<'a>(&'a self, _: &'a StepCx) -> BoxFuture<'a, Result<Probe, Failure>> {
        let done = self.done.load(Ordering::SeqCst);
        Box::pin(async move {
            Ok(if done {
                Probe::Satisfied(Receipt::default())
            } else {
                Probe::Absent
            })
        })
    }
    fn capture<'a>(&'a self, cx: &'a StepCx) -> BoxFuture<'a, Result<Before, Failure>> {
        Box::pin(async move {
            // Too early: nothing may be promised before the before-image is durable, but nothing is lost either.
            let early = cx.take_evidence("early", "looked", "").await;
            self.refused.lock().unwrap().extend(early.err());
            Ok(Before::Nothing)
        })
    }
    fn apply<'a>(
        &'a self,
        cx: &'a StepCx,
        _: &'a Before,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.perform(cx))
    }
    fn undo<'a>(&'a self, cx: &'a StepCx, _: &'a Before) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { Ok(self.settle(cx).await?) })
    }
}

impl Steps for Ruler {
    fn build(&self, _: &StepSpec, _: serde_json::Value) -> Result<Arc<dyn Step>, String> {
        Ok(Arc::new(self.clone()))
    }
}

#[derive(Debug)]
struct Hunter;

impl Scrub for Hunter {
    fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Owned(text.replace("hunter2", "‹secret:x›"))
    }
}

fn plan_opened(undo: &UndoClass) -> RunOpened {
    let mut plan = chain(&["cert.wait"]);
    for step in &mut plan.steps {
        step.undo = undo.clone();
    }
    opened(plan)
}

fn world(journal: &Journal, run: RunId, ruler: &Ruler) -> World {
    let clock = Arc::new(Still);
    World {
        steps: Arc::new(ruler.clone()),
        clock: clock.clone(),
        log: Arc::new(JournalLog {
            journal: journal.clone(),
            run,
            actor: "test".to_owned(),
            clock,
        }),
        scrub: Arc::new(Hunter),
        progress: None,
        observer: None,
    }
}

fn drive(runner: Runner) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ended = runtime.block_on(runner.drive(never()));
    ended.unwrap().ended.unwrap()
}

fn history(journal: &Journal) -> Installation {
    installation(journal.frames(1)).unwrap()
}

fn owed(journal: &Journal) -> Vec<String> {
    history(journal)
        .owed()
        .map(|open| format!("{} {} {}", open.run.short(), open.owed.id, open.owed.step))
        .collect()
}

/// The first run falls over while the rule is there.
fn fallen(dir: &Path, ruler: &Ruler, undo: &UndoClass) -> Journal {
    let journal = open(dir);
    ruler.fails.store(true, Ordering::SeqCst);
    let runner = Runner::fresh(FIRST, plan_opened(undo), world(&journal, FIRST, ruler));
    assert_eq!(drive(runner), Outcome::FailedKept);
    assert!(ruler.rule.load(Ordering::SeqCst));
    journal
}

#[test]
fn what_one_run_owes_a_later_one_settles_although_its_look_finds_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let ruler = Ruler::default();
    let journal = fallen(dir.path(), &ruler, &UndoClass::NothingToUndo);
    assert_eq!(owed(&journal), ["01010101 nat.rule cert.wait"]);

    ruler.done.store(true, Ordering::SeqCst);
    let open = history(&journal)
        .owed()
        .map(|open| open.owed.clone())
        .collect();
    let opened = plan_opened(&UndoClass::NothingToUndo);
    let runner = Runner::fresh(SECOND, opened, world(&journal, SECOND, &ruler)).owed(open);
    assert_eq!(drive(runner), Outcome::Completed);
    assert_eq!(owed(&journal), [""; 0]);
    assert!(!ruler.rule.load(Ordering::SeqCst));
    let first = history(&journal);
    let first = &first.run(FIRST).unwrap().state;
    assert_eq!(first.owed().count(), 1, "the first run alone does not know");
}

#[test]
fn a_rollback_settles_what_a_step_with_nothing_to_undo_owes() {
    let dir = tempfile::tempdir().unwrap();
    let ruler = Ruler::default();
    let journal = fallen(dir.path(), &ruler, &UndoClass::NothingToUndo);
    let state = history(&journal).run(FIRST).unwrap().state.clone();
    let began = wiab_engine::event::UnwindBegan {
        cause: wiab_engine::event::Cause::Operator,
        keep_to: None,
        wipe_data: false,
    };
    let world = world(&journal, FIRST, &ruler);
    let runner = Runner::resume(FIRST, state, vec![began.into()], world).unwrap();
    assert_eq!(drive(runner), Outcome::RolledBack);
    assert_eq!(owed(&journal), [""; 0]);
    assert!(!ruler.rule.load(Ordering::SeqCst));
}

#[test]
fn accounts_are_scrubbed_and_bounded_and_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let ruler = Ruler::default();
    let journal = open(dir.path());
    let opened = plan_opened(&UndoClass::Reversible);
    let runner = Runner::fresh(FIRST, opened, world(&journal, FIRST, &ruler));
    assert_eq!(drive(runner), Outcome::Completed);
    assert!(ruler.refused.lock().unwrap().is_empty());
    let events: Vec<Event> = journal
        .frames(1)
        .filter_map(|frame| recorded(&frame.unwrap()).unwrap())
        .map(|recorded| recorded.event)
        .collect();
    let names: Vec<&str> = events.iter().map(Event::name).collect();
    let expected = [
        "RunOpened",
        "StepStarted",
        "EvidenceTaken",
        "StepCaptured",
        "EvidenceTaken",
        "Diagnosed",
        "ObligationOpened",
        "CureTried",
        "CureEnded",
        "ObligationSettled",
        "StepSucceeded",
        "RunEnded",
    ];
    assert_eq!(names, expected);
    assert!(!format!("{events:?}").contains("hunter2"));
    let Event::EvidenceTaken(taken) = &events[4] else {
        panic!("{:?}", events[4]);
    };
    let body = journal.blobs().get(&taken.body.hash).unwrap().unwrap();
    assert!(body.len() < EVIDENCE_BYTES_MAX + 100, "{}", body.len());
    assert!(String::from_utf8(body).unwrap().contains("bytes left out"));
}

#[test]
fn a_notebook_serves_steps_without_a_run() {
    let notebook = Arc::new(Notebook::default());
    let step = StepId::new("cert.wait").unwrap();
    let cx = StepCx {
        book: Book::new(notebook.clone(), []),
        ..StepCx::new(FIRST, step, Arc::new(Still))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for _ in 0..EVIDENCE_MAX + 5 {
            cx.take_evidence("dns", "an answer", "203.0.113.5")
                .await
                .unwrap();
        }
        cx.open_obligation("a", "b", "c").await.unwrap();
        cx.open_obligation("a", "b", "c").await.unwrap();
        assert_eq!(cx.owes().len(), 1);
        cx.settle_obligation("a", "gone").await.unwrap();
        cx.settle_obligation("a", "gone").await.unwrap();
        assert!(cx.owed().is_empty());
        let diagnosis = Diagnosis::default();
        let told = std::iter::repeat_with(|| cx.diagnosed(&diagnosis));
        let mut refused = false;
        for told in told.take(40) {
            refused |= told.await.is_err();
        }
        assert!(refused, "diagnoses are bounded");
    });
    let events = notebook.events();
    let evidence = events.iter().filter_map(|event| match event {
        Event::EvidenceTaken(e) => Some(e),
        _ => None,
    });
    let evidence: Vec<_> = evidence.collect();
    assert_eq!(evidence.len(), EVIDENCE_MAX as usize);
    assert_eq!(
        notebook.body(&evidence[0].body).as_deref(),
        Some("203.0.113.5")
    );
    assert!(evidence.last().unwrap().summary.contains("more was seen"));
    let owed = events
        .iter()
        .filter(|event| event.name().starts_with("Obligation"));
    assert_eq!(owed.count(), 2);
}
