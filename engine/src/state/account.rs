//! What steps give account of: the last diagnosis of each, and what is owed.

use std::sync::Arc;

use super::{Illegal, Index, RunState, StepRecord, StepState};
use crate::event::{Event, ObligationOpened, ObligationSettled};
use crate::id::StepId;
use crate::outcome::UndoClass;
use crate::plan::StepSpec;

/// Something temporary that a step put, or was about to put, on the host, and that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Names it in the whole installation.
    pub id: String,
    /// The step that opened it.
    pub step: StepId,
    /// What is on the host and must not stay.
    pub what: String,
    /// How it is settled.
    pub settle: String,
}

impl From<&ObligationOpened> for Owed {
    fn from(opened: &ObligationOpened) -> Self {
        Self {
            id: opened.id.clone(),
            step: opened.step.clone(),
            what: opened.what.clone(),
            settle: opened.settle.clone(),
        }
    }
}

/// Whether undo of a step does anything: by its class, or because it owes something.
pub(crate) fn acts_on_undo(spec: &StepSpec, record: &StepRecord) -> bool {
    match &spec.undo {
        UndoClass::Reversible | UndoClass::Destructive { .. } => true,
        UndoClass::NothingToUndo => record.owes > 0 || is_under_way(&record.state),
        UndoClass::Irreversible { .. } => false,
    }
}

/// Whether an undo has begun and has not succeeded: what it settled so far says nothing about the rest.
fn is_under_way(state: &StepState) -> bool {
    match state {
        StepState::Undoing { .. }
        | StepState::UndoFailed { .. }
        | StepState::UndoBackoff { .. } => true,
        StepState::UndoUnsettled { attempt } => *attempt > 0,
        StepState::Pending
        | StepState::Running { .. }
        | StepState::Unsettled { .. }
        | StepState::Reconciled { .. }
        | StepState::Failed { .. }
        | StepState::Backoff { .. }
        | StepState::Succeeded { .. }
        | StepState::Skipped
        | StepState::Undone
        | StepState::Left { .. } => false,
    }
}

impl RunState {
    /// What steps of this run opened and nobody has settled in this run, by id. A later run may have settled it: see
    /// [`crate::installation::Installation::owed`].
    pub fn owed(&self) -> impl Iterator<Item = &Owed> {
        self.owed.values()
    }

    /// Folds an account. A step that nobody works on has nothing to tell.
    pub(super) fn account(&mut self, event: &Event) -> Result<(), Illegal> {
        let name = event.name();
        match event {
            Event::EvidenceTaken(e) => drop(self.telling(name, &e.step)?),
            Event::CureTried(e) => drop(self.acting(name, &e.step)?),
            Event::CureEnded(e) => drop(self.acting(name, &e.step)?),
            Event::Diagnosed(e) => {
                let at = self.telling(name, &e.step)?;
                let diagnosis = Arc::new(e.clone());
                self.update(at, |record| record.diagnosis = Some(diagnosis));
            }
            Event::ObligationOpened(e) => self.owe(self.acting(name, &e.step)?, e),
            Event::ObligationSettled(e) => {
                self.acting(name, &e.step)?;
                self.settled(e);
            }
            other => {
                return Err(Illegal::Opening {
                    found: other.name(),
                });
            }
        }
        Ok(())
    }

    fn owe(&mut self, at: Index, opened: &ObligationOpened) {
        self.repay(&opened.id);
        self.owed.insert(opened.id.clone(), opened.into());
        self.update(at, |record| {
            record.owes += 1;
            // The effect follows without a further event.
            record.touched = true;
        });
    }

    fn settled(&mut self, settled: &ObligationSettled) {
        // One that is not known here belongs to an earlier run.
        self.repay(&settled.id);
    }

    fn repay(&mut self, id: &str) {
        let owner = self.owed.remove(id).map(|owed| owed.step);
        if let Some(at) = owner.and_then(|step| self.index_of(&step)) {
            self.update(at, |record| record.owes = record.owes.saturating_sub(1));
        }
    }

    /// A step that somebody looks at or works on.
    fn telling(&self, event: &'static str, step: &StepId) -> Result<Index, Illegal> {
        let at = self.find(event, step)?;
        match self.at(at).map(|(_, record)| &record.state) {
            Some(StepState::Unsettled { .. }) => Ok(at),
            _ => self.acting(event, step),
        }
    }

    /// A step whose attempt or undo runs. Re-attaching to a job needs no new attempt.
    fn acting(&self, event: &'static str, step: &StepId) -> Result<Index, Illegal> {
        let at = self.find(event, step)?;
        match self.at(at).map(|(_, record)| &record.state) {
            Some(
                StepState::Running { .. }
                | StepState::Reconciled { .. }
                | StepState::Undoing { .. },
            ) => Ok(at),
            _ => Err(self.illegal(event, at)),
        }
    }
}
