//! `preflight.resources/1`: memory, processors, disks and hardware virtualisation.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::{Check, Report, existing};
use crate::host::Cmd;
use crate::host::shell::Shell;
use crate::kind::About;
use crate::kinds::libvirt_domain::VirtType;

/// What the host itself needs beside the VMs, in MiB.
const HOST_MEMORY_MIB: u64 = 3 << 10;
/// What artifact, images and working files need beside the VMs' disks, in bytes.
const DEPLOY_BYTES: u64 = 40 << 30;
/// How much of the VMs' whole size must be free: what an installation writes at once. The disks grow with use.
const THIN_PERCENT: u64 = 25;
const GIB: u64 = 1 << 30;

/// A VM as far as it needs room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSize {
    /// Name.
    pub name: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Disk, in GiB.
    pub disk_gib: u64,
}

/// What the VMs need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightResources {
    /// The VMs, in the order in which they get room.
    pub vms: Vec<VmSize>,
    /// Hardware support or emulation.
    pub virt_type: VirtType,
    /// Directory of disk images.
    pub pool: String,
    /// The deploy directory.
    pub deploy: String,
    /// Whether artifact and container images come to the host, too.
    pub artifact: bool,
}

/// The names of those that have no room after `have` is dealt out in order.
fn without_room(vms: &[VmSize], have: u64, need: fn(&VmSize) -> u64) -> Vec<&str> {
    let mut left = have;
    let mut names = Vec::new();
    for vm in vms {
        match left.checked_sub(need(vm)) {
            Some(rest) => left = rest,
            None => names.push(vm.name.as_str()),
        }
    }
    names
}

/// MiB as GiB with one digit behind the point.
fn gib(mib: u64) -> String {
    format!("{}.{} GiB", mib >> 10, ((mib & 1023) * 10) >> 10)
}

/// A file system.
#[derive(Debug, PartialEq, Eq)]
struct Disk {
    target: String,
    free: u64,
}

impl PreflightResources {
    async fn memory(&self, sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let text = sh.ok(&Cmd::new(["cat", "/proc/meminfo"])).await?.text();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        let have = kib.unwrap_or(0) >> 10;
        let vms: u64 = self.vms.iter().map(|vm| vm.memory_mib).sum();
        let need = vms + HOST_MEMORY_MIB;
        report.note = format!("{} memory", gib(have));
        if have < need {
            let fit = have.saturating_sub(HOST_MEMORY_MIB);
            report.error(
                "memory",
                format!(
                    "{} are missing: the VMs need {} and the host {}, there are {}; no room for {}",
                    gib(need - have),
                    gib(vms),
                    gib(HOST_MEMORY_MIB),
                    gib(have),
                    without_room(&self.vms, fit, |vm| vm.memory_mib).join(", ")
                ),
                "add memory, or make the VMs smaller with vms.scale or vms.machines.NAME.memory_mib",
            );
        }
        Ok(())
    }

    async fn processors(&self, sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let text = sh.ok(&Cmd::new(["nproc"])).await?.text();
        let have: u64 = text.trim().parse().unwrap_or(1).max(1);
        let need: u64 = self.vms.iter().map(|vm| u64::from(vm.vcpus)).sum();
        report.note = format!("{have} processors, {}", report.note);
        if need > have {
            let tenths = need * 10 / have;
            report.warn(
                "cpus",
                format!(
                    "the VMs have {need} processors, the machine {have}: over-committed {}.{} times",
                    tenths / 10,
                    tenths % 10
                ),
                "fine for a trial; for load use a machine with more processors",
            );
        }
        Ok(())
    }

    async fn kvm(&self, sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        if self.virt_type == VirtType::Qemu
            || sh.run(&Cmd::new(["test", "-e", "/dev/kvm"])).await?.ok()
        {
            return Ok(());
        }
        let text = sh.ok(&Cmd::new(["cat", "/proc/cpuinfo"])).await?.text();
        let supported = text
            .split_whitespace()
            .any(|flag| flag == "vmx" || flag == "svm");
        if supported {
            let why = "the processor can virtualise, but there is no /dev/kvm";
            let remedy = "sudo modprobe kvm_intel || sudo modprobe kvm_amd; if that fails, turn virtualisation on in the firmware";
            report.error("kvm", why, remedy);
        } else {
            let why = "there is no /dev/kvm, and the processor shows neither vmx nor svm";
            let remedy = "turn on VT-x or AMD-V in the firmware, or nested virtualisation where this machine is virtual; vms.virt_type = \"qemu\" emulates, slowly";
            report.error("kvm", why, remedy);
        }
        Ok(())
    }

