//! The state of a run: a fold of its events, and nothing else. The only place where state changes, live and on resume.

mod account;
mod apply;
mod step;
mod tally;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use account::Owed;
pub(crate) use account::acts_on_undo;
pub use step::{StepRecord, StepState};
pub use tally::Tally;

use crate::event::{Cause, Event, Limits, OnFailure};
use crate::graph;
use crate::id::StepId;
use crate::mutant::{self, Mutant};
use crate::outcome::{Outcome, UndoClass};
use crate::plan::{Plan, StepSpec};

/// Position of a step in its plan.
pub type Index = usize;

/// Which way a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// Towards the plan.
    Forward,
    /// Back to where it began.
    Unwinding {
        /// Why.
        cause: Cause,
        /// Steps that became done later than this position are taken back; 0 is all.
        keep_until: u64,
        /// Whether undos that lose data are confirmed.
        wipe_data: bool,
    },
}

/// An event that does not fit the state: a broken journal or a bug, never a normal course.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The first event is not `RunOpened`, or a second one came.
    #[error("a run must begin with exactly one RunOpened event, found {found}")]
    Opening {
        /// What came instead.
        found: &'static str,
    },
    /// The event names a step that the plan does not have.
    #[error("event {event} names step `{step}`, which is not in the plan")]
    UnknownStep {
        /// The event.
        event: &'static str,
        /// The step.
        step: StepId,
    },
    /// The step is not in a state in which this can happen.
    #[error("event {event} cannot happen to step `{step}` while it is {state}")]
    State {
        /// The event.
        event: &'static str,
        /// The step.
        step: StepId,
        /// Where it stands.
        state: &'static str,
    },
}

/// The state of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunState {
    plan: Arc<Plan>,
    /// The rules it was started with.
    pub limits: Limits,
    /// The host, as the operator named it.
    pub host: String,
    /// Which way it goes.
    pub direction: Direction,
    /// How the last process left it; `None` while one works on it.
    pub ended: Option<Outcome>,
    /// How urgently the operator asked to stop: 0 not at all, 1 start nothing new, 2 stop running steps.
    pub stopping: u8,
    /// Processes that worked on it, the first included.
    pub sessions: u32,
    records: Vec<StepRecord>,
    index: Arc<BTreeMap<StepId, Index>>,
    dependencies: Arc<Vec<Vec<Index>>>,
    dependents: Arc<Vec<Vec<Index>>>,
    urgency: Arc<Vec<u64>>,
    /// Unfinished dependencies of each step.
    waits_for: Vec<u32>,
    /// Pending steps whose dependencies are done, the most urgent first.
    ready: BTreeSet<(Reverse<u64>, Index)>,
    /// Steps with work under way or to settle.
    live: BTreeSet<Index>,
    /// Steps whose last attempt failed.
    failed: BTreeSet<Index>,
    /// Steps for which a human must decide, and why.
    parked: BTreeMap<Index, String>,
    /// Steps whose effect stands and may have to be taken back.
    standing: BTreeSet<Index>,
    /// While unwinding: how many dependents of each step, direct ones, hold it back.
    holders: Vec<u32>,
    /// While unwinding: steps that may be taken back now.
    undoable: BTreeSet<Index>,
    /// While unwinding without a confirmation: steps that stay because data stands on them.
    kept: BTreeSet<Index>,
    /// What its steps owe, by id.
    owed: BTreeMap<String, Owed>,
    /// Steps that are done.
    done: usize,
    /// Events folded so far.
    position: u64,
}

