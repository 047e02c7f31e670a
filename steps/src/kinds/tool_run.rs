//! Long commands in the tool container: they survive wiab, their lost client and a crash, and never run twice at once.
//!
//! docker's client is a detached job; the container has a name and labels. A client that is killed leaves its container
//! running, so what is looked for before anything is started is the container (ADR 0012).

use std::pin::pin;

use wiab_engine::outcome::Failure;
use wiab_engine::ports::Tick;

use super::jobs::{Settle, job_of, job_state, last_line, settle_forward};
use super::tool::Toolbox;
use crate::host::shell::Shell;
use crate::host::{Cmd, HostError, JobState, LineSink, Output};

/// Code of a failure after which nobody knows how the command ended.
pub(crate) const LOST: &str = "tool.lost";
/// Code of the refusal while a container of another run works on the installation.
pub(crate) const FOREIGN: &str = "tool.foreign";

/// How long a container may take to stop by itself, in seconds; less than the engine's patience.
const STOP_S: &str = "15";
const STOP_MS: u64 = 25_000;
/// How often, and how far apart, a container is asked to stop that is not there yet.
const STOPS_MAX: u32 = 4;
const STOP_AGAIN_MS: u64 = 1_000;
const LABEL_INSTALLATION: &str = "wiab.installation";
const LABEL_RUN: &str = "wiab.run";
const LABEL_STEP: &str = "wiab.step";
const LABEL_COMMAND: &str = "wiab.command";
/// Ends the label of the job that waits for a container without a client.
const WAIT: &str = "-wait";

/// A long command in the tool container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Long<'a> {
    /// Names the command among those of the step.
    pub(crate) label: &'a str,
    /// Program and arguments. Never secrets.
    pub(crate) args: &'a [&'a str],
    /// Its environment inside the container. Never secrets: they would stand in the command line.
    pub(crate) env: &'a [(&'a str, &'a str)],
    /// Longest duration, in milliseconds.
    pub(crate) timeout_ms: u64,
}

/// A running container of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: String,
    run: String,
    step: String,
    command: String,
}

impl Seen {
    /// Whether it runs that command of this step.
    fn is(&self, sh: Shell<'_>, label: &str) -> bool {
        self.run == sh.cx.run.display() && self.step == sh.cx.step.as_str() && self.command == label
    }
}

/// Where the command of a step stands.
enum Stand {
    /// A job of this attempt or an earlier one runs, or has ended and this attempt was cut off: attempt number.
    Job(u32),
    /// A container without a client.
    Alone(String),
    Nothing,
}

/// Runs a long command, or attaches to the one that an earlier attempt has begun; its lines go to the progress stream. Any
/// exit code is an answer.
pub(crate) async fn tool_run(
    sh: Shell<'_>,
    toolbox: &Toolbox,
    long: &Long<'_>,
) -> Result<Output, Failure> {
    let line = |text: &str| sh.cx.progress.tick(Tick::Line(text.to_owned()));
    toolbox.follow(sh, long, &line).await
}

impl Toolbox {
    /// The same as [`tool_run`], with the lines handed to `line`.
    pub(crate) async fn follow(
        &self,
        sh: Shell<'_>,
        long: &Long<'_>,
        line: LineSink<'_>,
    ) -> Result<Output, Failure> {
        match self.stand(sh, long.label).await? {
            Stand::Job(attempt) => attached(sh, self, attempt, long, line).await,
            Stand::Alone(name) => alone(sh, &name, long, line).await,
            Stand::Nothing => {
                let attempt = sh.cx.attempt;
                if job_state(sh, attempt, long.label).await? == JobState::Lost {
                    sh.job_forget(long.label).await?;
                }
                attached(sh, self, attempt, long, line).await
            }
        }
    }

    /// Whether a command of this step is under way, or has ended unheard.
    pub(crate) async fn under_way(&self, sh: Shell<'_>, label: &str) -> Result<bool, Failure> {
        let stand = self.stand(sh, label).await?;
        Ok(!matches!(stand, Stand::Nothing))
    }

    /// Before undo touches anything: no command of this step runs any more.
    pub(crate) async fn settle(&self, sh: Shell<'_>, label: &str) -> Result<(), Failure> {
        for seen in self.containers(sh).await? {
            if seen.is(sh, label) {
                stop(sh, &seen.name).await?;
            }
        }
        settle_forward(sh, label, Settle::Kill).await
    }

