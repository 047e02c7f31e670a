//! What is wrong with the machines: all of it at once, each with its machine and its remedy.

use std::collections::BTreeMap;
use std::fmt;

use wiab_engine::outcome::Failure;

use super::super::login::Login;
use super::{Answer, CONTENT_PORT, Facts, FleetHost, Seen, port};
use crate::values::inventory::Role;

/// Most that two clocks may differ, in milliseconds: databases order writes by them.
const SKEW_MS_MAX: i64 = 1_000;
/// The operating system that the playbooks are made for.
const SYSTEM: &str = "ubuntu 22.04";

/// One thing that is wrong. The points are those of `docs/existing-vms.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) host: String,
    pub(crate) point: u8,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (point {}): {}", self.host, self.point, self.what)
    }
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) findings: Vec<Finding>,
    /// The interface of the data nodes' services.
    pub(crate) interface: String,
    /// The MTU of all machines.
    pub(crate) mtu: u32,
}

/// All findings as one failure.
pub(crate) fn failure(findings: &[Finding]) -> Failure {
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| format!("- {finding}"))
        .collect();
    let mut remedies: Vec<String> = Vec::new();
    for finding in findings {
        let remedy = format!("{}: {}", finding.host, finding.remedy);
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    let things = if findings.len() == 1 {
        "thing is"
    } else {
        "things are"
    };
    Failure::clean(format!(
        "{} {things} not right with the VMs:\n{}",
        findings.len(),
        lines.join("\n")
    ))
    .hint(format!(
        "{}\nthen `wiab apply --resume`",
        remedies.join("\n")
    ))
}

/// The interfaces of services that use another one than their machine's first.
pub(crate) fn further_interfaces(
    login: &Login,
    seen: &[Seen<'_>],
    more: &[FleetHost],
) -> Vec<Finding> {
    let mut judge = Judge {
        login,
        verdict: Verdict::default(),
    };
    for host in more {
        let found = seen.iter().find(|one| one.host.name == host.name);
        if let Some(Answer::Facts(facts)) = found.map(|one| &one.answer) {
            judge.interface(host, facts);
        }
    }
    judge.verdict.findings
}

struct Judge<'a> {
    login: &'a Login,
    verdict: Verdict,
}

