//! The engine's doors to the world: steps, time, the journal, progress and secrets. All object-safe.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::book::Book;
use crate::event::{Event, Evidence};
use crate::id::{RunId, StepId};
use crate::look::Look;
use crate::outcome::{Before, Failure, Probe, Receipt};
use crate::plan::StepSpec;

/// A future that an object-safe trait returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One step, bound to the host it acts on. Implemented by the kinds in `wiab-steps`.
///
/// Laws, checked over the whole catalogue: after `apply` the probe is satisfied; a second `apply` changes nothing;
/// `undo` restores what `capture` saw and may be repeated; an interrupted `apply` that is run again ends like an
/// undisturbed one.
pub trait Step: Send + Sync + fmt::Debug {
    /// Looks at the host without changing it. A missing tool or service means `Absent`, not an error.
    fn probe<'a>(&'a self, cx: &'a StepCx) -> BoxFuture<'a, Result<Probe, Failure>>;

    /// Records what `undo` will restore. Read-only. Called once per run and step, before the first effect; its answer is
    /// in the journal before `apply` starts.
    fn capture<'a>(&'a self, cx: &'a StepCx) -> BoxFuture<'a, Result<Before, Failure>>;

    /// Makes the host as wanted. Looks at each part before touching it, so that a half-done attempt is completed.
    fn apply<'a>(
        &'a self,
        cx: &'a StepCx,
        before: &'a Before,
    ) -> BoxFuture<'a, Result<Receipt, Failure>>;

    /// Restores `before`; tolerates that nothing, or only a part, was done.
    fn undo<'a>(&'a self, cx: &'a StepCx, before: &'a Before)
    -> BoxFuture<'a, Result<(), Failure>>;
}

/// Builds steps from their journalled specification; the only link between the engine and the step kinds.
pub trait Steps: Send + Sync + fmt::Debug {
    /// Binds `spec` to the host. `inputs` is the kind's JSON document with all `$output` references replaced.
    /// The error is one sentence: an unknown kind, or inputs that the kind does not accept.
    fn build(&self, spec: &StepSpec, inputs: serde_json::Value) -> Result<Arc<dyn Step>, String>;
}

/// Everything a step may use besides its host.
#[derive(Debug, Clone)]
pub struct StepCx {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// Attempt number of this call, from 1: of the step, or, during undo, of the undo.
    pub attempt: u32,
    /// Number of the step's last forward attempt (the same as `attempt` outside undo; 0 if none ran). Undo needs it to find
    /// a job that may still run.
    pub forward_attempt: u32,
    /// Whether this call follows a crash of an attempt with this number: a job of ours may still run.
    pub resumed: bool,
    /// Asks the step to stop at once.
    pub cancel: Cancel,
    /// Lossy live progress.
    pub progress: Progress,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Commands and their output, collected for the journal.
    pub evidence: Transcript,
    /// Where the step gives account: evidence, diagnoses, cures, obligations. See the methods of `StepCx`.
    pub book: Book,
    /// What probes learn together: of a survey, or of a run before its first effect. See [`StepCx::once`].
    pub look: Option<Arc<Look>>,
}

impl StepCx {
    /// What a step needs for a first attempt that nobody watches and whose account nobody keeps: a look outside a run.
    pub fn new(run: RunId, step: StepId, clock: Arc<dyn Clock>) -> Self {
        Self {
            run,
            step: step.clone(),
            attempt: 1,
            forward_attempt: 1,
            resumed: false,
            cancel: Cancel::default(),
            progress: Progress { step, sink: None },
            clock,
            evidence: Transcript::default(),
            book: Book::default(),
            look: None,
        }
    }
}

/// Time. Real for real hosts; virtual on the simulated one.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Unix time in milliseconds.
    fn wall_ms(&self) -> u64;
    /// Monotonic milliseconds since some fixed point.
    fn mono_ms(&self) -> u64;
    /// Waits. Dropping the future cancels the wait.
    fn sleep(&self, ms: u64) -> BoxFuture<'_, ()>;
    /// Fires after `ms` while the caller goes on working (a time limit beside the work). Unlike [`Clock::sleep`] it does
    /// not mean that the caller rests; when it fires on a virtual clock, it hands over a fresh busy token, so that time
    /// stands still until the caller has reacted.
    fn alarm(&self, ms: u64) -> BoxFuture<'_, Busy>;
    /// Says that work is under way. A virtual clock only advances while no token is alive and every holder of one is
    /// inside [`Clock::sleep`]; a real clock ignores it.
    fn busy(&self) -> Busy;
}

