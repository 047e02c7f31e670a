//! `vms.adopted/1`: machines of somebody's own hypervisor, checked from all sides and pinned, never changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::{Step, Tick};

use super::at_once::all;
use super::fleet::{self, Finding, FleetHost, Verdict, failure, last_line, look};
use super::host_keys::{Keys, Offered, given_differs, known_name};
use super::login::Login;
use super::whole_file::{Old, capture};
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind, Out, Pace};
use crate::values::inventory::Role;

/// Port of the cluster's API.
const API_PORT: u16 = 6443;
/// Tries a connection; its own exit code or words say what came of it.
const REACH: &str = "exec 3<>\"/dev/tcp/$1/$2\"";
/// How long a connection is tried, in seconds.
const REACH_S: &str = "4";
/// Exit code of `timeout` when time was up.
const TIMED_OUT: i32 = 124;

/// The machines that the operator gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmsAdopted {
    /// How they are logged in to. Its known-hosts file is written by this step.
    pub login: Login,
    /// The machines.
    pub hosts: Vec<FleetHost>,
    /// Host keys that the operator knows, by machine: `ssh-ed25519 …` or `SHA256:…`.
    #[serde(default)]
    pub host_keys: BTreeMap<String, String>,
    /// The host's interface towards the machines, which the traffic rules name.
    pub bridge: String,
}

impl VmsAdopted {
    /// Output: the interface of the data nodes' services.
    pub const IFACE: Out<Self> = Out::new("iface");
    /// Output: the MTU of all machines.
    pub const MTU: Out<Self> = Out::new("mtu");

    fn keys(&self) -> Keys<'_> {
        Keys {
            path: &self.login.known_hosts,
        }
    }

    fn known_as(&self, host: &FleetHost) -> String {
        known_name(&host.ip, fleet::port(&self.login, &host.ip))
    }

    fn finding(host: &FleetHost, point: u8, what: String, remedy: String) -> Finding {
        Finding {
            host: host.name.clone(),
            point,
            what,
            remedy,
        }
    }

    /// Compares the keys that the machines offer with what is known of them. Answers the new file, and what is wrong.
    fn pin(
        &self,
        known: &BTreeMap<String, String>,
        offered: &[Option<Offered>],
    ) -> (BTreeMap<String, String>, Vec<Finding>) {
        let (mut pinned, mut findings) = (known.clone(), Vec::new());
        for (host, offered) in self.hosts.iter().zip(offered) {
            let name = self.known_as(host);
            let Some(offered) = offered else {
                continue;
            };
            let given = self.host_keys.get(&host.name);
            if let Some(given) = given.filter(|given| given_differs(given, offered)) {
                let what = format!(
                    "its host key is {}, not the one of the settings, {given}",
                    offered.print
                );
                let remedy = format!(
                    "look on its console at `ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub`; if it is {}, correct `host_key`; if not, somebody else answers at {}",
                    offered.print, host.ip
                );
                findings.push(Self::finding(host, 6, what, remedy));
                continue;
            }
            if known.get(&name).is_some_and(|key| *key != offered.key) {
                let what = format!("its host key has changed, it is now {}", offered.print);
                let remedy = format!(
                    "look on its console at `ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub`; only if that is {}: ssh-keygen -R '{name}' -f {}",
                    offered.print, self.login.known_hosts
                );
                findings.push(Self::finding(host, 6, what, remedy));
                continue;
            }
            pinned.insert(name, offered.key.clone());
        }
        (pinned, findings)
    }

    /// What this host itself finds: the API's port, and the way to the machines.
    async fn seen_from_here(&self, sh: Shell<'_>) -> Result<Vec<Finding>, Failure> {
        let kube: Vec<&FleetHost> = self
            .hosts
            .iter()
            .filter(|host| host.role == Role::Kube)
            .collect();
        let mut findings = Vec::new();
        if let Some(first) = kube.first() {
            findings.extend(self.api(sh, first).await?);
        }
        for host in kube {
            let route = Cmd::new(["ip", "-o", "-4", "route", "get", &host.ip]);
            let output = sh.run(&route).await?;
            let text = output.text();
            let mut words = text.split_whitespace().skip_while(|word| *word != "dev");
            let device = words.nth(1).unwrap_or("nowhere");
            if device != self.bridge {
                let what = format!(
                    "the host reaches it through `{device}`, the traffic rules would use `{}`",
                    self.bridge
                );
                let remedy = format!("set `bridge = \"{device}\"` in [network]");
                findings.push(Self::finding(host, 8, what, remedy));
            }
        }
        Ok(findings)
    }

    /// A refusal is as good as an answer: nothing may listen yet.
    async fn api(&self, sh: Shell<'_>, host: &FleetHost) -> Result<Option<Finding>, Failure> {
        let port = API_PORT.to_string();
        let try_it = [
            "timeout",
            REACH_S,
            "bash",
            "-c",
            REACH,
            "wiab-reach",
            &host.ip,
            &port,
        ];
        let output = sh.run(&Cmd::new(try_it).env("LC_ALL", "C")).await?;
        let said = output.error_text();
        if output.ok() || said.contains("refused") {
            return Ok(None);
        }
        let why = if output.code == TIMED_OUT {
            "no answer".to_owned()
        } else {
            last_line(&output)
        };
        let what = format!("this host does not reach {}:{API_PORT}: {why}", host.ip);
        let remedy = format!("open port {API_PORT} of {} to this host", host.ip);
        Ok(Some(Self::finding(host, 6, what, remedy)))
    }

    /// Everything that is wrong with machines whose keys are known.
    async fn verdict(&self, sh: Shell<'_>) -> Result<Verdict, Failure> {
        let seen = look(sh, &self.login, &self.hosts).await?;
        let mut verdict = fleet::judge(&self.login, &seen);
        verdict.findings.extend(self.seen_from_here(sh).await?);
        Ok(verdict)
    }

    fn receipt(verdict: &Verdict, note: String) -> Receipt {
        Receipt::note(note)
            .with(Self::IFACE.name(), &*verdict.interface)
            .with(Self::MTU.name(), verdict.mtu.to_string())
    }

    async fn offered(&self, sh: Shell<'_>) -> Result<Vec<Option<Offered>>, Failure> {
        let scans = self.hosts.iter().map(|host| {
            let port = fleet::port(&self.login, &host.ip);
            super::host_keys::scan(sh, &host.ip, port)
        });
        let mut offered = Vec::new();
        for key in all(sh, scans.collect()).await {
            offered.push(key?);
        }
        super::host_keys::fingerprints(sh, offered).await
    }
}

