//! What goes into the journal and what comes out.

use std::fmt;

/// A run, as the journal knows it: 16 bytes.
pub type RunKey = [u8; 16];

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// One event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Event kind number; 1 to 15 are the journal's own.
    pub kind: u16,
    /// The encoded body.
    pub body: Vec<u8>,
}

/// Events that become durable together, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The run they belong to.
    pub run: RunKey,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// Who writes: `user@machine` and process id.
    pub actor: String,
    /// The events.
    pub entries: Vec<Entry>,
}

/// One event as it is stored. Frames form two hash chains: one over the journal, one over each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Position in the journal, from 1, without gaps.
    pub seq: u64,
    /// Position in its run, from 1, without gaps.
    pub run_seq: u64,
    /// The run.
    pub run: RunKey,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// Who wrote it.
    pub actor: String,
    /// Event kind number.
    pub kind: u16,
    /// Hash of the frame before it in the journal; zeros for the first.
    pub prev: Hash,
    /// Hash of the frame before it in its run; zeros for the first.
    pub run_prev: Hash,
    /// The encoded body.
    pub body: Vec<u8>,
    /// Hash of all the above.
    pub hash: Hash,
}

/// Shows bodies to people; given by the owner of the event types.
pub trait Render: Send + Sync + fmt::Debug {
    /// The kind's name: `StepStarted`.
    fn name(&self, kind: u16) -> Option<&'static str>;
    /// The body as JSON; an error text if it cannot be read.
    fn body(&self, kind: u16, body: &[u8]) -> Result<serde_json::Value, String>;
    /// The blobs of captured output that the body names; verification misses them when they are gone.
    fn outputs(&self, _kind: u16, _body: &[u8]) -> Vec<Hash> {
        Vec::new()
    }
}
