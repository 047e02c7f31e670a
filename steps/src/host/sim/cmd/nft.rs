//! `nft`: scripts are atomic; listings as text and JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::entity::{Chain, Hook, Table};
use super::super::state::Draft;
use super::nft_list::list;
use super::nft_rule;
use super::nft_set;
use super::nft_text::{Reader, Token, syntax, tokens};
use super::{Call, Reply, ingress};

const NFT_MS: u64 = 15;
pub(super) const ABSENT: &str = "Error: Could not process rule: No such file or directory\n";
const EXISTS: &str = "Error: Could not process rule: File exists\n";

pub(super) type Tables = BTreeMap<String, Table>;

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (mut json, mut handles, mut check) = (false, false, false);
    let mut args = call.args.as_slice();
    let mut script = None;
    while let Some((first, rest)) = args.split_first() {
        match *first {
            "-f" | "--file" => script = rest.first().copied(),
            "-j" | "--json" => json = true,
            "-a" | "--handle" => handles = true,
            "-c" | "--check" => check = true,
            "-n" | "-s" | "--numeric" | "--stateless" => {}
            "-ja" | "-aj" => (json, handles) = (true, true),
            "-cf" => (check, script) = (true, rest.first().copied()),
            "-v" | "--version" => return Reply::ok("nftables v1.0.2 (Lester Gooch)\n"),
            _ => break,
        }
        args = rest;
        if matches!(*first, "-f" | "--file" | "-cf") {
            break;
        }
    }
    if !call.root {
        return Reply::fail(1, "Operation not permitted (you must be root)\nnetlink: Error: cache initialization failed: Operation not permitted\n").took(NFT_MS);
    }
    ingress::tick(draft);
    let done = match (script, args) {
        (Some(path), _) => match call.content(draft, path) {
            Some(text) => change(draft, &text, check),
            None => Err(format!(
                "Error: Could not open file \"{path}\": No such file or directory\n"
            )),
        },
        (None, ["list", what @ ..]) => list(&tables_of(draft), what, json, handles),
        (None, words) => change(draft, &words.join(" "), check),
    };
    match done {
        Ok(text) => Reply::ok(text),
        Err(text) => Reply::fail(1, text),
    }
    .took(NFT_MS)
}

fn tables_of(draft: &Draft<'_>) -> Tables {
    draft.list::<Table>().into_iter().collect()
}

/// Loads a script as `nft -f` does: as a whole or not at all.
pub(crate) fn load(draft: &mut Draft<'_>, script: &str) -> Result<(), String> {
    change(draft, script, false).map(drop)
}

fn change(draft: &mut Draft<'_>, script: &str, check: bool) -> Result<String, String> {
    let mut tables = tables_of(draft);
    let tokens = tokens(script)?;
    let mut reader = Reader::new(&tokens);
    loop {
        reader.skip_ends();
        if reader.peek().is_none() {
            break;
        }
        command(&mut tables, &mut reader)?;
    }
    if check {
        return Ok(String::new());
    }
    for name in draft.names::<Table>("") {
        if !tables.contains_key(&name) {
            draft.del::<Table>(&name);
        }
    }
    for (name, table) in &tables {
        draft.put(name, table);
    }
    Ok(String::new())
}

/// Family and name, `ip` if no family is given.
pub(super) fn table_name(reader: &mut Reader<'_>) -> Result<String, String> {
    let first = reader.word()?;
    match first {
        "ip" | "ip6" | "inet" | "arp" | "bridge" | "netdev" => {
            Ok(format!("{first} {}", reader.word()?))
        }
        name => Ok(format!("ip {name}")),
    }
}

fn table_mut<'a>(tables: &'a mut Tables, name: &str) -> Result<&'a mut Table, String> {
    tables.get_mut(name).ok_or_else(|| ABSENT.to_owned())
}

