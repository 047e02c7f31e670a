//! `ssh.known-hosts/1`: the host keys of the VMs, for strict checking.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::whole_file::{Old, Replace, WholeFile, capture};
use super::{Act, bound, known};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Out};

/// A `known_hosts` file of the VMs only; the operator's own is not touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshKnownHosts {
    /// Path of the file; its directory must exist.
    pub path: String,
    /// The VMs.
    pub hosts: Vec<KnownHost>,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownHost {
    /// Its names and addresses.
    pub names: Vec<String>,
    /// Its public host key.
    pub public: Input<String>,
}

/// First line of the file, by which it is known as ours.
pub(super) const HEADER: &str = "# Written by wiab: the host keys of the VMs.\n";

impl SshKnownHosts {
    /// Output: the path.
    pub const PATH: Out<Self> = Out::new("path");

    fn whole(&self) -> Result<WholeFile<'_>, Failure> {
        let mut content = HEADER.to_owned();
        for host in &self.hosts {
            let public = known(&host.public, "public")?;
            let key: Vec<&str> = public.split_whitespace().take(2).collect();
            let _ = writeln!(content, "{} {}", host.names.join(","), key.join(" "));
        }
        Ok(WholeFile {
            path: &self.path,
            content: content.into_bytes(),
            mode: 0o644,
            owner: None,
            root: false,
            replace: Replace::Marked(HEADER),
        })
    }
}

impl Kind for SshKnownHosts {
    const NAME: &'static str = "ssh.known-hosts/1";
    const ABOUT: About = About {
        purpose: "Every connection to a VM is checked against the key it was given.",
        probe: "Compares the file.",
        effect: "Writes the VMs' public host keys to a file of their own.",
        undo: "Restores or removes the file.",
    };

    fn summary(&self) -> String {
        format!("write {} host keys to {}", self.hosts.len(), self.path)
    }

    fn undo_summary(&self) -> String {
        format!("restore or remove {}", self.path)
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for SshKnownHosts {
    type Image = Option<Old>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        match self.whole() {
            Ok(whole) => whole.probe(sh).await,
            Err(_) => Ok(Probe::Absent),
        }
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Old>, Failure> {
        capture(sh, &self.path, false).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Old>) -> Result<Receipt, Failure> {
        self.whole()?.apply(sh).await
    }

    async fn undo(&self, sh: Shell<'_>, old: &Option<Old>) -> Result<(), Failure> {
        self.whole()?.undo(sh, old.as_ref()).await
    }
}