    /// VMs that have no disk yet.
    async fn to_come(&self, sh: Shell<'_>) -> Result<Vec<VmSize>, Failure> {
        let mut vms = Vec::new();
        for vm in &self.vms {
            let path = format!("{}/{}.qcow2", self.pool.trim_end_matches('/'), vm.name);
            if sh.stat(&path).await?.is_none() {
                vms.push(vm.clone());
            }
        }
        Ok(vms)
    }

    async fn disks(&self, sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let vms = self.to_come(sh).await?;
        let whole: u64 = vms.iter().map(|vm| vm.disk_gib * GIB).sum();
        let pool = disk(sh, &self.pool).await?;
        let deploy = disk(sh, &self.deploy).await?;
        let unpacked = sh.stat(&format!("{}.d", self.deploy)).await?.is_some();
        let own = if unpacked || !self.artifact {
            0
        } else {
            DEPLOY_BYTES
        };
        let shared = pool.target == deploy.target;
        let beside = if shared { own } else { 0 };
        report.note = format!("{}, {} GiB free", report.note, pool.free / GIB);
        let least = whole * THIN_PERCENT / 100 + beside;
        let names: Vec<&str> = vms.iter().map(|vm| vm.name.as_str()).collect();
        if pool.free < least {
            report.error(
                "disk",
                format!(
                    "{} on {} has {} GiB free; the new disks of {} are {} GiB in all, of which {} GiB must be free to begin{}",
                    self.pool,
                    pool.target,
                    pool.free / GIB,
                    names.join(", "),
                    whole / GIB,
                    least.div_ceil(GIB),
                    if beside > 0 { ", artifact included" } else { "" }
                ),
                "free some space, point vms.pool to a larger file system, or make the disks smaller with vms.scale",
            );
        } else if pool.free < whole + beside {
            report.warn(
                "disk-thin",
                format!(
                    "the new disks of {} can grow to {} GiB, but {} has {} GiB free",
                    names.join(", "),
                    whole / GIB,
                    pool.target,
                    pool.free / GIB
                ),
                "watch the space, or point vms.pool to a larger file system: a full one stops every VM",
            );
        }
        if !shared && deploy.free < own {
            report.error(
                "disk-deploy",
                format!(
                    "{} on {} has {} GiB free; artifact and working files need {} GiB",
                    self.deploy,
                    deploy.target,
                    deploy.free / GIB,
                    own / GIB
                ),
                "free some space, or point deploy_dir to a larger file system",
            );
        }
        Ok(())
    }
}

/// The file system that a path is, or will be, on.
async fn disk(sh: Shell<'_>, path: &str) -> Result<Disk, Failure> {
    let path = existing(sh, path).await?;
    let df = Cmd::new(["df", "-B1", "--output=avail,target", &path]);
    let text = sh.ok(&df).await?.text();
    let line = text.lines().nth(1).unwrap_or_default().trim();
    let (free, target) = line.split_once(' ').unwrap_or((line, "/"));
    Ok(Disk {
        target: target.trim().to_owned(),
        free: free.parse().unwrap_or(0),
    })
}

impl Check for PreflightResources {
    const NAME: &'static str = "preflight.resources/1";
    const ABOUT: About = About {
        purpose: "The machine can hold the VMs; if it cannot, it says which ones and what is missing.",
        probe: "Reads memory, processors, `/dev/kvm` and the free space below pool and deploy directory; existing disks count as theirs.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!(
            "check memory, processors and disks for {} VMs",
            self.vms.len()
        )
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let mut report = Report::default();
        self.memory(sh, &mut report).await?;
        self.processors(sh, &mut report).await?;
        self.kvm(sh, &mut report).await?;
        self.disks(sh, &mut report).await?;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_without_room_are_named_in_order() {
        let vm = |name: &str, memory_mib| VmSize {
            name: name.to_owned(),
            vcpus: 1,
            memory_mib,
            disk_gib: 1,
        };
        let vms = [vm("a", 4), vm("b", 9), vm("c", 9), vm("d", 2)];
        assert_eq!(without_room(&vms, 16, |vm| vm.memory_mib), ["c"]);
        assert_eq!(without_room(&vms, 0, |vm| vm.memory_mib).len(), 4);
        assert_eq!(gib(12_800), "12.5 GiB");
    }
}