impl Kind for VmsAdopted {
    const NAME: &'static str = "vms.adopted/1";
    const ABOUT: About = About {
        purpose: "Machines of the operator's own hypervisor are fit for everything that follows.",
        probe: "Logs in to all of them at once with their pinned host keys and checks the nine points of existing VMs.",
        effect: "Pins the host keys, those of the settings or of the first connection, and checks; reports all findings at once.",
        undo: "Restores or removes the file of host keys; the machines were not changed.",
    };

    fn summary(&self) -> String {
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        format!(
            "take over {} existing VMs: {}",
            names.len(),
            names.join(", ")
        )
    }

    fn undo_summary(&self) -> String {
        format!("restore or remove {}", self.login.known_hosts)
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            usual_ms: 3_000,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for VmsAdopted {
    type Image = Option<Old>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let known = self.keys().read(sh).await?;
        let key = sh.stat(&self.login.key_path).await?;
        let pinned = |host: &FleetHost| known.contains_key(&self.known_as(host));
        if key.is_none() || !self.hosts.iter().all(pinned) {
            return Ok(Probe::Absent);
        }
        let verdict = self.verdict(sh).await?;
        if let Some(first) = verdict.findings.first() {
            let more = verdict.findings.len() - 1;
            let what = format!("{first}, and {more} more");
            return Ok(Probe::Partial { what });
        }
        let note = format!("{} VMs", self.hosts.len());
        Ok(Probe::Satisfied(Self::receipt(&verdict, note)))
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Old>, Failure> {
        capture(sh, &self.login.known_hosts, false).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Old>) -> Result<Receipt, Failure> {
        let offered = self.offered(sh).await?;
        let known = self.keys().read(sh).await?;
        let (pinned, refused) = self.pin(&known, &offered);
        if !refused.is_empty() {
            return Err(failure(&refused).ask());
        }
        let mut trusted = Vec::new();
        for (host, offered) in self.hosts.iter().zip(&offered) {
            let name = self.known_as(host);
            if let Some(offered) = offered.as_ref().filter(|_| !known.contains_key(&name)) {
                let given = self.host_keys.contains_key(&host.name);
                let why = if given {
                    "as in the settings"
                } else {
                    "trusted from now on"
                };
                let line = format!("{} {} {why}", host.name, offered.print);
                sh.cx
                    .progress
                    .tick(Tick::Line(format!("host key of {line}")));
                trusted.push(line);
            }
        }
        self.keys().write(sh, &pinned).await?;
        let verdict = self.verdict(sh).await?;
        if !verdict.findings.is_empty() {
            return Err(Failure {
                residue: wiab_engine::outcome::Residue::Dirty,
                ..failure(&verdict.findings)
            });
        }
        let mut note = format!("{} VMs", self.hosts.len());
        if !trusted.is_empty() {
            note = format!("{note}; host keys: {}", trusted.join(", "));
        }
        Ok(Self::receipt(&verdict, note))
    }

    async fn undo(&self, sh: Shell<'_>, old: &Option<Old>) -> Result<(), Failure> {
        self.keys().restore(sh, old.as_ref()).await
    }
}
