//! The outer machine, before and after: the lab must leave it as it was.

use std::path::Path;

use crate::cgroup;
use crate::cmd::Cmd;
use crate::error::{Result, ensure};

/// What the lab could have disturbed, part by part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    parts: Vec<(&'static str, String)>,
}

impl Outer {
    /// Looks at the outer machine.
    pub(crate) fn look() -> Result<Self> {
        let run = |line: &str| Cmd::new(line.split(' ')).output();
        let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let groups: Vec<String> = cgroup::present()?
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let there = |path: &str| Path::new(path).exists().to_string();
        Ok(Self {
            parts: vec![
                ("firewall", without_counters(&run("nft list ruleset")?)),
                ("network links", run("ip -o link show")?),
                ("addresses", run("ip -o addr show")?.replace("  ", " ")),
                ("routes", run("ip route show table all")?),
                ("network namespaces", run("ip netns list")?),
                ("forwarding", read("/proc/sys/net/ipv4/ip_forward")),
                ("hosts file", read("/etc/hosts")),
                (
                    "mounts of the lab",
                    lab_mounts(&read("/proc/self/mountinfo")),
                ),
                ("control groups of the lab", groups.join(" ")),
                (
                    "libvirt",
                    format!("{} {}", there("/var/lib/libvirt"), there("/run/libvirt")),
                ),
                ("container manager", there("/run/systemd/nspawn")),
            ],
        })
    }

    /// Fails unless nothing differs from `before`.
    pub(crate) fn same_as(&self, before: &Self) -> Result<()> {
        for ((name, now), (_, was)) in self.parts.iter().zip(&before.parts) {
            ensure(now == was, || {
                format!("{name} of the outer machine changed:\n{was}\n  became\n{now}")
            })?;
        }
        Ok(())
    }
}

/// A ruleset without its packet counters, which run by themselves.
pub(crate) fn without_counters(ruleset: &str) -> String {
    let mut out = Vec::new();
    for line in ruleset.lines() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        while let Some(at) = words
            .windows(4)
            .position(|w| matches!(w, ["packets", _, "bytes", _]))
        {
            words.drain(at..at + 4);
        }
        out.push(words.join(" "));
    }
    out.join("\n")
}

fn lab_mounts(mountinfo: &str) -> String {
    mountinfo
        .lines()
        .filter(|line| line.contains("wiab-lab"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_no_difference() {
        let a = "chain x {\n  iifname \"a\" counter packets 12 bytes 900 accept comment \"k\"\n}";
        let b = "chain x {\n  iifname \"a\" counter packets 0 bytes 0 accept comment \"k\"\n}";
        assert_eq!(without_counters(a), without_counters(b));
        assert_ne!(
            without_counters(a),
            without_counters(&b.replace("accept", "drop"))
        );
    }
}
