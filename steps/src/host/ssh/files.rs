//! Files of the machine: one request each, answered by the helper itself.

use super::SshHost;
use super::exec::{SENDS_MAX, lost};
use super::helper::{Answer, Unsent};
use crate::host::{HostError, Meta, OUTPUT_BYTES_MAX, Stat, whole_file};

/// "Permission denied", as Linux counts.
pub(super) const EACCES: u64 = 13;

/// How an answer says that nothing is there.
const NOTHING: &str = "0";

impl SshHost {
    /// Asks the helper something that may be asked twice, and waits for the one answer: a lost connection is made again.
    pub(super) async fn ask(&self, root: bool, fields: &[&[u8]]) -> Result<Answer, HostError> {
        for _ in 0..SENDS_MAX {
            match self.helper(root).await?.send(fields).await {
                Ok(mut pending) => {
                    self.links.requested();
                    if let Some(answer) = pending.next().await {
                        return Ok(answer);
                    }
                }
                Err(Unsent::Gone) => {}
                Err(Unsent::TooLong) => {
                    return Err(HostError::Denied {
                        why: "that is too long for one request".to_owned(),
                    });
                }
            }
        }
        Err(lost())
    }

    /// The same about a file: the machine's complaint is an error.
    pub(super) async fn ask_file(
        &self,
        path: &str,
        root: bool,
        fields: &[&[u8]],
    ) -> Result<Answer, HostError> {
        let answer = self.ask(root, fields).await?;
        if answer.letter == b'f' {
            return Err(HostError::File {
                path: path.to_owned(),
                why: answer.text(1),
            });
        }
        Ok(answer)
    }

    pub(super) async fn read_file(
        &self,
        path: &str,
        root: bool,
    ) -> Result<Option<Vec<u8>>, HostError> {
        // One byte more than allowed shows that the file is too long.
        let most = (OUTPUT_BYTES_MAX + 1).to_string();
        let fields: [&[u8]; 4] = [b"read", path.as_bytes(), b"0", most.as_bytes()];
        let mut answer = self.ask_file(path, root, &fields).await?;
        if answer.text(0) == NOTHING {
            return Ok(None);
        }
        let bytes = answer.fields.pop().unwrap_or_default();
        whole_file(path, bytes).map(Some)
    }

    pub(super) async fn write_file(
        &self,
        path: &str,
        bytes: &[u8],
        meta: &Meta,
    ) -> Result<(), HostError> {
        let mode = meta.mode.to_string();
        let owner = meta.owner.as_deref().unwrap_or_default();
        let fields: [&[u8]; 5] = [
            b"write",
            path.as_bytes(),
            mode.as_bytes(),
            owner.as_bytes(),
            bytes,
        ];
        self.ask_file(path, meta.root, &fields).await.map(drop)
    }

    pub(super) async fn stat_file(&self, path: &str) -> Result<Option<Stat>, HostError> {
        let fields: [&[u8]; 2] = [b"stat", path.as_bytes()];
        let first = self.ask(false, &fields).await?;
        let answer = if first.letter == b'f' && first.number(0) == EACCES {
            // It stands in a directory that only root may enter.
            self.ask_file(path, true, &fields).await?
        } else if first.letter == b'f' {
            return Err(HostError::File {
                path: path.to_owned(),
                why: first.text(1),
            });
        } else {
            first
        };
        if answer.text(0) == NOTHING {
            return Ok(None);
        }
        Ok(Some(Stat {
            dir: answer.text(1) == "1",
            bytes: answer.number(2),
            mode: answer.text(3).parse().unwrap_or_default(),
            owner: answer.text(4),
        }))
    }

    pub(super) async fn remove_file(&self, path: &str, root: bool) -> Result<bool, HostError> {
        let fields: [&[u8]; 2] = [b"remove", path.as_bytes()];
        let answer = self.ask_file(path, root, &fields).await?;
        Ok(answer.text(0) != NOTHING)
    }
}
