//! What the journal knows in memory: its head and its runs.

use std::collections::HashMap;

use crate::frame::ZERO_HASH;
use crate::own::{NO_RUN, RunImported};
use crate::types::{Frame, Hash, RunKey};

/// The newest durable event.
#[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number; 0 for an empty journal.
    pub seq: u64,
    /// Its hash: a fingerprint of everything before.
    pub hash: Hash,
}

/// A run in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// The run.
    pub run: RunKey,
    /// Sequence number of its first event.
    pub first_seq: u64,
    /// Sequence number of its last event.
    pub last_seq: u64,
    /// Number of its events.
    pub frames: u64,
    /// Unix time of its first event, in milliseconds.
    pub first_ms: u64,
    /// Unix time of its last event, in milliseconds.
    pub last_ms: u64,
    /// Hash of its last event: a fingerprint of the run.
    pub last_hash: Hash,
    /// Whether another installation wrote it. Such a run is only read; its sequence numbers are those of its own
    /// journal.
    pub imported: bool,
}

/// One run while its chain is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunState {
    pub(crate) summary: RunSummary,
    /// `run_seq` of the first event seen, normally 1.
    pub(crate) first_run_seq: u64,
    /// `run_prev` of the first event seen.
    pub(crate) first_prev: Hash,
    /// `run_seq` of the last event.
    pub(crate) last_run_seq: u64,
}

/// Head and runs, as of the last durable event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    pub(crate) head_seq: u64,
    pub(crate) head_hash: Hash,
    /// In order of their first event; the journal's own is among them.
    pub(crate) order: Vec<RunKey>,
    pub(crate) runs: HashMap<RunKey, RunState>,
    pub(crate) imported: Vec<RunImported>,
    /// The installation's name, from its first event.
    pub(crate) installation: [u8; 16],
}

impl Catalog {
    pub(crate) fn head(&self) -> Head {
        Head {
            seq: self.head_seq,
            hash: self.head_hash,
        }
    }

    /// `run_seq` and hash of the last event of a run.
    pub(crate) fn tail(&self, run: &RunKey) -> (u64, Hash) {
        let state = self.runs.get(run);
        state.map_or((0, ZERO_HASH), |state| {
            (state.last_run_seq, state.summary.last_hash)
        })
    }

    /// Takes a frame that follows the head.
    pub(crate) fn extend(&mut self, frame: &Frame) {
        self.head_seq = frame.seq;
        self.head_hash = frame.hash;
        if let Some(state) = self.runs.get_mut(&frame.run) {
            state.summary.last_seq = frame.seq;
            state.summary.frames += 1;
            state.summary.last_ms = frame.time_ms;
            state.summary.last_hash = frame.hash;
            state.last_run_seq = frame.run_seq;
            return;
        }
        self.order.push(frame.run);
        self.runs.insert(frame.run, RunState::first(frame));
    }

    /// Own runs in order, then imported ones; the journal's own events are no run.
    pub(crate) fn summaries(&self) -> Vec<RunSummary> {
        let own = self.order.iter().filter(|run| **run != NO_RUN);
        let own = own
            .filter_map(|run| self.runs.get(run))
            .map(|state| state.summary.clone());
        own.chain(self.imported.iter().map(imported_summary))
            .collect()
    }
}

impl RunState {
    pub(crate) fn first(frame: &Frame) -> Self {
        Self {
            summary: RunSummary {
                run: frame.run,
                first_seq: frame.seq,
                last_seq: frame.seq,
                frames: 1,
                first_ms: frame.time_ms,
                last_ms: frame.time_ms,
                last_hash: frame.hash,
                imported: false,
            },
            first_run_seq: frame.run_seq,
            first_prev: frame.run_prev,
            last_run_seq: frame.run_seq,
        }
    }
}

fn imported_summary(body: &RunImported) -> RunSummary {
    RunSummary {
        run: body.run,
        first_seq: body.first_seq,
        last_seq: body.last_seq,
        frames: body.frames,
        first_ms: body.first_ms,
        last_ms: body.last_ms,
        last_hash: body.last_hash,
        imported: true,
    }
}
