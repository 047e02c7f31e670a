//! Questions to nftables: its JSON for decisions, its text for putting things back.

use serde_json::Value;
use wiab_engine::outcome::Failure;

use crate::host::Cmd;
use crate::host::shell::Shell;

/// The table of the hairpin rule.
pub(super) const TABLE: &str = "wiab_hairpin";
/// The comment by which the rule is known, also when others have put it elsewhere.
pub(super) const COMMENT: &str = "wire-hairpin-dnat-virbr0";

/// An `nft` command as root.
pub(super) fn nft(arguments: &[&str]) -> Cmd {
    Cmd::new(["nft"].iter().chain(arguments).copied()).root()
}

/// A rule as nft lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Its handle.
    pub(super) handle: u64,
    /// Its position in the chain, from 0.
    pub(super) index: u64,
    /// Its comment.
    pub(super) comment: String,
    /// Its expressions, counters set to zero.
    pub(super) expr: Value,
}

/// The rules of a JSON listing, in order.
fn rules(listing: &Value) -> Vec<Rule> {
    let items = listing.get("nftables").and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("rule"))
        .zip(0..)
        .map(|(rule, index)| Rule {
            handle: rule.get("handle").and_then(Value::as_u64).unwrap_or(0),
            index,
            comment: rule
                .get("comment")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            expr: without_counts(rule.get("expr").cloned().unwrap_or_default()),
        })
        .collect()
}

fn without_counts(mut expr: Value) -> Value {
    for part in expr.as_array_mut().into_iter().flatten() {
        if let Some(counter) = part.get_mut("counter") {
            *counter = Value::Null;
        }
    }
    expr
}

/// What nft lists, as JSON; `None` when the table or chain (or nft) does not exist.
pub(super) async fn listing(sh: Shell<'_>, what: &[&str]) -> Result<Option<Value>, Failure> {
    let mut arguments = vec!["-j", "list"];
    arguments.extend(what);
    let Some(output) = sh.probe(&nft(&arguments)).await? else {
        return Ok(None);
    };
    if !output.ok() {
        let said = output.error_text();
        return if said.contains("No such file or directory") {
            Ok(None)
        } else {
            Err(Failure::dirty(format!("nft cannot list: {said}")))
        };
    }
    serde_json::from_slice(&output.stdout)
        .map(Some)
        .map_err(|error| Failure::dirty(format!("nft's JSON cannot be read: {error}")))
}

/// The rules of a table or chain; `None` when it (or nft) does not exist.
pub(super) async fn list(sh: Shell<'_>, what: &[&str]) -> Result<Option<Vec<Rule>>, Failure> {
    Ok(listing(sh, what).await?.as_ref().map(rules))
}

/// The rules of our own table.
pub(super) async fn our_table(sh: Shell<'_>) -> Result<Option<Vec<Rule>>, Failure> {
    list(sh, &["table", "ip", TABLE]).await
}

/// Our own table as text that nft reads back; `None` when it does not exist.
pub(super) async fn our_table_text(sh: Shell<'_>) -> Result<Option<String>, Failure> {
    table_text(sh, ("ip", TABLE)).await
}

/// A table as text that nft reads back; `None` when it does not exist.
pub(super) async fn table_text(
    sh: Shell<'_>,
    (family, name): (&str, &str),
) -> Result<Option<String>, Failure> {
    if listing(sh, &["table", family, name]).await?.is_none() {
        return Ok(None);
    }
    let output = sh.ok(&nft(&["list", "table", family, name])).await?;
    Ok(Some(output.text()))
}

/// Checks a script and applies it, as one transaction.
pub(super) async fn load(sh: Shell<'_>, script: &str) -> Result<(), Failure> {
    sh.ok(&nft(&["-c", "-f", "-"]).stdin(script))
        .await
        .map_err(|failure| Failure {
            why: format!("nft does not accept the rules: {}", failure.why),
            ..failure
        })?;
    sh.ok(&nft(&["-f", "-"]).stdin(script)).await.map(drop)
}

/// A script that replaces our table by `text`, whether or not it exists.
pub(super) fn replacing(text: &str) -> String {
    format!("table ip {TABLE}\ndelete table ip {TABLE}\n{text}")
}

/// Removes our table if it exists.
pub(super) async fn drop_table(sh: Shell<'_>) -> Result<(), Failure> {
    if our_table(sh).await?.is_none() {
        return Ok(());
    }
    load(sh, &format!("delete table ip {TABLE}\n")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_in_order_without_their_counts() {
        let listing: Value = serde_json::from_str(
            r#"{"nftables":[{"metainfo":{"version":"1.0.6"}},{"table":{"family":"ip","name":"t","handle":1}},
            {"rule":{"family":"ip","table":"t","chain":"c","handle":4,"comment":"x","expr":[{"counter":{"packets":3,"bytes":9}},{"masquerade":null}]}},
            {"rule":{"handle":9,"expr":[{"accept":null}]}}]}"#,
        )
        .unwrap();
        let rules = rules(&listing);
        assert_eq!(rules.len(), 2);
        assert_eq!((rules[0].handle, rules[0].index), (4, 0));
        assert_eq!(rules[0].comment, "x");
        assert_eq!(rules[0].expr[0]["counter"], Value::Null);
        assert_eq!((rules[1].handle, rules[1].index), (9, 1));
    }
}
