//! Detached jobs that are followed line by line, and commands that run although the operator asked to stop.

use std::sync::{Mutex, PoisonError};

use wiab_engine::outcome::Failure;
use wiab_engine::ports::Cancel;

use super::shell::{Shell, failure, keep};
use super::{Cmd, HostError, JobId, LineSink, Output};

impl Shell<'_> {
    /// Starts a job, or attaches to it, and follows it to its end. It is not stopped when the operator asks to stop: the
    /// caller knows a better way.
    pub(crate) async fn follow(
        &self,
        id: &JobId,
        cmd: &Cmd,
        line: LineSink<'_>,
    ) -> Result<Output, HostError> {
        let begun_ms = self.cx.clock.mono_ms();
        let said = Mutex::new(Vec::new());
        let heard = |text: &str| {
            keep(&said, text);
            line(text);
        };
        let never = Cancel::default();
        let done = match self.host.job_start(id, cmd).await {
            Ok(()) => {
                let wait = self.host.job_wait(id, 0, cmd.timeout_ms, &never, &heard);
                wait.await
            }
            Err(error) => Err(error),
        };
        let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.record(cmd, begun_ms, done.as_ref(), &said);
        done
    }

    /// Runs a command to its end, also when the operator has asked to stop: it is what stops something.
    pub(crate) async fn urgent(&self, cmd: &Cmd) -> Result<Output, Failure> {
        let begun_ms = self.cx.clock.mono_ms();
        let done = self.host.run(cmd, &Cancel::default(), &|_| {}).await;
        self.record(cmd, begun_ms, done.as_ref(), b"");
        done.map_err(|error| failure(&error, false))
    }
}
