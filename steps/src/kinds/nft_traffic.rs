//! `nft.traffic/1`: the host's firewall and load balancing, live and after a reboot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::nft::{listing, load, table_text};
use super::nft_guard::no_lockout;
use super::whole_file::{Old, Replace, WholeFile, capture};
use super::{Act, bound, known, nft_deadman};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Input, Kind};
use crate::traffic::{FILTER, NAT, Traffic, TrafficError, replacing};

/// The rules as the boot loads them.
pub const FILE: &str = "/etc/nftables-wiab.conf";
const UNIT: &str = "wiab-firewall.service";
const UNIT_FILE: &str = "/etc/systemd/system/wiab-firewall.service";
const HEADER: &str = "# Written by wiab.\n";

/// Part of `nftables.service`: its restart flushes everything, ours included, so ours is loaded again after it.
const UNIT_TEXT: &str = "# Written by wiab.
[Unit]
Description=Firewall and load balancing of wiab
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=nftables.service
Conflicts=shutdown.target
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/nftables-wiab.conf
ExecReload=/usr/sbin/nft -f /etc/nftables-wiab.conf

[Install]
WantedBy=sysinit.target
";

/// The two tables of wiab, the file that the boot loads, and the unit that loads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NftTraffic {
    /// The public interface.
    pub wan: Input<String>,
    /// Everything else that the rules depend on.
    pub traffic: Traffic,
    /// After how many seconds the old rules come back if wiab does not live on.
    pub deadman_s: u64,
}

/// What was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Our tables as text; others are never touched.
    tables: Vec<String>,
    file: Option<Old>,
    unit: Option<Old>,
    enabled: bool,
    active: bool,
}

impl Image {
    /// A script that brings the tables back.
    fn restore(&self) -> String {
        replacing(&self.tables.concat())
    }

