//! One of wiab's own steps, run on the machine as the engine would: the inner half, and how the outer half asks for it.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::{Before, Receipt, UndoClass};
use wiab_engine::plan::{RetryPolicy, StepSpec};
use wiab_engine::ports::{Step, StepCx, Steps as _};
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::local::{LocalHost, SystemClock};
use wiab_steps::kind::Kind;

use crate::error::{LabError, Result};
use crate::inside::Bind;
use crate::machine::Machine;

/// Where the machine sees this program.
pub(crate) const SELF: &str = "/lab/wiab-lab";
/// Longest step, in seconds.
const STEP_LIMIT_S: u64 = 300;

/// What is asked of the inner half.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    kind: String,
    inputs: serde_json::Value,
    /// What `capture` saw; given to take the step back.
    undo: Option<Before>,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// What `capture` saw.
    pub(crate) before: Before,
    /// What the step left, or why it failed: message and hint.
    pub(crate) outcome: std::result::Result<Receipt, (String, String)>,
}

impl Told {
    /// The receipt of a step that must not fail.
    pub(crate) fn receipt(&self) -> Result<&Receipt> {
        self.outcome
            .as_ref()
            .map_err(|(why, hint)| LabError::check(format!("a step failed: {why}; {hint}")))
    }
}

/// This program, as something that the machine sees.
pub(crate) fn share() -> Result<Bind> {
    Ok(Bind {
        from: fs_err::canonicalize("/proc/self/exe")?,
        to: SELF.into(),
        writable: false,
    })
}

/// Runs a step on the machine, as its root.
pub(crate) fn apply<K: Kind>(machine: &Machine, kind: &K) -> Result<Told> {
    ask(machine, kind, None)
}

/// Takes back what such a step did.
pub(crate) fn undo<K: Kind>(machine: &Machine, kind: &K, told: &Told) -> Result<()> {
    let told = ask(machine, kind, Some(told.before.clone()))?;
    told.receipt().map(drop)
}

fn ask<K: Kind>(machine: &Machine, kind: &K, undo: Option<Before>) -> Result<Told> {
    let inputs = serde_json::to_value(kind).map_err(json)?;
    let call = Call {
        kind: K::NAME.to_owned(),
        inputs,
        undo,
    };
    let text = serde_json::to_vec(&call).map_err(json)?;
    let cmd = machine.cmd([SELF, "step"]).limit_s(STEP_LIMIT_S);
    let answer = cmd.stdin(text).output()?;
    serde_json::from_str(&answer).map_err(json)
}

fn json(source: serde_json::Error) -> LabError {
    LabError::Json {
        what: "a step's call".to_owned(),
        source,
    }
}

/// The inner half: reads a call from standard input, answers on standard output.
pub(crate) fn serve() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let call: Call = serde_json::from_str(&text).map_err(json)?;
    let step = Catalogue::new(Arc::new(LocalHost::new("/var/lib/wiab-lab/jobs")))
        .build(&spec(&call), call.inputs.clone())
        .map_err(LabError::check)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let told = runtime.block_on(run(step.as_ref(), call.undo));
    let text = serde_json::to_vec(&told).map_err(json)?;
    Ok(std::io::stdout().write_all(&text)?)
}

async fn run(step: &dyn Step, undo: Option<Before>) -> Told {
    let cx = context();
    let told = |failure: wiab_engine::outcome::Failure| {
        Err((failure.why, failure.hint.unwrap_or_default()))
    };
    if let Some(before) = undo {
        let done = step.undo(&cx, &before).await;
        let outcome = done.map_or_else(told, |()| Ok(Receipt::default()));
        return Told { before, outcome };
    }
    let before = match step.capture(&cx).await {
        Ok(before) => before,
        Err(failure) => {
            return Told {
                before: Before::Nothing,
                outcome: told(failure),
            };
        }
    };
    let outcome = step.apply(&cx, &before).await.or_else(told);
    Told { before, outcome }
}

fn id() -> StepId {
    StepId::new("lab.step").unwrap_or_else(|_| unreachable!("a constant"))
}

fn spec(call: &Call) -> StepSpec {
    StepSpec {
        id: id(),
        kind: call.kind.clone(),
        summary: String::new(),
        undo_summary: String::new(),
        after: Vec::new(),
        lanes: Vec::new(),
        undo: UndoClass::Reversible,
        idempotent: true,
        retry: RetryPolicy::NEVER,
        timeout_ms: STEP_LIMIT_S * 1_000,
        usual_ms: 1_000,
        inputs: call.inputs.to_string(),
    }
}

fn context() -> StepCx {
    StepCx::new(RunId([1; 16]), id(), Arc::new(SystemClock::new()))
}
