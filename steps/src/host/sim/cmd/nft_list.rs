//! Listings of nftables, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::entity::{Chain, Table};
use super::nft::{Tables, table_name};
use super::nft_set;
use super::nft_text::{Reader, syntax, tokens};

/// What is listed.
struct Scope {
    table: Option<String>,
    chain: Option<String>,
    rules: bool,
}

pub(super) fn list(
    tables: &Tables,
    what: &[&str],
    json: bool,
    handles: bool,
) -> Result<String, String> {
    let words = tokens(&what.join(" "))?;
    let mut reader = Reader::new(&words);
    let mut scope = Scope {
        table: None,
        chain: None,
        rules: true,
    };
    match reader.word()? {
        "ruleset" => {}
        "tables" => {
            let shown = tables.iter().map(|(name, table)| {
                if json {
                    table_json(name, table).to_string()
                } else {
                    format!("table {name}\n")
                }
            });
            let all: Vec<String> = shown.collect();
            return Ok(if json { wrap(&all) } else { all.concat() });
        }
        "chains" => scope.rules = false,
        "table" => scope.table = Some(table_name(&mut reader)?),
        "chain" => {
            scope.table = Some(table_name(&mut reader)?);
            scope.chain = Some(reader.word()?.to_owned());
        }
        other => return Err(syntax(&format!("unexpected string {other}"))),
    }
    let missing = || {
        format!(
            "Error: No such file or directory\nlist {}\n",
            what.join(" ")
        )
    };
    if let Some(name) = &scope.table {
        let table = tables.get(name).ok_or_else(missing)?;
        if scope
            .chain
            .as_ref()
            .is_some_and(|chain| !table.chains.contains_key(chain))
        {
            return Err(missing());
        }
    }
    let wanted = tables
        .iter()
        .filter(|(name, _)| scope.table.as_ref().is_none_or(|table| table == *name));
    Ok(if json {
        let all: Vec<String> = wanted
            .flat_map(|(name, table)| objects(name, table, &scope))
            .map(|object| object.to_string())
            .collect();
        wrap(&all)
    } else {
        wanted
            .map(|(name, table)| text_of(name, table, &scope, handles))
            .collect()
    })
}

fn wrap(objects: &[String]) -> String {
    let head = r#"{"metainfo": {"version": "1.0.2", "release_name": "Lester Gooch", "json_schema_version": 1}}"#;
    let mut all = vec![head.to_owned()];
    all.extend_from_slice(objects);
    format!("{{\"nftables\": [{}]}}\n", all.join(", "))
}

fn table_json(name: &str, table: &Table) -> Value {
    let (family, name) = name.split_once(' ').unwrap_or(("ip", name));
    json!({"table": {"family": family, "name": name, "handle": table.handle}})
}

fn chains<'a>(table: &'a Table, scope: &'a Scope) -> impl Iterator<Item = (&'a String, &'a Chain)> {
    table
        .order
        .iter()
        .filter(|name| scope.chain.as_ref().is_none_or(|chain| chain == *name))
        .filter_map(|name| table.chains.get_key_value(name))
}

fn objects(name: &str, table: &Table, scope: &Scope) -> Vec<Value> {
    let (family, table_name) = name.split_once(' ').unwrap_or(("ip", name));
    let mut all = Vec::new();
    if scope.chain.is_none() {
        all.push(table_json(name, table));
        all.extend(nft_set::objects(family, table_name, table));
    }
    for (chain_name, chain) in chains(table, scope) {
        let mut body = json!({
            "family": family, "table": table_name, "name": chain_name, "handle": chain.handle,
        });
        if let (Some(hook), Some(map)) = (&chain.hook, body.as_object_mut()) {
            map.insert("type".to_owned(), json!(hook.kind));
            map.insert("hook".to_owned(), json!(hook.at));
            map.insert("prio".to_owned(), json!(hook.priority));
            map.insert("policy".to_owned(), json!(hook.policy));
        }
        all.push(json!({ "chain": body }));
    }
    if !scope.rules {
        return all;
    }
    for (chain_name, chain) in chains(table, scope) {
        for rule in &chain.rules {
            let mut body = json!({
                "family": family, "table": table_name, "chain": chain_name, "handle": rule.handle,
            });
            if let (Some(comment), Some(map)) = (&rule.comment, body.as_object_mut()) {
                map.insert("comment".to_owned(), json!(comment));
            }
            if let Some(map) = body.as_object_mut() {
                map.insert("expr".to_owned(), json!(rule.expr));
            }
            all.push(json!({ "rule": body }));
        }
    }
    all
}

fn text_of(name: &str, table: &Table, scope: &Scope, handles: bool) -> String {
    let note = |handle: u64| {
        if handles {
            format!(" # handle {handle}")
        } else {
            String::new()
        }
    };
    let mut text = format!("table {name} {{{}\n", note(table.handle));
    if scope.chain.is_none() {
        text += &nft_set::text(table);
    }
    for (index, (chain_name, chain)) in chains(table, scope).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let _ = writeln!(text, "\tchain {chain_name} {{{}", note(chain.handle));
        if let Some(hook) = &chain.hook {
            let _ = writeln!(
                text,
                "\t\ttype {} hook {} priority {}; policy {};",
                hook.kind, hook.at, hook.priority, hook.policy
            );
        }
        for rule in chain.rules.iter().filter(|_| scope.rules) {
            let _ = writeln!(text, "\t\t{}{}", rule.text, note(rule.handle));
        }
        text += "\t}\n";
    }
    text + "}\n"
}
