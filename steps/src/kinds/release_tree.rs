//! `release.tree/1`: a release unpacked beside others, under a name that follows from its content, and never edited.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::artifact_file::id_of;
use super::fetch::{CHECK_MS, need_space};
use super::jobs::{Settle, last_line, settle_earlier, settle_forward};
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Meta};
use crate::kind::{About, Input, Kind, Out, Pace};

/// Label of the detached job.
const JOB: &str = "unpack";
const UNPACK_MS: u64 = 60 * 60_000;
const USUAL_MS: u64 = 4 * 60_000;
/// Most members that a message names.
const NAMED_MAX: usize = 5;

/// An unpacked release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseTree {
    /// The artifact.
    pub artifact: Input<String>,
    /// Its SHA-256.
    pub sha256: Input<String>,
    /// The directory of all releases; exists.
    pub root: String,
    /// The file that says which release is in use. Its directory exists.
    pub pointer: String,
}

/// What was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    tree: bool,
    pointer: Option<String>,
}

/// What was unpacked, beside the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    sha256: String,
    members: usize,
    /// Digest over kind, size and path of everything.
    digest: String,
}

/// The paths of one release.
struct Paths {
    tree: String,
    partial: String,
    manifest: String,
}

impl ReleaseTree {
    /// Output: path of the tree.
    pub const PATH: Out<Self> = Out::new("path");
    /// Output: the release's id, the beginning of its artifact's digest.
    pub const ID: Out<Self> = Out::new("id");

    fn paths(&self) -> Result<Paths, Failure> {
        let tree = format!("{}/{}", self.root, id_of(known(&self.sha256, "sha256")?));
        Ok(Paths {
            partial: format!("{tree}.partial"),
            manifest: format!("{tree}.manifest.json"),
            tree,
        })
    }

    fn receipt(&self, paths: &Paths, manifest: &Manifest) -> Result<Receipt, Failure> {
        let id = id_of(known(&self.sha256, "sha256")?);
        Ok(
            Receipt::note(format!("{} members in {}", manifest.members, paths.tree))
                .with(Self::PATH.name(), &*paths.tree)
                .with(Self::ID.name(), id),
        )
    }

