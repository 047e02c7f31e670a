//! `file.block/1`: a managed block between two marker lines of somebody else's file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::whole_file::{Old, capture, diff, restore};
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Host, Meta};
use crate::kind::{About, Kind};

/// Lines in a file of root, such as `/etc/hosts`, that wiab keeps between its own markers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBlock {
    /// Absolute path.
    pub path: String,
    /// Name of the block, part of its markers.
    pub name: String,
    /// The lines between the markers.
    pub lines: Vec<String>,
}

/// A file cut at its markers.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    head: Vec<u8>,
    block: Option<Vec<u8>>,
    tail: Vec<u8>,
}

impl FileBlock {
    fn begin(&self) -> String {
        format!("# BEGIN wiab {}\n", self.name)
    }

    fn end(&self) -> String {
        format!("# END wiab {}\n", self.name)
    }

    fn block(&self) -> Vec<u8> {
        let mut text = self.begin();
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&self.end());
        text.into_bytes()
    }

    /// Cuts the file at the markers, which stand alone on their lines.
    fn cut(&self, bytes: &[u8]) -> Result<Cut, Failure> {
        let (begin, end) = (self.begin().into_bytes(), self.end().into_bytes());
        let mut cut = Cut {
            head: Vec::new(),
            block: None,
            tail: Vec::new(),
        };
        let mut inside = false;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_begin = line == begin || [line, b"\n"].concat() == begin;
            let is_end = line == end || [line, b"\n"].concat() == end;
            match (&mut cut.block, inside) {
                (None, _) if is_begin => {
                    cut.block = Some(line.to_vec());
                    inside = true;
                }
                (None, _) if !is_end => cut.head.extend_from_slice(line),
                (Some(block), true) if !is_begin => {
                    block.extend_from_slice(line);
                    inside = !is_end;
                }
                (Some(_), false) if !is_begin && !is_end => cut.tail.extend_from_slice(line),
                _ => return Err(self.broken()),
            }
        }
        if inside { Err(self.broken()) } else { Ok(cut) }
    }

    fn broken(&self) -> Failure {
        Failure::clean(format!(
            "the markers of block `{}` in {} do not form one pair",
            self.name, self.path
        ))
        .ask()
        .hint(format!(
            "repair the lines `{}` and `{}` in {}, then decide `retry`",
            self.begin().trim_end(),
            self.end().trim_end(),
            self.path
        ))
    }

    /// The file with the block as wanted: in its place, or at the end.
    fn with_block(&self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let cut = self.cut(bytes)?;
        let mut out = cut.head;
        if cut.block.is_none() && !out.is_empty() && !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        out.extend(self.block());
        out.extend(cut.tail);
        Ok(out)
    }

    /// The file without the block, or with the one it had.
    fn with_old_block(&self, bytes: &[u8], old: Option<Vec<u8>>) -> Result<Vec<u8>, Failure> {
        let cut = self.cut(bytes)?;
        if cut.block.is_none() {
            return Ok(bytes.to_vec());
        }
        Ok([cut.head, old.unwrap_or_default(), cut.tail].concat())
    }

    async fn meta(&self, sh: Shell<'_>) -> Result<Meta, Failure> {
        let stat = sh.stat(&self.path).await?;
        Ok(stat.map_or_else(
            || Meta::root(0o644),
            |stat| Meta {
                mode: stat.mode,
                owner: Some(stat.owner),
                root: true,
            },
        ))
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("{} lines", self.lines.len()))
    }
}

impl Kind for FileBlock {
    const NAME: &'static str = "file.block/1";
    const ABOUT: About = About {
        purpose: "A few lines of ours in a file that belongs to somebody else.",
        probe: "Compares the lines between the markers.",
        effect: "Writes the block; every other byte of the file stays.",
        undo: "Restores the old bytes; if others changed the file since, only takes the block out.",
    };

    fn summary(&self) -> String {
        format!(
            "keep {} lines between markers in {}",
            self.lines.len(),
            self.path
        )
    }

    fn undo_summary(&self) -> String {
        format!("take the block out of {}", self.path)
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for FileBlock {
    type Image = Option<Old>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Some(found) = sh.read(&self.path, true).await? else {
            return Ok(Probe::Absent);
        };
        let Ok(cut) = self.cut(&found) else {
            return Ok(Probe::Partial {
                what: format!("the markers in {} do not form one pair", self.path),
            });
        };
        Ok(match cut.block {
            None => Probe::Absent,
            Some(block) if block == self.block() => Probe::Satisfied(self.receipt()),
            Some(block) => Probe::Drifted {
                diff: diff(&block, &self.block()),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Old>, Failure> {
        capture(sh, &self.path, true).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Old>) -> Result<Receipt, Failure> {
        let found = sh.read(&self.path, true).await?;
        let wanted = self.with_block(found.as_deref().unwrap_or_default())?;
        if found.as_ref() != Some(&wanted) {
            let meta = self.meta(sh).await?;
            sh.write(&self.path, &wanted, &meta).await?;
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, old: &Option<Old>) -> Result<(), Failure> {
        let Some(found) = sh.read(&self.path, true).await? else {
            // Also clears what an interrupted write left beside it.
            return restore(sh, &self.path, old.as_ref(), true).await;
        };
        let before = old.as_ref().map(Old::bytes).transpose()?;
        if before.as_ref() == Some(&found) {
            return restore(sh, &self.path, old.as_ref(), true).await;
        }
        let base = before.clone().unwrap_or_default();
        if found == self.with_block(&base)? {
            return restore(sh, &self.path, old.as_ref(), true).await;
        }
        let old_block = self.cut(&base)?.block;
        let without = self.with_old_block(&found, old_block)?;
        if without != found {
            let meta = self.meta(sh).await?;
            sh.write(&self.path, &without, &meta).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> FileBlock {
        FileBlock {
            path: "/etc/hosts".to_owned(),
            name: "hosts".to_owned(),
            lines: vec!["192.168.122.10 assethost".to_owned()],
        }
    }

    const BLOCK: &str = "# BEGIN wiab hosts\n192.168.122.10 assethost\n# END wiab hosts\n";

    #[test]
    fn only_the_block_changes() {
        let cases = [
            ("", BLOCK.to_owned()),
            ("127.0.0.1 x", format!("127.0.0.1 x\n{BLOCK}")),
            (
                "10.0.0.9 my-assethost.example.org # assethost\n",
                format!("10.0.0.9 my-assethost.example.org # assethost\n{BLOCK}"),
            ),
            (
                "a\n# BEGIN wiab hosts\nold\n# END wiab hosts\nb",
                format!("a\n{BLOCK}b"),
            ),
        ];
        for (before, after) in cases {
            let made = hosts().with_block(before.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(made.clone()).unwrap(), after);
            assert_eq!(hosts().with_block(&made).unwrap(), made, "a second time");
        }
    }

    #[test]
    fn unpaired_markers_are_refused() {
        for text in [
            "# BEGIN wiab hosts\nx\n",
            "# END wiab hosts\n",
            "# BEGIN wiab hosts\n# BEGIN wiab hosts\n# END wiab hosts\n",
            "# BEGIN wiab hosts\n# END wiab hosts\n# BEGIN wiab hosts\n# END wiab hosts\n",
        ] {
            let failure = hosts().with_block(text.as_bytes()).unwrap_err();
            assert!(failure.why.contains("one pair"), "{text}");
        }
    }
}
