//! What can go wrong with a journal.

use std::io;
use std::path::{Path, PathBuf};

use crate::frame::FrameError;
use crate::lock::Holder;

/// Why the journal could not be opened, read or written. Each text is one cause and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process holds the journal.
    #[error("the journal is in use by {holder}")]
    Locked {
        /// Who, since when, with which command.
        holder: Holder,
    },
    /// The journal was written by a newer wiab.
    #[error(
        "the journal has format version {found}, this wiab knows versions up to {known}; use the newer wiab that wrote it"
    )]
    Newer {
        /// Version found.
        found: u16,
        /// Newest version this build reads.
        known: u16,
    },
    /// Stored data is not what was written.
    #[error(
        "the journal is damaged at event {seq}: {what}; `wiab journal recover` rebuilds it from the copies"
    )]
    Corrupt {
        /// The first event concerned; 0 when the damage lies before any event could be read.
        seq: u64,
        /// What is wrong, with the run where it is known.
        what: String,
    },
    /// There is nothing to recover.
    #[error(
        "the database in {} is intact: there is nothing to recover and nothing was changed; the next command that writes renews damaged copies from it", path.display()
    )]
    Healthy {
        /// The state directory.
        path: PathBuf,
    },
    /// Too little room on the disk to write safely.
    #[error("{free_bytes} bytes are free at {}, the journal needs {need_bytes}; make room and try again", path.display())]
    NoSpace {
        /// The state directory.
        path: PathBuf,
        /// Free bytes.
        free_bytes: u64,
        /// Bytes required.
        need_bytes: u64,
    },
    /// The state directory cannot be written.
    #[error("the state directory {} cannot be written; check its owner and mode", path.display())]
    Unwritable {
        /// The path that refused.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The state directory's path leads to something else.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// There is no journal to read.
    #[error("there is no journal in {}", path.display())]
    Missing {
        /// The state directory.
        path: PathBuf,
    },
    /// An earlier append failed; nothing is written any more.
    #[error("the journal stopped at its first write error: {why}")]
    Poisoned {
        /// The first error, with its causes.
        why: String,
    },
    /// The handle was closed.
    #[error("the journal is closed")]
    Closed,
    /// A batch breaks a rule of the format; nothing was written.
    #[error("the batch cannot be stored: {what}")]
    Batch {
        /// The rule.
        what: String,
    },
    /// A file operation failed.
    #[error("cannot use {}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The database failed.
    #[error("the database failed while {during}: {why}")]
    Sled {
        /// What was being done.
        during: &'static str,
        /// sled's words.
        why: String,
    },
    /// A single frame cannot be read.
    #[error("a frame cannot be read")]
    Frame(#[from] FrameError),
    /// An exported run cannot be read.
    #[error("the file is not an intact exported run: {what}")]
    Bundle {
        /// What is wrong.
        what: String,
    },
    /// The run to import is one of this installation's own.
    #[error("run {run} is already in this journal")]
    RunExists {
        /// The run's directory name.
        run: String,
    },
    /// The run was imported before.
    #[error("run {run} was imported before")]
    AlreadyImported {
        /// The run's directory name.
        run: String,
    },
    /// The run is in no journal here.
    #[error("run {run} is not in this journal")]
    NoSuchRun {
        /// The run's directory name.
        run: String,
    },
    /// The process that holds the journal answered something unexpected, or nothing.
    #[error("the live connection failed: {what}")]
    Live {
        /// What happened.
        what: String,
    },
}

impl JournalError {
    /// Wraps a file error with its path.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Unwritable {
                    path: path.to_owned(),
                    source,
                }
            }
            _ => Self::Io {
                path: path.to_owned(),
                source,
            },
        }
    }

    /// The text with all its causes, for places that keep only text.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
