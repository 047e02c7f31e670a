//! `preflight.clock/1`: the clock follows a time server.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::{Check, Report};
use crate::host::Cmd;
use crate::host::shell::Shell;
use crate::kind::About;

/// Looks at the clock; has no parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightClock {}

impl Check for PreflightClock {
    const NAME: &'static str = "preflight.clock/1";
    const ABOUT: About = About {
        purpose: "Databases order writes by time, and certificates are valid from a time on.",
        probe: "Asks timedatectl whether the clock is synchronised.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        "check the clock".to_owned()
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let mut report = Report::new("the clock is synchronised");
        let show = Cmd::new(["timedatectl", "show", "-p", "NTPSynchronized", "--value"]);
        let output = sh.probe(&show).await?;
        match output.filter(crate::host::Output::ok).map(|output| output.text()) {
            Some(text) if text.trim() == "yes" => {}
            Some(_) => report.error(
                "clock",
                "the clock follows no time server: Cassandra loses writes and certificates are refused when it drifts",
                "sudo timedatectl set-ntp true, then wait until `timedatectl` says: System clock synchronized: yes",
            ),
            None => report.warn(
                "clock",
                "not checked: `timedatectl` does not answer",
                "make sure that the clock follows a time server",
            ),
        }
        Ok(report)
    }
}
