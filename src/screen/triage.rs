//! What a changed configuration means for a run that is to be resumed.

use std::collections::BTreeMap;

use wiab_engine::id::{RunId, StepId};
use wiab_engine::plan::Change;
use wiab_engine::state::RunState;

use crate::screen::pad;

/// Most steps listed.
const SHOWN_MAX: usize = 40;

/// One line per step that differs: what changed, and whether it was finished.
pub(crate) fn table(changes: &BTreeMap<StepId, Change>, state: &RunState) -> Vec<String> {
    let differing: Vec<_> = changes
        .iter()
        .filter(|(_, change)| **change != Change::Unchanged)
        .collect();
    let width = differing
        .iter()
        .map(|(step, _)| step.as_str().len())
        .max()
        .unwrap_or(0);
    let mut lines: Vec<String> = differing
        .iter()
        .take(SHOWN_MAX)
        .map(|(step, change)| {
            let stands = state
                .record(step)
                .map_or("not in the stored plan", |record| record.state.word());
            let word = match change {
                Change::Unchanged => "unchanged",
                Change::Edited => "edited",
                Change::Gone => "gone",
                Change::New => "new",
            };
            format!("  {}  {word:<7}  {stands}", pad(step.as_str(), width))
        })
        .collect();
    if let Some(more) = differing
        .len()
        .checked_sub(SHOWN_MAX)
        .filter(|more| *more > 0)
    {
        lines.push(format!("  … and {more} more"));
    }
    let unchanged = changes.len() - differing.len();
    lines.push(format!("  {unchanged} unchanged"));
    lines
}

/// The commands that go on in spite of it.
pub(crate) fn ways(run: RunId, suffix: &str) -> Vec<String> {
    let run = run.short();
    vec![
        format!("undo the change in the configuration, then  wiab apply --resume {run}{suffix}"),
        format!(
            "run finished steps that were edited again:  wiab apply --resume {run} --if-changed redo{suffix}"
        ),
        format!(
            "keep them as they stand:                    wiab apply --resume {run} --if-changed adopt{suffix}"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::status::tests::{half_done, plan};

    #[test]
    fn each_difference_says_whether_it_was_finished() {
        let state = half_done();
        let mut fresh = plan(&["a", "c"]);
        fresh.steps[0].inputs = "{\"x\":1}".into();
        let changes = wiab_engine::plan::triage(state.plan(), &fresh);
        assert_eq!(
            table(&changes, &state),
            [
                "  a       edited   changed",
                "  b.long  gone     running",
                "  c       new      not in the stored plan",
                "  0 unchanged",
            ]
        );
    }
}
