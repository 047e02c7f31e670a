//! Live reads: while a process holds the journal, it answers others over a Unix socket in the state directory.
//!
//! Both sides speak lines of JSON. The client sends one request; the server answers and, for `follow`, goes on until
//! either side ends.

mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use client::{Client, LiveItem};
pub use server::Server;

use crate::catalog::{Head, RunSummary};
use crate::types::Hash;

/// Longest line either side accepts, in bytes: a frame with the largest body in base64.
const LINE_BYTES_MAX: u64 = 32 << 20;
/// A line is sent at least this often while following, so that a broken connection shows.
const BEAT_SECONDS: u64 = 5;
/// Longest path a Unix socket may have, in bytes, less its end mark.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
enum Ask {
    Status,
    Overview,
    Frames { from: u64 },
    Follow { from: u64 },
}

/// What a server answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Status(serde_json::Value),
    Overview(Overview),
    /// A frame in base64.
    Frame(String),
    Progress(String),
    Beat,
    End,
    Error(String),
}

/// Head and runs at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Overview {
    pub(crate) installation: [u8; 16],
    #[serde(with = "HeadForm")]
    pub(crate) head: Head,
    #[serde(with = "runs_form")]
    pub(crate) runs: Vec<RunSummary>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Head")]
struct HeadForm {
    seq: u64,
    hash: Hash,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RunSummary")]
struct RunForm {
    run: [u8; 16],
    first_seq: u64,
    last_seq: u64,
    frames: u64,
    first_ms: u64,
    last_ms: u64,
    last_hash: Hash,
    imported: bool,
}

/// Lists of runs on the wire.
mod runs_form {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{RunForm, RunSummary};

    #[derive(Serialize, Deserialize)]
    struct Wrapped(#[serde(with = "RunForm")] RunSummary);

    pub(super) fn serialize<S: Serializer>(runs: &[RunSummary], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(runs.iter().cloned().map(Wrapped))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<RunSummary>, D::Error> {
        let runs = Vec::<Wrapped>::deserialize(from)?;
        Ok(runs.into_iter().map(|wrapped| wrapped.0).collect())
    }
}

/// The socket's path; through a held directory handle when the plain path is too long for a socket address.
fn socket_path(dir: &Path, held: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    let plain = dir.join("live.sock");
    if plain.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return plain;
    }
    PathBuf::from(format!("/proc/self/fd/{}/live.sock", held.as_raw_fd()))
}
