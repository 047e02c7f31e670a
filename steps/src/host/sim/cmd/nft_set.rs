//! Named sets of nftables: interface names with comments.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::entity::{Rule, Table};
use super::nft::ABSENT;
use super::nft_text::{Reader, Token, syntax};

type Elements = BTreeMap<String, String>;

/// `add set`, `delete set`, `flush set`, `add element`, `delete element`.
pub(super) fn command(
    table: &mut Table,
    verb: &str,
    object: &str,
    reader: &mut Reader<'_>,
) -> Result<(), String> {
    let name = reader.word()?.to_owned();
    match (verb, object) {
        ("add", "set") => {
            if !reader.take_token(&Token::Open) {
                return Err(syntax("expecting '{'"));
            }
            let elements = body(reader)?;
            table.sets.entry(name).or_default().extend(elements);
        }
        ("delete", "set") => drop(table.sets.remove(&name).ok_or(ABSENT)?),
        ("flush", "set") => table.sets.get_mut(&name).ok_or(ABSENT)?.clear(),
        ("add", "element") => {
            let set = table.sets.get_mut(&name).ok_or(ABSENT)?;
            for (element, comment) in list(reader)? {
                // What is there stays as it is.
                set.entry(element).or_insert(comment);
            }
        }
        ("delete", "element") => {
            let set = table.sets.get_mut(&name).ok_or(ABSENT)?;
            for element in list(reader)?.keys() {
                set.remove(element).ok_or(ABSENT)?;
            }
        }
        _ => return Err(syntax(&format!("unexpected {verb}"))),
    }
    Ok(())
}

/// `set NAME { type ifname; elements = { "eth0" } }` inside a table.
pub(super) fn block(table: &mut Table, reader: &mut Reader<'_>) -> Result<(), String> {
    let name = reader.word()?.to_owned();
    if !reader.take_token(&Token::Open) {
        return Err(syntax("expecting '{'"));
    }
    let elements = body(reader)?;
    table.sets.entry(name).or_default().extend(elements);
    Ok(())
}

/// What stands between the braces of a set.
fn body(reader: &mut Reader<'_>) -> Result<Elements, String> {
    let mut elements = Elements::new();
    let mut typed = false;
    loop {
        reader.skip_ends();
        if reader.take_token(&Token::Close) {
            break;
        }
        match reader.word()? {
            "type" if reader.take("ifname") => typed = true,
            "elements" if reader.take("=") => elements = list(reader)?,
            other => return Err(syntax(&format!("unexpected string {other} in set"))),
        }
    }
    if typed {
        Ok(elements)
    } else {
        Err(syntax("set definition does not specify key"))
    }
}

/// `{ "eth0" comment "why", "eth1" }`.
fn list(reader: &mut Reader<'_>) -> Result<Elements, String> {
    if !reader.take_token(&Token::Open) {
        return Err(syntax("expecting '{'"));
    }
    let mut elements = Elements::new();
    loop {
        if reader.take_token(&Token::Close) {
            return Ok(elements);
        }
        if reader.take_token(&Token::Comma) || reader.take_token(&Token::End) {
            continue;
        }
        let element = reader.word()?.to_owned();
        let comment = if reader.take("comment") {
            reader.word()?.to_owned()
        } else {
            String::new()
        };
        elements.insert(element, comment);
    }
}

/// Refuses a rule that names a set which the table does not have.
pub(super) fn known(table: &Table, rule: &Rule) -> Result<(), String> {
    let rights = rule
        .expr
        .iter()
        .filter_map(|part| part.pointer("/match/right")?.as_str());
    for name in rights.filter_map(|right| right.strip_prefix('@')) {
        if !table.sets.contains_key(name) {
            return Err(ABSENT.to_owned());
        }
    }
    Ok(())
}

pub(super) fn objects(family: &str, name: &str, table: &Table) -> Vec<Value> {
    let sets = table.sets.iter().map(|(set, elements)| {
        let elements: Vec<Value> = elements
            .iter()
            .map(|(element, comment)| match comment.as_str() {
                "" => json!(element),
                comment => json!({"elem": {"val": element, "comment": comment}}),
            })
            .collect();
        let mut body = json!({
            "family": family, "name": set, "table": name, "type": "ifname", "handle": table.handle,
        });
        // nft leaves the key out when there is none.
        if let (false, Some(map)) = (elements.is_empty(), body.as_object_mut()) {
            map.insert("elem".to_owned(), Value::Array(elements));
        }
        json!({ "set": body })
    });
    sets.collect()
}

pub(super) fn text(table: &Table) -> String {
    let mut text = String::new();
    for (name, elements) in &table.sets {
        let _ = writeln!(text, "\tset {name} {{\n\t\ttype ifname");
        let shown: Vec<String> = elements
            .iter()
            .map(|(element, comment)| match comment.as_str() {
                "" => format!("\"{element}\""),
                comment => format!("\"{element}\" comment \"{comment}\""),
            })
            .collect();
        if !shown.is_empty() {
            let _ = writeln!(text, "\t\telements = {{ {} }}", shown.join(", "));
        }
        text += "\t}\n\n";
    }
    text
}
