//! `release.tree/1`: an artifact unpacked into a directory of its own, whole or not at all, and the pointer to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::fetch::{CHECK_MS, need_space, short};
use super::jobs::{Settle, last_line, settle_earlier, settle_forward};
use super::qemu::exists;
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, JobState, Meta};
use crate::kind::{About, Input, Kind, Out, Pace};

const UNPACK_MS: u64 = 60 * 60_000;
/// Label of the detached job.
const JOB: &str = "unpack";
/// Most names that a message shows.
const SHOWN_MAX: usize = 6;

/// An unpacked release. Nothing in it is ever edited: state and values live elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseTree {
    /// Path of the artifact.
    pub artifact: Input<String>,
    /// Its SHA-256; the first 16 digits are the id of the release.
    pub sha256: Input<String>,
    /// How the operator calls it: its hash, or its file name.
    pub name: String,
    /// The directory of releases. It exists.
    pub dir: String,
    /// A file that holds the path of the release in use, for people.
    pub pointer: String,
}

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    tree: bool,
    manifest: bool,
    pointer: Option<String>,
}

/// What an unpacked release consists of, written when it is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// How the operator called it.
    pub(super) name: String,
    /// SHA-256 of the artifact.
    pub(super) sha256: String,
    /// Size in bytes of everything that is no directory, by path.
    pub(super) members: BTreeMap<String, u64>,
    /// BLAKE3 over the lines `size<tab>path`.
    pub(super) digest: String,
}

impl Manifest {
    fn of(name: &str, sha256: &str, members: BTreeMap<String, u64>) -> Self {
        let lines = members.iter().fold(String::new(), |text, (path, size)| {
            text + &format!("{size}\t{path}\n")
        });
        Self {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            digest: blake3::hash(lines.as_bytes()).to_hex().to_string(),
            members,
        }
    }

