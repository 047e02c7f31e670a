//! `ss -H -l -n [-p] -t|-u`: who listens.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::super::entity::{Network, Unit};
use super::super::state::{Draft, Entity, Machine};
use super::network::bridge_and_address;
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

/// Those of a fresh machine and of others, and the name servers that come and go with their services.
fn sockets(draft: &Draft<'_>) -> Vec<String> {
    let mut all = draft.names::<Socket>("");
    let mut serve = |address: &str| {
        for protocol in ["udp", "tcp"] {
            all.push(format!("{protocol} {address}:53 dnsmasq"));
        }
    };
    if draft.get::<Unit>("dnsmasq").is_some_and(|unit| unit.active) {
        serve("0.0.0.0");
    }
    for (_, network) in draft.list::<Network>() {
        if let (true, Some((_, address, _))) = (network.active, bridge_and_address(&network)) {
            serve(&address);
        }
    }
    all
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
    for name in sockets(draft) {
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
        // Of both protocols it says which one.
        if let Some(protocol) = protocol.filter(|_| has('t') && has('u')) {
            let _ = write!(text, "{protocol}   ");
        }
        let _ = write!(text, "{state} 0      128    {address}      {any}");
        // Only root sees the processes of others.
        if let Some(program) = words.next().filter(|_| has('p') && call.root) {
            let _ = write!(text, " users:((\"{program}\",pid=812,fd=3))");
        }
        text.push('\n');
    }
    Reply::ok(text).took(QUICK_MS)
}
