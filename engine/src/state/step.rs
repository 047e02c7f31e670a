//! What is known about one step of a run.

use std::sync::Arc;

use crate::event::Diagnosed;
use crate::mutant::{self, Mutant};
use crate::outcome::{Before, Failure, How, Probe, Receipt, Residue};

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// Not begun.
    Pending,
    /// An attempt runs: its intent is durable and its outcome is not.
    Running {
        /// Attempt number.
        attempt: u32,
    },
    /// A process died during this attempt; the host must be looked at first.
    Unsettled {
        /// Attempt number.
        attempt: u32,
    },
    /// The host was looked at.
    Reconciled {
        /// The unsettled attempt.
        attempt: u32,
        /// What was found.
        found: Probe,
    },
    /// A failed attempt; another may follow.
    Failed {
        /// Attempt number.
        attempt: u32,
        /// Why.
        failure: Failure,
    },
    /// Another attempt follows after a delay.
    Backoff {
        /// Number of the coming attempt.
        attempt: u32,
        /// The delay, in milliseconds.
        delay_ms: u64,
    },
    /// As wanted.
    Succeeded {
        /// How it came to be so.
        how: How,
    },
    /// Left out by an operator's decision.
    Skipped,
    /// An undo runs.
    Undoing {
        /// Undo attempt.
        attempt: u32,
    },
    /// A process died during an undo, or an operator asked for another one.
    UndoUnsettled {
        /// The unsettled undo attempt.
        attempt: u32,
    },
    /// An undo failed.
    UndoFailed {
        /// Undo attempt.
        attempt: u32,
        /// Why.
        failure: Failure,
    },
    /// Another undo attempt follows after a delay.
    UndoBackoff {
        /// Number of the coming undo attempt.
        attempt: u32,
        /// The delay, in milliseconds.
        delay_ms: u64,
    },
    /// Taken back.
    Undone,
    /// Rollback left its effect in place.
    Left {
        /// Why.
        why: String,
    },
}

impl StepState {
    /// Whether steps that come after this one may start.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Succeeded { .. } | Self::Skipped)
    }

    /// Whether the engine has work under way, or still to settle, for this step.
    pub(crate) fn is_live(&self) -> bool {
        match self {
            Self::Running { .. }
            | Self::Unsettled { .. }
            | Self::Reconciled { .. }
            | Self::Backoff { .. }
            | Self::Undoing { .. }
            | Self::UndoBackoff { .. } => true,
            Self::Pending
            | Self::Failed { .. }
            | Self::Succeeded { .. }
            | Self::Skipped
            | Self::UndoUnsettled { .. }
            | Self::UndoFailed { .. }
            | Self::Undone
            | Self::Left { .. } => false,
        }
    }

    /// One word for screens and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "waiting",
            Self::Running { .. } => "running",
            Self::Unsettled { .. } | Self::Reconciled { .. } => "unsettled",
            Self::Failed { .. } => "failed",
            Self::Backoff { .. } => "retrying",
            Self::Succeeded { how: How::Adopted } => "ok",
            Self::Succeeded { how: How::Changed } => "changed",
            Self::Succeeded { how: How::Accepted } => "accepted",
            Self::Skipped => "skipped",
            Self::Undoing { .. } | Self::UndoUnsettled { .. } | Self::UndoBackoff { .. } => {
                "undoing"
            }
            Self::UndoFailed { .. } => "undo-failed",
            Self::Undone => "undone",
            Self::Left { .. } => "left",
        }
    }
}

/// Everything the fold keeps about a step.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that hold independently of each other and of the state"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    /// Where it stands.
    pub state: StepState,
    /// The before-image, once captured; the first capture of a run is the one that counts.
    pub before: Option<Before>,
    /// What it left, once it succeeded.
    pub receipt: Option<Receipt>,
    /// Whether this run may have changed the host through this step.
    pub touched: bool,
    /// Whether that was already so when the current attempt began.
    pub touched_earlier: bool,
    /// Number of the last forward attempt; 0 if none.
    pub attempts: u32,
    /// Attempts since the last resume or decision; the retry budget counts these.
    pub tries: u32,
    /// Undo attempts since the last resume or decision.
    pub undo_tries: u32,
    /// Duration of the last finished attempt, in milliseconds.
    pub took_ms: u64,
    /// Position at which it became done; orders rollback to a step.
    pub done_at: u64,
    /// Whether the operator wants it run again although it was finished: its probe alone does not settle it.
    pub redo: bool,
    /// Whether a changed plan no longer has this step (it is only kept to be taken back).
    pub retired: bool,
    /// What it concluded last, if anything went wrong that it could explain.
    pub diagnosis: Option<Arc<Diagnosed>>,
    /// How many obligations it has opened in this run that are not settled.
    pub owes: u32,
}

impl StepRecord {
    pub(crate) fn new() -> Self {
        Self {
            state: StepState::Pending,
            before: None,
            receipt: None,
            touched: false,
            touched_earlier: false,
            attempts: 0,
            tries: 0,
            undo_tries: 0,
            took_ms: 0,
            done_at: 0,
            redo: false,
            retired: false,
            diagnosis: None,
            owes: 0,
        }
    }

    /// Whether an attempt without outcome may have changed the host although the journal knows of no effect: a step without
    /// a probe begins its effect right after its intent.
    pub fn is_doubtful(&self) -> bool {
        let open = matches!(
            self.state,
            StepState::Running { .. } | StepState::Unsettled { .. } | StepState::Reconciled { .. }
        );
        open && !self.touched
    }

    pub(crate) fn fail(&mut self, attempt: u32, failure: &Failure) {
        self.touched = match failure.residue {
            _ if mutant::on(Mutant::FailedStepNotUndone) => false,
            // What is owed may be on the host, whatever the step says.
            Residue::Clean => self.touched_earlier || self.owes > 0,
            Residue::Dirty | Residue::Unknown => true,
        };
        self.state = StepState::Failed {
            attempt,
            failure: failure.clone(),
        };
    }
}
