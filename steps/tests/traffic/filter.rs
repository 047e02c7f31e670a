//! What the loaded rules do with a packet: a reader of nft's listing, for tests.

use serde_json::Value;
use wiab_engine::ports::Cancel;
use wiab_steps::host::{Cmd, Host as _};

use crate::laws::world::World;

/// What a machine's nft lists.
pub(crate) async fn listing(world: &World, table: &str) -> Value {
    let words = format!("nft -j list table {table}");
    let cmd = Cmd::new(words.split(' ')).root();
    let output = world.host.run(&cmd, &Cancel::default(), &|_| {}).await;
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

fn items<'a>(listing: &'a Value, kind: &str) -> Vec<&'a Value> {
    let items = listing["nftables"].as_array().unwrap().iter();
    items.filter_map(|item| item.get(kind)).collect()
}

/// The name by which a packet gives what a rule compares: `iifname`, `ct state`, `tcp dport`.
fn key(left: &Value) -> String {
    let text = |pointer: &str| left.pointer(pointer).and_then(Value::as_str);
    if let Some(key) = text("/meta/key") {
        return key.to_owned();
    }
    if let Some(key) = text("/ct/key") {
        return format!("ct {key}");
    }
    match (text("/payload/protocol"), text("/payload/field")) {
        (Some(protocol), Some(field)) => format!("{protocol} {field}"),
        _ if left.get("fib").is_some() => "fib".to_owned(),
        _ => "tcp flags".to_owned(),
    }
}

/// Whether a value is one of those on the right.
fn holds(listing: &Value, right: &Value, value: &str) -> bool {
    match right {
        Value::String(text) if text.starts_with('@') => items(listing, "set").iter().any(|set| {
            let elements = set["elem"].as_array().into_iter().flatten();
            set["name"] == text[1..] && elements.into_iter().any(|one| holds(listing, one, value))
        }),
        Value::String(text) => text == value,
        Value::Number(number) => number.to_string() == value,
        Value::Array(all) => all.iter().any(|one| holds(listing, one, value)),
        Value::Object(map) => {
            if let Some(range) = map.get("range") {
                let value: u64 = value.parse().unwrap();
                return (range[0].as_u64().unwrap()..=range[1].as_u64().unwrap()).contains(&value);
            }
            if let Some(prefix) = map.get("prefix") {
                let address = prefix["addr"].as_str().unwrap();
                return format!("{address}/{}", prefix["len"]) == value;
            }
            if let Some(elem) = map.get("elem") {
                return holds(listing, &elem["val"], value);
            }
            map.values().any(|inner| holds(listing, inner, value))
        }
        _ => false,
    }
}

/// The first statement of a chain that decides about a packet, with the name of its kind: `accept`, `drop`, `dnat`,
/// `masquerade`; `pass` when none does. What the packet does not have, no rule compares.
pub(crate) fn fate(listing: &Value, chain: &str, packet: &[(&str, &str)]) -> String {
    for rule in items(listing, "rule") {
        if rule["chain"] != chain {
            continue;
        }
        let mut matches = true;
        for part in rule["expr"].as_array().unwrap() {
            let (kind, body) = part.as_object().unwrap().iter().next().unwrap();
            match kind.as_str() {
                "match" => {
                    let name = key(&body["left"]);
                    let has = packet.iter().find(|(key, _)| *key == name);
                    let is = has.is_some_and(|(_, value)| holds(listing, &body["right"], value));
                    matches &= has.is_some() && is == (body["op"] != "!=");
                }
                "jump" if matches => {
                    let inner = fate(listing, body["target"].as_str().unwrap(), packet);
                    if inner != "pass" {
                        return inner;
                    }
                }
                "dnat" if matches => return format!("dnat {body}"),
                "accept" | "drop" | "masquerade" if matches => return kind.clone(),
                _ => {}
            }
        }
    }
    "pass".to_owned()
}
