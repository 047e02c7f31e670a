//! Detached jobs, and containers without a client: commands that go on in virtual time whether wiab lives or not.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use wiab_engine::ports::{Cancel, Clock as _};

use super::cmd::{self, Reply};
use super::container::{self, Container};
use super::entity::{Job, JobEnd};
use super::fault::Action;
use super::perform::{FOR_EVER_MS, Op, lines_of};
use super::state::{Change, Draft, Entity as _, Machine};
use super::{Inner, SimHost};
use crate::host::{Cmd, HostError, JobId, JobState, LineSink, Output};

/// Something that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pending {
    Job(String),
    Container(String),
}

/// What runs, with the time at which each ends. Kept beside the machine, since most jobs have ended.
#[derive(Debug, Default)]
pub(super) struct Running(BTreeMap<Pending, u64>);

impl Running {
    /// Those of a machine.
    pub(super) fn of(machine: &Machine) -> Self {
        let mut running = Self::default();
        for (name, job) in machine.list::<Job>() {
            running.note(Pending::Job(name), job_end(&job));
        }
        for (name, container) in machine.list::<Container>() {
            running.note(Pending::Container(name), container_end(&container));
        }
        running
    }

    fn note(&mut self, what: Pending, ends_ms: Option<u64>) {
        match ends_ms {
            Some(ends_ms) => drop(self.0.insert(what, ends_ms)),
            None => drop(self.0.remove(&what)),
        }
    }

    /// Follows changes of the machine.
    pub(super) fn follow(&mut self, changes: &[Change]) {
        for Change(key, value) in changes {
            let value = value.as_ref();
            match key.split_once(':') {
                Some((Job::KIND, name)) => {
                    let job = value.and_then(|value| Job::deserialize(value).ok());
                    self.note(
                        Pending::Job(name.to_owned()),
                        job.as_ref().and_then(job_end),
                    );
                }
                Some((Container::KIND, name)) => {
                    let container = value.and_then(|value| Container::deserialize(value).ok());
                    let ends_ms = container.as_ref().and_then(container_end);
                    self.note(Pending::Container(name.to_owned()), ends_ms);
                }
                _ => {}
            }
        }
    }

    /// What ends first, if it ends by `now_ms`, and when.
    fn due(&self, now_ms: u64) -> Option<(Pending, u64)> {
        let (what, ends_ms) = self.0.iter().min_by_key(|(_, ends_ms)| **ends_ms)?;
        (*ends_ms <= now_ms).then(|| (what.clone(), *ends_ms))
    }
}

fn job_end(job: &Job) -> Option<u64> {
    (job.end == JobEnd::Running).then_some(job.ends_ms)
}

fn container_end(container: &Container) -> Option<u64> {
    container.is_alone().then_some(container.ends_ms)
}

impl Inner {
    /// Brings the machine to `now_ms`; jobs that are due end, in the order of their time.
    pub(super) fn pass_time(&mut self, now_ms: u64) {
        while let Some((what, ends_ms)) = self.running.due(now_ms).filter(|_| !self.copy) {
            self.machine.now_ms = self.machine.now_ms.max(ends_ms);
            let changes = match &what {
                Pending::Container(name) => container::ended(&self.machine, name).0,
                Pending::Job(name) => match self.machine.get::<Job>(name) {
                    Some(job) => self.end_of(name, job, false),
                    None => Vec::new(),
                },
            };
            if changes.is_empty() {
                self.running = Running::of(&self.machine);
                continue;
            }
            if self.commit(&changes).is_err() {
                // The store's failure shows at the next operation of wiab itself; the job is due again then.
                break;
            }
        }
        self.machine.now_ms = self.machine.now_ms.max(now_ms);
    }

