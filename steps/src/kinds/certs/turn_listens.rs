//! `turn.listens/1`: the calling node listens for TURN, over TCP and UDP.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::login::Login;
use super::super::patience::Patience;
use super::super::{Act, bound, only_looked};
use super::{KubeNode, is_ssh};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Pace};

const PORT: &str = ":3478";
const POLL_MS: u64 = 5_000;
const DEADLINE_MS: u64 = 60_000;

/// The listeners of the TURN server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnListens {
    /// The calling node.
    pub node: KubeNode,
    /// How it is logged in to.
    pub login: Login,
}

/// Protocols that `ss -H -l -n -t -u` shows on the port.
fn protocols(text: &str) -> Vec<&str> {
    let listens = |line: &&str| {
        line.split_whitespace()
            .nth(4)
            .is_some_and(|local| local.ends_with(PORT))
    };
    let mut found: Vec<&str> = text
        .lines()
        .filter(listens)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

impl TurnListens {
    /// Looks once; the inner error is what is missing.
    async fn look(&self, sh: Shell<'_>) -> Result<Result<Receipt, String>, Failure> {
        let cmd = self
            .login
            .cmd(self.node.ip()?, &["ss", "-H", "-l", "-n", "-t", "-u"]);
        let Some(output) = sh.probe(&cmd).await? else {
            return Ok(Err("`ssh` is not installed on the host".to_owned()));
        };
        if is_ssh(output.code) || !output.ok() {
            return Ok(Err(format!(
                "its sockets cannot be listed: {}",
                output.error_text()
            )));
        }
        let text = output.text();
        let found = protocols(&text);
        let missing: Vec<&str> = ["tcp", "udp"]
            .into_iter()
            .filter(|one| !found.contains(one))
            .collect();
        Ok(match missing.as_slice() {
            [] => Ok(Receipt::note("TCP and UDP port 3478")),
            missing => Err(format!(
                "nothing listens on port 3478 over {}",
                missing.join(" and ")
            )),
        })
    }
}

impl TurnListens {
    /// Looks until all is well, or for too long.
    async fn wait(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        let patience = Patience::new(sh, DEADLINE_MS, POLL_MS);
        loop {
            match self.look(sh).await? {
                Ok(receipt) => return Ok(receipt),
                Err(_) if patience.rest().await => {}
                Err(why) => {
                    return Err(Failure::clean(format!("{}: {why}", self.node.name))
                        .hint("`wiab apply` looks at the TURN server again (step helm.coturn)")
                        .code("turn.silent"));
                }
            }
        }
    }
}

impl Kind for TurnListens {
    const NAME: &'static str = "turn.listens/1";
    const ABOUT: About = About {
        purpose: "Calls find the TURN server on the node that the firewall forwards them to.",
        probe: "Lists the sockets of the calling node: port 3478 over TCP and UDP.",
        effect: "The same, up to a minute long; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check TURN on {}", self.node.name)
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace::QUICK
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for TurnListens {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if self.node.ip.get().is_none() {
            return Ok(Probe::Absent);
        }
        Ok(match self.look(sh).await? {
            Ok(receipt) => Probe::Satisfied(receipt),
            Err(_) => Probe::Absent,
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        self.wait(sh).await.map_err(only_looked)
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_as_a_whole() {
        let text = "udp UNCONN 0 0 192.168.122.23:3478 0.0.0.0:*\nudp UNCONN 0 0 10.0.0.1:3478 0.0.0.0:*\n\
                    tcp LISTEN 0 128 0.0.0.0:13478 0.0.0.0:*\ntcp LISTEN 0 128 192.168.122.23:3478 0.0.0.0:*\n";
        assert_eq!(protocols(text), ["tcp", "udp"]);
        assert!(protocols("tcp LISTEN 0 128 0.0.0.0:13478 0.0.0.0:*\n").is_empty());
    }
}
