//! Looks at this machine: who has the public address, what the kernel and the rules do with packets for it.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::super::nft::{COMMENT, nft};
use super::super::{Reached, on_host, reached, try_web};
use super::{Scene, Seen};
use crate::certs::{End, Findings, HERE, Way};
use crate::host::Cmd;

const BRIDGE_NF: &str = "net.bridge.bridge-nf-call-iptables";
const FORWARD: &str = "net.ipv4.ip_forward";
/// Port of the ingress controller on every node.
const NODE_PORT: u16 = 31_772;

/// How a try of curl ended.
pub(super) fn end(code: i32) -> End {
    match reached(code) {
        Reached::Yes => End::Answered,
        Reached::Refused => End::Refused,
        Reached::Lost => End::Lost,
        Reached::Unknown(_) => End::NotTried,
    }
}

/// The interface that has an address.
fn owner(links: &Value, address: &str) -> Option<String> {
    links.as_array().into_iter().flatten().find_map(|link| {
        let list = link.get("addr_info").and_then(Value::as_array);
        let mut list = list.into_iter().flatten();
        let mine = list.any(|one| one.get("local").and_then(Value::as_str) == Some(address));
        let name = link.get("ifname").and_then(Value::as_str)?;
        mine.then(|| name.to_owned())
    })
}

async fn owner_of(scene: &Scene<'_>) -> Result<Option<String>, String> {
    let links = scene.json(Ok(Cmd::new(["ip", "-j", "addr"]))).await?;
    Ok(owner(&links, scene.host_ip))
}

pub(super) async fn address(scene: &Scene<'_>) -> Result<Seen, String> {
    let owner = owner_of(scene).await?;
    let ip = scene.host_ip;
    Ok(Seen {
        summary: match &owner {
            Some(interface) => format!("{ip} belongs to {interface} of this machine"),
            None => format!("no interface of this machine has {ip}: it is a router's"),
        },
        findings: Findings {
            owner: Some(owner),
            ..Findings::default()
        },
        ..Seen::default()
    })
}