    /// The changes with which a job ends: its command's effect and its exit code, or, killed, a part of the effect.
    fn end_of(&self, name: &str, mut job: Job, killed: bool) -> Vec<Change> {
        if let Some(container) = container::of_job(&self.machine, name, &job) {
            return self.end_of_client(name, job, &container, killed);
        }
        let mut draft = Draft::ending(&self.machine);
        let reply = cmd::dispatch(&mut draft, &job.cmd).unwrap_or_else(|error| match error {
            HostError::NoProgram { program } => {
                Reply::fail(127, format!("sh: 1: exec: {program}: not found\n"))
            }
            other => Reply::fail(126, format!("{other}\n")),
        });
        let (mut changes, half) = draft.finish();
        let half = half.unwrap_or_default();
        job.end = match (&job.fault, killed) {
            (Some(Action::Half), _) | (_, true) => {
                changes = half;
                JobEnd::Lost
            }
            (Some(Action::LostAfter), false) => JobEnd::Lost,
            (Some(Action::DiskFull), false) => {
                changes = half;
                JobEnd::Exited(log_of(Reply::fail(1, "No space left on device\n")))
            }
            (Some(Action::Fail { code, stderr }), false) => {
                changes = Vec::new();
                JobEnd::Exited(log_of(Reply::fail(*code, format!("{stderr}\n"))))
            }
            _ => JobEnd::Exited(log_of(reply)),
        };
        let mut last = Draft::new(&self.machine);
        last.put(name, &job);
        changes.extend(last.finish().0);
        changes
    }

    /// The same for a job that is a container's client: killed, it leaves the container running.
    fn end_of_client(
        &self,
        name: &str,
        mut job: Job,
        container: &str,
        killed: bool,
    ) -> Vec<Change> {
        let mut changes;
        job.end = match (&job.fault, killed) {
            (Some(Action::Half), _) | (_, true) => {
                changes = container::orphaned(&self.machine, container);
                JobEnd::Lost
            }
            (fault, false) => {
                let lost = *fault == Some(Action::LostAfter);
                let (all, reply) = container::ended(&self.machine, container);
                changes = all;
                if lost {
                    JobEnd::Lost
                } else {
                    JobEnd::Exited(log_of(reply))
                }
            }
        };
        let mut last = Draft::new(&self.machine);
        last.put(name, &job);
        changes.extend(last.finish().0);
        changes
    }
}

/// A job's log holds both streams.
fn log_of(reply: Reply) -> Output {
    let mut stdout = reply.stdout;
    stdout.extend_from_slice(&reply.stderr);
    Output {
        code: reply.code,
        stdout,
        stderr: Vec::new(),
    }
}

