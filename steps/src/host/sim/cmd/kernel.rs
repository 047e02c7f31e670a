//! Kernel parameters, addresses and routes.

use serde_json::json;

use super::super::entity::{Facts, Network, Sysctl};
use super::super::state::Draft;
use super::super::surroundings::Surroundings;
use super::network::bridge_and_address;
use super::{Call, QUICK_MS, Reply, elsewhere, options};

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    match call.program {
        "sysctl" => sysctl(draft, call),
        _ => ip(draft, call),
    }
    .took(QUICK_MS)
}

fn sysctl(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, words) = options(&call.args, &[]);
    let flag = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    let mut reply = Reply::ok("");
    for word in words {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value.trim())),
            None => (word, None),
        };
        let key = key.trim().replace('/', ".");
        let Some(found) = draft.get::<Sysctl>(&key) else {
            let text = format!(
                "sysctl: cannot stat /proc/sys/{}: No such file or directory\n",
                key.replace('.', "/")
            );
            reply.code = if flag("-w") { 1 } else { 255 };
            reply.stderr.extend_from_slice(text.as_bytes());
            continue;
        };
        let shown = match value {
            Some(_) if !call.root => {
                return Reply::fail(255, format!("sysctl: permission denied on key \"{key}\"\n"));
            }
            Some(value) => {
                draft.put(&key, &Sysctl(value.to_owned()));
                draft.mark_half();
                value.to_owned()
            }
            None => found.0,
        };
        let line = if flag("-n") {
            format!("{shown}\n")
        } else {
            format!("{key} = {shown}\n")
        };
        if !flag("-q") {
            reply.stdout.extend_from_slice(line.as_bytes());
        }
    }
    reply
}

fn ip(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, words) = options(&call.args, &[]);
    if let ["route", "get", ip] = words.as_slice() {
        return elsewhere::route_to(draft, ip);
    }
    if !flags.iter().any(|(flag, _)| flag.starts_with("-j")) {
        return Reply::fail(1, "only `ip -j` is simulated\n");
    }
    let Some(facts) = draft.get::<Facts>("") else {
        return Reply::fail(1, "");
    };
    let bridges: Vec<(String, String, u8)> = draft
        .list::<Network>()
        .into_iter()
        .filter(|(_, network)| network.active)
        .filter_map(|(_, network)| bridge_and_address(&network))
        .collect();
    let device = words
        .iter()
        .position(|word| *word == "dev")
        .and_then(|at| words.get(at + 1))
        .copied();
    let answer = match words.first() {
        Some(word) if word.starts_with('r') => {
            let default = words.contains(&"default");
            let mut answer = routes(&facts, &bridges, default);
            let others = Surroundings::of(draft).routes;
            if let Some(all) = answer.as_array_mut().filter(|_| !default) {
                let route =
                    |(dst, dev)| json!({"dst": dst, "dev": dev, "protocol": "static", "flags": []});
                all.extend(others.into_iter().map(route));
            }
            answer
        }
        Some(_) => addresses(&facts, &bridges, device),
        None => return Reply::fail(255, "Usage: ip [ OPTIONS ] OBJECT\n"),
    };
    match (answer.as_array().is_some_and(Vec::is_empty), device) {
        (true, Some(device)) => Reply::fail(1, format!("Device \"{device}\" does not exist.\n")),
        _ => Reply::ok(format!("{answer}\n")),
    }
}

/// First address of the network that `address` is in.
pub(super) fn network_of(address: &str, prefix: u8) -> String {
    let number = address
        .split('.')
        .filter_map(|part| part.parse::<u32>().ok())
        .fold(0_u32, |number, part| number << 8 | (part & 0xff));
    let mask = u32::MAX
        .checked_shl(32 - u32::from(prefix.min(32)))
        .unwrap_or(0);
    let [a, b, c, d] = (number & mask).to_be_bytes();
    format!("{a}.{b}.{c}.{d}")
}

fn routes(
    facts: &Facts,
    bridges: &[(String, String, u8)],
    only_default: bool,
) -> serde_json::Value {
    let mut routes = vec![json!({
        "dst": "default", "gateway": facts.gateway, "dev": facts.wan, "protocol": "dhcp", "metric": 100, "flags": [],
    })];
    if !only_default {
        routes.push(json!({
            "dst": format!("{}/24", network_of(&facts.address, 24)), "dev": facts.wan, "protocol": "kernel",
            "scope": "link", "prefsrc": facts.address, "flags": [],
        }));
        routes.extend(bridges.iter().map(|(bridge, address, prefix)| {
            json!({
                "dst": format!("{}/{prefix}", network_of(address, *prefix)), "dev": bridge, "protocol": "kernel",
                "scope": "link", "prefsrc": address, "flags": [],
            })
        }));
    }
    serde_json::Value::Array(routes)
}

fn addresses(
    facts: &Facts,
    bridges: &[(String, String, u8)],
    device: Option<&str>,
) -> serde_json::Value {
    let own = [
        ("lo".to_owned(), "127.0.0.1".to_owned(), 8),
        (facts.wan.clone(), facts.address.clone(), 24),
    ];
    own.iter()
        .chain(bridges)
        .enumerate()
        .filter(|(_, (name, _, _))| device.is_none_or(|device| device == name))
        .map(|(index, (name, address, prefix))| {
            json!({
                "ifindex": index + 1, "ifname": name, "operstate": "UP", "mtu": 1500,
                "addr_info": [{"family": "inet", "local": address, "prefixlen": prefix, "scope": "global"}],
            })
        })
        .collect()
}