pub(super) async fn kernel(scene: &Scene<'_>) -> Result<Seen, String> {
    let bridge = &scene.ground.rule.bridge;
    let keys = [
        FORWARD.to_owned(),
        BRIDGE_NF.to_owned(),
        "net.ipv4.conf.all.rp_filter".to_owned(),
        format!("net.ipv4.conf.{bridge}.rp_filter"),
    ];
    let argv = std::iter::once("sysctl".to_owned()).chain(keys);
    // A key that is not there makes it fail, and says something: without br_netfilter nothing is translated on a bridge.
    let output = scene.run(Ok(Cmd::new(argv))).await?;
    let text = output.text();
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    let absent = output.error_text().contains("bridge-nf-call-iptables");
    let bridged = match value(BRIDGE_NF) {
        Some(value) => Some(value == "1"),
        None => absent.then_some(false),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    Ok(Seen {
        summary: lines.join(", "),
        body: format!("{text}{}\n", output.error_text()),
        findings: Findings {
            bridged,
            forwards: value(FORWARD).map(|value| value == "1"),
            ..Findings::default()
        },
    })
}

/// Whether an expression holds that, at any depth.
fn mentions(value: &Value, test: &dyn Fn(&str, &Value) -> bool) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| test(key, value) || mentions(value, test)),
        Value::Array(items) => items.iter().any(|item| mentions(item, test)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a rule sends packets for port 80 elsewhere.
fn forwards_web(rule: &Value) -> bool {
    let dnat = mentions(rule, &|key, _| key == "dnat");
    let port = |value: &Value| {
        let field = value.pointer("/left/payload/field").and_then(Value::as_str);
        let right = value.get("right");
        field == Some("dport")
            && right.is_some_and(|right| {
                *right == 80
                    || right
                        .to_string()
                        .split(|c: char| !c.is_ascii_digit())
                        .any(|part| part == "80")
            })
    };
    dnat && mentions(rule, &|key, value| key == "match" && port(value))
}

fn packets(rule: &Value) -> Option<u64> {
    let parts = rule.get("expr").and_then(Value::as_array)?;
    parts
        .iter()
        .find_map(|part| part.pointer("/counter/packets")?.as_u64())
}

/// What a listing in JSON says of the way of the self-check.
fn judged(listing: &Value, bridge: &str) -> Findings {
    let items = listing.get("nftables").and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    let rules: Vec<&Value> = items.iter().filter_map(|item| item.get("rule")).collect();
    let web: Vec<&&Value> = rules.iter().filter(|rule| forwards_web(rule)).collect();
    let hairpin = |rule: &&Value| {
        text(rule, "comment") == COMMENT
            && mentions(rule, &|key, _| key == "masquerade" || key == "snat")
    };
    // What docker's own chain lets through is let through before its policy is asked.
    let passes = rules.iter().any(|rule| {
        text(rule, "chain") == "DOCKER-USER"
            && rule.to_string().contains(bridge)
            && mentions(rule, &|key, _| key == "accept")
    });
    let droppers = items
        .iter()
        .filter_map(|item| item.get("chain"))
        .filter(|chain| text(chain, "hook") == "forward" && text(chain, "policy") == "drop")
        .filter(|chain| !text(chain, "table").starts_with("wiab"))
        .filter(|chain| !(passes && text(chain, "table") == "filter"))
        .map(|chain| {
            let (family, table) = (text(chain, "family"), text(chain, "table"));
            format!("chain {family} {table} {}", text(chain, "name"))
        });
    Findings {
        snat: Some(rules.iter().any(hairpin)),
        dnat: Some(!web.is_empty()),
        arrived: web.iter().map(|rule| packets(rule)).sum(),
        droppers: droppers.collect(),
        ..Findings::default()
    }
}

/// The lines of a listing that concern translation and forwarding, with the chains that they stand in.
fn around(listing: &str) -> String {
    const WORDS: [&str; 8] = [
        "dnat",
        "masquerade",
        "snat",
        "hook",
        "drop",
        "reject",
        "jump",
        "31772",
    ];
    let kept = listing.lines().filter(|line| {
        let start = line.trim_start();
        start.starts_with("table ")
            || start.starts_with("chain ")
            || WORDS.iter().any(|word| line.contains(word))
    });
    kept.fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

pub(super) async fn rules(scene: &Scene<'_>) -> Result<Seen, String> {
    let json = scene.json(Ok(nft(&["-j", "list", "ruleset"]))).await?;
    let listing = scene.ok(Ok(nft(&["list", "ruleset"]))).await?;
    let findings = judged(&json, &scene.ground.rule.bridge);
    let yes = |value: Option<bool>| {
        if value == Some(true) {
            "is there"
        } else {
            "is missing"
        }
    };
    Ok(Seen {
        summary: format!(
            "forwarding of port 80 {}, hairpin rule {}",
            yes(findings.dnat),
            yes(findings.snat)
        ),
        body: around(&listing.text()),
        findings,
    })
}

/// Tries each node's own port from this machine.
pub(super) async fn ingress(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut ways = Vec::new();
    for node in &scene.ground.nodes {
        let ip = node.ip().map_err(|failure| failure.why)?;
        let url = format!("http://{ip}:{NODE_PORT}/");
        let begun_ms = scene.sh.cx.clock.mono_ms();
        let output = scene.run(Ok(on_host(try_web(&[], &url)))).await?;
        ways.push(Way {
            from: HERE.to_owned(),
            to: node.name.clone(),
            end: end(output.code),
            took_ms: scene.sh.cx.clock.mono_ms().saturating_sub(begun_ms),
        });
    }
    let said: Vec<String> = ways
        .iter()
        .map(|way| format!("{}:{NODE_PORT} {}", way.to, way.end))
        .collect();
    Ok(Seen {
        summary: format!("from {HERE}: {}", said.join(", ")),
        body: said.join("\n"),
        findings: Findings {
            ingress: ways,
            ..Findings::default()
        },
    })
}

/// As far as this machine can tell how it looks from outside.
pub(super) async fn outside(scene: &Scene<'_>) -> Result<Seen, String> {
    let ip = scene.host_ip;
    if let Some(interface) = owner_of(scene).await? {
        return Err(format!(
            "{ip} is the address of {interface} of this machine, and its own packets do not pass the rules that forward: \
             `curl -m 10 http://{ip}/` on a machine elsewhere tells"
        ));
    }
    let url = format!("http://{ip}/");
    let begun_ms = scene.sh.cx.clock.mono_ms();
    let output = scene.run(Ok(on_host(try_web(&[], &url)))).await?;
    let took_ms = scene.sh.cx.clock.mono_ms().saturating_sub(begun_ms);
    let end = end(output.code);
    Ok(Seen {
        summary: format!(
            "port 80 of {ip}, from {HERE} through the router: {end} after {took_ms} ms"
        ),
        body: format!("{}{}", output.text(), output.error_text()),
        findings: Findings {
            outside: Some(end),
            ..Findings::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_owner_of_an_address_is_found() {
        let links = json!([
            {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
            {"ifname": "eth0", "addr_info": [{"local": "203.0.113.10"}, {"local": "fe80::1"}]},
            {"ifname": "virbr0"},
        ]);
        assert_eq!(owner(&links, "203.0.113.10").as_deref(), Some("eth0"));
        assert_eq!(owner(&links, "203.0.113.1"), None);
    }

    #[test]
    fn a_listing_is_judged_by_its_expressions() {
        let dport = |right: Value| json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}});
        let rule = |chain: &str, comment: &str, expr: Value| json!({"rule": {"family": "ip", "table": "nat", "chain": chain, "comment": comment, "expr": expr}});
        let dnat = json!({"dnat": {"addr": "192.168.122.21", "port": 31_772}});
        let counter = json!({"counter": {"packets": 7, "bytes": 9}});
        let base = |table: &str, policy: &str| json!({"chain": {"family": "inet", "table": table, "name": "through", "hook": "forward", "policy": policy}});
        let listing = json!({"nftables": [
            base("wiab", "drop"), base("mine", "drop"), base("other", "accept"),
            rule("PREROUTING", "", json!([dport(json!({"set": [80, 443]})), counter, dnat])),
            rule("POSTROUTING", COMMENT, json!([{"masquerade": null}])),
        ]});
        let found = judged(&listing, "virbr0");
        assert_eq!(
            (found.snat, found.dnat, found.arrived),
            (Some(true), Some(true), Some(7))
        );
        assert_eq!(found.droppers, ["chain inet mine through"]);
        let other =
            json!({"nftables": [rule("PREROUTING", "", json!([dport(json!(8080)), dnat]))]});
        let found = judged(&other, "virbr0");
        assert_eq!((found.snat, found.dnat), (Some(false), Some(false)));
    }
}