impl SimHost {
    pub(super) async fn start_job(&self, id: &JobId, command: &Cmd) -> Result<(), HostError> {
        let name = id.dir_name();
        let known = self.lock().machine.get::<Job>(&name).is_some();
        let fault = if known {
            None
        } else {
            self.armed.hit(|| command.argv.join(" "))
        };
        if fault == Some(Action::LostBefore) {
            return Err(HostError::Unreachable {
                why: "connection refused (injected)".to_owned(),
            });
        }
        let handler = |draft: &mut Draft<'_>| {
            if !draft.has::<Job>(&name) {
                // A missing program is the job's own failure, as in the real wrapper.
                let (took_ms, begun) = draft
                    .foresee(command)
                    .map_or((1, Vec::new()), |(reply, begun)| (reply.took_ms, begun));
                if !matches!(fault, Some(Action::Fail { .. })) {
                    draft.absorb(begun);
                }
                let took_ms = match &fault {
                    Some(Action::Hang) => FOR_EVER_MS,
                    Some(Action::Slow { ms }) => took_ms.saturating_add(*ms),
                    _ => took_ms,
                };
                // The client of a container that is killed half-way leaves it running.
                let half = fault == Some(Action::Half) && container::named(command).is_some();
                let ends_ms = if half { took_ms / 2 } else { took_ms };
                let job = Job {
                    cmd: command.clone(),
                    ends_ms: draft.now_ms().saturating_add(ends_ms),
                    fault: fault.clone(),
                    end: JobEnd::Running,
                };
                container::begin(draft, &job, &name, took_ms);
                draft.put(&name, &job);
            }
            Ok(Reply::ok("").took(1))
        };
        self.perform(&Op {
            what: &|| format!("job-start {name} {}", command.argv.join(" ")),
            handler: &handler,
            path: None,
            timeout_ms: command.timeout_ms,
            cancel: None,
            line: None,
        })
        .await
        .map(drop)
    }

    pub(super) async fn state_of_job(&self, id: &JobId) -> Result<JobState, HostError> {
        let name = id.dir_name();
        self.touch_job("job-state", &name).await?;
        let job = self.lock().machine.get::<Job>(&name);
        Ok(match job.map(|job| job.end) {
            None => JobState::Absent,
            Some(JobEnd::Running) => JobState::Running,
            Some(JobEnd::Exited(output)) => JobState::Exited(output.code),
            Some(JobEnd::Lost) => JobState::Lost,
        })
    }

    /// A point in the life of wiab at which it looks at a job.
    async fn touch_job(&self, verb: &str, name: &str) -> Result<(), HostError> {
        self.perform(&Op {
            what: &|| format!("{verb} {name}"),
            handler: &|_| Ok(Reply::ok("")),
            path: None,
            timeout_ms: FOR_EVER_MS,
            cancel: None,
            line: None,
        })
        .await?;
        Ok(())
    }

    pub(super) async fn wait_for_job(
        &self,
        id: &JobId,
        from: u64,
        timeout_ms: u64,
        cancel: &Cancel,
        line: LineSink<'_>,
    ) -> Result<Output, HostError> {
        let name = id.dir_name();
        self.touch_job("job-wait", &name).await?;
        let deadline_ms = self.clock.mono_ms().saturating_add(timeout_ms);
        loop {
            let (job, now_ms) = {
                let inner = self.lock();
                (inner.machine.get::<Job>(&name), inner.machine.now_ms)
            };
            let ends_ms = match job {
                None => return Err(lost("no such job was started")),
                Some(job) => match job.end {
                    JobEnd::Lost => return Err(lost("the job ended without an exit code")),
                    JobEnd::Exited(output) => {
                        let from = usize::try_from(from).unwrap_or(usize::MAX);
                        let news = output.stdout.get(from..).unwrap_or_default();
                        for text in lines_of(news) {
                            line(&text);
                        }
                        return Ok(output);
                    }
                    JobEnd::Running => job.ends_ms,
                },
            };
            if now_ms >= ends_ms {
                return Err(lost("the job's end cannot be recorded"));
            }
            if now_ms >= deadline_ms {
                self.kill_job(&name)?;
                return Err(HostError::TimedOut {
                    after_ms: timeout_ms,
                });
            }
            let wait_ms = ends_ms.min(deadline_ms).saturating_sub(now_ms).max(1);
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.kill_job(&name)?;
                    return Err(HostError::Cancelled);
                }
                () = self.clock.sleep(wait_ms) => {}
            }
            self.stay_dead().await;
        }
    }

    /// Kills a running job's session.
    fn kill_job(&self, name: &str) -> Result<(), HostError> {
        let mut inner = self.lock();
        let running = inner
            .machine
            .get::<Job>(name)
            .filter(|job| job.end == JobEnd::Running);
        let Some(job) = running else {
            return Ok(());
        };
        let changes = inner.end_of(name, job, true);
        inner.commit(&changes)
    }

    pub(super) async fn forget_job(&self, id: &JobId) -> Result<(), HostError> {
        let name = id.dir_name();
        let handler = |draft: &mut Draft<'_>| {
            if draft
                .get::<Job>(&name)
                .is_some_and(|job| job.end == JobEnd::Running)
            {
                return Err(HostError::Denied {
                    why: format!("job {name} still runs"),
                });
            }
            draft.del::<Job>(&name);
            Ok(Reply::ok(""))
        };
        self.perform(&Op {
            what: &|| format!("job-forget {name}"),
            handler: &handler,
            path: None,
            timeout_ms: FOR_EVER_MS,
            cancel: None,
            line: None,
        })
        .await?;
        Ok(())
    }
}

fn lost(why: &str) -> HostError {
    HostError::LostMidway {
        why: why.to_owned(),
    }
}
