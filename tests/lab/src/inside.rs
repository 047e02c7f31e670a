//! The inner half of the lab: runs in mount, network and process namespaces of its own, prepares the machine's world there
//! and becomes the container manager. All that it mounts and links goes with those namespaces.

use std::path::{Path, PathBuf};

use crate::cgroup;
use crate::cmd::{self, Cmd};
use crate::error::{LabError, Result};
use crate::kube::CLUSTER_IP;

/// The machine's address, as the outside sees it.
pub(crate) const MACHINE_IP: &str = "198.51.100.10";
/// The outside: the machine's router, and the only other thing on its network.
pub(crate) const OUTSIDE_IP: &str = "198.51.100.1";

/// Directories that do not lie on layers: QEMU and docker would have them slow, or not at all.
const OWN_FILE_SYSTEMS: [(&str, &str); 2] = [
    ("images", "/var/lib/libvirt/images"),
    ("docker", "/var/lib/docker"),
];

/// What the outer half asks for.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Order {
    /// The root file system, which stays unchanged.
    pub(crate) root: PathBuf,
    /// An empty directory for all that the machine writes; lives in memory.
    pub(crate) scratch: PathBuf,
    /// How much it may write there, in MiB.
    pub(crate) scratch_mib: u64,
    /// Its control group.
    pub(crate) cgroup: String,
    /// Directories and files of the outer machine that it sees.
    pub(crate) binds: Vec<Bind>,
}

/// A directory or file of the outer machine that the inner one sees.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Bind {
    /// Where it is on the outer machine.
    pub(crate) from: PathBuf,
    /// Where the inner machine sees it.
    pub(crate) to: PathBuf,
    /// Whether the inner machine may write it.
    pub(crate) writable: bool,
}

impl Bind {
    fn option(&self) -> Result<String> {
        let kind = if self.writable { "--bind" } else { "--bind-ro" };
        let option = format!("{kind}={}:{}", self.from.display(), self.to.display());
        if option.matches(':').count() != 1 {
            return Err(LabError::Unsuitable(format!(
                "a shared path cannot contain a colon: {}",
                self.from.display()
            )));
        }
        Ok(option)
    }
}

/// Does it; returns only when something failed.
pub(crate) fn run(order: &Path) -> LabError {
    match prepare(order) {
        // libvirt sets per-interface settings below /proc/sys/net; the rest of /proc/sys stays read-only.
        Ok(argv) => cmd::become_program(&argv, ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")),
        Err(error) => error,
    }
}

/// Makes the machine's world; the container manager's command line.
fn prepare(order: &Path) -> Result<Vec<String>> {
    let text = fs_err::read_to_string(order)?;
    let order: Order = serde_json::from_str(&text).map_err(|source| LabError::Json {
        what: order.display().to_string(),
        source,
    })?;
    // Also hides the outer machine's /run, where `ip netns` and the container manager would leave traces.
    Cmd::new([
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=16m,mode=755",
        "wiab-lab",
        "/run",
    ])
    .run()?;
    network()?;
    let merged = file_system(&order)?;
    let mut argv: Vec<String> = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--network-namespace-path=/run/netns/machine",
        "--capability=all",
        "--system-call-filter=@keyring bpf",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=read-only",
        "--kill-signal=SIGRTMIN+3",
        "--machine=wiabhost",
        "--bind=/dev/net/tun",
    ]
    .map(str::to_owned)
    .to_vec();
    argv.push(format!("--directory={}", merged.display()));
    for (name, to) in OWN_FILE_SYSTEMS {
        let bind = Bind {
            from: order.scratch.join(name),
            to: to.into(),
            writable: true,
        };
        argv.push(bind.option()?);
    }
    for bind in &order.binds {
        argv.push(bind.option()?);
    }
    cgroup::join(&order.cgroup)?;
    Ok(argv)
}

/// This namespace becomes the outside; the machine gets another one, linked to it.
fn network() -> Result<()> {
    for line in [
        "ip netns add machine".to_owned(),
        "ip link set lo up".to_owned(),
        "ip link add wan0 type veth peer name eth0 netns machine".to_owned(),
        format!("ip addr add {OUTSIDE_IP}/24 dev wan0"),
        format!("ip addr add {CLUSTER_IP}/24 dev wan0"),
        "ip link set wan0 up".to_owned(),
        "ip -n machine link set lo up".to_owned(),
        format!("ip -n machine addr add {MACHINE_IP}/24 dev eth0"),
        "ip -n machine link set eth0 up".to_owned(),
        format!("ip -n machine route add default via {OUTSIDE_IP}"),
    ] {
        Cmd::new(line.split(' ')).run()?;
    }
    Ok(())
}

/// The root file system with a layer in memory over it.
fn file_system(order: &Order) -> Result<PathBuf> {
    let at = |name: &str| order.scratch.join(name);
    let size = format!("size={}m,mode=755", order.scratch_mib);
    Cmd::new(["mount", "-t", "tmpfs", "-o", &size, "wiab-lab"])
        .arg(order.scratch.display().to_string())
        .run()?;
    let own = OWN_FILE_SYSTEMS.map(|(name, _)| name);
    for name in ["upper", "work", "merged"].iter().chain(&own) {
        fs_err::create_dir(at(name))?;
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        order.root.display(),
        at("upper").display(),
        at("work").display()
    );
    Cmd::new(["mount", "-t", "overlay", "-o", &layers, "overlay"])
        .arg(at("merged").display().to_string())
        .run()?;
    Ok(at("merged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_with_a_colon_is_refused() {
        let bind = |from: &str, writable| Bind {
            from: from.into(),
            to: "/lab/x".into(),
            writable,
        };
        assert_eq!(bind("/a", true).option().unwrap(), "--bind=/a:/lab/x");
        assert_eq!(bind("/a", false).option().unwrap(), "--bind-ro=/a:/lab/x");
        assert!(bind("/a:b", false).option().is_err());
    }
}
