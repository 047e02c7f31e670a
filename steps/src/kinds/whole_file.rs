//! A file that belongs to wiab as a whole: compared, replaced and restored byte by byte.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt};

use super::bytes;
use crate::host::shell::Shell;
use crate::host::{Meta, Stat};

/// Most lines of a difference that are shown.
const DIFF_LINES_MAX: usize = 40;

/// Which file of other content may be replaced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Replace<'a> {
    /// None.
    Never,
    /// One that starts with this line, which only wiab writes.
    Marked(&'a str),
    /// Any; the before-image keeps it.
    Any,
}

/// A file as it shall be.
#[derive(Debug)]
pub(super) struct WholeFile<'a> {
    /// Where.
    pub(super) path: &'a str,
    /// Its bytes.
    pub(super) content: Vec<u8>,
    /// Permission bits.
    pub(super) mode: u32,
    /// Owner as `user:group`; `None` is whoever writes.
    pub(super) owner: Option<&'a str>,
    /// Whether reading and writing need root.
    pub(super) root: bool,
    /// What may be replaced.
    pub(super) replace: Replace<'a>,
}

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Old {
    content: String,
    mode: u32,
    owner: String,
}

impl Old {
    /// The bytes it had.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        bytes::kept(&self.content)
    }

    /// Mode and owner it had.
    pub(super) fn meta(&self, root: bool) -> Meta {
        Meta {
            mode: self.mode,
            owner: root.then(|| self.owner.clone()),
            root,
        }
    }
}

/// Reads a file with its mode and owner, for a before-image.
pub(super) async fn capture(sh: Shell<'_>, path: &str, root: bool) -> Result<Option<Old>, Failure> {
    let Some(content) = sh.read(path, root).await? else {
        return Ok(None);
    };
    let stat = stat_of(sh, path).await?;
    Ok(Some(Old {
        content: bytes::keep(path, &content)?,
        mode: stat.mode,
        owner: stat.owner,
    }))
}

async fn stat_of(sh: Shell<'_>, path: &str) -> Result<Stat, Failure> {
    sh.stat(path)
        .await?
        .ok_or_else(|| Failure::clean(format!("{path} vanished while it was read")).retry())
}

/// Puts a file back as it was.
pub(super) async fn restore(
    sh: Shell<'_>,
    path: &str,
    old: Option<&Old>,
    root: bool,
) -> Result<(), Failure> {
    match old {
        Some(old) => sh.write(path, &old.bytes()?, &old.meta(root)).await,
        None => sh.remove(path, root).await.map(drop),
    }
}

impl WholeFile<'_> {
    fn meta(&self) -> Meta {
        Meta {
            mode: self.mode,
            owner: self.owner.map(str::to_owned),
            root: self.root,
        }
    }

    /// Compares content and mode.
    pub(super) async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Some(found) = sh.read(self.path, self.root).await? else {
            return Ok(Probe::Absent);
        };
        if found != self.content {
            return Ok(Probe::Drifted {
                diff: diff(&found, &self.content),
            });
        }
        let mode = stat_of(sh, self.path).await?.mode;
        if mode != self.mode {
            return Ok(Probe::Drifted {
                diff: format!("- mode {mode:o}\n+ mode {:o}", self.mode),
            });
        }
        Ok(Probe::Satisfied(self.receipt()))
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("{} bytes", self.content.len())).with("path", self.path)
    }

    /// Writes it, unless it would replace somebody else's.
    pub(super) async fn apply(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        let found = sh.read(self.path, self.root).await?;
        if let Some(found) = found {
            if found == self.content && stat_of(sh, self.path).await?.mode == self.mode {
                return Ok(self.receipt());
            }
            if found != self.content && !self.replaceable(&found) {
                return Err(self.foreign());
            }
        }
        sh.write(self.path, &self.content, &self.meta()).await?;
        Ok(self.receipt())
    }

    fn replaceable(&self, found: &[u8]) -> bool {
        match self.replace {
            Replace::Any => true,
            Replace::Never => false,
            Replace::Marked(line) => found.starts_with(line.as_bytes()),
        }
    }

    fn foreign(&self) -> Failure {
        Failure::clean(format!("{} exists and was not written by wiab", self.path))
            .ask()
            .hint(format!(
                "look at it; if it is not needed: mv {0} {0}.old, then decide `retry`",
                self.path
            ))
    }

    /// Restores what was there, unless somebody else has changed the file since.
    pub(super) async fn undo(&self, sh: Shell<'_>, old: Option<&Old>) -> Result<(), Failure> {
        let found = sh.read(self.path, self.root).await?;
        let before = old.map(Old::bytes).transpose()?;
        match found {
            Some(found) if found != self.content && Some(&found) != before.as_ref() => {
                Err(Failure::clean(format!(
                    "{} was changed after wiab wrote it; it is left as it is",
                    self.path
                ))
                .ask()
                .hint(format!(
                    "remove or keep {} by hand, then decide `accept`",
                    self.path
                )))
            }
            _ => restore(sh, self.path, old, self.root).await,
        }
    }
}

/// The lines that differ: `- found`, `+ wanted`.
pub(super) fn diff(found: &[u8], wanted: &[u8]) -> String {
    let found = String::from_utf8_lossy(found);
    let wanted = String::from_utf8_lossy(wanted);
    let gone = found
        .lines()
        .filter(|line| !wanted.lines().any(|other| other == *line))
        .map(|line| format!("- {line}"));
    let new = wanted
        .lines()
        .filter(|line| !found.lines().any(|other| other == *line))
        .map(|line| format!("+ {line}"));
    let lines: Vec<String> = gone.chain(new).take(DIFF_LINES_MAX).collect();
    if lines.is_empty() {
        return "same lines, in another order or with other line ends".to_owned();
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differing_lines_are_shown() {
        assert_eq!(diff(b"a\nb\n", b"a\nc\n"), "- b\n+ c");
        assert!(diff(b"a\nb\n", b"b\na\n").starts_with("same lines"));
    }
}
