//! Chains of others that have the last word: what they drop stays dropped, whatever our own chains accept.

use serde_json::Value;
use wiab_engine::outcome::Failure;

use super::nft::listing;
use crate::host::shell::Shell;
use crate::traffic::{FILTER, IPTABLES_COMMENT, listed};

/// Base chains of others that drop what is forwarded unless one of their rules accepts it: family, table, chain.
fn droppers(chains: &Value) -> Vec<(String, String, String)> {
    let items = chains.get("nftables").and_then(Value::as_array);
    let chains = items
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("chain"));
    chains
        .filter(|chain| {
            let is = |key: &str, value: &str| chain.get(key).and_then(Value::as_str) == Some(value);
            is("hook", "forward") && is("policy", "drop") && !is("table", FILTER.1)
        })
        .map(|chain| {
            let word = |key: &str| chain.get(key).and_then(Value::as_str).unwrap_or_default();
            (
                word("family").to_owned(),
                word("table").to_owned(),
                word("name").to_owned(),
            )
        })
        .collect()
}

/// The listing of docker's chain for the administrator's rules beside a chain that drops, if it is one of docker's.
async fn docker_user(
    sh: Shell<'_>,
    (family, table, chain): (&str, &str, &str),
) -> Result<Option<Value>, Failure> {
    if chain != "FORWARD" {
        return Ok(None);
    }
    listing(sh, &["chain", family, table, "DOCKER-USER"]).await
}

/// Fails where somebody else drops every forwarded packet. Docker is left out: there the bridge is let through by a step of
/// its own, see [`docker_lets_pass`].
pub(super) async fn nobody_drops(sh: Shell<'_>, bridge: &str) -> Result<(), Failure> {
    let Some(chains) = listing(sh, &["chains"]).await? else {
        return Err(Failure::clean("`nft` is not installed on the host")
            .hint("sudo apt-get install nftables"));
    };
    for (family, table, chain) in droppers(&chains) {
        if docker_user(sh, (&family, &table, &chain)).await?.is_some() {
            continue;
        }
        let who = match chain.as_str() {
            name if name.starts_with("filter_FORWARD") => "firewalld",
            "FORWARD" => "ufw, or rules of your own",
            _ => "rules of somebody else",
        };
        return Err(Failure::clean(format!(
            "chain {family} {table} {chain} ({who}) drops every forwarded packet that it does not accept: the VMs would \
             neither be reached nor reach anything"
        ))
        .code("traffic.foreign-drop")
        .hint(format!(
            "let the VMs' bridge pass there (ufw: `sudo ufw route allow in on {bridge}` and `sudo ufw route allow out on \
             {bridge}`, with DEFAULT_FORWARD_POLICY=\"ACCEPT\" in /etc/default/ufw; firewalld: `sudo systemctl disable \
             --now firewalld`), then run `wiab apply --resume`"
        )));
    }
    Ok(())
}

/// Fails where docker's filter drops what the VMs send and get.
pub(super) async fn docker_lets_pass(sh: Shell<'_>, bridge: &str) -> Result<(), Failure> {
    let Some(chains) = listing(sh, &["chains"]).await? else {
        return Ok(());
    };
    for (family, table, chain) in droppers(&chains) {
        let Some(user) = docker_user(sh, (&family, &table, &chain)).await? else {
            continue;
        };
        let user = listed(&user);
        let rules = user.rules.get("DOCKER-USER");
        let accepts = |way: &str| {
            let wanted = [format!("{way} == {bridge}"), "accept".to_owned()];
            let mut rules = rules.into_iter().flatten();
            rules.any(|(parts, _)| {
                let mut parts = parts.clone();
                parts.retain(|part| part != "counter" && part != IPTABLES_COMMENT);
                parts == wanted
            })
        };
        if !(accepts("iifname") && accepts("oifname")) {
            return Err(Failure::clean(format!(
                "docker drops what is forwarded to and from {bridge} (chain {family} {table} {chain}, policy drop): its \
                 chain DOCKER-USER does not let the VMs pass"
            ))
            .code("traffic.docker-drop")
            .hint("sudo systemctl restart wiab-docker-user; if there is no such unit, `wiab apply` adds it. Then `wiab apply --resume`"));
        }
    }
    Ok(())
}
