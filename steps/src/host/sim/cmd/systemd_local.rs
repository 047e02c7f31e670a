//! Units whose files stand in `/etc/systemd/system`, and the transient timers of `systemd-run`.

use serde::{Deserialize, Serialize};

use super::super::entity::{Job, JobEnd};
use super::super::files;
use super::super::state::{Draft, Entity};
use super::{Call, Reply, option, options};
use crate::host::Cmd;

/// Where the administrator's units stand.
const DIR: &str = "/etc/systemd/system";

/// What systemd knows about a unit besides its file: nothing when it is neither active nor enabled. Its name is whole:
/// `wiab-firewall.service`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LocalUnit {
    pub(crate) active: bool,
    pub(crate) enabled: bool,
}

impl Entity for LocalUnit {
    const KIND: &'static str = "local-unit";
}

/// The name with its suffix.
fn whole(unit: &str) -> String {
    let suffixed = [".service", ".timer", ".target", ".socket"];
    if suffixed.iter().any(|suffix| unit.ends_with(suffix)) {
        unit.to_owned()
    } else {
        format!("{unit}.service")
    }
}

fn file(draft: &Draft<'_>, name: &str) -> Option<String> {
    let file = files::at(draft, &format!("{DIR}/{name}"))?;
    (!file.dir).then(|| file.text())
}

/// The value of a key in a unit's file.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// A transient timer that has not run out: its job.
fn pending(draft: &Draft<'_>, name: &str) -> Option<String> {
    let job = format!("systemd/{}", name.strip_suffix(".timer")?);
    let running = draft.get::<Job>(&job)?.end == JobEnd::Running;
    running.then_some(job)
}

/// Whether a unit is active and enabled; `None` if no file and no timer is of that name.
pub(super) fn look(draft: &Draft<'_>, unit: &str) -> Option<LocalUnit> {
    let name = whole(unit);
    if pending(draft, &name).is_some() {
        return Some(LocalUnit {
            active: true,
            enabled: false,
        });
    }
    let known = draft.get::<LocalUnit>(&name);
    known.or_else(|| file(draft, &name).map(|_| LocalUnit::default()))
}

/// Does a verb to a unit of this kind; `None` if it is none.
pub(super) fn change(draft: &mut Draft<'_>, verb: &str, unit: &str, now: bool) -> Option<Reply> {
    let name = whole(unit);
    if let Some(job) = pending(draft, &name) {
        if verb == "stop" {
            draft.del::<Job>(&job);
        }
        return Some(Reply::ok("").took(20));
    }
    let mut state = look(draft, unit)?;
    let text = file(draft, &name).unwrap_or_default();
    let starts = matches!(verb, "start" | "restart" | "reload" | "reload-or-restart")
        || (verb == "enable" && now);
    match verb {
        "enable" => state.enabled = true,
        "disable" => (state.enabled, state.active) = (false, state.active && !now),
        "stop" => state.active = false,
        _ => {}
    }
    if starts {
        if let Err(reply) = execute(draft, &text) {
            return Some(reply);
        }
        let stays =
            name.strip_suffix(".timer").is_some() || value(&text, "RemainAfterExit") == Some("yes");
        state.active = stays;
    }
    if state == LocalUnit::default() {
        draft.del::<LocalUnit>(&name);
    } else {
        draft.put(&name, &state);
    }
    Some(Reply::ok("").took(120))
}

/// Runs what a unit starts, in order; a failure after `-` does not count.
fn execute(draft: &mut Draft<'_>, text: &str) -> Result<(), Reply> {
    let lines = text.lines().filter_map(|line| {
        line.strip_prefix("ExecStartPre=")
            .or_else(|| line.strip_prefix("ExecStart="))
    });
    for line in lines {
        let may_fail = line.starts_with('-');
        let words: Vec<&str> = line.trim_start_matches('-').split(' ').collect();
        let reply = super::run(draft, &words, b"", true, &[]);
        if !may_fail && !reply.is_ok_and(|reply| reply.code == 0) {
            let text = "Job failed because the control process exited with error code.\n";
            return Err(Reply::fail(1, text));
        }
    }
    Ok(())
}

/// Starts again what is part of a unit that was restarted.
pub(super) fn restart_parts(draft: &mut Draft<'_>, of: &str) {
    for (name, state) in draft.list::<LocalUnit>() {
        let text = file(draft, &name).unwrap_or_default();
        if state.active && value(&text, "PartOf") == Some(of) {
            // What fails is as it is on a real machine: inactive, and nobody waits for it.
            let _ = execute(draft, &text);
        }
    }
}

/// `systemd-run --on-active=SECONDS --unit=NAME [--collect] PROGRAM…`.
pub(super) fn transient(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let at = call.args.iter().position(|word| !word.starts_with("--"));
    let (before, command) = call.args.split_at(at.unwrap_or(call.args.len()));
    let (flags, _) = options(before, &[]);
    let seconds = option(&flags, &["--on-active"]).and_then(|text| text.parse::<u64>().ok());
    let unit = option(&flags, &["--unit"]).map(|unit| unit.trim_end_matches(".timer"));
    let (Some(seconds), Some(unit), false) = (seconds, unit, command.is_empty()) else {
        return call.complain(1, "only timers with --on-active=SECONDS and --unit=NAME");
    };
    if !call.root {
        return Reply::fail(
            1,
            "Failed to start transient timer unit: Interactive authentication required.\n",
        )
        .took(5);
    }
    if pending(draft, &format!("{unit}.timer")).is_some() {
        let text = format!(
            "Failed to start transient timer unit: Unit {unit}.timer was already loaded or has a fragment file.\n"
        );
        return Reply::fail(1, text).took(5);
    }
    let job = Job {
        cmd: Cmd::new(command.iter().copied()).root(),
        ends_ms: draft.now_ms().saturating_add(seconds * 1_000),
        fault: None,
        end: JobEnd::Running,
    };
    draft.put(&format!("systemd/{unit}"), &job);
    let text =
        format!("Running timer as unit: {unit}.timer\nWill run service as unit: {unit}.service\n");
    Reply {
        stderr: text.into_bytes(),
        ..Reply::ok("")
    }
    .took(30)
}
