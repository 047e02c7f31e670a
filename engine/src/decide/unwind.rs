//! Decisions on the way back: dependents first, then what they stood on.

use std::collections::BTreeSet;

use super::{Command, InFlight, Room, UNDO_RETRY, idle};
use crate::outcome::{Outcome, RetryAdvice, UndoClass};
use crate::state::{Index, RunState, StepRecord, StepState, acts_on_undo};

pub(super) fn decide(state: &RunState, in_flight: &InFlight) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut room = Room::of(state, in_flight);
    let candidates: BTreeSet<Index> = state.live().union(state.undoable()).copied().collect();
    for at in candidates {
        if !in_flight.busy.contains(&at) && !state.is_parked(at) {
            commands.extend(next(state, in_flight, &mut room, at));
        }
    }
    if state.stopping > 0 {
        commands.retain(|command| {
            matches!(
                command,
                Command::LeaveStanding { .. } | Command::Park { .. }
            )
        });
        if commands.is_empty() && idle(state, in_flight) {
            commands.push(Command::End {
                outcome: Outcome::Interrupted,
            });
        }
        return commands;
    }
    if commands.is_empty() && idle(state, in_flight) && in_flight.waiting.is_empty() {
        let outcome = if state.has_parked() {
            Outcome::Parked
        } else {
            Outcome::RolledBack
        };
        commands.push(Command::End { outcome });
    }
    commands
}

fn next<'a>(
    state: &'a RunState,
    in_flight: &InFlight,
    room: &mut Room<'a>,
    at: Index,
) -> Option<Command> {
    let (spec, record) = state.at(at)?;
    match &record.state {
        StepState::Unsettled { attempt } if !record.touched && acts_on_undo(spec, record) => {
            return room.take(state, at).then_some(Command::Reconcile {
                step: at,
                attempt: *attempt,
            });
        }
        StepState::UndoFailed { attempt, failure } => {
            let again =
                failure.advice == RetryAdvice::Retry && record.undo_tries < UNDO_RETRY.attempts_max;
            return Some(if again {
                let (attempt, tries) = (attempt + 1, record.undo_tries);
                Command::PlanRetry {
                    step: at,
                    attempt,
                    tries,
                    policy: UNDO_RETRY,
                }
            } else {
                Command::Park {
                    step: at,
                    why: format!("undo failed: {}", failure.why),
                }
            });
        }
        StepState::UndoBackoff { delay_ms, .. } if !in_flight.rested.contains(&at) => {
            let begun = in_flight.waiting.contains(&at);
            return (!begun).then_some(Command::Wait {
                step: at,
                delay_ms: *delay_ms,
            });
        }
        _ if !state.undoable().contains(&at) => return None,
        _ => {}
    }
    if state.is_kept(at) {
        return Some(Command::LeaveStanding {
            step: at,
            why: why_kept(&spec.undo),
        });
    }
    match &spec.undo {
        UndoClass::Irreversible { why } => Some(Command::LeaveStanding {
            step: at,
            why: format!("cannot be taken back: {why}"),
        }),
        UndoClass::NothingToUndo if !acts_on_undo(spec, record) => None,
        UndoClass::NothingToUndo | UndoClass::Reversible | UndoClass::Destructive { .. } => {
            let attempt = next_attempt(record);
            room.take(state, at)
                .then_some(Command::Undo { step: at, attempt })
        }
    }
}

fn why_kept(class: &UndoClass) -> String {
    match class {
        UndoClass::Destructive { what } => {
            format!("undo would lose {what}, which was not confirmed")
        }
        UndoClass::Reversible | UndoClass::NothingToUndo | UndoClass::Irreversible { .. } => {
            "a step that keeps data stands on it".to_owned()
        }
    }
}

fn next_attempt(record: &StepRecord) -> u32 {
    match &record.state {
        StepState::UndoBackoff { attempt, .. } => *attempt,
        StepState::UndoUnsettled { attempt } => attempt + 1,
        StepState::Pending
        | StepState::Running { .. }
        | StepState::Unsettled { .. }
        | StepState::Reconciled { .. }
        | StepState::Failed { .. }
        | StepState::Backoff { .. }
        | StepState::Succeeded { .. }
        | StepState::Skipped
        | StepState::Undoing { .. }
        | StepState::UndoFailed { .. }
        | StepState::Undone
        | StepState::Left { .. } => record.undo_tries + 1,
    }
}
