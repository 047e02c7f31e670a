//! `docker.user/1`: docker's own filter lets the VMs' bridge pass, also after docker or the host was restarted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::whole_file::{Old, Replace, WholeFile, capture};
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind};
use crate::traffic::interface;

const UNIT: &str = "wiab-docker-user.service";
const UNIT_FILE: &str = "/etc/systemd/system/wiab-docker-user.service";
const HEADER: &str = "# Written by wiab.\n";
const IPTABLES: &str = "/usr/sbin/iptables";

/// Docker drops what is forwarded between interfaces that it does not know, also bridged frames where
/// `net.bridge.bridge-nf-call-iptables` is 1. It leaves its chain `DOCKER-USER` to the administrator and never empties it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerUser {
    /// The bridge of the VMs.
    pub bridge: String,
}

/// What was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Whether each of the two rules was there.
    rules: [bool; 2],
    unit: Option<Old>,
    enabled: bool,
    active: bool,
}

async fn systemctl(sh: Shell<'_>, words: &[&str]) -> Result<(), Failure> {
    let argv = ["systemctl"].iter().chain(words).copied();
    sh.ok(&Cmd::new(argv).root()).await.map(drop)
}

async fn is(sh: Shell<'_>, verb: &str) -> Result<bool, Failure> {
    let output = sh.run(&Cmd::new(["systemctl", verb, UNIT])).await?;
    Ok(output.ok())
}

/// Whether iptables finds something. That it cannot look (its lock is held, its tables are unreadable) is no answer.
async fn yes(sh: Shell<'_>, cmd: &Cmd) -> Result<bool, Failure> {
    let Some(output) = sh.probe(cmd).await? else {
        return Ok(false);
    };
    let said = output.error_text();
    let absent = ["No chain/target/match", "Bad rule"];
    if output.ok() || absent.iter().any(|text| said.contains(text)) {
        return Ok(output.ok());
    }
    Err(Failure::dirty(format!("iptables cannot look: {said}")).retry())
}

impl DockerUser {
    /// Both directions: `iptables` with this verb.
    fn rules(&self, verb: &str) -> [Cmd; 2] {
        ["-i", "-o"].map(|way| {
            let rule = [
                way,
                self.bridge.as_str(),
                "-m",
                "comment",
                "--comment",
                "wiab",
                "-j",
                "ACCEPT",
            ];
            let head = ["iptables", "-w", verb, "DOCKER-USER"];
            let argv = head.iter().chain(&rule).copied();
            Cmd::new(argv).root()
        })
    }

    /// Docker makes its chain when it starts; the unit comes after it and is started again with it.
    fn unit(&self) -> WholeFile<'static> {
        let lines = |key: &str, verb: &str| {
            let all = self.rules(verb).map(|cmd| {
                let words = cmd.argv.get(1..).unwrap_or_default().join(" ");
                [
                    key,
                    "=",
                    if verb == "-D" { "-" } else { "" },
                    IPTABLES,
                    " ",
                    &words,
                    "\n",
                ]
                .concat()
            });
            all.concat()
        };
        let text = [
            HEADER,
            "[Unit]\nDescription=Docker lets the VMs of wiab pass\nAfter=docker.service\nPartOf=docker.service\n\n\
             [Service]\nType=oneshot\nRemainAfterExit=yes\n",
            &lines("ExecStartPre", "-D"),
            &lines("ExecStart", "-I"),
            "\n[Install]\nWantedBy=docker.service\n",
        ];
        WholeFile {
            path: UNIT_FILE,
            content: text.concat().into_bytes(),
            mode: 0o644,
            owner: None,
            root: true,
            replace: Replace::Marked(HEADER),
        }
    }

    /// Whether docker's chain exists.
    async fn docker(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        let cmd = Cmd::new(["iptables", "-w", "-n", "-L", "DOCKER-USER"]).root();
        yes(sh, &cmd).await
    }

    async fn found(&self, sh: Shell<'_>) -> Result<[bool; 2], Failure> {
        let mut found = [false; 2];
        for (slot, cmd) in found.iter_mut().zip(self.rules("-C")) {
            *slot = yes(sh, &cmd).await?;
        }
        Ok(found)
    }

    async fn kept(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        let file = matches!(self.unit().probe(sh).await?, Probe::Satisfied(_));
        Ok(file && is(sh, "is-enabled").await? && is(sh, "is-active").await?)
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("DOCKER-USER accepts {}", self.bridge))
    }

    fn check(&self) -> Result<(), Failure> {
        interface(&self.bridge)
            .map(drop)
            .map_err(|error| Failure::clean(error.to_string()))
    }
}

impl Kind for DockerUser {
    const NAME: &'static str = "docker.user/1";
    const ABOUT: About = About {
        purpose: "A restart of docker does not cut the VMs off.",
        probe: "Looks for docker's chain DOCKER-USER, for one rule per direction in it, and for the unit that puts them back. Without docker there is nothing to do.",
        effect: "Writes a unit that inserts both rules after docker has started, and starts it.",
        undo: "Removes the rules and the unit, or restores the older unit.",
    };

    fn summary(&self) -> String {
        format!("let {} pass docker's filter", self.bridge)
    }

    fn undo_summary(&self) -> String {
        "remove the two rules and the unit".to_owned()
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

impl Act for DockerUser {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        self.check()?;
        if !self.docker(sh).await? {
            return Ok(Probe::Satisfied(Receipt::note(
                "docker filters nothing here",
            )));
        }
        let found = self.found(sh).await?;
        Ok(match (found, self.kept(sh).await?) {
            ([true, true], true) => Probe::Satisfied(self.receipt()),
            ([false, false], false) => Probe::Absent,
            _ => Probe::Partial {
                what: "the rules in DOCKER-USER or their unit are incomplete".to_owned(),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        Ok(Image {
            rules: self.found(sh).await?,
            unit: capture(sh, UNIT_FILE, true).await?,
            enabled: is(sh, "is-enabled").await?,
            active: is(sh, "is-active").await?,
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        self.check()?;
        if !self.docker(sh).await? {
            return Ok(Receipt::note("docker filters nothing here"));
        }
        if !matches!(self.unit().probe(sh).await?, Probe::Satisfied(_)) {
            self.unit().apply(sh).await?;
            systemctl(sh, &["daemon-reload"]).await?;
        }
        if self.found(sh).await? != [true, true] {
            systemctl(sh, &["restart", UNIT]).await?;
        }
        if !self.kept(sh).await? {
            systemctl(sh, &["enable", "--now", UNIT]).await?;
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &Image) -> Result<(), Failure> {
        if !before.enabled && is(sh, "is-enabled").await? {
            systemctl(sh, &["disable", UNIT]).await?;
        }
        if !before.active && is(sh, "is-active").await? {
            systemctl(sh, &["stop", UNIT]).await?;
        }
        self.unit().undo(sh, before.unit.as_ref()).await?;
        systemctl(sh, &["daemon-reload"]).await?;
        let (now, delete) = (self.found(sh).await?, self.rules("-D"));
        for ((was, is), cmd) in before.rules.into_iter().zip(now).zip(&delete) {
            if is && !was {
                sh.ok(cmd).await?;
            }
        }
        Ok(())
    }
}
