//! What `apply` would do: the plan screen and its JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wiab_engine::graph;
use wiab_engine::id::StepId;
use wiab_engine::outcome::{Probe, UndoClass};
use wiab_engine::plan::{Plan, StepSpec};
use wiab_engine::survey::{Finding, Survey};
use wiab_engine::text::hex;

use crate::screen::event::changed_lines;
use crate::screen::{count, cut, pad, wrap};
use crate::ui::printer::JSON_SCHEMA;
use crate::ui::style::{Mark, Style, harmless};
use crate::ui::time;

/// Most steps shown per area unless everything is asked for.
const AREA_MAX: usize = 12;
/// Most steps of the longest chain that are named.
const CHAIN_MAX: usize = 6;
/// Widest column of ids and of summaries, in characters.
const COLUMN_MAX: usize = 52;
/// Width of the rule below the steps, in characters.
const RULE: usize = 80;
/// Least width of summary and undo together, in characters.
const ROOM_MIN: usize = 20;

/// What the screen shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanView<'a> {
    /// The plan.
    pub(crate) plan: &'a Plan,
    /// What a look at the host found.
    pub(crate) survey: &'a Survey,
    /// The host.
    pub(crate) host: &'a str,
    /// Durations learned from earlier runs, in milliseconds.
    pub(crate) usual_ms: &'a BTreeMap<StepId, u64>,
    /// Steps that an earlier run of this installation made and that still stand.
    pub(crate) ours: &'a BTreeSet<StepId>,
    /// Show every step, also those that are right.
    pub(crate) all: bool,
    /// Width to keep to, in characters; `None` for as wide as needed.
    pub(crate) width: Option<usize>,
}

/// How many steps would be what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Created.
    pub(crate) create: usize,
    /// Changed or completed.
    pub(crate) change: usize,
    /// Left alone.
    pub(crate) right: usize,
    /// Nobody can tell yet.
    pub(crate) unsure: usize,
}

impl Counts {
    /// Whether `apply` would do anything.
    pub(crate) fn any(self) -> bool {
        self.create + self.change + self.unsure > 0
    }
}

impl PlanView<'_> {
    /// The counts.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in &self.plan.steps {
            match action(self.survey.findings.get(&step.id)) {
                (_, "create") => counts.create += 1,
                (_, "change") => counts.change += 1,
                (_, "none") => counts.right += 1,
                _ => counts.unsure += 1,
            }
        }
        counts
    }

    fn is_right(&self, step: &StepSpec) -> bool {
        let finding = self.survey.findings.get(&step.id);
        finding.is_some_and(Finding::is_satisfied)
    }

    fn usual(&self, step: &StepSpec) -> u64 {
        if self
            .survey
            .findings
            .get(&step.id)
            .is_some_and(Finding::is_satisfied)
        {
            return 0;
        }
        self.usual_ms
            .get(&step.id)
            .copied()
            .unwrap_or(step.usual_ms)
    }

    fn no_return(&self) -> Option<&StepSpec> {
        graph::order(self.plan)
            .into_iter()
            .filter_map(|at| self.plan.steps.get(at))
            .find(|step| {
                matches!(step.undo, UndoClass::Irreversible { .. })
                    && !self
                        .survey
                        .findings
                        .get(&step.id)
                        .is_some_and(Finding::is_satisfied)
            })
    }
}

/// What would be done: a mark for the screen, a stable word for JSON.
pub(crate) fn action(finding: Option<&Finding>) -> (Mark, &'static str) {
    match finding {
        Some(Finding::Seen(Probe::Satisfied(_))) => (Mark::Ok, "none"),
        Some(Finding::Seen(Probe::Absent) | Finding::AfterApply { .. }) => (Mark::Create, "create"),
        Some(Finding::Seen(Probe::Drifted { .. } | Probe::Partial { .. })) => {
            (Mark::Changed, "change")
        }
        Some(Finding::Seen(Probe::Unknown { .. } | Probe::Running)) => (Mark::Unsure, "run"),
        Some(Finding::Blind(_)) | None => (Mark::Failed, "blind"),
    }
}

