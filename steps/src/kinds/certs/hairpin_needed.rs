//! `hairpin.needed/1`: measures with packets whether the VMs reach the host's public address, and whether the rule would help.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::at_once::all;
use super::super::login::Login;
use super::super::nft_hairpin::NftHairpin;
use super::super::patience::Patience;
use super::super::tool::Toolbox;
use super::super::{Act, bound, only_looked};
use super::hairpin_way::{BRIDGE_NF, NO, Seen, Tried, YES, burst};
use super::{KubeNode, Reached, is_ssh, on_host, reached, try_web};
use crate::host::Output;
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind, Out, Pace};

const POLL_MS: u64 = 3_000;
/// Port of the ingress controller on every node.
const NODE_PORT: u16 = 31_772;
/// Whether VMs reach the public address, which cert-manager's own check needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HairpinNeeded {
    /// The public address.
    pub host_ip: String,
    /// The Kubernetes nodes.
    pub nodes: Vec<KubeNode>,
    /// How they are logged in to.
    pub login: Login,
    /// The rule that would be added.
    pub rule: NftHairpin,
    /// The certificates for whose sake all this is; once they are issued, only renewal needs the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// How long the ingress controller may take to answer on all nodes, in milliseconds.
    pub deadline_ms: u64,
}

/// Certificates that are asked for, or issued already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// Where kubectl runs.
    pub toolbox: Toolbox,
    /// Their names.
    pub names: Vec<String>,
    /// Whether the rule is not needed any more once they are there.
    pub then_remove: bool,
}

impl Certificates {
    /// Whether all of them are issued. A cluster that does not answer has issued none.
    async fn are_issued(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        let mut args = vec!["get", "certificates", "--ignore-not-found", "-o", "json"];
        args.extend(self.names.iter().map(String::as_str));
        let Ok(cmd) = self.toolbox.kubectl(&args) else {
            return Ok(false);
        };
        let Some(output) = sh.probe(&cmd).await?.filter(Output::ok) else {
            return Ok(false);
        };
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let one = std::slice::from_ref(&answer);
        let items = answer.get("items").and_then(Value::as_array);
        let ready = |item: &&Value| {
            let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
            conditions.into_iter().flatten().any(|condition| {
                let text = |key| condition.get(key).and_then(Value::as_str);
                (text("type"), text("status")) == (Some("Ready"), Some("True"))
            })
        };
        let count = items
            .map_or(one, Vec::as_slice)
            .iter()
            .filter(ready)
            .count();
        Ok(count >= self.names.len())
    }
}

/// What one look found.
enum Look {
    Measured(Receipt),
    Waiting(String),
    Broken(Failure),
}

/// Where the public address is, and how bridged packets are treated.
struct Ground {
    local: bool,
    bridged: bool,
}

impl HairpinNeeded {
    /// Output: `yes`, `no` or `elsewhere`.
    pub const NEEDED: Out<Self> = Out::new("needed");
    /// Output: `yes` while a certificate is still to be issued, else `no`.
    pub const WAITING: Out<Self> = Out::new("waiting");
    /// Output: why, in one sentence.
    pub const REASON: Out<Self> = Out::new("reason");

    /// Tries each node's own port from the host: without that nothing can be said about the way.
    async fn ingress(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let mut asked = Vec::new();
        for node in &self.nodes {
            let url = format!("http://{}:{NODE_PORT}/", node.ip()?);
            asked.push(on_host(try_web(&[], &url)));
        }
        let branches = asked.iter().map(|cmd| sh.probe(cmd)).collect();
        for (node, output) in self.nodes.iter().zip(all(sh, branches).await) {
            let Some(output) = output? else {
                return Ok(Some("`curl` is not installed on the host".to_owned()));
            };
            if reached(output.code) != Reached::Yes {
                return Ok(Some(format!(
                    "the ingress controller on {} does not answer on port {NODE_PORT} yet",
                    node.name
                )));
            }
        }
        Ok(None)
    }

