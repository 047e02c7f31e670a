//! `RunState::apply`: what each event does to the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Direction, Illegal, Index, RunState, StepRecord, StepState};
use crate::event::{
    Event, OnEdited, OperatorDecided, PlanRevised, RunOpened, StepCaptured, StepReconciled,
    StepSucceeded, UnwindBegan, Verdict,
};
use crate::id::StepId;
use crate::mutant::{self, Mutant};
use crate::outcome::{Before, How, Outcome, Probe, Residue};
use crate::plan::{Change, Plan, triage};

impl RunState {
    /// The state right after `RunOpened`.
    pub fn open(opened: &RunOpened) -> Self {
        let plan = Arc::new(opened.plan.clone());
        let records = vec![StepRecord::new(); plan.steps.len()];
        let mut state = Self {
            plan: Arc::clone(&plan),
            limits: opened.limits,
            host: opened.host.clone(),
            direction: Direction::Forward,
            ended: None,
            stopping: 0,
            sessions: 1,
            records: Vec::new(),
            index: Arc::default(),
            dependencies: Arc::default(),
            dependents: Arc::default(),
            urgency: Arc::default(),
            waits_for: Vec::new(),
            ready: std::collections::BTreeSet::new(),
            live: std::collections::BTreeSet::new(),
            failed: std::collections::BTreeSet::new(),
            parked: BTreeMap::new(),
            standing: std::collections::BTreeSet::new(),
            holders: Vec::new(),
            undoable: std::collections::BTreeSet::new(),
            kept: std::collections::BTreeSet::new(),
            owed: BTreeMap::new(),
            done: 0,
            position: 1,
        };
        state.install(plan, records);
        state
    }

