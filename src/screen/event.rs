//! One event as one line, and as JSON.

use serde_json::{Value, json};
use wiab_engine::codec;
use wiab_engine::event::{Cause, Event, Recorded, Verdict};
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
        | Event::RunEnded(_) => false,
    };
    Line {
        step,
        mark,
        text: harmless(&text),
        settled,
    }
}

fn sentence(event: &Event) -> (Option<String>, Mark, String) {
    let run = |mark, text: String| (None, mark, text);
    let step =
        |id: &wiab_engine::id::StepId, mark, text: String| (Some(id.to_string()), mark, text);
    match event {
        Event::RunOpened(e) => run(
            Mark::Running,
            format!(
                "plan {} with {} steps on {}",
                e.plan.name,
                e.plan.steps.len(),
                e.host
            ),
        ),
        Event::RunResumed(e) => run(Mark::Running, format!("taken up again by wiab {}", e.tool)),
        Event::PlanRevised(e) => run(
            Mark::Changed,
            format!(
                "goes on with a changed plan of {} steps",
                e.plan.steps.len()
            ),
        ),
        Event::StepStarted(e) => step(&e.step, Mark::Running, attempt("started", e.attempt)),
        Event::StepCaptured(e) => step(&e.step, Mark::Running, found(&e.found)),
        Event::StepSucceeded(e) => {
            let (mark, word) = match e.how {
                How::Adopted => (Mark::Ok, "ok"),
                How::Changed => (Mark::Changed, "changed"),
                How::Accepted => (Mark::Ok, "accepted"),
            };
            let note = e
                .receipt
                .note
                .as_deref()
                .map_or_else(String::new, |note| format!(": {note}"));
            step(
                &e.step,
                mark,
                format!("{word} in {}{note}", time::took(e.took_ms)),
            )
        }
        Event::StepFailed(e) => step(
            &e.step,
            Mark::Failed,
            failed("failed", e.attempt, &e.failure),
        ),
        Event::RetryPlanned(e) => step(
            &e.step,
            Mark::Waiting,
            format!("attempt {} in {}", e.attempt, time::took(e.delay_ms)),
        ),
        Event::StepReconciled(e) => step(
            &e.step,
            Mark::Unsure,
            format!(
                "looked at after the break, attempt {}: {}",
                e.attempt,
                found(&e.found)
            ),
        ),
        Event::UnwindBegan(e) => run(Mark::Undone, unwind(e)),
        Event::UndoStarted(e) => step(&e.step, Mark::Running, attempt("undo started", e.attempt)),
        Event::UndoSucceeded(e) => step(
            &e.step,
            Mark::Undone,
            format!("undone in {}", time::took(e.took_ms)),
        ),
        Event::UndoFailed(e) => step(
            &e.step,
            Mark::Failed,
            failed("undo failed", e.attempt, &e.failure),
        ),
        Event::UndoSkipped(e) => step(&e.step, Mark::Skipped, format!("left in place: {}", e.why)),
        Event::Parked(e) => step(&e.step, Mark::Parked, format!("parked: {}", e.why)),
        Event::OperatorDecided(e) => (
            e.step.as_ref().map(ToString::to_string),
            Mark::Parked,
            format!("decided: {} ({})", verdict(e.verdict), e.note),
        ),
        Event::Interrupted(e) => run(
            Mark::Parked,
            match e.stage {
                1 => format!("{}: nothing new starts", e.by),
                _ => format!("{}: running steps are stopped", e.by),
            },
        ),
        Event::RunEnded(e) => run(
            ended_mark(e.outcome),
            outcome_words(Some(e.outcome), false).to_owned(),
        ),
    }
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
    use wiab_engine::event::{StepFailed, StepSucceeded};
    use wiab_engine::id::StepId;
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
