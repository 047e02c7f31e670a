//! `service.off/1`: a service of systemd that is stopped and not started at boot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind};

/// A service that stands in the way. One that is not installed is off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceOff {
    /// Its name without `.service`.
    pub unit: String,
    /// Why it must be off, for the plan screen.
    pub why: String,
}

/// How a service stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stands {
    /// It runs.
    pub active: bool,
    /// It starts at boot.
    pub enabled: bool,
}

impl ServiceOff {
    async fn says(&self, sh: Shell<'_>, question: &str, yes: &str) -> Result<bool, Failure> {
        let output = sh
            .probe(&Cmd::new(["systemctl", question, &self.unit]))
            .await?;
        let Some(output) = output else {
            return Ok(false);
        };
        let (said, complaint) = (output.text(), output.error_text());
        if said.trim().is_empty() && !complaint.contains("No such file or directory") {
            let why = format!(
                "systemctl {question} {} says nothing: {complaint}",
                self.unit
            );
            return Err(Failure::dirty(why).retry());
        }
        Ok(said.trim() == yes)
    }

    async fn stands(&self, sh: Shell<'_>) -> Result<Stands, Failure> {
        Ok(Stands {
            active: self.says(sh, "is-active", "active").await?,
            enabled: self.says(sh, "is-enabled", "enabled").await?,
        })
    }

    async fn tell(&self, sh: Shell<'_>, verb: &str) -> Result<(), Failure> {
        let cmd = Cmd::new(["systemctl", verb, &self.unit]).root();
        sh.ok(&cmd).await.map(drop)
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("{} is off", self.unit))
    }
}

impl Kind for ServiceOff {
    const NAME: &'static str = "service.off/1";
    const ABOUT: About = About {
        purpose: "A service of the host does not take a port or device that the installation needs.",
        probe: "Asks systemd whether the service runs and whether it starts at boot; one that is not installed is off.",
        effect: "Stops and disables it.",
        undo: "Enables and starts it again as it was.",
    };

    fn summary(&self) -> String {
        format!("keep service {} off: {}", self.unit, self.why)
    }

    fn undo_summary(&self) -> String {
        "enable and start it again".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ServiceOff {
    type Image = Stands;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let stands = self.stands(sh).await?;
        let what = match (stands.active, stands.enabled) {
            (false, false) => return Ok(Probe::Satisfied(self.receipt())),
            (true, true) => return Ok(Probe::Absent),
            (true, false) => "it runs still",
            (false, true) => "it would start at the next boot",
        };
        Ok(Probe::Partial {
            what: what.to_owned(),
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Stands, Failure> {
        self.stands(sh).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Stands) -> Result<Receipt, Failure> {
        let stands = self.stands(sh).await?;
        if stands.active {
            self.tell(sh, "stop").await?;
        }
        if stands.enabled {
            self.tell(sh, "disable").await?;
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &Stands) -> Result<(), Failure> {
        let stands = self.stands(sh).await?;
        if before.enabled && !stands.enabled {
            self.tell(sh, "enable").await?;
        }
        if before.active && !stands.active {
            self.tell(sh, "start").await?;
        }
        Ok(())
    }
}