/// The screen.
pub(crate) fn lines(style: Style, view: &PlanView<'_>) -> Vec<String> {
    let mut lines = vec![format!(
        "{} · {} · on {} · {} · digest {}",
        style.bold("wiab plan"),
        harmless(&view.plan.name),
        harmless(view.host),
        count(view.plan.steps.len(), "step"),
        view.plan.digest_short(),
    )];
    let mut areas: Vec<(&str, Vec<&StepSpec>)> = Vec::new();
    for step in &view.plan.steps {
        if view.is_right(step) && !view.all {
            continue;
        }
        match areas.iter_mut().find(|(area, _)| *area == step.id.area()) {
            Some((_, steps)) => steps.push(step),
            None => areas.push((step.id.area(), vec![step])),
        }
    }
    let shown = if view.all { usize::MAX } else { AREA_MAX };
    let ids = column(&areas, |step| step.id.as_str().chars().count());
    let mut texts = column(&areas, |step| text_of(view, step).chars().count());
    if let Some(width) = view.width {
        // Three fifths of what the ids leave are for the summary, the rest is for the undo.
        texts = texts.min(room(width, ids) * 3 / 5);
    }
    for (area, steps) in &areas {
        lines.push(format!("  {}", style.faint(area)));
        for step in steps.iter().take(shown) {
            lines.push(row(style, view, step, (ids, texts)));
        }
        if let Some(more) = steps.len().checked_sub(shown).filter(|more| *more > 0) {
            lines.push(format!("    … {more} more (-v shows all)"));
        }
    }
    let foot = foot(style, view);
    match view.width {
        Some(width) => lines.extend(foot.iter().flat_map(|line| wrap(line, width))),
        None => lines.extend(foot),
    }
    lines
}

fn column(areas: &[(&str, Vec<&StepSpec>)], width: impl Fn(&StepSpec) -> usize) -> usize {
    let steps = areas.iter().flat_map(|(_, steps)| steps);
    steps
        .map(|step| width(step))
        .max()
        .unwrap_or(0)
        .min(COLUMN_MAX)
}

/// What is left of a row beside mark, id and gaps, in characters.
fn room(width: usize, ids: usize) -> usize {
    width.saturating_sub(ids + 8).max(ROOM_MIN)
}

fn row(style: Style, view: &PlanView<'_>, step: &StepSpec, (ids, texts): (usize, usize)) -> String {
    let (mark, _) = action(view.survey.findings.get(&step.id));
    let undo = match &step.undo {
        UndoClass::Reversible | UndoClass::Destructive { .. } => step.undo_summary.clone(),
        UndoClass::NothingToUndo => "nothing to undo".to_owned(),
        UndoClass::Irreversible { why } => format!("none ({why})"),
    };
    let loses = match &step.undo {
        UndoClass::Destructive { what } => format!(", loses {what}"),
        _ => String::new(),
    };
    let mut undo = harmless(&format!("undo: {undo}{loses}"));
    if view.is_right(step) && !view.ours.contains(&step.id) {
        "not ours: a rollback leaves it".clone_into(&mut undo);
    }
    if let Some(width) = view.width {
        undo = cut(&undo, room(width, ids).saturating_sub(texts));
    }
    format!(
        "  {} {}  {}  {}",
        style.glyph(mark),
        pad(step.id.as_str(), ids),
        pad(&cut(&text_of(view, step), texts), texts),
        style.faint(&undo),
    )
}

fn text_of(view: &PlanView<'_>, step: &StepSpec) -> String {
    let text = match view.survey.findings.get(&step.id) {
        Some(Finding::Seen(Probe::Drifted { diff })) => {
            format!("{} differ [--diff {}]", changed_lines(diff), step.id)
        }
        Some(Finding::Seen(Probe::Partial { what })) => format!("half there: {what}"),
        Some(Finding::Seen(Probe::Unknown { why })) => {
            format!("{} (cannot look: {why})", step.summary)
        }
        Some(Finding::Seen(Probe::Running)) => "its job still runs".to_owned(),
        Some(Finding::Blind(failure)) => format!("cannot look: {}", failure.why),
        Some(Finding::Seen(Probe::Satisfied(_) | Probe::Absent) | Finding::AfterApply { .. })
        | None => step.summary.clone(),
    };
    harmless(text.lines().next().unwrap_or(""))
}

/// How many steps are right already, and how many of them this installation made so.
fn right(view: &PlanView<'_>, number: usize) -> String {
    let steps = view.plan.steps.iter();
    let ours = steps
        .filter(|step| view.is_right(step) && view.ours.contains(&step.id))
        .count();
    match (number, ours) {
        (0, _) => "0 already right".to_owned(),
        (_, 0) => format!("{number} already right (not ours)"),
        (all, ours) if all == ours => format!("{number} already right (made by earlier runs)"),
        (all, ours) => format!(
            "{number} already right ({ours} made by earlier runs, {} not ours)",
            all - ours
        ),
    }
}

