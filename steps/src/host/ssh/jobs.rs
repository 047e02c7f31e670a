//! Detached jobs of the machine: the same directories and the same wrapper as everywhere, watched by the helper.

use tokio::time::Instant;
use wiab_engine::ports::Cancel;

use super::SshHost;
use super::exec::{SENDS_MAX, lost};
use super::files::EACCES;
use super::helper::Answer;
use crate::host::capture::Capture;
use crate::host::job::{claimed, wrapped};
use crate::host::local::pause;
use crate::host::{Cmd, HostError, JobId, JobState, LineSink, OUTPUT_BYTES_MAX, Output};

/// Where jobs live, below the home of the user who logs in. It vanishes with the last job.
const JOB_TOP: &str = ".wiab";

/// Most bytes of a log in one answer; a longer rest comes with the next one.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// How long the end of a killed job may take to be heard.
const END_MS: u64 = 40_000;

fn state_of(text: &str) -> JobState {
    match text {
        "absent" => JobState::Absent,
        "running" => JobState::Running,
        code => code.parse().map_or(JobState::Lost, JobState::Exited),
    }
}

/// What is heard of a job's log.
struct Log<'a> {
    dir: &'a str,
    at: u64,
    capture: Capture,
}

impl Log<'_> {
    /// Takes a piece; where the job stands, unless there may be more to hear.
    fn take(&mut self, answer: &Answer, line: LineSink<'_>) -> Option<JobState> {
        let bytes = answer.fields.get(1).map(Vec::as_slice).unwrap_or_default();
        self.at += bytes.len() as u64;
        self.capture.push(bytes, line);
        let state = state_of(&answer.text(0));
        (state != JobState::Running && bytes.len() < PIECE_BYTES_MAX).then_some(state)
    }
}

/// What ended a wait.
enum End {
    State(JobState),
    Error(HostError),
}

impl SshHost {
    /// The job's directory, and the one that all jobs lie in.
    async fn job_dir(&self, id: &JobId) -> Result<(String, String), HostError> {
        let link = self.links.link().await?;
        let top = format!("{}/{JOB_TOP}", link.user().hello.home.trim_end_matches('/'));
        Ok((format!("{top}/jobs/{}", id.dir_name()), top))
    }

