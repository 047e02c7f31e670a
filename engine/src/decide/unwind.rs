//! Decisions on the way back: dependents first, then what they stood on.

use std::collections::BTreeSet;

use super::{Command, InFlight, Room, UNDO_RETRY};
use crate::mutant::{self, Mutant};
use crate::outcome::{Outcome, RetryAdvice, UndoClass};
use crate::state::{Index, RunState, StepRecord, StepState};

pub(super) fn decide(state: &RunState, in_flight: &InFlight, wipe_data: bool) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut room = Room::of(state, in_flight);
    let kept = kept_for_data(state, wipe_data);
    let candidates: BTreeSet<Index> = state.live().union(state.standing()).copied().collect();
    for at in candidates {
        if !in_flight.busy.contains(&at) && !state.is_parked(at) {
            commands.extend(next(state, in_flight, &mut room, &kept, at));
        }
    }
    if state.stopping > 0 {
        commands.retain(|command| {
            matches!(
                command,
                Command::LeaveStanding { .. } | Command::Park { .. }
            )
        });
        if commands.is_empty() && in_flight.busy.is_empty() {
            commands.push(Command::End {
                outcome: Outcome::Interrupted,
            });
        }
        return commands;
    }
    if commands.is_empty() && in_flight.busy.is_empty() && in_flight.waiting.is_empty() {
        let outcome = if state.has_parked() {
            Outcome::Parked
        } else {
            Outcome::RolledBack
        };
        commands.push(Command::End { outcome });
    }
    commands
}

/// Whether rollback still has to do something about a step before what it stands on may go.
fn holds(state: &RunState, in_flight: &InFlight, at: Index) -> bool {
    let Some((spec, record)) = state.at(at) else {
        return false;
    };
    if in_flight.busy.contains(&at)
        || matches!(
            record.state,
            StepState::Running { .. } | StepState::Undoing { .. }
        )
    {
        return true;
    }
    match &record.state {
        // An unsettled step may be untouched as far as the journal knows, but a job may have begun: look first.
        StepState::Unsettled { .. }
        | StepState::UndoFailed { .. }
        | StepState::UndoBackoff { .. } => true,
        _ => state.in_scope(record) && state.standing().contains(&at) && must_act(&spec.undo),
    }
}

/// An irreversible or empty effect does not keep what it stands on from being taken back.
fn must_act(class: &UndoClass) -> bool {
    match class {
        UndoClass::Reversible | UndoClass::Destructive { .. } => true,
        UndoClass::NothingToUndo | UndoClass::Irreversible { .. } => false,
    }
}

fn next<'a>(
    state: &'a RunState,
    in_flight: &InFlight,
    room: &mut Room<'a>,
    kept: &BTreeSet<Index>,
    at: Index,
) -> Option<Command> {
    let (spec, record) = state.at(at)?;
    match &record.state {
        StepState::Unsettled { attempt } if !record.touched => {
            return room.take(state, at).then_some(Command::Reconcile {
                step: at,
                attempt: *attempt,
            });
        }
        StepState::UndoFailed { attempt, failure } => {
            let again =
                failure.advice == RetryAdvice::Retry && record.undo_tries < UNDO_RETRY.attempts_max;
            return Some(if again {
                Command::PlanRetry {
                    step: at,
                    attempt: attempt + 1,
                    tries: record.undo_tries,
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
        _ => {}
    }
    if !state.standing().contains(&at) || !state.in_scope(record) || !is_rested(record) {
        return None;
    }
    if state
        .dependents_of(at)
        .iter()
        .any(|dependent| holds(state, in_flight, *dependent))
        && !mutant::on(Mutant::UndoBeforeDependents)
    {
        return None;
    }
    if kept.contains(&at) {
        let why = match &spec.undo {
            UndoClass::Destructive { what } => {
                format!("undo would lose {what}, which was not confirmed")
            }
            UndoClass::Reversible | UndoClass::NothingToUndo | UndoClass::Irreversible { .. } => {
                "a step that keeps data stands on it".to_owned()
            }
        };
        return Some(Command::LeaveStanding { step: at, why });
    }
    match &spec.undo {
        UndoClass::Irreversible { why } => Some(Command::LeaveStanding {
            step: at,
            why: format!("cannot be taken back: {why}"),
        }),
        UndoClass::NothingToUndo => None,
        UndoClass::Reversible | UndoClass::Destructive { .. } => {
            room.take(state, at).then_some(Command::Undo {
                step: at,
                attempt: next_attempt(record),
            })
        }
    }
}

fn is_rested(record: &StepRecord) -> bool {
    !matches!(
        record.state,
        StepState::Running { .. } | StepState::Undoing { .. }
    )
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

/// Without a confirmation, steps whose undo loses data stay, and so does everything they stand on.
fn kept_for_data(state: &RunState, wipe_data: bool) -> BTreeSet<Index> {
    let mut kept = BTreeSet::new();
    if wipe_data {
        return kept;
    }
    let mut open: Vec<Index> = state
        .steps()
        .enumerate()
        .filter(|(_, (spec, record))| {
            let stands = record.touched && record.state != StepState::Undone;
            matches!(spec.undo, UndoClass::Destructive { .. }) && stands && state.in_scope(record)
        })
        .map(|(at, _)| at)
        .collect();
    while let Some(at) = open.pop() {
        if kept.insert(at) {
            open.extend(state.dependencies_of(at));
        }
    }
    kept
}
