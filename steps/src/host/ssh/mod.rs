//! A machine reached over SSH: wiab runs at the operator's, and acts there (docs/adr/0013).
//!
//! One connection carries everything. In it run at most two sessions: a helper (a program of one page, given to `perl` on
//! its input; nothing is installed) of the user who logs in, and one of root. Requests go to a helper as frames, many at
//! once, so that a command costs one round trip and sshd's limit of sessions is never met.

mod auth;
mod connect;
mod error;
mod exec;
mod files;
mod frame;
mod helper;
mod jobs;
mod known_hosts;
mod link;
mod options;

use std::sync::Arc;

use wiab_engine::ports::{BoxFuture, Cancel};

pub use secrecy::SecretString;

pub use self::error::{ChangedKey, SshError};
pub use self::link::Counts;
pub use self::options::{BadEndpoint, Endpoint, Operator, PORT, Parts, SshOptions, SudoPassword};

use self::helper::Helper;
use self::link::Links;
use super::{Cmd, Host, HostError, JobId, JobState, LineSink, Meta, Output, Stat};
use crate::secrets::{Entropy, OsEntropy};

/// How long a process group may take to end after SIGTERM, in milliseconds.
const GRACE_MS: u64 = 5_000;

/// A machine over SSH as a [`Host`]. It is connected to when it is first used.
#[derive(Debug)]
pub struct SshHost {
    links: Links,
    grace_ms: u64,
}

impl SshHost {
    /// A host for these options. `operator` is told of new host keys, and asked for passwords and passphrases.
    pub fn new(options: SshOptions, operator: Arc<dyn Operator>) -> Self {
        Self {
            links: Links::new(options, operator),
            grace_ms: GRACE_MS,
        }
    }

    /// The same with another time between SIGTERM and SIGKILL.
    #[must_use]
    pub fn grace_ms(mut self, grace_ms: u64) -> Self {
        self.grace_ms = grace_ms;
        self
    }

    /// Connects if there is no connection, and becomes root: the operator is asked for sudo's password if it is needed.
    pub async fn reach(&self) -> Result<(), SshError> {
        let link = self.links.link().await?;
        self.links.root(&link).await.map(drop)
    }

    /// Whether there is a connection, as far as is known here.
    pub async fn connected(&self) -> bool {
        self.links.connected().await
    }

    /// What was counted since the host was made.
    pub fn counts(&self) -> Counts {
        self.links.counts()
    }

    /// The helper of the user, or of root.
    async fn helper(&self, root: bool) -> Result<Arc<Helper>, HostError> {
        let link = self.links.link().await?;
        Ok(if root {
            self.links.root(&link).await?
        } else {
            link.user()
        })
    }
}

impl Host for SshHost {
    fn name(&self) -> String {
        format!("ssh://{}", self.links.options().target)
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
        Box::pin(self.execute(cmd, cancel, line))
    }

    fn renew<'a>(&'a self, cancel: &'a Cancel) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move {
            tokio::select! {
                done = self.links.renew() => Ok(done?),
                () = cancel.cancelled() => Err(HostError::Cancelled),
            }
        })
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
        Box::pin(self.state_of_job(id))
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
        Box::pin(self.forget_job(id))
    }
}
