//! VMs of somebody's own hypervisor: one step looks at all of them and pins their host keys; nothing is made.

use std::collections::BTreeMap;

use wiab_steps::kind::{Handle, Input};
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::fleet::FleetHost;
use wiab_steps::kinds::login::{Account, Login};
use wiab_steps::kinds::ssh_keypair::SshKeypair;
use wiab_steps::kinds::vms_adopted::VmsAdopted;
use wiab_steps::values::inventory;

use crate::machines::{Machine, Role};
use crate::settings::{MachineSettings, Provider};

use super::{Anchor, Reached, Staging, after};

/// The usual port of ssh.
const SSH_PORT: u16 = 22;

/// The role as the inventory calls it.
pub(super) fn role(role: Role) -> inventory::Role {
    match role {
        Role::Asset => inventory::Role::Asset,
        Role::Kube => inventory::Role::Kube,
        Role::Data => inventory::Role::Data,
    }
}

impl Staging<'_> {
    /// The settings of an existing machine.
    pub(super) fn own(&self, machine: &Machine) -> Option<&MachineSettings> {
        let vms = &self.settings.vms;
        let own = vms.machines.get(&machine.name);
        own.filter(|_| vms.provider == Provider::Existing)
    }

    /// How the VMs are logged in to.
    pub(super) fn login(&self) -> Login {
        let mut accounts = BTreeMap::new();
        for machine in &self.machines {
            let Some(own) = self.own(machine) else {
                continue;
            };
            if own.user.is_some() || own.port.is_some() {
                let user = own.user.as_ref().unwrap_or(&self.settings.user).clone();
                let port = own.port.unwrap_or(SSH_PORT);
                accounts.insert(machine.ip.clone(), Account { user, port });
            }
        }
        Login {
            user: self.settings.user.clone(),
            key_path: self.in_deploy("ssh/id_ed25519"),
            known_hosts: self.in_deploy("ssh/known_hosts"),
            accounts,
        }
    }

    pub(super) fn adopted(
        &mut self,
        packages: Option<&Handle<AptPackages>>,
        key: &Handle<SshKeypair>,
    ) -> Handle<VmsAdopted> {
        let mut host_keys = BTreeMap::new();
        let mut hosts = Vec::new();
        for machine in &self.machines {
            let own = self.own(machine);
            if let Some(host_key) = own.and_then(|own| own.host_key.clone()) {
                host_keys.insert(machine.name.clone(), host_key);
            }
            hosts.push(FleetHost {
                name: machine.name.clone(),
                role: role(machine.role),
                ip: machine.ip.clone(),
                interface: own.and_then(|own| own.interface.clone()),
            });
        }
        let adopted = VmsAdopted {
            login: self.login(),
            hosts,
            host_keys,
            bridge: self.settings.network.bridge.clone(),
        };
        self.plan
            .add("vms.adopt", &after(packages, &[key]), &adopted)
    }

    pub(super) fn adopted_machines(&self, adopted: &Handle<VmsAdopted>) -> Vec<Reached> {
        let machines = self.machines.iter().map(|machine| Reached {
            step: Anchor(adopted.id().clone()),
            ip: Input::Value(machine.ip.clone()),
            iface: adopted.output(&VmsAdopted::IFACE),
        });
        machines.collect()
    }
}
