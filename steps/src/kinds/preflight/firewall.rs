//! `preflight.firewall/1`: other managers of rules, the port of ssh, sockets that the forwarding of calls takes over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::Failure;

use super::sockets::{Socket, listening};
use super::{Check, Report};
use crate::host::Cmd;
use crate::host::shell::Shell;
use crate::kind::{About, Out};

/// First port of the range that is forwarded to the calling node.
const CALLS: u16 = 32_768;
/// Ports that are forwarded to the VMs.
const FORWARDED: [u16; 3] = [80, 443, 3478];
/// Where sshd listens when nothing else is known.
const SSH_PORT: &str = "22";
/// Tables of ours begin so.
const OWN: &str = "wiab";

/// Looks at rules and sockets; has no parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightFirewall {}

/// What the ruleset shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    /// Tables of others that hold rules, docker's and libvirt's included.
    tables: BTreeSet<String>,
    /// Tables of others, except docker's, whose policy drops what is forwarded.
    drops: BTreeSet<String>,
    /// Whether docker's chain of that kind is there.
    docker_drops: bool,
}

fn rules(json: &Value) -> Rules {
    let mut found = Rules::default();
    let mut chains: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut dropping = BTreeSet::new();
    let items = json.get("nftables").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let part = |kind: &str, name: &str| {
            let text = item.get(kind)?.get(name)?.as_str()?;
            Some(text.to_owned())
        };
        let table = |kind: &str| {
            Some(format!(
                "{} {}",
                part(kind, "family")?,
                part(kind, "table")?
            ))
        };
        if let Some(name) = table("chain") {
            if part("chain", "hook").as_deref() == Some("forward")
                && part("chain", "policy").as_deref() == Some("drop")
            {
                dropping.insert(name.clone());
            }
            let chain = part("chain", "name").unwrap_or_default();
            chains.entry(name).or_default().insert(chain);
        }
        if let Some(name) = table("rule") {
            found.tables.insert(name);
        }
    }
    let own = |name: &String| {
        name.split(' ')
            .nth(1)
            .is_some_and(|name| name.starts_with(OWN))
    };
    found.tables.retain(|name| !own(name));
    for name in dropping.into_iter().filter(|name| !own(name)) {
        let docker = chains
            .get(&name)
            .is_some_and(|chains| chains.iter().any(|chain| chain.starts_with("DOCKER")));
        if docker {
            found.docker_drops = true;
        } else {
            found.drops.insert(name);
        }
    }
    found
}

impl PreflightFirewall {
    /// Output: the port over which the operator's ssh comes.
    pub const SSH_PORT: Out<Self> = Out::new("ssh_port");
    /// Output: tables of others that hold rules, separated by commas.
    pub const TABLES: Out<Self> = Out::new("tables");
    /// Output: `true` if docker drops what is forwarded.
    pub const DOCKER_DROPS: Out<Self> = Out::new("docker_drops");
    /// Output: `0`, `1`, or `absent` when the module is not loaded: whether bridged packets pass the rules.
    pub const BRIDGE_NF: Out<Self> = Out::new("bridge_nf");

    async fn managers(sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let ufw = sh.probe(&Cmd::new(["ufw", "status"]).root()).await?;
        if ufw.is_some_and(|output| output.text().contains("Status: active")) {
            report.error(
                "ufw",
                "ufw is active and drops what is forwarded to the VMs",
                "sudo ufw disable   (wiab's own rules open only what Wire needs)",
            );
        }
        let firewalld = Cmd::new(["systemctl", "is-active", "firewalld"]);
        if sh
            .probe(&firewalld)
            .await?
            .is_some_and(|output| output.ok())
        {
            report.error(
                "firewalld",
                "firewalld is active and rejects what is forwarded to the VMs",
                "sudo systemctl disable --now firewalld",
            );
        }
        Ok(())
    }

    async fn tables(sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let list = Cmd::new(["nft", "-j", "list", "ruleset"]).root();
        let Some(output) = sh.probe(&list).await?.filter(crate::host::Output::ok) else {
            report.fact(Self::TABLES.name(), "");
            report.fact(Self::DOCKER_DROPS.name(), "false");
            return Ok(());
        };
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let found = rules(&json);
        for table in &found.drops {
            report.warn(
                "forward-drop",
                format!("a chain of table `{table}` drops what is forwarded, whatever other tables accept"),
                format!("accept the VMs' network there: sudo nft list table {table}"),
            );
        }
        let tables: Vec<String> = found.tables.into_iter().collect();
        if !tables.is_empty() {
            report.note = format!("rules of others stay: {}", tables.join(", "));
        }
        report.fact(Self::TABLES.name(), tables.join(","));
        report.fact(Self::DOCKER_DROPS.name(), found.docker_drops.to_string());
        Ok(())
    }

