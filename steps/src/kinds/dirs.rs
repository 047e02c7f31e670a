//! `dirs/1`: directories, so that no other step has to make (and take back) parents.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind};

/// Directories, parents before children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dirs {
    /// The directories; parents come first.
    pub dirs: Vec<Dir>,
    /// Whether they are root's; else they are the connecting user's.
    #[serde(default)]
    pub root: bool,
}

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dir {
    /// Absolute path; its parent exists or stands earlier in the list.
    pub path: String,
    /// Permission bits for a new directory; an existing one keeps its own.
    pub mode: u32,
}

impl Dirs {
    fn cmd<const N: usize>(&self, argv: [&str; N]) -> Cmd {
        let cmd = Cmd::new(argv);
        if self.root { cmd.root() } else { cmd }
    }

    async fn missing(&self, sh: Shell<'_>) -> Result<Vec<&Dir>, Failure> {
        let mut missing = Vec::new();
        for dir in &self.dirs {
            match sh.stat(&dir.path).await? {
                None => missing.push(dir),
                Some(stat) if stat.dir => {}
                Some(_) => {
                    return Err(Failure::clean(format!("{} is not a directory", dir.path))
                        .ask()
                        .hint(format!("move {} away, then decide `retry`", dir.path)));
                }
            }
        }
        Ok(missing)
    }
}

impl Kind for Dirs {
    const NAME: &'static str = "dirs/1";
    const ABOUT: About = About {
        purpose: "Directories that later steps put their files into.",
        probe: "Looks at each directory.",
        effect: "Makes the missing ones; existing ones keep mode and owner.",
        undo: "Removes those it made, if they are empty.",
    };

    fn summary(&self) -> String {
        match self.dirs.as_slice() {
            [] => "no directories".to_owned(),
            [one] => format!("make directory {}", one.path),
            [.., last] => format!("make {} directories up to {}", self.dirs.len(), last.path),
        }
    }

    fn undo_summary(&self) -> String {
        "remove the directories made, if empty".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for Dirs {
    /// The paths that did not exist.
    type Image = Vec<String>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let missing = self.missing(sh).await?.len();
        Ok(if missing == 0 {
            Probe::Satisfied(Receipt::note(format!("{} directories", self.dirs.len())))
        } else if missing == self.dirs.len() {
            Probe::Absent
        } else {
            Probe::Partial {
                what: format!("{missing} of {} directories are missing", self.dirs.len()),
            }
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Vec<String>, Failure> {
        let missing = self.missing(sh).await?;
        Ok(missing.into_iter().map(|dir| dir.path.clone()).collect())
    }

    async fn apply(&self, sh: Shell<'_>, _: &Vec<String>) -> Result<Receipt, Failure> {
        for dir in self.missing(sh).await? {
            let mode = format!("{:04o}", dir.mode);
            sh.ok(&self.cmd(["mkdir", "-m", &mode, "--", &dir.path]))
                .await?;
        }
        Ok(Receipt::note(format!("{} directories", self.dirs.len())))
    }

    async fn undo(&self, sh: Shell<'_>, missing: &Vec<String>) -> Result<(), Failure> {
        for path in missing.iter().rev() {
            if sh.stat(path).await?.is_some() {
                // A directory that others use by now is not empty and stays: `rmdir` refuses it.
                sh.run(&self.cmd(["rmdir", "--", path])).await?;
            }
        }
        Ok(())
    }
}
