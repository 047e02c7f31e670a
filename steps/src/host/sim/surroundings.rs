//! What is around the machine and what its administrators do: names in the DNS, listeners, routes, locks, file systems.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cmd::spread;
use super::entity::{Facts, File};
use super::state::{Draft, Entity};

/// The lock that every package manager takes first.
pub(super) const DPKG_LOCK: &str = "/var/lib/dpkg/lock-frontend";

/// Everything that is usually as it should be. Its name is empty; without it all is well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Surroundings {
    /// Whether sudo asks for no password.
    pub(crate) sudo: bool,
    /// Whether the clock follows a time server.
    pub(crate) synchronised: bool,
    /// Whether ufw is active.
    pub(crate) ufw: bool,
    /// Who holds apt's lock.
    pub(crate) apt_holder: Option<Holder>,
    /// Where sshd listens.
    pub(crate) ssh_port: u16,
    /// Paths that are symbolic links.
    pub(crate) links: Vec<String>,
    /// File systems besides the root one.
    pub(crate) filesystems: Vec<Filesystem>,
    /// Answers of web servers other than 200, by address.
    pub(crate) statuses: BTreeMap<String, u16>,
    /// Routes of others: destination, device.
    pub(crate) routes: Vec<(String, String)>,
    /// Names that do not simply point here.
    pub(crate) names: BTreeMap<String, Name>,
    /// Name servers that do not answer.
    pub(crate) deaf: Vec<String>,
    /// Packages of which the archive has a newer version.
    pub(crate) upgrades: Vec<String>,
}

impl Entity for Surroundings {
    const KIND: &'static str = "surroundings";
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            sudo: true,
            synchronised: true,
            ufw: false,
            apt_holder: None,
            ssh_port: 22,
            links: Vec::new(),
            filesystems: Vec::new(),
            statuses: BTreeMap::new(),
            routes: Vec::new(),
            names: BTreeMap::new(),
            deaf: Vec::new(),
            upgrades: Vec::new(),
        }
    }
}

/// A process with apt's lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// Virtual time at which it lets go.
    pub(crate) until_ms: u64,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Filesystem {
    pub(crate) target: String,
    pub(crate) source: String,
    pub(crate) kind: String,
    pub(crate) avail_bytes: u64,
}

/// What the DNS says of a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) a: Vec<String>,
    pub(crate) aaaa: Vec<String>,
    pub(crate) caa: Vec<String>,
    pub(crate) txt: Vec<String>,
}

impl Surroundings {
    /// Those of a machine.
    pub(crate) fn of(draft: &Draft<'_>) -> Self {
        draft.get("").unwrap_or_default()
    }

    /// What the DNS says of a name: without other orders, that it is this machine.
    pub(crate) fn name(&self, facts: &Facts, name: &str) -> Name {
        let name = name.trim_end_matches('.');
        match self.names.get(name) {
            Some(known) => known.clone(),
            None if name.ends_with(".invalid") || !name.contains('.') => Name::default(),
            None => Name {
                a: vec![facts.address.clone()],
                txt: vec![format!("v=spf1 ip4:{} -all", facts.address)],
                ..Name::default()
            },
        }
    }

    /// The file system that holds a path.
    pub(crate) fn filesystem(&self, facts: &Facts, path: &str) -> Filesystem {
        let holds = |target: &str| {
            let rest = path.strip_prefix(target);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let deepest = self
            .filesystems
            .iter()
            .filter(|filesystem| holds(&filesystem.target))
            .max_by_key(|filesystem| filesystem.target.len());
        deepest.cloned().unwrap_or_else(|| Filesystem {
            target: "/".to_owned(),
            source: "/dev/vda1".to_owned(),
            kind: "ext4".to_owned(),
            avail_bytes: facts.disk_free_bytes,
        })
    }

    /// Who holds apt's lock now.
    pub(crate) fn holder(&self, now_ms: u64) -> Option<&Holder> {
        self.apt_holder
            .as_ref()
            .filter(|holder| holder.until_ms > now_ms)
    }
}

/// Number of a file's inode.
pub(super) fn inode(path: &str) -> u64 {
    131_072 + spread(path, 100_000)
}

/// A file that the kernel makes up, or the lock file while somebody holds it.
pub(super) fn virtual_file(draft: &Draft<'_>, path: &str) -> Option<File> {
    let around = || Surroundings::of(draft);
    let text = match path {
        DPKG_LOCK => {
            around().holder(draft.now_ms())?;
            return Some(File::new(b"", 0o640, "root:root"));
        }
        "/proc/meminfo" => {
            let facts = draft.get::<Facts>("")?;
            let kib = facts.memory_mib << 10;
            format!("MemTotal:       {kib} kB\nMemFree:        {} kB\n", kib / 2)
        }
        "/proc/cpuinfo" => {
            let facts = draft.get::<Facts>("")?;
            let flags = if facts.kvm {
                "fpu vme vmx sse2"
            } else {
                "fpu vme sse2"
            };
            format!("processor\t: 0\nflags\t\t: {flags}\n")
        }
        "/proc/locks" => around()
            .holder(draft.now_ms())
            .map_or_else(String::new, |holder| {
                format!(
                    "1: POSIX  ADVISORY  WRITE {} fe:01:{} 0 EOF\n",
                    holder.pid,
                    inode(DPKG_LOCK)
                )
            }),
        path => {
            let pid = path.strip_prefix("/proc/")?.strip_suffix("/comm")?;
            let around = around();
            let holder = around.holder(draft.now_ms())?;
            (holder.pid.to_string() == pid).then(|| format!("{}\n", holder.name))?
        }
    };
    Some(File::new(text.as_bytes(), 0o444, "root:root"))
}
