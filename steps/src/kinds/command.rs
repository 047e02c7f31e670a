//! `command/1`: a site-specific step of `wiab.toml`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::jobs::{Settle, job_of, job_state, last_line, settle_forward};
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, JobState, Output};
use crate::kind::{About, Kind, Pace};

const PROBE_MS: u64 = 60_000;

/// A command of the operator, run as a detached job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments.
    pub run: Vec<String>,
    /// Exit code 0 says that nothing is to be done.
    #[serde(default)]
    pub probe: Option<Vec<String>>,
    /// Takes the effect back.
    #[serde(default)]
    pub undo: Option<Vec<String>>,
    /// Longest duration of each command, in milliseconds.
    pub timeout_ms: u64,
    /// Whether the commands need root.
    #[serde(default)]
    pub root: bool,
    /// Whether an interrupted `run` may simply be run again.
    #[serde(default)]
    pub idempotent: bool,
}

impl Command {
    fn cmd(&self, argv: &[String]) -> Cmd {
        let cmd = Cmd::new(argv.iter().cloned()).timeout_ms(self.timeout_ms);
        if self.root { cmd.root() } else { cmd }
    }

    /// Whether the operator's probe is satisfied; `None` when there is none.
    async fn satisfied(&self, sh: Shell<'_>) -> Result<Option<bool>, Failure> {
        let Some(argv) = &self.probe else {
            return Ok(None);
        };
        let cmd = self.cmd(argv).timeout_ms(self.timeout_ms.min(PROBE_MS));
        Ok(Some(
            sh.probe(&cmd).await?.is_some_and(|output| output.ok()),
        ))
    }

    async fn first_look(&self, sh: Shell<'_>, unknown: Probe) -> Result<Probe, Failure> {
        Ok(match self.satisfied(sh).await? {
            Some(true) => Probe::Satisfied(Receipt::default()),
            Some(false) => Probe::Absent,
            None => unknown,
        })
    }
}

fn ended(argv: &[String], output: &Output) -> Failure {
    let program = argv.first().map_or("command", String::as_str);
    let last = last_line(output);
    Failure::dirty(format!("`{program}` ended with {}: {last}", output.code))
}

impl Kind for Command {
    const NAME: &'static str = "command/1";
    const ABOUT: About = About {
        purpose: "What one site needs besides the installation itself.",
        probe: "Runs the operator's probe command, if there is one.",
        effect: "Runs the command as a detached job, which a crash of wiab does not disturb.",
        undo: "Runs the operator's undo command, if there is one.",
    };

    fn summary(&self) -> String {
        format!("run {}", self.run.join(" "))
    }

    fn undo_summary(&self) -> String {
        match &self.undo {
            Some(argv) => format!("run {}", argv.join(" ")),
            None => "none is configured".to_owned(),
        }
    }

    fn undo_class(&self) -> UndoClass {
        match self.undo {
            Some(_) => UndoClass::Reversible,
            None => UndoClass::Irreversible {
                why: "no undo command is configured".to_owned(),
            },
        }
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::NEVER,
            timeout_ms: self.timeout_ms.saturating_add(PROBE_MS),
            usual_ms: 1_000,
        }
    }

    fn idempotent(&self) -> bool {
        self.idempotent
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for Command {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let unknown = |why: &str| Probe::Unknown {
            why: why.to_owned(),
        };
        if !sh.cx.resumed {
            return self
                .first_look(sh, unknown("no probe command is configured"))
                .await;
        }
        match job_state(sh, sh.cx.attempt, "run").await? {
            JobState::Running | JobState::Exited(0) => Ok(Probe::Running),
            // Attaching to it would only fail again: a new attempt follows.
            JobState::Exited(code) => {
                let what = format!("its command ended with {code}");
                self.first_look(sh, Probe::Partial { what }).await
            }
            JobState::Absent => self.first_look(sh, Probe::Absent).await,
            JobState::Lost => {
                self.first_look(sh, unknown("its command was cut off in the middle"))
                    .await
            }
        }
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        let output = sh.job("run", &self.cmd(&self.run)).await?;
        if !output.ok() {
            return Err(ended(&self.run, &output));
        }
        if self.satisfied(sh).await? == Some(false) {
            return Err(
                Failure::dirty("the command succeeded, but its probe still fails")
                    .hint("compare the step's `run` and `probe` in wiab.toml"),
            );
        }
        Ok(Receipt::default())
    }

    async fn undo(&self, sh: Shell<'_>, (): &()) -> Result<(), Failure> {
        let Some(argv) = &self.undo else {
            return Ok(());
        };
        settle_forward(sh, "run", Settle::Wait(self.timeout_ms)).await?;
        match job_state(sh, sh.cx.attempt, "undo").await? {
            JobState::Exited(0) => return Ok(()),
            JobState::Exited(_) | JobState::Lost => {
                let forgotten = sh.host.job_forget(&job_of(sh, sh.cx.attempt, "undo")).await;
                forgotten.map_err(|error| Failure::unknown(error.to_string()).retry())?;
            }
            JobState::Absent | JobState::Running => {}
        }
        let output = sh.job("undo", &self.cmd(argv)).await?;
        if output.ok() {
            Ok(())
        } else {
            Err(ended(argv, &output))
        }
    }
}