    async fn ground(&self, sh: Shell<'_>) -> Result<Ground, Failure> {
        let output = sh.ok(&Cmd::new(["ip", "-j", "addr"])).await?;
        let links: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let local = links.as_array().into_iter().flatten().any(|link| {
            let list = link.get("addr_info").and_then(Value::as_array);
            let mut list = list.into_iter().flatten();
            list.any(|one| one.get("local").and_then(Value::as_str) == Some(&self.host_ip))
        });
        // Without the module br_netfilter there is no such key, and bridged frames are not shown.
        let output = sh.run(&Cmd::new(["sysctl", "-n", BRIDGE_NF])).await?;
        let bridged = output.ok() && output.text().trim() == "1";
        Ok(Ground { local, bridged })
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Look, Failure> {
        let issued = match &self.certificates {
            Some(certificates) => certificates.are_issued(sh).await?,
            None => false,
        };
        let waiting = if issued { NO } else { YES };
        let done = issued
            && self
                .certificates
                .as_ref()
                .is_some_and(|all| all.then_remove);
        if done {
            let reason = "all certificates are issued, and the rule is not kept for their renewal";
            let receipt = Receipt::note(reason)
                .with(Self::NEEDED.name(), NO)
                .with(Self::REASON.name(), reason);
            return Ok(Look::Measured(receipt.with(Self::WAITING.name(), waiting)));
        }
        Ok(match self.way(sh).await? {
            Look::Measured(receipt) => Look::Measured(receipt.with(Self::WAITING.name(), waiting)),
            other => other,
        })
    }

    async fn way(&self, sh: Shell<'_>) -> Result<Look, Failure> {
        if let Some(waiting) = self.ingress(sh).await? {
            return Ok(Look::Waiting(waiting));
        }
        let argv = burst(&self.host_ip);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let mut nodes = Vec::new();
        for node in &self.nodes {
            let cmd = self.login.cmd(node.ip()?, &argv);
            let output = sh.run(&cmd).await?;
            if is_ssh(output.code) {
                return Ok(Look::Waiting(format!(
                    "{} does not answer on ssh",
                    node.name
                )));
            }
            match Tried::read(&node.name, &output.text()) {
                Ok(Some(tried)) => nodes.push(tried),
                Ok(None) => return Ok(Look::Broken(self.refused(&node.name))),
                Err(failure) => return Ok(Look::Broken(failure)),
            }
        }
        let Ground { local, bridged } = self.ground(sh).await?;
        // With bridge-nf a loss here and there is what is looked for. Elsewhere it may be a machine under load.
        if !(local && bridged) {
            for (node, tried) in self.nodes.iter().zip(&mut nodes) {
                if tried.partly() && self.patiently(sh, node).await? {
                    tried.only_slow();
                }
            }
        }
        let seen = Seen {
            host_ip: &self.host_ip,
            nodes: &nodes,
            local,
            bridged,
            ruled: self.rule.is_there(sh).await?,
        };
        let (needed, reason) = seen.judge();
        let receipt = Receipt::note(reason.clone())
            .with(Self::NEEDED.name(), needed)
            .with(Self::REASON.name(), reason);
        Ok(Look::Measured(receipt))
    }

    /// Whether a node gets through each of some times, when it takes its time.
    async fn patiently(&self, sh: Shell<'_>, node: &KubeNode) -> Result<bool, Failure> {
        let url = format!("http://{}/?[1-6]", self.host_ip);
        let cmd = self.login.cmd(node.ip()?, &try_web(&[], &url));
        let output = sh.run(&cmd.timeout_ms(60_000)).await?;
        Ok(!is_ssh(output.code) && reached(output.code) == Reached::Yes)
    }

    fn refused(&self, node: &str) -> Failure {
        Failure::clean(format!(
            "from {node}, nothing listens at {}:80, though the ingress controller answers on every node: the port forwarding is missing",
            self.host_ip
        ))
        .hint("`wiab apply` looks at the firewall again (step fw.apply) and puts it back")
        .code("hairpin.refused")
    }
}

impl HairpinNeeded {
    /// Looks until all is well, or for too long.
    async fn measure(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        let mut patience = Patience::new(sh, self.deadline_ms, POLL_MS);
        loop {
            let waiting = match self.look(sh).await? {
                Look::Measured(receipt) => return Ok(receipt),
                Look::Broken(failure) => return Err(failure),
                Look::Waiting(waiting) => waiting,
            };
            patience.show(&waiting);
            if !patience.rest().await {
                return Err(Failure::clean(format!(
                    "{waiting} after {} s",
                    self.deadline_ms / 1_000
                ))
                .hint("look at the pods of the release ingress-nginx-controller (step helm.ingress-nginx-controller), then `wiab apply --resume`")
                .code("hairpin.no-ingress"));
            }
        }
    }
}

impl Kind for HairpinNeeded {
    const NAME: &'static str = "hairpin.needed/1";
    const ABOUT: About = About {
        purpose: "The hairpin rule is only added where it helps, and before the first self-check needs it.",
        probe: "Opens twelve connections at once from every Kubernetes node to the public address, each given up before a lost packet would be repeated, so that losses show; reads the host's addresses and `bridge-nf-call-iptables`.",
        effect: "The same, after waiting until the ingress controller answers on every node; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("measure the way from the VMs to {}", self.host_ip)
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            timeout_ms: self.deadline_ms.saturating_add(120_000),
            usual_ms: 20_000,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for HairpinNeeded {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let known = self.nodes.iter().all(|node| node.ip.get().is_some());
        if !known {
            return Ok(Probe::Absent);
        }
        Ok(match self.look(sh).await? {
            Look::Measured(receipt) => Probe::Satisfied(receipt),
            Look::Waiting(_) | Look::Broken(_) => Probe::Absent,
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        self.measure(sh).await.map_err(only_looked)
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}