    async fn stand(&self, sh: Shell<'_>, label: &str) -> Result<Stand, Failure> {
        let (run, containers) = (sh.cx.run.display(), self.containers(sh).await?);
        if let Some(other) = containers.iter().find(|seen| seen.run != run) {
            return Err(foreign(other));
        }
        for attempt in (1..=sh.cx.attempt).rev() {
            match job_state(sh, attempt, label).await? {
                JobState::Running => return Ok(Stand::Job(attempt)),
                JobState::Exited(_) if attempt == sh.cx.attempt => return Ok(Stand::Job(attempt)),
                JobState::Exited(_) | JobState::Lost | JobState::Absent => {}
            }
        }
        let mine = containers.into_iter().find(|seen| seen.is(sh, label));
        Ok(mine.map_or(Stand::Nothing, |seen| Stand::Alone(seen.name)))
    }

    /// Running containers of this installation.
    async fn containers(&self, sh: Shell<'_>) -> Result<Vec<Seen>, Failure> {
        let filter = format!("label={LABEL_INSTALLATION}={}", self.deploy);
        let label = |key: &str| format!("{{{{.Label \"{key}\"}}}}");
        let labels = [LABEL_RUN, LABEL_STEP, LABEL_COMMAND].map(label);
        let format = format!("{{{{.Names}}}} {}", labels.join(" "));
        let cmd = Cmd::new([
            "docker",
            "ps",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            &format,
        ]);
        let Some(output) = sh.probe(&cmd.root()).await? else {
            return Ok(Vec::new());
        };
        if !output.ok() {
            return Err(
                Failure::clean(format!("docker does not answer: {}", last_line(&output)))
                    .code("tool.docker")
                    .hint("sudo systemctl start docker; systemctl status docker"),
            );
        }
        let seen = output
            .text()
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ').map(str::to_owned);
                Some(Seen {
                    name: words.next()?,
                    run: words.next()?,
                    step: words.next()?,
                    command: words.next()?,
                })
            })
            .collect();
        Ok(seen)
    }

    /// The name of the container of one attempt. Two installations, steps or commands never share one.
    fn container(&self, sh: Shell<'_>, attempt: u32, label: &str) -> String {
        let step = sh.cx.step.as_str();
        let whole = format!("{}\n{step}\n{label}", self.deploy);
        let hash = blake3::hash(whole.as_bytes()).to_hex();
        let hash: String = hash.chars().take(6).collect();
        let base = self.deploy.trim_end_matches('/').rsplit('/').next();
        let name = format!("wiab-{}-{step}-{attempt}-{hash}", base.unwrap_or_default());
        let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        name.chars()
            .map(|c| if safe(c) { c } else { '-' })
            .collect()
    }

    fn command(&self, sh: Shell<'_>, attempt: u32, long: &Long<'_>) -> Result<Cmd, Failure> {
        let name = self.container(sh, attempt, long.label);
        let labels = [
            format!("{LABEL_INSTALLATION}={}", self.deploy),
            format!("{LABEL_RUN}={}", sh.cx.run.display()),
            format!("{LABEL_STEP}={}", sh.cx.step),
            format!("{LABEL_COMMAND}={}", long.label),
        ];
        let variables: Vec<String> = long
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut options = vec!["--name", name.as_str()];
        options.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
        options.extend(
            variables
                .iter()
                .flat_map(|variable| ["-e", variable.as_str()]),
        );
        let cmd = self.run(&options, long.args)?;
        Ok(cmd.timeout_ms(long.timeout_ms))
    }

    async fn runs(&self, sh: Shell<'_>, name: &str) -> Result<bool, Failure> {
        let containers = self.containers(sh).await?;
        Ok(containers.iter().any(|seen| seen.name == name))
    }
}

