//! What `nft -j list table` says, brought to the same spelling as the rules wanted, and the differences.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{matching, spread};
use super::{EGRESS, INGRESS, Rule, Table, Traffic};

/// Most differences that are shown.
const DIFFERENCES_MAX: usize = 20;

/// A table as it is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Chains with their hooks: `filter input 10 accept`, empty for others.
    pub(crate) hooks: BTreeMap<String, String>,
    /// Rules of every chain, in order: parts and comment.
    pub(crate) rules: BTreeMap<String, Vec<(Vec<String>, String)>>,
    /// Elements of the sets of interface names, with their comments.
    pub(crate) sets: BTreeMap<String, BTreeMap<String, String>>,
    /// Anything else: maps, sets of other types, counters, flowtables.
    pub(crate) others: Vec<String>,
}

/// Reads a listing in JSON.
pub(crate) fn listed(json: &Value) -> Listed {
    let mut table = Listed::default();
    let items = json.get("nftables").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let Some((kind, body)) = item.as_object().and_then(|item| item.iter().next()) else {
            continue;
        };
        match kind.as_str() {
            "metainfo" | "table" => {}
            "chain" => {
                let name = word(body, "name");
                drop(table.hooks.insert(name.clone(), hook(body)));
                table.rules.entry(name).or_default();
            }
            "rule" => {
                let parts = body.get("expr").and_then(Value::as_array);
                let parts = parts.into_iter().flatten().map(part).collect();
                let rules = table.rules.entry(word(body, "chain")).or_default();
                rules.push((parts, word(body, "comment")));
            }
            "set" if body.get("type").and_then(Value::as_str) == Some("ifname") => {
                let elements = body.get("elem").and_then(Value::as_array);
                let elements = elements.into_iter().flatten().map(element).collect();
                drop(table.sets.insert(word(body, "name"), elements));
            }
            other => table.others.push(format!("{other} {}", word(body, "name"))),
        }
    }
    table
}

fn word(body: &Value, key: &str) -> String {
    let text = body.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn hook(body: &Value) -> String {
    if body.get("hook").is_none() {
        return String::new();
    }
    let priority = body.get("prio").and_then(Value::as_i64).unwrap_or_default();
    let [kind, hook, policy] = ["type", "hook", "policy"].map(|key| word(body, key));
    format!("{kind} {hook} {priority} {policy}")
}

/// An element, plain or with a comment.
fn element(value: &Value) -> (String, String) {
    match value.get("elem") {
        Some(inner) => (word(inner, "val"), word(inner, "comment")),
        None => (value.as_str().unwrap_or_default().to_owned(), String::new()),
    }
}

/// Stands for a comment of iptables, which nft shows as a part of the rule.
pub(crate) const COMMENT: &str = "comment";

/// The canonical spelling of one expression or statement.
fn part(value: &Value) -> String {
    let Some((kind, body)) = value.as_object().and_then(|part| part.iter().next()) else {
        return value.to_string();
    };
    let known = match kind.as_str() {
        "match" => comparison(body),
        "counter" | "accept" | "drop" | "return" => Some(kind.clone()),
        "masquerade" => body.is_null().then(|| kind.clone()),
        "jump" | "goto" => Some(format!("{kind} {}", word(body, "target"))),
        "dnat" => translation(body),
        "limit" => limit(body),
        // A comment of iptables, of which nft shows no more.
        "xt" => (word(body, "name") == "comment").then(|| COMMENT.to_owned()),
        "log" => Some(format!("log prefix \"{}\"", word(body, "prefix"))),
        _ => None,
    };
    known.unwrap_or_else(|| value.to_string())
}

fn comparison(body: &Value) -> Option<String> {
    let not = match body.get("op")?.as_str()? {
        "==" | "in" => false,
        "!=" => true,
        _ => return None,
    };
    let key = key(body.get("left")?)?;
    Some(matching(&key, not, values(body.get("right")?)?))
}

fn key(left: &Value) -> Option<String> {
    if let Some([inner, flags]) = left.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        let mut flags = values(flags)?;
        flags.sort();
        return Some(format!("{} & {}", key(inner)?, flags.join(",")));
    }
    let text = |pointer: &str| left.pointer(pointer).and_then(Value::as_str);
    if let Some(key) = text("/meta/key") {
        return Some(key.to_owned());
    }
    if let Some(key) = text("/ct/key") {
        return Some(format!("ct {key}"));
    }
    if let (Some(protocol), Some(field)) = (text("/payload/protocol"), text("/payload/field")) {
        return Some(format!("{protocol} {field}"));
    }
    let flags = values(left.pointer("/fib/flags")?)?;
    Some(format!(
        "fib {} {}",
        flags.join(" . "),
        text("/fib/result")?
    ))
}

/// The values of a right side, however a version of nft wraps them.
fn values(right: &Value) -> Option<Vec<String>> {
    match right {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Number(number) => Some(vec![number.to_string()]),
        Value::Array(items) => {
            let all: Option<Vec<Vec<String>>> = items.iter().map(values).collect();
            all.map(|all| all.concat())
        }
        Value::Object(map) => {
            let (kind, body) = map.iter().next()?;
            match kind.as_str() {
                "set" | "|" => values(body),
                "range" => values(body).map(|ends| vec![ends.join("-")]),
                "prefix" => Some(vec![format!("{}/{}", word(body, "addr"), body.get("len")?)]),
                _ => None,
            }
        }
        Value::Null | Value::Bool(_) => None,
    }
}