    /// Addresses that connections were translated to.
    fn targets(&self) -> Vec<String> {
        let words = self
            .tables
            .iter()
            .flat_map(|text| text.split([' ', ',', '\n']));
        let mut found: Vec<String> = words
            .map(|word| word.split(':').next().unwrap_or_default())
            .filter(|word| word.parse::<std::net::Ipv4Addr>().is_ok())
            .map(str::to_owned)
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

fn marked(path: &'static str, text: String) -> WholeFile<'static> {
    WholeFile {
        path,
        content: text.into_bytes(),
        mode: 0o644,
        owner: None,
        root: true,
        replace: Replace::Marked(HEADER),
    }
}

/// What `systemctl` says about our unit.
async fn is(sh: Shell<'_>, verb: &str) -> Result<bool, Failure> {
    let output = sh.run(&Cmd::new(["systemctl", verb, UNIT])).await?;
    Ok(output.ok())
}

async fn systemctl(sh: Shell<'_>, words: &[&str]) -> Result<(), Failure> {
    let argv = ["systemctl"].iter().chain(words).copied();
    sh.ok(&Cmd::new(argv).root()).await.map(drop)
}

fn unwritable(error: &TrafficError) -> Failure {
    Failure::clean(format!("the rules cannot be written: {error}"))
        .hint("correct the key below [traffic] or [network] in wiab.toml")
}

impl NftTraffic {
    fn wan(&self) -> Result<&str, Failure> {
        known(&self.wan, "wan").map(String::as_str)
    }

    fn script(&self) -> Result<String, Failure> {
        self.traffic
            .script(self.wan()?)
            .map_err(|error| unwritable(&error))
    }

    fn files(&self) -> Result<[WholeFile<'static>; 2], Failure> {
        let rules = format!("{HEADER}{}", self.script()?);
        Ok([marked(FILE, rules), marked(UNIT_FILE, UNIT_TEXT.to_owned())])
    }

    /// How the live tables differ from those wanted; `None` if neither is there.
    async fn differences(&self, sh: Shell<'_>) -> Result<Option<Vec<String>>, Failure> {
        let [(family, filter), (other, nat)] = [FILTER, NAT];
        let filter = listing(sh, &["table", family, filter]).await?;
        let nat = listing(sh, &["table", other, nat]).await?;
        self.traffic
            .differences(self.wan()?, [filter.as_ref(), nat.as_ref()])
            .map_err(|error| unwritable(&error))
    }

    fn receipt() -> Receipt {
        Receipt::note("tables inet wiab and ip wiab_nat, loaded at every boot")
    }

    /// What is missing of the way through a reboot.
    async fn unkept(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        for file in self.files()? {
            match file.probe(sh).await? {
                Probe::Satisfied(_) => {}
                Probe::Drifted { diff } => return Ok(Some(diff)),
                _ => return Ok(Some(format!("{} is missing", file.path))),
            }
        }
        for verb in ["is-enabled", "is-active"] {
            if !is(sh, verb).await? {
                let what = verb.trim_start_matches("is-");
                return Ok(Some(format!("{UNIT} is not {what}")));
            }
        }
        Ok(None)
    }

    /// Loads the rules under the timer, and turns it off when the way in is proven.
    async fn load(&self, sh: Shell<'_>, before: &Image) -> Result<(), Failure> {
        let differ =
            |found: &Option<Vec<String>>| found.as_ref().is_none_or(|lines| !lines.is_empty());
        if differ(&self.differences(sh).await?) {
            let (script, restore) = (self.script()?, before.restore());
            nft_deadman::load_armed(sh, &script, &restore, self.deadman_s).await?;
        }
        self.prove(sh).await?;
        self.forget(sh, before).await?;
        nft_deadman::disarm(sh).await?;
        // It may have run out at the last moment.
        match self.differences(sh).await? {
            Some(lines) if lines.is_empty() => Ok(()),
            _ => Err(Failure::dirty(
                "the dead-man timer ran out before it was stopped, and the old rules are back",
            )
            .retry()
            .hint("if the host is that slow, set a larger `deadman_s` below [traffic]")),
        }
    }

    /// A new connection reaches the host, and the live rules are those wanted. If not, the timer takes them back.
    async fn prove(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let back = format!(
            "nothing is to be done: the old rules come back within {} s; then look at [traffic] in wiab.toml",
            self.deadman_s
        );
        let done = sh.host.renew(&sh.cx.cancel).await;
        done.map_err(|error| {
            Failure::dirty(format!(
                "with the new rules no new connection reaches the host: {error}"
            ))
            .code("traffic.lockout")
            .hint(back.clone())
        })?;
        no_lockout(sh, &self.traffic).await?;
        match self.differences(sh).await? {
            Some(lines) if lines.is_empty() => Ok(()),
            found => {
                let lines = found.unwrap_or_default();
                let first = lines.first().map_or("the tables are gone", String::as_str);
                Err(
                    Failure::dirty(format!("the rules are not as they were loaded: {first}"))
                        .hint("something on the host changes them: look at `sudo nft monitor`"),
                )
            }
        }
    }

    /// Connections to nodes that are no longer meant would go on to them.
    async fn forget(&self, sh: Shell<'_>, before: &Image) -> Result<(), Failure> {
        for address in before.targets() {
            if self.traffic.nodes.contains(&address) || self.traffic.calling == address {
                continue;
            }
            let cmd = Cmd::new(["conntrack", "-D", "-g", &address]).root();
            // Not installed, or nothing to forget: connections end by themselves then.
            sh.probe(&cmd).await?;
        }
        Ok(())
    }
}

impl Kind for NftTraffic {
    const NAME: &'static str = "nft.traffic/1";
    const ABOUT: About = About {
        purpose: "Clients reach the services in the VMs, nobody reaches more, and it stays so after a reboot.",
        probe: "Compares the two own tables with the rules wanted, expression by expression, and the file, the unit and its state.",
        effect: "Arms a timer of systemd that restores the old tables, loads the new ones in one transaction, proves that a new connection comes through, stops the timer, then makes it permanent. Tables of others are never touched.",
        undo: "Restores the own tables, the file, the unit and its state.",
    };

    fn summary(&self) -> String {
        let traffic = &self.traffic;
        let private = if traffic.private {
            ", no way out for VMs"
        } else {
            ""
        };
        format!(
            "firewall: 80 and 443 to {} nodes, calls to {}{private}",
            traffic.nodes.len(),
            traffic.calling
        )
    }

    fn undo_summary(&self) -> String {
        format!("restore the own tables, {FILE} and {UNIT}")
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

impl Act for NftTraffic {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let unkept = self.unkept(sh).await?;
        let left = nft_deadman::is_left(sh).await?;
        Ok(match (self.differences(sh).await?, unkept) {
            (None, _) if sh.read(FILE, true).await?.is_none() && !left => Probe::Absent,
            (None, _) => Probe::Partial {
                what: "the tables are not loaded".to_owned(),
            },
            (Some(lines), _) if !lines.is_empty() => Probe::Drifted {
                diff: lines.join("\n"),
            },
            (Some(_), _) if left => Probe::Partial {
                what: "the rules are loaded, but not confirmed".to_owned(),
            },
            (Some(_), Some(what)) => Probe::Partial { what },
            (Some(_), None) => Probe::Satisfied(Self::receipt()),
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let mut tables = Vec::new();
        for table in [FILTER, NAT] {
            tables.extend(table_text(sh, table).await?);
        }
        Ok(Image {
            tables,
            file: capture(sh, FILE, true).await?,
            unit: capture(sh, UNIT_FILE, true).await?,
            enabled: is(sh, "is-enabled").await?,
            active: is(sh, "is-active").await?,
        })
    }

    async fn apply(&self, sh: Shell<'_>, before: &Image) -> Result<Receipt, Failure> {
        no_lockout(sh, &self.traffic).await?;
        self.load(sh, before).await?;
        let mut changed = false;
        for file in self.files()? {
            if !matches!(file.probe(sh).await?, Probe::Satisfied(_)) {
                file.apply(sh).await?;
                changed = true;
            }
        }
        if changed {
            systemctl(sh, &["daemon-reload"]).await?;
        }
        if !is(sh, "is-enabled").await? || !is(sh, "is-active").await? {
            systemctl(sh, &["enable", "--now", UNIT]).await?;
        }
        Ok(Self::receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &Image) -> Result<(), Failure> {
        nft_deadman::disarm(sh).await?;
        if !before.enabled && is(sh, "is-enabled").await? {
            systemctl(sh, &["disable", UNIT]).await?;
        }
        if !before.active && is(sh, "is-active").await? {
            systemctl(sh, &["stop", UNIT]).await?;
        }
        let [rules, unit] = self.files()?;
        rules.undo(sh, before.file.as_ref()).await?;
        unit.undo(sh, before.unit.as_ref()).await?;
        systemctl(sh, &["daemon-reload"]).await?;
        let mut now = Vec::new();
        for table in [FILTER, NAT] {
            now.extend(table_text(sh, table).await?);
        }
        if now == before.tables {
            return Ok(());
        }
        load(sh, &before.restore()).await
    }
}