/// The command as the job of one attempt, to its end.
async fn attached(
    sh: Shell<'_>,
    toolbox: &Toolbox,
    attempt: u32,
    long: &Long<'_>,
    line: LineSink<'_>,
) -> Result<Output, Failure> {
    let name = toolbox.container(sh, attempt, long.label);
    let cmd = toolbox.command(sh, attempt, long)?;
    let id = job_of(sh, attempt, long.label);
    let mut following = pin!(sh.follow(&id, &cmd, line));
    let done = tokio::select! {
        biased;
        done = &mut following => done,
        () = sh.cx.cancel.cancelled() => {
            // A container that is only just being started is asked again.
            for _ in 0..STOPS_MAX {
                if stop(sh, &name).await? {
                    break;
                }
                tokio::select! {
                    biased;
                    _ = &mut following => break,
                    () = sh.cx.clock.sleep(STOP_AGAIN_MS) => {}
                }
            }
            return Err(Failure::unknown("stopped on request"));
        }
    };
    match done {
        Ok(output) => Ok(output),
        Err(HostError::LostMidway { .. }) if toolbox.runs(sh, &name).await? => {
            alone(sh, &name, long, line).await
        }
        Err(HostError::TimedOut { after_ms }) => {
            stop(sh, &name).await?;
            Err(overdue(after_ms))
        }
        Err(error @ HostError::LostMidway { .. }) => {
            Err(Failure::unknown(error.to_string()).code(LOST).retry())
        }
        Err(error @ HostError::Unreachable { .. }) => {
            Err(Failure::dirty(error.to_string()).retry())
        }
        Err(error) => Err(Failure::unknown(error.to_string())),
    }
}

/// Follows a container whose client is gone. Its exit code is asked for by a job that is there before the container ends.
async fn alone(
    sh: Shell<'_>,
    name: &str,
    long: &Long<'_>,
    line: LineSink<'_>,
) -> Result<Output, Failure> {
    let label = format!("{}{WAIT}", long.label);
    let wait = docker(&["wait", name], long.timeout_ms);
    let id = job_of(sh, sh.cx.attempt, &label);
    let begun = sh.host.job_start(&id, &wait).await;
    begun.map_err(|error| Failure::unknown(error.to_string()).retry())?;
    let logs = docker(&["logs", "--follow", name], long.timeout_ms);
    let said = sh.host.run(&logs, &sh.cx.cancel, line).await;
    let said = match said {
        Ok(output) => output,
        Err(HostError::Cancelled) => {
            stop(sh, name).await?;
            return Err(Failure::unknown("stopped on request"));
        }
        Err(HostError::TimedOut { after_ms }) => {
            stop(sh, name).await?;
            return Err(overdue(after_ms));
        }
        Err(error) => return Err(Failure::unknown(error.to_string()).code(LOST).retry()),
    };
    let waited = sh.follow(&id, &wait, &|_| {}).await;
    // Named by the attempt: a later container of the same attempt is waited for anew.
    let forgotten = sh.job_forget(&label).await;
    let code = waited
        .ok()
        .filter(Output::ok)
        .and_then(|output| output.text().trim().parse().ok());
    forgotten?;
    match code {
        Some(code) => Ok(Output { code, ..said }),
        None => Err(
            Failure::unknown(format!("container {name} has ended, and nobody heard how"))
                .code(LOST)
                .retry(),
        ),
    }
}

/// Stops a container, also when the operator has asked to stop; `false` when there is none.
async fn stop(sh: Shell<'_>, name: &str) -> Result<bool, Failure> {
    let output = sh
        .urgent(&docker(&["stop", "--time", STOP_S, name], STOP_MS))
        .await?;
    if output.ok() {
        return Ok(true);
    }
    if output.error_text().contains("No such container") {
        return Ok(false);
    }
    Err(Failure::unknown(format!(
        "container {name} did not stop: {}",
        last_line(&output)
    ))
    .hint(format!("sudo docker kill {name}")))
}

fn docker(words: &[&str], timeout_ms: u64) -> Cmd {
    let cmd = Cmd::new([&["docker"], words].concat());
    cmd.root().timeout_ms(timeout_ms)
}

fn overdue(after_ms: u64) -> Failure {
    Failure::unknown(format!(
        "no end within {} s; its container was stopped",
        after_ms / 1_000
    ))
}

fn foreign(other: &Seen) -> Failure {
    let Seen {
        name, run, step, ..
    } = other;
    Failure::clean(format!(
        "container {name} of run {run} (step {step}) still works on this installation"
    ))
    .code(FOREIGN)
    .hint(format!(
        "wait for its end: sudo docker wait {name}; or stop it: sudo docker stop {name}; then wiab apply --resume"
    ))
}