    async fn manifest(&self, sh: Shell<'_>, path: &str) -> Result<Option<Manifest>, Failure> {
        let bytes = sh.read(path, false).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn pointed(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let bytes = sh.read(&self.pointer, false).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    async fn point(&self, sh: Shell<'_>, tree: &str) -> Result<(), Failure> {
        let line = format!("{tree}\n");
        sh.write(&self.pointer, line.as_bytes(), &Meta::user(0o644))
            .await
    }

    /// Whether the tree is as it was unpacked.
    async fn intact(&self, sh: Shell<'_>, paths: &Paths) -> Result<Option<Manifest>, Failure> {
        let Some(manifest) = self.manifest(sh, &paths.manifest).await? else {
            return Ok(None);
        };
        if sh.stat(&paths.tree).await?.is_none() {
            return Ok(None);
        }
        let found = list(sh, &paths.tree).await?;
        Ok((digest(&found) == manifest.digest).then_some(manifest))
    }

    async fn unpack(&self, sh: Shell<'_>, paths: &Paths) -> Result<Manifest, Failure> {
        let artifact = known(&self.artifact, "artifact")?;
        settle_earlier(sh, JOB, Settle::Kill).await?;
        // What an earlier attempt left is not to be told from what belongs there.
        wipe(sh, &[&paths.partial]).await?;
        let bytes = sh.stat(artifact).await?.map_or(0, |stat| stat.bytes);
        need_space(sh, &self.root, bytes, "unpacking the release").await?;
        sh.ok(&Cmd::new(["mkdir", "--", &paths.partial])).await?;
        let tar = Cmd::new([
            "tar",
            "-xzf",
            artifact,
            "--no-same-owner",
            "-C",
            &paths.partial,
        ]);
        let output = sh.job(JOB, &tar.timeout_ms(UNPACK_MS)).await?;
        if !output.ok() {
            return Err(Failure::dirty(format!(
                "{artifact} cannot be unpacked: {}",
                last_line(&output)
            ))
            .hint(format!(
                "df -h {}   if there is room, the file is damaged: mv {artifact} {artifact}.damaged, then run again",
                self.root
            ))
            .code("release.unpack"));
        }
        let found = list(sh, &paths.partial).await?;
        self.complete(sh, artifact, &found).await?;
        Ok(Manifest {
            sha256: known(&self.sha256, "sha256")?.clone(),
            members: found.lines().count(),
            digest: digest(&found),
        })
    }

    /// Every member that the archive lists is there.
    async fn complete(&self, sh: Shell<'_>, artifact: &str, found: &str) -> Result<(), Failure> {
        let listed = Cmd::new(["tar", "-tzf", artifact]).timeout_ms(CHECK_MS);
        let listed = sh.ok(&listed).await?.text();
        let there: BTreeSet<&str> = found
            .lines()
            .filter_map(|line| line.splitn(3, ' ').nth(2))
            .collect();
        let name = |line: &'_ str| -> String {
            let line = line.strip_prefix("./").unwrap_or(line);
            line.trim_end_matches('/').to_owned()
        };
        let missing: Vec<String> = listed
            .lines()
            .map(name)
            .filter(|path| !path.is_empty() && path != "." && !there.contains(path.as_str()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let named = missing.get(..NAMED_MAX).unwrap_or(&missing).join(", ");
        Err(Failure::dirty(format!(
            "unpacking left out {} of the archive's members, such as {named}",
            missing.len()
        ))
        .retry()
        .code("release.incomplete"))
    }
}

/// Kind, size and path of everything below a directory, sorted. Sizes of directories say nothing.
async fn list(sh: Shell<'_>, dir: &str) -> Result<String, Failure> {
    let find = Cmd::new(["find", dir, "-mindepth", "1", "-printf", "%y %s %P\\n"]);
    let text = sh.ok(&find.timeout_ms(CHECK_MS)).await?.text();
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("d ") {
            Some(rest) => format!("d - {}", rest.split_once(' ').map_or("", |(_, path)| path)),
            None => line.to_owned(),
        })
        .collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

fn digest(list: &str) -> String {
    blake3::hash(list.as_bytes()).to_hex().to_string()
}

async fn wipe(sh: Shell<'_>, paths: &[&str]) -> Result<(), Failure> {
    let argv = ["rm", "-rf", "--"].iter().chain(paths).copied();
    sh.ok(&Cmd::new(argv).timeout_ms(CHECK_MS)).await.map(drop)
}

impl Kind for ReleaseTree {
    const NAME: &'static str = "release.tree/1";
    const ABOUT: About = About {
        purpose: "The release's files, complete and untouched; a new release never mixes with an old one.",
        probe: "Compares kinds, sizes and paths of all files with the manifest, and which release is in use.",
        effect: "Unpacks into a new directory named by the artifact's digest, compares it with the archive's list, writes a \
                 manifest, renames it, and only then makes it the one in use.",
        undo: "Makes the former release the one in use again, and removes the tree; the artifact stays.",
    };

    fn summary(&self) -> String {
        format!("unpack the release into {}", self.root)
    }

    fn undo_summary(&self) -> String {
        "return to the former release, remove the tree".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::SHORT,
            timeout_ms: UNPACK_MS + 2 * CHECK_MS,
            usual_ms: USUAL_MS,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ReleaseTree {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let paths = self.paths()?;
        let pointed = self.pointed(sh).await?;
        let Some(manifest) = self.intact(sh, &paths).await? else {
            let begun = sh
                .stat(&paths.partial)
                .await?
                .or(sh.stat(&paths.tree).await?);
            return Ok(match (begun, pointed) {
                (Some(_), _) => Probe::Partial {
                    what: format!("{} is not whole", paths.tree),
                },
                (None, Some(other)) => Probe::Drifted {
                    diff: format!("- release {other}\n+ release {}", paths.tree),
                },
                (None, None) => Probe::Absent,
            });
        };
        Ok(match pointed {
            Some(pointed) if pointed == paths.tree => {
                Probe::Satisfied(self.receipt(&paths, &manifest)?)
            }
            Some(other) => Probe::Drifted {
                diff: format!("- release {other}\n+ release {}", paths.tree),
            },
            None => Probe::Partial {
                what: "unpacked, not in use yet".to_owned(),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let paths = self.paths()?;
        Ok(Image {
            tree: sh.stat(&paths.tree).await?.is_some(),
            pointer: self.pointed(sh).await?,
        })
    }

    async fn apply(&self, sh: Shell<'_>, image: &Image) -> Result<Receipt, Failure> {
        let paths = self.paths()?;
        let manifest = match self.intact(sh, &paths).await? {
            Some(manifest) => manifest,
            None if image.tree => {
                return Err(Failure::clean(format!(
                    "{} was changed after it was unpacked: a release's files are never edited",
                    paths.tree
                ))
                .ask()
                .hint(format!(
                    "take your changes out (settings belong into values.d/), then: mv {0} {0}.old, and decide `retry`",
                    paths.tree
                ))
                .code("release.edited"));
            }
            None => {
                // Of an attempt that was cut off between the manifest and here.
                wipe(sh, &[&paths.tree]).await?;
                let manifest = self.unpack(sh, &paths).await?;
                let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
                let meta = Meta::user(0o644);
                sh.write(&paths.manifest, text.as_bytes(), &meta).await?;
                sh.ok(&Cmd::new(["sync", "-f", "--", &paths.partial]).timeout_ms(CHECK_MS))
                    .await?;
                sh.ok(&Cmd::new(["mv", "-T", "--", &paths.partial, &paths.tree]))
                    .await?;
                manifest
            }
        };
        // Left beside a tree that was whole already.
        wipe(sh, &[&paths.partial]).await?;
        if self.pointed(sh).await?.as_ref() != Some(&paths.tree) {
            self.point(sh, &paths.tree).await?;
        }
        self.receipt(&paths, &manifest)
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        settle_forward(sh, JOB, Settle::Kill).await?;
        let paths = self.paths()?;
        match &image.pointer {
            Some(tree) => self.point(sh, tree).await?,
            None => drop(sh.remove(&self.pointer, false).await?),
        }
        if image.tree {
            return wipe(sh, &[&paths.partial]).await;
        }
        wipe(sh, &[&paths.partial, &paths.tree]).await?;
        sh.remove(&paths.manifest, false).await.map(drop)
    }
}
