//! Crash points: every operation of the simulated machine passes a tap, which may cut the power.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Where in an operation a crash can happen. Operations that change nothing have only `Before` and `BeforeReturn`;
/// `Halfway` exists where the effect has several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has happened yet.
    Before,
    /// A part of the effect is there.
    Halfway,
    /// The effect is there; nobody knows yet.
    AfterEffect,
    /// The answer is ready, but wiab has not got it.
    BeforeReturn,
}

/// One point at which a crash can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Number of the point, from 1, since the machine was opened.
    pub index: u64,
    /// Number of the operation, from 1.
    pub operation: u64,
    /// Where in the operation.
    pub phase: Phase,
    /// How often the machine has changed since it was opened: what is killed at two points without a change between them
    /// leaves the same machine.
    pub changes: u64,
    /// The operation: a command line, or `file-write /path`, `job-start NAME`, …
    pub what: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {:?} of `{}`", self.index, self.phase, self.what)
    }
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Go on.
    Continue,
    /// wiab dies here: this operation and all later ones never return, and the machine stays as it is.
    Die,
}

/// Sees every point.
pub trait Tap: Send + Sync + fmt::Debug {
    /// Decides about a point.
    fn at(&self, point: &Point) -> Fate;
}

/// A tap that dies at one point and remembers the points it saw.
#[derive(Debug, Clone, Default)]
pub struct Points {
    die_at: Option<u64>,
    seen: Arc<Mutex<Vec<Point>>>,
}

impl Points {
    /// Only records.
    pub fn record() -> Self {
        Self::default()
    }

    /// Dies at the point of that index.
    pub fn die_at(index: u64) -> Self {
        Self {
            die_at: Some(index),
            ..Self::default()
        }
    }

    /// The points seen so far.
    pub fn seen(&self) -> Vec<Point> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Tap for Points {
    fn at(&self, point: &Point) -> Fate {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(point.clone());
        if self.die_at == Some(point.index) {
            Fate::Die
        } else {
            Fate::Continue
        }
    }
}
