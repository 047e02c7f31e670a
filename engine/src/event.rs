//! The durable events of a run. Progress (bytes, log lines) is a second, lossy stream: see `ports::Progress`.
//!
//! One struct per kind; the kind's number stands in the journal frame. Bodies are bincode and therefore
//! positional: fields are never reordered or removed, and a changed layout gets a new kind number.

mod account;

use serde::{Deserialize, Serialize};

pub use account::{
    CureEnded, CureOutcome, CureTried, Diagnosed, EvidenceTaken, ObligationOpened,
    ObligationSettled, Suspect,
};

use crate::id::{RunId, StepId};
use crate::outcome::{Before, Failure, How, Outcome, Probe, Receipt};
use crate::plan::Plan;

/// Captured output of a command, stored once under its BLAKE3 hash beside the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// BLAKE3 of the stored bytes.
    pub hash: [u8; 32],
    /// Length of the stored bytes.
    pub bytes: u64,
}

/// What happens when a step fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// Keep what stands; the run is resumable.
    Keep,
    /// Take everything back.
    Rollback,
}

/// The rules a run was started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most steps in flight at once; at least 1.
    pub width: u32,
    /// What a final failure leads to.
    pub on_failure: OnFailure,
    /// Whether the first failure stops independent branches, too.
    pub fail_fast: bool,
}

/// Kind 16: a run began; carries its whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOpened {
    /// The plan.
    pub plan: Plan,
    /// The rules.
    pub limits: Limits,
    /// The host, as the operator named it: `local`, `sim`, `ssh://…`.
    pub host: String,
    /// Version of wiab.
    pub tool: String,
    /// How it was called, without secrets.
    pub command_line: String,
}

/// Kind 17: another process took the run up. Steps that were in flight are unsettled now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResumed {
    /// Version of wiab.
    pub tool: String,
    /// How it was called.
    pub command_line: String,
}

/// What resume does with finished steps that the new plan edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnEdited {
    /// Run them again with the new inputs, from the before-image already captured.
    Redo,
    /// Keep what stands.
    Adopt,
}

/// Kind 18: the run continues with a changed plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRevised {
    /// The new plan.
    pub plan: Plan,
    /// What happens to finished steps that were edited.
    pub on_edited: OnEdited,
}

/// Kind 19: intent to run an attempt; durable before the host is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStarted {
    /// The step.
    pub step: StepId,
    /// Attempt number, from 1.
    pub attempt: u32,
}

/// Kind 20: the probe found work to do and the before-image is safe; the effect begins now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCaptured {
    /// The step.
    pub step: StepId,
    /// Attempt number.
    pub attempt: u32,
    /// What undo will restore.
    pub before: Before,
    /// What the probe saw: absent, drifted, partial.
    pub found: Probe,
}

/// Kind 21: the step is as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSucceeded {
    /// The step.
    pub step: StepId,
    /// Attempt number.
    pub attempt: u32,
    /// Whether this run changed anything.
    pub how: How,
    /// Outputs and note.
    pub receipt: Receipt,
    /// Commands and their output.
    pub evidence: Option<Evidence>,
    /// Duration of the attempt, in milliseconds of the host's clock.
    pub took_ms: u64,
}

/// Kind 22: an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailed {
    /// The step.
    pub step: StepId,
    /// Attempt number.
    pub attempt: u32,
    /// Cause, residue, advice.
    pub failure: Failure,
    /// Commands and their output.
    pub evidence: Option<Evidence>,
    /// Duration of the attempt, in milliseconds.
    pub took_ms: u64,
}

/// Kind 23: another attempt follows after a delay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPlanned {
    /// The step.
    pub step: StepId,
    /// Number of the coming attempt.
    pub attempt: u32,
    /// Chosen delay, in milliseconds.
    pub delay_ms: u64,
}

/// Kind 24: after a resume, the host was looked at for an attempt without outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReconciled {
    /// The step.
    pub step: StepId,
    /// The unsettled attempt.
    pub attempt: u32,
    /// What was found.
    pub found: Probe,
}

/// Why a rollback began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// This step failed and the run's rule is to roll back.
    StepFailed(StepId),
    /// The operator asked.
    Operator,
}

/// Kind 25: the run is being taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnwindBegan {
    /// Why.
    pub cause: Cause,
    /// Take back only what came after this step; `None` is everything.
    pub keep_to: Option<StepId>,
    /// Whether the operator confirmed undos that lose data.
    pub wipe_data: bool,
}

/// Kind 26: intent to undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoStarted {
    /// The step.
    pub step: StepId,
    /// Undo attempt, from 1.
    pub attempt: u32,
}

