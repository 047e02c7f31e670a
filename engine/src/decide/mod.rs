//! `decide`: the only place where it is decided what happens next. Pure: no clock, no effects, no randomness.

mod forward;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_back;
mod unwind;

use std::collections::BTreeSet;

use crate::event::Cause;
use crate::id::Lane;
use crate::outcome::{Outcome, Receipt};
use crate::plan::RetryPolicy;
use crate::state::{Direction, Index, RunState, StepState};

/// What the runner is to do. Commands with an intent are journalled before they take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Look at the host for an attempt without outcome.
    Reconcile {
        /// The step.
        step: Index,
        /// The unsettled attempt.
        attempt: u32,
    },
    /// The look found everything as wanted: record it.
    Settle {
        /// The step.
        step: Index,
        /// The unsettled attempt.
        attempt: u32,
        /// What the look read.
        receipt: Receipt,
    },
    /// Run an attempt.
    Start {
        /// The step.
        step: Index,
        /// Attempt number.
        attempt: u32,
    },
    /// Continue an attempt whose detached job was found.
    Reattach {
        /// The step.
        step: Index,
        /// Attempt number.
        attempt: u32,
    },
    /// Choose a delay before another attempt (of the step, or of its undo).
    PlanRetry {
        /// The step.
        step: Index,
        /// Number of the coming attempt.
        attempt: u32,
        /// Attempts since the last resume or decision; decides how long the delay is.
        tries: u32,
        /// The rule.
        policy: RetryPolicy,
    },
    /// Wait before another attempt.
    Wait {
        /// The step.
        step: Index,
        /// How long, in milliseconds.
        delay_ms: u64,
    },
    /// Take a step back.
    Undo {
        /// The step.
        step: Index,
        /// Undo attempt.
        attempt: u32,
    },
    /// Leave a step's effect in place during a rollback.
    LeaveStanding {
        /// The step.
        step: Index,
        /// Why.
        why: String,
    },
    /// Let a human decide.
    Park {
        /// The step.
        step: Index,
        /// What has to be decided.
        why: String,
    },
    /// Begin to take the run back.
    BeginUnwind {
        /// Why.
        cause: Cause,
    },
    /// Nothing is left to do in this process.
    End {
        /// How the run stands.
        outcome: Outcome,
    },
}

/// What the runner has under way that is not in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Steps with a task of any sort.
    pub busy: BTreeSet<Index>,
    /// Steps whose delay runs.
    pub waiting: BTreeSet<Index>,
    /// Steps whose delay is over.
    pub rested: BTreeSet<Index>,
}

/// Attempts for an undo before the run parks.
pub(crate) const UNDO_RETRY: RetryPolicy = RetryPolicy {
    attempts_max: 3,
    delay_first_ms: 1_000,
    delay_max_ms: 10_000,
};

/// What comes next. Called after every event; an empty answer means: wait for what is under way.
pub fn decide(state: &RunState, in_flight: &InFlight) -> Vec<Command> {
    if state.ended.is_some() {
        return Vec::new();
    }
    match &state.direction {
        Direction::Forward => forward::decide(state, in_flight),
        Direction::Unwinding { .. } => unwind::decide(state, in_flight),
    }
}

/// Whether no task, and no attempt whose outcome is awaited, is under way.
fn idle(state: &RunState, in_flight: &InFlight) -> bool {
    let moving = state
        .live()
        .iter()
        .filter_map(|at| state.at(*at))
        .any(|(_, record)| {
            matches!(
                record.state,
                StepState::Running { .. } | StepState::Undoing { .. }
            )
        });
    in_flight.busy.is_empty() && !moving
}

/// Room for further steps: the width limit and the lanes that running steps hold.
struct Room<'a> {
    free: usize,
    lanes: BTreeSet<&'a Lane>,
}

impl<'a> Room<'a> {
    fn of(state: &'a RunState, in_flight: &InFlight) -> Self {
        let holders = state.live().iter().copied().filter(|at| {
            let moving = state.at(*at).is_some_and(|(_, record)| {
                matches!(
                    record.state,
                    StepState::Running { .. } | StepState::Undoing { .. }
                )
            });
            moving || in_flight.busy.contains(at)
        });
        let mut taken = 0;
        let mut lanes = BTreeSet::new();
        for at in holders {
            taken += 1;
            lanes.extend(state.spec(at).into_iter().flat_map(|spec| &spec.lanes));
        }
        Self {
            free: (state.limits.width.max(1) as usize).saturating_sub(taken),
            lanes,
        }
    }

    /// Takes a place for a step, if there is one and its lanes are free.
    fn take(&mut self, state: &'a RunState, step: Index) -> bool {
        let Some(spec) = state.spec(step) else {
            return false;
        };
        if self.free == 0 || spec.lanes.iter().any(|lane| self.lanes.contains(lane)) {
            return false;
        }
        self.free -= 1;
        self.lanes.extend(&spec.lanes);
        true
    }
}
