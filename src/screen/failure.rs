//! The last thing printed when a run does not complete: what failed, what it left, what to type next.

use wiab_engine::id::RunId;
use wiab_engine::outcome::{Failure, Outcome, Residue, UndoClass};
use wiab_engine::state::{Direction, RunState, StepRecord, StepState};

use crate::screen::count;
use crate::ui::style::{Mark, Style, harmless};

/// Most failed steps shown in full.
const SHOWN_MAX: usize = 3;

/// What the block needs besides the state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The run.
    pub(crate) run: RunId,
    /// Options that repeat which installation is meant: ` --host sim`.
    pub(crate) suffix: &'a str,
}

/// The block; empty for a completed run.
pub(crate) fn block(style: Style, state: &RunState, cx: Context<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let failed: Vec<_> = state
        .steps()
        .filter_map(|(spec, record)| Some((spec, record, failure_of(record)?)))
        .collect();
    // What the checks found is told whole: it is to be mended in one go.
    let shown = if only_checks_failed(state) {
        failed.len()
    } else {
        SHOWN_MAX
    };
    for (spec, record, failure) in failed.iter().take(shown) {
        lines.extend(step(style, spec.id.as_str(), record, failure, cx));
    }
    if failed.len() > shown {
        lines.push(format!("  … and {} more failed", failed.len() - shown));
    }
    for (id, why) in state.parked() {
        lines.push(format!(
            "{} {} {}",
            style.glyph(Mark::Parked),
            style.bold(&format!("{id} needs a decision:")),
            harmless(why)
        ));
    }
    lines.extend(left(style, state));
    let first_failed = failed.first().map(|(spec, ..)| spec.id.as_str());
    lines.extend(next(state, first_failed, cx));
    lines
}

/// Whether nothing but checks before the installation has failed.
pub(crate) fn only_checks_failed(state: &RunState) -> bool {
    let mut failed = state
        .steps()
        .filter(|(_, record)| failure_of(record).is_some())
        .peekable();
    failed.peek().is_some() && failed.all(|(spec, _)| spec.id.area() == wiab_plans::PREFLIGHT)
}

fn failure_of(record: &StepRecord) -> Option<&Failure> {
    match &record.state {
        StepState::Failed { failure, .. } | StepState::UndoFailed { failure, .. } => Some(failure),
        _ => None,
    }
}

fn step(
    style: Style,
    id: &str,
    record: &StepRecord,
    failure: &Failure,
    cx: Context<'_>,
) -> Vec<String> {
    let (what, attempts) = match &record.state {
        StepState::UndoFailed { attempt, .. } => ("undo failed", *attempt),
        StepState::Failed { attempt, .. } => ("failed", *attempt),
        _ => ("failed", record.attempts),
    };
    let after = match attempts {
        0 | 1 => String::new(),
        more => format!(" after {}", count(more as usize, "attempt")),
    };
    let code = if failure.code.is_empty() {
        String::new()
    } else {
        format!(" ({})", failure.code)
    };
    let title = style.bold(&format!("{id} {what}{after}{code}"));
    let mut lines = vec![format!("{} {title}", style.glyph(Mark::Failed))];
    let mut why = failure.why.lines();
    lines.push(format!(
        "    cause    {}",
        harmless(why.next().unwrap_or(""))
    ));
    lines.extend(
        why.take(10)
            .map(|line| format!("             {}", harmless(line))),
    );
    lines.push(format!("    left     {}", residue(failure.residue)));
    if let Some(hint) = &failure.hint {
        let mut hint = hint.lines();
        lines.push(format!(
            "    remedy   {}",
            harmless(hint.next().unwrap_or(""))
        ));
        lines.extend(
            hint.take(10)
                .map(|line| format!("             {}", harmless(line))),
        );
    }
    lines.push(format!(
        "    log      wiab journal log {} {id}{}",
        cx.run.short(),
        cx.suffix
    ));
    lines
}

fn residue(residue: Residue) -> &'static str {
    match residue {
        Residue::Clean => "nothing; the host is as before this step",
        Residue::Dirty => "something half done; resume completes it, rollback removes it",
        Residue::Unknown => {
            "not known; resume looks first, rollback restores the state before the step"
        }
    }
}

