//! The ingress controller's ports on the nodes, and the health check that balances over those that answer.

use std::fmt::Write as _;

use super::super::entity::{Chain, Sysctl, Table};
use super::super::files;
use super::super::kube;
use super::super::state::Draft;
use super::domain::guests;
use super::systemd_local::LocalUnit;
use super::{Call, Reply, nft};

/// Ports of the ingress controller on every node.
pub(super) const PORTS: [&str; 2] = ["31772", "31773"];
/// The health check.
const SCRIPT: &str = "/usr/local/sbin/wiab-ingress";
const TIMER: &str = "wiab-ingress.timer";
const TABLE: &str = "ip wiab_nat";
const CHAIN: &str = "ingress";

/// Whether the controller answers on a node: its machine runs, and the pod on it is ready. The service serves local pods only.
pub(super) fn answers(draft: &Draft<'_>, address: &str) -> bool {
    let all = guests(draft);
    let Some(guest) = all.iter().find(|guest| guest.address == address) else {
        return false;
    };
    let ready = |pod: &serde_json::Value| {
        let conditions = pod.pointer("/status/conditions");
        let mut all = conditions
            .and_then(|all| all.as_array())
            .into_iter()
            .flatten();
        all.any(|one| kube::text(one, "/type") == "Ready" && kube::text(one, "/status") == "True")
    };
    guest.reachable
        && kube::list(draft, "Pod", None).iter().any(|pod| {
            kube::text(pod, "/metadata/labels/app") == "ingress-nginx-controller"
                && kube::text(pod, "/spec/nodeName") == guest.hostname
                && ready(pod)
        })
}

/// What `curl` says to a URL with one of the controller's ports; `None` for others.
pub(super) fn asked(draft: &Draft<'_>, url: &str) -> Option<Reply> {
    let (address, port) = url.split('/').nth(2)?.rsplit_once(':')?;
    if !PORTS.contains(&port) {
        return None;
    }
    if answers(draft, address) {
        return Some(Reply::ok("default backend - 404").took(20));
    }
    let text = format!(
        "curl: (28) Failed to connect to {address} port {port} after 2000 ms: Connection timed out\n"
    );
    Some(Reply::fail(28, text).took(2_000))
}

/// Whether a name is one of the world's, and not of one of the machines here.
pub(super) fn is_outside(host: &str) -> bool {
    host.contains('.') && host.chars().any(|c| c.is_ascii_alphabetic())
}

/// What a VM that asks a server outside gets.
pub(super) fn outside(draft: &Draft<'_>, host: &str) -> Reply {
    if egress(draft) {
        return Reply::ok("{}\n").took(120);
    }
    let text = format!(
        "curl: (28) Failed to connect to {host} port 443 after 5000 ms: Connection timed out\n"
    );
    Reply::fail(28, text).took(5_000)
}

/// Whether what a VM sends leaves the host, and comes back: the kernel forwards, no chain drops it, and it is masqueraded.
fn egress(draft: &Draft<'_>) -> bool {
    let forwards = draft
        .get::<Sysctl>("net.ipv4.ip_forward")
        .is_some_and(|value| value.0 == "1");
    let open = |name: &str| {
        let table = draft.get::<Table>(name);
        let set = table.and_then(|mut table| table.sets.remove("egress"));
        set.is_some_and(|set| !set.is_empty())
    };
    let filtered = draft.has::<Table>("inet wiab") && !open("inet wiab");
    let dropped = draft
        .list::<Table>()
        .iter()
        .any(|(_, table)| table.chains.values().any(drops) && !lets_pass(table));
    forwards && !filtered && !dropped && open(TABLE)
}

fn drops(chain: &Chain) -> bool {
    let hook = chain.hook.as_ref();
    hook.is_some_and(|hook| hook.at == "forward" && hook.policy == "drop")
}

/// Whether a table that drops lets the bridge pass in both directions.
fn lets_pass(table: &Table) -> bool {
    let mut texts = table
        .chains
        .values()
        .flat_map(|chain| chain.rules.iter().map(|rule| rule.text.as_str()));
    let accepts = |text: &str, way: &str| text.starts_with(way) && text.contains(" accept");
    texts.clone().any(|text| accepts(text, "iifname \"virbr"))
        && texts.any(|text| accepts(text, "oifname \"virbr"))
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
    want.retain(|node| answers(draft, node));
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
