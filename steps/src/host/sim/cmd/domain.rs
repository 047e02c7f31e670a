//! libvirt domains.

use std::fmt::Write as _;

use super::super::entity::{Domain, Facts, File, Network, Seed};
use super::super::files;
use super::super::inside;
use super::super::state::Draft;
use super::super::xml::{self, Node};
use super::virsh::{done, error, shows};
use super::{Call, Reply, elsewhere, mac_of, network, options, spread, uuid_of};

/// How long a guest takes to obey a shutdown.
const SHUTDOWN_MS: u64 = 4_000;

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>, verb: &str) -> Reply {
    let (flags, words) = options(&call.args, &["--domain", "--file", "--mode"]);
    let flag = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    match verb {
        "list" => return list(draft, flag("--all"), flag("--name")),
        "version" | "uri" | "connect" => return shows("qemu:///system\n\n".to_owned()),
        _ => {}
    }
    let Some(name) = words.first() else {
        return error(&["command requires <domain> option"]);
    };
    if verb == "define" {
        let text = call.content(draft, name);
        return match define(draft, text.as_deref()) {
            Ok(domain) => done(&format!("Domain '{domain}' defined from {name}")).took(120),
            Err(why) => error(&[&format!("Failed to define domain from {name}"), &why]),
        };
    }
    let Some(domain) = draft
        .get::<Domain>(name)
        .filter(|domain| exists(domain, draft))
    else {
        return error(&[
            &format!("failed to get domain '{name}'"),
            &format!("Domain not found: no domain with matching name '{name}'"),
        ]);
    };
    let running = domain.running_since(draft.now_ms()).is_some();
    match verb {
        "domstate" => shows(format!("{}\n\n", state(running))),
        "dominfo" => shows(info(name, &domain, running)),
        "domuuid" => shows(format!("{}\n\n", text_at(&domain, &["uuid"]))),
        "dumpxml" => shows(dump(name, &domain, running && !flag("--inactive"))),
        "domiflist" => shows(interfaces(&domain, running)),
        "domblklist" => shows(disks(&domain)),
        "undefine" => undefine(draft, name, domain, running),
        "start" => match start(draft, name) {
            Ok(()) => done(&format!("Domain '{name}' started")).took(1_500),
            Err(why) => error(&[&format!("Failed to start domain '{name}'"), &why]),
        },
        "shutdown" | "destroy" => stop(draft, name, domain, running, verb == "shutdown"),
        "autostart" => autostart(draft, name, domain, !flag("--disable")),
        other => error(&[&format!("unknown command: '{other}'")]),
    }
}

fn exists(domain: &Domain, draft: &Draft<'_>) -> bool {
    domain.persistent || domain.running_since(draft.now_ms()).is_some()
}

fn state(running: bool) -> &'static str {
    if running { "running" } else { "shut off" }
}

fn text_at(domain: &Domain, path: &[&str]) -> String {
    let node = xml::stored(&domain.xml);
    node.at(path)
        .map(|node| node.text.clone())
        .unwrap_or_default()
}

fn list(draft: &Draft<'_>, all: bool, names: bool) -> Reply {
    let mut text = String::new();
    if !names {
        text += " Id   Name        State\n----------------------------\n";
    }
    for (index, (name, domain)) in draft.list::<Domain>().into_iter().enumerate() {
        let running = domain.running_since(draft.now_ms()).is_some();
        if !exists(&domain, draft) || (!all && !running) {
            continue;
        }
        let id = if running {
            (index + 1).to_string()
        } else {
            "-".to_owned()
        };
        let line = if names {
            format!("{name}\n")
        } else {
            format!(" {id:<4} {name:<11} {}\n", state(running))
        };
        text += &line;
    }
    shows(text + "\n")
}

fn info(name: &str, domain: &Domain, running: bool) -> String {
    let memory = text_at(domain, &["memory"]);
    let yes = |is: bool| if is { "yes" } else { "no" };
    let id = if running {
        (spread(name, 90) + 1).to_string()
    } else {
        "-".to_owned()
    };
    format!(
        "Id:             {id}\nName:           {name}\nUUID:           {}\nOS Type:        hvm\nState:          {}\nCPU(s):         {}\nMax memory:     {memory} KiB\nUsed memory:    {memory} KiB\nPersistent:     {}\nAutostart:      {}\nManaged save:   no\nSecurity model: apparmor\nSecurity DOI:   0\n\n",
        text_at(domain, &["uuid"]),
        state(running),
        text_at(domain, &["vcpu"]),
        yes(domain.persistent),
        if domain.autostart {
            "enable"
        } else {
            "disable"
        },
    )
}

