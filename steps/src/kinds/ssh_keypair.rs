//! `ssh.keypair/1`: the operator's key to the VMs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::keys::{Image, KeyPair};
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Out};

/// The key with which wiab and the operator log in to the VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshKeypair {
    /// Path of the private key; `.pub` is added for the public one. Its directory must exist.
    pub path: String,
    /// Comment in the public key.
    pub comment: String,
}

impl SshKeypair {
    /// Output: the public key, one line.
    pub const PUBLIC: Out<Self> = Out::new("public");

    fn pair(&self) -> KeyPair<'_> {
        KeyPair {
            path: &self.path,
            comment: &self.comment,
        }
    }
}

impl Kind for SshKeypair {
    const NAME: &'static str = "ssh.keypair/1";
    const ABOUT: About = About {
        purpose: "One key that every VM accepts.",
        probe: "Looks at both files and the mode of the private one.",
        effect: "Makes an ed25519 pair once with mode 0600; recovers a missing public half; never replaces a key.",
        undo: "Removes the halves that this step made.",
    };

    fn summary(&self) -> String {
        format!("make ssh key {}", self.path)
    }

    fn undo_summary(&self) -> String {
        "remove the key pair made".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for SshKeypair {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        self.pair().probe(sh).await
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        self.pair().capture(sh).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        self.pair().apply(sh).await
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        self.pair().undo(sh, image).await
    }
}
