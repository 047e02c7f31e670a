//! Events in which a step gives account: what it saw, what it concludes, what it tries, and what it owes.
//!
//! They change no step's state; what they owe is kept until it is settled.

use serde::{Deserialize, Serialize};

use super::Evidence;
use crate::id::StepId;

/// Kind 34: the step looked at something and keeps what it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceTaken {
    /// The step.
    pub step: StepId,
    /// Attempt number (of the undo, while one runs).
    pub attempt: u32,
    /// What was looked at, as a short id: `challenge`, `nft`, `dns.public`.
    pub topic: String,
    /// What it shows, in one line.
    pub summary: String,
    /// The text itself, stored under its hash.
    pub body: Evidence,
}

/// One possible cause, with what speaks for and against it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// The cause's stable id: `hairpin`, `dns.nxdomain`.
    pub cause: String,
    /// What it means, in one sentence.
    pub meaning: String,
    /// Facts that speak for it.
    pub facts_for: Vec<String>,
    /// Facts that speak against it.
    pub facts_against: Vec<String>,
    /// The step of the plan that cures it, if there is one.
    pub step: Option<String>,
    /// What cures it, as an exact command or change.
    pub cure: String,
}

/// Kind 35: what the step concludes from the evidence: the causes, the likeliest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosed {
    /// The step.
    pub step: StepId,
    /// Attempt number (of the undo, while one runs).
    pub attempt: u32,
    /// Possible causes, the best supported first.
    pub ranking: Vec<Suspect>,
    /// What was seen and fits no known cause.
    pub unknown: Vec<String>,
    /// The id of the cause that is acted on; `None` if the evidence does not decide.
    pub chosen: Option<String>,
}

/// Kind 36: a cure begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CureTried {
    /// The step that tries it.
    pub step: StepId,
    /// Attempt number.
    pub attempt: u32,
    /// The cause it is meant to cure.
    pub cause: String,
    /// What is done, in one sentence.
    pub what: String,
    /// The step of the plan that does the same, if there is one.
    pub by: Option<String>,
}

/// What came of a cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CureOutcome {
    /// What it was to cure is gone.
    Worked,
    /// It was done and changed nothing.
    WithoutEffect,
    /// It could not be done.
    Failed,
    /// It was not done, by rule or for lack of an answer.
    Declined,
}

/// Kind 37: a cure ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CureEnded {
    /// The step that tried it.
    pub step: StepId,
    /// Attempt number.
    pub attempt: u32,
    /// The cause it was meant to cure.
    pub cause: String,
    /// What came of it.
    pub outcome: CureOutcome,
    /// What shows it, in one sentence.
    pub seen: String,
}

/// Kind 38: something temporary is about to be put on the host; it is owed until it is settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObligationOpened {
    /// The step.
    pub step: StepId,
    /// Attempt number (of the undo, while one runs).
    pub attempt: u32,
    /// Names it in the whole installation: `nat.wire-hairpin-dnat-virbr0`.
    pub id: String,
    /// What is on the host and must not stay, in one sentence.
    pub what: String,
    /// How it is settled, as an exact command or change.
    pub settle: String,
}

/// Kind 39: an obligation is settled, maybe one of an earlier run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObligationSettled {
    /// The step that settled it.
    pub step: StepId,
    /// Attempt number (of the undo, while one runs).
    pub attempt: u32,
    /// Which one.
    pub id: String,
    /// How, in one sentence.
    pub how: String,
}
