//! Whether a packet arrives: through the rules of nftables, over the bridge of the VMs and back.

use serde_json::Value;

use super::entity::{Chain, Domain, Facts, KubeObject, Network, Sysctl, Table};
use super::kube::{self, pods};
use super::state::Draft;

/// Port on the nodes of HTTP.
pub(crate) const HTTP_NODE_PORT: u16 = 31_772;
/// Port on the nodes of HTTPS.
pub(crate) const HTTPS_NODE_PORT: u16 = 31_773;
/// When the first packet of a connection is repeated, in milliseconds.
const REPEAT_MS: u64 = 1_000;
/// Jumps that one packet may take.
const JUMPS_MAX: usize = 16;

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// It reaches that address and port.
    Arrives { at: String, port: u16 },
    /// Nothing listens.
    Refused,
    /// No answer comes.
    Lost,
}

/// The first packet of a connection.
#[derive(Debug, Clone, Default)]
struct Packet<'a> {
    iif: &'a str,
    oif: &'a str,
    tcp: bool,
    dport: u16,
    saddr: &'a str,
    daddr: &'a str,
    local: bool,
    dnat: bool,
}

impl<'a> Packet<'a> {
    /// The same on its way to a machine behind the bridge, its destination translated.
    fn forwarded(&self, bridge: &'a str, target: &'a str, port: u16) -> Self {
        Self {
            oif: bridge,
            daddr: target,
            dport: port,
            local: false,
            dnat: true,
            ..self.clone()
        }
    }
}

/// What a chain decides.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Nothing,
    Accept,
    Drop,
    Dnat(Vec<String>, Option<u16>),
    Masquerade,
}

fn number(address: &str) -> u32 {
    address.parse::<std::net::Ipv4Addr>().map_or(0, u32::from)
}

impl Packet<'_> {
    /// The value that a left side asks for; `None` for what a first packet does not have.
    fn value(&self, left: &Value) -> Option<String> {
        let text = |pointer: &str| left.pointer(pointer).and_then(Value::as_str);
        match (text("/meta/key"), text("/ct/key"), text("/fib/result")) {
            (Some("iifname"), _, _) => return Some(self.iif.to_owned()),
            (Some("oifname"), _, _) => return Some(self.oif.to_owned()),
            (_, Some("state"), _) => return Some("new".to_owned()),
            (_, Some("status"), _) => return Some(if self.dnat { "dnat" } else { "" }.to_owned()),
            (_, _, Some("type")) => {
                return Some(if self.local { "local" } else { "unicast" }.to_owned());
            }
            _ => {}
        }
        match (text("/payload/protocol")?, text("/payload/field")?) {
            ("tcp", "dport") => self.tcp.then(|| self.dport.to_string()),
            ("udp", "dport") => (!self.tcp).then(|| self.dport.to_string()),
            ("ip", "daddr") => Some(self.daddr.to_owned()),
            ("ip", "saddr") => Some(self.saddr.to_owned()),
            _ => None,
        }
    }

    fn matches(&self, table: &Table, body: &Value) -> bool {
        let Some(value) = body.get("left").and_then(|left| self.value(left)) else {
            return false;
        };
        let right = body.get("right").unwrap_or(&Value::Null);
        let within = holds(table, right, &value);
        if body.get("op").and_then(Value::as_str) == Some("!=") {
            !within
        } else {
            within
        }
    }

    fn run(&self, table: &Table, chain: &Chain, depth: usize) -> Verdict {
        for rule in &chain.rules {
            let mut verdict = Verdict::Nothing;
            for part in &rule.expr {
                let Some((kind, body)) = part.as_object().and_then(|part| part.iter().next())
                else {
                    continue;
                };
                match kind.as_str() {
                    "match" if !self.matches(table, body) => break,
                    "accept" => verdict = Verdict::Accept,
                    "drop" | "reject" => verdict = Verdict::Drop,
                    "return" => return Verdict::Nothing,
                    "masquerade" => verdict = Verdict::Masquerade,
                    "dnat" => verdict = dnat(body),
                    "jump" | "goto" if depth < JUMPS_MAX => {
                        let target = body.get("target").and_then(Value::as_str);
                        let target = target.and_then(|name| table.chains.get(name));
                        let inner = target.map(|chain| self.run(table, chain, depth + 1));
                        verdict = inner.unwrap_or(Verdict::Nothing);
                    }
                    _ => {}
                }
            }
            if verdict != Verdict::Nothing {
                return verdict;
            }
        }
        Verdict::Nothing
    }
}

