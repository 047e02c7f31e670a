//! Where a run stands.

use serde_json::{Value, json};
use wiab_engine::installation::Run;
use wiab_engine::state::{Direction, StepState, Tally};

use crate::screen::{count, mark_of, outcome_word, outcome_words, pad};
use crate::ui::printer::JSON_SCHEMA;
use crate::ui::style::{Mark, Style, harmless};
use crate::ui::time;

/// A run, and whether a process works on it now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunView<'a> {
    /// The run.
    pub(crate) run: &'a Run,
    /// Whether a process works on it now.
    pub(crate) running: bool,
}

/// The screen.
pub(crate) fn lines(style: Style, view: &RunView<'_>) -> Vec<String> {
    let state = &view.run.state;
    let mut lines = vec![
        format!(
            "run {} · {} on {} · {}",
            style.bold(&view.run.id.short()),
            harmless(&state.plan().name),
            harmless(&state.host),
            outcome_words(state.ended, view.running),
        ),
        format!(
            "opened {} by {} · last event {} · {}",
            time::date(view.run.began_ms),
            harmless(&view.run.actor),
            time::date(view.run.last_ms),
            count(
                usize::try_from(view.run.events).unwrap_or(usize::MAX),
                "event"
            ),
        ),
    ];
    if let Direction::Unwinding { .. } = state.direction {
        lines.push("it is being, or was, taken back".to_owned());
    }
    let width = state
        .steps()
        .map(|(spec, _)| spec.id.as_str().len())
        .max()
        .unwrap_or(0);
    for (spec, record) in state.steps() {
        let mut text = format!(
            "  {} {}  {}",
            style.glyph(mark_of(&record.state)),
            pad(spec.id.as_str(), width),
            pad(record.state.word(), 9),
        );
        if record.took_ms > 0 {
            text.extend(["  ", &time::took(record.took_ms)]);
        }
        if let Some(note) = record
            .receipt
            .as_ref()
            .and_then(|receipt| receipt.note.as_ref())
        {
            text.extend(["  ", &harmless(note)]);
        }
        lines.push(text.trim_end().to_owned());
    }
    lines.push(recap(style, &state.tally()));
    lines
}

