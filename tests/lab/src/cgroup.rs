//! Control groups: the machine gets one of its own in every hierarchy, and none is left behind.

use std::path::{Path, PathBuf};

use crate::error::{LabError, Result};
use crate::sys;

/// The group's part of the processors beside other work. A group counts like one process, however many virtual machines
/// are in it: with the usual 1,024 the seven of them stand still while something is built beside them.
const CPU_SHARES: &str = "8192";
/// How long emptied groups may take to go, in tenths of a second.
const REMOVE_TRIES: u32 = 100;

/// The places where control group hierarchies are mounted, from `/proc/self/mountinfo`.
fn hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    let place = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let kind = kind.split_whitespace().next()?;
        let point = mount.split_whitespace().nth(4)?;
        matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(point))
    };
    mountinfo.lines().filter_map(place).collect()
}

fn groups(name: &str) -> Result<Vec<PathBuf>> {
    let mountinfo = fs_err::read_to_string("/proc/self/mountinfo")?;
    Ok(hierarchies(&mountinfo)
        .into_iter()
        .map(|place| place.join(name))
        .collect())
}

/// Moves this process into the group `name`, which is made in every hierarchy.
pub(crate) fn join(name: &str) -> Result<()> {
    for group in groups(name)? {
        if !group.is_dir() {
            fs_err::create_dir(&group)?;
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // A new group of version 1 has no processors until it is given its parent's; version 2 inherits them.
            if let (Some(parent), true) =
                (group.parent(), group.join("cgroup.clone_children").exists())
                && let Ok(value) = fs_err::read_to_string(parent.join(file))
            {
                fs_err::write(group.join(file), value.trim())?;
            }
        }
        let shares = group.join("cpu.shares");
        if shares.exists() {
            fs_err::write(shares, CPU_SHARES)?;
        }
        fs_err::write(group.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Removes the group `name` from every hierarchy; its processes have ended or are about to.
pub(crate) fn remove(name: &str) -> Result<()> {
    let groups = groups(name)?;
    for _ in 0..REMOVE_TRIES {
        let mut left = false;
        for group in &groups {
            left |= !remove_tree(group);
        }
        if !left {
            return Ok(());
        }
        sys::sleep_ms(100);
    }
    let left: Vec<String> = groups
        .iter()
        .filter(|group| group.exists())
        .map(|group| group.display().to_string())
        .collect();
    Err(LabError::check(format!(
        "control groups are still in use: {}",
        left.join(" ")
    )))
}

/// Removes a group and those below it; whether it is gone.
fn remove_tree(group: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(group) else {
        return !group.exists();
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    std::fs::remove_dir(group).is_ok() || !group.exists()
}

/// The groups of the lab that exist, whoever made them.
pub(crate) fn present() -> Result<Vec<PathBuf>> {
    let mountinfo = fs_err::read_to_string("/proc/self/mountinfo")?;
    let mut found = Vec::new();
    for place in hierarchies(&mountinfo) {
        for entry in fs_err::read_dir(place)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("wiab-lab-") {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_both_versions() {
        let text = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                    31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
                    32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = hierarchies(text);
        assert_eq!(
            found,
            [
                Path::new("/sys/fs/cgroup/cpu"),
                Path::new("/sys/fs/cgroup/unified")
            ]
        );
    }
}
