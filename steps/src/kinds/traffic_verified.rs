//! `traffic.verified/1`: waits until the nodes answer web traffic, and proves the way from and to the VMs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, Residue, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::login::{Login, SSH_FAILED};
use super::nft::listing;
use super::nft_foreign::{docker_lets_pass, nobody_drops};
use super::patience::Patience;
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Output};
use crate::kind::{About, Input, Kind, Pace};
use crate::traffic::{FILTER, NAT, NODE_PORTS, Traffic};

const POLL_MS: u64 = 5_000;
/// Longest answer of a node or of the outside, in seconds.
const ANSWER_S: &str = "10";
const CURL_MS: u64 = 15_000;
/// Most of what is missing that is named.
const NAMED_MAX: usize = 4;

/// Traffic that shall flow. Changes nothing.
///
/// The host's own public address is never asked from the host: what the host itself sends does not pass the rules for what
/// comes in, so that fails on a machine where all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficVerified {
    /// The public interface.
    pub wan: Input<String>,
    /// What the rules depend on.
    pub traffic: Traffic,
    /// How the VM is logged in to.
    pub login: Login,
    /// Name of the VM that asks.
    pub vm: String,
    /// Its address.
    pub ip: String,
    /// What the VMs must reach outside, as a URL; not asked of a private installation.
    pub outside: Option<String>,
    /// How long to wait for answers, in milliseconds.
    pub deadline_ms: u64,
}

/// What one look finds. Where waiting is pointless, the look itself fails.
#[derive(Debug, Default)]
struct Found {
    /// Who did not get which answer.
    silent: Vec<String>,
    /// What to do about the first of them.
    hint: String,
}

impl Found {
    fn add(&mut self, what: String, hint: impl Into<String>) {
        if self.silent.is_empty() {
            self.hint = hint.into();
        }
        self.silent.push(what);
    }
}

/// Any answer of HTTP counts, also 404.
const CURL: [&str; 10] = [
    "curl",
    "-sSk",
    "-o",
    "/dev/null",
    "--noproxy",
    "*",
    "--connect-timeout",
    "5",
    "--max-time",
    ANSWER_S,
];

/// The last thing that a command said.
fn said(output: &Output) -> String {
    let text = output.error_text();
    let last = text.lines().next_back().unwrap_or("no reason given");
    last.trim_start_matches("curl: ").to_owned()
}

impl TrafficVerified {
    /// The kernel forwards, and the rules are those wanted: every one of them, its counter included.
    async fn rules(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let key = "net.ipv4.ip_forward";
        let forward = sh.run(&Cmd::new(["sysctl", "-n", key])).await?;
        if forward.text().trim() != "1" {
            return Err(Failure::clean(format!(
                "the host does not forward packets ({key} is not 1): nobody reaches the VMs, and they reach nobody"
            ))
            .code("traffic.forwarding")
            .hint(format!("sudo sysctl -w {key}=1; something turned it off: `grep -rs ip_forward /etc/sysctl.conf /etc/sysctl.d /etc/ufw`. Then `wiab apply --resume`")));
        }
        let (wan, mut found) = (known(&self.wan, "wan")?, Vec::new());
        for (family, name) in [FILTER, NAT] {
            found.push(listing(sh, &["table", family, name]).await?);
        }
        let found = [0, 1].map(|at| found.get(at).and_then(Option::as_ref));
        let differ = self.traffic.differences(wan, found).map_err(|error| {
            Failure::clean(format!("the rules cannot be known: {error}"))
                .hint("correct the key below [traffic] or [network] in wiab.toml")
        })?;
        let first = match &differ {
            None => "its tables are not loaded",
            Some(lines) => match lines.first() {
                None => return self.others(sh).await,
                Some(line) => line,
            },
        };
        Err(
            Failure::clean(format!("the firewall is not as it was set: {first}"))
                .code("traffic.rules")
                .hint("sudo systemctl restart wiab-firewall; `sudo nft monitor` shows who changes it. Then `wiab apply --resume`"),
        )
    }

    async fn others(&self, sh: Shell<'_>) -> Result<(), Failure> {
        nobody_drops(sh, &self.traffic.bridge).await?;
        docker_lets_pass(sh, &self.traffic.bridge).await
    }

    async fn host_asks(&self, sh: Shell<'_>, url: &str) -> Result<Output, Failure> {
        let argv = CURL.into_iter().chain([url]);
        sh.run(&Cmd::new(argv).timeout_ms(CURL_MS)).await
    }

    async fn vm_asks(&self, sh: Shell<'_>, url: &str) -> Result<Output, Failure> {
        let argv = [&CURL[..], &[url]].concat();
        sh.run(&self.login.cmd(&self.ip, &argv)).await
    }

