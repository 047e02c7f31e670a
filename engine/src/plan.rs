//! The plan: a DAG of steps as plain data, stored with its run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{Lane, StepId};
use crate::outcome::UndoClass;

/// Most steps in one plan.
pub const STEPS_MAX: usize = 20_000;

/// When and how often a failed attempt is tried again. Delays come from `engine::retry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub attempts_max: u32,
    /// Delay before the second attempt, in milliseconds.
    pub delay_first_ms: u64,
    /// Longest delay, in milliseconds.
    pub delay_max_ms: u64,
}

impl RetryPolicy {
    /// One attempt.
    pub const NEVER: Self = Self {
        attempts_max: 1,
        delay_first_ms: 0,
        delay_max_ms: 0,
    };
    /// Three attempts, one second apart at first.
    pub const SHORT: Self = Self {
        attempts_max: 3,
        delay_first_ms: 1_000,
        delay_max_ms: 30_000,
    };
}

/// One step of a plan. Holds no secrets: inputs name them by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Unique within the plan, stable across releases.
    pub id: StepId,
    /// Name and schema version of the step kind: `libvirt.network/1`.
    pub kind: String,
    /// What the step does, for the plan screen: `create libvirt network 192.168.122.0/24`.
    pub summary: String,
    /// How undo acts, for the plan screen: `remove`, `restore saved rules`.
    pub undo_summary: String,
    /// Steps that must be as wanted before this one starts.
    pub after: Vec<StepId>,
    /// Resources that at most one running step holds.
    pub lanes: Vec<Lane>,
    /// How far it can be taken back.
    pub undo: UndoClass,
    /// Whether an interrupted attempt may simply be run again when its probe cannot tell.
    pub idempotent: bool,
    /// Retries of a failed attempt.
    pub retry: RetryPolicy,
    /// Longest duration of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Usual duration in milliseconds, a guess until earlier runs are known.
    pub usual_ms: u64,
    /// The kind's parameters as a JSON document. `{"$output": ["step.id", "name"]}` stands for an output
    /// of an earlier step.
    pub inputs: String,
}

impl StepSpec {
    /// Digest of everything that decides what the step does (not of its texts, times or lanes).
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.id.as_str(), &self.kind, &self.inputs] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// A plan: what `wiab plan` shows, `wiab apply` does, and the journal keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the plan: `wiab-staging`.
    pub name: String,
    /// The steps, in the order in which they were added.
    pub steps: Vec<StepSpec>,
}

/// Why a list of steps is not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two steps share an id.
    #[error("two steps have the id `{id}`")]
    Duplicate {
        /// The id.
        id: StepId,
    },
    /// `after` names a step that is not in the plan.
    #[error("step `{step}` comes after `{missing}`, which is not in the plan{}", suggest(.near.as_ref()))]
    Dangling {
        /// The step.
        step: StepId,
        /// The unknown id.
        missing: StepId,
        /// The closest known id.
        near: Option<StepId>,
    },
    /// The steps wait for each other.
    #[error("these steps wait for each other: {}", .cycle.iter().map(StepId::as_str).collect::<Vec<_>>().join(" → "))]
    Cycle {
        /// The steps of one cycle, in order, the first repeated at the end.
        cycle: Vec<StepId>,
    },
    /// Too many steps.
    #[error("the plan has {count} steps; at most {STEPS_MAX} are supported")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

fn suggest(near: Option<&StepId>) -> String {
    near.map_or_else(String::new, |id| format!("; did you mean `{id}`?"))
}

impl Plan {
    /// Digest over the steps and their order of dependency; equal digests do the same things.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for step in &self.steps {
            hasher.update(&step.fingerprint());
            for id in &step.after {
                hasher.update(id.as_str().as_bytes());
                hasher.update(&[0]);
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// The first digits of [`Plan::digest`], for people.
    pub fn digest_short(&self) -> String {
        crate::text::hex(&self.digest()).chars().take(8).collect()
    }

    /// The step of that id.
    pub fn step(&self, id: &StepId) -> Option<&StepSpec> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// Checks ids, dependencies and cycles. Every plan passes it before it is shown or run.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.steps.len() > STEPS_MAX {
            return Err(PlanError::TooMany {
                count: self.steps.len(),
            });
        }
        let mut seen = BTreeSet::new();
        for step in &self.steps {
            if !seen.insert(&step.id) {
                return Err(PlanError::Duplicate {
                    id: step.id.clone(),
                });
            }
        }
        for step in &self.steps {
            if let Some(missing) = step.after.iter().find(|id| !seen.contains(id)) {
                return Err(PlanError::Dangling {
                    step: step.id.clone(),
                    missing: missing.clone(),
                    near: nearest(missing, seen.iter().copied()),
                });
            }
        }
        crate::graph::acyclic(self)
    }
}

fn nearest<'a>(wanted: &StepId, known: impl Iterator<Item = &'a StepId>) -> Option<StepId> {
    crate::text::nearest(wanted.as_str(), known.map(StepId::as_str))
        .and_then(|text| StepId::new(text).ok())
}

/// What became of each step of a stored plan in a newly computed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Same kind and inputs.
    Unchanged,
    /// Same id, other kind or inputs.
    Edited,
    /// Only in the stored plan.
    Gone,
    /// Only in the new plan.
    New,
}

/// Compares a stored plan with a new one, step by step.
pub fn triage(stored: &Plan, fresh: &Plan) -> BTreeMap<StepId, Change> {
    let mut changes = BTreeMap::new();
    let fresh_prints: BTreeMap<_, _> = fresh
        .steps
        .iter()
        .map(|s| (&s.id, s.fingerprint()))
        .collect();
    for step in &stored.steps {
        let change = match fresh_prints.get(&step.id) {
            None => Change::Gone,
            Some(print) if *print == step.fingerprint() => Change::Unchanged,
            Some(_) => Change::Edited,
        };
        changes.insert(step.id.clone(), change);
    }
    for id in fresh_prints.into_keys() {
        changes.entry(id.clone()).or_insert(Change::New);
    }
    changes
}
