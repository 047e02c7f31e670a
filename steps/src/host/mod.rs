//! The machine that steps act on: the trait, and what passes through it.

mod capture;
mod follow;
mod job;
pub mod local;
mod quote;
pub mod shell;
pub mod sim;
pub mod ssh;

pub use self::quote::quote;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::ports::{BoxFuture, Cancel};

use crate::secrets::Entropy;

/// Most bytes kept of each of a command's output streams.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// A command as an argument vector; never a shell line built from input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cmd {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Bytes for its standard input; `None` is an empty one.
    pub stdin: Option<Vec<u8>>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Whether it needs root: the host adds `sudo -n` unless it already is root.
    pub root: bool,
    /// Longest duration, in milliseconds.
    pub timeout_ms: u64,
}

impl Cmd {
    /// A command of the connecting user with a limit of one minute.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: None,
            env: BTreeMap::new(),
            root: false,
            timeout_ms: 60_000,
        }
    }

    /// The same as root.
    #[must_use]
    pub fn root(mut self) -> Self {
        self.root = true;
        self
    }

    /// The same with another limit.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }

    /// The same with bytes on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// The same with a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// How a command ended. Bytes beyond [`OUTPUT_BYTES_MAX`] are cut from the middle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Exit code; 128 + signal number when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether the code is 0.
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// Standard output as text, invalid bytes replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, without its trailing newline.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }
}

/// Mode and owner of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Permission bits, such as `0o600`.
    pub mode: u32,
    /// Owner as `user:group`; `None` is whoever writes (root when `root`).
    pub owner: Option<String>,
    /// Whether writing needs root.
    pub root: bool,
}

impl Meta {
    /// A file of root.
    pub fn root(mode: u32) -> Self {
        Self {
            mode,
            owner: None,
            root: true,
        }
    }

    /// A file of the connecting user.
    pub fn user(mode: u32) -> Self {
        Self {
            mode,
            owner: None,
            root: false,
        }
    }
}

/// What stands at a path (links are followed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Whether it is a directory.
    pub dir: bool,
    /// Length in bytes.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner as `user:group`.
    pub owner: String,
}

/// Name of a detached job: the same run, step, attempt and label always mean the same job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId {
    /// The run.
    pub run: String,
    /// The step.
    pub step: StepId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Which of the attempt's commands: `run`, `undo`, `download`.
    pub label: String,
}

impl JobId {
    /// The job of one attempt.
    pub fn new(run: RunId, step: &StepId, attempt: u32, label: &str) -> Self {
        Self {
            run: run.display(),
            step: step.clone(),
            attempt,
            label: label.to_owned(),
        }
    }

    /// Directory name: safe characters only, since step ids are from a small alphabet.
    pub fn dir_name(&self) -> String {
        format!("{}/{}.{}.{}", self.run, self.step, self.attempt, self.label)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dir_name())
    }
}

/// Where a detached job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// No job of that name was ever started.
    Absent,
    /// It runs.
    Running,
    /// It ended; its exit code is kept.
    Exited(i32),
    /// It is gone without an exit code: killed, or the machine was restarted.
    Lost,
}

/// Why the host could not do what was asked. A command that ran and failed is an [`Output`], not an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The program does not exist on the host.
    #[error("`{program}` is not installed")]
    NoProgram {
        /// The program.
        program: String,
    },
    /// sudo, a password or a permission is missing.
    #[error("not permitted: {why}")]
    Denied {
        /// What was refused.
        why: String,
    },
    /// The machine does not let wiab in: its host key, the login or sudo. Nothing was started, and waiting does not help.
    #[error("{why}")]
    Barred {
        /// What keeps wiab out.
        why: String,
        /// What to do about it.
        remedy: String,
        /// A stable name of the reason, such as `ssh.auth`.
        code: &'static str,
    },
    /// The time limit passed; the command's process group was killed.
    #[error("no end after {after_ms} ms")]
    TimedOut {
        /// The limit.
        after_ms: u64,
    },
    /// The operator asked to stop; the process group was killed.
    #[error("stopped on request")]
    Cancelled,
    /// The host cannot be reached; nothing was started.
    #[error("host unreachable: {why}")]
    Unreachable {
        /// Why.
        why: String,
    },
    /// The connection broke in the middle; the effect is unknown.
    #[error("connection lost in the middle: {why}")]
    LostMidway {
        /// Why.
        why: String,
    },
    /// A file operation failed.
    #[error("{path}: {why}")]
    File {
        /// The path.
        path: String,
        /// The system's reason.
        why: String,
    },
}

/// What was read of a file, one byte more than [`OUTPUT_BYTES_MAX`] at most: an error if that is not the whole.
fn whole_file(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, HostError> {
    if bytes.len() > OUTPUT_BYTES_MAX {
        return Err(HostError::File {
            path: path.to_owned(),
            why: "the file is too large to be read whole".to_owned(),
        });
    }
    Ok(bytes)
}

/// Receives lines of output as they come; may be called from any thread.
pub type LineSink<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// A machine. Every effect of wiab on a machine passes through here. No method has a default: a host around another one
/// that forgot to hand it on would answer for it.
pub trait Host: Send + Sync + fmt::Debug {
    /// How people call it: `local`, `sim`, `ssh://user@address`.
    fn name(&self) -> String;

    /// Randomness for secrets that are made for this machine. The simulated one answers the same for the same purpose, so
    /// that runs can be compared; all others ask the operating system under wiab.
    fn entropy(&self, purpose: &str) -> Box<dyn Entropy>;

    /// Runs a command to its end, streaming its lines. Cancelling kills its process group.
    fn run<'a>(
        &'a self,
        cmd: &'a Cmd,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>>;

    /// Proves that a new connection to the machine can be made: over a network, by making one beside the present one. Where
    /// no connection is needed there is nothing to prove.
    fn renew<'a>(&'a self, cancel: &'a Cancel) -> BoxFuture<'a, Result<(), HostError>>;

    /// Reads a file; `None` if it does not exist. `root` reads what only root may.
    fn read<'a>(
        &'a self,
        path: &'a str,
        root: bool,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>>;

    /// Writes a file atomically: a temporary file beside it with mode and owner set before content, fsync, rename, fsync
    /// of the directory. Parent directories are created (0755).
    fn write<'a>(
        &'a self,
        path: &'a str,
        bytes: &'a [u8],
        meta: &'a Meta,
    ) -> BoxFuture<'a, Result<(), HostError>>;

    /// What stands at a path; `None` if nothing does.
    fn stat<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Stat>, HostError>>;

    /// Removes a file or an empty directory; `false` if nothing was there.
    fn remove<'a>(&'a self, path: &'a str, root: bool) -> BoxFuture<'a, Result<bool, HostError>>;

    /// Starts a detached job in its own session; it survives wiab and the connection. Does nothing if it exists already.
    fn job_start<'a>(&'a self, id: &'a JobId, cmd: &'a Cmd)
    -> BoxFuture<'a, Result<(), HostError>>;

    /// Where a job stands.
    fn job_state<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<JobState, HostError>>;

    /// Follows a job to its end, streaming the lines after byte `from` of its log; answers its exit code and whole (bounded)
    /// output. Cancelling kills the job's session. A job that is lost ends in [`HostError::LostMidway`].
    fn job_wait<'a>(
        &'a self,
        id: &'a JobId,
        from: u64,
        timeout_ms: u64,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>>;

    /// Removes a job's directory. The job must have ended.
    fn job_forget<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), HostError>>;
}
