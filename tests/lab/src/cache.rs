//! The cache: things that are costly to build, each in a directory named by the digest of its recipe.

use std::path::{Path, PathBuf};

use crate::cmd::Cmd;
use crate::error::{LabError, Result};
use crate::say::{say, took};
use crate::sys::{self, Watch};

/// How much of a recipe's digest names its directory.
const DIGEST_CHARS: usize = 12;

/// The cache directory.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache at `dir`, or at its usual place: `wiab-lab` in the user's cache directory.
    pub(crate) fn open(dir: Option<PathBuf>) -> Result<Self> {
        let usual = || {
            sys::env("XDG_CACHE_HOME")
                .or_else(|| sys::env("HOME").map(|home| home.join(".cache")))
                .map(|base| base.join("wiab-lab"))
        };
        let root = dir.or_else(usual).ok_or_else(|| {
            LabError::Unsuitable(
                "neither HOME nor XDG_CACHE_HOME is set; give --cache DIR".to_owned(),
            )
        })?;
        fs_err::create_dir_all(&root)?;
        let root = fs_err::canonicalize(root)?;
        // The lab's machine gets a private /run.
        if root.starts_with("/run") || root.starts_with("/proc") || root.starts_with("/sys") {
            return Err(LabError::Unsuitable(format!(
                "the cache cannot be in {}; give another --cache DIR",
                root.display()
            )));
        }
        Ok(Self { root })
    }

    /// A directory of its own for each running machine.
    pub(crate) fn machines(&self) -> PathBuf {
        self.root.join("machines")
    }

    /// Where the thing `name` with this `recipe` is or will be.
    pub(crate) fn place(&self, name: &str, recipe: &str) -> PathBuf {
        let digest = blake3::hash(recipe.as_bytes()).to_hex();
        let short: String = digest.chars().take(DIGEST_CHARS).collect();
        self.root.join(format!("{name}-{short}"))
    }

    /// The thing `name`, which must have been built.
    pub(crate) fn built(&self, name: &str, recipe: &str) -> Result<PathBuf> {
        let place = self.place(name, recipe);
        if place.is_dir() {
            Ok(place)
        } else {
            Err(LabError::NotPrepared(place))
        }
    }

    /// Builds the thing `name` unless it is there: `build` fills a scratch directory's `out`, which is renamed into place
    /// when it is complete. Older versions and half-built ones are removed. One builder at a time.
    pub(crate) fn ensure(
        &self,
        name: &str,
        recipe: &str,
        build: impl FnOnce(&Scratch) -> Result<()>,
    ) -> Result<PathBuf> {
        let _lock = self.lock()?;
        let place = self.place(name, recipe);
        if place.is_dir() {
            say(&format!("{name}: {} is there", place.display()));
            return Ok(place);
        }
        let watch = Watch::start();
        self.remove_all(|entry| entry == format!("tmp-{name}"))?;
        let scratch = Scratch {
            dir: self.root.join(format!("tmp-{name}")),
        };
        fs_err::create_dir_all(&scratch.dir)?;
        say(&format!("{name}: building {}", place.display()));
        let result = build(&scratch).and_then(|()| {
            self.remove_all(|entry| is_version_of(entry, name))?;
            Ok(fs_err::rename(scratch.out(), &place)?)
        });
        sys::cleaning(|| self.remove_all(|entry| entry == format!("tmp-{name}")))?;
        result?;
        took(&format!("{name}: built"), watch);
        Ok(place)
    }

    fn lock(&self) -> Result<fs_err::File> {
        let file = fs_err::File::create(self.root.join("lock"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|source| {
            LabError::System {
                what: "cannot lock the cache".to_owned(),
                source,
            }
        })?;
        Ok(file)
    }

    fn remove_all(&self, which: impl Fn(&str) -> bool) -> Result<()> {
        for entry in fs_err::read_dir(&self.root)? {
            let entry = entry?;
            if which(&entry.file_name().to_string_lossy()) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Whether a directory holds the thing `name`, in whatever version: not another thing whose name begins like it.
fn is_version_of(entry: &str, name: &str) -> bool {
    let digest = entry
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('-'));
    digest.is_some_and(|digest| {
        digest.len() == DIGEST_CHARS && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// A directory for one build.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What will be kept.
    pub(crate) fn out(&self) -> PathBuf {
        self.dir.join("out")
    }
}

/// Removes a directory tree, never crossing into another file system that something may have left mounted in it.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    Cmd::new(["rm", "-rf", "--one-file-system", "--"])
        .arg(dir.display().to_string())
        .limit_s(300)
        .run()
}

#[cfg(test)]
mod tests {
    use super::is_version_of;

    #[test]
    fn a_thing_is_not_taken_for_another_one() {
        assert!(is_version_of("kube-0123456789ab", "kube"));
        assert!(is_version_of("kube-pki-0123456789ab", "kube-pki"));
        for other in [
            "kube-pki-0123456789ab",
            "kube-tools-0123456789ab",
            "kube",
            "kube-",
            "tmp-kube",
        ] {
            assert!(!is_version_of(other, "kube"), "{other}");
        }
    }
}