    /// Reads the manifest beside a tree; `None` if there is none, or one that cannot be read.
    pub(super) async fn beside(sh: Shell<'_>, tree: &str) -> Result<Option<Self>, Failure> {
        let bytes = sh.read(&format!("{tree}.manifest.json"), false).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// Sizes of everything in a directory that is no directory, by path.
pub(super) async fn members(sh: Shell<'_>, dir: &str) -> Result<BTreeMap<String, u64>, Failure> {
    let find = Cmd::new(["find", dir, "!", "-type", "d", "-printf", "%s\\t%P\\n"]);
    let text = sh.ok(&find.timeout_ms(CHECK_MS)).await?.text();
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines
        .filter_map(|(size, path)| Some((path.to_owned(), size.parse().ok()?)))
        .collect())
}

/// The first few names, and how many more there are.
pub(super) fn some(names: &[&str]) -> String {
    let shown = names.iter().take(SHOWN_MAX).copied().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl ReleaseTree {
    /// Output: path of the unpacked release.
    pub const PATH: Out<Self> = Out::new("path");
    /// Output: the first digits of its artifact's digest, by which its directory is named.
    pub const ID: Out<Self> = Out::new("id");

    fn id(&self) -> Result<String, Failure> {
        known(&self.sha256, "sha256").map(|digest| short(digest))
    }

    fn tree(&self) -> Result<String, Failure> {
        Ok(format!("{}/{}", self.dir, self.id()?))
    }

    fn receipt(&self, manifest: &Manifest) -> Result<Receipt, Failure> {
        let count = manifest.members.len();
        Ok(Receipt::note(format!("{count} files of {}", self.name))
            .with("path", self.tree()?)
            .with("id", self.id()?))
    }

    async fn pointed(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let bytes = sh.read(&self.pointer, false).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// What differs between a tree and its manifest; `None` if nothing does.
    async fn damage(
        &self,
        sh: Shell<'_>,
        tree: &str,
        manifest: &Manifest,
    ) -> Result<Option<String>, Failure> {
        let found = members(sh, tree).await?;
        let lost = manifest
            .members
            .iter()
            .filter(|(path, size)| found.get(*path) != Some(size));
        let new = found
            .iter()
            .filter(|(path, _)| !manifest.members.contains_key(*path));
        let names: Vec<&str> = lost.chain(new).map(|(path, _)| path.as_str()).collect();
        Ok((!names.is_empty()).then(|| some(&names)))
    }

    /// Unpacks into `partial`, as a detached job.
    async fn unpack(&self, sh: Shell<'_>, partial: &str) -> Result<(), Failure> {
        let artifact = known(&self.artifact, "artifact")?;
        settle_earlier(sh, JOB, Settle::Kill).await?;
        if sh.job_state(JOB).await? == JobState::Absent {
            // What an interrupted attempt left is worth nothing: nobody knows which file is whole.
            sh.ok(&Cmd::new(["rm", "-rf", "--", partial]).timeout_ms(CHECK_MS))
                .await?;
            let bytes = sh.stat(artifact).await?.map_or(0, |stat| stat.bytes);
            need_space(sh, &self.dir, bytes + bytes / 5, "the unpacked release").await?;
            sh.ok(&Cmd::new(["mkdir", "-m", "0755", "--", partial]))
                .await?;
        }
        let tar = Cmd::new(["tar", "-xzf", artifact, "-C", partial, "--no-same-owner"]);
        let output = sh.job(JOB, &tar.timeout_ms(UNPACK_MS)).await?;
        if output.ok() {
            return Ok(());
        }
        let said = last_line(&output);
        let failure = Failure::dirty(format!(
            "unpacking {artifact} ended with code {}: {said}",
            output.code
        ));
        let log = output.text() + &output.error_text();
        Err(if log.contains("No space left") {
            failure
                .hint(format!(
                    "make room on the file system of {0} (df -h {0}), then run again",
                    self.dir
                ))
                .code("host.disk-full")
        } else if log.contains("Unexpected EOF") || log.contains("unexpected end of file") {
            failure
                .hint(format!(
                    "the archive is cut off: move {artifact} away, then run again"
                ))
                .code("artifact.truncated")
        } else {
            failure
                .retry()
                .hint("the next attempt begins in an empty directory")
        })
    }

    /// Holds what was unpacked against the archive's own list.
    async fn complete(&self, sh: Shell<'_>, partial: &str) -> Result<Manifest, Failure> {
        let artifact = known(&self.artifact, "artifact")?;
        let list = Cmd::new(["tar", "-tzf", artifact, "--quoting-style=literal"]);
        let listed = sh.ok(&list.timeout_ms(CHECK_MS)).await?.text();
        let found = members(sh, partial).await?;
        let wanted = listed
            .lines()
            .map(|path| path.trim_start_matches("./"))
            .filter(|path| !path.is_empty() && !path.ends_with('/'));
        let missing: Vec<&str> = wanted.filter(|path| !found.contains_key(*path)).collect();
        if !missing.is_empty() {
            return Err(Failure::dirty(format!(
                "unpacking left out {} of {artifact}",
                some(&missing)
            ))
            .retry()
            .hint("the next attempt begins in an empty directory")
            .code("release.incomplete"));
        }
        Ok(Manifest::of(
            &self.name,
            known(&self.sha256, "sha256")?,
            found,
        ))
    }

    async fn point(&self, sh: Shell<'_>, tree: &str) -> Result<(), Failure> {
        if self.pointed(sh).await?.as_deref() == Some(tree) {
            return Ok(());
        }
        let line = format!("{tree}\n");
        sh.write(&self.pointer, line.as_bytes(), &Meta::user(0o644))
            .await
    }
}

impl Kind for ReleaseTree {
    const NAME: &'static str = "release.tree/1";
    const ABOUT: About = About {
        purpose: "The files of one release, complete and never edited, beside those of others.",
        probe: "Compares names and sizes of all files with the manifest, and the pointer with the path.",
        effect: "Unpacks the artifact beside its place as a detached job, holds the result against the archive's list, writes a manifest, renames, and points to it.",
        undo: "Points to the former release again and removes what was unpacked; the artifact stays.",
    };

    fn summary(&self) -> String {
        format!("unpack release {} below {}", self.name, self.dir)
    }

    fn undo_summary(&self) -> String {
        "point to the former release, remove the unpacked one".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::SHORT,
            timeout_ms: UNPACK_MS + 2 * CHECK_MS,
            usual_ms: 4 * 60_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ReleaseTree {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let tree = self.tree()?;
        let there = exists(sh, &tree).await?;
        let manifest = Manifest::beside(sh, &tree).await?.filter(|_| there);
        let pointed = self.pointed(sh).await?;
        let Some(manifest) = manifest else {
            return Ok(match pointed {
                _ if exists(sh, &format!("{tree}.partial")).await? => Probe::Partial {
                    what: "partly unpacked".to_owned(),
                },
                Some(other) if other != tree => drifted(&other, &tree),
                Some(_) => Probe::Partial {
                    what: format!("{tree} has no manifest"),
                },
                None => Probe::Absent,
            });
        };
        if let Some(what) = self.damage(sh, &tree, &manifest).await? {
            return Ok(Probe::Partial {
                what: format!("changed in {tree}: {what}"),
            });
        }
        Ok(match pointed {
            Some(pointed) if pointed == tree => Probe::Satisfied(self.receipt(&manifest)?),
            Some(other) => drifted(&other, &tree),
            None => Probe::Partial {
                what: format!("{} does not exist", self.pointer),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let tree = self.tree()?;
        let pointer = sh.read(&self.pointer, false).await?;
        Ok(Image {
            tree: exists(sh, &tree).await?,
            manifest: exists(sh, &format!("{tree}.manifest.json")).await?,
            pointer: pointer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let tree = self.tree()?;
        if exists(sh, &tree).await? {
            let manifest = Manifest::beside(sh, &tree).await?;
            let damage = match &manifest {
                Some(manifest) => self.damage(sh, &tree, manifest).await?,
                None => Some("it has no manifest".to_owned()),
            };
            let (Some(manifest), None) = (manifest, &damage) else {
                return Err(edited(&tree, &damage.unwrap_or_default()));
            };
            self.point(sh, &tree).await?;
            return self.receipt(&manifest);
        }
        let partial = format!("{tree}.partial");
        self.unpack(sh, &partial).await?;
        let manifest = self.complete(sh, &partial).await?;
        let text = serde_json::to_vec(&manifest)
            .map_err(|error| Failure::dirty(format!("the manifest cannot be written: {error}")))?;
        let file = format!("{tree}.manifest.json");
        sh.write(&file, &text, &Meta::user(0o644)).await?;
        // Content first, then the name: after a power cut there is no half release under it.
        sh.ok(&Cmd::new(["sync", "-f", "--", &partial]).timeout_ms(CHECK_MS))
            .await?;
        sh.ok(&Cmd::new(["mv", "-T", "--", &partial, &tree]))
            .await?;
        self.point(sh, &tree).await?;
        self.receipt(&manifest)
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        settle_forward(sh, JOB, Settle::Kill).await?;
        let tree = self.tree()?;
        let pointed = self.pointed(sh).await?;
        let former = image.pointer.as_deref().map(str::trim);
        // Somebody else's pointer, set since, stays.
        if pointed.is_none() || pointed.as_deref() == Some(&tree) || pointed.as_deref() == former {
            match &image.pointer {
                Some(old) => {
                    sh.write(&self.pointer, old.as_bytes(), &Meta::user(0o644))
                        .await?;
                }
                None => drop(sh.remove(&self.pointer, false).await?),
            }
        }
        if image.tree {
            return Ok(());
        }
        let partial = format!("{tree}.partial");
        let remove = Cmd::new(["rm", "-rf", "--", &partial]).timeout_ms(CHECK_MS);
        sh.ok(&remove).await?;
        if exists(sh, &tree).await? {
            // Renamed first, so that an interrupted removal is never taken for a release.
            sh.ok(&Cmd::new(["mv", "-T", "--", &tree, &partial]))
                .await?;
            sh.ok(&remove).await?;
        }
        if !image.manifest {
            sh.remove(&format!("{tree}.manifest.json"), false).await?;
        }
        Ok(())
    }
}

fn drifted(found: &str, wanted: &str) -> Probe {
    Probe::Drifted {
        diff: format!("- release {found}\n+ release {wanted}"),
    }
}

fn edited(tree: &str, what: &str) -> Failure {
    Failure::clean(format!("the release in {tree} is not as it was unpacked: {what}"))
        .ask()
        .hint(format!(
            "releases are never edited; your own values belong into values.d/ and group_vars. Keep what you need, then mv {tree} {tree}.edited and decide `retry`"
        ))
        .code("release.edited")
}