fn translation(body: &Value) -> Option<String> {
    let port = body.get("port").and_then(Value::as_u64);
    let address = body.get("addr")?;
    if let Some(address) = address.as_str() {
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        return Some(format!("dnat to {address}{port}"));
    }
    let chosen = address.pointer("/map/key/numgen")?;
    let pairs = address.pointer("/map/data/set")?.as_array()?;
    let whole = chosen.get("mode")?.as_str()? == "random"
        && chosen.get("mod")?.as_u64()? == pairs.len() as u64;
    let mut nodes: Vec<(u64, String)> = pairs
        .iter()
        .filter_map(|pair| Some((pair.get(0)?.as_u64()?, pair.get(1)?.as_str()?.to_owned())))
        .collect();
    nodes.sort();
    let in_order = nodes.iter().zip(0..).all(|((at, _), wanted)| *at == wanted);
    if !whole || !in_order || nodes.len() != pairs.len() {
        return None;
    }
    let nodes: Vec<String> = nodes.into_iter().map(|(_, node)| node).collect();
    Some(spread(&nodes, u16::try_from(port?).ok()?))
}

fn limit(body: &Value) -> Option<String> {
    let per = body.get("per")?.as_str()?;
    Some(format!("limit rate {}/{per}", body.get("rate")?.as_u64()?))
}

impl Listed {
    /// How it differs from the table wanted, as lines `- found` and `+ wanted`.
    pub(crate) fn differences(&self, wanted: &Table, traffic: &Traffic) -> Vec<String> {
        let mut lines = Vec::new();
        for chain in &wanted.chains {
            let hook = chain
                .hook
                .map_or_else(String::new, |(kind, hook, priority)| {
                    format!("{kind} {hook} {priority} accept")
                });
            if self
                .hooks
                .get(chain.name)
                .is_none_or(|found| *found != hook)
            {
                lines.push(format!("+ chain {} {hook}", chain.name));
            }
            let found = self.rules.get(chain.name).map(Vec::as_slice);
            let found = found.unwrap_or_default();
            let balanced = chain.name == INGRESS && self.balanced(traffic).is_some();
            if !balanced {
                compare(chain.name, found, &chain.rules, &mut lines);
            }
        }
        let known = |name: &str| wanted.chains.iter().any(|chain| chain.name == name);
        let more = self.hooks.keys().filter(|name| !known(name));
        lines.extend(more.map(|name| format!("- chain {name}")));
        lines.extend(self.others.iter().map(|other| format!("- {other}")));
        for set in &wanted.sets {
            let found = self.sets.get(set.name);
            let there = |element: &String| found.is_some_and(|found| found.contains_key(element));
            let missing = set.elements.iter().filter(|element| !there(element));
            lines.extend(missing.map(|element| format!("+ element {element} of {}", set.name)));
            if found.is_none() {
                lines.push(format!("+ set {}", set.name));
            }
            let temporary = set.name == EGRESS && traffic.private;
            for (element, _) in found.into_iter().flatten().filter(|_| !temporary) {
                if !set.elements.contains(element) {
                    lines.push(format!("- element {element} of {}", set.name));
                }
            }
        }
        lines.truncate(DIFFERENCES_MAX);
        lines
    }

    /// The nodes that get web traffic, if the chain is one that the health check writes.
    pub(crate) fn balanced(&self, traffic: &Traffic) -> Option<Vec<String>> {
        let found = self.rules.get(INGRESS)?;
        let first = found.first()?.0.last()?;
        let nodes: Vec<String> = traffic
            .nodes
            .iter()
            .filter(|node| targets(first).any(|target| target == node.as_str()))
            .cloned()
            .collect();
        let wanted = traffic.ingress_rules(&nodes);
        let same = found.len() == wanted.len()
            && found
                .iter()
                .zip(&wanted)
                .all(|(found, wanted)| found.0 == wanted.canonical() && found.1 == wanted.comment);
        (same && !nodes.is_empty()).then_some(nodes)
    }
}

/// The addresses of a translation in canonical spelling.
fn targets(part: &str) -> impl Iterator<Item = &str> {
    let list = part
        .strip_prefix("dnat to one of ")
        .or_else(|| part.strip_prefix("dnat to "))
        .unwrap_or_default();
    list.split(':').next().unwrap_or_default().split(',')
}

fn compare(chain: &str, found: &[(Vec<String>, String)], wanted: &[Rule], lines: &mut Vec<String>) {
    let shown = |parts: &[String], comment: &str| format!("{} # {comment}", parts.join(" "));
    for at in 0..found.len().max(wanted.len()) {
        let is = found.get(at).map(|(parts, comment)| shown(parts, comment));
        let wants = wanted
            .get(at)
            .map(|rule| shown(&rule.canonical(), &rule.comment));
        if is != wants {
            lines.extend(is.map(|text| format!("- {chain}: {text}")));
            lines.extend(wants.map(|text| format!("+ {chain}: {text}")));
        }
    }
}
