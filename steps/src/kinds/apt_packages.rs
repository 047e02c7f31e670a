//! `apt.packages/1`: Debian packages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::jobs::{Settle, last_line, settle_earlier, settle_forward};
use super::preflight::apt_lock::holder;
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind, Pace};

const INSTALL_MS: u64 = 30 * 60_000;
pub(super) const UPDATE_MS: u64 = 5 * 60_000;
/// How long apt waits for another apt to end, for example unattended upgrades, in seconds.
const LOCK_WAIT_S: u64 = 300;
/// The same for apt.
pub(super) const LOCK_WAIT: &str = "DPkg::Lock::Timeout=300";
/// Label of the detached job.
const JOB: &str = "install";
const FORMAT: &str = "${Package} ${db:Status-Status}\n";
/// States that `dpkg --configure -a` completes.
const INTERRUPTED: [&str; 5] = [
    "unpacked",
    "half-configured",
    "half-installed",
    "triggers-awaited",
    "triggers-pending",
];

/// Packages that shall be installed. Nothing is upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AptPackages {
    /// Package names.
    pub packages: Vec<String>,
    /// Whether undo leaves the packages and only reports them.
    pub keep: bool,
}

pub(super) fn apt(arguments: &[&str]) -> Cmd {
    Cmd::new(["apt-get"].iter().chain(arguments).copied())
        .root()
        .env("DEBIAN_FRONTEND", "noninteractive")
        .timeout_ms(INSTALL_MS)
}

/// Package name → state, `installed` when all is well.
fn states(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, state)| (name.to_owned(), state.trim().to_owned()))
        .collect()
}

impl AptPackages {
    /// The states of the wanted packages; dpkg-query ends with 1 when it does not know some of them.
    async fn wanted(&self, sh: Shell<'_>) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let mut argv = vec!["dpkg-query", "-W", "-f", FORMAT];
        argv.extend(self.packages.iter().map(String::as_str));
        let output = sh.probe(&Cmd::new(argv)).await?;
        Ok(output.map(|output| states(&output.text())))
    }

    fn missing<'a>(&'a self, states: &BTreeMap<String, String>) -> Vec<&'a str> {
        self.packages
            .iter()
            .map(String::as_str)
            .filter(|name| states.get(*name).is_none_or(|state| state != "installed"))
            .collect()
    }

    fn receipt(&self) -> Receipt {
        let mut note = format!("{} packages", self.packages.len());
        // It starts at once, before any step could look at the firewall.
        if self.packages.iter().any(|name| name == "docker.io") {
            note += "; docker adds iptables chains of its own and lets FORWARD drop what nobody accepts";
        }
        Receipt::note(note)
    }
}

/// The packages that an installation would bring, from `apt-get -s`: `Inst libvirt0 (8.0.0 Ubuntu:22.04 [amd64])`.
/// An upgrade, which names the old version in brackets first, is none of them.
fn planned(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        (!rest.starts_with('[')).then(|| name.to_owned())
    });
    names.collect()
}

/// Names whoever holds apt's lock in a failure that is about it.
pub(super) async fn with_holder(sh: Shell<'_>, failure: Failure) -> Failure {
    if ![
        "get lock",
        "frontend lock",
        "lock directory",
        "held by process",
    ]
    .iter()
    .any(|sign| failure.why.contains(sign))
    {
        return failure;
    }
    let who = holder(sh).await.ok().flatten();
    let who = who.unwrap_or_else(|| "another package manager".to_owned());
    let why = format!(
        "{who} held apt's lock for more than {LOCK_WAIT_S} s: {}",
        failure.why
    );
    Failure { why, ..failure }
        .code("apt.lock")
        .retry()
        .hint("wait for it to end (unattended upgrades do by themselves: systemctl status unattended-upgrades), then wiab apply --resume")
}

/// All packages of which files are there, with their states.
pub(super) async fn present(sh: Shell<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let output = sh.ok(&Cmd::new(["dpkg-query", "-W", "-f", FORMAT])).await?;
    let mut all = states(&output.text());
    all.retain(|_, state| state != "not-installed" && state != "config-files");
    Ok(all)
}

/// Completes what an interrupted dpkg left half-configured.
pub(super) async fn recover(
    sh: Shell<'_>,
    present: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let interrupted = |state: &String| INTERRUPTED.contains(&state.as_str());
    if present.values().any(interrupted) {
        let configure = Cmd::new(["dpkg", "--configure", "-a"])
            .root()
            .env("DEBIAN_FRONTEND", "noninteractive")
            .timeout_ms(INSTALL_MS);
        sh.ok(&configure).await?;
    }
    Ok(())
}

impl Kind for AptPackages {
    const NAME: &'static str = "apt.packages/1";
    const ABOUT: About = About {
        purpose: "The tools that later steps call.",
        probe: "Asks dpkg for the state of each package.",
        effect: "Refreshes the lists and installs what is missing, without recommends and without upgrading.",
        undo: "Purges what this step brought, dependencies included, but nothing that others installed since; or leaves it when told to keep.",
    };

