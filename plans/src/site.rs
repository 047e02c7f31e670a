//! Site-specific steps of the configuration as steps of the plan.

use wiab_engine::id::{IdError, Lane, StepId};
use wiab_engine::plan::StepSpec;
use wiab_steps::kind::{BuildError, spec_of};
use wiab_steps::kinds::command::Command;

use crate::settings::{CommandLine, Duration, SiteStep};

/// Limit of a step that names none, in milliseconds.
const TIMEOUT_MS: u64 = 10 * 60_000;

/// The step as the plan holds it. Its `after` may name steps that do not exist; the plan's check says so.
pub(crate) fn spec(step: &SiteStep) -> Result<StepSpec, BuildError> {
    let command = Command {
        run: step.run.argv(),
        probe: step.probe.as_ref().map(CommandLine::argv),
        undo: step.undo.as_ref().map(CommandLine::argv),
        timeout_ms: step
            .timeout
            .as_ref()
            .and_then(Duration::ms)
            .unwrap_or(TIMEOUT_MS),
        root: step.root,
        idempotent: step.idempotent,
    };
    let mut spec = spec_of(&step.id, &[], &command)?;
    let after: Result<Vec<StepId>, IdError> = step.after.iter().map(|id| StepId::new(id)).collect();
    spec.after = after?;
    spec.lanes = step.lanes.iter().map(Lane::new).collect();
    Ok(spec)
}
