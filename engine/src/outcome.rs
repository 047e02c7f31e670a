//! What a step reports: what a probe found, what an effect left, what a failure means.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a read-only look at the host found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// The host is as the step wants it; nothing to do.
    Satisfied(Receipt),
    /// Nothing of the step's effect is there.
    Absent,
    /// Something complete is there, but not what the plan says.
    Drifted {
        /// Human-readable lines `- found` / `+ wanted`, without secrets.
        diff: String,
    },
    /// Part of the step's effect is there.
    Partial {
        /// What is there and what is missing, in one sentence.
        what: String,
    },
    /// The step has no way to look. It is run; after a crash a human decides unless it is idempotent.
    Unknown {
        /// Why it cannot look.
        why: String,
    },
    /// A detached job of this very attempt runs or has ended on the host. Only found on resume;
    /// `apply` re-attaches to it.
    Running,
}

/// What a step leaves for later steps and for the reader of the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Named outputs that later steps may use as inputs. Never secrets.
    pub outputs: BTreeMap<String, String>,
    /// One line for the screen: `192.168.122.21, cloud-init done`.
    pub note: Option<String>,
}

impl Receipt {
    /// A receipt that only carries a note.
    pub fn note(text: impl Into<String>) -> Self {
        Self {
            outputs: BTreeMap::new(),
            note: Some(text.into()),
        }
    }

    /// Adds an output.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.outputs.insert(name.to_owned(), value.into());
        self
    }
}

/// The state that undo restores, captured before the effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Before {
    /// The step kind has nothing to remember.
    Nothing,
    /// The kind's own JSON document, without secrets.
    Image(String),
}

/// What a failed or interrupted effect left on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Residue {
    /// Nothing: the host is as before.
    Clean,
    /// Something: undo has work to do.
    Dirty,
    /// Nobody knows: treated as dirty.
    Unknown,
}

/// Whether another attempt can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryAdvice {
    /// Try again, with the plan's delays, while attempts remain.
    Retry,
    /// The cause will not go away by itself.
    GiveUp,
    /// A human must look first; the run parks.
    AskOperator,
}

/// Why an attempt failed, and what it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code for `wiab explain`, such as `WB2101`; empty when none is assigned.
    pub code: String,
    /// The cause in one sentence, without secrets.
    pub why: String,
    /// What is left on the host.
    pub residue: Residue,
    /// Whether to try again.
    pub advice: RetryAdvice,
    /// What the operator can do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure before anything was touched, which another attempt will not cure.
    pub fn clean(why: impl Into<String>) -> Self {
        Self {
            code: String::new(),
            why: why.into(),
            residue: Residue::Clean,
            advice: RetryAdvice::GiveUp,
            hint: None,
        }
    }

    /// A failure in the middle of an effect.
    pub fn dirty(why: impl Into<String>) -> Self {
        Self {
            residue: Residue::Dirty,
            ..Self::clean(why)
        }
    }

    /// A failure after which nobody knows what happened.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self {
            residue: Residue::Unknown,
            ..Self::clean(why)
        }
    }

    /// Marks the failure as one that may go away by itself.
    #[must_use]
    pub fn retry(mut self) -> Self {
        self.advice = RetryAdvice::Retry;
        self
    }

    /// Marks the failure as one that needs a human.
    #[must_use]
    pub fn ask(mut self) -> Self {
        self.advice = RetryAdvice::AskOperator;
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the stable code.
    #[must_use]
    pub fn code(mut self, code: &str) -> Self {
        code.clone_into(&mut self.code);
        self
    }
}

/// How a step came to be as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// It was so before this run; rollback leaves it alone.
    Adopted,
    /// This run made it so; rollback takes it back.
    Changed,
    /// An operator said so; the captured before-image, if any, still serves rollback.
    Accepted,
}

/// How far a step can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UndoClass {
    /// Undo restores the before-image.
    Reversible,
    /// The step changes nothing on the host.
    NothingToUndo,
    /// Undo loses data and needs a confirmation.
    Destructive {
        /// What is lost.
        what: String,
    },
    /// There is no way back; rollback leaves the effect and says so.
    Irreversible {
        /// Why.
        why: String,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Every step is as wanted.
    Completed,
    /// Stopped at a failure; what stands is kept and the run can be resumed.
    FailedKept,
    /// Taken back as far as asked.
    RolledBack,
    /// A human must decide.
    Parked,
    /// Stopped by the operator; resumable.
    Interrupted,
    /// An operator gave the run up.
    Abandoned,
}
