//! Differences: of one step, whole; and between what the host was and is.

use wiab_engine::outcome::Probe;
use wiab_engine::plan::StepSpec;
use wiab_engine::survey::{Finding, Survey};

use crate::screen::event::changed_lines;
use crate::screen::plan::action;
use crate::ui::style::{Mark, Style, harmless};

/// The difference of one step, whole.
pub(crate) fn diff(style: Style, step: &StepSpec, finding: Option<&Finding>) -> Vec<String> {
    let (mark, _) = action(finding);
    let mut lines = vec![format!(
        "{} {}  {}",
        style.glyph(mark),
        style.bold(step.id.as_str()),
        harmless(&step.summary)
    )];
    let text = match finding {
        Some(Finding::Seen(Probe::Drifted { diff })) => {
            lines.extend(diff.lines().map(|line| {
                let mark = match line.bytes().next() {
                    Some(b'+') => Mark::Create,
                    Some(b'-') => Mark::Failed,
                    _ => Mark::Waiting,
                };
                format!("    {}", style.marked(mark, &harmless(line)))
            }));
            return lines;
        }
        Some(Finding::Seen(Probe::Satisfied(_))) => "as wanted; no difference".to_owned(),
        Some(Finding::Seen(Probe::Absent)) => "nothing of it is there".to_owned(),
        Some(Finding::Seen(Probe::Partial { what })) => format!("half there: {what}"),
        Some(Finding::Seen(Probe::Unknown { why })) => format!("cannot look: {why}"),
        Some(Finding::Seen(Probe::Running)) => "its job still runs".to_owned(),
        Some(Finding::AfterApply { needs }) => format!("known later: {needs}"),
        Some(Finding::Blind(failure)) => format!("cannot look: {}", failure.why),
        None => "was not looked at".to_owned(),
    };
    lines.push(format!("    {}", harmless(&text)));
    lines
}

/// One line per step whose finding changed since a plan was saved.
pub(crate) fn stale(saved: &Survey, now: &Survey) -> Vec<String> {
    let word = |finding: Option<&Finding>| match finding {
        None => "not in the plan".to_owned(),
        Some(Finding::Seen(Probe::Satisfied(_))) => "as wanted".to_owned(),
        Some(Finding::Seen(Probe::Absent)) => "absent".to_owned(),
        Some(Finding::Seen(Probe::Drifted { diff })) => {
            format!("differs in {}", changed_lines(diff))
        }
        Some(Finding::Seen(Probe::Partial { what })) => format!("half there: {what}"),
        Some(Finding::Seen(Probe::Unknown { .. })) => "not to be told".to_owned(),
        Some(Finding::Seen(Probe::Running)) => "running".to_owned(),
        Some(Finding::AfterApply { .. }) => "known later".to_owned(),
        Some(Finding::Blind(failure)) => format!("cannot look: {}", failure.why),
    };
    saved
        .differences(now)
        .into_iter()
        .map(|(step, old, new)| {
            format!(
                "  {step}: was {}, is {}",
                harmless(&word(old)),
                harmless(&word(new))
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use wiab_engine::outcome::Receipt;

    use super::*;
    use crate::screen::plan::tests::survey;
    use crate::screen::status::tests::sid;

    #[test]
    fn a_stale_plan_names_the_steps_that_moved() {
        let old = survey();
        let mut new = survey();
        new.findings.insert(
            sid("net.a"),
            Finding::Seen(Probe::Satisfied(Receipt::default())),
        );
        assert_eq!(stale(&old, &new), ["  net.a: was absent, is as wanted"]);
    }
}