fn foot(style: Style, view: &PlanView<'_>) -> Vec<String> {
    let counts = view.counts();
    let mut lines = vec![
        style
            .pick("─", "-")
            .repeat(view.width.unwrap_or(RULE).min(RULE)),
    ];
    let mut parts = vec![
        format!("{} to create", counts.create),
        format!("{} to change", counts.change),
        right(view, counts.right),
    ];
    if counts.unsure > 0 {
        parts.push(format!("{} cannot be told", counts.unsure));
    }
    let no_return = view
        .no_return()
        .map_or("none".to_owned(), |step| match &step.undo {
            UndoClass::Irreversible { why } => format!("{} ({})", step.id, harmless(why)),
            _ => step.id.to_string(),
        });
    lines.push(format!(
        "{} {}.  Point of no return: {no_return}.",
        style.bold("Plan:"),
        parts.join(", ")
    ));
    if counts.any() {
        let (chain, ms) = graph::critical_path(view.plan, &|step| view.usual(step));
        let mut named: Vec<String> = chain
            .iter()
            .take(CHAIN_MAX)
            .map(ToString::to_string)
            .collect();
        if chain.len() > CHAIN_MAX {
            named.push("…".to_owned());
        }
        let basis = if view.usual_ms.is_empty() {
            "first run: a guess"
        } else {
            "from earlier runs"
        };
        lines.push(format!(
            "About {} ({basis}); longest chain: {}",
            time::about(ms),
            named.join(" → ")
        ));
    }
    lines
}

/// The document of `plan --json`.
pub(crate) fn json(view: &PlanView<'_>) -> Value {
    let counts = view.counts();
    let (chain, ms) = graph::critical_path(view.plan, &|step| view.usual(step));
    let steps: Vec<Value> = view
        .plan
        .steps
        .iter()
        .map(|step| {
            let finding = view.survey.findings.get(&step.id);
            json!({
                "id": step.id.as_str(), "kind": step.kind, "summary": step.summary,
                "action": action(finding).1, "ours": view.ours.contains(&step.id), "finding": finding, "after": step.after,
                "undo": step.undo, "undo_summary": step.undo_summary,
                "usual_ms": view.usual(step), "timeout_ms": step.timeout_ms,
            })
        })
        .collect();
    json!({
        "type": "plan",
        "schema": JSON_SCHEMA,
        "plan": view.plan.name,
        "digest": hex(&view.plan.digest()),
        "survey_digest": hex(&view.survey.digest()),
        "host": view.host,
        "counts": {"create": counts.create, "change": counts.change, "right": counts.right, "unsure": counts.unsure},
        "point_of_no_return": view.no_return().map(|step| step.id.as_str()),
        "longest_chain": chain,
        "about_ms": ms,
        "steps": steps,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use wiab_engine::outcome::Receipt;

    use super::*;
    use crate::screen::status::tests::{plan, sid};

    pub(crate) fn survey() -> Survey {
        Survey {
            findings: [
                (sid("net.a"), Finding::Seen(Probe::Absent)),
                (
                    sid("net.b"),
                    Finding::Seen(Probe::Drifted {
                        diff: "- x\n+ y\n".into(),
                    }),
                ),
                (
                    sid("vm.c"),
                    Finding::Seen(Probe::Satisfied(Receipt::default())),
                ),
            ]
            .into(),
        }
    }

    fn plan_fits(view: &PlanView<'_>, width: usize) {
        let narrow = PlanView {
            width: Some(width),
            ..*view
        };
        for line in lines(Style::PLAIN, &narrow).iter().skip(1) {
            assert!(line.chars().count() <= width, "{line}");
        }
    }

    #[test]
    fn the_screen_shows_what_would_change_and_the_way_back() {
        let mut plan = plan(&["net.a", "net.b", "vm.c"]);
        plan.steps[1].undo = UndoClass::Irreversible {
            why: "one way".into(),
        };
        let survey = survey();
        let usual = BTreeMap::new();
        let ours = [sid("vm.c")].into();
        let view = PlanView {
            plan: &plan,
            survey: &survey,
            host: "sim",
            usual_ms: &usual,
            ours: &ours,
            all: false,
            width: None,
        };
        let digest = plan.digest_short();
        assert_eq!(
            lines(Style::PLAIN, &view).join("\n"),
            format!(
                "wiab plan · p · on sim · 3 steps · digest {digest}\n  net\n  \
                 + net.a  make net.a                     undo: remove\n  \
                 ~ net.b  2 lines differ [--diff net.b]  undo: none (one way)\n{}\n\
                 Plan: 1 to create, 1 to change, 1 already right (made by earlier runs).  Point of no return: net.b (one way).\n\
                 About 2 m (first run: a guess); longest chain: net.a → net.b → vm.c",
                "─".repeat(80)
            )
        );
        plan_fits(&view, 60);
        assert_eq!(json(&view)["steps"][1]["action"], "change");
    }
}
