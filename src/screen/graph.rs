//! The plan as a graph: Graphviz, Mermaid, text.

use std::collections::BTreeMap;

use wiab_engine::graph;
use wiab_engine::plan::{Plan, StepSpec};
use wiab_engine::state::RunState;

use crate::screen::mark_of;
use crate::ui::style::{Mark, Style};

fn mark(state: Option<&RunState>, step: &StepSpec) -> Option<Mark> {
    state?.record(&step.id).map(|record| mark_of(&record.state))
}

fn fill(mark: Option<Mark>) -> &'static str {
    match mark {
        None | Some(Mark::Waiting) => "white",
        Some(Mark::Ok | Mark::Create) => "palegreen",
        Some(Mark::Changed) => "khaki",
        Some(Mark::Failed) => "salmon",
        Some(Mark::Undone | Mark::Skipped) => "lightcyan",
        Some(Mark::Parked | Mark::Unsure) => "plum",
        Some(Mark::Running) => "lightblue",
    }
}

fn areas(plan: &Plan) -> BTreeMap<&str, Vec<&StepSpec>> {
    let mut areas: BTreeMap<&str, Vec<&StepSpec>> = BTreeMap::new();
    for step in &plan.steps {
        areas.entry(step.id.area()).or_default().push(step);
    }
    areas
}

/// Graphviz, transitively reduced, one cluster per area.
pub(crate) fn dot(plan: &Plan, state: Option<&RunState>) -> Vec<String> {
    let mut lines = vec![
        format!("digraph \"{}\" {{", plan.name),
        "  rankdir=LR; node [shape=box, style=filled, fontname=\"sans-serif\"];".to_owned(),
    ];
    for (number, (area, steps)) in areas(plan).into_iter().enumerate() {
        lines.push(format!("  subgraph cluster_{number} {{ label=\"{area}\";"));
        for step in steps {
            let color = fill(mark(state, step));
            lines.push(format!("    \"{}\" [fillcolor={color}];", step.id));
        }
        lines.push("  }".to_owned());
    }
    for (from, to) in graph::reduced_edges(plan) {
        lines.push(format!("  \"{from}\" -> \"{to}\";"));
    }
    lines.push("}".to_owned());
    lines
}

/// Mermaid, transitively reduced.
pub(crate) fn mermaid(plan: &Plan, state: Option<&RunState>) -> Vec<String> {
    let number: BTreeMap<&str, usize> = plan
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| (step.id.as_str(), at))
        .collect();
    let node = |id: &str| format!("s{}", number.get(id).copied().unwrap_or_default());
    let mut lines = vec!["flowchart LR".to_owned()];
    for (area, steps) in areas(plan) {
        lines.push(format!("  subgraph {area}"));
        for step in steps {
            lines.push(format!("    {}[\"{}\"]", node(step.id.as_str()), step.id));
        }
        lines.push("  end".to_owned());
    }
    for (from, to) in graph::reduced_edges(plan) {
        lines.push(format!(
            "  {} --> {}",
            node(from.as_str()),
            node(to.as_str())
        ));
    }
    if state.is_some() {
        for step in &plan.steps {
            let color = fill(mark(state, step));
            lines.push(format!("  style {} fill:{color}", node(step.id.as_str())));
        }
    }
    lines
}

/// Text: every step below what it waits for, with the steps it directly follows.
pub(crate) fn ascii(style: Style, plan: &Plan, state: Option<&RunState>) -> Vec<String> {
    let mut before: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (from, to) in graph::reduced_edges(plan) {
        before
            .entry(to.to_string())
            .or_default()
            .push(from.to_string());
    }
    let mut lines = Vec::new();
    for at in graph::order(plan) {
        let Some(step) = plan.steps.get(at) else {
            continue;
        };
        let glyph =
            mark(state, step).map_or_else(String::new, |mark| format!("{} ", style.glyph(mark)));
        let mut line = format!("{glyph}{}", step.id);
        if let Some(from) = before.get_mut(step.id.as_str()) {
            from.sort();
            let arrow = style.pick("←", "<-");
            line.push_str(&style.faint(&format!("  {arrow} {}", from.join(", "))));
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::status::tests::{half_done, plan, sid};

    #[test]
    fn edges_that_others_imply_are_left_out() {
        let mut plan = plan(&["a", "b", "c"]);
        plan.steps[2].after.push(sid("a"));
        assert_eq!(
            ascii(Style::ASCII, &plan, None),
            ["a", "b  <- a", "c  <- b"]
        );
        assert_eq!(
            dot(&plan, None).iter().filter(|l| l.contains("->")).count(),
            2
        );
        assert_eq!(mermaid(&plan, None).last().unwrap(), "  s1 --> s2");
    }

    #[test]
    fn a_state_colours_the_steps() {
        let state = half_done();
        let lines = dot(state.plan(), Some(&state)).join("\n");
        assert!(lines.contains("\"a\" [fillcolor=khaki]"), "{lines}");
        assert!(
            lines.contains("\"b.long\" [fillcolor=lightblue]"),
            "{lines}"
        );
    }
}