fn add_table(tables: &mut Tables, name: &str) {
    let handle = tables.values().map(|table| table.handle).max().unwrap_or(0) + 1;
    tables.entry(name.to_owned()).or_insert(Table {
        handle,
        next_handle: 1,
        order: Vec::new(),
        chains: BTreeMap::new(),
        sets: BTreeMap::new(),
    });
}

fn command(tables: &mut Tables, reader: &mut Reader<'_>) -> Result<(), String> {
    let verb = reader.word()?;
    if verb == "table" {
        return table_block(tables, reader);
    }
    if verb == "flush" && reader.take("ruleset") {
        reader.statement();
        tables.clear();
        return Ok(());
    }
    let object = match reader.word()? {
        object @ ("table" | "chain" | "rule" | "set" | "element") => object,
        other => return Err(syntax(&format!("unexpected string {other}"))),
    };
    let name = table_name(reader)?;
    match (verb, object) {
        ("add" | "create", "table") => {
            if verb == "create" && tables.contains_key(&name) {
                return Err(EXISTS.to_owned());
            }
            add_table(tables, &name);
        }
        ("delete", "table") => drop(tables.remove(&name).ok_or(ABSENT)?),
        ("flush", "table") => {
            let table = table_mut(tables, &name)?;
            table
                .chains
                .values_mut()
                .for_each(|chain| chain.rules.clear());
        }
        ("add" | "create", "chain") => {
            let table = table_mut(tables, &name)?;
            let chain = reader.word()?;
            if verb == "create" && table.chains.contains_key(chain) {
                return Err(EXISTS.to_owned());
            }
            let hook = if reader.take_token(&Token::Open) {
                chain_spec(reader)?
            } else {
                None
            };
            add_chain(table, chain, hook);
        }
        ("delete", "chain") => delete_chain(table_mut(tables, &name)?, reader.word()?)?,
        ("flush", "chain") => chain_mut(table_mut(tables, &name)?, reader.word()?)?
            .rules
            .clear(),
        (verb, "set" | "element") => {
            nft_set::command(table_mut(tables, &name)?, verb, object, reader)?;
        }
        (_, "rule") => rule(table_mut(tables, &name)?, verb, reader)?,
        _ => return Err(syntax(&format!("unexpected {verb}"))),
    }
    match reader.statement() {
        [] => Ok(()),
        [first, ..] => Err(syntax(&format!("unexpected string {}", first.text()))),
    }
}

fn chain_mut<'a>(table: &'a mut Table, name: &str) -> Result<&'a mut Chain, String> {
    table.chains.get_mut(name).ok_or_else(|| ABSENT.to_owned())
}

fn add_chain(table: &mut Table, name: &str, hook: Option<Hook>) {
    let handle = table.next_handle;
    if !table.chains.contains_key(name) {
        table.next_handle += 1;
        table.order.push(name.to_owned());
        let rules = Vec::new();
        table.chains.insert(
            name.to_owned(),
            Chain {
                handle,
                hook,
                rules,
            },
        );
    }
}

fn delete_chain(table: &mut Table, name: &str) -> Result<(), String> {
    if !table.chains.contains_key(name) {
        return Err(ABSENT.to_owned());
    }
    let used = table.chains.values().any(|chain| {
        let targets = |kind: &str, expr: &Value| {
            expr.pointer(&format!("/{kind}/target"))
                .and_then(Value::as_str)
                == Some(name)
        };
        let rules = || chain.rules.iter().flat_map(|rule| &rule.expr);
        rules().any(|expr| targets("jump", expr) || targets("goto", expr))
    });
    if used {
        return Err("Error: Could not process rule: Device or resource busy\n".to_owned());
    }
    table.chains.remove(name);
    table.order.retain(|known| known != name);
    Ok(())
}

/// `type nat hook postrouting priority 100; policy accept; }`
fn chain_spec(reader: &mut Reader<'_>) -> Result<Option<Hook>, String> {
    let mut hook = None;
    loop {
        reader.skip_ends();
        if reader.take_token(&Token::Close) {
            return Ok(hook);
        }
        if !chain_property(reader, &mut hook)? {
            return Err(syntax("unexpected string in chain"));
        }
    }
}

