//! One event as one line, and as JSON.

use serde_json::{Value, json};
use wiab_engine::codec;
use wiab_engine::event::{Cause, CureOutcome, Diagnosed, Event, Recorded, StepSucceeded, Verdict};
use wiab_engine::id::StepId;
use wiab_engine::outcome::{Failure, How, Outcome, Probe, Residue};

use crate::screen::outcome_words;
use crate::ui::style::{Mark, Style, harmless};
use crate::ui::time;

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The step, if it is about one.
    pub(crate) step: Option<String>,
    /// Its meaning.
    pub(crate) mark: Mark,
    /// The sentence.
    pub(crate) text: String,
    /// Whether the step needs no further mention: it is done with.
    pub(crate) settled: bool,
}

/// The sentence of an event.
pub(crate) fn line(event: &Event) -> Line {
    let (step, mark, text) = sentence(event);
    let settled = match event {
        Event::StepSucceeded(_)
        | Event::StepFailed(_)
        | Event::UndoSucceeded(_)
        | Event::UndoFailed(_)
        | Event::UndoSkipped(_)
        | Event::Parked(_)
        | Event::OperatorDecided(_) => true,
        Event::RunOpened(_)
        | Event::RunResumed(_)
        | Event::PlanRevised(_)
        | Event::StepStarted(_)
        | Event::StepCaptured(_)
        | Event::RetryPlanned(_)
        | Event::StepReconciled(_)
        | Event::UnwindBegan(_)
        | Event::UndoStarted(_)
        | Event::Interrupted(_)
        | Event::RunEnded(_)
        | Event::EvidenceTaken(_)
        | Event::Diagnosed(_)
        | Event::CureTried(_)
        | Event::CureEnded(_)
        | Event::ObligationOpened(_)
        | Event::ObligationSettled(_) => false,
    };
    Line {
        step,
        mark,
        text: harmless(&text),
        settled,
    }
}

type Told = (Option<String>, Mark, String);

fn of_step(step: &StepId, mark: Mark, text: String) -> Told {
    (Some(step.to_string()), mark, text)
}

fn sentence(event: &Event) -> Told {
    match event {
        Event::StepStarted(e) => of_step(&e.step, Mark::Running, attempt("started", e.attempt)),
        Event::StepCaptured(e) => of_step(&e.step, Mark::Running, found(&e.found)),
        Event::StepSucceeded(e) => succeeded(e),
        Event::StepFailed(e) => {
            let text = failed("failed", e.attempt, &e.failure);
            of_step(&e.step, Mark::Failed, text)
        }
        Event::RetryPlanned(e) => {
            let text = format!("attempt {} in {}", e.attempt, time::took(e.delay_ms));
            of_step(&e.step, Mark::Waiting, text)
        }
        Event::StepReconciled(e) => {
            let text = format!(
                "looked at after the break, attempt {}: {}",
                e.attempt,
                found(&e.found)
            );
            of_step(&e.step, Mark::Unsure, text)
        }
        Event::UndoStarted(e) => {
            of_step(&e.step, Mark::Running, attempt("undo started", e.attempt))
        }
        Event::UndoSucceeded(e) => {
            let text = format!("undone in {}", time::took(e.took_ms));
            of_step(&e.step, Mark::Undone, text)
        }
        Event::UndoFailed(e) => {
            let text = failed("undo failed", e.attempt, &e.failure);
            of_step(&e.step, Mark::Failed, text)
        }
        Event::UndoSkipped(e) => {
            of_step(&e.step, Mark::Skipped, format!("left in place: {}", e.why))
        }
        Event::Parked(e) => of_step(&e.step, Mark::Parked, format!("parked: {}", e.why)),
        Event::OperatorDecided(e) => {
            let text = format!("decided: {} ({})", verdict(e.verdict), e.note);
            (e.step.as_ref().map(ToString::to_string), Mark::Parked, text)
        }
        Event::EvidenceTaken(_)
        | Event::Diagnosed(_)
        | Event::CureTried(_)
        | Event::CureEnded(_)
        | Event::ObligationOpened(_)
        | Event::ObligationSettled(_) => account(event),
        Event::RunOpened(_)
        | Event::RunResumed(_)
        | Event::PlanRevised(_)
        | Event::UnwindBegan(_)
        | Event::Interrupted(_)
        | Event::RunEnded(_) => {
            let (mark, text) = of_run(event);
            (None, mark, text)
        }
    }
}

