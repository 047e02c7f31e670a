//! The lock file: one process at a time, and who it is.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::JournalError;
use crate::options::Options;

/// Longest lock file that is read, in bytes.
const LOCK_BYTES_MAX: u64 = 16 << 10;

/// How often, and how long apart in milliseconds, a reader's lock is tried.
const READER_TRIES: u32 = 500;
const READER_WAIT_MS: u64 = 10;

/// Who holds the journal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Login name.
    pub user: String,
    /// Machine name.
    pub host: String,
    /// Since when, Unix time in milliseconds.
    pub since_ms: u64,
    /// The command, without secrets.
    pub command: String,
    /// Whether it only reads and will be gone in a moment.
    pub reads: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("a process that is just starting");
        }
        let since = crate::text::rfc3339(self.since_ms);
        write!(
            f,
            "process {} of {}@{} since {since}",
            self.pid, self.user, self.host
        )?;
        if !self.command.is_empty() {
            write!(f, " (`{}`)", self.command)?;
        }
        Ok(())
    }
}

/// The held lock. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock or says who has it. A holder that only reads is gone in a moment and is waited for.
    pub(crate) fn take(path: &Path, options: &Options, reads: bool) -> Result<Self, JournalError> {
        let mut open = File::options();
        open.read(true).write(true).create(true).truncate(false);
        let mut file = open
            .open(path)
            .map_err(|error| JournalError::io(path, error))?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(JournalError::io(path, error)),
                Err(TryLockError::WouldBlock) => {}
            }
            let holder = read_holder(&mut file);
            tries += 1;
            if tries > READER_TRIES || !(holder.reads || holder.pid == 0) {
                return Err(JournalError::Locked { holder });
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "waits for another process; no clock of ours is concerned"
            )]
            std::thread::sleep(std::time::Duration::from_millis(READER_WAIT_MS));
        }
        let holder = Holder {
            pid: std::process::id(),
            user: options.user.clone(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            since_ms: (options.now_ms)(),
            command: options.command.clone(),
            reads,
        };
        let mut text = serde_json::to_string(&holder).unwrap_or_default();
        text.push('\n');
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(text.as_bytes())
        };
        // Being unable to say who we are must not stop anybody, above all not on a full disk.
        if let Err(error) = write(&mut file) {
            tracing::warn!(%error, "the lock file's text could not be written");
        }
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Unlocked by name: a child process that another thread is just starting shares the file until it executes.
        let cleared = self.0.set_len(0);
        if let Err(error) = self.0.unlock().and(cleared) {
            tracing::debug!(%error, "the lock file could not be cleared");
        }
    }
}

/// Reads who holds the lock; everything unknown stays empty.
fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(LOCK_BYTES_MAX).read_to_string(&mut text));
    if let Err(error) = read {
        tracing::debug!(%error, "the lock file could not be read");
    }
    serde_json::from_str(&text).unwrap_or_default()
}