    fn summary(&self) -> String {
        format!("install {} packages", self.packages.len())
    }

    fn undo_summary(&self) -> String {
        if self.keep {
            "leave the packages, report them".to_owned()
        } else {
            "purge the packages brought".to_owned()
        }
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("host-apt")]
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::SHORT,
            timeout_ms: INSTALL_MS + UPDATE_MS,
            usual_ms: 120_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for AptPackages {
    /// The names of all installed packages, and with a `+` before each those that the installation would bring, separated by
    /// spaces.
    type Image = String;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Some(states) = self.wanted(sh).await? else {
            return Ok(Probe::Absent);
        };
        let missing = self.missing(&states);
        Ok(if missing.is_empty() {
            Probe::Satisfied(self.receipt())
        } else if missing.len() == self.packages.len() {
            Probe::Absent
        } else {
            Probe::Partial {
                what: format!("missing: {}", missing.join(", ")),
            }
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<String, Failure> {
        let mut names: Vec<String> = present(sh).await?.into_keys().collect();
        let states = self.wanted(sh).await?.unwrap_or_default();
        let mut arguments = vec!["-s", "install", "--no-install-recommends"];
        arguments.extend(self.missing(&states));
        // Lists that were never fetched know no packages; then everything that comes counts as ours.
        let output = sh.run(&apt(&arguments)).await?;
        names.extend(
            planned(&output.text())
                .iter()
                .map(|name| format!("+{name}")),
        );
        Ok(names.join(" "))
    }

    async fn apply(&self, sh: Shell<'_>, _: &String) -> Result<Receipt, Failure> {
        recover(sh, &present(sh).await?).await?;
        let states = self.wanted(sh).await?.unwrap_or_default();
        let missing = self.missing(&states);
        if missing.is_empty() {
            return Ok(self.receipt());
        }
        let update = apt(&["update", "-q"]).timeout_ms(UPDATE_MS);
        sh.ok(&update).await.map_err(|failure| {
            failure
                .retry()
                .hint("check the host's package sources with `sudo apt-get update`")
        })?;
        let mut arguments = vec!["install", "-y", "--no-install-recommends", "-o", LOCK_WAIT];
        arguments.extend(missing);
        settle_earlier(sh, JOB, Settle::Wait(INSTALL_MS)).await?;
        let output = sh.job(JOB, &apt(&arguments)).await?;
        if !output.ok() {
            let last = last_line(&output);
            let why = format!("apt-get install ended with {}: {last}", output.code);
            return Err(with_holder(sh, Failure::dirty(why).retry()).await);
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &String) -> Result<(), Failure> {
        settle_forward(sh, JOB, Settle::Wait(INSTALL_MS)).await?;
        let (planned, before): (BTreeSet<&str>, BTreeSet<&str>) = before
            .split_whitespace()
            .partition(|name| name.starts_with('+'));
        let ours = |name: &str| planned.is_empty() || planned.contains(format!("+{name}").as_str());
        let now = present(sh).await?;
        let names = now.keys().map(String::as_str);
        let brought: Vec<&str> = names
            .filter(|name| !before.contains(name) && ours(name))
            .collect();
        if brought.is_empty() {
            return Ok(());
        }
        if self.keep {
            let note = format!("left installed: {}\n", brought.join(" "));
            sh.cx.evidence.push(&note);
            return Ok(());
        }
        recover(sh, &now).await?;
        let mut arguments = vec!["purge", "-y", "-o", LOCK_WAIT];
        arguments.extend(brought);
        match sh.ok(&apt(&arguments)).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(with_holder(sh, failure).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_of_apt_is_read_without_upgrades() {
        let text = "NOTE: This is only a simulation!\nInst libvirt0 (8.0.0 Ubuntu:22.04 [amd64])\n\
                    Inst curl [7.81.0-1] (7.81.0-2 Ubuntu:22.04 [amd64])\nConf libvirt0 (8.0.0 Ubuntu:22.04 [amd64])\n";
        assert_eq!(planned(text), ["libvirt0"]);
    }

    #[test]
    fn what_docker_does_to_the_firewall_is_said() {
        let note = |name: &str| {
            let packages = vec![name.to_owned()];
            AptPackages {
                packages,
                keep: false,
            }
            .receipt()
            .note
        };
        assert_eq!(note("curl").unwrap(), "1 packages");
        assert!(note("docker.io").unwrap().contains("FORWARD"));
    }

    #[test]
    fn states_are_read_and_anything_but_installed_is_missing() {
        let kind = AptPackages {
            packages: ["curl", "nftables", "qemu-utils"]
                .map(str::to_owned)
                .to_vec(),
            keep: false,
        };
        let states = states("curl installed\nnftables half-configured\n");
        assert_eq!(kind.missing(&states), ["nftables", "qemu-utils"]);
    }
}
