//! ed25519 key pairs in files: made once, never replaced, never read into anything that is kept.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt};

use super::qemu::exists;
use crate::host::shell::Shell;
use crate::host::{Cmd, Meta};

/// A key pair at `path` (private) and `path.pub`.
#[derive(Debug)]
pub(super) struct KeyPair<'a> {
    /// Path of the private key; its directory exists.
    pub(super) path: &'a str,
    /// Comment in the public key.
    pub(super) comment: &'a str,
}

/// Which halves existed, and the mode of the private one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    private: Option<u32>,
    public: bool,
}

/// What is readable or writable only by the owner.
const PRIVATE_BITS: u32 = 0o600;

impl KeyPair<'_> {
    fn public_path(&self) -> String {
        format!("{}.pub", self.path)
    }

    /// Where a new pair is made before it is moved into place.
    fn fresh(&self) -> String {
        format!("{}.wiab-new", self.path)
    }

    async fn public(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let bytes = sh.read(&self.public_path(), false).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    fn receipt(public: &str) -> Receipt {
        Receipt::default().with("public", public)
    }

    pub(super) async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let private = sh.stat(self.path).await?;
        let public = self.public(sh).await?;
        Ok(match (private, public) {
            (None, None) => Probe::Absent,
            (Some(stat), Some(public)) if stat.mode & !PRIVATE_BITS == 0 => {
                Probe::Satisfied(Self::receipt(&public))
            }
            (Some(stat), Some(_)) => Probe::Partial {
                what: format!("{} has mode {:o}", self.path, stat.mode),
            },
            (Some(_), None) => Probe::Partial {
                what: "the public half is missing".to_owned(),
            },
            (None, Some(_)) => Probe::Partial {
                what: "only a public half is there".to_owned(),
            },
        })
    }

    pub(super) async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        Ok(Image {
            private: sh.stat(self.path).await?.map(|stat| stat.mode),
            public: exists(sh, &self.public_path()).await?,
        })
    }

    pub(super) async fn apply(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        match sh.stat(self.path).await? {
            None => self.generate(sh).await?,
            Some(stat) if stat.mode & !PRIVATE_BITS != 0 => {
                sh.ok(&Cmd::new(["chmod", "0600", "--", self.path])).await?;
            }
            Some(_) => {}
        }
        // Before the public half is there, so that a satisfied probe means that nothing is left over.
        self.clear_fresh(sh).await?;
        let public = match self.public(sh).await? {
            Some(public) => public,
            None => self.recover_public(sh).await?,
        };
        Ok(Self::receipt(&public))
    }

    async fn generate(&self, sh: Shell<'_>) -> Result<(), Failure> {
        if exists(sh, &self.public_path()).await? {
            return Err(Failure::clean(format!(
                "{} exists without its private half",
                self.public_path()
            ))
            .ask()
            .hint(format!(
                "put the private key to {}, or move the public one away, then decide `retry`",
                self.path
            )));
        }
        let fresh = self.fresh();
        self.clear_fresh(sh).await?;
        sh.ok(&Cmd::new([
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            self.comment,
            "-f",
            &fresh,
        ]))
        .await?;
        sh.ok(&Cmd::new(["mv", "-n", "--", &fresh, self.path]))
            .await
            .map(drop)
    }

    async fn clear_fresh(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let fresh = self.fresh();
        sh.remove(&fresh, false).await?;
        sh.remove(&format!("{fresh}.pub"), false).await.map(drop)
    }

    async fn recover_public(&self, sh: Shell<'_>) -> Result<String, Failure> {
        let output = sh
            .ok(&Cmd::new(["ssh-keygen", "-y", "-f", self.path]))
            .await?;
        let mut public = output.text().trim().to_owned();
        if public.split_whitespace().count() < 3 {
            public = format!("{public} {}", self.comment);
        }
        let line = format!("{public}\n");
        sh.write(&self.public_path(), line.as_bytes(), &Meta::user(0o644))
            .await?;
        Ok(public)
    }

    pub(super) async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        self.clear_fresh(sh).await?;
        match (image.private, sh.stat(self.path).await?) {
            (None, _) => drop(sh.remove(self.path, false).await?),
            (Some(mode), Some(stat)) if stat.mode != mode => {
                let mode = format!("{mode:04o}");
                sh.ok(&Cmd::new(["chmod", &mode, "--", self.path])).await?;
            }
            (Some(_), _) => {}
        }
        if !image.public {
            sh.remove(&self.public_path(), false).await?;
        }
        Ok(())
    }
}
