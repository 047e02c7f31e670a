//! `cert.restored/1`: a new cluster gets the certificates that were saved, as long as they are valid.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::tool::Toolbox;
use super::super::{Act, bound};
use super::kept::{Kept, PLACES, complaint, place, question};
use crate::certs::utc;
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind};

/// cert-manager renews that long before the end; what is left of such a certificate is not worth keeping.
const RENEW_BEFORE_MS: u64 = 15 * 86_400_000;

/// Saved certificates in the cluster, before the charts ask for new ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertRestored {
    /// Where kubectl runs.
    pub toolbox: Toolbox,
    /// The file that `cert.saved/1` wrote.
    pub path: String,
    /// The domain of the installation; certificates of another one are left alone.
    pub domain: String,
}

/// The secrets that were not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    absent: Vec<(String, String)>,
}

impl CertRestored {
    /// What there is to restore; the error says why nothing.
    async fn saved(&self, sh: Shell<'_>) -> Result<Result<Kept, String>, Failure> {
        let Some(kept) = Kept::read(sh, &self.path).await? else {
            return Ok(Err("nothing was saved".to_owned()));
        };
        if kept.domain != self.domain {
            return Ok(Err(format!("the saved ones are for {}", kept.domain)));
        }
        if kept.not_after_ms < sh.cx.clock.wall_ms() + RENEW_BEFORE_MS {
            let end = utc(kept.not_after_ms);
            return Ok(Err(format!(
                "the saved ones end at {end}; new ones are asked for"
            )));
        }
        Ok(Ok(kept))
    }

    /// Namespace and name of the secrets that the cluster does not have.
    async fn absent(&self, sh: Shell<'_>) -> Result<Vec<(String, String)>, Failure> {
        let mut absent = Vec::new();
        for (namespace, names) in PLACES {
            let asked = question(&self.toolbox, namespace, names, "name")?;
            let Some(output) = sh.probe(&asked).await? else {
                return Ok(Vec::new());
            };
            if !output.ok() {
                return Err(complaint(&output));
            }
            let text = output.text();
            let there: Vec<&str> = text
                .lines()
                .filter_map(|line| line.trim().rsplit('/').next())
                .collect();
            let missing = names.iter().filter(|name| !there.contains(name));
            absent.extend(missing.map(|name| (namespace.to_owned(), (*name).to_owned())));
        }
        Ok(absent)
    }

    fn missing(kept: Kept, absent: &[(String, String)]) -> Vec<Value> {
        let mut secrets = kept.secrets;
        secrets.retain(|secret| {
            let (namespace, name) = place(secret);
            absent
                .iter()
                .any(|(one, other)| one == namespace && other == name)
        });
        secrets
    }

    fn receipt(kept: &Kept) -> Receipt {
        Receipt::note(format!(
            "saved certificates, valid until {}",
            utc(kept.not_after_ms)
        ))
    }
}

impl Kind for CertRestored {
    const NAME: &'static str = "cert.restored/1";
    const ABOUT: About = About {
        purpose: "An installation that begins anew takes the certificates of the one before instead of asking for new ones.",
        probe: "Reads the saved file: nothing usable in it, or all of it in the cluster already, is satisfied.",
        effect: "Gives the cluster those of the saved secrets that it does not have, through standard input.",
        undo: "Deletes the secrets that were not there before.",
    };

    fn summary(&self) -> String {
        "give the cluster the saved certificates, if they are still valid".to_owned()
    }

    fn undo_summary(&self) -> String {
        "delete the secrets that were restored".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CertRestored {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let kept = match self.saved(sh).await? {
            Ok(kept) => kept,
            Err(why) => return Ok(Probe::Satisfied(Receipt::note(why))),
        };
        if self.toolbox.image.get().is_none() || self.toolbox.tree.get().is_none() {
            return Ok(Probe::Absent);
        }
        let receipt = Self::receipt(&kept);
        // A cluster that does not answer has nothing yet.
        let Ok(absent) = self.absent(sh).await else {
            return Ok(Probe::Absent);
        };
        let count = kept.secrets.len();
        let missing = Self::missing(kept, &absent).len();
        Ok(match missing {
            0 => Probe::Satisfied(receipt),
            missing if missing == count => Probe::Absent,
            missing => Probe::Partial {
                what: format!("{missing} of {count} secrets are missing"),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let absent = match self.saved(sh).await? {
            Ok(_) => self.absent(sh).await?,
            Err(_) => Vec::new(),
        };
        Ok(Image { absent })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let kept = match self.saved(sh).await? {
            Ok(kept) => kept,
            Err(why) => return Ok(Receipt::note(why)),
        };
        let receipt = Self::receipt(&kept);
        let absent = self.absent(sh).await?;
        let missing = Self::missing(kept, &absent);
        if !missing.is_empty() {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": missing}).to_string();
            // Server-side, for the other way keeps a second copy of the keys in an annotation.
            let cmd = self
                .toolbox
                .kubectl(&["apply", "--server-side", "-f", "-"])?;
            sh.ok(&cmd.stdin(list)).await?;
        }
        Ok(receipt)
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        for (namespace, names) in PLACES {
            let ours = image.absent.iter().filter(|(one, _)| one == namespace);
            let ours: Vec<&str> = ours
                .map(|(_, name)| name.as_str())
                .filter(|name| names.contains(name))
                .collect();
            if ours.is_empty() {
                continue;
            }
            let mut argv = vec!["delete", "secret", "-n", namespace, "--ignore-not-found"];
            argv.extend(ours);
            sh.ok(&self.toolbox.kubectl(&argv)?).await?;
        }
        Ok(())
    }
}
