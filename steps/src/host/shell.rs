//! A host together with the step that uses it: commands are written to the step's transcript, host errors become failures.

use wiab_engine::outcome::Failure;
use wiab_engine::ports::{StepCx, Tick};

use super::{Cmd, Host, HostError, JobId, JobState, Meta, Output, Stat};

/// The host as one attempt of a step sees it.
#[derive(Debug, Clone, Copy)]
pub struct Shell<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// The attempt.
    pub cx: &'a StepCx,
}

impl<'a> Shell<'a> {
    /// Joins them.
    pub fn new(host: &'a dyn Host, cx: &'a StepCx) -> Self {
        Self { host, cx }
    }

    fn told(&self, cmd: &Cmd, output: &Output) {
        self.cx.evidence.push(&format!(
            "$ {}\n{}{}\n→ {}\n",
            cmd.argv.join(" "),
            output.text(),
            output.error_text(),
            output.code
        ));
    }

    fn line(&self) -> impl Fn(&str) + Send + Sync + use<> {
        let progress = self.cx.progress.clone();
        move |text: &str| progress.tick(Tick::Line(text.to_owned()))
    }

    /// Runs a command; any exit code is an answer.
    pub async fn run(&self, cmd: &Cmd) -> Result<Output, Failure> {
        let line = self.line();
        let output = self
            .host
            .run(cmd, &self.cx.cancel, &line)
            .await
            .map_err(|error| host_failure(&error))?;
        self.told(cmd, &output);
        Ok(output)
    }

    /// Runs a command that must end with 0.
    pub async fn ok(&self, cmd: &Cmd) -> Result<Output, Failure> {
        let output = self.run(cmd).await?;
        if output.ok() {
            return Ok(output);
        }
        Err(exit_failure(cmd, &output))
    }

    /// Runs a looking command; `None` when the program is not installed.
    pub async fn probe(&self, cmd: &Cmd) -> Result<Option<Output>, Failure> {
        let line = self.line();
        match self.host.run(cmd, &self.cx.cancel, &line).await {
            Ok(output) => {
                self.told(cmd, &output);
                Ok(Some(output))
            }
            Err(HostError::NoProgram { .. }) => Ok(None),
            Err(error) => Err(host_failure(&error)),
        }
    }

    /// Runs a looking command whose standard output holds secrets: that output enters neither the transcript nor the
    /// progress stream. `None` when the program is not installed.
    pub async fn secret(&self, cmd: &Cmd) -> Result<Option<Output>, Failure> {
        match self.host.run(cmd, &self.cx.cancel, &|_| {}).await {
            Ok(output) => {
                self.cx.evidence.push(&format!(
                    "$ {}\n(output withheld: it holds secrets)\n{}\n→ {}\n",
                    cmd.argv.join(" "),
                    output.error_text(),
                    output.code
                ));
                Ok(Some(output))
            }
            Err(HostError::NoProgram { .. }) => Ok(None),
            Err(error) => Err(host_failure(&error)),
        }
    }

    /// Reads a file; its content does not enter the transcript.
    pub async fn read(&self, path: &str, root: bool) -> Result<Option<Vec<u8>>, Failure> {
        self.host
            .read(path, root)
            .await
            .map_err(|error| host_failure(&error))
    }

    /// Writes a file atomically; its content does not enter the transcript.
    pub async fn write(&self, path: &str, bytes: &[u8], meta: &Meta) -> Result<(), Failure> {
        self.host
            .write(path, bytes, meta)
            .await
            .map_err(|error| host_failure(&error))
    }

    /// Removes a file or an empty directory.
    pub async fn remove(&self, path: &str, root: bool) -> Result<bool, Failure> {
        self.host
            .remove(path, root)
            .await
            .map_err(|error| host_failure(&error))
    }

    /// What stands at a path.
    pub async fn stat(&self, path: &str) -> Result<Option<Stat>, Failure> {
        self.host
            .stat(path)
            .await
            .map_err(|error| host_failure(&error))
    }

    /// Where this attempt's job of that label stands.
    pub async fn job_state(&self, label: &str) -> Result<JobState, Failure> {
        self.host
            .job_state(&self.job_id(label))
            .await
            .map_err(|error| host_failure(&error))
    }

    /// Starts this attempt's job of that label, or attaches to it, and follows it to its end.
    pub async fn job(&self, label: &str, cmd: &Cmd) -> Result<Output, Failure> {
        let id = self.job_id(label);
        let line = self.line();
        self.host
            .job_start(&id, cmd)
            .await
            .map_err(|error| host_failure(&error))?;
        let output = self
            .host
            .job_wait(&id, 0, cmd.timeout_ms, &self.cx.cancel, &line)
            .await
            .map_err(|error| host_failure(&error))?;
        self.told(cmd, &output);
        Ok(output)
    }

    fn job_id(&self, label: &str) -> JobId {
        JobId::new(self.cx.run, &self.cx.step, self.cx.attempt, label)
    }
}

fn exit_failure(cmd: &Cmd, output: &Output) -> Failure {
    let program = cmd.argv.first().map_or("command", String::as_str);
    let said = output.error_text();
    let last = said.lines().next_back().unwrap_or_default();
    Failure::dirty(format!("`{program}` ended with {}: {last}", output.code))
}

fn host_failure(error: &HostError) -> Failure {
    match error {
        HostError::NoProgram { .. } | HostError::Denied { .. } | HostError::File { .. } => {
            Failure::dirty(error.to_string())
        }
        HostError::Unreachable { .. } => Failure::dirty(error.to_string()).retry(),
        HostError::TimedOut { .. } | HostError::LostMidway { .. } => {
            Failure::unknown(error.to_string()).retry()
        }
        HostError::Cancelled => Failure::unknown(error.to_string()),
    }
}
