//! Decisions on the way to the plan.

use super::{Command, InFlight, Room, idle};
use crate::event::Cause;
use crate::outcome::{Failure, Outcome, Probe, RetryAdvice};
use crate::plan::StepSpec;
use crate::state::{Index, RunState, StepRecord, StepState};

pub(super) fn decide(state: &RunState, in_flight: &InFlight) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut room = Room::of(state, in_flight);
    for at in state.live() {
        if !in_flight.busy.contains(at) && !state.is_parked(*at) {
            commands.extend(continue_live(state, in_flight, &mut room, *at));
        }
    }
    let mut final_failure = None;
    for at in state.failed() {
        if let Some((spec, record)) = state.at(*at) {
            match after_failure(state, *at, spec, record) {
                Some(command) => commands.push(command),
                None => final_failure = final_failure.or(Some(*at)),
            }
        }
    }
    if state.stopping > 0 {
        return stop(state, in_flight, commands);
    }
    if let Some(failed) = final_failure.filter(|_| state.rolls_back()) {
        let cause = state
            .spec(failed)
            .map_or(Cause::Operator, |spec| Cause::StepFailed(spec.id.clone()));
        return vec![Command::BeginUnwind { cause }];
    }
    if final_failure.is_none() || !state.limits.fail_fast {
        start_ready(state, &mut room, &mut commands);
    }
    if commands.is_empty() && idle(state, in_flight) && in_flight.waiting.is_empty() {
        commands.push(Command::End {
            outcome: outcome(state),
        });
    }
    commands
}

fn start_ready<'a>(state: &'a RunState, room: &mut Room<'a>, commands: &mut Vec<Command>) {
    // A step whose lane is held is passed over; looking at a bounded number keeps a decision cheap in a wide plan.
    const LOOK_AHEAD: usize = 1_024;
    for at in state.ready().take(LOOK_AHEAD) {
        if room.free == 0 {
            break;
        }
        if !state.is_parked(at) && room.take(state, at) {
            let attempt = state.at(at).map_or(0, |(_, record)| record.attempts) + 1;
            commands.push(Command::Start { step: at, attempt });
        }
    }
}

/// A step that is neither waiting nor finished, and that no task works on.
fn continue_live<'a>(
    state: &'a RunState,
    in_flight: &InFlight,
    room: &mut Room<'a>,
    at: Index,
) -> Option<Command> {
    let (spec, record) = state.at(at)?;
    match &record.state {
        StepState::Unsettled { attempt } => (state.stopping == 0 && room.take(state, at))
            .then_some(Command::Reconcile {
                step: at,
                attempt: *attempt,
            }),
        StepState::Reconciled { attempt, found } => match found {
            Probe::Satisfied(receipt) => Some(Command::Settle {
                step: at,
                attempt: *attempt,
                receipt: receipt.clone(),
            }),
            Probe::Unknown { why } if !spec.idempotent => Some(Command::Park {
                step: at,
                why: format!("attempt {attempt} was interrupted and its outcome is unknown: {why}"),
            }),
            Probe::Running => {
                (state.stopping == 0 && room.take(state, at)).then_some(Command::Reattach {
                    step: at,
                    attempt: *attempt,
                })
            }
            Probe::Unknown { .. }
            | Probe::Absent
            | Probe::Drifted { .. }
            | Probe::Partial { .. } => {
                (state.stopping == 0 && room.take(state, at)).then_some(Command::Start {
                    step: at,
                    attempt: attempt + 1,
                })
            }
        },
        StepState::Backoff { attempt, delay_ms } => {
            if state.stopping > 0 {
                None
            } else if in_flight.rested.contains(&at) {
                room.take(state, at).then_some(Command::Start {
                    step: at,
                    attempt: *attempt,
                })
            } else if in_flight.waiting.contains(&at) {
                None
            } else {
                Some(Command::Wait {
                    step: at,
                    delay_ms: *delay_ms,
                })
            }
        }
        StepState::Pending
        | StepState::Running { .. }
        | StepState::Failed { .. }
        | StepState::Succeeded { .. }
        | StepState::Skipped
        | StepState::Undoing { .. }
        | StepState::UndoUnsettled { .. }
        | StepState::UndoFailed { .. }
        | StepState::UndoBackoff { .. }
        | StepState::Undone
        | StepState::Left { .. } => None,
    }
}

/// What a failed attempt leads to; `None` when the failure is final.
fn after_failure(
    state: &RunState,
    at: Index,
    spec: &StepSpec,
    record: &StepRecord,
) -> Option<Command> {
    let StepState::Failed { attempt, failure } = &record.state else {
        return None;
    };
    match failure.advice {
        RetryAdvice::Retry if record.tries < spec.retry.attempts_max && state.stopping == 0 => {
            Some(Command::PlanRetry {
                step: at,
                attempt: attempt + 1,
                tries: record.tries,
                policy: spec.retry,
            })
        }
        RetryAdvice::AskOperator if !state.is_parked(at) => Some(Command::Park {
            step: at,
            why: question(failure),
        }),
        RetryAdvice::Retry | RetryAdvice::GiveUp | RetryAdvice::AskOperator => None,
    }
}

fn question(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{}; {hint}", failure.why),
        None => failure.why.clone(),
    }
}

/// Once a stop was asked for: nothing new, only what settles without touching the host.
fn stop(state: &RunState, in_flight: &InFlight, commands: Vec<Command>) -> Vec<Command> {
    let mut commands: Vec<Command> = commands
        .into_iter()
        .filter(|command| matches!(command, Command::Settle { .. } | Command::Park { .. }))
        .collect();
    if commands.is_empty() && idle(state, in_flight) {
        let outcome = if state.done() == state.plan().steps.len() {
            Outcome::Completed
        } else {
            Outcome::Interrupted
        };
        commands.push(Command::End { outcome });
    }
    commands
}

fn outcome(state: &RunState) -> Outcome {
    if state.has_parked() {
        Outcome::Parked
    } else if state
        .steps()
        .all(|(_, record)| record.state.is_done() || record.retired)
    {
        Outcome::Completed
    } else {
        Outcome::FailedKept
    }
}