/// What a rollback has left standing.
fn left(style: Style, state: &RunState) -> Vec<String> {
    if !matches!(state.direction, Direction::Unwinding { .. }) {
        return Vec::new();
    }
    state
        .steps()
        .filter_map(|(spec, record)| match &record.state {
            StepState::Left { why } => Some(format!(
                "{} {} left in place: {}",
                style.glyph(Mark::Skipped),
                spec.id,
                harmless(why)
            )),
            _ => None,
        })
        .collect()
}

/// Whether a rollback has left effects that only a confirmation takes back.
fn keeps_data(state: &RunState) -> bool {
    state.steps().any(|(spec, record)| {
        matches!(record.state, StepState::Left { .. })
            && matches!(spec.undo, UndoClass::Destructive { .. })
    })
}

fn next(state: &RunState, failed: Option<&str>, cx: Context<'_>) -> Vec<String> {
    let run = cx.run.short();
    let suffix = cx.suffix;
    let unwinding = matches!(state.direction, Direction::Unwinding { .. });
    let parked = state.parked().next().map(|(id, _)| id.to_string());
    let step = parked.clone().or_else(|| failed.map(str::to_owned));
    let mut rows: Vec<(&str, String)> = Vec::new();
    let resume = format!("wiab apply --resume {run}{suffix}");
    let back = format!("wiab rollback {run}{suffix}");
    match state.ended {
        Some(Outcome::Completed) => rows.push(("take it back", back)),
        Some(Outcome::RolledBack) => {
            rows.push(("what happened", format!("wiab journal log {run}{suffix}")));
            rows.push(("begin again", format!("wiab apply{suffix}")));
            if keeps_data(state) {
                let wipe = format!("wiab rollback {run} --wipe-data{suffix}");
                rows.insert(0, ("take data, too", wipe));
            }
        }
        Some(Outcome::Abandoned) => {
            rows.push(("begin again", format!("wiab apply{suffix}")));
            rows.push(("take it back", back));
        }
        Some(Outcome::Parked | Outcome::FailedKept | Outcome::Interrupted) | None => {
            let decide = step.map(|step| {
                let verdicts = if unwinding {
                    "--retry-undo|--accept|--skip"
                } else {
                    "--accept|--retry|--skip"
                };
                (
                    "decide by hand",
                    format!("wiab decide {run} {step} {verdicts} --note \"…\"{suffix}"),
                )
            });
            if unwinding {
                rows.push(("go on taking back", format!("wiab rollback {run}{suffix}")));
            } else if parked.is_none() {
                let lead = if failed.is_some() {
                    "fix and resume"
                } else {
                    "resume"
                };
                rows.push((lead, resume));
            }
            if parked.is_some() {
                rows.splice(0..0, decide);
            } else {
                rows.extend(decide);
            }
            if !unwinding {
                let at = 1.min(rows.len());
                rows.insert(at, ("take it all back", back));
            }
        }
    }
    rows.iter()
        .enumerate()
        .map(|(index, (what, command))| {
            let lead = if index == 0 { "Next:" } else { "     " };
            format!("{lead}  {what:<18}  {command}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use wiab_engine::event::{Event, RunEnded, StepFailed, StepStarted};

    use super::*;
    use crate::screen::status::tests::{opened, plan, sid};

    #[test]
    fn a_failure_says_cause_residue_log_and_next() {
        let events: Vec<Event> = vec![
            opened(plan(&["a", "b"])).into(),
            StepStarted {
                step: sid("a"),
                attempt: 1,
            }
            .into(),
            StepFailed {
                step: sid("a"),
                attempt: 1,
                failure: Failure::dirty("no space\non /")
                    .code("WB2")
                    .hint("free some"),
                evidence: None,
                took_ms: 10,
            }
            .into(),
            RunEnded {
                outcome: Outcome::FailedKept,
            }
            .into(),
        ];
        let state = RunState::replay(&events).unwrap();
        let cx = Context {
            run: RunId([7; 16]),
            suffix: " --host sim",
        };
        assert_eq!(
            block(Style::PLAIN, &state, cx).join("\n"),
            "✘ a failed (WB2)\n    \
             cause    no space\n             on /\n    \
             left     something half done; resume completes it, rollback removes it\n    \
             remedy   free some\n    \
             log      wiab journal log 07070707 a --host sim\n\
             Next:  fix and resume      wiab apply --resume 07070707 --host sim\n       \
             take it all back    wiab rollback 07070707 --host sim\n       \
             decide by hand      wiab decide 07070707 a --accept|--retry|--skip --note \"…\" --host sim"
        );
    }
}
