//! `secrets.rotated/1`: new values for some of the sealed secrets, asked for by name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;
use zeroize::Zeroizing;

use super::secrets_sealed::read_set;
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Host, Meta};
use crate::kind::{About, Kind, Out};
use crate::secrets::{Name, SECRET_MODE, SealedSet, rotate};

/// One rotation. The same label is the same rotation: it happens once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsRotated {
    /// Path of the sealed set.
    pub sealed: String,
    /// Name of the rotation: letters, digits, `-`.
    pub label: String,
    /// Which secrets get new values; see [`rotatable`].
    pub names: Vec<String>,
}

/// Digest of the sealed set as it was, and whether a set before this rotation was kept already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    digest: Option<String>,
    kept: bool,
}

/// Whether wiab can give a secret a new value everywhere; if not, why.
pub fn rotatable(name: Name) -> Result<(), &'static str> {
    match name {
        Name::Zrest | Name::ZauthPrivate | Name::PostgresqlWire => Ok(()),
        Name::ZauthPublic => Err("it follows from zauth_private: rotate that"),
        Name::MinioAccessKey
        | Name::MinioSecretKey
        | Name::CargoholdAccessKey
        | Name::CargoholdSecretKey => Err(
            "MinIO takes a new key only on a command line, where every user of the data node could read it",
        ),
        Name::PostgresqlRepmgr => Err(
            "repmgr's password stands in files of the data nodes that only its playbook writes, and that one re-clones the replicas",
        ),
        Name::Prometheus => Err("no chart of this installation uses it"),
        Name::MlsEd25519 | Name::MlsP256 | Name::MlsP384 | Name::MlsP521 => Err(
            "existing MLS groups carry the old key: with another one the server could not remove clients from them",
        ),
    }
}

impl SecretsRotated {
    /// Output: path of the sealed set.
    pub const PATH: Out<Self> = Out::new("path");
    /// Output: path of the set before the rotation.
    pub const BEFORE: Out<Self> = Out::new("before");

    /// Where the set before the rotation is kept.
    pub fn before(&self) -> String {
        let stem = self.sealed.strip_suffix(".toml").unwrap_or(&self.sealed);
        format!("{stem}.before-{}.toml", self.label)
    }

    fn names(&self) -> Result<Vec<Name>, Failure> {
        let names = self.names.iter().map(|text| {
            let name = Name::parse(text)
                .ok_or_else(|| Failure::clean(format!("there is no secret `{text}`")))?;
            let can = rotatable(name);
            can.map_err(|why| Failure::clean(format!("`{text}` is not rotated: {why}")))?;
            Ok(name)
        });
        names.collect()
    }

    fn is_done(&self, set: &SealedSet) -> bool {
        set.rotated() == Some(&self.label)
    }

    async fn bytes(
        &self,
        sh: Shell<'_>,
        path: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        Ok(sh.read(path, false).await?.map(Zeroizing::new))
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("new: {}", self.names.join(", ")))
            .with(Self::PATH.name(), &*self.sealed)
            .with(Self::BEFORE.name(), self.before())
    }

    async fn write(&self, sh: Shell<'_>, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        sh.write(path, bytes, &Meta::user(SECRET_MODE)).await
    }
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

impl Kind for SecretsRotated {
    const NAME: &'static str = "secrets.rotated/1";
    const ABOUT: About = About {
        purpose: "Secrets get new values when, and only when, the operator asks for it by name.",
        probe: "Reads whether the sealed set carries this rotation.",
        effect: "Keeps the set as it is beside itself (mode 0600), then writes one with new values for the named secrets.",
        undo: "Puts the kept set back.",
    };

    fn summary(&self) -> String {
        format!("give new values to {}", self.names.join(", "))
    }

    fn undo_summary(&self) -> String {
        "put the former values back".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for SecretsRotated {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let set = read_set(sh, &self.sealed).await?;
        let done = set.is_some_and(|set| self.is_done(&set));
        if done && sh.stat(&self.before()).await?.is_some() {
            Ok(Probe::Satisfied(self.receipt()))
        } else {
            Ok(Probe::Absent)
        }
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let bytes = self.bytes(sh, &self.sealed).await?;
        Ok(Image {
            digest: bytes.map(|bytes| digest(&bytes)),
            kept: sh.stat(&self.before()).await?.is_some(),
        })
    }

    async fn apply(&self, sh: Shell<'_>, image: &Image) -> Result<Receipt, Failure> {
        let names = self.names()?;
        let Some(bytes) = self.bytes(sh, &self.sealed).await? else {
            return Err(Failure::clean(format!(
                "{} is missing: there is nothing to rotate",
                self.sealed
            ))
            .hint("wiab apply   installs first"));
        };
        let Some(set) = read_set(sh, &self.sealed).await? else {
            return Err(Failure::clean(format!("{} is missing", self.sealed)).retry());
        };
        if self.is_done(&set) {
            return Ok(self.receipt());
        }
        if image.digest.as_ref() != Some(&digest(&bytes)) {
            return Err(Failure::clean(format!(
                "{} was changed by somebody else while the run was going",
                self.sealed
            ))
            .ask()
            .hint("take the run back, and begin a new rotation"));
        }
        self.write(sh, &self.before(), &bytes).await?;
        let fresh = {
            let purpose = format!("{} {}", self.sealed, self.label);
            let mut entropy = sh.host.entropy(&purpose);
            rotate(&set, &names, &mut *entropy, &self.label)
                .map_err(|error| Failure::dirty(format!("no new values can be made: {error}")))?
        };
        self.write(sh, &self.sealed, fresh.encode().as_bytes())
            .await?;
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        if image.kept {
            return Ok(());
        }
        let before = self.before();
        let Some(now) = self.bytes(sh, &self.sealed).await? else {
            return Ok(());
        };
        let old = if image.digest.as_ref() == Some(&digest(&now)) {
            now
        } else {
            let kept = self.bytes(sh, &before).await?;
            kept.filter(|kept| image.digest == Some(digest(kept)))
                .ok_or_else(|| {
                    Failure::clean(format!(
                        "{} cannot be put back: {before} is missing or damaged",
                        self.sealed
                    ))
                    .ask()
                    .hint(format!(
                        "restore {} from your copy, then decide `accept`",
                        self.sealed
                    ))
                })?
        };
        // Also when it is right: a write that was cut short may have left its temporary file.
        self.write(sh, &self.sealed, &old).await?;
        sh.remove(&before, false).await.map(drop)
    }
}
