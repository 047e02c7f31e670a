//! What a step kind is, and how a plan is written with typed handles: a step can only use outputs it holds.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wiab_engine::id::{Lane, StepId};
use wiab_engine::outcome::UndoClass;
use wiab_engine::plan::{Plan, PlanError, RetryPolicy, StepSpec};
use wiab_engine::ports::Step;

use crate::host::Host;

/// A kind of step: its parameters, and how they become a [`Step`] on a host.
pub trait Kind: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static {
    /// Name and schema version, stable for ever: `libvirt.network/1`.
    const NAME: &'static str;

    /// The catalogue entry, from which `docs/steps.md` is made: purpose, probe, effect, undo, one sentence each.
    const ABOUT: About;

    /// What it does, for the plan screen: `create libvirt network 192.168.122.0/24`.
    fn summary(&self) -> String;

    /// What undo does, for the plan screen.
    fn undo_summary(&self) -> String;

    /// How far it can be taken back.
    fn undo_class(&self) -> UndoClass;

    /// Lanes it always holds.
    fn lanes(&self) -> Vec<Lane> {
        Vec::new()
    }

    /// Retries, time limit and usual duration.
    fn pace(&self) -> Pace {
        Pace::QUICK
    }

    /// Whether an interrupted attempt may be run again when the probe cannot tell.
    fn idempotent(&self) -> bool {
        true
    }

    /// Binds it to a host.
    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step>;
}

/// One line each about a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Why it exists.
    pub purpose: &'static str,
    /// How it looks.
    pub probe: &'static str,
    /// What it does.
    pub effect: &'static str,
    /// How it is taken back.
    pub undo: &'static str,
}

/// Times of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Retries.
    pub retry: RetryPolicy,
    /// Longest attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Usual attempt, in milliseconds.
    pub usual_ms: u64,
}

impl Pace {
    /// Two minutes at most, usually one second, no retries.
    pub const QUICK: Self = Self {
        retry: RetryPolicy::NEVER,
        timeout_ms: 120_000,
        usual_ms: 1_000,
    };
}

/// A parameter that is known now or is an output of an earlier step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input<T> {
    /// The output `name` of `step`, replaced before the step is built.
    Output {
        /// Step id and output name.
        #[serde(rename = "$output")]
        output: (StepId, String),
    },
    /// Known when the plan is made.
    Value(T),
}

impl<T: Clone> Input<T> {
    /// The value; `None` while it is an unreplaced reference (only in a plan, never in a built step).
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Output { .. } => None,
        }
    }
}

impl<T> From<T> for Input<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}

/// The name of an output that steps of kind `K` leave.
pub struct Out<K> {
    name: &'static str,
    kind: PhantomData<fn() -> K>,
}

impl<K> Out<K> {
    /// Declares an output; a constant beside the kind.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            kind: PhantomData,
        }
    }

    /// The name in the receipt.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<K> fmt::Debug for Out<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Out({})", self.name)
    }
}

/// A step that is in the plan; proof that later steps may depend on it.
pub struct Handle<K> {
    id: StepId,
    kind: PhantomData<fn() -> K>,
}

impl<K> Handle<K> {
    /// The step's id.
    pub fn id(&self) -> &StepId {
        &self.id
    }

    /// A reference to one of its outputs. Using it in another step's parameters makes that step come after this one.
    pub fn output(&self, out: &Out<K>) -> Input<String> {
        Input::Output {
            output: (self.id.clone(), out.name.to_owned()),
        }
    }
}

impl<K> fmt::Debug for Handle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.id)
    }
}

impl<K> AsRef<StepId> for Handle<K> {
    fn as_ref(&self) -> &StepId {
        &self.id
    }
}

/// Writes a plan.
#[derive(Debug)]
pub struct PlanBuilder {
    plan: Plan,
    failed: Option<BuildError>,
}

/// Why a plan cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A step id is malformed.
    #[error(transparent)]
    Id(#[from] wiab_engine::id::IdError),
    /// The parameters of a step cannot be written as JSON.
    #[error("parameters of step `{step}` cannot be written")]
    Inputs {
        /// The step.
        step: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The steps do not form a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl PlanBuilder {
    /// An empty plan.
    pub fn new(name: &str) -> Self {
        Self {
            plan: Plan {
                name: name.to_owned(),
                steps: Vec::new(),
            },
            failed: None,
        }
    }

    /// The id of a step that is added later, for steps that come after it.
    ///
    /// A malformed id is reported by [`PlanBuilder::finish`].
    pub fn later(&mut self, id: &str) -> StepId {
        StepId::new(id).unwrap_or_else(|error| {
            self.failed.get_or_insert(error.into());
            placeholder()
        })
    }

    /// Adds a step that comes after `after` and after every step whose outputs it uses.
    ///
    /// A malformed id is reported by [`PlanBuilder::finish`].
    pub fn add<K: Kind>(&mut self, id: &str, after: &[&dyn AsRef<StepId>], kind: &K) -> Handle<K> {
        match spec_of(id, after, kind) {
            Ok(spec) => {
                let id = spec.id.clone();
                self.plan.steps.push(spec);
                Handle {
                    id,
                    kind: PhantomData,
                }
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                Handle {
                    id: placeholder(),
                    kind: PhantomData,
                }
            }
        }
    }

    /// Adds a ready specification (site-specific steps of `wiab.toml`).
    pub fn push(&mut self, spec: StepSpec) {
        self.plan.steps.push(spec);
    }

    /// The steps so far.
    pub fn steps(&self) -> &[StepSpec] {
        &self.plan.steps
    }

    /// The finished, checked plan.
    pub fn finish(self) -> Result<Plan, BuildError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.plan.check()?;
        Ok(self.plan)
    }
}

fn placeholder() -> StepId {
    #[expect(clippy::expect_used, reason = "a constant that the alphabet accepts")]
    StepId::new("invalid").expect("constant id")
}

/// The specification of a step of kind `K`.
pub fn spec_of<K: Kind>(
    id: &str,
    after: &[&dyn AsRef<StepId>],
    kind: &K,
) -> Result<StepSpec, BuildError> {
    let id = StepId::new(id)?;
    let inputs = serde_json::to_value(kind).map_err(|source| BuildError::Inputs {
        step: id.to_string(),
        source,
    })?;
    let mut after: Vec<StepId> = after.iter().map(|handle| handle.as_ref().clone()).collect();
    wiab_engine::inputs::references(&inputs, &mut |step, _| {
        if !after.contains(step) {
            after.push(step.clone());
        }
    });
    let pace = kind.pace();
    Ok(StepSpec {
        id,
        kind: K::NAME.to_owned(),
        summary: kind.summary(),
        undo_summary: kind.undo_summary(),
        after,
        lanes: kind.lanes(),
        undo: kind.undo_class(),
        idempotent: kind.idempotent(),
        retry: pace.retry,
        timeout_ms: pace.timeout_ms,
        usual_ms: pace.usual_ms,
        inputs: inputs.to_string(),
    })
}
