//! The seven VMs: their usual sizes, addresses and MACs, and what the settings make of them.

use serde::{Deserialize, Serialize};

use crate::existing;
use crate::settings::{MachineSettings, Provider, Settings};

/// What a VM is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves packages and images.
    Asset,
    /// A Kubernetes node.
    Kube,
    /// A node of the databases.
    Data,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Name.
    pub name: &'static str,
    /// What it is for.
    pub role: Role,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in GiB.
    pub disk_gib: u64,
    /// Last number of its address; in decimal digits also the end of its MAC.
    pub host: u8,
}

/// Processors, memory in MiB and disk in GiB.
pub(crate) const fn sizes(role: Role) -> (u32, u64, u64) {
    match role {
        Role::Asset => (2, 4_096, 100),
        Role::Kube => (5, 9_216, 150),
        Role::Data => (4, 8_192, 100),
    }
}

const fn row(name: &'static str, role: Role, host: u8) -> Row {
    let (vcpus, memory_mib, disk_gib) = sizes(role);
    Row {
        name,
        role,
        vcpus,
        memory_mib,
        disk_gib,
        host,
    }
}

/// The seven VMs, in the order of `.vm-env`.
pub const MACHINES: [Row; 7] = [
    row("assethost", Role::Asset, 10),
    row("kubenode1", Role::Kube, 21),
    row("kubenode2", Role::Kube, 22),
    row("kubenode3", Role::Kube, 23),
    row("datanode1", Role::Data, 31),
    row("datanode2", Role::Data, 32),
    row("datanode3", Role::Data, 33),
];

/// Least memory of a VM, in MiB.
const MEMORY_MIB_MIN: u64 = 128;
/// Least disk of a scaled VM, in GiB: the base image must fit.
const DISK_GIB_MIN: u64 = 4;

/// A VM as it will be built, or as it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in GiB.
    pub disk_gib: u64,
    /// IPv4 address.
    pub ip: String,
    /// MAC address, lower case; empty for a VM that is given.
    pub mac: String,
}

fn default_ip(settings: &Settings, host: u8) -> String {
    let network = settings.network.address.rsplit_once('.');
    network.map_or_else(String::new, |(head, _)| format!("{head}.{host}"))
}

fn machine(settings: &Settings, row: &Row) -> Machine {
    let none = MachineSettings::default();
    let own = settings.vms.machines.get(row.name).unwrap_or(&none);
    let scale = settings.vms.scale;
    let scaled = |amount: u64| amount.saturating_mul(u64::from(scale)).div_ceil(100);
    Machine {
        name: row.name.to_owned(),
        role: row.role,
        vcpus: own
            .vcpus
            .unwrap_or_else(|| row.vcpus.saturating_mul(scale).div_ceil(100).max(1)),
        memory_mib: own
            .memory_mib
            .unwrap_or_else(|| scaled(row.memory_mib).max(MEMORY_MIB_MIN)),
        disk_gib: own
            .disk_gib
            .unwrap_or_else(|| scaled(row.disk_gib).max(DISK_GIB_MIN)),
        ip: own
            .ip
            .clone()
            .unwrap_or_else(|| default_ip(settings, row.host)),
        mac: own.mac.as_ref().map_or_else(
            || format!("52:54:00:57:00:{}", row.host),
            |mac| mac.to_lowercase(),
        ),
    }
}

impl Settings {
    /// The VMs, in the order of the table: packages and images, Kubernetes, data.
    pub fn machines(&self) -> Vec<Machine> {
        if self.vms.provider == Provider::Existing {
            return existing::machines(self);
        }
        let only = &self.vms.only;
        MACHINES
            .iter()
            .filter(|row| only.is_empty() || only.iter().any(|name| name == row.name))
            .map(|row| machine(self, row))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_known_totals() {
        let machines = Settings::default().machines();
        assert_eq!(machines.len(), 7);
        assert_eq!(machines.iter().map(|m| m.vcpus).sum::<u32>(), 29);
        assert_eq!(machines.iter().map(|m| m.memory_mib).sum::<u64>(), 56_320);
        assert_eq!(machines.iter().map(|m| m.disk_gib).sum::<u64>(), 850);
        assert_eq!(machines[0].ip, "192.168.122.10");
        assert_eq!(machines[6].mac, "52:54:00:57:00:33");
    }

    #[test]
    fn scale_and_own_sizes_apply() {
        let mut settings = Settings::default();
        settings.vms.scale = 12;
        settings.vms.only = vec!["kubenode1".to_owned(), "assethost".to_owned()];
        let own = MachineSettings {
            memory_mib: Some(777),
            ..MachineSettings::default()
        };
        settings.vms.machines.insert("kubenode1".to_owned(), own);
        let machines = settings.machines();
        let names: Vec<&str> = machines.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["assethost", "kubenode1"]);
        assert_eq!((machines[0].vcpus, machines[0].memory_mib), (1, 492));
        assert_eq!((machines[1].memory_mib, machines[1].disk_gib), (777, 18));
    }
}
