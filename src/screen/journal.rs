//! Lists and logs of the journal.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wiab_engine::codec;
use wiab_engine::event::{Event, Evidence, Recorded};
use wiab_engine::id::StepId;
use wiab_engine::installation::Installation;
use wiab_engine::plan::Plan;

use crate::screen::event;
use crate::screen::outcome_words;
use crate::screen::status::RunView;
use crate::ui::style::{Mark, Style, harmless};
use crate::ui::time;

/// All runs, newest first.
pub(crate) fn list(style: Style, runs: &[RunView<'_>]) -> Vec<String> {
    if runs.is_empty() {
        return vec!["no runs yet".to_owned()];
    }
    let mut lines = vec![style.faint(&format!(
        "{:<8}  {:<20}  {:<12}  {:>9}  {:<20}  {}",
        "RUN", "BEGAN", "OUTCOME", "STEPS", "BY", "COMMAND"
    ))];
    for view in runs.iter().rev() {
        let run = view.run;
        let steps = format!("{}/{}", run.state.done(), run.state.plan().steps.len());
        lines.push(format!(
            "{:<8}  {:<20}  {:<12}  {steps:>9}  {:<20}  {}",
            run.id.short(),
            time::date(run.began_ms),
            outcome_words(run.state.ended, view.running),
            harmless(&run.actor),
            harmless(&run.command_line),
        ));
    }
    lines
}

/// The events of a run, one line each, with the date where the day changes.
pub(crate) fn log(style: Style, events: &[Recorded]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut day = String::new();
    for recorded in events {
        let date = time::date(recorded.time_ms);
        let today = date.get(..10).unwrap_or_default();
        if today != day {
            today.clone_into(&mut day);
            lines.push(style.faint(&format!("{today} (UTC), by {}", harmless(&recorded.actor))));
        }
        lines.push(event::plain(
            style,
            recorded.time_ms,
            &event::line(&recorded.event),
        ));
    }
    lines
}

/// Whether an event is about this step.
pub(crate) fn is_about(event: &Event, step: &StepId) -> bool {
    event::line(event).step.as_deref() == Some(step.as_str())
}

/// The captured output that an event points to.
pub(crate) fn evidence(event: &Event) -> Option<Evidence> {
    match event {
        Event::StepSucceeded(e) => e.evidence,
        Event::StepFailed(e) => e.evidence,
        Event::UndoSucceeded(e) => e.evidence,
        Event::UndoFailed(e) => e.evidence,
        Event::EvidenceTaken(e) => Some(e.body),
        Event::RunOpened(_)
        | Event::RunResumed(_)
        | Event::PlanRevised(_)
        | Event::StepStarted(_)
        | Event::StepCaptured(_)
        | Event::RetryPlanned(_)
        | Event::StepReconciled(_)
        | Event::UnwindBegan(_)
        | Event::UndoStarted(_)
        | Event::UndoSkipped(_)
        | Event::Parked(_)
        | Event::OperatorDecided(_)
        | Event::Interrupted(_)
        | Event::RunEnded(_)
        | Event::Diagnosed(_)
        | Event::CureTried(_)
        | Event::CureEnded(_)
        | Event::ObligationOpened(_)
        | Event::ObligationSettled(_) => None,
    }
}

/// One event with all its fields; a whole plan is only counted.
pub(crate) fn show(style: Style, recorded: &Recorded) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {} {}  {}",
        style.bold(&format!("#{}", recorded.seq)),
        time::rfc3339(recorded.time_ms),
        style.marked(Mark::Running, recorded.event.name()),
        style.faint(&harmless(&recorded.actor)),
    )];
    let mut body = codec::to_json(&recorded.event);
    if let Some(plan) = body.get_mut("plan") {
        let steps = plan
            .get("steps")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        *plan = Value::String(format!("{steps} steps (`--json` shows them)"));
    }
    if let Some(fields) = body.as_object() {
        for (name, value) in fields {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            lines.push(format!("    {name}: {}", harmless(&text)));
        }
    }
    lines
}

/// Captured output, each line made harmless and indented.
pub(crate) fn output(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(|line| format!("  | {}", harmless(line)))
        .collect()
}

/// What earlier runs mean for a plan: usual durations in milliseconds, and the steps that they made.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Usual durations.
    pub(crate) usual_ms: BTreeMap<StepId, u64>,
    /// Steps that an earlier run made and that still stand.
    pub(crate) ours: BTreeSet<StepId>,
}

impl History {
    /// Looks a plan's steps up in all runs.
    pub(crate) fn of(plan: &Plan, runs: &Installation) -> Self {
        let ids = || plan.steps.iter().map(|step| &step.id);
        Self {
            usual_ms: ids()
                .filter_map(|id| Some((id.clone(), runs.usual_ms(id)?)))
                .collect(),
            ours: ids()
                .filter(|id| runs.maker(id).is_some())
                .cloned()
                .collect(),
        }
    }
}
