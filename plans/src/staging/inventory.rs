//! What others read about the machines: `/etc/hosts`, the inventory, `.vm-env`; and whether it is true.

use wiab_engine::id::StepId;
use wiab_steps::kinds::file::File;
use wiab_steps::kinds::file_block::FileBlock;
use wiab_steps::kinds::inventory::{Inventory, InventoryHost};
use wiab_steps::kinds::inventory_checked::InventoryChecked;
use wiab_steps::kinds::vms_adopted::VmsAdopted;

use super::artifact::Release;
use super::existing::role;
use super::{After, Anchor, Fleet, Ground, Reached, Staging, vm_env};

impl Staging<'_> {
    /// Answers the step after which the addresses are known to be right.
    pub(super) fn files(&mut self, ground: &Ground, reached: &[Reached]) -> Anchor {
        let docker = self.docker_user(ground);
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
        let release = ground.release.as_ref();
        let inventory = release.map(|release| {
            let way = docker.as_ref();
            self.inventory(ground, reached, release, way)
        });
        let env = File {
            path: self.in_deploy(".vm-env"),
            content: vm_env(&self.machines),
            mode: 0o644,
            owner: None,
            root: false,
            replace: true,
        };
        let mut after: After<'_> = vec![&ground.dirs];
        after.extend(reached.iter().map(|one| &one.step as &dyn AsRef<StepId>));
        let env = self.plan.add("inv.vm-env", &after, &env);
        inventory.unwrap_or_else(|| Anchor(env.id().clone()))
    }

    /// `way` is the step after which the machines reach each other.
    fn inventory(
        &mut self,
        ground: &Ground,
        reached: &[Reached],
        release: &Release,
        way: Option<&Anchor>,
    ) -> Anchor {
        let path = self.in_deploy("ansible/inventory/offline/inventory.yml");
        let mut hosts = Vec::new();
        for (machine, one) in self.machines.iter().zip(reached) {
            let own = self.own(machine);
            let Ok(name) = machine.name.parse() else {
                continue;
            };
            hosts.push(InventoryHost {
                name,
                role: role(machine.role),
                ip: one.ip.clone(),
                iface: one.iface.clone(),
                user: own.and_then(|own| own.user.clone()),
                port: own.and_then(|own| own.port),
            });
        }
        let mtu = match &ground.fleet {
            Fleet::Existing(adopted) => Some(adopted.output(&VmsAdopted::MTU)),
            Fleet::Made(_) => None,
        };
        let inventory = Inventory {
            path: path.clone(),
            tree: release.tree(),
            user: self.settings.user.clone(),
            key_file: "ssh/id_ed25519".to_owned(),
            known_hosts: "ssh/known_hosts".to_owned(),
            hosts,
            mtu,
            overlay: self.settings.overlays.get("inventory").cloned(),
        };
        let written = self
            .plan
            .add("inv.write", &[&ground.dirs, &release.checked], &inventory);
        let checked = InventoryChecked {
            inventory: path,
            names: self
                .machines
                .iter()
                .map(|machine| machine.name.clone())
                .collect(),
            login: self.login(),
        };
        let mut after: After<'_> = vec![&written, &ground.key];
        after.extend(way.map(|step| step as &dyn AsRef<StepId>));
        let checked = self.plan.add("inv.check", &after, &checked);
        Anchor(checked.id().clone())
    }
}
