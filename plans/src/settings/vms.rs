//! The section `[vms]`: where the VMs come from, and what differs from the usual ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wiab_steps::kinds::libvirt_domain::VirtType;

use crate::machines::Role;

/// `[vms]`: the VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VmSettings {
    /// Where they come from.
    pub provider: Provider,
    /// Percentage of the usual processors, memory and disks: 1 to 100.
    pub scale: u32,
    /// Only these VMs; empty means all seven.
    pub only: Vec<String>,
    /// Hardware support or emulation.
    pub virt_type: VirtType,
    /// Size of the emulator's code cache per VM in MiB, for `qemu` only.
    pub tb_cache_mib: Option<u32>,
    /// Directory of disk images.
    pub pool: String,
    /// How long a VM may take to become ready, in seconds.
    pub ready_timeout_s: u64,
    /// How long a VM may take to shut down, in seconds.
    pub shutdown_timeout_s: u64,
    /// Deviations of single VMs.
    pub machines: BTreeMap<String, MachineSettings>,
}

impl Default for VmSettings {
    fn default() -> Self {
        Self {
            provider: Provider::Libvirt,
            scale: 100,
            only: Vec::new(),
            virt_type: VirtType::Kvm,
            tb_cache_mib: None,
            pool: "/var/lib/libvirt/images".to_owned(),
            ready_timeout_s: 600,
            shutdown_timeout_s: 60,
            machines: BTreeMap::new(),
        }
    }
}

/// Where the VMs come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// wiab makes them with libvirt.
    #[default]
    Libvirt,
    /// They are there, on somebody's hypervisor: checked, never made, changed or removed.
    Existing,
}

/// `[vms.machines.NAME]`: what differs from the table; not scaled. With [`Provider::Existing`] this is the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MachineSettings {
    /// Virtual processors.
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Disk in GiB.
    pub disk_gib: Option<u64>,
    /// IPv4 address.
    pub ip: Option<String>,
    /// MAC address.
    pub mac: Option<String>,
    /// What an existing VM is for; known for the usual names.
    pub role: Option<Role>,
    /// Whom to log in to an existing VM as; the installation's user without it.
    pub user: Option<String>,
    /// Port of ssh of an existing VM.
    pub port: Option<u16>,
    /// Network interface of an existing VM's services; that of its address without it.
    pub interface: Option<String>,
    /// Host key of an existing VM, a line `ssh-ed25519 …` or its fingerprint `SHA256:…`; without it, the one of the first
    /// connection is trusted.
    pub host_key: Option<String>,
}
