//! libvirt networks.

use std::fmt::Write as _;

use super::super::entity::{Network, Sysctl, Unit};
use super::super::state::Draft;
use super::super::xml::{self, Node};
use super::virsh::{done, error, shows};
use super::{Call, Reply, domain, mac_of, options, uuid_of};

/// The network that comes with libvirt's packages.
const DEFAULT: &str = "<network><name>default</name><forward mode='nat'/><bridge name='virbr0' stp='on' delay='0'/>\
    <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>";

/// Order of a network's elements in libvirt's output.
const ORDER: [&str; 9] = [
    "name", "uuid", "metadata", "forward", "bridge", "mac", "domain", "dns", "ip",
];

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>, verb: &str) -> Reply {
    let (flags, words) = options(&call.args, &["--network", "--file"]);
    let flag = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    if verb == "list" {
        return list(draft, flag("--all"), flag("--name"));
    }
    let Some(name) = words.first() else {
        return error(&["command requires <network> option"]);
    };
    if verb == "define" {
        let text = call.content(draft, name);
        return match define(draft, text.as_deref()) {
            Ok(network) => done(&format!("Network {network} defined from {name}")),
            Err(why) => error(&[&format!("Failed to define network from {name}"), &why]),
        };
    }
    let Some(network) = draft.get::<Network>(name) else {
        return error(&[
            &format!("failed to get network '{name}'"),
            &format!("Network not found: no network with matching name '{name}'"),
        ]);
    };
    match verb {
        "info" => shows(info(name, &network)),
        "dumpxml" => shows(dump(draft, name, &network, flag("--inactive"))),
        "uuid" => shows(format!("{}\n\n", uuid(&network))),
        "start" => match start(draft, name) {
            Ok(()) => done(&format!("Network {name} started")).took(800),
            Err(why) => error(&[&format!("Failed to start network {name}"), &why]),
        },
        "destroy" => destroy(draft, name, network),
        "undefine" => undefine(draft, name, network),
        "autostart" => autostart(draft, name, network, !flag("--disable")),
        "dhcp-leases" => shows(leases(draft, name, &network)),
        "update" => update(draft, name, network, words.get(1..).unwrap_or_default()),
        other => error(&[&format!("unknown command: 'net-{other}'")]),
    }
}

fn uuid(network: &Network) -> String {
    let node = xml::stored(&network.xml);
    node.at(&["uuid"])
        .map(|node| node.text.clone())
        .unwrap_or_default()
}

