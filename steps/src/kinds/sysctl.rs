//! `sysctl/1`: kernel settings, live and for the next boot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
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

const HEADER: &str = "# Written by wiab.\n";

/// Kernel settings in a drop-in file of our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    /// The drop-in: `/etc/sysctl.d/60-wiab.conf`.
    pub file: String,
    /// The settings.
    pub settings: Vec<Setting>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The key: `net.ipv4.ip_forward`.
    pub key: String,
    /// The value wanted.
    pub value: String,
    /// Values that are good enough; then nothing is written at all.
    #[serde(default)]
    pub fine: Vec<String>,
    /// A key whose value also counts: the kernel uses the larger of both (`rp_filter` of `all` and of an interface). The
    /// interface may not exist yet; then the drop-in alone waits for it.
    #[serde(default)]
    pub max_with: Option<String>,
}

/// What was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    file: Option<Old>,
    live: BTreeMap<String, String>,
}

/// The live value; `None` when the key does not exist (an interface that is not up).
async fn live(sh: Shell<'_>, key: &str) -> Result<Option<String>, Failure> {
    let cmd = Cmd::new(["sysctl", "-n", key]).env("LC_ALL", "C");
    let output = sh.run(&cmd).await?;
    let said = output.error_text();
    if output.ok() {
        Ok(Some(output.text().trim().to_owned()))
    } else if said.contains("No such file or directory") {
        Ok(None)
    } else {
        Err(Failure::dirty(format!("sysctl cannot read {key}: {said}")))
    }
}

async fn set_live(sh: Shell<'_>, key: &str, value: &str) -> Result<(), Failure> {
    let assignment = format!("{key}={value}");
    sh.ok(&Cmd::new(["sysctl", "-w", &assignment]).root())
        .await
        .map(drop)
}

impl Setting {
    /// The value that the kernel acts by.
    async fn effective(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let Some(own) = live(sh, &self.key).await? else {
            return Ok(None);
        };
        let Some(other_key) = &self.max_with else {
            return Ok(Some(own));
        };
        let other = live(sh, other_key).await?.unwrap_or_default();
        let number = |text: &str| text.parse::<i64>().unwrap_or_default();
        Ok(Some(number(&own).max(number(&other)).to_string()))
    }

    /// Whether the key belongs to an interface that does not exist yet.
    fn waits(&self, live: Option<&str>) -> bool {
        self.max_with.is_some() && live.is_none()
    }

    fn good_enough(&self, effective: Option<&str>) -> bool {
        effective.is_some_and(|value| self.fine.iter().any(|fine| fine == value))
    }
}

impl Sysctl {
    fn dropin(&self) -> WholeFile<'_> {
        let mut content = HEADER.to_owned();
        for setting in &self.settings {
            let _ = writeln!(content, "{} = {}", setting.key, setting.value);
        }
        WholeFile {
            path: &self.file,
            content: content.into_bytes(),
            mode: 0o644,
            owner: None,
            root: true,
            replace: Replace::Marked(HEADER),
        }
    }

    /// Whether every setting is good enough without us.
    async fn all_fine(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        for setting in &self.settings {
            if !setting.good_enough(setting.effective(sh).await?.as_deref()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The settings whose live value is another one than wanted.
    async fn differing(&self, sh: Shell<'_>) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        for setting in &self.settings {
            let found = live(sh, &setting.key).await?;
            if setting.waits(found.as_deref()) {
                continue;
            }
            if found.as_deref() != Some(setting.value.as_str()) {
                lines.push(format!(
                    "- {0} = {1}\n+ {0} = {2}",
                    setting.key,
                    found.as_deref().unwrap_or("(no such key)"),
                    setting.value
                ));
            }
        }
        Ok(lines)
    }

    fn receipt(&self) -> Receipt {
        let values: Vec<String> = self
            .settings
            .iter()
            .map(|setting| format!("{} = {}", setting.key, setting.value))
            .collect();
        Receipt::note(values.join(", "))
    }
}

impl Kind for Sysctl {
    const NAME: &'static str = "sysctl/1";
    const ABOUT: About = About {
        purpose: "Kernel settings that hold now and after a reboot.",
        probe: "Reads the live values, and the drop-in file unless the live values are declared good enough.",
        effect: "Writes the drop-in file and sets the live values.",
        undo: "Restores both.",
    };

    fn summary(&self) -> String {
        let values: Vec<String> = self
            .settings
            .iter()
            .map(|setting| format!("{}={}", setting.key, setting.value))
            .collect();
        format!("set {}", values.join(" "))
    }

    fn undo_summary(&self) -> String {
        format!("restore the values and {}", self.file)
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

impl Act for Sysctl {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if self.all_fine(sh).await? {
            return Ok(Probe::Satisfied(Receipt::note("already good enough")));
        }
        let differing = self.differing(sh).await?;
        let file = self.dropin().probe(sh).await?;
        Ok(match (differing.is_empty(), file) {
            (true, Probe::Satisfied(_)) => Probe::Satisfied(self.receipt()),
            (_, Probe::Drifted { diff }) => Probe::Drifted { diff },
            (true, _) => Probe::Partial {
                what: format!("the live values are as wanted, {} is missing", self.file),
            },
            (false, Probe::Satisfied(_)) => Probe::Drifted {
                diff: differing.join("\n"),
            },
            (false, _) => Probe::Absent,
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let mut values = BTreeMap::new();
        for setting in &self.settings {
            if let Some(value) = live(sh, &setting.key).await? {
                values.insert(setting.key.clone(), value);
            }
        }
        Ok(Image {
            file: capture(sh, &self.file, true).await?,
            live: values,
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        self.dropin().apply(sh).await?;
        for setting in &self.settings {
            let found = live(sh, &setting.key).await?;
            let done = found.as_deref() == Some(setting.value.as_str());
            if !done && !setting.waits(found.as_deref()) {
                set_live(sh, &setting.key, &setting.value).await?;
            }
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        self.dropin().undo(sh, image.file.as_ref()).await?;
        for (key, value) in &image.live {
            let now = live(sh, key).await?;
            if now.is_some_and(|now| now != *value) {
                set_live(sh, key, value).await?;
            }
        }
        Ok(())
    }
}