/// A token of [`Clock::busy`]; work ends when it is dropped.
#[derive(Debug, Default)]
pub struct Busy(pub Option<Arc<dyn BusyCount>>);

/// The counter behind [`Busy`].
pub trait BusyCount: Send + Sync + fmt::Debug {
    /// One holder fewer.
    fn release(&self);
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(count) = self.0.take() {
            count.release();
        }
    }
}

/// A request to stop, shared by everything that belongs to one attempt.
#[derive(Clone, Default)]
pub struct Cancel(Arc<(AtomicBool, Notify)>);

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

impl Cancel {
    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }

    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Resolves when stopping is asked for.
    pub async fn cancelled(&self) {
        let notified = self.0.1.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }
}

/// One piece of live progress. May be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tick {
    /// A line of output.
    Line(String),
    /// What the step does now.
    Stage(String),
    /// How far it is.
    Amount {
        /// Done so far.
        done: u64,
        /// In all, if known.
        total: Option<u64>,
        /// `bytes`, `tasks`, …
        unit: &'static str,
    },
}

/// Receives progress of all steps.
pub trait ProgressSink: Send + Sync + fmt::Debug {
    /// Takes a tick; never blocks.
    fn tick(&self, step: &StepId, tick: Tick);
}

/// A step's handle to the progress stream.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The step that speaks.
    pub step: StepId,
    /// Where it goes; `None` swallows it.
    pub sink: Option<Arc<dyn ProgressSink>>,
}

impl Progress {
    /// Sends a tick.
    pub fn tick(&self, tick: Tick) {
        if let Some(sink) = &self.sink {
            sink.tick(&self.step, tick);
        }
    }
}

/// Most bytes kept of a transcript's beginning, and of its end.
pub const TRANSCRIPT_HALF_BYTES: usize = 128 << 10;

/// Commands and their output of one attempt: head and tail are kept, the middle is counted.
#[derive(Debug, Clone, Default)]
pub struct Transcript(Arc<Mutex<TranscriptInner>>);

#[derive(Debug, Default)]
struct TranscriptInner {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    dropped: u64,
}

impl Transcript {
    /// Appends text (already scrubbed of secrets).
    pub fn push(&self, text: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = TRANSCRIPT_HALF_BYTES.saturating_sub(inner.head.len());
        let (head, rest) = text.as_bytes().split_at(room.min(text.len()));
        inner.head.extend_from_slice(head);
        inner.tail.extend(rest);
        while inner.tail.len() > TRANSCRIPT_HALF_BYTES {
            inner.tail.pop_front();
            inner.dropped += 1;
        }
    }

    /// Whether nothing was said so far.
    pub fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .head
            .is_empty()
    }

    /// The bytes to store; `None` when nothing was said.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.head.is_empty() {
            return None;
        }
        let mut all = inner.head.clone();
        if inner.dropped > 0 {
            all.extend_from_slice(format!("\n… {} bytes left out …\n", inner.dropped).as_bytes());
        }
        all.extend(&inner.tail);
        Some(all)
    }
}

/// Why the journal refused an event. The run stops starting anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot be written: {why}")]
pub struct LogError {
    /// The journal's reason, with its causes.
    pub why: String,
}

/// The durable record of one run.
pub trait RunLog: Send + Sync + fmt::Debug {
    /// Makes `events` durable as one batch, in order. After an error every further call fails.
    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), LogError>>;

    /// Stores captured output under its hash, durably.
    fn store(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Evidence, LogError>>;
}

/// Removes known secret values from text before it is shown or stored.
pub trait Scrub: Send + Sync + fmt::Debug {
    /// `text` with each known secret replaced by `‹secret:NAME›`.
    fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str>;
}

/// A [`Scrub`] that knows no secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl Scrub for NoSecrets {
    fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }
}
