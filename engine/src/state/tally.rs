//! Counts of a run's steps by where they stand.

use super::{RunState, StepState};
use crate::outcome::How;

/// Counts for the last line of a screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps in the plan.
    pub total: usize,
    /// Found as wanted.
    pub adopted: usize,
    /// Changed by this run, and standing.
    pub changed: usize,
    /// Failed.
    pub failed: usize,
    /// Taken back.
    pub undone: usize,
    /// Left by rollback.
    pub left: usize,
    /// Skipped or accepted by decision.
    pub decided: usize,
    /// Not begun.
    pub waiting: usize,
}

impl RunState {
    /// Counts the steps by state.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally {
            total: self.records.len(),
            ..Tally::default()
        };
        for record in &self.records {
            match &record.state {
                StepState::Succeeded { how: How::Adopted } => tally.adopted += 1,
                StepState::Succeeded { how: How::Changed } => tally.changed += 1,
                StepState::Succeeded { how: How::Accepted } | StepState::Skipped => {
                    tally.decided += 1;
                }
                StepState::Failed { .. } | StepState::UndoFailed { .. } => tally.failed += 1,
                StepState::Undone => tally.undone += 1,
                StepState::Left { .. } => tally.left += 1,
                StepState::Pending => tally.waiting += 1,
                StepState::Running { .. }
                | StepState::Unsettled { .. }
                | StepState::Reconciled { .. }
                | StepState::Backoff { .. }
                | StepState::Undoing { .. }
                | StepState::UndoUnsettled { .. }
                | StepState::UndoBackoff { .. } => {}
            }
        }
        tally
    }
}
