//! Detached jobs of earlier attempts: nothing is touched while one of them still runs.

use wiab_engine::outcome::Failure;
use wiab_engine::ports::Cancel;

use crate::host::shell::Shell;
use crate::host::{HostError, JobId, JobState, Output};

/// What becomes of a job that still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settle {
    /// It is waited for, at most this many milliseconds.
    Wait(u64),
    /// Its session is killed.
    Kill,
}

/// The job of one attempt.
pub(super) fn job_of(sh: Shell<'_>, attempt: u32, label: &str) -> JobId {
    JobId::new(sh.cx.run, &sh.cx.step, attempt, label)
}

/// Where the job of one attempt stands.
pub(super) async fn job_state(
    sh: Shell<'_>,
    attempt: u32,
    label: &str,
) -> Result<JobState, Failure> {
    let state = sh.host.job_state(&job_of(sh, attempt, label)).await;
    state.map_err(|error| Failure::unknown(error.to_string()).retry())
}

/// Brings the jobs of the attempts 1 to `last` to rest.
async fn settle(sh: Shell<'_>, last: u32, label: &str, how: Settle) -> Result<(), Failure> {
    for attempt in 1..=last {
        if job_state(sh, attempt, label).await? != JobState::Running {
            continue;
        }
        let (cancel, timeout_ms) = match how {
            Settle::Wait(timeout_ms) => (sh.cx.cancel.clone(), timeout_ms),
            Settle::Kill => {
                let cancel = Cancel::default();
                cancel.cancel();
                (cancel, 0)
            }
        };
        let id = job_of(sh, attempt, label);
        let ended = sh.host.job_wait(&id, 0, timeout_ms, &cancel, &|_| {}).await;
        match ended {
            Ok(_) | Err(HostError::LostMidway { .. }) => {}
            Err(HostError::Cancelled | HostError::TimedOut { .. }) if how == Settle::Kill => {}
            Err(error) => return Err(Failure::unknown(error.to_string()).retry()),
        }
    }
    Ok(())
}

/// Before an attempt starts its own job: those of earlier attempts have ended.
pub(super) async fn settle_earlier(sh: Shell<'_>, label: &str, how: Settle) -> Result<(), Failure> {
    settle(sh, sh.cx.attempt.saturating_sub(1), label, how).await
}

/// Before undo touches anything: the jobs of all forward attempts have ended. What they left is nothing to go by any more,
/// and is forgotten.
pub(super) async fn settle_forward(sh: Shell<'_>, label: &str, how: Settle) -> Result<(), Failure> {
    settle(sh, sh.cx.forward_attempt, label, how).await?;
    for attempt in 1..=sh.cx.forward_attempt {
        let forgotten = sh.host.job_forget(&job_of(sh, attempt, label)).await;
        forgotten.map_err(|error| Failure::dirty(error.to_string()).retry())?;
    }
    Ok(())
}

/// The last line that a job said; its log holds both streams.
pub(super) fn last_line(output: &Output) -> String {
    let (out, err) = (output.text(), output.error_text());
    let mut lines = out.lines().chain(err.lines());
    let last = lines.rfind(|line| !line.trim().is_empty());
    last.unwrap_or("it said nothing").to_owned()
}
