//! `libvirt.domain-running/1`: a VM that runs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::{Step, Tick};

use super::virsh::{answers, domain_state, domains, virsh};
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Out, Pace};

/// How often the state is asked for while the VM shuts down.
const POLL_MS: u64 = 2_000;

/// A domain that shall run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibvirtDomainRunning {
    /// Its name.
    pub name: String,
    /// How long undo waits for a graceful shutdown, in milliseconds, before it pulls the plug.
    pub shutdown_ms: u64,
}

impl LibvirtDomainRunning {
    /// Output: the name.
    pub const NAME_OUT: Out<Self> = Out::new("name");

    /// The state; `None` when there is no such domain.
    async fn state(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        if !domains(sh).await?.contains(&self.name) {
            return Ok(None);
        }
        domain_state(sh, &self.name).await.map(Some)
    }

    fn receipt(&self) -> Receipt {
        Receipt::note("running").with("name", &*self.name)
    }

    /// Waits for "shut off" until the deadline; `false` when it has passed.
    async fn wait_until_off(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        let clock = &sh.cx.clock;
        let deadline = clock.mono_ms().saturating_add(self.shutdown_ms);
        loop {
            if self
                .state(sh)
                .await?
                .is_none_or(|state| state == "shut off")
            {
                return Ok(true);
            }
            if clock.mono_ms() >= deadline {
                return Ok(false);
            }
            clock.sleep(POLL_MS).await;
        }
    }
}

impl Kind for LibvirtDomainRunning {
    const NAME: &'static str = "libvirt.domain-running/1";
    const ABOUT: About = About {
        purpose: "A defined VM is switched on.",
        probe: "Asks for the state of the exact name.",
        effect: "Starts it, or resumes it when it is paused.",
        undo: "Shuts it down gracefully; switches it off when that takes too long.",
    };

    fn summary(&self) -> String {
        format!("start VM {}", self.name)
    }

    fn undo_summary(&self) -> String {
        "shut it down".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("libvirt")]
    }

    fn pace(&self) -> Pace {
        Pace {
            timeout_ms: Pace::QUICK
                .timeout_ms
                .max(self.shutdown_ms.saturating_add(60_000)),
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for LibvirtDomainRunning {
    /// The state it was in; `None` when it did not exist.
    type Image = Option<String>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if !answers(sh).await? {
            return Ok(Probe::Absent);
        }
        Ok(match self.state(sh).await?.as_deref() {
            Some("running") => Probe::Satisfied(self.receipt()),
            None | Some("shut off") => Probe::Absent,
            Some(other) => Probe::Drifted {
                diff: format!("- {other}\n+ running"),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        self.state(sh).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<String>) -> Result<Receipt, Failure> {
        let verb = match self.state(sh).await?.as_deref() {
            Some("running") => return Ok(self.receipt()),
            Some("shut off" | "crashed") => "start",
            Some("paused") => "resume",
            Some(other) => {
                return Err(Failure::clean(format!("domain `{}` is {other}", self.name))
                    .ask()
                    .hint(format!(
                        "wait until `sudo virsh domstate {}` says running or shut off, then decide `retry`",
                        self.name
                    )));
            }
            None => {
                return Err(
                    Failure::clean(format!("there is no domain `{}`", self.name))
                        .hint("define it first: run the whole plan again"),
                );
            }
        };
        sh.ok(&virsh(&[verb, &self.name])).await?;
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &Option<String>) -> Result<(), Failure> {
        let now = self.state(sh).await?;
        let off = now.as_deref().is_none_or(|state| state == "shut off");
        if off || before.as_deref() == Some("running") {
            return Ok(());
        }
        if before.as_deref() == Some("paused") {
            if now.as_deref() == Some("running") {
                sh.ok(&virsh(&["suspend", &self.name])).await?;
            }
            return Ok(());
        }
        // A guest that does not listen to the power button is waited for and then switched off, whatever this says.
        sh.run(&virsh(&["shutdown", &self.name])).await?;
        sh.cx.progress.tick(Tick::Stage("shutting down".to_owned()));
        if !self.wait_until_off(sh).await? {
            sh.ok(&virsh(&["destroy", &self.name])).await?;
        }
        Ok(())
    }
}
