//! `secrets.rendered/1`: the files through which ansible and helm get the secrets, written from the sealed set.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, Residue, UndoClass};
use wiab_engine::ports::Step;

use super::secrets_sealed::read_set;
use super::secrets_target::{OldFile, Standing, Target};
use super::{Act, bound, known};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Out};
use crate::secrets::SealedSet;

/// Files that carry values of the sealed set, each of mode 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsRendered {
    /// Path of the sealed set.
    pub sealed: Input<String>,
    /// The files; their directories must exist.
    pub targets: Vec<Target>,
}

impl SecretsRendered {
    /// Output: path of the first file.
    pub const PATH: Out<Self> = Out::new("path");

    async fn set(&self, sh: Shell<'_>) -> Result<SealedSet, Failure> {
        let path = known(&self.sealed, "sealed")?;
        read_set(sh, path)
            .await?
            .ok_or_else(|| Failure::clean(format!("{path} is missing: no secrets to render")))
    }

    fn receipt(&self) -> Receipt {
        let values: usize = self
            .targets
            .iter()
            .map(|target| target.form.secrets())
            .sum();
        let files = self.targets.len();
        let receipt = Receipt::note(format!("{values} secrets in {files} file(s), mode 0600"));
        match self.targets.first() {
            Some(target) => receipt.with(Self::PATH.name(), &*target.path),
            None => receipt,
        }
    }

    fn names(&self) -> String {
        let paths: Vec<&str> = self.targets.iter().map(|target| &*target.path).collect();
        paths.join(", ")
    }

    /// Each target with what was captured of it.
    fn with<'a>(
        &'a self,
        old: &'a [Option<OldFile>],
    ) -> impl DoubleEndedIterator<Item = (&'a Target, Option<&'a OldFile>)> + ExactSizeIterator
    {
        let old_of = |index: usize| old.get(index).and_then(Option::as_ref);
        let targets = self.targets.iter().enumerate();
        targets.map(move |(index, target)| (target, old_of(index)))
    }
}

impl Kind for SecretsRendered {
    const NAME: &'static str = "secrets.rendered/1";
    const ABOUT: About = About {
        purpose: "Ansible and helm find the installation's secrets where they look for them.",
        probe: "Compares values and mode of each file with the sealed set; shows paths, never values.",
        effect: "Keeps a differing file beside the new one (mode 0600) and writes the values with mode 0600; asks if a file \
                 holds values of somebody else.",
        undo: "Puts the kept file back, or removes the new one.",
    };

    fn summary(&self) -> String {
        format!("render secrets to {}", self.names())
    }

    fn undo_summary(&self) -> String {
        format!("restore or remove {}", self.names())
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for SecretsRendered {
    type Image = Vec<Option<OldFile>>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Ok(path) = known(&self.sealed, "sealed") else {
            return Ok(Probe::Absent);
        };
        let set = match read_set(sh, path).await {
            Ok(Some(set)) => set,
            Ok(None) => return Ok(Probe::Absent),
            Err(failure) => return Ok(Probe::Partial { what: failure.why }),
        };
        let (mut absent, mut differences) = (Vec::new(), Vec::new());
        for target in &self.targets {
            match target.standing(sh, &set).await? {
                Standing::Right => {}
                Standing::Absent => absent.push(&*target.path),
                Standing::Wrong { diff } => differences.push(diff),
            }
        }
        if absent.is_empty() && differences.is_empty() {
            return Ok(Probe::Satisfied(self.receipt()));
        }
        if absent.len() == self.targets.len() {
            return Ok(Probe::Absent);
        }
        if absent.is_empty() {
            return Ok(Probe::Drifted {
                diff: differences.join("\n"),
            });
        }
        Ok(Probe::Partial {
            what: format!("missing: {}", absent.join(", ")),
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Vec<Option<OldFile>>, Failure> {
        let mut old = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            old.push(target.capture(sh).await?);
        }
        Ok(old)
    }

    async fn apply(&self, sh: Shell<'_>, old: &Vec<Option<OldFile>>) -> Result<Receipt, Failure> {
        let set = self.set(sh).await?;
        for (target, old) in self.with(old) {
            target.check(sh, &set, old).await?;
        }
        for (target, old) in self.with(old) {
            let written = target.apply(sh, &set, old).await;
            written.map_err(|failure| match failure.residue {
                // Another file may have been written before this one.
                Residue::Clean => Failure {
                    residue: Residue::Dirty,
                    ..failure
                },
                Residue::Dirty | Residue::Unknown => failure,
            })?;
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, old: &Vec<Option<OldFile>>) -> Result<(), Failure> {
        // Without the sealed set, wiab's own files are known by their first line.
        let set = self.set(sh).await.ok();
        for (target, old) in self.with(old).rev() {
            target.undo(sh, set.as_ref(), old).await?;
        }
        Ok(())
    }
}
