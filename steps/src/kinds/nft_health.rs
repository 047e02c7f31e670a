//! `nft.health/1`: web traffic goes to the nodes that answer, kept so by a timer on the host.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::nft::{listing, load};
use super::whole_file::{Old, Replace, WholeFile, capture};
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind};
use crate::traffic::{HEALTH_HEADER, NAT, Traffic};

/// The script that the timer runs.
pub const SCRIPT: &str = "/usr/local/sbin/wiab-ingress";
const SERVICE: &str = "wiab-ingress.service";
const TIMER: &str = "wiab-ingress.timer";
const SERVICE_FILE: &str = "/etc/systemd/system/wiab-ingress.service";
const TIMER_FILE: &str = "/etc/systemd/system/wiab-ingress.timer";
const HEADER: &str = "# Written by wiab.\n";

/// Its start and end are not logged, only what it changes: it runs four times a minute.
const SERVICE_TEXT: &str = "# Written by wiab.
[Unit]
Description=Balance web traffic over the nodes that answer
After=wiab-firewall.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/wiab-ingress
TimeoutStartSec=600
LogLevelMax=notice
";

const TIMER_TEXT: &str = "# Written by wiab.
[Unit]
Description=Ask the nodes of wiab whether they answer

[Timer]
OnBootSec=15s
OnUnitActiveSec=15s
AccuracySec=1s

[Install]
WantedBy=timers.target
";

/// The script, its service and its timer. They need nothing of wiab, and go on when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NftHealth {
    /// What the rules depend on; the same as for the firewall, since the script writes one of its chains.
    pub traffic: Traffic,
}

/// What was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Script, service, timer.
    files: [Option<Old>; 3],
    enabled: bool,
    active: bool,
    /// The nodes that got web traffic; `None` without rules of wiab.
    nodes: Option<Vec<String>>,
}

/// What `systemctl` says about the timer.
async fn is(sh: Shell<'_>, verb: &str) -> Result<bool, Failure> {
    let output = sh.run(&Cmd::new(["systemctl", verb, TIMER])).await?;
    Ok(output.ok())
}

async fn systemctl(sh: Shell<'_>, words: &[&str]) -> Result<(), Failure> {
    let argv = ["systemctl"].iter().chain(words).copied();
    sh.ok(&Cmd::new(argv).root()).await.map(drop)
}

impl NftHealth {
    fn files(&self) -> Result<[WholeFile<'static>; 3], Failure> {
        let script = self.traffic.health_script().map_err(|error| {
            Failure::clean(format!("the health check cannot be written: {error}"))
                .hint("correct the key below [traffic] or [network] in wiab.toml")
        })?;
        let file = |path, text: String, mode, marker| WholeFile {
            path,
            content: text.into_bytes(),
            mode,
            owner: Some("root:root"),
            root: true,
            replace: Replace::Marked(marker),
        };
        Ok([
            file(SCRIPT, script, 0o755, HEALTH_HEADER),
            file(SERVICE_FILE, SERVICE_TEXT.to_owned(), 0o644, HEADER),
            file(TIMER_FILE, TIMER_TEXT.to_owned(), 0o644, HEADER),
        ])
    }

    /// The nodes that get web traffic now.
    async fn nodes(&self, sh: Shell<'_>) -> Result<Option<Vec<String>>, Failure> {
        let nat = listing(sh, &["table", NAT.0, NAT.1]).await?;
        Ok(nat.and_then(|nat| self.traffic.balanced(&nat)))
    }

    fn receipt() -> Receipt {
        Receipt::note(format!("{TIMER} asks every 15 s"))
    }
}

impl Kind for NftHealth {
    const NAME: &'static str = "nft.health/1";
    const ABOUT: About = About {
        purpose: "A node that is down, or whose ingress controller is not ready, gets no share of the web traffic.",
        probe: "Compares script, service and timer with those wanted, and looks whether the timer is enabled and runs.",
        effect: "Writes them, runs the check once to see that it works, and starts the timer: every 15 s it asks the controller's port on each node and rewrites the one chain that balances, in one transaction, if other nodes answer than before. While none answers, all nodes stay in.",
        undo: "Stops the timer, removes or restores the three files, and sends web traffic to the nodes that got it before.",
    };

    fn summary(&self) -> String {
        format!(
            "balance web traffic over those of {} nodes that answer",
            self.traffic.nodes.len()
        )
    }

    fn undo_summary(&self) -> String {
        format!("stop {TIMER}, restore its files and the nodes of before")
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("host-net")]
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for NftHealth {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let (mut there, mut wrong) = (0, None);
        for file in self.files()? {
            match file.probe(sh).await? {
                Probe::Satisfied(_) => there += 1,
                Probe::Drifted { diff } => {
                    return Ok(Probe::Drifted {
                        diff: format!("{}\n{diff}", file.path),
                    });
                }
                _ => wrong = Some(format!("{} is missing", file.path)),
            }
        }
        let (enabled, active) = (is(sh, "is-enabled").await?, is(sh, "is-active").await?);
        if there == 0 && !enabled && !active {
            return Ok(Probe::Absent);
        }
        if wrong.is_none() && !(enabled && active) {
            let what = if enabled { "active" } else { "enabled" };
            wrong = Some(format!("{TIMER} is not {what}"));
        }
        Ok(match wrong {
            Some(what) => Probe::Partial { what },
            None => Probe::Satisfied(Self::receipt()),
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        Ok(Image {
            files: [
                capture(sh, SCRIPT, true).await?,
                capture(sh, SERVICE_FILE, true).await?,
                capture(sh, TIMER_FILE, true).await?,
            ],
            enabled: is(sh, "is-enabled").await?,
            active: is(sh, "is-active").await?,
            nodes: self.nodes(sh).await?,
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        for file in self.files()? {
            if !matches!(file.probe(sh).await?, Probe::Satisfied(_)) {
                file.apply(sh).await?;
            }
        }
        systemctl(sh, &["daemon-reload"]).await?;
        // A timer would run a check that fails for ever, and tell nobody.
        systemctl(sh, &["start", SERVICE]).await.map_err(|failure| {
            failure.hint("`journalctl -u wiab-ingress` tells what the health check ran into; then `wiab apply --resume`")
        })?;
        if !is(sh, "is-enabled").await? || !is(sh, "is-active").await? {
            systemctl(sh, &["enable", "--now", TIMER]).await?;
        }
        Ok(Self::receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &Image) -> Result<(), Failure> {
        if !before.enabled && is(sh, "is-enabled").await? {
            systemctl(sh, &["disable", TIMER]).await?;
        }
        if !before.active && is(sh, "is-active").await? {
            systemctl(sh, &["stop", TIMER]).await?;
        }
        for (file, old) in self.files()?.iter().zip(&before.files) {
            file.undo(sh, old.as_ref()).await?;
        }
        systemctl(sh, &["daemon-reload"]).await?;
        let (Some(old), Some(now)) = (&before.nodes, self.nodes(sh).await?) else {
            return Ok(());
        };
        // With an older timer of ours it is that one's matter again.
        if before.active || *old == now {
            return Ok(());
        }
        load(sh, &self.traffic.balance(old)).await
    }
}