fn dump(name: &str, domain: &Domain, live: bool) -> String {
    let mut node = xml::parse(&domain.xml).unwrap_or_default();
    if live {
        node.put("id", &(spread(name, 90) + 1).to_string());
        if let Some(devices) = node.child_mut("devices") {
            let mut index = 0;
            for device in &mut devices.children {
                if device.name == "interface" {
                    let tap = Node::new("target").set("dev", &format!("vnet{index}"));
                    let alias = Node::new("alias").set("name", &format!("net{index}"));
                    device.insert_after("source", tap);
                    device.children.push(alias);
                    index += 1;
                }
            }
        }
    }
    node.render() + "\n"
}

fn devices(domain: &Domain) -> Vec<Node> {
    let node = xml::stored(&domain.xml);
    node.child("devices")
        .map(|devices| devices.children.clone())
        .unwrap_or_default()
}

fn attr(node: &Node, path: &[&str], name: &str) -> String {
    node.at(path)
        .and_then(|node| node.attr(name))
        .unwrap_or("-")
        .to_owned()
}

fn interfaces(domain: &Domain, running: bool) -> String {
    let mut text = " Interface   Type      Source    Model    MAC\n---------------------------------------------------------------\n".to_owned();
    let cards = devices(domain)
        .into_iter()
        .filter(|device| device.name == "interface");
    for (index, card) in cards.enumerate() {
        let kind = card.attr("type").unwrap_or("network").to_owned();
        let tap = if running {
            format!("vnet{index}")
        } else {
            "-".to_owned()
        };
        let source = attr(&card, &["source"], &kind);
        let (model, mac) = (
            attr(&card, &["model"], "type"),
            attr(&card, &["mac"], "address"),
        );
        let _ = writeln!(text, " {tap:<11} {kind:<9} {source:<9} {model:<8} {mac}");
    }
    text + "\n"
}

fn disks(domain: &Domain) -> String {
    let mut text =
        " Target   Source\n-----------------------------------------------------\n".to_owned();
    for disk in devices(domain)
        .iter()
        .filter(|device| device.name == "disk")
    {
        let (target, source) = (
            attr(disk, &["target"], "dev"),
            attr(disk, &["source"], "file"),
        );
        let _ = writeln!(text, " {target:<8} {source}");
    }
    text + "\n"
}

/// Defines a domain from XML and answers its name.
pub(crate) fn define(draft: &mut Draft<'_>, text: Option<&str>) -> Result<String, String> {
    let text = text.ok_or("Failed to open file: No such file or directory")?;
    let mut node = xml::parse(text).map_err(|why| format!("(domain_definition):1: {why}"))?;
    let name = node
        .child("name")
        .map(|name| name.text.clone())
        .unwrap_or_default();
    if node.name != "domain" || name.is_empty() {
        return Err("XML error: name element is missing or empty".to_owned());
    }
    let kvm = draft.get::<Facts>("").is_some_and(|facts| facts.kvm);
    if node.attr("type") == Some("kvm") && !kvm {
        return Err("invalid argument: could not get preferred machine for /usr/bin/qemu-system-x86_64 type=kvm".to_owned());
    }
    let known = draft
        .get::<Domain>(&name)
        .filter(|domain| exists(domain, draft));
    let given = node.child("uuid").map(|uuid| uuid.text.clone());
    if let Some(known) = &known {
        let old = text_at(known, &["uuid"]);
        if given.as_deref() != Some(old.as_str()) {
            return Err(format!(
                "operation failed: domain '{name}' already exists with uuid {old}"
            ));
        }
    }
    if given.is_none() {
        let uuid = Node::with_text("uuid", &uuid_of(&format!("domain {name}")));
        node.insert_after("name", uuid);
    }
    complete(&mut node, &name)?;
    let domain = Domain {
        xml: node.render(),
        persistent: true,
        autostart: known.as_ref().is_some_and(|known| known.autostart),
        started_ms: known.as_ref().and_then(|known| known.started_ms),
        stops_ms: known.and_then(|known| known.stops_ms),
    };
    draft.put(&name, &domain);
    Ok(name)
}