/// The sentence of an event in which a step gives account.
fn account(event: &Event) -> Told {
    match event {
        Event::EvidenceTaken(e) => {
            let text = format!("seen: {}: {}", e.topic, e.summary);
            of_step(&e.step, Mark::Running, text)
        }
        Event::Diagnosed(e) => of_step(&e.step, Mark::Unsure, diagnosis(e)),
        Event::CureTried(e) => of_step(
            &e.step,
            Mark::Running,
            format!("cure for {}: {}", e.cause, e.what),
        ),
        Event::CureEnded(e) => {
            let (mark, word) = cure(e.outcome);
            let text = format!("cure for {} {word}: {}", e.cause, e.seen);
            of_step(&e.step, mark, text)
        }
        Event::ObligationOpened(e) => {
            let text = format!("owed from now on: {} ({})", e.what, e.id);
            of_step(&e.step, Mark::Parked, text)
        }
        Event::ObligationSettled(e) => {
            of_step(&e.step, Mark::Ok, format!("settled: {} ({})", e.how, e.id))
        }
        other => (None, Mark::Unsure, other.name().to_owned()),
    }
}

/// The cause that a diagnosis chose, or what it could not decide between.
fn diagnosis(event: &Diagnosed) -> String {
    let chosen = event.chosen.as_deref();
    let chosen = event
        .ranking
        .iter()
        .find(|suspect| Some(suspect.cause.as_str()) == chosen);
    if let Some(suspect) = chosen {
        return format!("cause: {} ({})", suspect.meaning, suspect.cause);
    }
    let causes: Vec<&str> = event.ranking.iter().map(|s| s.cause.as_str()).collect();
    if causes.is_empty() {
        return "cause: not known; nothing that was seen fits a known one".to_owned();
    }
    format!("cause: not decided between {}", causes.join(", "))
}

/// What came of a cure.
pub(crate) fn cure(outcome: CureOutcome) -> (Mark, &'static str) {
    match outcome {
        CureOutcome::Worked => (Mark::Ok, "worked"),
        CureOutcome::WithoutEffect => (Mark::Failed, "changed nothing"),
        CureOutcome::Failed => (Mark::Failed, "could not be done"),
        CureOutcome::Declined => (Mark::Skipped, "was not done"),
    }
}

/// The sentence of an event that is about the whole run.
fn of_run(event: &Event) -> (Mark, String) {
    match event {
        Event::RunOpened(e) => {
            let steps = e.plan.steps.len();
            let text = format!("plan {} with {steps} steps on {}", e.plan.name, e.host);
            (Mark::Running, text)
        }
        Event::RunResumed(e) => (Mark::Running, format!("taken up again by wiab {}", e.tool)),
        Event::PlanRevised(e) => {
            let steps = e.plan.steps.len();
            (
                Mark::Changed,
                format!("goes on with a changed plan of {steps} steps"),
            )
        }
        Event::UnwindBegan(e) => (Mark::Undone, unwind(e)),
        Event::Interrupted(e) if e.stage == 1 => {
            (Mark::Parked, format!("{}: nothing new starts", e.by))
        }
        Event::Interrupted(e) => (Mark::Parked, format!("{}: running steps are stopped", e.by)),
        Event::RunEnded(e) => {
            let words = outcome_words(Some(e.outcome), false);
            (ended_mark(e.outcome), words.to_owned())
        }
        other => (Mark::Unsure, other.name().to_owned()),
    }
}

fn succeeded(event: &StepSucceeded) -> Told {
    let (mark, word) = match event.how {
        How::Adopted => (Mark::Ok, "ok"),
        How::Changed => (Mark::Changed, "changed"),
        How::Accepted => (Mark::Ok, "accepted"),
    };
    let mut text = format!("{word} in {}", time::took(event.took_ms));
    if let Some(note) = &event.receipt.note {
        text.extend([": ", note]);
    }
    of_step(&event.step, mark, text)
}

fn attempt(word: &str, number: u32) -> String {
    if number <= 1 {
        return word.to_owned();
    }
    format!("{word}, attempt {number}")
}

