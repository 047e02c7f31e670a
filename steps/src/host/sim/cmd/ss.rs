//! `ss -H -l -n [-p] -t|-u`: who listens.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::super::state::{Draft, Entity, Machine};
use super::{Call, QUICK_MS, Reply};

/// A listening socket; its name is `tcp 0.0.0.0:22 sshd`, without the program for a socket of the kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Socket {}

impl Entity for Socket {
    const KIND: &'static str = "socket";
}

/// Those of a fresh machine.
pub(crate) const SOCKETS: [&str; 4] = [
    "tcp 0.0.0.0:22 sshd",
    "tcp [::]:22 sshd",
    "tcp 127.0.0.53%lo:53 systemd-resolve",
    "udp 127.0.0.53%lo:53 systemd-resolve",
];

pub(crate) fn open(machine: &mut Machine, socket: &str) {
    machine.put(socket, &Socket {});
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let has = |letter: char| {
        let mut clusters = call.args.iter().filter(|word| !word.starts_with("--"));
        clusters.any(|word| word.starts_with('-') && word.contains(letter))
    };
    if !has('l') || !has('H') || !has('n') {
        return call.complain(1, "only `ss -Hln` is simulated");
    }
    let mut text = String::new();
    for name in draft.names::<Socket>("") {
        let mut words = name.split(' ');
        let (protocol, address) = (words.next(), words.next().unwrap_or_default());
        let state = match protocol {
            Some("tcp") if has('t') => "LISTEN",
            Some("udp") if has('u') => "UNCONN",
            _ => continue,
        };
        let any = if address.starts_with('[') {
            "[::]:*"
        } else {
            "0.0.0.0:*"
        };
        let _ = write!(text, "{state} 0      128    {address}      {any}");
        // Only root sees the processes of others.
        if let Some(program) = words.next().filter(|_| has('p') && call.root) {
            let _ = write!(text, " users:((\"{program}\",pid=812,fd=3))");
        }
        text.push('\n');
    }
    Reply::ok(text).took(QUICK_MS)
}
