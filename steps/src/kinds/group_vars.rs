//! `release.group-vars/1`: a release's group variables in the deploy directory's inventory, the operator's own kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::release_tree::{members, some};
use super::whole_file::{Old, capture, restore};
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Meta};
use crate::kind::{About, Input, Kind};

/// Where a release has them.
const SOURCE: &str = "ansible/inventory/offline/group_vars";

/// Group variables of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupVars {
    /// The unpacked release.
    pub tree: Input<String>,
    /// The directory of group variables that playbooks read. Its parent exists.
    pub dir: String,
    /// Where the digests of what was written are recorded. Its directory exists.
    pub record: String,
}

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Directories that were missing, parents first.
    dirs: Vec<String>,
    /// The files, by their path in the directory.
    files: BTreeMap<String, Option<Old>>,
    record: Option<Old>,
}

/// One file, in the release and in the deploy directory.
struct Pair {
    path: String,
    wanted: Vec<u8>,
    found: Option<Vec<u8>>,
    /// Digest of what wiab wrote last.
    wrote: Option<String>,
}

/// What is to be done about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    Write,
    /// The operator changed it, the release has not changed it since.
    Kept,
    /// Both have.
    Conflict,
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

impl Pair {
    fn verdict(&self) -> Verdict {
        match (&self.found, &self.wrote) {
            (None, _) => Verdict::Write,
            (Some(found), _) if *found == self.wanted => Verdict::Right,
            (Some(found), Some(wrote)) if digest(found) == *wrote => Verdict::Write,
            (Some(_), Some(wrote)) if digest(&self.wanted) == *wrote => Verdict::Kept,
            (Some(_), _) => Verdict::Conflict,
        }
    }
}

impl GroupVars {
    fn source(&self) -> Result<String, Failure> {
        Ok(format!("{}/{SOURCE}", known(&self.tree, "tree")?))
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.dir)
    }

    async fn wrote(&self, sh: Shell<'_>) -> Result<BTreeMap<String, String>, Failure> {
        let bytes = sh.read(&self.record, false).await?;
        Ok(bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default())
    }

    async fn pairs(&self, sh: Shell<'_>) -> Result<Vec<Pair>, Failure> {
        let (source, wrote) = (self.source()?, self.wrote(sh).await?);
        let mut pairs = Vec::new();
        for path in members(sh, &source).await?.into_keys() {
            let Some(wanted) = sh.read(&format!("{source}/{path}"), false).await? else {
                continue;
            };
            pairs.push(Pair {
                found: sh.read(&self.at(&path), false).await?,
                wrote: wrote.get(&path).cloned(),
                wanted,
                path,
            });
        }
        Ok(pairs)
    }

    fn receipt(pairs: &[Pair]) -> Receipt {
        let kept: Vec<&str> = of(pairs, Verdict::Kept);
        Receipt::note(if kept.is_empty() {
            format!("{} files", pairs.len())
        } else {
            format!("{} files; yours are kept: {}", pairs.len(), some(&kept))
        })
    }

    /// The directories that hold the files, parents first.
    fn dirs(&self, paths: &[&str]) -> Vec<String> {
        let mut dirs = vec![self.dir.clone()];
        for path in paths {
            for (at, _) in path.match_indices('/') {
                let dir = self.at(path.get(..at).unwrap_or_default());
                if !dirs.contains(&dir) {
                    dirs.push(dir);
                }
            }
        }
        dirs
    }
}

fn of(pairs: &[Pair], verdict: Verdict) -> Vec<&str> {
    let those = pairs.iter().filter(|pair| pair.verdict() == verdict);
    those.map(|pair| pair.path.as_str()).collect()
}

impl Kind for GroupVars {
    const NAME: &'static str = "release.group-vars/1";
    const ABOUT: About = About {
        purpose: "Playbooks find the release's group variables beside the inventory, which is not in the release's tree.",
        probe: "Compares each file with the release's and with the digest of what was written last.",
        effect: "Copies the files; one that the operator changed is kept, and is a question when the release changed it, too.",
        undo: "Restores the old files, removes the new ones.",
    };

    fn summary(&self) -> String {
        format!("copy the release's group variables to {}", self.dir)
    }

