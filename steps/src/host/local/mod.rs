//! This machine.

mod clock;
mod exec;
mod files;
mod jobs;
mod process;

use std::ffi::OsString;
use std::path::PathBuf;

use wiab_engine::ports::{BoxFuture, Cancel};

pub use self::clock::SystemClock;
pub(super) use self::clock::pause;

use super::{Cmd, Host, HostError, JobId, JobState, LineSink, Meta, Output, Stat};
use crate::secrets::{Entropy, OsEntropy};

/// How long a process group may take to end after SIGTERM, in milliseconds.
const GRACE_MS: u64 = 5_000;

/// This machine as a [`Host`]. Commands run in process groups of their own, with the C locale; root's go through
/// `sudo -n` unless wiab is root.
#[derive(Debug)]
pub struct LocalHost {
    job_root: PathBuf,
    is_root: bool,
    path: OsString,
    grace_ms: u64,
}

impl LocalHost {
    /// A host that keeps its detached jobs below `job_root`, which must survive a restart of wiab and be writable for its
    /// user: `/var/lib/wiab/jobs` for root, a state directory for others. It is made (0700) when the first job starts.
    pub fn new(job_root: impl Into<PathBuf>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "commands are looked up where the user's are"
        )]
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        // Administration tools are not on every user's path.
        path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
        Self {
            job_root: job_root.into(),
            is_root: rustix::process::geteuid().is_root(),
            path,
            grace_ms: GRACE_MS,
        }
    }

    /// The same with another time between SIGTERM and SIGKILL.
    #[must_use]
    pub fn grace_ms(mut self, grace_ms: u64) -> Self {
        self.grace_ms = grace_ms;
        self
    }
}

impl Host for LocalHost {
    fn name(&self) -> String {
        "local".to_owned()
    }

    fn entropy(&self, _purpose: &str) -> Box<dyn Entropy> {
        Box::new(OsEntropy)
    }

    fn run<'a>(
        &'a self,
        cmd: &'a Cmd,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        Box::pin(self.execute(cmd, cancel, line, exec::PIPE_GRACE_MS))
    }

    fn renew<'a>(&'a self, _cancel: &'a Cancel) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        root: bool,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>> {
        Box::pin(self.read_file(path, root))
    }

    fn write<'a>(
        &'a self,
        path: &'a str,
        bytes: &'a [u8],
        meta: &'a Meta,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(self.write_file(path, bytes, meta))
    }

    fn stat<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Stat>, HostError>> {
        Box::pin(self.stat_file(path))
    }

    fn remove<'a>(&'a self, path: &'a str, root: bool) -> BoxFuture<'a, Result<bool, HostError>> {
        Box::pin(self.remove_file(path, root))
    }

    fn job_start<'a>(
        &'a self,
        id: &'a JobId,
        cmd: &'a Cmd,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(self.start_job(id, cmd))
    }

    fn job_state<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<JobState, HostError>> {
        Box::pin(async move { Ok(self.state_of_job(id)) })
    }

    fn job_wait<'a>(
        &'a self,
        id: &'a JobId,
        from: u64,
        timeout_ms: u64,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        Box::pin(self.wait_for_job(id, from, timeout_ms, cancel, line))
    }

    fn job_forget<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move { self.forget_job(id) })
    }
}
