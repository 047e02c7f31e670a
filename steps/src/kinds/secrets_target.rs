//! One rendered file of secrets: compared, replaced and restored without its content leaving the machine's private files.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;
use zeroize::Zeroizing;

use super::secrets_sealed::{chmod, require_directory};
use crate::host::shell::Shell;
use crate::host::{Meta, Stat};
use crate::secrets::{Form, HEADER, SECRET_MODE, SealedSet, shown};

/// A file and what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Where.
    pub path: String,
    /// Which values, in which form.
    pub form: Form,
}

/// A file as it was: not its content, but the content's hash. The content itself is kept beside the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OldFile {
    digest: String,
    mode: u32,
    owner: String,
    kept_as: String,
}

/// How a target stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// Values and mode are right.
    Right,
    /// There is no file.
    Absent,
    /// Something is wrong.
    Wrong {
        /// What, without values.
        diff: String,
    },
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Digits of the hash in the name of a kept file.
const KEPT_DIGITS: usize = 16;

impl Target {
    /// Name of the file that keeps old content: hidden and without an extension that ansible or helm would read.
    fn kept_as(&self, digest: &str) -> String {
        let (dir, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let digits: String = digest.chars().take(KEPT_DIGITS).collect();
        format!("{dir}/.{name}.{digits}.wiab-before")
    }

    async fn read(&self, sh: Shell<'_>) -> Result<Option<(Zeroizing<Vec<u8>>, Stat)>, Failure> {
        let content = sh.read(&self.path, false).await?.map(Zeroizing::new);
        Ok(content.zip(sh.stat(&self.path).await?))
    }

    pub(super) async fn standing(
        &self,
        sh: Shell<'_>,
        set: &SealedSet,
    ) -> Result<Standing, Failure> {
        let Some((content, stat)) = self.read(sh).await? else {
            return Ok(Standing::Absent);
        };
        let path = &self.path;
        let diff = match self.form.compare(set, &content) {
            Err(error) => format!("- {path} is {error}"),
            Ok(difference) if !difference.wrong.is_empty() => {
                format!("~ {path}: {}", shown(&difference.wrong))
            }
            Ok(_) if stat.mode != SECRET_MODE => {
                format!("- {path} mode {:o}\n+ mode {SECRET_MODE:o}", stat.mode)
            }
            Ok(_) => return Ok(Standing::Right),
        };
        Ok(Standing::Wrong { diff })
    }

    pub(super) async fn capture(&self, sh: Shell<'_>) -> Result<Option<OldFile>, Failure> {
        let found = self.read(sh).await?;
        Ok(found.map(|(content, stat)| {
            let digest = digest(&content);
            OldFile {
                kept_as: self.kept_as(&digest),
                digest,
                mode: stat.mode,
                owner: stat.owner,
            }
        }))
    }

    /// Looks whether the file can be written; to be asked of all files before the first is written.
    pub(super) async fn check(
        &self,
        sh: Shell<'_>,
        set: &SealedSet,
        old: Option<&OldFile>,
    ) -> Result<(), Failure> {
        let Some((content, _)) = self.read(sh).await? else {
            return require_directory(sh, &self.path).await;
        };
        let difference = self
            .form
            .compare(set, &content)
            .map_err(|error| self.foreign(&format!("is {error}")))?;
        if difference.wrong.is_empty() {
            return Ok(());
        }
        if !content.starts_with(HEADER.as_bytes()) && !difference.foreign.is_empty() {
            let paths = shown(&difference.foreign);
            return Err(self.foreign(&format!("holds values of somebody else: {paths}")));
        }
        self.as_captured(&content, old).map(drop)
    }

    /// Writes the file, unless its values are right already.
    pub(super) async fn apply(
        &self,
        sh: Shell<'_>,
        set: &SealedSet,
        old: Option<&OldFile>,
    ) -> Result<(), Failure> {
        let rendered = self.form.render(set);
        let Some((content, stat)) = self.read(sh).await? else {
            return self.write(sh, rendered.as_bytes()).await;
        };
        let difference = self.form.compare(set, &content);
        if difference.is_ok_and(|difference| difference.wrong.is_empty()) {
            return match stat.mode {
                SECRET_MODE => Ok(()),
                // As root's private file it could not be read any more.
                _ if of_root(&stat.owner) => self.write(sh, &content).await,
                _ => chmod(sh, &self.path, SECRET_MODE).await,
            };
        }
        let old = self.as_captured(&content, old)?;
        if self.kept(sh, old).await?.is_none() {
            sh.write(&old.kept_as, &content, &Meta::user(SECRET_MODE))
                .await?;
        }
        self.write(sh, rendered.as_bytes()).await
    }

    async fn write(&self, sh: Shell<'_>, content: &[u8]) -> Result<(), Failure> {
        sh.write(&self.path, content, &Meta::user(SECRET_MODE))
            .await
    }

    fn foreign(&self, what: &str) -> Failure {
        Failure::clean(format!("{} {what}", self.path))
            .ask()
            .hint(format!(
                "move those values into a file of your own (helm: `values.d`; ansible: another file of group_vars/all) \
                 and {0} away: mv {0} {0}.old; then decide `retry`",
                self.path
            ))
    }

    /// What was captured, if it is the content that is about to be replaced.
    fn as_captured<'a>(
        &self,
        content: &[u8],
        old: Option<&'a OldFile>,
    ) -> Result<&'a OldFile, Failure> {
        old.filter(|old| old.digest == digest(content))
            .ok_or_else(|| {
                Failure::clean(format!(
                    "{} was changed by somebody else while the run was going",
                    self.path
                ))
                .ask()
                .hint(format!(
                    "put {0} back as it was, or move it away: mv {0} {0}.old; then decide `retry`",
                    self.path
                ))
            })
    }

    /// The kept content, if it is whole.
    async fn kept(
        &self,
        sh: Shell<'_>,
        old: &OldFile,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let kept = sh.read(&old.kept_as, false).await?.map(Zeroizing::new);
        Ok(kept.filter(|kept| digest(kept) == old.digest))
    }

    pub(super) async fn undo(
        &self,
        sh: Shell<'_>,
        set: Option<&SealedSet>,
        old: Option<&OldFile>,
    ) -> Result<(), Failure> {
        let found = self.read(sh).await?;
        let ours = found.as_ref().is_none_or(|(content, _)| match set {
            Some(set) => content.as_slice() == self.form.render(set).as_bytes(),
            None => content.starts_with(HEADER.as_bytes()),
        });
        match (found, old) {
            // Also takes a temporary file away that a write cut short may have left.
            (None, None) => sh.remove(&self.path, false).await.map(drop),
            (Some(_), None) if ours => sh.remove(&self.path, false).await.map(drop),
            // Written once more, for mode and owner, and because a write cut short may have left a temporary file.
            (Some((content, _)), Some(old)) if digest(&content) == old.digest => {
                self.restore(sh, &content, old).await?;
                sh.remove(&old.kept_as, false).await.map(drop)
            }
            (_, Some(old)) if ours => {
                let Some(kept) = self.kept(sh, old).await? else {
                    return Err(Failure::clean(format!(
                        "{} cannot be restored: {} is missing or damaged",
                        self.path, old.kept_as
                    ))
                    .ask());
                };
                self.restore(sh, &kept, old).await?;
                sh.remove(&old.kept_as, false).await.map(drop)
            }
            (_, Some(_)) | (Some(_), None) => Err(self.changed()),
        }
    }

    fn changed(&self) -> Failure {
        Failure::clean(format!(
            "{} was changed after wiab wrote it; it is left as it is",
            self.path
        ))
        .ask()
        .hint(format!(
            "remove or keep {} by hand, then decide `accept`",
            self.path
        ))
    }

    async fn restore(&self, sh: Shell<'_>, content: &[u8], old: &OldFile) -> Result<(), Failure> {
        let root = of_root(&old.owner);
        let meta = Meta {
            mode: old.mode,
            owner: root.then(|| old.owner.clone()),
            root,
        };
        sh.write(&self.path, content, &meta).await
    }
}

fn of_root(owner: &str) -> bool {
    owner.starts_with("root:")
}