/// Judges all answers.
pub(crate) fn judge(login: &Login, seen: &[Seen<'_>]) -> Verdict {
    let mut judge = Judge {
        login,
        verdict: Verdict::default(),
    };
    for one in seen {
        match &one.answer {
            Answer::Silent(said) => judge.silent(one.host, said),
            Answer::Facts(facts) => {
                judge.system(one.host, facts);
                judge.interface(one.host, facts);
                judge.reach(one.host, facts, seen);
            }
        }
    }
    let known: Vec<(&FleetHost, &Facts)> = seen
        .iter()
        .filter_map(|one| match &one.answer {
            Answer::Facts(facts) => Some((one.host, &**facts)),
            Answer::Silent(_) => None,
        })
        .collect();
    judge.clocks(&known);
    judge.zones(&known);
    judge.mtus(&known);
    judge.one_interface(&known);
    judge.verdict.findings.sort_by_key(|finding| finding.point);
    judge.verdict
}

impl Judge<'_> {
    fn add(
        &mut self,
        host: &FleetHost,
        point: u8,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.verdict.findings.push(Finding {
            host: host.name.clone(),
            point,
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    fn silent(&mut self, host: &FleetHost, said: &str) {
        let login = self.login;
        let account = login.accounts.get(&host.ip);
        let user = account.map_or(&login.user, |account| &account.user);
        let (port, key) = (port(login, &host.ip), &login.key_path);
        let remedy = if said.contains("Permission denied") {
            format!("ssh-copy-id -f -i {key}.pub -p {port} {user}@{}", host.ip)
        } else if said.contains("Host key") || said.contains("IDENTIFICATION") {
            format!(
                "compare its key with `ssh-keygen -l -F {} -f {}`; if it may differ: ssh-keygen -R {0} -f {1}",
                host.ip, login.known_hosts
            )
        } else {
            format!(
                "see that it runs and that port {port} of {} is open to this host",
                host.ip
            )
        };
        self.add(host, 6, format!("ssh to {} fails: {said}", host.ip), remedy);
    }

    fn system(&mut self, host: &FleetHost, facts: &Facts) {
        if facts.os != SYSTEM {
            let what = format!("it runs `{}`, not {SYSTEM}", facts.os);
            self.add(host, 1, what, "install Ubuntu Server 22.04 on it");
        }
        if !facts.python {
            let what = "/usr/bin/python3 is missing";
            self.add(host, 1, what, "sudo apt-get install python3");
        }
        if !facts.sudo {
            let account = self.login.accounts.get(&host.ip);
            let user = account.map_or(&self.login.user, |account| &account.user);
            let remedy =
                format!("echo '{user} ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/90-{user}");
            self.add(
                host,
                1,
                format!("{user} cannot use sudo without a password"),
                remedy,
            );
        }
        if facts.host != host.name {
            let what = format!(
                "its host name is `{}`, which the inventory calls `{}`",
                facts.host, host.name
            );
            let remedy = format!("sudo hostnamectl set-hostname {}", host.name);
            self.add(host, 2, what, remedy);
        }
        if !facts.gpg {
            self.add(host, 5, "gpg is missing", "sudo apt-get install gnupg");
        }
        if !facts.swap.is_empty() {
            let what = format!(
                "it swaps to {}, which the kubelet refuses",
                facts.swap.join(", ")
            );
            let remedy = "sudo swapoff -a, and remove the swap line from /etc/fstab";
            self.add(host, 5, what, remedy);
        }
    }

    /// Only the data nodes' services are told an interface.
    fn interface(&mut self, host: &FleetHost, facts: &Facts) {
        if host.role != Role::Data {
            return;
        }
        let Some(name) = service_interface(host, facts) else {
            let what = format!(
                "no interface has {}, and there is no default route",
                host.ip
            );
            self.add(
                host,
                3,
                what,
                "name the interface of its services in the settings",
            );
            return;
        };
        if !facts.has_address(name) {
            let mut names: Vec<&str> = facts
                .addresses
                .iter()
                .map(|(device, _)| &**device)
                .collect();
            names.dedup();
            let what = if facts.mtu.contains_key(name) {
                format!("interface `{name}` has no IPv4 address")
            } else {
                format!("there is no interface `{name}`")
            };
            let remedy = format!(
                "use one that has an address ({}): `interface` of the VM in [vms.machines.{}], or the variable in values.d/inventory.yaml",
                names.join(", "),
                host.name
            );
            self.add(host, 3, what, remedy);
        }
    }

    fn reach(&mut self, host: &FleetHost, facts: &Facts, seen: &[Seen<'_>]) {
        for other in seen.iter().map(|one| one.host) {
            let ssh = format!("{}:{}", other.ip, port(self.login, &other.ip));
            let content = format!("{}:{CONTENT_PORT}", other.ip);
            for (peer, point) in [(ssh, 4), (content, 6)] {
                // Nothing listens on the content server's port yet: a refusal is an answer, too.
                let said = facts.reach.get(&peer).map_or("open", String::as_str);
                if said != "open" && said != "refused" {
                    let what = format!("it does not reach {} at {peer}: {said}", other.name);
                    let remedy = format!(
                        "let {} through to {peer}: firewalls and routes on both, and between them",
                        host.ip
                    );
                    self.add(host, point, what, remedy);
                }
            }
        }
    }

    fn clocks(&mut self, known: &[(&FleetHost, &Facts)]) {
        for (host, facts) in known {
            let Some((least, most)) = facts.ahead_ms else {
                self.add(host, 5, "its clock cannot be read", "look at `date` on it");
                continue;
            };
            // The others that it certainly differs from; the one that differs from most is the wrong one.
            let apart = |(_, other): &&(&FleetHost, &Facts)| {
                other
                    .ahead_ms
                    .is_some_and(|(low, high)| (least - high).max(low - most) > SKEW_MS_MAX)
            };
            let differs = known.iter().filter(apart).count();
            if differs > 0 && 2 * differs >= known.len() {
                let twice_ms = least + most;
                let ahead_s = (twice_ms + 1_000 * twice_ms.signum()) / 2_000;
                let what = format!("its clock differs from the others' by about {ahead_s} s");
                self.add(
                    host,
                    5,
                    what,
                    "sudo timedatectl set-ntp true, and give it a time server that it reaches",
                );
            }
        }
    }

    fn zones(&mut self, known: &[(&FleetHost, &Facts)]) {
        let zone = most_common(known.iter().map(|(_, facts)| facts.zone.clone()));
        for (host, facts) in known
            .iter()
            .filter(|(_, facts)| Some(&facts.zone) != zone.as_ref())
        {
            let usual = zone.as_deref().unwrap_or_default();
            let what = format!(
                "its time zone is {}, that of the others {usual}",
                facts.zone
            );
            self.add(
                host,
                5,
                what,
                "sudo timedatectl set-timezone UTC (the same on all)",
            );
        }
    }

    fn mtus(&mut self, known: &[(&FleetHost, &Facts)]) {
        let mtu_of = |host: &FleetHost, facts: &Facts| {
            let interface = facts.interface_of(&host.ip)?;
            facts.mtu.get(interface).copied()
        };
        let all: Vec<(&FleetHost, Option<u32>)> = known
            .iter()
            .map(|(host, facts)| (*host, mtu_of(host, facts)))
            .collect();
        let usual = most_common(all.iter().filter_map(|(_, mtu)| *mtu)).unwrap_or_default();
        for (host, mtu) in all.iter().filter(|(_, mtu)| *mtu != Some(usual)) {
            let found = mtu.map_or_else(|| "unknown".to_owned(), |mtu| mtu.to_string());
            let what = format!("its MTU is {found}, that of the others {usual}");
            let remedy = format!(
                "set `mtu: {usual}` for its interface in /etc/netplan, then `sudo netplan apply`"
            );
            self.add(host, 4, what, remedy);
        }
        self.verdict.mtu = usual;
    }

    /// The playbooks know one name for all data nodes.
    fn one_interface(&mut self, known: &[(&FleetHost, &Facts)]) {
        let data: Vec<(&FleetHost, &str)> = known
            .iter()
            .filter(|(host, _)| host.role == Role::Data)
            .filter_map(|(host, facts)| Some((*host, service_interface(host, facts)?)))
            .collect();
        let usual =
            most_common(data.iter().map(|(_, name)| (*name).to_owned())).unwrap_or_default();
        for (host, name) in data.iter().filter(|(_, name)| *name != usual) {
            let what = format!("its interface is `{name}`, that of the other data nodes `{usual}`");
            let remedy = format!(
                "rename it: `set-name: {usual}` with a `match` by MAC address in /etc/netplan"
            );
            self.add(host, 3, what, remedy);
        }
        self.verdict.interface = usual;
    }
}

fn service_interface<'a>(host: &'a FleetHost, facts: &'a Facts) -> Option<&'a str> {
    host.interface
        .as_deref()
        .or_else(|| facts.interface_of(&host.ip))
}

/// The value that comes most often; of several, the least.
fn most_common<T: Ord + Clone>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(value, _)| value)
}
