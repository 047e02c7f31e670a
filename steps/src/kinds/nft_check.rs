//! `nft.check/1`: looks whether the firewall can be set without harm, and finds the public interface.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, Residue, UndoClass};
use wiab_engine::ports::Step;

use super::nft::nft;
use super::nft_foreign::nobody_drops;
use super::nft_guard::{Listener, closed, hijacked, no_lockout, spelled};
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind, Out};
use crate::traffic::Traffic;

/// What must hold before the rules are loaded. Changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NftCheck {
    /// The public interface; without it, that of the default route.
    pub wan: Option<String>,
    /// What the rules depend on.
    pub traffic: Traffic,
}

/// The device of the default route of lowest metric.
fn default_device(routes: &Value) -> Option<String> {
    let routes = routes.as_array()?.iter();
    let defaults =
        routes.filter(|route| route.get("dst").and_then(Value::as_str) == Some("default"));
    let metric = |route: &&Value| route.get("metric").and_then(Value::as_u64).unwrap_or(0);
    let device = defaults.min_by_key(metric)?.get("dev")?;
    device.as_str().map(str::to_owned)
}

fn names<'a>(listeners: impl Iterator<Item = &'a Listener>) -> String {
    let shown: Vec<String> = listeners
        .map(|listener| {
            let program = listener.program.as_deref().unwrap_or("the kernel");
            format!("{} ({program})", listener.port)
        })
        .collect();
    shown.join(", ")
}

impl NftCheck {
    /// Output: the public interface.
    pub const WAN: Out<Self> = Out::new("wan");

    async fn interface(&self, sh: Shell<'_>) -> Result<String, Failure> {
        let Some(name) = &self.wan else {
            let output = sh
                .ok(&Cmd::new(["ip", "-j", "route", "show", "default"]))
                .await?;
            let routes: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            return default_device(&routes).ok_or_else(|| {
                Failure::clean(
                    "the host has no default route, so its public interface is not known",
                )
                .hint("name it: `wan = \"eth0\"` below [traffic] in wiab.toml")
            });
        };
        let output = sh
            .run(&Cmd::new(["ip", "-j", "addr", "show", "dev", name]))
            .await?;
        if output.ok() {
            return Ok(name.clone());
        }
        Err(Failure::clean(format!("the host has no network interface `{name}`")).hint(
            "`ip -br link` lists them; correct `wan` below [traffic] in wiab.toml, or leave it out",
        ))
    }

    async fn nothing_is_hijacked(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let found = hijacked(sh, &self.traffic).await?;
        let (own, others): (Vec<_>, Vec<_>) = found
            .iter()
            .partition(|listener| listener.program.is_none());
        if own.is_empty() {
            // Ports that a program has opened for its own questions look the same as services.
            let some = !others.is_empty();
            return Ok(some.then(|| {
                let names = names(others.into_iter());
                format!("UDP {names} go to the calling node unless in `keep_udp`")
            }));
        }
        let mut keep: Vec<u16> = own.iter().map(|listener| listener.port).collect();
        keep.extend(&self.traffic.keep_udp);
        keep.sort_unstable();
        keep.dedup();
        Err(Failure::clean(format!(
            "the host itself uses UDP port {} (a VPN such as WireGuard), which lies in the range of calls and would be sent \
             to the calling node",
            spelled(own.iter().map(|listener| &listener.port))
        ))
        .code("traffic.udp-clash")
        .hint(format!("put `keep_udp = [{}]` below [traffic] in wiab.toml, then run `wiab apply` again", spelled(&keep))))
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        nobody_drops(sh, &self.traffic.bridge).await?;
        let wan = self.interface(sh).await?;
        let script = self.traffic.script(&wan).map_err(|error| {
            Failure::clean(format!("the rules cannot be written: {error}"))
                .hint("correct the key below [traffic] or [network] in wiab.toml")
        })?;
        no_lockout(sh, &self.traffic).await?;
        let hijacked = self.nothing_is_hijacked(sh).await?;
        sh.ok(&nft(&["-c", "-f", "-"]).stdin(script))
            .await
            .map_err(|failure| Failure {
                why: format!("nft does not accept the rules: {}", failure.why),
                ..failure
            })?;
        let mut note = format!("public interface {wan}");
        let closed = closed(sh, &self.traffic).await?;
        if !closed.is_empty() {
            let _ = write!(
                note,
                "; not reachable from outside: TCP {}",
                names(closed.iter())
            );
        }
        if let Some(hijacked) = hijacked {
            let _ = write!(note, "; {hijacked}");
        }
        let key = Cmd::new(["sysctl", "-n", "net.bridge.bridge-nf-call-iptables"]);
        if sh.run(&key).await?.text().trim() == "1" {
            note.push_str("; bridged frames pass the rules (bridge-nf-call-iptables = 1)");
        }
        Ok(Receipt::note(note).with("wan", wan))
    }
}

impl Kind for NftCheck {
    const NAME: &'static str = "nft.check/1";
    const ABOUT: About = About {
        purpose: "The firewall locks nobody out, takes nobody's ports, and is accepted by nft before anything is changed.",
        probe: "Finds the public interface, compares listening sockets and chains of others with the rules, and asks `nft -c`.",
        effect: "The same; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        "check the firewall's rules against this host".to_owned()
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for NftCheck {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        // What is in the way is said by `apply`; a plan is also made for a host that lacks everything.
        Ok(match self.look(sh).await {
            Ok(receipt) => Probe::Satisfied(receipt),
            Err(_) => Probe::Absent,
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        self.look(sh).await.map_err(|failure| Failure {
            residue: Residue::Clean,
            ..failure
        })
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_of_lowest_metric_tells_the_interface() {
        let routes: Value = serde_json::from_str(
            r#"[{"dst":"default","dev":"wlan0","metric":600},{"dst":"default","dev":"eth0","metric":100},{"dst":"10.0.0.0/8","dev":"x"}]"#,
        )
        .unwrap();
        assert_eq!(default_device(&routes).as_deref(), Some("eth0"));
        assert_eq!(default_device(&Value::Null), None);
    }
}