/// Kind 27: the host is as the before-image says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoSucceeded {
    /// The step.
    pub step: StepId,
    /// Undo attempt.
    pub attempt: u32,
    /// Commands and their output.
    pub evidence: Option<Evidence>,
    /// Duration, in milliseconds.
    pub took_ms: u64,
}

/// Kind 28: an undo failed; the run parks when the attempts are used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoFailed {
    /// The step.
    pub step: StepId,
    /// Undo attempt.
    pub attempt: u32,
    /// Why.
    pub failure: Failure,
    /// Commands and their output.
    pub evidence: Option<Evidence>,
    /// Duration, in milliseconds.
    pub took_ms: u64,
}

/// Kind 29: rollback leaves this step's effect in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoSkipped {
    /// The step.
    pub step: StepId,
    /// Why: irreversible, or destructive and not confirmed.
    pub why: String,
}

/// Kind 30: the run rests until a human decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// The step in question.
    pub step: StepId,
    /// What has to be decided, in one sentence.
    pub why: String,
}

/// What an operator may decide about a parked or failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Try the step again.
    Retry,
    /// Try the undo again.
    RetryUndo,
    /// The step is as wanted (or, while unwinding, is taken back); go on.
    Accept,
    /// Go on without the step; its effect, if any, is left alone.
    Skip,
    /// Give the run up.
    Abandon,
}

/// Kind 31: a human decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorDecided {
    /// The step; `None` for the whole run (abandon).
    pub step: Option<StepId>,
    /// The decision.
    pub verdict: Verdict,
    /// Why, in the operator's words.
    pub note: String,
}

/// Kind 32: the operator asked the run to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupted {
    /// 1: start nothing new; 2: stop running steps.
    pub stage: u8,
    /// `SIGINT`, `SIGTERM`, …
    pub by: String,
}

/// Kind 33: this process is done with the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnded {
    /// How it ended.
    pub outcome: Outcome,
}

/// Declares the enum of all kinds once: variants, numbers, and what the codec needs.
macro_rules! events {
    ($($number:literal $kind:ident),+ $(,)?) => {
        /// Any event of a run.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $(
                #[doc = concat!("See [`", stringify!($kind), "`].")]
                $kind($kind),
            )+
        }

        impl Event {
            /// The kind's number in the journal frame.
            pub fn kind(&self) -> u16 {
                match self { $(Self::$kind(_) => $number,)+ }
            }

            /// The kind's name, as JSON output and `events.jsonl` show it.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($kind),)+ }
            }

            /// The name of a kind number.
            pub fn name_of(kind: u16) -> Option<&'static str> {
                match kind { $($number => Some(stringify!($kind)),)+ _ => None }
            }

            pub(crate) fn encode_with<E: BodyEncoder>(&self, encoder: &E) -> Result<E::Output, E::Error> {
                match self { $(Self::$kind(body) => encoder.encode(body),)+ }
            }

            pub(crate) fn decode_with<D: BodyDecoder>(kind: u16, decoder: D) -> Result<Option<Self>, D::Error> {
                match kind {
                    $($number => Ok(Some(Self::$kind(decoder.decode()?))),)+
                    _ => Ok(None),
                }
            }
        }

        $(
            impl From<$kind> for Event {
                fn from(body: $kind) -> Self { Self::$kind(body) }
            }
        )+
    };
}

/// Writes a body; implemented by `codec` for bincode and JSON.
pub(crate) trait BodyEncoder {
    type Output;
    type Error;
    fn encode<T: Serialize>(&self, body: &T) -> Result<Self::Output, Self::Error>;
}

/// Reads a body.
pub(crate) trait BodyDecoder {
    type Error;
    fn decode<T: serde::de::DeserializeOwned>(self) -> Result<T, Self::Error>;
}

events! {
    16 RunOpened, 17 RunResumed, 18 PlanRevised, 19 StepStarted, 20 StepCaptured, 21 StepSucceeded,
    22 StepFailed, 23 RetryPlanned, 24 StepReconciled, 25 UnwindBegan, 26 UndoStarted, 27 UndoSucceeded,
    28 UndoFailed, 29 UndoSkipped, 30 Parked, 31 OperatorDecided, 32 Interrupted, 33 RunEnded,
    34 EvidenceTaken, 35 Diagnosed, 36 CureTried, 37 CureEnded, 38 ObligationOpened, 39 ObligationSettled,
}

/// An event as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Position in the journal.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// `user@machine` and process id of the writer.
    pub actor: String,
    /// The event.
    pub event: Event,
}
