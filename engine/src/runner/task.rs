//! One task per effect: an attempt, a look, an undo, a delay. Tasks hold no state; they report to the dispatcher.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::event::{
    Event, Evidence, StepCaptured, StepFailed, StepReconciled, StepSucceeded, UndoFailed,
    UndoSucceeded,
};
use crate::mutant::{self, Mutant};
use crate::outcome::{Before, Failure, How, Probe, Receipt};
use crate::ports::{Busy, RunLog, Scrub, Step, StepCx};
use crate::state::Index;

use super::desk::{Handover, hand_over};

/// How long a cancelled or overdue step may take to stop before it is dropped, in milliseconds.
pub(super) const GRACE_MS: u64 = 30_000;

/// What a task tells the dispatcher.
#[derive(Debug)]
pub(super) enum Report {
    /// The task's outcome.
    Done {
        step: Index,
        event: Event,
        busy: Busy,
    },
    /// A delay is over.
    Rested { step: Index, busy: Busy },
}

/// What an attempt is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Probe, capture, apply, verify.
    Attempt,
    /// Continue an attempt whose job was found.
    Reattach,
    /// Only look.
    Reconcile,
    /// Take back.
    Undo,
}

/// Everything a task needs.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) index: Index,
    pub(super) mode: Mode,
    pub(super) step: Result<Arc<dyn Step>, String>,
    pub(super) cx: StepCx,
    pub(super) before: Option<Before>,
    pub(super) touched: bool,
    /// Apply even if the probe is satisfied.
    pub(super) redo: bool,
    pub(super) timeout_ms: u64,
    pub(super) log: Arc<dyn RunLog>,
    pub(super) scrub: Arc<dyn Scrub>,
    pub(super) handover: mpsc::Sender<Handover>,
    pub(super) busy: Busy,
}

enum Answer {
    Succeeded(How, Receipt),
    Found(Probe),
    Undone,
}

/// Runs to the end, within its time limit, and reports.
pub(super) async fn run(work: Work) -> Report {
    let started_ms = work.cx.clock.mono_ms();
    let (answer, late) = limited(&work).await;
    let took_ms = work.cx.clock.mono_ms().saturating_sub(started_ms);
    let event = report(&work, answer, took_ms).await;
    drop(late);
    Report::Done {
        step: work.index,
        event,
        busy: work.busy,
    }
}

/// The work under its time limit and the operator's wish to stop.
async fn limited(work: &Work) -> (Result<Answer, Failure>, Option<Busy>) {
    let clock = &work.cx.clock;
    let mut doing = std::pin::pin!(perform(work));
    let late = tokio::select! {
        biased;
        answer = &mut doing => return (answer, None),
        () = work.cx.cancel.cancelled() => None,
        late = clock.alarm(work.timeout_ms) => Some(late),
    };
    let timed_out = late.is_some();
    work.cx.cancel.cancel();
    tokio::select! {
        biased;
        answer = &mut doing => {
            let answer = answer.map_err(|failure| if timed_out { overdue(work, failure) } else { failure });
            (answer, late)
        }
        late = clock.alarm(GRACE_MS) => {
            let why = format!("did not stop within {} s", GRACE_MS / 1_000);
            (Err(Failure::unknown(why)), Some(late))
        }
    }
}

fn overdue(work: &Work, failure: Failure) -> Failure {
    let limit_s = work.timeout_ms / 1_000;
    Failure {
        why: format!("no end within {limit_s} s: {}", failure.why),
        ..failure
    }
}

async fn perform(work: &Work) -> Result<Answer, Failure> {
    let step = work
        .step
        .as_ref()
        .map_err(|why| Failure::clean(why.clone()))?;
    if work.mode != Mode::Attempt {
        change(work);
    }
    match work.mode {
        Mode::Reconcile if mutant::on(Mutant::NoProbeOnResume) => Ok(Answer::Found(Probe::Absent)),
        Mode::Reconcile => look(work, step.as_ref()).await.map(Answer::Found),
        Mode::Undo => {
            let before = work.before.clone().unwrap_or(Before::Nothing);
            step.undo(&work.cx, &before).await.map(|()| Answer::Undone)
        }
        Mode::Reattach => {
            let before = work.before.clone().unwrap_or(Before::Nothing);
            let receipt = step.apply(&work.cx, &before).await?;
            Ok(Answer::Succeeded(
                How::Changed,
                verify(work, step.as_ref(), receipt).await?,
            ))
        }
        Mode::Attempt => attempt(work, step.as_ref()).await,
    }
}

/// Looks at the host. A step that owes something is not finished by being as wanted: it is run again to settle it.
async fn look(work: &Work, step: &dyn Step) -> Result<Probe, Failure> {
    let found = step.probe(&work.cx).await?;
    match (found, work.cx.owes().first()) {
        (Probe::Satisfied(_), Some(owed)) if !mutant::on(Mutant::ForgetsObligations) => {
            Ok(Probe::Partial {
                what: format!("it is as wanted, but this is not settled: {}", owed.what),
            })
        }
        (found, _) => Ok(found),
    }
}

/// What probes learnt together does not hold any more: something changes, or what was interrupted may still be changing it.
fn change(work: &Work) {
    if let Some(look) = &work.cx.look {
        look.end();
    }
}

