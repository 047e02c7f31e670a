//! `preflight.apt/1`: who holds apt's lock.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::{Check, Report};
use crate::host::Cmd;
use crate::host::shell::Shell;
use crate::kind::About;

/// The lock that every package manager takes first.
const LOCK: &str = "/var/lib/dpkg/lock-frontend";

/// Looks at apt's lock; has no parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightApt {}

/// The process that holds a lock on the file of that inode, from `/proc/locks`:
/// `1: POSIX  ADVISORY  WRITE 812 08:01:131093 0 EOF`. apt takes such a lock, which `flock` does not see.
fn holder_in(locks: &str, inode: &str) -> Option<u32> {
    let ends = format!(":{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = fields.iter().position(|field| field.ends_with(&ends))?;
        fields.get(at.checked_sub(1)?)?.parse().ok()
    })
}

/// Who holds apt's lock: `unattended-upgr (process 812)`.
pub(crate) async fn holder(sh: Shell<'_>) -> Result<Option<String>, Failure> {
    let inode = sh.run(&Cmd::new(["stat", "-c", "%i", LOCK])).await?;
    if !inode.ok() {
        return Ok(None);
    }
    let locks = sh.run(&Cmd::new(["cat", "/proc/locks"])).await?.text();
    let Some(pid) = holder_in(&locks, inode.text().trim()) else {
        return Ok(None);
    };
    let name = sh
        .run(&Cmd::new(["cat", &format!("/proc/{pid}/comm")]))
        .await?;
    let name = name.text();
    let name = if name.trim().is_empty() {
        "somebody"
    } else {
        name.trim()
    };
    Ok(Some(format!("{name} (process {pid})")))
}

impl Check for PreflightApt {
    const NAME: &'static str = "preflight.apt/1";
    const ABOUT: About = About {
        purpose: "The operator knows for whom the installation of packages will wait.",
        probe: "Reads from `/proc/locks` who holds `/var/lib/dpkg/lock-frontend`.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        "check apt's lock".to_owned()
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let mut report = Report::new("apt's lock is free");
        if let Some(who) = holder(sh).await? {
            "apt's lock is taken".clone_into(&mut report.note);
            report.warn(
                "apt-lock",
                format!("{who} holds apt's lock"),
                "nothing: packages are installed as soon as it is free, within five minutes; unattended upgrades end by themselves",
            );
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_inode() {
        let locks = "1: FLOCK  ADVISORY  WRITE 301 08:01:77 0 EOF\n2: POSIX  ADVISORY  WRITE 812 08:01:131093 0 EOF\n2: -> POSIX  ADVISORY  WRITE 900 08:01:131093 0 EOF\n";
        assert_eq!(holder_in(locks, "131093"), Some(812));
        assert_eq!(holder_in(locks, "1093"), None);
    }
}
