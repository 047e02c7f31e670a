//! The engine's events in the journal: appending them, reading them back, and showing them.

use std::sync::Arc;

use wiab_journal::{Batch, Entry, Frame, Hash, Journal, JournalError, Render};

use crate::codec::{self, CodecError};
use crate::event::{Event, Evidence, Recorded};
use crate::id::RunId;
use crate::installation::{FoldError, Installation};
use crate::ports::{BoxFuture, Clock, LogError, RunLog};

/// Kinds below this are the journal's own.
const FIRST_KIND: u16 = 16;

/// One run's door to the journal.
#[derive(Debug, Clone)]
pub struct JournalLog {
    /// The open journal.
    pub journal: Journal,
    /// The run.
    pub run: RunId,
    /// `user@machine` and process id.
    pub actor: String,
    /// Time, for the frames.
    pub clock: Arc<dyn Clock>,
}

impl RunLog for JournalLog {
    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let batch = batch(self.run, self.clock.wall_ms(), &self.actor, &events)
                .map_err(|error| lost(&error))?;
            // On this thread: handing the batch to another one and waking up again costs as much as the sync, and nothing
            // can be decided before it is durable anyway.
            self.journal
                .append(batch)
                .map(drop)
                .map_err(|error| lost(&error))
        })
    }

    fn store(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Evidence, LogError>> {
        Box::pin(async move {
            let blobs = self.journal.blobs().clone();
            let stored = tokio::task::spawn_blocking(move || blobs.put(&bytes)).await;
            let blob = stored
                .map_err(|_| LogError {
                    why: "storing output panicked".to_owned(),
                })?
                .map_err(|error| lost(&error))?;
            Ok(Evidence {
                hash: blob.hash,
                bytes: blob.bytes,
            })
        })
    }
}

/// The events as one batch of the journal.
pub fn batch(run: RunId, time_ms: u64, actor: &str, events: &[Event]) -> Result<Batch, CodecError> {
    let entries = events
        .iter()
        .map(|event| {
            Ok(Entry {
                kind: event.kind(),
                body: codec::encode(event)?,
            })
        })
        .collect::<Result<_, CodecError>>()?;
    Ok(Batch {
        run: run.0,
        time_ms,
        actor: actor.to_owned(),
        entries,
    })
}

/// An error with all its causes in one line.
fn lost(error: &dyn std::error::Error) -> LogError {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    LogError { why }
}

/// The event in a frame; `None` for the journal's own events.
pub fn recorded(frame: &Frame) -> Result<Option<Recorded>, CodecError> {
    if frame.kind < FIRST_KIND {
        return Ok(None);
    }
    Ok(Some(Recorded {
        seq: frame.seq,
        run: RunId(frame.run),
        time_ms: frame.time_ms,
        actor: frame.actor.clone(),
        event: codec::decode(frame.kind, &frame.body)?,
    }))
}

/// Why a journal cannot be read as the history of an installation.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The journal itself cannot be read.
    #[error("the journal cannot be read")]
    Journal(#[source] JournalError),
    /// An event cannot be decoded.
    #[error("event {seq} cannot be read")]
    Event {
        /// Position in the journal.
        seq: u64,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// An event contradicts the ones before it.
    #[error("the journal contradicts itself")]
    Fold(#[source] FoldError),
}

/// Folds frames into the history of the installation.
pub fn installation(
    frames: impl IntoIterator<Item = Result<Frame, JournalError>>,
) -> Result<Installation, ReadError> {
    let mut installation = Installation::default();
    for frame in frames {
        let frame = frame.map_err(ReadError::Journal)?;
        let event = recorded(&frame).map_err(|source| ReadError::Event {
            seq: frame.seq,
            source,
        })?;
        if let Some(event) = event {
            installation.apply(&event).map_err(ReadError::Fold)?;
        }
    }
    Ok(installation)
}

/// Shows event bodies in `events.jsonl` and in `journal show`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventRender;

impl Render for EventRender {
    fn name(&self, kind: u16) -> Option<&'static str> {
        Event::name_of(kind)
    }

    fn body(&self, kind: u16, body: &[u8]) -> Result<serde_json::Value, String> {
        codec::decode(kind, body)
            .map(|event| codec::to_json(&event))
            .map_err(|error| lost(&error).why)
    }

    fn outputs(&self, kind: u16, body: &[u8]) -> Vec<Hash> {
        // A body that cannot be read is told by `body`.
        let evidence = match codec::decode(kind, body) {
            Ok(Event::StepSucceeded(event)) => event.evidence,
            Ok(Event::StepFailed(event)) => event.evidence,
            Ok(Event::UndoSucceeded(event)) => event.evidence,
            Ok(Event::UndoFailed(event)) => event.evidence,
            Ok(Event::EvidenceTaken(event)) => Some(event.body),
            Ok(_) | Err(_) => None,
        };
        evidence.map(|evidence| evidence.hash).into_iter().collect()
    }
}
