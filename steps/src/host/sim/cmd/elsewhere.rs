//! Machines of another hypervisor that the simulated host reaches over ssh, and what every machine says of itself.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::entity::{Facts, Inside, KubeApi, Seed, Sysctl, Table};
use super::super::state::{Draft, Entity, Machine};
use super::domain::{Guest, guests};
use super::{Call, Reply, option, options};

/// Name of the inventory's question in a remote command.
const QUESTION: &str = "wiab-facts";
/// What the host itself may find: `Inside` under this name.
const HOST: &str = "host/facts";

/// A machine that libvirt of this host knows nothing of; its name is the machine's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Elsewhere {
    pub(crate) ip: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    /// `ssh-ed25519 AAAA…`.
    pub(crate) host_key: String,
    /// Whether the operator has given it the key that is used.
    pub(crate) knows_us: bool,
    pub(crate) up: bool,
}

impl Entity for Elsewhere {
    const KIND: &'static str = "elsewhere";
}

/// The seven usual names, and the ends of their addresses.
const USUAL: [(&str, u8); 7] = [
    ("assethost", 10),
    ("kubenode1", 21),
    ("kubenode2", 22),
    ("kubenode3", 23),
    ("datanode1", 31),
    ("datanode2", 32),
    ("datanode3", 33),
];