    fn undo_summary(&self) -> String {
        "restore the former group variables".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for GroupVars {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let tree = known(&self.tree, "tree")?;
        if sh.stat(&format!("{tree}/{SOURCE}")).await?.is_none() {
            // Nothing is unpacked yet.
            return Ok(Probe::Absent);
        }
        let pairs = self.pairs(sh).await?;
        let open: Vec<&str> = [of(&pairs, Verdict::Write), of(&pairs, Verdict::Conflict)].concat();
        let unrecorded = pairs.iter().any(|pair| pair.wrote.is_none());
        Ok(match open.as_slice() {
            [] if unrecorded => Probe::Partial {
                what: "not recorded as ours yet".to_owned(),
            },
            [] => Probe::Satisfied(Self::receipt(&pairs)),
            _ if pairs.iter().all(|pair| pair.found.is_none()) => Probe::Absent,
            some_open => Probe::Drifted {
                diff: format!("- {}\n+ as in the release", some(some_open)),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let pairs = self.pairs(sh).await?;
        let mut image = Image {
            dirs: Vec::new(),
            files: BTreeMap::new(),
            record: capture(sh, &self.record, false).await?,
        };
        for pair in &pairs {
            let old = capture(sh, &self.at(&pair.path), false).await?;
            image.files.insert(pair.path.clone(), old);
        }
        let paths: Vec<&str> = pairs.iter().map(|pair| pair.path.as_str()).collect();
        for dir in self.dirs(&paths) {
            if sh.stat(&dir).await?.is_none() {
                image.dirs.push(dir);
            }
        }
        Ok(image)
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let pairs = self.pairs(sh).await?;
        let conflicts = of(&pairs, Verdict::Conflict);
        if let Some(first) = conflicts.first() {
            let (source, own) = (self.source()?, self.at(first));
            return Err(Failure::dirty(format!(
                "{} in {} differ from the release's and were not written by wiab",
                some(&conflicts),
                self.dir
            ))
            .ask()
            .hint(format!(
                "diff {source}/{first} {own}; to take the release's: mv {own} {own}.old, then decide `retry`; to keep yours: decide `accept`"
            ))
            .code("release.group-vars"));
        }
        let mut record = self.wrote(sh).await?;
        for pair in &pairs {
            if pair.verdict() != Verdict::Kept {
                record.insert(pair.path.clone(), digest(&pair.wanted));
            }
        }
        for pair in &pairs {
            if pair.verdict() == Verdict::Write {
                sh.write(&self.at(&pair.path), &pair.wanted, &Meta::user(0o644))
                    .await?;
            }
        }
        let text = serde_json::to_vec(&record)
            .map_err(|error| Failure::dirty(format!("the record cannot be written: {error}")))?;
        sh.write(&self.record, &text, &Meta::user(0o644)).await?;
        Ok(Self::receipt(&pairs))
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        let (source, wrote) = (self.source()?, self.wrote(sh).await?);
        for (path, old) in &image.files {
            let at = self.at(path);
            let released = sh.read(&format!("{source}/{path}"), false).await?;
            let own = match sh.read(&at, false).await? {
                None => false,
                // What was changed after it was written is the operator's and stays.
                Some(found) => {
                    Some(&found) != released.as_ref() && wrote.get(path) != Some(&digest(&found))
                }
            };
            if !own {
                restore(sh, &at, old.as_ref(), false).await?;
            }
        }
        restore(sh, &self.record, image.record.as_ref(), false).await?;
        for dir in image.dirs.iter().rev() {
            if sh.stat(dir).await?.is_some() {
                // Others' files may be in it by now: then it stays.
                sh.run(&Cmd::new(["rmdir", "--", dir])).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_changes_are_never_lost() {
        let pair = |wanted: &str, found: Option<&str>, wrote: Option<&str>| Pair {
            path: "all/offline.yml".to_owned(),
            wanted: wanted.into(),
            found: found.map(Into::into),
            wrote: wrote.map(|text| digest(text.as_bytes())),
        };
        for (wanted, found, wrote, verdict) in [
            ("new", None, None, Verdict::Write),
            ("new", Some("new"), None, Verdict::Right),
            ("new", Some("old"), Some("old"), Verdict::Write),
            ("old", Some("mine"), Some("old"), Verdict::Kept),
            ("new", Some("mine"), Some("old"), Verdict::Conflict),
            ("new", Some("mine"), None, Verdict::Conflict),
        ] {
            assert_eq!(pair(wanted, found, wrote).verdict(), verdict);
        }
    }
}