/// The last line: how many of what.
pub(crate) fn recap(style: Style, tally: &Tally) -> String {
    let parts = [
        (Mark::Changed, tally.changed, "changed"),
        (Mark::Ok, tally.adopted, "already right"),
        (Mark::Failed, tally.failed, "failed"),
        (Mark::Undone, tally.undone, "undone"),
        (Mark::Skipped, tally.left, "left in place"),
        (Mark::Parked, tally.decided, "decided by hand"),
        (Mark::Waiting, tally.waiting, "not begun"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .filter(|(_, number, _)| *number > 0)
        .map(|(mark, number, word)| style.marked(*mark, &format!("{number} {word}")))
        .collect();
    let all = count(tally.total, "step");
    if shown.is_empty() {
        return format!("{all}.");
    }
    format!("{all}: {}.", shown.join(", "))
}

/// The same as JSON.
pub(crate) fn json(view: &RunView<'_>) -> Value {
    let state = &view.run.state;
    let steps: Vec<Value> = state
        .steps()
        .map(|(spec, record)| {
            json!({
                "id": spec.id.as_str(),
                "state": record.state.word(),
                "attempts": record.attempts,
                "took_ms": record.took_ms,
                "note": record.receipt.as_ref().and_then(|receipt| receipt.note.clone()),
                "why": why(&record.state),
            })
        })
        .collect();
    let mut document = summary(view);
    if let Some(map) = document.as_object_mut() {
        map.insert("type".to_owned(), "run".into());
        map.insert("schema".to_owned(), JSON_SCHEMA.into());
        map.insert("steps".to_owned(), steps.into());
        let parked: Vec<Value> = state
            .parked()
            .map(|(step, why)| json!({"step": step.as_str(), "why": why}))
            .collect();
        map.insert("parked".to_owned(), parked.into());
    }
    document
}

/// The fields of a run in a list.
pub(crate) fn summary(view: &RunView<'_>) -> Value {
    let state = &view.run.state;
    let tally = state.tally();
    json!({
        "run": view.run.id.display(),
        "plan": state.plan().name,
        "plan_digest": wiab_engine::text::hex(&state.plan().digest()),
        "host": state.host,
        "outcome": outcome_word(state.ended, view.running),
        "running": view.running,
        "resumable": state.is_resumable(),
        "opened": time::rfc3339(view.run.began_ms),
        "last": time::rfc3339(view.run.last_ms),
        "actor": view.run.actor,
        "command_line": view.run.command_line,
        "events": view.run.events,
        "tally": {
            "total": tally.total, "done": state.done(), "adopted": tally.adopted, "changed": tally.changed,
            "failed": tally.failed, "undone": tally.undone, "left": tally.left,
            "decided": tally.decided, "waiting": tally.waiting,
        },
    })
}

fn why(state: &StepState) -> Option<String> {
    match state {
        StepState::Failed { failure, .. } | StepState::UndoFailed { failure, .. } => {
            Some(failure.why.clone())
        }
        StepState::Left { why } => Some(why.clone()),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use wiab_engine::event::{Event, Limits, OnFailure, RunOpened, StepStarted, StepSucceeded};
    use wiab_engine::id::StepId;
    use wiab_engine::outcome::{How, Receipt, UndoClass};
    use wiab_engine::plan::{Plan, RetryPolicy, StepSpec};
    use wiab_engine::state::RunState;

    use super::*;

    pub(crate) fn sid(text: &str) -> StepId {
        StepId::new(text).unwrap()
    }

    /// A chain of steps.
    pub(crate) fn plan(ids: &[&str]) -> Plan {
        let steps = ids
            .iter()
            .enumerate()
            .map(|(at, id)| StepSpec {
                id: sid(id),
                kind: "test/1".into(),
                summary: format!("make {id}"),
                undo_summary: "remove".into(),
                after: at
                    .checked_sub(1)
                    .map(|at| sid(ids[at]))
                    .into_iter()
                    .collect(),
                lanes: Vec::new(),
                undo: UndoClass::Reversible,
                idempotent: true,
                retry: RetryPolicy::NEVER,
                timeout_ms: 1_000,
                usual_ms: 60_000,
                inputs: "{}".into(),
            })
            .collect();
        Plan {
            name: "p".into(),
            steps,
        }
    }

    pub(crate) fn opened(plan: Plan) -> RunOpened {
        RunOpened {
            plan,
            limits: Limits {
                width: 1,
                on_failure: OnFailure::Keep,
                fail_fast: false,
            },
            host: "sim".into(),
            tool: "0".into(),
            command_line: "wiab apply".into(),
        }
    }

    pub(crate) fn half_done() -> RunState {
        let events: Vec<Event> = vec![
            opened(plan(&["a", "b.long"])).into(),
            StepStarted {
                step: sid("a"),
                attempt: 1,
            }
            .into(),
            StepSucceeded {
                step: sid("a"),
                attempt: 1,
                how: How::Changed,
                receipt: Receipt::note("done"),
                evidence: None,
                took_ms: 1_500,
            }
            .into(),
            StepStarted {
                step: sid("b.long"),
                attempt: 1,
            }
            .into(),
        ];
        RunState::replay(&events).unwrap()
    }

    #[test]
    fn the_screen_has_a_line_per_step() {
        let run = Run {
            id: wiab_engine::id::RunId([1; 16]),
            state: half_done(),
            began_ms: 1_000,
            last_ms: 2_000,
            actor: "op@box".into(),
            command_line: "wiab apply".into(),
            events: 4,
        };
        let view = RunView {
            run: &run,
            running: false,
        };
        assert_eq!(
            lines(Style::PLAIN, &view).join("\n"),
            "run 01010101 · p on sim · broken off\n\
             opened 1970-01-01 00:00:01Z by op@box · last event 1970-01-01 00:00:02Z · 4 events\n  \
             ~ a       changed    1.5 s  done\n  \
             ● b.long  running\n\
             2 steps: 1 changed."
        );
        assert_eq!(json(&view)["steps"][1]["state"], "running");
    }
}