impl RunState {
    /// Folds the events of one run, the first of which opens it.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Self, Illegal> {
        let mut events = events.into_iter();
        let mut state = match events.next() {
            Some(Event::RunOpened(opened)) => Self::open(opened),
            other => {
                return Err(Illegal::Opening {
                    found: other.map_or("nothing", Event::name),
                });
            }
        };
        for event in events {
            state.apply(event)?;
        }
        Ok(state)
    }

    /// The plan it follows (after revisions, with steps that are only kept to be taken back at the end).
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The position of a step.
    pub fn index_of(&self, step: &StepId) -> Option<Index> {
        self.index.get(step).copied()
    }

    /// What is known about a step.
    pub fn record(&self, step: &StepId) -> Option<&StepRecord> {
        self.index_of(step)
            .and_then(|index| self.records.get(index))
    }

    /// All steps with what is known about them, in plan order.
    pub fn steps(&self) -> impl Iterator<Item = (&StepSpec, &StepRecord)> {
        self.plan.steps.iter().zip(&self.records)
    }

    /// Steps for which a human must decide, and why.
    pub fn parked(&self) -> impl Iterator<Item = (&StepId, &str)> {
        self.parked
            .iter()
            .filter_map(|(index, why)| Some((&self.spec(*index)?.id, why.as_str())))
    }

    /// How many steps are done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Events folded so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The output `name` that `step` left.
    pub fn output(&self, step: &StepId, name: &str) -> Option<String> {
        self.record(step)?
            .receipt
            .as_ref()?
            .outputs
            .get(name)
            .cloned()
    }

    /// Whether anything this run changed still stands, or may stand.
    pub fn has_standing(&self) -> bool {
        let doubtful = |at: &Index| self.records.get(*at).is_some_and(StepRecord::is_doubtful);
        !self.standing.is_empty() || self.live.iter().any(doubtful)
    }

    /// Whether another process may take the run up.
    pub fn is_resumable(&self) -> bool {
        match (&self.direction, self.ended) {
            (_, Some(Outcome::Abandoned)) => false,
            (Direction::Forward, ended) => ended != Some(Outcome::Completed),
            (Direction::Unwinding { .. }, ended) => ended != Some(Outcome::RolledBack),
        }
    }

    pub(crate) fn spec(&self, index: Index) -> Option<&StepSpec> {
        self.plan.steps.get(index)
    }

    pub(crate) fn at(&self, index: Index) -> Option<(&StepSpec, &StepRecord)> {
        Some((self.plan.steps.get(index)?, self.records.get(index)?))
    }

    pub(crate) fn ready(&self) -> impl Iterator<Item = Index> {
        self.ready.iter().map(|(_, index)| *index)
    }

    pub(crate) fn live(&self) -> &BTreeSet<Index> {
        &self.live
    }

    pub(crate) fn failed(&self) -> &BTreeSet<Index> {
        &self.failed
    }

    pub(crate) fn undoable(&self) -> &BTreeSet<Index> {
        &self.undoable
    }

    /// Whether a step stays during this rollback because data stands on it, or is data.
    pub(crate) fn is_kept(&self, index: Index) -> bool {
        self.kept.contains(&index)
    }

    pub(crate) fn is_parked(&self, index: Index) -> bool {
        self.parked.contains_key(&index)
    }

    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Whether a final failure means rollback.
    pub(crate) fn rolls_back(&self) -> bool {
        self.limits.on_failure == OnFailure::Rollback
    }

    /// Whether rollback in the present direction reaches this step.
    fn in_scope(&self, record: &StepRecord) -> bool {
        match self.direction {
            Direction::Forward => false,
            Direction::Unwinding { keep_until, .. } => {
                keep_until == 0 || record.done_at == 0 || record.done_at > keep_until
            }
        }
    }

    /// Adopts a plan: rebuilds everything that is derived from it.
    fn install(&mut self, plan: Arc<Plan>, records: Vec<StepRecord>) {
        let index: BTreeMap<StepId, Index> = plan
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| (step.id.clone(), at))
            .collect();
        let mut dependencies: Vec<Vec<Index>> = vec![Vec::new(); plan.steps.len()];
        let mut dependents: Vec<Vec<Index>> = vec![Vec::new(); plan.steps.len()];
        for (at, step) in plan.steps.iter().enumerate() {
            let mut before: Vec<Index> = step
                .after
                .iter()
                .filter_map(|id| index.get(id).copied())
                .collect();
            before.sort_unstable();
            before.dedup();
            for dependency in &before {
                if let Some(list) = dependents.get_mut(*dependency) {
                    list.push(at);
                }
            }
            if let Some(slot) = dependencies.get_mut(at) {
                *slot = before;
            }
        }
        self.urgency = Arc::new(graph::urgency_ms(&plan, &|step| step.usual_ms));
        self.plan = plan;
        self.records = records;
        self.index = Arc::new(index);
        self.dependencies = Arc::new(dependencies);
        self.dependents = Arc::new(dependents);
        self.recount();
    }

    /// Recomputes the derived sets from the records.
    fn recount(&mut self) {
        let open = |at: &Index| {
            self.records
                .get(*at)
                .is_none_or(|record| !record.state.is_done())
        };
        self.waits_for = self
            .dependencies
            .iter()
            .map(|before| count(before.iter().filter(|at| open(at))))
            .collect();
        self.holders = vec![0; self.records.len()];
        // Dependents first: what they hold back depends on who holds them.
        for at in graph::order(&self.plan).into_iter().rev() {
            if self.blocks(at) {
                let dependencies = Arc::clone(&self.dependencies);
                for dependency in dependencies.get(at).into_iter().flatten() {
                    shift(&mut self.holders, *dependency, true);
                }
            }
        }
        self.done = self
            .records
            .iter()
            .filter(|record| record.state.is_done())
            .count();
        self.ready.clear();
        self.live.clear();
        self.failed.clear();
        self.standing.clear();
        self.undoable.clear();
        for at in 0..self.records.len() {
            self.file(at);
        }
        self.keep_data();
    }

    /// Puts a step into the sets that its record belongs to.
    fn file(&mut self, at: Index) {
        let Some((spec, record)) = self.at(at) else {
            return;
        };
        let state = &record.state;
        let urgency = self.urgency.get(at).copied().unwrap_or_default();
        let startable = *state == StepState::Pending
            && !record.retired
            && self.waits_for.get(at).is_some_and(|open| *open == 0);
        let standing = stands(record);
        let undoable = standing
            && self.in_scope(record)
            && !matches!(state, StepState::Running { .. } | StepState::Undoing { .. })
            && (spec.undo != UndoClass::NothingToUndo || acts_on_undo(spec, record))
            && self.holders.get(at).is_some_and(|holders| *holders == 0);
        let live = state.is_live();
        let failed = matches!(state, StepState::Failed { .. });
        set(&mut self.ready, (Reverse(urgency), at), startable);
        set(&mut self.live, at, live);
        set(&mut self.failed, at, failed);
        set(&mut self.standing, at, standing);
        set(&mut self.undoable, at, undoable);
    }

    /// Whether rollback still has to deal with a step before what it stands on may go.
    fn holds(&self, at: Index) -> bool {
        let Some((spec, record)) = self.at(at) else {
            return false;
        };
        if self.direction == Direction::Forward || mutant::on(Mutant::UndoBeforeDependents) {
            return false;
        }
        // An empty or irreversible effect does not keep what it stands on from being taken back.
        let acts = acts_on_undo(spec, record);
        match &record.state {
            StepState::Running { .. }
            | StepState::Undoing { .. }
            | StepState::UndoFailed { .. }
            | StepState::UndoBackoff { .. } => true,
            // It may be untouched as far as the journal knows, but a job may have begun: look first.
            StepState::Unsettled { .. } => acts,
            StepState::Pending
            | StepState::Reconciled { .. }
            | StepState::Failed { .. }
            | StepState::Backoff { .. }
            | StepState::Succeeded { .. }
            | StepState::Skipped
            | StepState::UndoUnsettled { .. }
            | StepState::Undone
            | StepState::Left { .. } => acts && stands(record) && self.in_scope(record),
        }
    }

    /// Whether what a step stands on must wait: for the step itself, or, when there is nothing to take back of it, for what
    /// stands on it in turn.
    fn blocks(&self, at: Index) -> bool {
        self.holds(at) || self.holders.get(at).is_some_and(|holders| *holders > 0)
    }

    /// Passes on that a step has begun or ceased to hold back what it stands on.
    fn passes_on(&mut self, at: Index, blocks: bool) {
        let dependencies = Arc::clone(&self.dependencies);
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            for dependency in dependencies.get(at).into_iter().flatten() {
                let before = self.blocks(*dependency);
                shift(&mut self.holders, *dependency, blocks);
                self.file(*dependency);
                if before != self.blocks(*dependency) {
                    open.push(*dependency);
                }
            }
        }
    }

    /// Without a confirmation, steps whose undo loses data stay, and so does everything they stand on.
    fn keep_data(&mut self) {
        self.kept.clear();
        let Direction::Unwinding {
            wipe_data: false, ..
        } = self.direction
        else {
            return;
        };
        let mut open: Vec<Index> = self
            .steps()
            .enumerate()
            .filter(|(_, (spec, record))| {
                let data = matches!(spec.undo, UndoClass::Destructive { .. });
                data && record.touched && record.state != StepState::Undone && self.in_scope(record)
            })
            .map(|(at, _)| at)
            .collect();
        while let Some(at) = open.pop() {
            if self.kept.insert(at) {
                open.extend(self.dependencies.get(at).into_iter().flatten());
            }
        }
    }

    /// Changes a record and everything that hangs on it.
    fn update(&mut self, at: Index, change: impl FnOnce(&mut StepRecord)) {
        let blocked = self.blocks(at);
        let Some(record) = self.records.get_mut(at) else {
            return;
        };
        let was_done = record.state.is_done();
        change(record);
        let is_done = record.state.is_done();
        if is_done && !was_done {
            record.done_at = self.position;
        }
        self.file(at);
        if was_done != is_done {
            self.done = if is_done {
                self.done + 1
            } else {
                self.done.saturating_sub(1)
            };
            let dependents = Arc::clone(&self.dependents);
            for dependent in dependents.get(at).into_iter().flatten() {
                shift(&mut self.waits_for, *dependent, !is_done);
                self.file(*dependent);
            }
        }
        let blocks = self.blocks(at);
        if blocked != blocks {
            self.passes_on(at, blocks);
        }
        if matches!(
            self.spec(at).map(|spec| &spec.undo),
            Some(UndoClass::Destructive { .. })
        ) {
            self.keep_data();
        }
    }
}

/// Whether a step's effect is on the host and may have to be taken back.
fn stands(record: &StepRecord) -> bool {
    let gone = matches!(
        record.state,
        StepState::Undone | StepState::Left { .. } | StepState::Skipped
    );
    record.touched && !gone
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// Raises or lowers one count.
fn shift(counts: &mut [u32], at: Index, up: bool) {
    if let Some(slot) = counts.get_mut(at) {
        *slot = if up {
            slot.saturating_add(1)
        } else {
            slot.saturating_sub(1)
        };
    }
}

fn set<T: Ord>(set: &mut BTreeSet<T>, item: T, member: bool) {
    if member {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}