/// Whether a right side, a set or a range among them, holds a value.
fn holds(table: &Table, right: &Value, value: &str) -> bool {
    match right {
        Value::String(text) => match text.strip_prefix('@') {
            Some(set) => table
                .sets
                .get(set)
                .is_some_and(|elements| elements.contains_key(value)),
            None => text == value,
        },
        Value::Number(number) => number.to_string() == value,
        Value::Array(items) => items.iter().any(|item| holds(table, item, value)),
        Value::Object(map) => map.iter().any(|(kind, body)| match kind.as_str() {
            "set" => holds(table, body, value),
            "range" => {
                let end = |at: usize| body.get(at).and_then(Value::as_u64).unwrap_or_default();
                value
                    .parse::<u64>()
                    .is_ok_and(|value| (end(0)..=end(1)).contains(&value))
            }
            "prefix" => {
                let length = body.get("len").and_then(Value::as_u64).unwrap_or(32);
                let shift = u32::try_from(32 - length.min(32)).unwrap_or(0);
                let base = body.get("addr").and_then(Value::as_str).unwrap_or_default();
                let cut = |address: &str| number(address).checked_shr(shift).unwrap_or(0);
                cut(base) == cut(value)
            }
            _ => false,
        }),
        Value::Null | Value::Bool(_) => false,
    }
}