fn list(draft: &Draft<'_>, all: bool, names: bool) -> Reply {
    let mut text = String::new();
    if !names {
        text += " Name      State    Autostart   Persistent\n----------------------------------------------\n";
    }
    for (name, network) in draft.list::<Network>() {
        if !all && !network.active {
            continue;
        }
        let state = if network.active { "active" } else { "inactive" };
        let line = if names {
            format!("{name}\n")
        } else {
            format!(
                " {name}   {state}   {}   {}\n",
                yes(network.autostart),
                yes(network.persistent)
            )
        };
        text += &line;
    }
    shows(text + "\n")
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn info(name: &str, network: &Network) -> String {
    let bridge = bridge_and_address(network).map_or(String::new(), |(bridge, _, _)| bridge);
    format!(
        "Name:           {name}\nUUID:           {}\nActive:         {}\nPersistent:     {}\nAutostart:      {}\nBridge:         {bridge}\n\n",
        uuid(network),
        yes(network.active),
        yes(network.persistent),
        yes(network.autostart),
    )
}

fn dump(draft: &Draft<'_>, name: &str, network: &Network, inactive: bool) -> String {
    let mut node = xml::parse(&network.xml).unwrap_or_default();
    let used = domain::users_of_network(draft, name).len();
    if !inactive && network.active && used > 0 {
        node.attrs
            .insert(0, ("connections".to_owned(), used.to_string()));
    }
    node.render() + "\n"
}

/// Bridge, address and prefix length.
pub(crate) fn bridge_and_address(network: &Network) -> Option<(String, String, u8)> {
    let node = xml::stored(&network.xml);
    let bridge = node.child("bridge")?.attr("name")?.to_owned();
    let ip = node.child("ip")?;
    let prefix = match (ip.attr("prefix"), ip.attr("netmask")) {
        (Some(prefix), _) => prefix.parse().ok()?,
        (None, Some(mask)) => mask
            .split('.')
            .filter_map(|part| part.parse::<u8>().ok())
            .map(|part| u8::try_from(part.count_ones()).unwrap_or(8))
            .sum(),
        (None, None) => 24,
    };
    Some((bridge, ip.attr("address")?.to_owned(), prefix))
}

/// Defines a network from XML and answers its name.
pub(crate) fn define(draft: &mut Draft<'_>, text: Option<&str>) -> Result<String, String> {
    let text = text.ok_or("Failed to open file: No such file or directory")?;
    let mut node = xml::parse(text).map_err(|why| format!("(network_definition):1: {why}"))?;
    let name = node
        .child("name")
        .map(|name| name.text.clone())
        .unwrap_or_default();
    if node.name != "network" || name.is_empty() {
        return Err("XML error: missing name element for network".to_owned());
    }
    let known = draft.get::<Network>(&name);
    let given = node.child("uuid").map(|uuid| uuid.text.clone());
    if let Some(known) = &known {
        let old = uuid(known);
        if given.as_deref() != Some(old.as_str()) {
            return Err(format!(
                "operation failed: network '{name}' already exists with uuid {old}"
            ));
        }
    }
    if given.is_none() {
        let uuid = Node::with_text("uuid", &uuid_of(&format!("network {name}")));
        node.insert_after("name", uuid);
    }
    complete(draft, &mut node, &name);
    node.attrs.retain(|(attr, _)| attr != "connections");
    let network = Network {
        xml: node.render(),
        persistent: true,
        active: known.as_ref().is_some_and(|known| known.active),
        autostart: known.is_some_and(|known| known.autostart),
    };
    draft.put(&name, &network);
    Ok(name)
}

/// What libvirt adds to a definition.
fn complete(draft: &Draft<'_>, node: &mut Node, name: &str) {
    if node.child("bridge").is_none() {
        let used: Vec<String> = draft
            .list::<Network>()
            .iter()
            .filter_map(|(_, network)| bridge_and_address(network))
            .map(|(bridge, _, _)| bridge)
            .collect();
        let free = (0..256)
            .map(|n| format!("virbr{n}"))
            .find(|bridge| !used.contains(bridge));
        let after = if node.child("forward").is_some() {
            "forward"
        } else {
            "uuid"
        };
        let bridge = Node::new("bridge").set("name", &free.unwrap_or_default());
        node.insert_after(after, bridge);
    }
    if let Some(bridge) = node.child_mut("bridge") {
        let missing: Vec<(&str, &str)> = [("stp", "on"), ("delay", "0")]
            .into_iter()
            .filter(|(attr, _)| bridge.attr(attr).is_none())
            .collect();
        for (attr, value) in missing {
            bridge.put(attr, value);
        }
    }
    if node.child("mac").is_none() {
        let mac = Node::new("mac").set("address", &mac_of(&format!("network {name}")));
        node.insert_after("bridge", mac);
    }
    if let Some(forward) = node.child_mut("forward")
        && forward.attr("mode") == Some("nat")
        && forward.children.is_empty()
    {
        let port = Node::new("port").set("start", "1024").set("end", "65535");
        let mut nat = Node::new("nat");
        nat.children.push(port);
        forward.children.push(nat);
    }
    node.children.sort_by_key(|child| {
        ORDER
            .iter()
            .position(|name| *name == child.name)
            .unwrap_or(ORDER.len())
    });
}

/// Starts a network; the error is libvirt's.
pub(crate) fn start(draft: &mut Draft<'_>, name: &str) -> Result<(), String> {
    let Some(mut network) = draft.get::<Network>(name) else {
        return Err(format!(
            "Network not found: no network with matching name '{name}'"
        ));
    };
    if network.active {
        return Err("Requested operation is not valid: network is already active".to_owned());
    }
    let (bridge, address, _) = bridge_and_address(&network).unwrap_or_default();
    for (_, other) in draft.list::<Network>() {
        let (used, at, _) = bridge_and_address(&other).unwrap_or_default();
        if other.active && (used == bridge || at == address) {
            return Err(format!(
                "internal error: Network is already in use by interface {used}"
            ));
        }
    }
    if draft.get::<Unit>("dnsmasq").is_some_and(|unit| unit.active) {
        return Err(format!(
            "internal error: Child process (VIR_BRIDGE_NAME={bridge} /usr/sbin/dnsmasq --conf-file=/var/lib/libvirt/dnsmasq/{name}.conf) unexpected exit status 2: \ndnsmasq: failed to create listening socket for {address}: Address already in use"
        ));
    }
    network.active = true;
    draft.put(name, &network);
    let filter = draft
        .get::<Sysctl>("net.ipv4.conf.default.rp_filter")
        .unwrap_or(Sysctl("2".to_owned()));
    draft.put(&format!("net.ipv4.conf.{bridge}.rp_filter"), &filter);
    draft.put(
        &format!("net.ipv4.conf.{bridge}.forwarding"),
        &Sysctl("1".to_owned()),
    );
    // As the real libvirt does for every network that forwards; it never turns it off again.
    draft.put("net.ipv4.ip_forward", &Sysctl("1".to_owned()));
    Ok(())
}

/// What happens to a network's bridge when it stops.
fn drop_bridge(draft: &mut Draft<'_>, network: &Network) {
    let (bridge, _, _) = bridge_and_address(network).unwrap_or_default();
    for key in draft.names::<Sysctl>(&format!("net.ipv4.conf.{bridge}.")) {
        draft.del::<Sysctl>(&key);
    }
}

fn destroy(draft: &mut Draft<'_>, name: &str, mut network: Network) -> Reply {
    if !network.active {
        return error(&[
            &format!("Failed to destroy network {name}"),
            "Requested operation is not valid: network is not active",
        ]);
    }
    drop_bridge(draft, &network);
    network.active = false;
    if network.persistent {
        draft.put(name, &network);
    } else {
        draft.del::<Network>(name);
    }
    done(&format!("Network {name} destroyed")).took(300)
}

fn undefine(draft: &mut Draft<'_>, name: &str, mut network: Network) -> Reply {
    if !network.persistent {
        return error(&[
            &format!("Failed to undefine network {name}"),
            "Requested operation is not valid: can't undefine transient network",
        ]);
    }
    if network.active {
        (network.persistent, network.autostart) = (false, false);
        draft.put(name, &network);
    } else {
        draft.del::<Network>(name);
    }
    done(&format!("Network {name} has been undefined"))
}

fn autostart(draft: &mut Draft<'_>, name: &str, mut network: Network, on: bool) -> Reply {
    if !network.persistent {
        return error(&[
            &format!("failed to mark network {name} as autostarted"),
            "Requested operation is not valid: cannot set autostart for transient network",
        ]);
    }
    network.autostart = on;
    draft.put(name, &network);
    let un = if on { "" } else { "un" };
    done(&format!("Network {name} {un}marked as autostarted"))
}

/// The network of libvirt's packages, started and marked for autostart.
pub(super) fn make_default(draft: &mut Draft<'_>) {
    let mut busy = Unit {
        active: false,
        enabled: false,
    };
    if let Some(unit) = draft.get::<Unit>("dnsmasq") {
        busy = unit;
    }
    if define(draft, Some(DEFAULT)).is_err() {
        return;
    }
    if let Some(mut network) = draft.get::<Network>("default") {
        network.autostart = true;
        draft.put("default", &network);
    }
    if !busy.active {
        // Another network may use the bridge; then it stays stopped, as on a real machine.
        let _ = start(draft, "default");
    }
}

/// Purging libvirt takes its networks along.
pub(super) fn forget_all(draft: &mut Draft<'_>) {
    for (name, network) in draft.list::<Network>() {
        drop_bridge(draft, &network);
        draft.del::<Network>(&name);
    }
}

/// Reserved or leased address of a MAC in a network, with the host's name if it is reserved.
pub(super) fn address_for(network: &Network, mac: &str) -> Option<(String, Option<String>)> {
    let node = xml::stored(&network.xml);
    let dhcp = node.at(&["ip", "dhcp"])?;
    let reserved = dhcp.all("host").find(|host| {
        host.attr("mac")
            .is_some_and(|m| m.eq_ignore_ascii_case(mac))
    });
    if let Some(host) = reserved {
        return Some((
            host.attr("ip")?.to_owned(),
            host.attr("name").map(str::to_owned),
        ));
    }
    let range = dhcp.child("range")?;
    let (net, first) = range.attr("start")?.rsplit_once('.')?;
    let (_, last) = range.attr("end")?.rsplit_once('.')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let at = first + super::spread(mac, last.saturating_sub(first) + 1);
    Some((format!("{net}.{at}"), None))
}

fn leases(draft: &Draft<'_>, name: &str, network: &Network) -> String {
    let mut text = format!(
        " Expiry Time           MAC address         Protocol   IP address           Hostname    Client ID or DUID\n{}\n",
        "-".repeat(116)
    );
    let prefix = bridge_and_address(network).map_or(24, |(_, _, prefix)| prefix);
    for guest in domain::guests(draft) {
        if guest.network == name && guest.leased {
            let expiry = stamp(draft.wall_ms() + 3_600_000);
            let _ = writeln!(
                text,
                " {expiry}   {}   ipv4       {}/{prefix}    {}   ff:56:50:4d:98:00:02:00:00:ab:11",
                guest.mac, guest.address, guest.hostname
            );
        }
    }
    text + "\n"
}

/// `2026-01-31 12:00:00` of a Unix time.
fn stamp(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!(
        "{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02}",
        days + 1
    )
}

fn update(draft: &mut Draft<'_>, name: &str, mut network: Network, words: &[&str]) -> Reply {
    let complaint = format!("Failed to update network {name}");
    let [command, section, text, ..] = words else {
        return error(&["command requires <xml> option"]);
    };
    if *section != "ip-dhcp-host" {
        return error(&[&complaint, "only the section ip-dhcp-host is simulated"]);
    }
    let host = match xml::parse(text) {
        Ok(host) if host.name == "host" => host,
        _ => return error(&[&complaint, "(network_update):1: Document is empty"]),
    };
    let mut node = xml::parse(&network.xml).unwrap_or_default();
    let Some(dhcp) = node.child_mut("ip").and_then(|ip| ip.child_mut("dhcp")) else {
        return error(&[
            &complaint,
            "internal error: no matching ip element with dhcp",
        ]);
    };
    let same = |known: &Node, attr: &str| {
        known.name == "host" && host.attr(attr).is_some() && known.attr(attr) == host.attr(attr)
    };
    let at = dhcp
        .children
        .iter()
        .position(|known| same(known, "mac") || same(known, "ip") || same(known, "name"));
    let (mac, ip, label) = (host.attr("mac"), host.attr("ip"), host.attr("name"));
    let told = format!(
        "mac='{}' name='{}' ip='{}'",
        mac.unwrap_or("(null)"),
        label.unwrap_or("(null)"),
        ip.unwrap_or("(null)")
    );
    match (*command, at) {
        ("add" | "add-last" | "add-first", Some(_)) => {
            return error(&[
                &complaint,
                &format!(
                    "Requested operation is not valid: there is an existing dhcp host entry in network '{name}' that matches \"<host {told}/>\""
                ),
            ]);
        }
        ("add" | "add-last" | "add-first", None) => dhcp.children.push(host.clone()),
        ("delete" | "modify", None) => {
            return error(&[
                &complaint,
                &format!(
                    "Requested operation is not valid: couldn't locate a matching dhcp host entry in network '{name}'"
                ),
            ]);
        }
        ("delete", Some(at)) => drop(dhcp.children.remove(at)),
        ("modify", Some(at)) => {
            if let Some(slot) = dhcp.children.get_mut(at) {
                *slot = host.clone();
            }
        }
        (other, _) => return error(&[&format!("unrecognized command name '{other}'")]),
    }
    network.xml = node.render();
    draft.put(name, &network);
    done(&format!(
        "Updated network {name} persistent config and live state"
    ))
}
