//! `cert.saved/1`: issued certificates and the account's key are kept outside the cluster, for the next installation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::tool::Toolbox;
use super::super::{Act, bound, known};
use super::kept::{Kept, TLS, live, place};
use crate::certs::parse_utc;
use crate::host::shell::Shell;
use crate::host::{Host, Meta};
use crate::kind::{About, Input, Kind};
use crate::secrets::SECRET_MODE;

/// The saved certificates. The authority issues the same names only five times in a week; an installation that begins anew
/// takes the saved ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertSaved {
    /// Where kubectl runs.
    pub toolbox: Toolbox,
    /// The file. Its directory must exist.
    pub path: String,
    /// The domain of the installation.
    pub domain: String,
    /// Until when the certificates are valid: outputs of `cert.ready/1`.
    pub not_after: Vec<Input<String>>,
    /// Whether a rollback leaves the file.
    pub keep: bool,
}

/// Whether a file was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    existed: bool,
}

impl CertSaved {
    async fn wanted(&self, sh: Shell<'_>) -> Result<Option<Kept>, Failure> {
        let mut not_after_ms = u64::MAX;
        for end in &self.not_after {
            let end = known(end, "not_after")?;
            let end_ms =
                parse_utc(end).ok_or_else(|| Failure::clean(format!("`{end}` is not a time")))?;
            not_after_ms = not_after_ms.min(end_ms);
        }
        let secrets = live(sh, &self.toolbox).await?;
        // One for each certificate that was waited for: an installation without calls has one less.
        let held = TLS
            .iter()
            .filter(|name| secrets.iter().any(|secret| place(secret).1 == **name))
            .count();
        Ok((held >= self.not_after.len()).then(|| Kept {
            domain: self.domain.clone(),
            not_after_ms,
            secrets,
        }))
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("saved in {}", self.path))
    }
}

impl Kind for CertSaved {
    const NAME: &'static str = "cert.saved/1";
    const ABOUT: About = About {
        purpose: "Installing again does not use up the authority's limit of five certificates a week for the same names.",
        probe: "Compares the cluster's secrets with the file.",
        effect: "Writes certificates, their keys and the account's key into a file that only its owner reads (0600).",
        undo: "Removes the file if it was made, unless it is to be kept; an older one is not restored, for its content is secret.",
    };

    fn summary(&self) -> String {
        format!("save the certificates in {}", self.path)
    }

    fn undo_summary(&self) -> String {
        if self.keep {
            format!("leave {}", self.path)
        } else {
            format!("remove {}", self.path)
        }
    }

    fn undo_class(&self) -> UndoClass {
        if self.keep {
            UndoClass::Irreversible {
                why: "the saved certificates are kept for the next installation".to_owned(),
            }
        } else {
            UndoClass::Reversible
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CertSaved {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let unknown = self.not_after.iter().any(|end| end.get().is_none());
        if unknown || self.toolbox.image.get().is_none() || self.toolbox.tree.get().is_none() {
            return Ok(Probe::Absent);
        }
        let saved = Kept::read(sh, &self.path).await.unwrap_or_default();
        // A cluster that does not answer has nothing to save.
        let wanted = self.wanted(sh).await.unwrap_or_default();
        Ok(match (wanted, saved) {
            (Some(wanted), Some(saved)) if wanted == saved => Probe::Satisfied(self.receipt()),
            (Some(_), Some(_)) => Probe::Drifted {
                diff: "- older certificates\n+ those of the cluster".to_owned(),
            },
            _ => Probe::Absent,
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let existed = sh.stat(&self.path).await?.is_some();
        Ok(Image { existed })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let Some(wanted) = self.wanted(sh).await? else {
            return Err(
                Failure::clean("the cluster does not hold the certificates' secrets")
                    .hint("`wiab apply` waits for the certificates again (step cert.wait)"),
            );
        };
        let saved = Kept::read(sh, &self.path).await?;
        if saved.as_ref() != Some(&wanted) {
            sh.write(&self.path, &wanted.bytes(), &Meta::user(SECRET_MODE))
                .await?;
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        if !self.keep && !image.existed {
            sh.remove(&self.path, false).await?;
        }
        Ok(())
    }
}
