//! The health check that balances over the nodes that answer, and what VMs get that ask nodes or the outside.

use std::fmt::Write as _;

use super::super::entity::Table;
use super::super::files;
use super::super::state::Draft;
use super::super::way::{self, HTTP_NODE_PORT, HTTPS_NODE_PORT, Way};
use super::systemd_local::LocalUnit;
use super::{Call, Reply, nft};

/// The health check.
const SCRIPT: &str = "/usr/local/sbin/wiab-ingress";
const TIMER: &str = "wiab-ingress.timer";
const TABLE: &str = "ip wiab_nat";
const CHAIN: &str = "ingress";

/// What a VM gets that asks a node's port of the controller; `None` for other URLs.
pub(super) fn asked(draft: &Draft<'_>, url: &str) -> Option<Reply> {
    let (address, port) = url.split('/').nth(2)?.rsplit_once(':')?;
    let port = port.parse().ok()?;
    if !matches!(port, HTTP_NODE_PORT | HTTPS_NODE_PORT) {
        return None;
    }
    Some(match way::to_vm(draft, address, port) {
        Way::Arrives { .. } => Reply::ok("default backend - 404").took(20),
        Way::Refused => {
            let text = format!(
                "curl: (7) Failed to connect to {address} port {port}: Connection refused\n"
            );
            Reply::fail(7, text).took(20)
        }
        Way::Lost => lost(address, port),
    })
}

fn lost(host: &str, port: u16) -> Reply {
    let text = format!(
        "curl: (28) Failed to connect to {host} port {port} after 5000 ms: Connection timed out\n"
    );
    Reply::fail(28, text).took(5_000)
}

/// Whether a name is one of the world's, and not of one of the machines here.
pub(super) fn is_outside(host: &str) -> bool {
    host.contains('.') && host.chars().any(|c| c.is_ascii_alphabetic())
}

/// What a VM that asks a server outside gets.
pub(super) fn outside(draft: &Draft<'_>, host: &str) -> Reply {
    if way::egress(draft) {
        Reply::ok("{}\n").took(120)
    } else {
        lost(host, 443)
    }
}

/// The health check's own run.
pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    if !call.root {
        return call.complain(1, "Operation not permitted");
    }
    match balance(draft) {
        Ok(()) => Reply::ok("").took(60),
        Err(text) => Reply::fail(1, text).took(60),
    }
}

/// What the timer has done by now. Its last round came after everything that is seen now: the seconds in which a node has
/// already changed, and the timer has not yet asked, are not simulated.
pub(super) fn tick(draft: &mut Draft<'_>) {
    let active = draft.get::<LocalUnit>(TIMER);
    if active.is_some_and(|timer| timer.active) {
        // A round that fails changes nothing, and nobody waits for it.
        let _ = balance(draft);
    }
}

/// As the script does it: with its own list of nodes, in the chain that is there.
fn balance(draft: &mut Draft<'_>) -> Result<(), String> {
    let script = files::at(draft, SCRIPT).filter(|file| file.mode & 0o100 != 0);
    let script = script.ok_or("No such file or directory\n")?.text();
    let Some(chain) = draft
        .get::<Table>(TABLE)
        .and_then(|mut table| table.chains.remove(CHAIN))
    else {
        return Ok(());
    };
    let mut lines = script.lines();
    let nodes = lines.find_map(|line| line.strip_prefix("for node in ")?.strip_suffix("; do"));
    let all: Vec<&str> = nodes.unwrap_or_default().split(' ').collect();
    let mut want = all.clone();
    want.retain(|node| matches!(way::to_vm(draft, node, HTTP_NODE_PORT), Way::Arrives { .. }));
    if want.is_empty() {
        want = all;
    }
    let to = match want.as_slice() {
        [node] => (*node).to_owned(),
        nodes => {
            let pairs = nodes.iter().enumerate();
            let pairs: Vec<String> = pairs.map(|(at, node)| format!("{at} : {node}")).collect();
            format!(
                "numgen random mod {} map {{ {} }}",
                nodes.len(),
                pairs.join(", ")
            )
        }
    };
    let (mut text, mut same) = (format!("flush chain {TABLE} {CHAIN}\n"), true);
    for rule in &chain.rules {
        let (head, rest) = rule.text.split_once("dnat to ").unwrap_or_default();
        let tail = rest.rsplit_once(':').map_or("", |(_, tail)| tail);
        let wanted = format!("{head}dnat to {to}:{tail}");
        same &= wanted == rule.text;
        let _ = writeln!(text, "add rule {TABLE} {CHAIN} {wanted}");
    }
    if same {
        return Ok(());
    }
    nft::load(draft, &text)
}
