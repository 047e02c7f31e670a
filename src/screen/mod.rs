//! Screens: pure functions from data to text and JSON.

pub(crate) mod certs;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod graph;
pub(crate) mod journal;
pub(crate) mod owed;
pub(crate) mod plan;
pub(crate) mod rollback;
pub(crate) mod status;
pub(crate) mod triage;
pub(crate) mod why;
mod why_lines;
#[cfg(test)]
mod why_tests;

use wiab_engine::outcome::{How, Outcome};
use wiab_engine::state::StepState;

use crate::ui::style::Mark;

/// The mark of a step's state.
pub(crate) fn mark_of(state: &StepState) -> Mark {
    match state {
        StepState::Pending => Mark::Waiting,
        StepState::Running { .. }
        | StepState::Backoff { .. }
        | StepState::Undoing { .. }
        | StepState::UndoBackoff { .. } => Mark::Running,
        StepState::Unsettled { .. }
        | StepState::Reconciled { .. }
        | StepState::UndoUnsettled { .. } => Mark::Unsure,
        StepState::Failed { .. } | StepState::UndoFailed { .. } => Mark::Failed,
        StepState::Succeeded { how: How::Changed } => Mark::Changed,
        StepState::Succeeded {
            how: How::Adopted | How::Accepted,
        } => Mark::Ok,
        StepState::Skipped | StepState::Left { .. } => Mark::Skipped,
        StepState::Undone => Mark::Undone,
    }
}

/// How a run stands, in words; `None` is a run that no process has ended.
pub(crate) fn outcome_words(outcome: Option<Outcome>, running: bool) -> &'static str {
    match outcome {
        None if running => "running",
        None => "broken off",
        Some(Outcome::Completed) => "completed",
        Some(Outcome::FailedKept) => "failed, kept",
        Some(Outcome::RolledBack) => "rolled back",
        Some(Outcome::Parked) => "parked",
        Some(Outcome::Interrupted) => "interrupted",
        Some(Outcome::Abandoned) => "abandoned",
    }
}

/// The same as a stable word for JSON.
pub(crate) fn outcome_word(outcome: Option<Outcome>, running: bool) -> &'static str {
    match outcome {
        None if running => "running",
        None => "broken-off",
        Some(Outcome::Completed) => "completed",
        Some(Outcome::FailedKept) => "failed-kept",
        Some(Outcome::RolledBack) => "rolled-back",
        Some(Outcome::Parked) => "parked",
        Some(Outcome::Interrupted) => "interrupted",
        Some(Outcome::Abandoned) => "abandoned",
    }
}

/// `1 step`, `3 steps`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 {
        return format!("1 {one}");
    }
    format!("{number} {one}s")
}

/// Pads to a width in characters.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

/// Breaks a line between words so that each part keeps to a width in characters; later parts are indented.
pub(crate) fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    for word in line.split(' ') {
        let used = part.chars().count();
        if used > 0 && used + 1 + word.chars().count() > width {
            parts.push(std::mem::replace(&mut part, format!("  {word}")));
        } else {
            if used > 0 {
                part.push(' ');
            }
            part.push_str(word);
        }
    }
    parts.push(part);
    parts
}

/// Cuts to a width in characters.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}
