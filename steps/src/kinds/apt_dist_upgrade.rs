//! `apt.dist-upgrade/1`: newer versions of all packages of the host, if the operator asks for that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::apt_packages::{LOCK_WAIT, UPDATE_MS, apt, present, recover, with_holder};
use super::jobs::{Settle, job_state, last_line, settle_earlier, settle_forward};
use super::virsh::running_domains;
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Host, JobState};
use crate::kind::{About, Kind, Out, Pace};

const UPGRADE_MS: u64 = 60 * 60_000;
/// Label of the detached job.
const JOB: &str = "upgrade";
/// What the system puts there when an upgrade only counts after a reboot.
const REBOOT: &str = "/var/run/reboot-required";

/// Upgrades everything; has no parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AptDistUpgrade {}

/// What an upgrade would do, from `apt-get -s dist-upgrade`: `Inst curl [7.81.0-1] (7.81.0-2 …)`, `Remv foo [1.0]`.
fn changes(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let rest = line
            .strip_prefix("Inst ")
            .or_else(|| line.strip_prefix("Remv "))?;
        rest.split_whitespace().next().map(str::to_owned)
    });
    names.collect()
}

async fn pending(sh: Shell<'_>) -> Result<Vec<String>, Failure> {
    let output = sh.ok(&apt(&["-s", "dist-upgrade"])).await?;
    Ok(changes(&output.text()))
}

impl AptDistUpgrade {
    /// Output: `yes` if the host must be restarted for the upgrade to count, else `no`.
    pub const REBOOT_REQUIRED: Out<Self> = Out::new("reboot_required");

    async fn receipt(sh: Shell<'_>) -> Result<Receipt, Failure> {
        let reboot = sh.stat(REBOOT).await?.is_some();
        let (word, note) = if reboot {
            let note = "all packages are up to date; they count after a restart: sudo reboot, then wiab apply --resume";
            ("yes", note)
        } else {
            ("no", "all packages are up to date")
        };
        Ok(Receipt::note(note).with(Self::REBOOT_REQUIRED.name(), word))
    }
}

impl Kind for AptDistUpgrade {
    const NAME: &'static str = "apt.dist-upgrade/1";
    const ABOUT: About = About {
        purpose: "The host has the newest versions before anything is built on it; only if asked for.",
        probe: "Simulates the upgrade with `apt-get -s dist-upgrade`; satisfied if it would do nothing.",
        effect: "Refreshes the lists and upgrades everything as a detached job; refuses while any virtual machine runs; says whether a restart is due.",
        undo: "None: packages have no way back to older versions.",
    };

    fn summary(&self) -> String {
        "upgrade all packages of the host".to_owned()
    }

    fn undo_summary(&self) -> String {
        "leave the newer versions".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Irreversible {
            why: "the older versions of the packages are not kept".to_owned(),
        }
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("host-apt")]
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::SHORT,
            timeout_ms: UPGRADE_MS + UPDATE_MS,
            usual_ms: 300_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for AptDistUpgrade {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let output = sh.probe(&apt(&["-s", "dist-upgrade"])).await?;
        let Some(output) = output.filter(crate::host::Output::ok) else {
            return Ok(Probe::Absent);
        };
        let pending = changes(&output.text());
        if pending.is_empty() {
            return Ok(Probe::Satisfied(Self::receipt(sh).await?));
        }
        let diff = pending.iter().fold(String::new(), |diff, name| {
            diff + "- " + name + ": an older version\n"
        });
        Ok(Probe::Drifted { diff })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        settle_earlier(sh, JOB, Settle::Wait(UPGRADE_MS)).await?;
        // An upgrade of ours that runs already is followed to its end.
        if job_state(sh, sh.cx.attempt, JOB).await? == JobState::Absent {
            let running = running_domains(sh).await?;
            if !running.is_empty() {
                let why = format!(
                    "the upgrade may restart libvirt, docker and the network, but virtual machines run: {}",
                    running.join(", ")
                );
                return Err(Failure::clean(why).code("host.dist-upgrade").ask().hint(
                    "shut them down (`sudo virsh shutdown NAME`), then decide `retry`; or leave the upgrade out: set `packages.dist_upgrade = false`",
                ));
            }
            recover(sh, &present(sh).await?).await?;
            let update = apt(&["update", "-q"]).timeout_ms(UPDATE_MS);
            sh.ok(&update).await.map_err(|failure| {
                let hint = "check the host's package sources with `sudo apt-get update`";
                failure.retry().hint(hint)
            })?;
            if pending(sh).await?.is_empty() {
                return Self::receipt(sh).await;
            }
        }
        // Changed configuration files are the operator's: they stay.
        let keep = "Dpkg::Options::=--force-confold";
        let upgrade = apt(&["dist-upgrade", "-y", "-o", keep, "-o", LOCK_WAIT]);
        let output = sh.job(JOB, &upgrade.timeout_ms(UPGRADE_MS)).await?;
        if !output.ok() {
            let why = format!(
                "apt-get dist-upgrade ended with {}: {}",
                output.code,
                last_line(&output)
            );
            return Err(with_holder(sh, Failure::dirty(why).retry()).await);
        }
        Self::receipt(sh).await
    }

    async fn undo(&self, sh: Shell<'_>, (): &()) -> Result<(), Failure> {
        settle_forward(sh, JOB, Settle::Wait(UPGRADE_MS)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulation_is_read_with_removals() {
        let text = "NOTE: This is only a simulation!\nInst curl [7.81.0-1] (7.81.0-2 Ubuntu:22.04 [amd64])\n\
                    Inst linux-image-new (5.15 Ubuntu:22.04 [amd64])\nRemv old [1.0]\nConf curl (7.81.0-2 Ubuntu:22.04 [amd64])\n";
        assert_eq!(changes(text), ["curl", "linux-image-new", "old"]);
    }
}
