//! `iptables -w VERB CHAIN …` for chains of the table `ip filter`, which nft shows as well.

use serde_json::json;

use super::super::entity::Table;
use super::super::state::Draft;
use super::nft_text::tokens;
use super::{Call, Reply, nft_rule};

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let words: Vec<&str> = call
        .args
        .iter()
        .copied()
        .filter(|word| *word != "-w" && *word != "-n")
        .collect();
    let ["-L" | "-I" | "-C" | "-D", chain, rule @ ..] = words.as_slice() else {
        return call.complain(2, "only `iptables -L|-I|-C|-D CHAIN` is simulated");
    };
    if !call.root {
        return call.complain(
            4,
            "Could not fetch rule set generation id: Permission denied (you must be root)",
        );
    }
    let Some(mut table) = draft
        .get::<Table>("ip filter")
        .filter(|table| table.chains.contains_key(*chain))
    else {
        return call.complain(1, "No chain/target/match by that name.");
    };
    let verb = words.first().copied().unwrap_or_default();
    if verb == "-L" {
        return Reply::ok(format!("Chain {chain} (1 references)\n")).took(5);
    }
    let Some(mut wanted) = parse(rule) else {
        return call.complain(2, "this rule is not simulated");
    };
    let handle = table.next_handle;
    let Some(found) = table.chains.get_mut(*chain) else {
        return call.complain(1, "No chain/target/match by that name.");
    };
    let at = found.rules.iter().position(|rule| rule.text == wanted.text);
    match (verb, at) {
        ("-I", _) => {
            wanted.handle = handle;
            found.rules.insert(0, wanted);
            table.next_handle += 1;
        }
        ("-C", Some(_)) => return Reply::ok("").took(5),
        ("-D", Some(at)) => drop(found.rules.remove(at)),
        _ => return call.complain(1, "Bad rule (does a matching rule exist in that chain?)."),
    }
    draft.put("ip filter", &table);
    Reply::ok("").took(5)
}

/// `-i NAME -m comment --comment TEXT -j ACCEPT` as nft would show it.
fn parse(rule: &[&str]) -> Option<super::super::entity::Rule> {
    let [
        way,
        name,
        "-m",
        "comment",
        "--comment",
        comment,
        "-j",
        "ACCEPT",
    ] = rule
    else {
        return None;
    };
    let key = match *way {
        "-i" => "iifname",
        "-o" => "oifname",
        _ => return None,
    };
    let text = format!("{key} \"{name}\" counter accept comment \"{comment}\"");
    let mut rule = nft_rule::parse(&tokens(&text).ok()?).ok()?;
    // nft shows a match of iptables' own, and not what the comment says.
    rule.comment = None;
    let shown = json!({"xt": {"type": "match", "name": "comment"}});
    rule.expr.insert(1, shown);
    Some(rule)
}
