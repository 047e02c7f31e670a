//! `file/1`: a whole file with mode and owner.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::whole_file::{Old, Replace, WholeFile, capture};
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Out};

/// A file whose whole content wiab decides. Not for secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Absolute path; its directory must exist.
    pub path: String,
    /// The content.
    pub content: String,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
    /// Owner as `user:group`; without it, whoever writes.
    #[serde(default)]
    pub owner: Option<String>,
    /// Whether it is root's.
    #[serde(default)]
    pub root: bool,
    /// Whether a file of other content may be replaced (undo brings it back).
    #[serde(default)]
    pub replace: bool,
}

impl File {
    /// Output: the path.
    pub const PATH: Out<Self> = Out::new("path");

    fn whole(&self) -> WholeFile<'_> {
        WholeFile {
            path: &self.path,
            content: self.content.clone().into_bytes(),
            mode: self.mode,
            owner: self.owner.as_deref(),
            root: self.root,
            replace: if self.replace {
                Replace::Any
            } else {
                Replace::Never
            },
        }
    }
}

impl Kind for File {
    const NAME: &'static str = "file/1";
    const ABOUT: About = About {
        purpose: "A file of exactly this content, mode and owner.",
        probe: "Compares content and mode.",
        effect: "Writes it atomically; refuses to replace somebody else's file unless told to.",
        undo: "Restores the old bytes, or removes the file.",
    };

    fn summary(&self) -> String {
        format!("write {}", self.path)
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

impl Act for File {
    type Image = Option<Old>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        self.whole().probe(sh).await
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Old>, Failure> {
        capture(sh, &self.path, self.root).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Old>) -> Result<Receipt, Failure> {
        self.whole().apply(sh).await
    }

    async fn undo(&self, sh: Shell<'_>, old: &Option<Old>) -> Result<(), Failure> {
        self.whole().undo(sh, old.as_ref()).await
    }
}
