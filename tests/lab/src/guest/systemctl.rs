//! `systemctl` on a machine without systemd: units from their files, processes of their own, states that can be looked at.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::unit::{DIRS, Unit, file, whole};
use crate::{Answer, HOME, remove, text, write};

/// Process numbers of what runs; gone after a restart of the machine.
const RUN: &str = "/run/units";
const LOGS: &str = "/var/log/units";
/// Where enabled units are linked.
const ETC: &str = "/etc/systemd/system";
/// How long a unit gets to end, and how long one that comes back rests, in milliseconds.
const END_MS: u64 = 5_000;
const REST_MS: u64 = 1_000;
/// How long one that says when it is ready may take, in milliseconds.
const READY_MS: u64 = 60_000;
const POLL_MS: u64 = 50;

pub(crate) fn run(args: &[&str]) -> Answer {
    let flag = |name: &str| args.contains(&name);
    let words: Vec<&str> = args
        .iter()
        .filter(|word| !word.starts_with('-'))
        .copied()
        .collect();
    let Some((verb, units)) = words.split_first() else {
        return Answer::fail(1, "Too few arguments.\n");
    };
    let done = match *verb {
        "is-active" | "is-enabled" => return look(verb, units, flag("--quiet") || flag("-q")),
        "daemon-reload" | "reset-failed" => Ok(()),
        "default" => every_wanted(),
        "add-wants" => add_wants(units),
        "start" => each(units, start),
        "stop" => each(units, |unit| stop(&unit.name)),
        "restart" => each(units, |unit| stop(&unit.name).and_then(|()| start(unit))),
        "enable" => each(units, |unit| enable(unit, flag("--now"))),
        "disable" => each(units, |unit| disable(unit, flag("--now"))),
        other => Err(Answer::fail(1, format!("Unknown command verb {other}.\n"))),
    };
    done.err().unwrap_or_default()
}

type Done = Result<(), Answer>;

fn failed(what: &str, error: &std::io::Error) -> Answer {
    Answer::fail(1, format!("{what}: {error}\n"))
}

fn each(units: &[&str], act: impl Fn(&Unit) -> Done) -> Done {
    for name in units {
        let Some(unit) = Unit::load(name) else {
            return Err(Answer::fail(
                5,
                format!("Unit {} not found.\n", whole(name)),
            ));
        };
        act(&unit)?;
    }
    Ok(())
}

/// Number and start of the process that keeps a unit, while it runs.
fn keeper(name: &str) -> Option<Pid> {
    let noted = text(&format!("{RUN}/{}", whole(name)));
    let (pid, began) = noted.trim().split_once(' ')?;
    let pid: i32 = pid.parse().ok()?;
    (start_of(pid).as_deref() == Some(began)).then(|| Pid::from_raw(pid))?
}

/// When a process began, in ticks of the kernel; `None` when it has ended.
fn start_of(pid: i32) -> Option<String> {
    let stat = text(&format!("/proc/{pid}/stat"));
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

fn start(unit: &Unit) -> Done {
    if keeper(&unit.name).is_some() {
        return Ok(());
    }
    spawn(unit).map_err(|error| failed(&unit.name, &error))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a service manager starts processes"
)]
fn spawn(unit: &Unit) -> std::io::Result<()> {
    for dir in [RUN, LOGS] {
        fs_err::create_dir_all(dir)?;
    }
    remove(&ready_file(&unit.name))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(format!("{LOGS}/{}", unit.name))?;
    let mut command = Command::new("setsid");
    command
        .args([HOME, "supervise", &unit.name])
        .stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    let child = command.current_dir("/").spawn()?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    let began = start_of(pid).unwrap_or_default();
    write(&format!("{RUN}/{}", unit.name), &format!("{pid} {began}\n"))?;
    if unit.value("Type") == Some("notify") {
        return until_ready(&unit.name);
    }
    Ok(())
}

fn ready_file(name: &str) -> String {
    format!("{RUN}/{name}.ready")
}

