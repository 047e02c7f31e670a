//! Signals to process groups and sessions, and what `/proc` says about processes.

use rustix::process::{Pid, Signal};

/// A process as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its parent.
    pub(super) parent: i32,
    /// Its session.
    pub(super) session: i32,
    /// When it started, in ticks since boot: tells it from a later process with the same number.
    pub(super) start: u64,
    /// Whether it has ended and only waits to be noticed.
    pub(super) zombie: bool,
}

/// Looks at a process.
pub(super) fn look(pid: i32) -> Option<Seen> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields begin after its end.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some(Seen {
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// The id of this boot of the machine.
pub(super) fn boot_id() -> String {
    fs_err::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Living processes of a session.
pub(super) fn session(id: i32) -> Vec<i32> {
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| look(*pid).is_some_and(|seen| seen.session == id && !seen.zombie))
        .collect()
}

/// A process and the program that it is: one that was forked is its parent's until it becomes another, and a signal that came
/// before that may have met its parent's handler.
pub(super) fn program(pid: i32) -> (i32, u64, Vec<u8>) {
    let start = look(pid).map_or(0, |seen| seen.start);
    let words = fs_err::read(format!("/proc/{pid}/cmdline"));
    (pid, start, words.unwrap_or_default())
}

/// Whom a signal goes to.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A process group.
    Group(i32),
    /// Each of these processes.
    Each(Vec<i32>),
}

/// Sends a signal. Answers the `kill` arguments of those that only root may signal.
pub(super) fn signal(target: &Target, signal: Signal) -> Vec<String> {
    let (pids, group) = match target {
        Target::Group(id) => (vec![*id], true),
        Target::Each(pids) => (pids.clone(), false),
    };
    let mut refused = Vec::new();
    for raw in pids {
        let Some(pid) = Pid::from_raw(raw).filter(|_| raw > 1) else {
            continue;
        };
        let sent = if group {
            rustix::process::kill_process_group(pid, signal)
        } else {
            rustix::process::kill_process(pid, signal)
        };
        if sent == Err(rustix::io::Errno::PERM) {
            refused.push(if group {
                format!("-{raw}")
            } else {
                raw.to_string()
            });
        }
    }
    refused
}
