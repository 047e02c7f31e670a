//! A way to the simulated machine on which whatever passes is noticed, or takes its time.

use std::fmt;
use std::sync::Arc;

use wiab_engine::ports::{BoxFuture, Cancel};
use wiab_steps::host::sim::SimHost;
use wiab_steps::host::{Cmd, Host, HostError, JobId, JobState, LineSink, Meta, Output, Stat};
use wiab_steps::secrets::Entropy;

/// What passes.
pub(crate) enum What<'a> {
    /// A command, run at once or as a job.
    Cmd(&'a Cmd),
    /// A question: a file, what stands at a path, how a job fares.
    Question,
}

/// What happens to whatever passes, before it gets to the machine.
pub(crate) trait Way: Send + Sync + fmt::Debug {
    fn passes<'a>(&'a self, what: What<'a>) -> BoxFuture<'a, ()>;
}

/// The simulated machine behind a way.
#[derive(Debug)]
pub(crate) struct Via<W> {
    pub(crate) host: Arc<SimHost>,
    pub(crate) way: W,
}

impl<W: Way> Host for Via<W> {
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
        Box::pin(async move {
            self.way.passes(What::Cmd(cmd)).await;
            self.host.run(cmd, cancel, line).await
        })
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
            self.way.passes(What::Question).await;
            self.host.read(path, root).await
        })
    }
    fn write<'a>(
        &'a self,
        path: &'a str,
        bytes: &'a [u8],
        meta: &'a Meta,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        self.host.write(path, bytes, meta)
    }
    fn stat<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Stat>, HostError>> {
        Box::pin(async move {
            self.way.passes(What::Question).await;
            self.host.stat(path).await
        })
    }
    fn remove<'a>(&'a self, path: &'a str, root: bool) -> BoxFuture<'a, Result<bool, HostError>> {
        self.host.remove(path, root)
    }
    fn job_start<'a>(
        &'a self,
        id: &'a JobId,
        cmd: &'a Cmd,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move {
            self.way.passes(What::Cmd(cmd)).await;
            self.host.job_start(id, cmd).await
        })
    }
    fn job_state<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<JobState, HostError>> {
        Box::pin(async move {
            self.way.passes(What::Question).await;
            self.host.job_state(id).await
        })
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