/// A service says that it is ready, if it was started as a unit.
#[expect(
    clippy::disallowed_methods,
    reason = "the service manager tells a service its unit's name so"
)]
pub(crate) fn ready() -> std::io::Result<()> {
    std::env::var("UNIT").map_or(Ok(()), |name| write(&ready_file(&name), ""))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a service takes a moment to be ready"
)]
fn until_ready(name: &str) -> std::io::Result<()> {
    for _ in 0..READY_MS / POLL_MS {
        if std::fs::metadata(ready_file(name)).is_ok() {
            return Ok(());
        }
        if keeper(name).is_none() {
            return Err(std::io::Error::other(
                "it ended before it was ready; see /var/log/units",
            ));
        }
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
    Err(std::io::Error::other("it was not ready in time"))
}

/// Runs a unit's program, again and again where its file says so. Leads the process group that `stop` ends.
#[expect(
    clippy::disallowed_methods,
    reason = "a service manager starts processes and waits"
)]
pub(crate) fn supervise(name: &str) -> Answer {
    loop {
        let Some(unit) = Unit::load(name) else {
            return Answer::fail(5, format!("Unit {name} not found.\n"));
        };
        let command = unit.command();
        let resting = vec![HOME.to_owned(), "rest".to_owned()];
        // Timers and the like are there, and do nothing.
        let words = if command.is_empty() {
            &resting
        } else {
            &command
        };
        let Some((program, args)) = words.split_first() else {
            return Answer::default();
        };
        let mut command = Command::new(program);
        command.env("UNIT", name);
        if let Some(dir) = unit.value("WorkingDirectory") {
            command.current_dir(dir);
        }
        let ended = command.args(args).status();
        let good = ended.as_ref().is_ok_and(std::process::ExitStatus::success);
        if !unit.comes_back() || good && unit.value("Restart") != Some("always") {
            return Answer {
                code: u8::from(!good),
                ..Answer::default()
            };
        }
        std::thread::sleep(Duration::from_millis(REST_MS));
    }
}

#[expect(clippy::disallowed_methods, reason = "a process takes a moment to end")]
fn stop(name: &str) -> Done {
    let signals = [(Signal::TERM, END_MS), (Signal::KILL, END_MS)];
    for (signal, wait_ms) in signals {
        let Some(pid) = keeper(name) else { break };
        // It may have ended meanwhile; that is as good.
        let _ = kill_process_group(pid, signal);
        for _ in 0..wait_ms / POLL_MS {
            if keeper(name).is_none() {
                break;
            }
            std::thread::sleep(Duration::from_millis(POLL_MS));
        }
    }
    remove(&format!("{RUN}/{name}")).map_err(|error| failed(name, &error))
}

fn link(target: &str, name: &str) -> String {
    format!("{ETC}/{target}.wants/{}", whole(name))
}

/// The targets that start a unit.
fn wants(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir(ETC).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let links = targets
        .filter_map(|dir| Some(link(dir.strip_suffix(".wants")?, name)))
        .filter(|path| std::fs::symlink_metadata(path).is_ok());
    links.collect()
}

fn want(target: &str, name: &str) -> Done {
    let from = file(name).unwrap_or_default();
    let path = link(target, name);
    let dir = Path::new(&path).parent().map(fs_err::create_dir_all);
    let made = dir.unwrap_or(Ok(())).and_then(|()| remove(&path));
    made.and_then(|()| symlink(from, &path))
        .map_err(|error| failed(&path, &error))
}

fn enable(unit: &Unit, now: bool) -> Done {
    if let Some(target) = unit.target() {
        want(target, &unit.name)?;
    }
    if now { start(unit) } else { Ok(()) }
}

fn disable(unit: &Unit, now: bool) -> Done {
    for path in wants(&unit.name) {
        remove(&path).map_err(|error| failed(&path, &error))?;
    }
    if now { stop(&unit.name) } else { Ok(()) }
}

fn add_wants(words: &[&str]) -> Done {
    let Some((target, units)) = words.split_first() else {
        return Err(Answer::fail(1, "Too few arguments.\n"));
    };
    each(units, |unit| want(target, &unit.name))
}

/// What the start of the machine starts.
fn every_wanted() -> Done {
    for dir in DIRS {
        let entries = std::fs::read_dir(format!("{dir}/multi-user.target.wants"));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(unit) = Unit::load(&name) {
                start(&unit)?;
            }
        }
    }
    Ok(())
}

fn look(verb: &str, units: &[&str], quiet: bool) -> Answer {
    let (mut out, mut good, mut known) = (String::new(), false, true);
    for name in units {
        let (word, yes) = match (verb, Unit::load(name)) {
            ("is-active", Some(_)) if keeper(name).is_some() => ("active\n", true),
            ("is-active", _) => ("inactive\n", false),
            (_, Some(_)) if !wants(&whole(name)).is_empty() => ("enabled\n", true),
            (_, Some(unit)) if unit.target().is_none() => ("static\n", true),
            (_, Some(_)) => ("disabled\n", false),
            (_, None) => {
                known = false;
                ("", false)
            }
        };
        good |= yes;
        out += word;
    }
    let code = match (good, verb) {
        (true, _) => 0,
        (false, "is-active") => 3,
        (false, _) => 1,
    };
    let mut answer = Answer::ok(if quiet { String::new() } else { out });
    answer.code = code;
    if !known {
        "Failed to get unit file state: No such file or directory\n".clone_into(&mut answer.err);
    }
    answer
}