fn invented_key(seed: &str) -> String {
    let mut blob = Vec::new();
    for part in [
        b"ssh-ed25519".as_slice(),
        blake3::hash(seed.as_bytes()).as_bytes(),
    ] {
        blob.extend_from_slice(&u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
        blob.extend_from_slice(part);
    }
    format!("ssh-ed25519 {}", STANDARD.encode(blob))
}

/// The bridge behind which the machines of another hypervisor are; `None` without any.
pub(crate) fn route_of_others(draft: &Draft<'_>) -> Option<String> {
    let facts = draft.get::<Inside>(HOST)?.value;
    facts.get("route")?.as_str().map(str::to_owned)
}

impl Machine {
    /// The same with seven machines of another hypervisor at 10.20.0.0/24 behind the bridge `br0`, fit for an installation:
    /// user `demo`, interface `ens3`.
    #[must_use]
    pub fn with_existing_vms(self) -> Self {
        let machine = self.with_vm_fact("host", "route", json!("br0"));
        USUAL.iter().fold(machine, |machine, (name, end)| {
            machine.with_existing_vm(name, &format!("10.20.0.{end}"))
        })
    }

    /// The same with such a machine.
    #[must_use]
    pub fn with_existing_vm(mut self, name: &str, ip: &str) -> Self {
        let vm = Elsewhere {
            ip: ip.to_owned(),
            port: 22,
            user: "demo".to_owned(),
            host_key: invented_key(name),
            knows_us: true,
            up: true,
        };
        self.put(name, &vm);
        self
    }

    fn with_elsewhere(mut self, name: &str, change: impl FnOnce(&mut Elsewhere)) -> Self {
        if let Some(mut vm) = self.get::<Elsewhere>(name) {
            change(&mut vm);
            self.put(name, &vm);
        }
        self
    }

    /// The same with an existing machine switched off.
    #[must_use]
    pub fn with_existing_vm_down(self, name: &str) -> Self {
        self.with_elsewhere(name, |vm| vm.up = false)
    }

    /// The same with an existing machine that does not know our key.
    #[must_use]
    pub fn with_existing_vm_closed(self, name: &str) -> Self {
        self.with_elsewhere(name, |vm| vm.knows_us = false)
    }

    /// The same with an existing machine that has another user and another port of ssh.
    #[must_use]
    pub fn with_existing_vm_login(self, name: &str, user: &str, port: u16) -> Self {
        self.with_elsewhere(name, |vm| {
            user.clone_into(&mut vm.user);
            vm.port = port;
        })
    }

    /// The same with an existing machine that somebody has installed anew: it has another host key.
    #[must_use]
    pub fn with_existing_vm_reinstalled(self, name: &str) -> Self {
        self.with_elsewhere(name, |vm| vm.host_key = invented_key(&vm.host_key))
    }

    /// The same with something that a machine says of itself, whoever made it: `host`, `os`, `python`, `sudo`, `gpg`,
    /// `swap`, `ahead_ms`, `zone`, `iface`, `mtu`, `address` (whether the interface has one), `blocked` (a list of
    /// `address:port`). The name `host` is the host itself, which knows `blocked` and `route`.
    #[must_use]
    pub fn with_vm_fact(mut self, name: &str, key: &str, value: Value) -> Self {
        let entity = format!("{name}/facts");
        let mut facts = self
            .get::<Inside>(&entity)
            .map_or_else(|| json!({}), |inside| inside.value);
        if let Some(map) = facts.as_object_mut() {
            map.insert(key.to_owned(), value);
        }
        self.put(&entity, &Inside { value: facts });
        self
    }
}

/// The machines as guests, so that everything that runs on a VM runs on them.
pub(super) fn elsewhere(draft: &Draft<'_>) -> Vec<Guest> {
    draft
        .list::<Elsewhere>()
        .into_iter()
        .map(|(name, vm)| Guest {
            hostname: name.clone(),
            domain: name,
            network: String::new(),
            mac: String::new(),
            gateway: vm
                .ip
                .rsplit_once('.')
                .map_or_else(String::new, |(net, _)| format!("{net}.1")),
            address: vm.ip,
            leased: vm.up,
            reachable: vm.up,
            ready_ms: 0,
            seed: None,
        })
        .collect()
}

/// The port of ssh of a guest.
pub(super) fn port(draft: &Draft<'_>, guest: &Guest) -> u16 {
    draft
        .get::<Elsewhere>(&guest.domain)
        .map_or(22, |vm| vm.port)
}

/// Whether an existing machine lets that user in; `None` for those that libvirt made.
pub(super) fn admits(draft: &Draft<'_>, guest: &Guest, user: &str) -> Option<bool> {
    let vm = draft.get::<Elsewhere>(&guest.domain)?;
    Some(vm.knows_us && vm.user == user)
}

/// The host key of a guest, if its seed or its owner gave it one.
pub(super) fn host_key(draft: &Draft<'_>, guest: &Guest) -> Option<String> {
    if let Some(vm) = draft.get::<Elsewhere>(&guest.domain) {
        return Some(vm.host_key);
    }
    key_of_seed(guest.seed.as_ref()?)
}

fn key_of_seed(seed: &Seed) -> Option<String> {
    let line = seed
        .user
        .lines()
        .find_map(|line| line.trim().strip_prefix("ed25519_public:"))?;
    let words: Vec<&str> = line.trim().trim_matches('"').split(' ').take(2).collect();
    Some(words.join(" "))
}

/// What a guest is asked about itself.
pub(super) fn answer(draft: &Draft<'_>, guest: &Guest, command: &str) -> Option<Reply> {
    let (_, peers) = command.split_once(QUESTION)?;
    let own = draft
        .get::<Inside>(&format!("{}/facts", guest.domain))
        .map_or(Value::Null, |inside| inside.value);
    let text = |key: &str, usual: &str| match own.get(key) {
        None => usual.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let yes = |key: &str| own.get(key).and_then(Value::as_bool) != Some(false);
    let usual = if guest.network.is_empty() {
        "ens3"
    } else {
        "enp1s0"
    };
    let iface = text("iface", usual);
    let ahead_ms = own
        .get("ahead_ms")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let now_s = draft.wall_ms().saturating_add_signed(ahead_ms) / 1_000;
    let mut said = String::new();
    let _ = writeln!(said, "host={}", text("host", &guest.hostname));
    let _ = writeln!(said, "os={}", text("os", "ubuntu 22.04"));
    for key in ["python", "sudo", "gpg"] {
        if yes(key) {
            let _ = writeln!(said, "{key}=yes");
        }
    }
    let _ = writeln!(said, "swap={}", text("swap", ""));
    let _ = writeln!(said, "time={now_s} {}", text("zone", "+0000"));
    let _ = writeln!(said, "address=lo 127.0.0.1/8");
    if yes("address") {
        let _ = writeln!(said, "address={iface} {}/24", guest.address);
    }
    let _ = writeln!(said, "mtu=lo 65536\nmtu={iface} {}", text("mtu", "1500"));
    let _ = writeln!(said, "route={iface}");
    for peer in peers.split_whitespace() {
        let dropped = !guest.network.is_empty() && docker_drops(draft);
        let found = if dropped {
            "no answer"
        } else {
            reach(draft, &own, peer)
        };
        let _ = writeln!(said, "reach={peer} {found}");
    }
    Some(Reply::ok(said).took(400))
}

/// Whether docker's filter drops what goes over a bridge between VMs: only where bridged packets pass the filters, and
/// nobody lets them through docker's.
fn docker_drops(draft: &Draft<'_>) -> bool {
    let bridged = draft.get::<Sysctl>("net.bridge.bridge-nf-call-iptables");
    let table = draft.get::<Table>("ip filter");
    let user = table.and_then(|table| table.chains.get("DOCKER-USER").cloned());
    let passes = |text: &str| text.contains("iifname") && text.contains("accept");
    bridged.is_some_and(|value| value.0 == "1")
        && user.is_some_and(|chain| !chain.rules.iter().any(|rule| passes(&rule.text)))
}

fn reach(draft: &Draft<'_>, own: &Value, peer: &str) -> &'static str {
    let blocked = own.get("blocked").and_then(Value::as_array);
    let is = |value: &Value| value.as_str() == Some(peer);
    if blocked.is_some_and(|blocked| blocked.iter().any(is)) {
        return "no answer";
    }
    let (ip, port_no) = peer.split_once(':').unwrap_or((peer, ""));
    let there = guests(draft)
        .into_iter()
        .find(|guest| guest.address == ip && guest.leased);
    match there {
        None => "No route to host",
        Some(guest) if port_no == port(draft, &guest).to_string() => "open",
        Some(_) if port_no == "6443" && draft.has::<KubeApi>("") => "open",
        Some(_) => "refused",
    }
}

/// `timeout SECONDS bash -c SCRIPT wiab-reach ADDRESS PORT`: a connection from the host.
pub(super) fn timeout(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let ["4", "bash", "-c", _, "wiab-reach", ip, port] = call.args.as_slice() else {
        let (argv, stdin) = (call.args.get(1..).unwrap_or_default(), call.stdin);
        return super::run(draft, argv, stdin, call.root, call.mounts).unwrap_or_else(|program| {
            call.complain(127, &format!("failed to run command '{program}'"))
        });
    };
    let own = draft
        .get::<Inside>(HOST)
        .map_or(Value::Null, |inside| inside.value);
    let said = reach(draft, &own, &format!("{ip}:{port}"));
    match said {
        "open" => Reply::ok("").took(2),
        "no answer" => Reply::fail(124, "").took(4_000),
        "refused" => Reply::fail(1, "wiab-reach: connect: Connection refused\n").took(2),
        other => Reply::fail(1, format!("wiab-reach: connect: {other}\n")).took(3_000),
    }
}

/// `ip -o -4 route get ADDRESS`: which way the host takes to a machine.
pub(super) fn route_to(draft: &Draft<'_>, ip: &str) -> Reply {
    let own = draft
        .get::<Inside>(HOST)
        .map_or(Value::Null, |inside| inside.value);
    let facts = draft.get::<Facts>("");
    let wan = facts.map(|facts| facts.wan).unwrap_or_default();
    let elsewhere = draft.list::<Elsewhere>().iter().any(|(_, vm)| vm.ip == ip);
    let device = own
        .get("route")
        .and_then(Value::as_str)
        .filter(|_| elsewhere)
        .unwrap_or(&wan);
    Reply::ok(format!(
        "{ip} dev {device} src 10.20.0.1 uid 1000 \\    cache \n"
    ))
}

/// `ssh-keyscan -p PORT ADDRESS`.
pub(super) fn keyscan(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, hosts) = options(&call.args, &["-T", "-t", "-p"]);
    let asked: u16 = option(&flags, &["-p"])
        .and_then(|port| port.parse().ok())
        .unwrap_or(22);
    let Some(ip) = hosts.first() else {
        return call.complain(1, "no host");
    };
    let found = guests(draft)
        .into_iter()
        .find(|guest| guest.address == *ip && guest.reachable && port(draft, guest) == asked);
    let Some(key) = found.and_then(|guest| host_key(draft, &guest)) else {
        return Reply::fail(1, "").took(5_000);
    };
    let name = if asked == 22 {
        (*ip).to_owned()
    } else {
        format!("[{ip}]:{asked}")
    };
    Reply {
        stderr: format!("# {ip}:{asked} SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.10\n").into_bytes(),
        ..Reply::ok(format!("{name} {key}\n"))
    }
    .took(120)
}