/// What libvirt adds to a definition.
fn complete(node: &mut Node, name: &str) -> Result<(), String> {
    let memory = node
        .child_mut("memory")
        .ok_or("XML error: Memory size must be specified via <memory>")?;
    let unit = memory.attr("unit").unwrap_or("KiB").to_owned();
    let amount: u64 = memory
        .text
        .trim()
        .parse()
        .map_err(|_| "XML error: invalid memory")?;
    let kib = match unit.as_str() {
        "b" | "bytes" => amount / 1024,
        "M" | "MiB" => amount << 10,
        "G" | "GiB" => amount << 20,
        _ => amount,
    };
    memory.put("unit", "KiB");
    memory.text = kib.to_string();
    if node.child("currentMemory").is_none() {
        let current = Node::with_text("currentMemory", &kib.to_string()).set("unit", "KiB");
        node.insert_after("memory", current);
    }
    if let Some(vcpu) = node.child_mut("vcpu")
        && vcpu.attr("placement").is_none()
    {
        vcpu.put("placement", "static");
    }
    if let Some(kind) = node.child_mut("os").and_then(|os| os.child_mut("type")) {
        let machine = match kind.attr("machine") {
            Some("q35") => "pc-q35-6.2".to_owned(),
            Some("pc") | None => "pc-i440fx-6.2".to_owned(),
            Some(other) => other.to_owned(),
        };
        kind.put("machine", &machine);
    }
    for (event, action) in [
        ("on_crash", "destroy"),
        ("on_reboot", "restart"),
        ("on_poweroff", "destroy"),
    ] {
        if node.child(event).is_none() {
            node.insert_after("os", Node::with_text(event, action));
        }
    }
    let Some(devices) = node.child_mut("devices") else {
        return Ok(());
    };
    if devices.child("emulator").is_none() {
        let emulator = Node::with_text("emulator", "/usr/bin/qemu-system-x86_64");
        devices.children.insert(0, emulator);
    }
    for (index, device) in devices.children.iter_mut().enumerate() {
        if device.name == "interface" && device.child("mac").is_none() {
            let mac = Node::new("mac").set("address", &mac_of(&format!("{name} {index}")));
            device.children.insert(0, mac);
        }
    }
    if devices.child("memballoon").is_none() {
        devices
            .children
            .push(Node::new("memballoon").set("model", "virtio"));
    }
    Ok(())
}

fn undefine(draft: &mut Draft<'_>, name: &str, mut domain: Domain, running: bool) -> Reply {
    if running {
        (domain.persistent, domain.autostart) = (false, false);
        draft.put(name, &domain);
    } else {
        draft.del::<Domain>(name);
    }
    done(&format!("Domain '{name}' has been undefined"))
}

fn stop(draft: &mut Draft<'_>, name: &str, mut domain: Domain, running: bool, soft: bool) -> Reply {
    if !running {
        let verb = if soft { "shutdown" } else { "destroy" };
        return error(&[
            &format!("Failed to {verb} domain '{name}'"),
            "Requested operation is not valid: domain is not running",
        ]);
    }
    if soft {
        domain.stops_ms = Some(draft.now_ms() + SHUTDOWN_MS);
        draft.put(name, &domain);
        return done(&format!("Domain '{name}' is being shutdown"));
    }
    (domain.started_ms, domain.stops_ms) = (None, None);
    if domain.persistent {
        draft.put(name, &domain);
    } else {
        draft.del::<Domain>(name);
    }
    done(&format!("Domain '{name}' destroyed")).took(600)
}

fn autostart(draft: &mut Draft<'_>, name: &str, mut domain: Domain, on: bool) -> Reply {
    domain.autostart = on;
    draft.put(name, &domain);
    let un = if on { "" } else { "un" };
    done(&format!("Domain '{name}' {un}marked as autostarted"))
}

/// Starts a domain; the error is libvirt's.
pub(crate) fn start(draft: &mut Draft<'_>, name: &str) -> Result<(), String> {
    let Some(mut domain) = draft.get::<Domain>(name) else {
        return Err(format!(
            "Domain not found: no domain with matching name '{name}'"
        ));
    };
    if domain.running_since(draft.now_ms()).is_some() {
        return Err("Domain is already active".to_owned());
    }
    for device in devices(&domain) {
        let source = device.child("source");
        let at = |name: &str| {
            source
                .and_then(|source| source.attr(name))
                .map(str::to_owned)
        };
        if device.name == "disk" {
            if let Some(file) = at("file") {
                check_disk(draft, &file)?;
            }
        } else if device.name == "interface" {
            check_network(draft, at("network"), at("bridge"))?;
        }
    }
    let disks = devices(&domain);
    let mut disks = disks.iter().filter(|device| device.name == "disk");
    let seed = disks.find_map(|disk| files::at(draft, disk.child("source")?.attr("file")?)?.seed);
    inside::boot(draft, name, seed.as_ref());
    domain.started_ms = Some(draft.now_ms());
    domain.stops_ms = None;
    draft.put(name, &domain);
    Ok(())
}

fn check_disk(draft: &Draft<'_>, path: &str) -> Result<(), String> {
    let missing =
        |path: &str| format!("Cannot access storage file '{path}': No such file or directory");
    let file = draft.get::<File>(path).ok_or_else(|| missing(path))?;
    match file.image.and_then(|image| image.backing) {
        Some(backing) if !draft.has::<File>(&backing) => Err(missing(&backing)),
        _ => Ok(()),
    }
}