    /// The port of the operator's own connection, else of the server's socket, else as it is configured.
    async fn ssh_port(sh: Shell<'_>, sockets: &[Socket]) -> Result<Option<String>, Failure> {
        let output = sh.probe(&Cmd::new(["printenv", "SSH_CONNECTION"])).await?;
        let text = output.map(|output| output.text()).unwrap_or_default();
        if let Some(port) = text.split_whitespace().nth(3) {
            return Ok(Some(port.to_owned()));
        }
        if let Some(socket) = sockets.iter().find(|socket| socket.process == "sshd") {
            return Ok(Some(socket.port.to_string()));
        }
        let output = sh.probe(&Cmd::new(["sshd", "-T"]).root()).await?;
        let text = output.map(|output| output.text()).unwrap_or_default();
        let port = text.lines().find_map(|line| line.strip_prefix("port "));
        Ok(port.map(|port| port.trim().to_owned()))
    }

    fn calls(sockets: &[Socket], report: &mut Report) {
        let taken = sockets.iter().filter(|socket| {
            socket.protocol == "udp" && socket.port >= CALLS && !socket.is_local()
        });
        let taken: BTreeSet<String> = taken
            .map(|socket| format!("{} ({})", socket.port, socket.whose()))
            .collect();
        if taken.is_empty() {
            return;
        }
        let taken: Vec<String> = taken.into_iter().collect();
        report.warn(
            "udp-ports",
            format!(
                "udp ports from {CALLS} on are forwarded to the calling node; what arrives for {} would go there, too",
                taken.join(", ")
            ),
            format!("give it a port below {CALLS}; over WireGuard you would lock yourself out"),
        );
    }

    async fn bridge(sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let key = "net.bridge.bridge-nf-call-iptables";
        let output = sh.probe(&Cmd::new(["sysctl", "-n", key])).await?;
        let value = output
            .filter(crate::host::Output::ok)
            .map(|output| output.text());
        let value = value.map_or_else(|| "absent".to_owned(), |value| value.trim().to_owned());
        report.fact(Self::BRIDGE_NF.name(), value);
        Ok(())
    }
}

impl Check for PreflightFirewall {
    const NAME: &'static str = "preflight.firewall/1";
    const ABOUT: About = About {
        purpose: "No other manager undoes the rules of the installation, and the operator is not locked out.",
        probe: "Asks ufw, firewalld and nft, the operator's own connection and the listening sockets.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        "check other firewalls and the port of ssh".to_owned()
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let mut report = Report::new("no rules of others");
        Self::managers(sh, &mut report).await?;
        Self::tables(sh, &mut report).await?;
        let sockets = listening(sh).await?.unwrap_or_default();
        let port = Self::ssh_port(sh, &sockets).await?;
        if port.is_none() {
            report.warn(
                "ssh",
                format!("no ssh server was found; port {SSH_PORT} is kept open"),
                "nothing, if nobody logs in from outside",
            );
        }
        let port = port.unwrap_or_else(|| SSH_PORT.to_owned());
        if FORWARDED.iter().any(|taken| taken.to_string() == port) {
            report.error(
                "ssh",
                format!("ssh comes over port {port}, which is forwarded to the VMs: you would be locked out"),
                "let sshd listen on another port, too (Port 22 in /etc/ssh/sshd_config), and log in over it",
            );
        }
        report.note = format!("ssh on port {port}, {}", report.note);
        report.fact(Self::SSH_PORT.name(), port);
        Self::calls(&sockets, &mut report);
        Self::bridge(sh, &mut report).await?;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_of_others_are_known_by_their_chains() {
        let chain = |table: &str, name: &str, policy: &str| json!({"chain": {"family": "ip", "table": table, "name": name, "hook": "forward", "policy": policy}});
        let rule = |table: &str| json!({"rule": {"family": "ip", "table": table}});
        let json = json!({"nftables": [
            {"metainfo": {}},
            chain("wiab_traffic", "forward", "drop"), rule("wiab_traffic"),
            chain("filter", "FORWARD", "drop"), rule("filter"),
            {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}},
            chain("mine", "forward", "drop"), rule("mine"),
            chain("calm", "forward", "accept"),
        ]});
        let found = rules(&json);
        assert_eq!(
            found.tables,
            BTreeSet::from(["ip filter", "ip mine"].map(str::to_owned))
        );
        assert_eq!(found.drops, BTreeSet::from(["ip mine".to_owned()]));
        assert!(found.docker_drops);
        assert_eq!(rules(&Value::Null), Rules::default());
    }
}