fn unwind(event: &wiab_engine::event::UnwindBegan) -> String {
    let why = match &event.cause {
        Cause::StepFailed(step) => format!("{step} failed"),
        Cause::Operator => "asked for".to_owned(),
    };
    let scope = event.keep_to.as_ref().map_or_else(
        || "everything".to_owned(),
        |step| format!("what came after {step}"),
    );
    let data = if event.wipe_data {
        ", data included"
    } else {
        ""
    };
    format!("taking back {scope}{data} ({why})")
}

fn ended_mark(outcome: Outcome) -> Mark {
    match outcome {
        Outcome::Completed => Mark::Ok,
        Outcome::FailedKept => Mark::Failed,
        Outcome::RolledBack => Mark::Undone,
        Outcome::Parked | Outcome::Interrupted => Mark::Parked,
        Outcome::Abandoned => Mark::Skipped,
    }
}

/// What a look found, in a few words.
pub(crate) fn found(probe: &Probe) -> String {
    match probe {
        Probe::Satisfied(_) => "as wanted".to_owned(),
        Probe::Absent => "absent, creating".to_owned(),
        Probe::Drifted { diff } => format!("differs in {}", changed_lines(diff)),
        Probe::Partial { what } => format!("half there: {what}"),
        Probe::Unknown { why } => format!("cannot be looked at: {why}"),
        Probe::Running => "its job still runs".to_owned(),
    }
}

/// `2 lines` of a difference.
pub(crate) fn changed_lines(diff: &str) -> String {
    let lines = diff
        .lines()
        .filter(|line| line.starts_with('+') || line.starts_with('-'))
        .count();
    crate::screen::count(lines.max(1), "line")
}

fn failed(word: &str, number: u32, failure: &Failure) -> String {
    let code = if failure.code.is_empty() {
        String::new()
    } else {
        format!("{}: ", failure.code)
    };
    let left = match failure.residue {
        Residue::Clean => "nothing left behind",
        Residue::Dirty => "something left behind",
        Residue::Unknown => "what is left is not known",
    };
    format!("{}: {code}{} ({left})", attempt(word, number), failure.why)
}

/// The word of a decision.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Retry => "retry",
        Verdict::RetryUndo => "retry-undo",
        Verdict::Accept => "accept",
        Verdict::Skip => "skip",
        Verdict::Abandon => "abandon",
    }
}

/// `12:04:31 vm.start:kubenode1 | ✔ changed in 41 s`.
pub(crate) fn plain(style: Style, time_ms: u64, line: &Line) -> String {
    format!(
        "{} {} | {} {}",
        time::clock(time_ms),
        line.step.as_deref().unwrap_or("run"),
        style.glyph(line.mark),
        line.text
    )
}

/// The event as a line of JSON. While a run is under way only its place in the run is known, not in the journal.
pub(crate) fn json_live(recorded: &Recorded) -> Value {
    with_place("run_seq", recorded)
}

/// The event of the journal as JSON.
pub(crate) fn json(recorded: &Recorded) -> Value {
    with_place("seq", recorded)
}

fn with_place(place: &str, recorded: &Recorded) -> Value {
    json!({
        "type": "event",
        place: recorded.seq,
        "run": recorded.run.display(),
        "time": time::rfc3339(recorded.time_ms),
        "actor": recorded.actor,
        "event": recorded.event.name(),
        "body": codec::to_json(&recorded.event),
    })
}

#[cfg(test)]
mod tests {
    use wiab_engine::event::StepFailed;
    use wiab_engine::outcome::Receipt;

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let step = StepId::new("vm.start:kubenode1").unwrap();
        let cases: Vec<(Event, &str)> = vec![
            (
                StepSucceeded {
                    step: step.clone(),
                    attempt: 1,
                    how: How::Changed,
                    receipt: Receipt::note("192.168.122.21"),
                    evidence: None,
                    took_ms: 41_000,
                }
                .into(),
                "00:00:05 vm.start:kubenode1 | ~ changed in 41 s: 192.168.122.21",
            ),
            (
                StepFailed {
                    step,
                    attempt: 2,
                    failure: Failure::dirty("bad\u{1b}[2J disk").code("WB1"),
                    evidence: None,
                    took_ms: 1,
                }
                .into(),
                "00:00:05 vm.start:kubenode1 | ✘ failed, attempt 2: WB1: bad\\u{1b}[2J disk (something left behind)",
            ),
        ];
        for (event, want) in cases {
            assert_eq!(plain(Style::PLAIN, 5_000, &line(&event)), want);
        }
    }
}
