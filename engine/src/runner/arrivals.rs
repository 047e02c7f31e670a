//! What comes in while a run is under way: wishes to stop, events that tasks want durable, outcomes.

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError};

use super::desk::Handover;
use super::task::{Mode, Report};
use super::{RunError, Runner, Stop};
use crate::event::{Interrupted, StepFailed, UndoFailed};
use crate::mutant::{self, Mutant};
use crate::outcome::Failure;
use crate::ports::{Busy, Cancel};
use crate::state::Index;

impl Runner {
    /// Waits for at least one arrival and takes all that are there, so that one sync serves them all.
    pub(super) async fn arrivals(
        &mut self,
        stops: &mut mpsc::Receiver<Stop>,
        tokens: &mut Vec<Busy>,
    ) -> Result<(), RunError> {
        tokio::select! {
            biased;
            Some(stop) = stops.recv() => self.stop(stop)?,
            Some(handover) = self.handover.1.recv() => self.hand_over(handover),
            Some(joined) = self.tasks.join_next_with_id() => self.joined(joined, tokens)?,
            // Nothing under way and nothing decided cannot happen; wait for the operator rather than spin.
            else => {}
        }
        loop {
            if let Ok(stop) = stops.try_recv() {
                self.stop(stop)?;
            } else if let Ok(handover) = self.handover.1.try_recv() {
                self.hand_over(handover);
            } else if let Some(joined) = self.tasks.try_join_next_with_id() {
                self.joined(joined, tokens)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Takes what a task wants durable. One that comes after its task was given up is refused: dropping the sender says so.
    fn hand_over(&mut self, handover: Handover) {
        let step = self.state.index_of(&handover.step);
        if !step.is_some_and(|at| self.in_flight.busy.contains(&at)) {
            return;
        }
        match self.record(handover.event) {
            Ok(()) if mutant::on(Mutant::OwesBeforeDurable) => drop(handover.durable.send(())),
            Ok(()) => self.acknowledge.push(handover.durable),
            Err(error) => tracing::warn!(step = %handover.step, %error, "an account is refused"),
        }
    }

    fn stop(&mut self, stop: Stop) -> Result<(), RunError> {
        match stop {
            Stop::Finish { by } => self.record(Interrupted { stage: 1, by }),
            Stop::Kill { by } => {
                self.cancels.values().for_each(Cancel::cancel);
                self.record(Interrupted { stage: 2, by })
            }
        }
    }

    fn joined(
        &mut self,
        joined: Result<(Id, Report), JoinError>,
        tokens: &mut Vec<Busy>,
    ) -> Result<(), RunError> {
        match joined {
            Ok((id, Report::Done { step, event, busy })) => {
                tokens.push(busy);
                self.owners.remove(&id);
                self.release(step);
                self.record(event)
            }
            Ok((_, Report::Rested { step, busy })) => {
                tokens.push(busy);
                // A rollback or a stop may have overtaken the delay.
                if self.in_flight.waiting.remove(&step) {
                    self.in_flight.rested.insert(step);
                }
                Ok(())
            }
            Err(error) => match self.owners.remove(&error.id()) {
                Some((step, mode)) => self.panicked(step, mode),
                None => Ok(()),
            },
        }
    }

    fn release(&mut self, step: Index) {
        self.in_flight.busy.remove(&step);
        self.cancels.remove(&step);
    }

    /// A step that panics is a failed step, not a crashed run.
    fn panicked(&mut self, step: Index, mode: Mode) -> Result<(), RunError> {
        self.release(step);
        let failure =
            Failure::unknown("the step's code panicked; this is a bug in wiab").code("WB0001");
        let (id, attempts, undo_tries) = match self.state.at(step) {
            Some((spec, record)) => (spec.id.clone(), record.attempts, record.undo_tries),
            None => return Ok(()),
        };
        match mode {
            Mode::Undo => self.record(UndoFailed {
                step: id,
                attempt: undo_tries,
                failure,
                evidence: None,
                took_ms: 0,
            }),
            Mode::Attempt | Mode::Reattach | Mode::Reconcile => self.record(StepFailed {
                step: id,
                attempt: attempts,
                failure,
                evidence: None,
                took_ms: 0,
            }),
        }
    }

    /// After a journal failure: nothing new starts, before-images are refused, running effects end.
    pub(super) async fn drain(&mut self) {
        self.acknowledge.clear();
        self.handover.1.close();
        while self.tasks.join_next().await.is_some() {
            while self.handover.1.try_recv().is_ok() {}
        }
    }
}
