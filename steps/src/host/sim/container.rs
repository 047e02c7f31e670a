//! Containers with a name: they go on in virtual time whether their docker client lives or not.

use serde::{Deserialize, Serialize};

use super::cmd::{self, Reply};
use super::entity::{Job, JobEnd};
use super::fault::Action;
use super::state::{Change, Draft, Entity, Machine};
use crate::host::{Cmd, Output};

/// How long after a container's end a client that was attached may still get its answer.
const ANSWER_MS: u64 = 30_000;

/// A container that was started with a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// The `docker run` that made it.
    pub(crate) cmd: Cmd,
    pub(crate) ends_ms: u64,
    pub(crate) fault: Option<Action>,
    /// The job whose client is attached.
    pub(crate) client: Option<String>,
    /// How it ended.
    pub(crate) end: Option<Ended>,
    /// Whether it goes when it ends.
    pub(crate) rm: bool,
}

impl Entity for Container {
    const KIND: &'static str = "container";
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) at_ms: u64,
    pub(crate) output: Output,
}

impl Container {
    /// Whether docker still knows it.
    pub(crate) fn is_there(&self) -> bool {
        self.end.is_none() || !self.rm
    }

    /// Whether a client that was attached at its end may still be waiting for the answer.
    pub(crate) fn answers(&self, now_ms: u64) -> bool {
        let fresh = |end: &Ended| now_ms.saturating_sub(end.at_ms) <= ANSWER_MS;
        self.is_there() || self.end.as_ref().is_some_and(fresh)
    }

    /// Whether it runs and no job of the machine ends with it.
    pub(super) fn is_alone(&self) -> bool {
        self.end.is_none() && self.client.is_none()
    }
}

/// Whether a command starts a container with a name; its name, and whether it goes with its end.
pub(super) fn named(cmd: &Cmd) -> Option<(String, bool)> {
    let words: Vec<&str> = cmd.argv.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["docker", "run", rest @ ..] => cmd::container_named(rest),
        _ => None,
    }
}

/// The container that begins with a job, unless docker refuses it.
pub(super) fn begin(draft: &mut Draft<'_>, job: &Job, job_name: &str, took_ms: u64) {
    let foreseen = draft.foresee(&job.cmd);
    let Some((name, rm)) =
        named(&job.cmd).filter(|_| foreseen.is_some_and(|(reply, _)| reply.code != 125))
    else {
        return;
    };
    let container = Container {
        cmd: job.cmd.clone(),
        ends_ms: draft.now_ms().saturating_add(took_ms),
        fault: job.fault.clone(),
        client: Some(job_name.to_owned()),
        end: None,
        rm,
    };
    draft.put(&name, &container);
}

/// The container whose client a job is.
pub(super) fn of_job(machine: &Machine, job_name: &str, job: &Job) -> Option<String> {
    let (name, _) = named(&job.cmd)?;
    let container = machine.get::<Container>(&name)?;
    let attached = container.end.is_none() && container.client.as_deref() == Some(job_name);
    attached.then_some(name)
}

/// The changes with which a container's client is killed: it goes on alone.
pub(super) fn orphaned(machine: &Machine, name: &str) -> Vec<Change> {
    let mut draft = Draft::new(machine);
    if let Some(mut container) = draft.get::<Container>(name) {
        container.client = None;
        draft.put(name, &container);
    }
    draft.finish().0
}

/// The changes with which a container ends by itself, and what its client hears.
pub(super) fn ended(machine: &Machine, name: &str) -> (Vec<Change>, Reply) {
    let Some(mut container) = machine.get::<Container>(name) else {
        return (Vec::new(), Reply::default());
    };
    let mut draft = Draft::ending(machine);
    draft.del::<Container>(name);
    let reply = cmd::dispatch(&mut draft, &container.cmd)
        .unwrap_or_else(|error| Reply::fail(126, format!("{error}\n")));
    let (mut changes, half) = draft.finish();
    let reply = match &container.fault {
        Some(Action::Fail { code, stderr }) => {
            changes.truncate(1);
            Reply::fail(*code, format!("{stderr}\n"))
        }
        Some(Action::DiskFull) => {
            changes = half.unwrap_or_default();
            Reply::fail(1, "No space left on device\n")
        }
        _ => reply,
    };
    container.end = Some(Ended {
        at_ms: machine.now_ms,
        output: reply.clone().output(),
    });
    let mut last = Draft::new(machine);
    last.put(name, &container);
    changes.extend(last.finish().0);
    (changes, reply)
}

/// Stops a running container from outside: a part of its effect stays, and its client hears `code`.
pub(crate) fn stop(draft: &mut Draft<'_>, name: &str, code: i32) {
    let Some(mut container) = draft.get::<Container>(name) else {
        return;
    };
    if container.end.is_some() {
        return;
    }
    let mut inner = Draft::ending(draft.base());
    inner.del::<Container>(name);
    // A program that is missing has no effect.
    let _ = cmd::dispatch(&mut inner, &container.cmd);
    draft.absorb(inner.finish().1.unwrap_or_default());
    let output = Output {
        code,
        ..Output::default()
    };
    let client = container.client.take();
    if let Some((job_name, mut job)) =
        client.and_then(|name| draft.get::<Job>(&name).map(|job| (name, job)))
    {
        job.end = JobEnd::Exited(output.clone());
        draft.put(&job_name, &job);
    }
    container.end = Some(Ended {
        at_ms: draft.now_ms(),
        output,
    });
    draft.put(name, &container);
}

/// What a running container will have said when it has ended by itself.
pub(crate) fn foresee(draft: &Draft<'_>, name: &str, container: &Container) -> Output {
    let mut scratch = Draft::ending(draft.base());
    scratch.del::<Container>(name);
    let reply = cmd::dispatch(&mut scratch, &container.cmd);
    reply.map_or_else(
        |error| Reply::fail(126, format!("{error}\n")).output(),
        Reply::output,
    )
}