    /// Folds one event. On an error the state is unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), Illegal> {
        self.position += 1;
        let applied = self.fold(event);
        if applied.is_err() {
            self.position -= 1;
        }
        applied
    }

    fn fold(&mut self, event: &Event) -> Result<(), Illegal> {
        let name = event.name();
        match event {
            Event::RunOpened(_) => return Err(Illegal::Opening { found: name }),
            Event::RunResumed(_) => self.resumed(),
            Event::PlanRevised(revised) => self.revised(revised),
            Event::StepStarted(e) => self.started(self.find(name, &e.step)?, e.attempt)?,
            Event::StepCaptured(e) => self.captured(self.find(name, &e.step)?, e)?,
            Event::StepSucceeded(e) => self.succeeded(self.find(name, &e.step)?, e)?,
            Event::StepFailed(e) => {
                let at = self.running(name, &e.step)?;
                self.update(at, |record| {
                    // A look that failed says nothing about what an earlier attempt left.
                    if !matches!(record.state, StepState::Running { .. }) {
                        record.touched_earlier = record.touched;
                    }
                    record.took_ms = e.took_ms;
                    record.fail(e.attempt, &e.failure);
                });
            }
            Event::RetryPlanned(e) => {
                self.retry_planned(self.find(name, &e.step)?, e.attempt, e.delay_ms)?;
            }
            Event::StepReconciled(e) => self.reconciled(self.find(name, &e.step)?, e)?,
            Event::UnwindBegan(began) => self.unwind(began),
            Event::UndoStarted(e) => self.undo_started(self.find(name, &e.step)?, e.attempt)?,
            Event::UndoSucceeded(e) => {
                let at = self.undoing(name, &e.step)?;
                self.update(at, |record| {
                    record.state = StepState::Undone;
                    record.touched = false;
                });
            }
            Event::UndoFailed(e) => {
                let at = self.undoing(name, &e.step)?;
                self.update(at, |record| {
                    record.state = StepState::UndoFailed {
                        attempt: e.attempt,
                        failure: e.failure.clone(),
                    };
                });
            }
            Event::UndoSkipped(e) => {
                let at = self.find(name, &e.step)?;
                self.update(at, |record| {
                    record.state = StepState::Left { why: e.why.clone() }
                });
            }
            Event::Parked(e) => {
                let at = self.find(name, &e.step)?;
                self.parked.insert(at, e.why.clone());
            }
            Event::OperatorDecided(decided) => self.decided(name, decided)?,
            Event::Interrupted(e) => self.stopping = self.stopping.max(e.stage),
            Event::RunEnded(e) => self.ended = Some(e.outcome),
            Event::EvidenceTaken(_)
            | Event::Diagnosed(_)
            | Event::CureTried(_)
            | Event::CureEnded(_)
            | Event::ObligationOpened(_)
            | Event::ObligationSettled(_) => self.account(event)?,
        }
        Ok(())
    }

    pub(super) fn find(&self, event: &'static str, step: &StepId) -> Result<Index, Illegal> {
        self.index_of(step).ok_or_else(|| Illegal::UnknownStep {
            event,
            step: step.clone(),
        })
    }

    pub(super) fn illegal(&self, event: &'static str, at: Index) -> Illegal {
        match self.at(at) {
            Some((spec, record)) => Illegal::State {
                event,
                step: spec.id.clone(),
                state: record.state.word(),
            },
            None => Illegal::Opening { found: event },
        }
    }

    fn running(&self, event: &'static str, step: &StepId) -> Result<Index, Illegal> {
        let at = self.find(event, step)?;
        match self.records.get(at).map(|record| &record.state) {
            // A failure to even look (reconcile) is recorded as a failed attempt.
            Some(
                StepState::Running { .. }
                | StepState::Unsettled { .. }
                | StepState::Reconciled { .. },
            ) => Ok(at),
            _ => Err(self.illegal(event, at)),
        }
    }

    fn undoing(&self, event: &'static str, step: &StepId) -> Result<Index, Illegal> {
        let at = self.find(event, step)?;
        match self.records.get(at).map(|record| &record.state) {
            Some(StepState::Undoing { .. }) => Ok(at),
            _ => Err(self.illegal(event, at)),
        }
    }

    /// Another process took over: what was in flight must be looked at, what had failed gets a fresh budget.
    fn resumed(&mut self) {
        self.sessions += 1;
        self.stopping = 0;
        self.ended = None;
        for at in 0..self.records.len() {
            let parked = self.is_parked(at);
            let mut unpark = false;
            self.update(at, |record| {
                record.tries = 0;
                record.undo_tries = 0;
                match &record.state {
                    StepState::Running { attempt } | StepState::Reconciled { attempt, .. } => {
                        record.state = StepState::Unsettled { attempt: *attempt };
                    }
                    StepState::Backoff { attempt, .. } => {
                        let attempt = attempt.saturating_sub(1);
                        record.state = if record.touched {
                            StepState::Unsettled { attempt }
                        } else {
                            StepState::Pending
                        };
                    }
                    StepState::Failed { attempt, failure } => {
                        // A clean refusal may be asked again; a doubtful one waits for its decision.
                        if parked && failure.residue != Residue::Clean {
                            return;
                        }
                        unpark = true;
                        record.state = if record.touched {
                            StepState::Unsettled { attempt: *attempt }
                        } else {
                            StepState::Pending
                        };
                    }
                    StepState::Undoing { attempt } | StepState::UndoBackoff { attempt, .. } => {
                        record.state = StepState::UndoUnsettled { attempt: *attempt };
                    }
                    StepState::UndoFailed { attempt, .. } if !parked => {
                        record.state = StepState::UndoUnsettled { attempt: *attempt };
                    }
                    StepState::UndoFailed { .. }
                    | StepState::Pending
                    | StepState::Unsettled { .. }
                    | StepState::Succeeded { .. }
                    | StepState::Skipped
                    | StepState::UndoUnsettled { .. }
                    | StepState::Undone
                    | StepState::Left { .. } => {}
                }
            });
            if unpark {
                self.parked.remove(&at);
            }
        }
    }

    /// The plan changed: finished steps keep their records unless they were edited and are to be redone.
    fn revised(&mut self, revised: &PlanRevised) {
        let changes = triage(&self.plan, &revised.plan);
        let mut old: BTreeMap<StepId, StepRecord> = self
            .plan
            .steps
            .iter()
            .map(|step| step.id.clone())
            .zip(std::mem::take(&mut self.records))
            .collect();
        let mut plan = Plan {
            name: revised.plan.name.clone(),
            steps: revised.plan.steps.clone(),
        };
        let mut records = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let mut record = old.remove(&step.id).unwrap_or_else(StepRecord::new);
            let edited = changes.get(&step.id) == Some(&Change::Edited);
            if edited && revised.on_edited == OnEdited::Redo && record.state.is_done() {
                record.state = StepState::Pending;
                record.done_at = 0;
                record.redo = true;
            }
            record.retired = false;
            records.push(record);
        }
        let stored = Arc::clone(&self.plan);
        for step in &stored.steps {
            if let Some(mut record) = old.remove(&step.id).filter(|record| record.touched) {
                record.retired = true;
                let mut step = step.clone();
                step.after
                    .retain(|id| plan.steps.iter().any(|kept| kept.id == *id));
                plan.steps.push(step);
                records.push(record);
            }
        }
        let parked: Vec<(StepId, String)> = self
            .parked()
            .map(|(step, why)| (step.clone(), why.to_owned()))
            .collect();
        self.install(Arc::new(plan), records);
        self.parked = parked
            .into_iter()
            .filter_map(|(step, why)| Some((self.index_of(&step)?, why)))
            .collect();
    }

    fn started(&mut self, at: Index, attempt: u32) -> Result<(), Illegal> {
        match self.records.get(at).map(|record| &record.state) {
            Some(StepState::Pending | StepState::Reconciled { .. } | StepState::Backoff { .. }) => {
                self.update(at, |record| {
                    record.attempts = attempt;
                    record.tries += 1;
                    record.touched_earlier = record.touched;
                    // With a before-image in the journal, no further event precedes the effect.
                    record.touched |= record.before.is_some();
                    record.state = StepState::Running { attempt };
                });
                Ok(())
            }
            _ => Err(self.illegal("StepStarted", at)),
        }
    }

    fn captured(&mut self, at: Index, event: &StepCaptured) -> Result<(), Illegal> {
        match self.records.get(at).map(|record| &record.state) {
            Some(StepState::Running { .. }) => {
                self.update(at, |record| {
                    if mutant::on(Mutant::RecapturesOnResume) {
                        record.before = None;
                    }
                    record.before.get_or_insert_with(|| event.before.clone());
                    record.touched = true;
                });
                Ok(())
            }
            _ => Err(self.illegal("StepCaptured", at)),
        }
    }

    fn succeeded(&mut self, at: Index, event: &StepSucceeded) -> Result<(), Illegal> {
        match self.records.get(at).map(|record| &record.state) {
            Some(StepState::Running { .. } | StepState::Reconciled { .. }) => {
                self.update(at, |record| {
                    match event.how {
                        How::Adopted => record.touched |= mutant::on(Mutant::AdoptedStepUndone),
                        How::Changed | How::Accepted => record.touched = true,
                    }
                    record.redo = false;
                    record.took_ms = event.took_ms;
                    record.receipt = Some(event.receipt.clone());
                    record.state = StepState::Succeeded { how: event.how };
                });
                Ok(())
            }
            _ => Err(self.illegal("StepSucceeded", at)),
        }
    }

    fn retry_planned(&mut self, at: Index, attempt: u32, delay_ms: u64) -> Result<(), Illegal> {
        let next = match self.records.get(at).map(|record| &record.state) {
            Some(StepState::Failed { .. }) => StepState::Backoff { attempt, delay_ms },
            Some(StepState::UndoFailed { .. }) => StepState::UndoBackoff { attempt, delay_ms },
            _ => return Err(self.illegal("RetryPlanned", at)),
        };
        self.update(at, |record| record.state = next);
        Ok(())
    }

    fn reconciled(&mut self, at: Index, event: &StepReconciled) -> Result<(), Illegal> {
        match self.records.get(at).map(|record| &record.state) {
            Some(StepState::Unsettled { .. }) => {
                self.update(at, |record| {
                    // A job of ours, or nobody knowing, means that the effect may have begun without a capture event.
                    if matches!(event.found, Probe::Running | Probe::Unknown { .. }) {
                        record.touched = true;
                    }
                    record.state = StepState::Reconciled {
                        attempt: event.attempt,
                        found: event.found.clone(),
                    };
                });
                Ok(())
            }
            _ => Err(self.illegal("StepReconciled", at)),
        }
    }

    fn unwind(&mut self, began: &UnwindBegan) {
        let keep_until = began
            .keep_to
            .as_ref()
            .and_then(|step| self.record(step))
            .map_or(0, |record| record.done_at);
        self.direction = Direction::Unwinding {
            cause: began.cause.clone(),
            keep_until,
            wipe_data: began.wipe_data,
        };
        self.ended = None;
        for at in 0..self.records.len() {
            self.update(at, |record| match &record.state {
                // Delays end here: what failed stays failed.
                StepState::Backoff { attempt, .. } => {
                    let failure =
                        crate::outcome::Failure::unknown("rollback began before the next attempt");
                    record.state = StepState::Failed {
                        attempt: attempt.saturating_sub(1),
                        failure,
                    };
                }
                // An earlier rollback left it; this one may have another scope or confirmation.
                StepState::Left { .. } => record.state = StepState::UndoUnsettled { attempt: 0 },
                _ => {}
            });
        }
        let forward: Vec<Index> = self
            .parked
            .keys()
            .copied()
            .filter(|at| {
                !matches!(
                    self.records.get(*at).map(|r| &r.state),
                    Some(StepState::UndoFailed { .. })
                )
            })
            .collect();
        for at in forward {
            self.parked.remove(&at);
        }
        self.recount();
    }

    fn undo_started(&mut self, at: Index, attempt: u32) -> Result<(), Illegal> {
        match self.records.get(at).map(|record| &record.state) {
            Some(
                StepState::Succeeded { .. }
                | StepState::Failed { .. }
                | StepState::Unsettled { .. }
                | StepState::Reconciled { .. }
                | StepState::UndoUnsettled { .. }
                | StepState::UndoBackoff { .. }
                | StepState::Pending,
            ) => {
                self.update(at, |record| {
                    record.undo_tries += 1;
                    record.state = StepState::Undoing { attempt };
                });
                Ok(())
            }
            _ => Err(self.illegal("UndoStarted", at)),
        }
    }

    fn decided(&mut self, name: &'static str, decided: &OperatorDecided) -> Result<(), Illegal> {
        let Some(step) = &decided.step else {
            if decided.verdict == Verdict::Abandon {
                self.ended = Some(Outcome::Abandoned);
            }
            return Ok(());
        };
        let at = self.find(name, step)?;
        let unwinding = self.direction != Direction::Forward;
        self.update(at, |record| match decided.verdict {
            Verdict::Retry => {
                record.tries = 0;
                record.state = StepState::Pending;
            }
            Verdict::RetryUndo => {
                record.undo_tries = 0;
                record.state = StepState::UndoUnsettled { attempt: 0 };
            }
            Verdict::Accept if unwinding => {
                record.state = StepState::Undone;
                record.touched = false;
            }
            Verdict::Accept => {
                record.before.get_or_insert(Before::Nothing);
                record.state = StepState::Succeeded { how: How::Accepted };
            }
            // Skipped, not left: a later rollback must not ask again.
            Verdict::Skip => record.state = StepState::Skipped,
            Verdict::Abandon => {}
        });
        if decided.verdict == Verdict::Abandon {
            self.ended = Some(Outcome::Abandoned);
        }
        self.parked.remove(&at);
        Ok(())
    }
}
