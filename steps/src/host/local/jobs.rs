//! Detached jobs of this machine: how their directories (`host::job`) are made, watched and removed.

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use wiab_engine::ports::Cancel;

use super::super::capture::Capture;
use super::super::job::{CLAIM_MS, claimed, wrapped};
use super::super::{Cmd, HostError, JobId, JobState, LineSink, Output};
use super::LocalHost;
use super::clock::pause;
use super::process::{Target, boot_id, look, program, session};

/// How long the wrapper may take to note the end of a killed command: it syncs.
const NOTE_MS: u64 = 10_000;

/// Time between two looks at a running job, first and last.
const POLL_MS: (u64, u64) = (10, 250);

fn failure(path: &Path, why: impl std::fmt::Display) -> HostError {
    HostError::File {
        path: path.to_string_lossy().into_owned(),
        why: why.to_string(),
    }
}

fn lost(why: impl Into<String>) -> HostError {
    HostError::LostMidway { why: why.into() }
}

/// The claim of a job.
struct Claim {
    pid: i32,
    start: u64,
    boot: String,
}

fn claim_of(dir: &Path) -> Option<Claim> {
    let text = fs_err::read_to_string(dir.join("pid")).ok()?;
    let mut fields = text.split_whitespace();
    Some(Claim {
        pid: fields.next()?.parse().ok()?,
        start: fields.next()?.parse().ok()?,
        boot: fields.next()?.to_owned(),
    })
}

fn exit_of(dir: &Path) -> Option<i32> {
    let text = fs_err::read_to_string(dir.join("exit")).ok()?;
    text.trim().parse().ok()
}

impl Claim {
    /// Whether any process of the job's session lives; its first one, the wrapper, may be gone.
    fn lives(&self) -> bool {
        if boot_id() != self.boot {
            return false;
        }
        match look(self.pid) {
            Some(seen) if seen.start == self.start && !seen.zombie => true,
            // The number is another process's now, which cannot be while the session has members.
            Some(seen) if seen.start != self.start => false,
            Some(_) | None => !session(self.pid).is_empty(),
        }
    }

    /// Living processes of the session that belong to the command: not the wrapper, nor what it notes the exit code with.
    fn command(&self, dir: &Path) -> Vec<i32> {
        let mut pids = session(self.pid);
        // Asked after the look: before the note is begun, the wrapper has no other child than the command. The note is
        // renamed, so the second question comes after the first.
        let noting = dir.join(format!("exit.{}", self.pid)).exists() || dir.join("exit").exists();
        let notes = |pid: i32| look(pid).is_none_or(|seen| seen.parent == self.pid);
        pids.retain(|pid| *pid != self.pid && !(noting && notes(*pid)));
        pids
    }
}

impl LocalHost {
    fn job_dir(&self, id: &JobId) -> PathBuf {
        self.job_root.join(id.dir_name())
    }