    /// Both ports of the ingress controller on every node, asked from the host and from the VM.
    async fn nodes(&self, sh: Shell<'_>, found: &mut Found) -> Result<(), Failure> {
        let vm = &self.vm;
        for node in &self.traffic.nodes {
            for (_, port, _) in NODE_PORTS {
                let scheme = if port == 31_772 { "http" } else { "https" };
                let url = format!("{scheme}://{node}:{port}/");
                let output = self.host_asks(sh, &url).await?;
                if !output.ok() {
                    let why = said(&output);
                    found.add(
                        format!("{node} does not answer on port {port}: {why}"),
                        "`kubectl get pods -A -o wide | grep ingress-nginx` shows whether the controller is ready on that node; a node without it gets no web traffic. Then `wiab apply --resume`",
                    );
                    continue;
                }
                let output = self.vm_asks(sh, &url).await?;
                if output.code == SSH_FAILED {
                    return Err(Failure::clean(format!(
                        "VM {vm} cannot be logged in to: {}",
                        said(&output)
                    ))
                    .hint(format!(
                        "look at its console: sudo virsh console {vm}; then `wiab apply --resume`"
                    )));
                }
                if !output.ok() {
                    let why = said(&output);
                    found.add(
                        format!("{node} answers the host on port {port}, but not VM {vm}: {why}"),
                        "something between the VMs drops it: `sysctl net.bridge.bridge-nf-call-iptables` (1 lets other firewalls see what passes the bridge), `sudo nft list ruleset`. Then `wiab apply --resume`",
                    );
                }
            }
        }
        Ok(())
    }

    async fn outside(&self, sh: Shell<'_>, found: &mut Found) -> Result<(), Failure> {
        let Some(url) = self.outside.as_deref().filter(|_| !self.traffic.private) else {
            return Ok(());
        };
        let output = self.vm_asks(sh, url).await?;
        if output.ok() {
            return Ok(());
        }
        let (vm, why) = (&self.vm, said(&output));
        if self.host_asks(sh, url).await?.ok() {
            found.add(
                format!("VM {vm} does not reach {url}, but the host does: {why}"),
                "nothing lets the VMs out: `sudo nft list chain ip wiab_nat postrouting` counts what is masqueraded, `sudo nft list ruleset` shows who else drops. Then `wiab apply --resume`",
            );
        } else {
            found.add(
                format!("neither VM {vm} nor the host reaches {url}: {why}"),
                format!("look at the host's own way out: `curl -v {url}`; a firewall of the provider, or the name service. Then `wiab apply --resume`"),
            );
        }
        Ok(())
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Found, Failure> {
        self.rules(sh).await?;
        let mut found = Found::default();
        self.nodes(sh, &mut found).await?;
        self.outside(sh, &mut found).await?;
        Ok(found)
    }

    async fn wait(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        let mut patience = Patience::new(sh, self.deadline_ms, POLL_MS);
        loop {
            let found = self.look(sh).await?;
            let Some(first) = found.silent.first() else {
                return Ok(self.receipt());
            };
            patience.show(first);
            if !patience.rest().await {
                let named: Vec<&str> = found
                    .silent
                    .iter()
                    .take(NAMED_MAX)
                    .map(String::as_str)
                    .collect();
                return Err(Failure::clean(format!(
                    "traffic does not flow after {} s: {}",
                    self.deadline_ms / 1_000,
                    named.join("; ")
                ))
                .code("traffic.silent")
                .hint(found.hint));
            }
        }
    }

    fn receipt(&self) -> Receipt {
        let out = match &self.outside {
            Some(url) if !self.traffic.private => format!(", and {} reaches {url}", self.vm),
            _ => String::new(),
        };
        Receipt::note(format!(
            "{} nodes answer the host and {}{out}",
            self.traffic.nodes.len(),
            self.vm
        ))
    }
}

impl Kind for TrafficVerified {
    const NAME: &'static str = "traffic.verified/1";
    const ABOUT: About = About {
        purpose: "Certificates are asked for, and users let in, only when web traffic reaches the ingress controller.",
        probe: "Checks forwarding, the rules with their counters and the chains of others, and asks both ports of the ingress controller on every node from the host and from a VM, which must also reach the outside unless the installation is private.",
        effect: "Asks every five seconds until the deadline; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("verify web traffic to {} nodes", self.traffic.nodes.len())
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::NEVER,
            timeout_ms: self.deadline_ms.saturating_add(600_000),
            usual_ms: 10_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for TrafficVerified {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        // What is in the way is said by `apply`.
        let found = self.look(sh).await;
        Ok(if found.is_ok_and(|found| found.silent.is_empty()) {
            Probe::Satisfied(self.receipt())
        } else {
            Probe::Absent
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        self.wait(sh).await.map_err(|failure| Failure {
            residue: Residue::Clean,
            ..failure
        })
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}