async fn attempt(work: &Work, step: &dyn Step) -> Result<Answer, Failure> {
    let found = match look(work, step).await? {
        Probe::Satisfied(receipt) if !work.redo => {
            let how = if work.touched {
                How::Changed
            } else {
                How::Adopted
            };
            return Ok(Answer::Succeeded(how, receipt));
        }
        Probe::Satisfied(_) | Probe::Unknown { .. } | Probe::Running => {
            change(work);
            let before = work.before.clone().unwrap_or(Before::Nothing);
            return Ok(Answer::Succeeded(
                How::Changed,
                step.apply(&work.cx, &before).await?,
            ));
        }
        found @ (Probe::Absent | Probe::Drifted { .. } | Probe::Partial { .. }) => found,
    };
    change(work);
    let before = match work.before.clone() {
        Some(before) => before,
        None => capture(work, step, found).await?,
    };
    let receipt = step.apply(&work.cx, &before).await?;
    Ok(Answer::Succeeded(
        How::Changed,
        verify(work, step, receipt).await?,
    ))
}

/// Captures the before-image and waits until it is durable.
async fn capture(work: &Work, step: &dyn Step, found: Probe) -> Result<Before, Failure> {
    let before = step.capture(&work.cx).await?;
    let event = StepCaptured {
        step: work.cx.step.clone(),
        attempt: work.cx.attempt,
        before: before.clone(),
        found: scrub_probe(work, found),
    };
    if !hand_over(&work.handover, &work.cx.step, event).await {
        let why = "the journal could not keep the before-image; nothing was changed";
        return Err(Failure::clean(why));
    }
    if work.cx.cancel.is_cancelled() {
        return Err(Failure::clean("stopped before anything was changed"));
    }
    Ok(before)
}

/// Looks again: an effect that cannot be seen is a failure, whatever its commands said.
async fn verify(work: &Work, step: &dyn Step, receipt: Receipt) -> Result<Receipt, Failure> {
    let cx = StepCx {
        resumed: false,
        ..work.cx.clone()
    };
    let missing = match step.probe(&cx).await.map_err(doubtful)? {
        Probe::Satisfied(seen) => {
            let mut outputs = seen.outputs;
            outputs.extend(receipt.outputs);
            return Ok(Receipt {
                outputs,
                note: receipt.note.or(seen.note),
            });
        }
        Probe::Unknown { .. } | Probe::Running => return Ok(receipt),
        Probe::Absent => "nothing of it is there".to_owned(),
        Probe::Drifted { diff } => format!("it differs:\n{diff}"),
        Probe::Partial { what } => what,
    };
    Err(Failure::dirty(format!(
        "every command succeeded, but a look at the host finds that {missing}"
    ))
    .retry())
}

/// A failed look after the effect says nothing about the effect.
fn doubtful(failure: Failure) -> Failure {
    Failure {
        residue: crate::outcome::Residue::Unknown,
        ..failure
    }
}

async fn report(work: &Work, answer: Result<Answer, Failure>, took_ms: u64) -> Event {
    let evidence = evidence(work).await;
    let (step, attempt) = (work.cx.step.clone(), work.cx.attempt);
    match (answer, work.mode) {
        (Ok(Answer::Found(found)), _) => StepReconciled {
            step,
            attempt,
            found: scrub_probe(work, found),
        }
        .into(),
        (Ok(Answer::Undone), _) => UndoSucceeded {
            step,
            attempt,
            evidence,
            took_ms,
        }
        .into(),
        (Ok(Answer::Succeeded(how, receipt)), _) => {
            let receipt = scrub_receipt(work, receipt);
            StepSucceeded {
                step,
                attempt,
                how,
                receipt,
                evidence,
                took_ms,
            }
            .into()
        }
        (Err(failure), Mode::Undo) => UndoFailed {
            step,
            attempt,
            failure: scrub_failure(work, failure),
            evidence,
            took_ms,
        }
        .into(),
        (Err(failure), Mode::Attempt | Mode::Reattach | Mode::Reconcile) => StepFailed {
            step,
            attempt,
            failure: scrub_failure(work, failure),
            evidence,
            took_ms,
        }
        .into(),
    }
}

/// Stores what the commands said; an outcome is not lost because its evidence could not be kept.
async fn evidence(work: &Work) -> Option<Evidence> {
    let bytes = work.cx.evidence.bytes()?;
    let text = String::from_utf8_lossy(&bytes);
    let clean = work.scrub.scrub(&text).into_owned().into_bytes();
    match work.log.store(clean).await {
        Ok(evidence) => Some(evidence),
        Err(error) => {
            tracing::warn!(step = %work.cx.step, %error, "captured output could not be stored");
            None
        }
    }
}

fn clean(work: &Work, text: &str) -> String {
    work.scrub.scrub(text).into_owned()
}

fn scrub_failure(work: &Work, failure: Failure) -> Failure {
    let hint = failure.hint.map(|hint| clean(work, &hint));
    Failure {
        why: clean(work, &failure.why),
        hint,
        ..failure
    }
}

fn scrub_receipt(work: &Work, receipt: Receipt) -> Receipt {
    let outputs = receipt
        .outputs
        .into_iter()
        .map(|(name, value)| (name, clean(work, &value)))
        .collect();
    Receipt {
        outputs,
        note: receipt.note.map(|note| clean(work, &note)),
    }
}

fn scrub_probe(work: &Work, probe: Probe) -> Probe {
    match probe {
        Probe::Satisfied(receipt) => Probe::Satisfied(scrub_receipt(work, receipt)),
        Probe::Drifted { diff } => Probe::Drifted {
            diff: clean(work, &diff),
        },
        Probe::Partial { what } => Probe::Partial {
            what: clean(work, &what),
        },
        Probe::Unknown { why } => Probe::Unknown {
            why: clean(work, &why),
        },
        probe @ (Probe::Absent | Probe::Running) => probe,
    }
}
