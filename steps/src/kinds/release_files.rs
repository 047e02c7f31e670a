//! `release.files/1`: files of the release that stand among the installation's own, such as ansible's group variables.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::whole_file::{Old, Replace, WholeFile, capture, restore};
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Input, Kind};

/// Copies of a release's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseFiles {
    /// The tree.
    pub tree: Input<String>,
    /// The directory in which all trees lie.
    pub root: String,
    /// Path inside the tree, and the copy's; the directories exist.
    pub files: Vec<(String, String)>,
    /// Where the operator's own settings belong, for messages.
    pub own: String,
}

impl ReleaseFiles {
    /// What the release holds at a path.
    async fn wanted(&self, sh: Shell<'_>, from: &str) -> Result<Vec<u8>, Failure> {
        let path = format!("{}/{from}", known(&self.tree, "tree")?);
        sh.read(&path, false).await?.ok_or_else(|| {
            Failure::clean(format!("the release has no {from}"))
                .hint("unpack the artifact again: wiab apply --only art")
                .code("release.unknown")
        })
    }

    fn whole(to: &str, content: Vec<u8>) -> WholeFile<'_> {
        WholeFile {
            path: to,
            content,
            mode: 0o644,
            owner: None,
            root: false,
            replace: Replace::Any,
        }
    }

    /// Whether a file is as some release on this machine has it: nobody's work is lost with it.
    async fn untouched(&self, sh: Shell<'_>, from: &str, found: &[u8]) -> Result<bool, Failure> {
        let find = [
            "find",
            &*self.root,
            "-mindepth",
            "1",
            "-maxdepth",
            "1",
            "-type",
            "d",
            "-printf",
            "%f\\n",
        ];
        let names = sh.ok(&Cmd::new(find)).await?.text();
        for name in names.lines() {
            let path = format!("{}/{name}/{from}", self.root);
            if sh.read(&path, false).await?.as_deref() == Some(found) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn edited(&self, to: &str) -> Failure {
        Failure::clean(format!("{to} differs from every release on this machine: somebody has edited it"))
            .ask()
            .hint(format!(
                "move your settings into {}, which is read last, then: mv {to} {to}.old, and decide `retry`",
                self.own
            ))
            .code("release.edited")
    }
}

impl Kind for ReleaseFiles {
    const NAME: &'static str = "release.files/1";
    const ABOUT: About = About {
        purpose: "Ansible finds the release's variables beside the installation's inventory.",
        probe: "Compares each copy with the release's file.",
        effect: "Copies the files; one that somebody has edited is never replaced.",
        undo: "Restores or removes the copies.",
    };

    fn summary(&self) -> String {
        let names: Vec<&str> = self.files.iter().map(|(_, to)| &**to).collect();
        format!("copy from the release: {}", names.join(", "))
    }

    fn undo_summary(&self) -> String {
        "restore or remove the copies".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ReleaseFiles {
    type Image = Vec<Option<Old>>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let (mut absent, mut diffs) = (0, Vec::new());
        for (from, to) in &self.files {
            let wanted = self.wanted(sh, from).await?;
            match Self::whole(to, wanted).probe(sh).await? {
                Probe::Satisfied(_) => {}
                Probe::Drifted { diff } => diffs.push(format!("{to}\n{diff}")),
                _ => absent += 1,
            }
        }
        Ok(match (absent, diffs.is_empty()) {
            (0, true) => Probe::Satisfied(Receipt::note(format!("{} files", self.files.len()))),
            (_, false) => Probe::Drifted {
                diff: diffs.join("\n"),
            },
            (absent, true) if absent == self.files.len() => Probe::Absent,
            (absent, true) => Probe::Partial {
                what: format!("{absent} of {} files are missing", self.files.len()),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Vec<Option<Old>>, Failure> {
        let mut old = Vec::with_capacity(self.files.len());
        for (_, to) in &self.files {
            old.push(capture(sh, to, false).await?);
        }
        Ok(old)
    }

    async fn apply(&self, sh: Shell<'_>, _: &Vec<Option<Old>>) -> Result<Receipt, Failure> {
        for (from, to) in &self.files {
            let wanted = self.wanted(sh, from).await?;
            if let Some(found) = sh.read(to, false).await?
                && found != wanted
                && !self.untouched(sh, from, &found).await?
            {
                return Err(self.edited(to));
            }
        }
        for (from, to) in &self.files {
            let wanted = self.wanted(sh, from).await?;
            Self::whole(to, wanted).apply(sh).await?;
        }
        Ok(Receipt::note(format!("{} files", self.files.len())))
    }

    async fn undo(&self, sh: Shell<'_>, old: &Vec<Option<Old>>) -> Result<(), Failure> {
        for ((from, to), old) in self.files.iter().zip(old).rev() {
            let found = sh.read(to, false).await?;
            let before = old.as_ref().map(Old::bytes).transpose()?;
            let ours = match &found {
                None => true,
                Some(found) if Some(found) == before.as_ref() => true,
                Some(found) => self.untouched(sh, from, found).await?,
            };
            if !ours {
                return Err(Failure::clean(format!(
                    "{to} was changed after wiab wrote it; it is left as it is"
                ))
                .ask()
                .hint(format!("remove or keep {to} by hand, then decide `accept`")));
            }
            restore(sh, to, old.as_ref(), false).await?;
        }
        Ok(())
    }
}
