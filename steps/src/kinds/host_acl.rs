//! `host.acl/1`: a system user may pass through directories, by access control lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind};

/// Directories through which a user shall be able to pass. It gets no right to list them, and nothing inside is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostAcl {
    /// The user, such as `libvirt-qemu`.
    pub user: String,
    /// The directories, from the top.
    pub dirs: Vec<String>,
}

/// Entries of an access control list, `user:libvirt-qemu` → `--x`; as `getfacl` shows them.
type Entries = BTreeMap<String, String>;

fn entries(text: &str) -> Entries {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .filter_map(|line| line.trim().rsplit_once(':'))
        .map(|(who, rights)| (who.to_owned(), rights.to_owned()))
        .collect()
}

/// Whether a list is more than the permission bits.
fn extended(entries: &Entries) -> bool {
    entries.contains_key("mask:")
}

fn passes(rights: Option<&String>) -> bool {
    rights.is_some_and(|rights| rights.ends_with('x'))
}

impl HostAcl {
    fn entry(&self) -> String {
        format!("user:{}", self.user)
    }

    async fn list(&self, sh: Shell<'_>, dir: &str) -> Result<Entries, Failure> {
        let cmd = Cmd::new(["getfacl", "-cpE", "--", dir]).root();
        Ok(entries(&sh.ok(&cmd).await?.text()))
    }

    /// Whether the user passes: by its own entry as far as the mask lets it, or as everybody does.
    fn open(&self, entries: &Entries) -> bool {
        match entries.get(&self.entry()) {
            own @ Some(_) => passes(own) && passes(entries.get("mask:")),
            None => passes(entries.get("other:")),
        }
    }

    /// The directories through which the user cannot pass yet, with their lists.
    async fn closed(&self, sh: Shell<'_>) -> Result<Vec<(&str, Entries)>, Failure> {
        let mut closed = Vec::new();
        for dir in &self.dirs {
            let list = self.list(sh, dir).await?;
            if !self.open(&list) {
                closed.push((dir.as_str(), list));
            }
        }
        Ok(closed)
    }

    async fn set(&self, sh: Shell<'_>, argv: &[&str], dir: &str) -> Result<(), Failure> {
        let argv = ["setfacl"].iter().chain(argv).chain(&["--"]).copied();
        let done = sh.ok(&Cmd::new(argv.chain([dir])).root()).await;
        done.map(drop).map_err(|failure| {
            if failure.hint.is_some() {
                return failure;
            }
            failure.code("host.acl").hint(format!(
                "{dir} must be on a file system with access control lists (NFS has none): let `vms.pool` be a directory outside of the home, such as /var/lib/libvirt/images, or chmod o+x {dir}"
            ))
        })
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!(
            "{} passes through {}",
            self.user,
            self.dirs.join(", ")
        ))
    }
}

impl Kind for HostAcl {
    const NAME: &'static str = "host.acl/1";
    const ABOUT: About = About {
        purpose: "QEMU's user reaches disk images that lie below somebody's home, which is closed to others.",
        probe: "Reads the access control list of each directory with `getfacl`; one that everybody may pass is fine as it is.",
        effect: "Adds the right to pass for that one user to each directory that lacks it, with `setfacl -m`; nothing recursive.",
        undo: "Restores the user's former entry, or removes it, together with a list that was only made for it.",
    };

    fn summary(&self) -> String {
        let last = self.dirs.last().map_or("", String::as_str);
        format!(
            "let {} pass through the directories down to {last}",
            self.user
        )
    }

    fn undo_summary(&self) -> String {
        "restore the access control lists".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for HostAcl {
    /// The lists of the directories that were closed.
    type Image = BTreeMap<String, Entries>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        // Without the tools or the directories nothing is there.
        let Ok(closed) = self.closed(sh).await else {
            return Ok(Probe::Absent);
        };
        Ok(if closed.is_empty() {
            Probe::Satisfied(self.receipt())
        } else if closed.len() == self.dirs.len() {
            Probe::Absent
        } else {
            let dirs: Vec<&str> = closed.iter().map(|(dir, _)| *dir).collect();
            let what = format!(
                "{} does not yet pass through {}",
                self.user,
                dirs.join(", ")
            );
            Probe::Partial { what }
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Self::Image, Failure> {
        let closed = self.closed(sh).await?.into_iter();
        Ok(closed.map(|(dir, list)| (dir.to_owned(), list)).collect())
    }

    async fn apply(&self, sh: Shell<'_>, _: &Self::Image) -> Result<Receipt, Failure> {
        for (dir, list) in self.closed(sh).await? {
            let own = list.get(&self.entry());
            let kept = own.map_or("--", |rights| rights.get(..2).unwrap_or("--"));
            let entry = format!("u:{}:{kept}x", self.user);
            match list.get("mask:") {
                None => self.set(sh, &["-m", &entry], dir).await?,
                // Without `-n` the mask would be made anew, which might open the directory to those whom it holds back.
                Some(rights) if rights.ends_with('x') => {
                    self.set(sh, &["-n", "-m", &entry], dir).await?;
                }
                Some(rights) => {
                    let why =
                        format!("the mask `{rights}` of {dir} holds everybody with an entry back");
                    return Err(Failure::dirty(why).code("host.acl").ask().hint(format!(
                        "setfacl -m m::{}x {dir}, or let `vms.pool` be a directory outside of the home",
                        rights.get(..2).unwrap_or("r-")
                    )));
                }
            }
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &Self::Image) -> Result<(), Failure> {
        for (dir, before) in before.iter().rev() {
            if sh.stat(dir).await?.is_none() {
                continue;
            }
            let now = self.list(sh, dir).await?;
            let (entry, user) = (self.entry(), format!("u:{}", self.user));
            if now.get(&entry) == before.get(&entry) {
                continue;
            }
            // The list is ours alone if nobody else has an entry by now.
            let named = |who: &str| !matches!(who, "user:" | "group:" | "mask:" | "other:");
            let others = now.keys().any(|who| named(who) && *who != entry);
            match before.get(&entry) {
                Some(rights) => {
                    let entry = format!("{user}:{rights}");
                    self.set(sh, &["-n", "-m", &entry], dir).await?;
                }
                None if extended(before) || others => {
                    self.set(sh, &["-n", "-x", &user], dir).await?;
                }
                None => self.set(sh, &["-b"], dir).await?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_the_mask_counts() {
        let kind = HostAcl {
            user: "libvirt-qemu".to_owned(),
            dirs: vec!["/home/demo".to_owned()],
        };
        let open = |more: &str| {
            let text = format!("# file: /home/demo\nuser::rwx\ngroup::r-x\n{more}\n");
            kind.open(&entries(&text))
        };
        assert!(!open("other::---"));
        assert!(open("other::--x"));
        assert!(open("user:libvirt-qemu:--x\nmask::r-x\nother::---"));
        assert!(!open("user:libvirt-qemu:--x\nmask::r--\nother::---"));
        // A user's own entry counts instead of what everybody may.
        assert!(!open("user:libvirt-qemu:r--\nmask::r-x\nother::--x"));
        assert!(!open("user:other:--x\nmask::r-x\nother::---"));
    }
}
