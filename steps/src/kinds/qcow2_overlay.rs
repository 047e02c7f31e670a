//! `qcow2.overlay/1`: the disk of a VM, a copy-on-write layer over the base image.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::qemu::{Info, exists, info, move_new, remove_all};
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Input, Kind, Out};

/// A qcow2 disk over a base image. An existing disk is never overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qcow2Overlay {
    /// Path of the disk.
    pub path: String,
    /// Path of the base image.
    pub base: Input<String>,
    /// Size that the VM sees, in bytes.
    pub size_bytes: u64,
}

/// Whether the disk existed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    existed: bool,
}

impl Qcow2Overlay {
    /// Output: the path.
    pub const PATH: Out<Self> = Out::new("path");

    fn part(&self) -> String {
        format!("{}.part", self.path)
    }

    fn diff(&self, found: &Info, base: &str) -> Option<String> {
        let mut lines = Vec::new();
        if found.format != "qcow2" {
            lines.push(format!("- format {}\n+ format qcow2", found.format));
        }
        if found.backing() != Some(base) {
            let backing = found.backing().unwrap_or("(none)");
            lines.push(format!("- backing {backing}\n+ backing {base}"));
        }
        if found.virtual_size != self.size_bytes {
            lines.push(format!(
                "- size {}\n+ size {}",
                found.virtual_size, self.size_bytes
            ));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("{} GiB", self.size_bytes >> 30)).with("path", &*self.path)
    }

    fn foreign(&self, diff: &str) -> Failure {
        Failure::clean(format!("disk {} exists and is another one:\n{diff}", self.path))
            .ask()
            .hint(format!(
                "it may hold data: look at `sudo qemu-img info {0}`; if it is not needed: sudo mv {0} {0}.old, then decide `retry`",
                self.path
            ))
    }
}

impl Kind for Qcow2Overlay {
    const NAME: &'static str = "qcow2.overlay/1";
    const ABOUT: About = About {
        purpose: "A disk for one VM that shares the base image.",
        probe: "Reads format, backing file and size with `qemu-img info`.",
        effect: "Creates it under a temporary name and moves it into place; an existing disk is never overwritten.",
        undo: "Deletes the disk that this step created, with all data of the VM.",
    };

    fn summary(&self) -> String {
        format!("create disk {} ({} GiB)", self.path, self.size_bytes >> 30)
    }

    fn undo_summary(&self) -> String {
        "delete the disk with its data".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Destructive {
            what: format!("all data on {}", self.path),
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for Qcow2Overlay {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if !exists(sh, &self.path).await? {
            return Ok(Probe::Absent);
        }
        let Some(base) = self.base.get() else {
            return Ok(Probe::Absent);
        };
        let found = info(sh, &self.path).await?;
        Ok(match self.diff(&found, base) {
            None => Probe::Satisfied(self.receipt()),
            Some(diff) => Probe::Drifted { diff },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        Ok(Image {
            existed: exists(sh, &self.path).await?,
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let base = known(&self.base, "base")?;
        if exists(sh, &self.path).await? {
            let found = info(sh, &self.path).await?;
            return match self.diff(&found, base) {
                None => Ok(self.receipt()),
                Some(diff) => Err(self.foreign(&diff)),
            };
        }
        let below = info(sh, base).await?;
        if below.virtual_size > self.size_bytes {
            return Err(Failure::clean(format!(
                "the base image has {} bytes, the disk would only have {}",
                below.virtual_size, self.size_bytes
            ))
            .hint("give the VM a larger disk (`disk_gib`, or a larger `scale`)"));
        }
        let (part, size) = (self.part(), self.size_bytes.to_string());
        sh.ok(&Cmd::new([
            "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", &part, &size,
        ])
        .root())
            .await?;
        if !move_new(sh, &part, &self.path).await? {
            remove_all(sh, &[&part]).await?;
            return Err(self.foreign("it appeared while the disk was made"));
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        remove_all(sh, &[&self.part()]).await?;
        if image.existed || !exists(sh, &self.path).await? {
            return Ok(());
        }
        let base = self.base.get().map(String::as_str);
        if info(sh, &self.path).await?.backing() == base {
            remove_all(sh, &[&self.path]).await?;
        }
        Ok(())
    }
}