fn chain_property(reader: &mut Reader<'_>, hook: &mut Option<Hook>) -> Result<bool, String> {
    if reader.take("type") {
        let kind = reader.word()?.to_owned();
        if !reader.take("hook") {
            return Err(syntax("expecting hook"));
        }
        let at = reader.word()?.to_owned();
        if !reader.take("priority") {
            return Err(syntax("expecting priority"));
        }
        let priority = match reader.word()? {
            "srcnat" => 100,
            "dstnat" => -100,
            "filter" => 0,
            "mangle" => -150,
            number => number.parse().map_err(|_| syntax("invalid priority"))?,
        };
        *hook = Some(Hook {
            kind,
            at,
            priority,
            policy: "accept".to_owned(),
        });
        return Ok(true);
    }
    if reader.take("policy") {
        let policy = reader.word()?.to_owned();
        if let Some(hook) = hook {
            hook.policy = policy;
        }
        return Ok(true);
    }
    Ok(false)
}

/// `table ip nat { chain X { … } … }`
fn table_block(tables: &mut Tables, reader: &mut Reader<'_>) -> Result<(), String> {
    let name = table_name(reader)?;
    add_table(tables, &name);
    let table = table_mut(tables, &name)?;
    if !reader.take_token(&Token::Open) {
        return Ok(());
    }
    loop {
        reader.skip_ends();
        if reader.take_token(&Token::Close) {
            return Ok(());
        }
        if reader.take("set") {
            nft_set::block(table, reader)?;
            continue;
        }
        if !reader.take("chain") {
            return Err(syntax("only chains and sets are simulated inside a table"));
        }
        let chain = reader.word()?;
        if !reader.take_token(&Token::Open) {
            return Err(syntax("expecting '{'"));
        }
        chain_block(table, chain, reader)?;
    }
}

fn chain_block(table: &mut Table, name: &str, reader: &mut Reader<'_>) -> Result<(), String> {
    let mut hook = None;
    let mut rules = Vec::new();
    loop {
        reader.skip_ends();
        if reader.take_token(&Token::Close) {
            break;
        }
        if !chain_property(reader, &mut hook)? {
            rules.push(nft_rule::parse(reader.statement())?);
        }
    }
    add_chain(table, name, hook);
    for rule in &rules {
        nft_set::known(table, rule)?;
    }
    for mut rule in rules {
        rule.handle = take_handle(table);
        chain_mut(table, name)?.rules.push(rule);
    }
    Ok(())
}

fn take_handle(table: &mut Table) -> u64 {
    let handle = table.next_handle;
    table.next_handle += 1;
    handle
}

fn rule(table: &mut Table, verb: &str, reader: &mut Reader<'_>) -> Result<(), String> {
    let name = reader.word()?;
    let rules = &chain_mut(table, name)?.rules;
    let mut at = match verb {
        "add" => rules.len(),
        _ => 0,
    };
    let handle = match reader.peek() {
        Some(token) if token.is("handle") || token.is("position") => {
            reader.next();
            Some(reader.number()?)
        }
        _ => None,
    };
    if let Some(handle) = handle.filter(|handle| *handle > 0) {
        let found = rules.iter().position(|rule| rule.handle == handle);
        at = found.ok_or(ABSENT)? + usize::from(verb == "add");
    }
    match (verb, handle) {
        ("delete", Some(_)) => {
            chain_mut(table, name)?.rules.remove(at);
        }
        ("add" | "insert", _) => {
            let mut rule = nft_rule::parse(reader.statement())?;
            nft_set::known(table, &rule)?;
            rule.handle = take_handle(table);
            chain_mut(table, name)?.rules.insert(at, rule);
        }
        _ => return Err(syntax("unexpected string, expecting handle")),
    }
    Ok(())
}
