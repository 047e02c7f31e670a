//! Everything that can go wrong in the lab.

use std::path::PathBuf;

/// The lab's result type.
pub(crate) type Result<T, E = LabError> = std::result::Result<T, E>;

/// Why the lab could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabError {
    /// The lab needs root on the outer machine.
    #[error("the lab mounts file systems and makes namespaces: run it as root")]
    NotRoot,
    /// The outer machine is of a kind that the lab cannot use.
    #[error("{0}")]
    Unsuitable(String),
    /// A program could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program ended with a failure.
    #[error("`{command}` failed ({how}){output}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit code or signal.
        how: String,
        /// The end of its output, on lines of its own; empty when it was streamed.
        output: String,
    },
    /// A program, or the state that was waited for, took too long.
    #[error("{what} took more than {limit_s} s{detail}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The limit in seconds.
        limit_s: u64,
        /// What was seen last.
        detail: String,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A system call failed.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: rustix::io::Errno,
    },
    /// A document could not be read.
    #[error("{what} is not the expected JSON")]
    Json {
        /// Whose document.
        what: String,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// The caches have not been built.
    #[error("{} does not exist; run `wiab-lab prepare` first", .0.display())]
    NotPrepared(PathBuf),
    /// A check of the lab's own scenario did not hold.
    #[error("check failed: {0}")]
    Check(String),
    /// No machine runs.
    #[error("no machine is running; `wiab-lab run --keep` starts one that stays")]
    NoMachine,
}

impl LabError {
    /// A failed check.
    pub(crate) fn check(text: impl Into<String>) -> Self {
        Self::Check(text.into())
    }
}

/// Fails with `text` unless `holds`.
pub(crate) fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(LabError::Check(text()))
    }
}