fn check_network(
    draft: &Draft<'_>,
    name: Option<String>,
    bridge: Option<String>,
) -> Result<(), String> {
    if let Some(name) = name {
        return match draft.get::<Network>(&name) {
            None => Err(format!(
                "Network not found: no network with matching name '{name}'"
            )),
            Some(network) if !network.active => Err(format!(
                "Requested operation is not valid: network '{name}' is not active"
            )),
            Some(_) => Ok(()),
        };
    }
    let Some(bridge) = bridge else {
        return Ok(());
    };
    let there = network_of_bridge(draft, &bridge).is_some();
    if there {
        Ok(())
    } else {
        Err(format!(
            "Cannot get interface MTU on '{bridge}': No such device"
        ))
    }
}

fn network_of_bridge(draft: &Draft<'_>, bridge: &str) -> Option<(String, Network)> {
    draft.list::<Network>().into_iter().find(|(_, network)| {
        network.active && network::bridge_and_address(network).is_some_and(|(b, _, _)| b == bridge)
    })
}

/// The active network that an interface is on.
fn network_of(draft: &Draft<'_>, card: &Node) -> Option<(String, Network)> {
    let source = card.child("source")?;
    match source.attr("network") {
        Some(name) => {
            let network = draft
                .get::<Network>(name)
                .filter(|network| network.active)?;
            Some((name.to_owned(), network))
        }
        None => network_of_bridge(draft, source.attr("bridge")?),
    }
}

/// Running domains with an interface on a network.
pub(super) fn users_of_network(draft: &Draft<'_>, name: &str) -> Vec<String> {
    guests(draft)
        .into_iter()
        .filter(|guest| guest.network == name)
        .map(|guest| guest.domain)
        .collect()
}

/// A running domain as its network sees it.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) domain: String,
    pub(super) network: String,
    pub(super) mac: String,
    pub(super) address: String,
    pub(super) gateway: String,
    pub(super) hostname: String,
    /// Whether it has its address yet.
    pub(super) leased: bool,
    /// Whether sshd answers yet.
    pub(super) reachable: bool,
    /// When cloud-init is done, in virtual milliseconds.
    pub(super) ready_ms: u64,
    pub(super) seed: Option<Seed>,
}

/// All running domains that are on a network.
pub(super) fn guests(draft: &Draft<'_>) -> Vec<Guest> {
    draft
        .list::<Domain>()
        .iter()
        .filter_map(|(name, domain)| guest(draft, name, domain))
        .chain(elsewhere::elsewhere(draft))
        .collect()
}

/// When a domain that starts at `since_ms` has its address, answers on ssh, and is done with cloud-init.
fn boot(name: &str, since_ms: u64) -> [u64; 3] {
    let ssh_ms = since_ms + 24_000 + spread(name, 12_000);
    let leased_ms = since_ms + 9_000 + spread(name, 4_000);
    [leased_ms, ssh_ms, ssh_ms + 15_000 + spread(name, 6_000)]
}

/// Virtual times at which a domain looks different without a change.
pub(crate) fn moments(name: &str, domain: &Domain) -> Vec<u64> {
    let boot = domain.started_ms.map(|since_ms| boot(name, since_ms));
    boot.into_iter().flatten().chain(domain.stops_ms).collect()
}

fn guest(draft: &Draft<'_>, name: &str, domain: &Domain) -> Option<Guest> {
    let since_ms = domain.running_since(draft.now_ms())?;
    let devices = devices(domain);
    let card = devices.iter().find(|device| device.name == "interface")?;
    let (network_name, network) = network_of(draft, card)?;
    let mac = card.child("mac")?.attr("address")?.to_owned();
    let (address, reserved) = network::address_for(&network, &mac)?;
    let files: Vec<File> = devices
        .iter()
        .filter(|device| device.name == "disk")
        .filter_map(|disk| files::at(draft, disk.child("source")?.attr("file")?))
        .collect();
    let boots = files
        .iter()
        .any(|file| file.image.as_ref().is_some_and(|image| image.whole));
    let seed = files.into_iter().find_map(|file| file.seed);
    let hostname = seed
        .as_ref()
        .and_then(|seed| {
            yaml_value(&seed.meta, "local-hostname").or_else(|| yaml_value(&seed.user, "hostname"))
        })
        .or(reserved)
        .unwrap_or_else(|| "ubuntu".to_owned());
    let [leased_ms, ssh_ms, ready_ms] = boot(name, since_ms);
    let now_ms = draft.now_ms();
    Some(Guest {
        domain: name.to_owned(),
        network: network_name,
        mac,
        address,
        gateway: network::bridge_and_address(&network)?.1,
        hostname,
        leased: boots && now_ms >= leased_ms,
        reachable: boots && now_ms >= ssh_ms,
        ready_ms,
        seed,
    })
}

/// The value of a top-level `key: value` line.
fn yaml_value(text: &str, key: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}
