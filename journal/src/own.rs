//! The journal's own event kinds, 1 to 15. They belong to no run: their run key is all zeros.
//!
//! Bodies are positional. Fields are never reordered or removed; a changed layout gets a new kind number.

use serde::{Deserialize, Serialize};

use crate::types::{Hash, RunKey};

/// The run key of the journal's own events.
pub const NO_RUN: RunKey = [0; 16];
/// Kind of [`JournalCreated`].
pub const JOURNAL_CREATED: u16 = 1;
/// Kind of [`Recovered`].
pub const RECOVERED: u16 = 2;
/// Kind of [`RunImported`].
pub const RUN_IMPORTED: u16 = 3;
/// The highest kind that is the journal's own.
pub const OWN_KIND_MAX: u16 = 15;

/// Kind 1: the journal began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalCreated {
    /// Names this installation; random.
    pub installation: [u8; 16],
    /// Version of wiab.
    pub tool: String,
}

/// Kind 2: the database was rebuilt from the copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Name of the directory that holds the damaged database.
    pub kept: String,
    /// Events taken over.
    pub frames: u64,
    /// First and last sequence number of each stretch that is lost.
    pub missing: Vec<(u64, u64)>,
    /// Version of wiab.
    pub tool: String,
}

/// Kind 3: a run of another installation was imported, for reading only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunImported {
    /// The run.
    pub run: RunKey,
    /// The installation it comes from.
    pub installation: [u8; 16],
    /// Number of its events.
    pub frames: u64,
    /// First sequence number in its own journal.
    pub first_seq: u64,
    /// Last sequence number in its own journal.
    pub last_seq: u64,
    /// Unix time of its first event, in milliseconds.
    pub first_ms: u64,
    /// Unix time of its last event, in milliseconds.
    pub last_ms: u64,
    /// Hash of its last event.
    pub last_hash: Hash,
    /// Hash of the imported file.
    pub bundle: Hash,
}

/// The name of an own kind.
pub(crate) fn name(kind: u16) -> Option<&'static str> {
    match kind {
        JOURNAL_CREATED => Some("JournalCreated"),
        RECOVERED => Some("Recovered"),
        RUN_IMPORTED => Some("RunImported"),
        _ => None,
    }
}

/// The body of an own kind as JSON.
pub(crate) fn render(kind: u16, body: &[u8]) -> Result<serde_json::Value, String> {
    use crate::codec::decode;
    use crate::text::hex;
    Ok(match kind {
        JOURNAL_CREATED => {
            let body: JournalCreated = decode(body)?;
            serde_json::json!({ "installation": hex(&body.installation), "tool": body.tool })
        }
        RECOVERED => {
            let body: Recovered = decode(body)?;
            serde_json::json!({
                "kept": body.kept, "frames": body.frames, "missing": body.missing, "tool": body.tool,
            })
        }
        RUN_IMPORTED => {
            let body: RunImported = decode(body)?;
            serde_json::json!({
                "run": hex(&body.run), "installation": hex(&body.installation), "frames": body.frames,
                "first_seq": body.first_seq, "last_seq": body.last_seq, "last_hash": hex(&body.last_hash),
                "bundle": hex(&body.bundle),
            })
        }
        other => {
            return Err(format!(
                "kind {other} is reserved for the journal and unknown to this wiab"
            ));
        }
    })
}