fn dnat(body: &Value) -> Verdict {
    let port = body.get("port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok());
    let pairs = body.pointer("/addr/map/data/set").and_then(Value::as_array);
    let many = pairs
        .into_iter()
        .flatten()
        .filter_map(|pair| pair.get(1)?.as_str());
    let one = body.get("addr").and_then(Value::as_str);
    Verdict::Dnat(many.chain(one).map(str::to_owned).collect(), port)
}

/// What the base chains of a hook decide, in the order of their priorities. A filter lets through only what no chain drops.
fn hook(draft: &Draft<'_>, kind: &str, at: &str, packet: &Packet<'_>) -> Verdict {
    let tables = draft.list::<Table>();
    let mut bases: Vec<(i64, &Table, &Chain)> = tables
        .iter()
        .filter(|(name, _)| name.starts_with("ip ") || name.starts_with("inet "))
        .flat_map(|(_, table)| table.chains.values().map(move |chain| (table, chain)))
        .filter_map(|(table, chain)| {
            let hook = chain.hook.as_ref()?;
            (hook.kind == kind && hook.at == at).then_some((hook.priority, table, chain))
        })
        .collect();
    bases.sort_by_key(|(priority, _, _)| *priority);
    for (_, table, chain) in bases {
        let drops = chain
            .hook
            .as_ref()
            .is_some_and(|hook| hook.policy == "drop");
        match packet.run(table, chain, 0) {
            Verdict::Nothing if drops => return Verdict::Drop,
            Verdict::Nothing | Verdict::Accept => {}
            decided => return decided,
        }
    }
    Verdict::Accept
}

/// The bridge of the VMs, and the network's XML.
fn bridge(draft: &Draft<'_>) -> Option<(String, String)> {
    let networks = draft.list::<Network>();
    let mut active = networks.iter().filter(|(_, network)| network.active);
    let Some((_, network)) = active.next() else {
        // The bridge of machines that another hypervisor made; nothing there translates addresses.
        return super::cmd::route_of_others(draft).map(|bridge| (bridge, String::new()));
    };
    let (name, _, _) = super::cmd::bridge_and_address(network)?;
    Some((name, network.xml.clone()))
}

fn sysctl(draft: &Draft<'_>, key: &str) -> bool {
    draft.get::<Sysctl>(key).is_some_and(|value| value.0 == "1")
}

/// Addresses of the nodes.
pub(crate) fn addresses(draft: &Draft<'_>) -> Vec<String> {
    let nodes = kube::raw(draft, "Node", None);
    let of = |node: &KubeObject| {
        let list = node.json.pointer("/status/addresses")?.as_array()?;
        let mut list = list.iter();
        let own = list.find(|one| kube::text(one, "/type") == "InternalIP")?;
        Some(kube::text(own, "/address").to_owned())
    };
    nodes.iter().filter_map(of).collect()
}

/// Name of the node with that address.
pub(crate) fn node_at(draft: &Draft<'_>, address: &str) -> Option<String> {
    let nodes = kube::raw(draft, "Node", None);
    let found = nodes.iter().find(|node| {
        let addresses = node
            .json
            .pointer("/status/addresses")
            .and_then(Value::as_array);
        let mut list = addresses.into_iter().flatten();
        list.any(|one| kube::text(one, "/address") == address)
    });
    found.map(|node| kube::text(&node.json, "/metadata/name").to_owned())
}

/// Whether a pod of that workload runs on a node.
pub(crate) fn runs_on(draft: &Draft<'_>, app: &str, node: &str) -> bool {
    let of = |object: &KubeObject| {
        kube::text(&object.json, "/metadata/labels/app") == app
            && kube::text(&object.json, "/spec/nodeName") == node
    };
    let all = kube::raw(draft, "Pod", None);
    all.iter()
        .filter(|object| of(object))
        .any(|object| is_ready(&pods::view(draft, object)))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let mut list = conditions.into_iter().flatten();
    list.any(|one| kube::text(one, "/type") == "Ready" && kube::text(one, "/status") == "True")
}

/// A connection to an address of a VM.
pub(crate) fn to_vm(draft: &Draft<'_>, address: &str, port: u16) -> Way {
    let Some(node) = node_at(draft, address) else {
        return Way::Lost;
    };
    // A node whose machine is known and off; clusters to begin with have none.
    let machine = draft.get::<Domain>(&node);
    if machine.is_some_and(|machine| machine.running_since(draft.now_ms()).is_none()) {
        return Way::Lost;
    }
    let listens = match port {
        HTTP_NODE_PORT | HTTPS_NODE_PORT => runs_on(draft, "ingress-nginx-controller", &node),
        3_478 => runs_on(draft, "coturn", &node),
        _ => false,
    };
    if listens {
        Way::Arrives { at: node, port }
    } else {
        Way::Refused
    }
}

/// A connection from outside to the host's own address; `nth` chooses among several targets.
pub(crate) fn from_outside(draft: &Draft<'_>, port: u16, nth: usize) -> Way {
    let Some(facts) = draft.get::<Facts>("") else {
        return Way::Lost;
    };
    let Some((bridge, _)) = bridge(draft) else {
        return Way::Refused;
    };
    let packet = Packet {
        iif: &facts.wan,
        tcp: true,
        dport: port,
        saddr: "198.51.100.80",
        daddr: &facts.address,
        local: true,
        ..Packet::default()
    };
    let Some((target, port)) = translated(draft, &packet, nth) else {
        return Way::Refused;
    };
    let forwarded = packet.forwarded(&bridge, &target, port);
    if hook(draft, "filter", "forward", &forwarded) == Verdict::Drop {
        return Way::Lost;
    }
    to_vm(draft, &target, port)
}

/// Where DNAT sends a packet.
fn translated(draft: &Draft<'_>, packet: &Packet<'_>, nth: usize) -> Option<(String, u16)> {
    match hook(draft, "nat", "prerouting", packet) {
        Verdict::Dnat(targets, port) => {
            let target = targets.get(nth % targets.len().max(1))?;
            Some((target.clone(), port.unwrap_or(packet.dport)))
        }
        _ => None,
    }
}

/// The VM that a try from a VM to the host's own address is sent to.
pub(crate) fn target_of(draft: &Draft<'_>, vm: &str, to: &str, nth: usize) -> Option<String> {
    let (facts, (bridge, _)) = (draft.get::<Facts>("")?, bridge(draft)?);
    if to != facts.address {
        return None;
    }
    let packet = Packet {
        iif: &bridge,
        tcp: true,
        dport: 80,
        saddr: vm,
        daddr: to,
        local: true,
        ..Packet::default()
    };
    translated(draft, &packet, nth).map(|(target, _)| target)
}

/// A connection from a VM to an address that the host or its router has, given up after `patience_ms`.
pub(crate) fn from_vm(
    draft: &Draft<'_>,
    vm: &str,
    (to, port): (&str, u16),
    nth: usize,
    patience_ms: u64,
) -> Way {
    let (Some(facts), Some((bridge, _))) = (draft.get::<Facts>(""), bridge(draft)) else {
        return Way::Lost;
    };
    if to != facts.address {
        let back = super::acme::Outside::of(draft).loopback;
        return if egress(draft) && back {
            from_outside(draft, port, nth)
        } else {
            Way::Lost
        };
    }
    let packet = Packet {
        iif: &bridge,
        tcp: true,
        dport: port,
        saddr: vm,
        daddr: to,
        local: true,
        ..Packet::default()
    };
    let Some((target, port)) = translated(draft, &packet, nth) else {
        return Way::Refused;
    };
    let forwarded = packet.forwarded(&bridge, &target, port);
    if hook(draft, "filter", "forward", &forwarded) == Verdict::Drop {
        return Way::Lost;
    }
    // With bridge-nf the translation happens on the bridge: answers of others come back through it, a packet to its own
    // sender is lost, and its repetition meets another node. Source NAT is never asked.
    let bridged = sysctl(draft, "net.bridge.bridge-nf-call-iptables");
    let masked = !bridged && hook(draft, "nat", "postrouting", &forwarded) == Verdict::Masquerade;
    match (bridged, target == vm) {
        (true, true) if patience_ms < REPEAT_MS => Way::Lost,
        (true, true) => match translated(draft, &packet, nth + 1) {
            Some((other, port)) if other != vm => to_vm(draft, &other, port),
            _ => Way::Lost,
        },
        (true, false) => to_vm(draft, &target, port),
        (false, _) if masked => to_vm(draft, &target, port),
        (false, _) => Way::Lost,
    }
}

/// Whether the VMs reach the internet.
pub(crate) fn egress(draft: &Draft<'_>) -> bool {
    let (Some(facts), Some((bridge, xml))) = (draft.get::<Facts>(""), bridge(draft)) else {
        return false;
    };
    let vm = addresses(draft).into_iter().next().unwrap_or_default();
    let packet = Packet {
        iif: &bridge,
        oif: &facts.wan,
        tcp: true,
        dport: 443,
        saddr: &vm,
        daddr: "198.51.100.80",
        ..Packet::default()
    };
    let libvirt = xml.contains("<forward mode='nat'") || xml.contains("<forward mode=\"nat\"");
    sysctl(draft, "net.ipv4.ip_forward")
        && hook(draft, "filter", "forward", &packet) != Verdict::Drop
        && (libvirt || hook(draft, "nat", "postrouting", &packet) == Verdict::Masquerade)
}