    pub(super) async fn start_job(&self, id: &JobId, cmd: &Cmd) -> Result<(), HostError> {
        let dir = self.job_dir(id);
        if dir.join("pid").exists() {
            return Ok(());
        }
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir);
        made.map_err(|error| failure(&dir, error))?;
        let wrapped = wrapped(&dir.to_string_lossy(), cmd);
        let output = self
            .execute(&wrapped, &Cancel::default(), &|_| {}, CLAIM_MS)
            .await?;
        claimed(&output)
    }

    pub(super) fn state_of_job(&self, id: &JobId) -> JobState {
        let dir = self.job_dir(id);
        let Some(claim) = claim_of(&dir) else {
            return JobState::Absent;
        };
        // Asked twice: it may end between the two questions.
        let alive = exit_of(&dir).is_none() && claim.lives();
        match exit_of(&dir) {
            Some(code) => JobState::Exited(code),
            None if alive => JobState::Running,
            None => JobState::Lost,
        }
    }

    pub(super) async fn wait_for_job(
        &self,
        id: &JobId,
        from: u64,
        timeout_ms: u64,
        cancel: &Cancel,
        line: LineSink<'_>,
    ) -> Result<Output, HostError> {
        let dir = self.job_dir(id);
        let begun = tokio::time::Instant::now();
        let mut tail = Tail {
            path: dir.join("log"),
            at: from,
            capture: Capture::default(),
        };
        let mut poll_ms = POLL_MS.0;
        loop {
            let state = self.state_of_job(id);
            tail.read(line)?;
            match state {
                JobState::Absent => return Err(lost("no such job was started")),
                JobState::Lost => {
                    tail.capture.flush(line);
                    return Err(lost("the job ended without an exit code"));
                }
                JobState::Exited(code) => {
                    tail.capture.flush(line);
                    return whole(&dir, code);
                }
                JobState::Running => {}
            }
            let left_ms = timeout_ms
                .saturating_sub(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
            if left_ms == 0 {
                self.kill_job(&dir).await;
                tail.finish(line)?;
                return Err(HostError::TimedOut {
                    after_ms: timeout_ms,
                });
            }
            tokio::select! {
                () = cancel.cancelled() => {
                    self.kill_job(&dir).await;
                    tail.finish(line)?;
                    return Err(HostError::Cancelled);
                }
                () = pause(poll_ms.min(left_ms)) => poll_ms = (poll_ms * 2).min(POLL_MS.1),
            }
        }
    }

    /// Ends everything in the job's session, whoever is left of it: TERM, some time, KILL. The wrapper is the last.
    ///
    /// The session is looked at again and again: the wrapper may start the command, and the command another one, between a
    /// look and the signal.
    async fn kill_job(&self, dir: &Path) {
        let Some(claim) = claim_of(dir).filter(Claim::lives) else {
            return;
        };
        let mut told = BTreeSet::new();
        let mut waited_ms = 0;
        while waited_ms < self.grace_ms {
            if session(claim.pid).is_empty() {
                return;
            }
            let mut fresh = claim.command(dir);
            fresh.retain(|pid| told.insert(program(*pid)));
            self.send(&Target::Each(fresh), Signal::TERM).await;
            pause(POLL_MS.0).await;
            waited_ms += POLL_MS.0;
        }
        waited_ms = 0;
        while waited_ms < NOTE_MS && !session(claim.pid).is_empty() {
            let left = claim.command(dir);
            self.send(&Target::Each(left), Signal::KILL).await;
            pause(POLL_MS.0).await;
            waited_ms += POLL_MS.0;
        }
        self.send(&Target::Each(session(claim.pid)), Signal::KILL)
            .await;
        // Killed processes leave `/proc` a moment later.
        gone(NOTE_MS, || session(claim.pid).is_empty()).await;
    }

    pub(super) fn forget_job(&self, id: &JobId) -> Result<(), HostError> {
        let dir = self.job_dir(id);
        if self.state_of_job(id) == JobState::Running {
            return Err(HostError::Denied {
                why: format!("job {id} still runs"),
            });
        }
        match fs_err::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failure(&dir, error)),
            _ => Ok(()),
        }
    }
}

/// Waits until it is so, at most so long.
async fn gone(most_ms: u64, is_so: impl Fn() -> bool) {
    let mut waited_ms = 0;
    while waited_ms < most_ms && !is_so() {
        pause(POLL_MS.0).await;
        waited_ms += POLL_MS.0;
    }
}

/// Follows a growing log.
struct Tail {
    path: PathBuf,
    at: u64,
    capture: Capture,
}

impl Tail {
    /// Reads what a job that has ended left.
    fn finish(&mut self, line: LineSink<'_>) -> Result<(), HostError> {
        self.read(line)?;
        self.capture.flush(line);
        Ok(())
    }

    fn read(&mut self, line: LineSink<'_>) -> Result<(), HostError> {
        let Ok(mut log) = fs_err::File::open(&self.path) else {
            // The claim comes a moment before the log.
            return Ok(());
        };
        log.seek(SeekFrom::Start(self.at))
            .map_err(|error| failure(&self.path, error))?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = log
                .read(&mut buffer)
                .map_err(|error| failure(&self.path, error))?;
            if count == 0 {
                return Ok(());
            }
            self.at += count as u64;
            self.capture
                .push(buffer.get(..count).unwrap_or_default(), line);
        }
    }
}

/// The job's outcome: both streams are in its log.
fn whole(dir: &Path, code: i32) -> Result<Output, HostError> {
    let mut all = Tail {
        path: dir.join("log"),
        at: 0,
        capture: Capture::default(),
    };
    all.read(&|_| {})?;
    Ok(Output {
        code,
        stdout: all.capture.into_bytes(),
        stderr: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::super::super::job::WRAPPER;
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the wrapper alone is tested")]
    fn a_wrapper_that_nobody_listens_to_still_runs_its_command() {
        let dir = tempfile::tempdir().unwrap();
        let mut wrapper = Command::new("sh")
            .args(["-c", WRAPPER, "wiab-job"])
            .arg(dir.path())
            .args(["0", "grep", "^SigIgn", "/proc/self/status"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((wrapper.stdout.take(), wrapper.stderr.take()));
        drop(wrapper.stdin.take());
        assert!(wrapper.wait().unwrap().success());
        assert_eq!(exit_of(dir.path()), Some(0));
        // The command ends by SIGPIPE and SIGTERM like any other.
        let log = fs_err::read_to_string(dir.path().join("log")).unwrap();
        let mask = log.trim().rsplit(['\t', ' ']).next().unwrap();
        let ignored = u64::from_str_radix(mask, 16).unwrap();
        assert_eq!(ignored & (1 << 12 | 1 << 14), 0, "{log}");
    }
}