    pub(super) async fn start_job(&self, id: &JobId, cmd: &Cmd) -> Result<(), HostError> {
        let (dir, _) = self.job_dir(id).await?;
        let wrapped = wrapped(&dir, cmd);
        for _ in 0..SENDS_MAX {
            let made = self
                .ask_file(&dir, false, &[b"jobdir", dir.as_bytes()])
                .await?;
            if state_of(&made.text(0)) != JobState::Absent {
                return Ok(());
            }
            match self.execute(&wrapped, &Cancel::default(), &|_| {}).await {
                Ok(output) => return claimed(&output),
                // Whether it was claimed can be seen, and a second wrapper would find the claim.
                Err(HostError::LostMidway { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(lost())
    }

    pub(super) async fn state_of_job(&self, id: &JobId) -> Result<JobState, HostError> {
        let (dir, _) = self.job_dir(id).await?;
        let answer = self
            .ask_file(&dir, false, &[b"state", dir.as_bytes()])
            .await?;
        Ok(state_of(&answer.text(0)))
    }

    pub(super) async fn wait_for_job(
        &self,
        id: &JobId,
        from: u64,
        timeout_ms: u64,
        cancel: &Cancel,
        line: LineSink<'_>,
    ) -> Result<Output, HostError> {
        let (dir, _) = self.job_dir(id).await.map_err(unknown)?;
        let mut log = Log {
            dir: &dir,
            at: from,
            capture: Capture::default(),
        };
        self.heard_before(&mut log).await.map_err(unknown)?;
        let end = tokio::select! {
            // A job that has ended is heard of even when it is too late to stop it.
            biased;
            end = self.follow(&mut log, line) => end,
            () = cancel.cancelled() => End::Error(HostError::Cancelled),
            () = self.limit(timeout_ms) => End::Error(HostError::TimedOut { after_ms: timeout_ms }),
        };
        let state = match end {
            End::State(state) => state,
            End::Error(error) => {
                self.kill_job(&dir).await?;
                tokio::select! {
                    _ = self.follow(&mut log, line) => {}
                    () = pause(END_MS) => {}
                }
                log.capture.flush(line);
                return Err(error);
            }
        };
        log.capture.flush(line);
        match state {
            JobState::Exited(code) => Ok(Output {
                code,
                stdout: log.capture.into_bytes(),
                stderr: Vec::new(),
            }),
            JobState::Absent => Err(HostError::LostMidway {
                why: "no such job was started".to_owned(),
            }),
            JobState::Lost | JobState::Running => Err(HostError::LostMidway {
                why: "the job ended without an exit code".to_owned(),
            }),
        }
    }

    async fn limit(&self, timeout_ms: u64) {
        let until = Instant::now() + std::time::Duration::from_millis(timeout_ms);
        tokio::time::sleep_until(until).await;
    }

    /// Follows a log to the end of its job, over as many connections as it takes.
    async fn follow(&self, log: &mut Log<'_>, line: LineSink<'_>) -> End {
        loop {
            let at = log.at.to_string();
            let fields: [&[u8]; 3] = [b"follow", log.dir.as_bytes(), at.as_bytes()];
            match self.ask(false, &fields).await {
                Ok(answer) => {
                    if let Some(state) = log.take(&answer, line) {
                        return End::State(state);
                    }
                }
                Err(error) => return End::Error(unknown(error)),
            }
        }
    }

    /// What the log holds before the place to follow it from: for the whole output, not for the lines.
    async fn heard_before(&self, log: &mut Log<'_>) -> Result<(), HostError> {
        let half = (OUTPUT_BYTES_MAX / 2) as u64;
        let head = log.at.min(half);
        let tail = (log.at - head).min(half);
        for (from, most) in [(0, head), (log.at - tail, tail)] {
            if from > 0 {
                log.capture.skip(log.at - head - tail);
            }
            if most > 0 {
                let (path, from, most) = (
                    format!("{}/log", log.dir),
                    from.to_string(),
                    most.to_string(),
                );
                let fields: [&[u8]; 4] =
                    [b"read", path.as_bytes(), from.as_bytes(), most.as_bytes()];
                let answer = self.ask_file(&path, false, &fields).await?;
                let bytes = answer.fields.get(1).map(Vec::as_slice).unwrap_or_default();
                log.capture.push(bytes, &|_| {});
            }
        }
        log.capture.flush(&|_| {});
        Ok(())
    }

    /// Ends everything in the job's session; root's processes through the helper of root.
    async fn kill_job(&self, dir: &str) -> Result<(), HostError> {
        let grace = self.grace_ms.to_string();
        let fields: [&[u8]; 3] = [b"jobkill", dir.as_bytes(), grace.as_bytes()];
        let first = self.ask(false, &fields).await.map_err(unknown)?;
        if first.number(0) == EACCES {
            self.ask(true, &fields).await.map_err(unknown)?;
        }
        Ok(())
    }

    pub(super) async fn forget_job(&self, id: &JobId) -> Result<(), HostError> {
        let (dir, top) = self.job_dir(id).await?;
        let fields: [&[u8]; 3] = [b"forget", dir.as_bytes(), top.as_bytes()];
        let answer = self.ask_file(&dir, false, &fields).await?;
        if state_of(&answer.text(0)) == JobState::Running {
            return Err(HostError::Denied {
                why: format!("job {id} still runs"),
            });
        }
        Ok(())
    }
}

/// A job was started: when the machine is away, nobody knows what became of it.
fn unknown(error: HostError) -> HostError {
    match error {
        HostError::Unreachable { why } | HostError::Barred { why, .. } => {
            HostError::LostMidway { why }
        }
        error => error,
    }
}
