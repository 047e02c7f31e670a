//! What others read about the machines: `/etc/hosts`, the inventory, `.vm-env`.

use wiab_engine::id::StepId;
use wiab_steps::kind::Handle;
use wiab_steps::kinds::file::File;
use wiab_steps::kinds::file_block::FileBlock;
use wiab_steps::kinds::inventory::{Inventory, InventoryHost};
use wiab_steps::kinds::vm_ready::VmReady;

use crate::machines::Role;

use super::{After, Ground, Staging, vm_env};

impl Staging<'_> {
    pub(super) fn files(
        &mut self,
        ground: &Ground,
        ready: &[Handle<VmReady>],
    ) -> Handle<Inventory> {
        let lines = self
            .machines
            .iter()
            .map(|machine| format!("{} {}", machine.ip, machine.name));
        let block = FileBlock {
            path: "/etc/hosts".to_owned(),
            name: self.settings.name.clone(),
            lines: lines.collect(),
        };
        self.plan.add("hosts.block", &[&ground.network], &block);
        let hosts = |role: Role| -> Vec<InventoryHost> {
            let all = self.machines.iter().zip(ready);
            all.filter(|(machine, _)| machine.role == role)
                .map(|(machine, handle)| InventoryHost {
                    name: machine.name.to_owned(),
                    ip: handle.output(&VmReady::IP),
                    iface: handle.output(&VmReady::IFACE),
                })
                .collect()
        };
        let inventory = Inventory {
            path: self.in_deploy("ansible/inventory/offline/inventory.yml"),
            user: self.settings.user.clone(),
            key_file: "ssh/id_ed25519".to_owned(),
            known_hosts: "ssh/known_hosts".to_owned(),
            assethost: hosts(Role::Asset),
            kubenodes: hosts(Role::Kube),
            datanodes: hosts(Role::Data),
        };
        let inventory = self.plan.add("inv.write", &[&ground.dirs], &inventory);
        let env = File {
            path: self.in_deploy(".vm-env"),
            content: vm_env(&self.machines),
            mode: 0o644,
            owner: None,
            root: false,
            replace: true,
        };
        let mut after: After<'_> = vec![&ground.dirs];
        after.extend(ready.iter().map(|handle| handle as &dyn AsRef<StepId>));
        self.plan.add("inv.vm-env", &after, &env);
        inventory
    }
}
