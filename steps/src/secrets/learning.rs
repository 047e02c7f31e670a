//! A host that teaches the scrubber: whatever sealed set passes through it is known before the caller goes on.

use std::sync::Arc;

use wiab_engine::ports::{BoxFuture, Cancel};

use super::entropy::Entropy;
use super::scrub::Scrubber;
use super::sealed::SealedSet;
use crate::host::{Cmd, Host, HostError, JobId, JobState, LineSink, Meta, Output, Stat};

/// How the names of sealed sets end: `secrets.toml`, `secrets.before-2026-01.toml`.
const SUFFIX: &str = ".toml";

/// Another host, whose sealed set the scrubber learns whenever it is read or written: also the one made in this run.
#[derive(Debug)]
pub struct LearningHost {
    host: Arc<dyn Host>,
    scrubber: Arc<Scrubber>,
    path: String,
}

impl LearningHost {
    /// Watches the sealed set at `path` on `host`, and what a rotation keeps of it beside it.
    pub fn new(host: Arc<dyn Host>, scrubber: Arc<Scrubber>, path: &str) -> Self {
        Self {
            host,
            scrubber,
            path: path.to_owned(),
        }
    }

    /// Learns before anything can happen with the values. A damaged set teaches nothing; the step that reads it says so.
    fn learn(&self, path: &str, bytes: &[u8]) -> Result<(), HostError> {
        let stem = self.path.strip_suffix(SUFFIX).unwrap_or(&self.path);
        let ours = path
            .strip_suffix(SUFFIX)
            .and_then(|path| path.strip_prefix(stem));
        let watched = path == self.path || ours.is_some_and(|rest| rest.starts_with('.'));
        let set = watched.then(|| SealedSet::parse(path, bytes));
        match set {
            Some(Ok(set)) => self.scrubber.learn(&set).map_err(|error| HostError::File {
                path: path.to_owned(),
                why: error.to_string(),
            }),
            Some(Err(_)) | None => Ok(()),
        }
    }
}

impl Host for LearningHost {
    fn name(&self) -> String {
        self.host.name()
    }

    fn entropy(&self, purpose: &str) -> Box<dyn Entropy> {
        self.host.entropy(purpose)
    }

    fn run<'a>(
        &'a self,
        cmd: &'a Cmd,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        self.host.run(cmd, cancel, line)
    }

    fn renew<'a>(&'a self, cancel: &'a Cancel) -> BoxFuture<'a, Result<(), HostError>> {
        self.host.renew(cancel)
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        root: bool,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>> {
        Box::pin(async move {
            let found = self.host.read(path, root).await?;
            if let Some(bytes) = &found {
                self.learn(path, bytes)?;
            }
            Ok(found)
        })
    }

    fn write<'a>(
        &'a self,
        path: &'a str,
        bytes: &'a [u8],
        meta: &'a Meta,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move {
            self.learn(path, bytes)?;
            self.host.write(path, bytes, meta).await
        })
    }

    fn stat<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Stat>, HostError>> {
        self.host.stat(path)
    }

    fn remove<'a>(&'a self, path: &'a str, root: bool) -> BoxFuture<'a, Result<bool, HostError>> {
        self.host.remove(path, root)
    }

    fn job_start<'a>(
        &'a self,
        id: &'a JobId,
        cmd: &'a Cmd,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        self.host.job_start(id, cmd)
    }

    fn job_state<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<JobState, HostError>> {
        self.host.job_state(id)
    }

    fn job_wait<'a>(
        &'a self,
        id: &'a JobId,
        from: u64,
        timeout_ms: u64,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        self.host.job_wait(id, from, timeout_ms, cancel, line)
    }

    fn job_forget<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), HostError>> {
        self.host.job_forget(id)
    }
}
