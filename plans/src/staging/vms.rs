//! The virtual machines: host keys, and the five steps of each.

use wiab_engine::id::StepId;
use wiab_steps::kind::Handle;
use wiab_steps::kinds::cloudinit_seed::CloudinitSeed;
use wiab_steps::kinds::image_base::ImageBase;
use wiab_steps::kinds::libvirt_domain::LibvirtDomain;
use wiab_steps::kinds::libvirt_domain_running::LibvirtDomainRunning;
use wiab_steps::kinds::qcow2_overlay::Qcow2Overlay;
use wiab_steps::kinds::ssh_host_keys::SshHostKeys;
use wiab_steps::kinds::ssh_keypair::SshKeypair;
use wiab_steps::kinds::vm_ready::VmReady;

use crate::machines::Machine;

use super::{Anchor, Fleet, Ground, Made, Reached, Staging, after};

impl Staging<'_> {
    pub(super) fn host_key_path(&self, machine: &Machine) -> String {
        self.in_deploy(&format!("ssh/host/{}_ed25519", machine.name))
    }

    pub(super) fn host_keys(&mut self, after: &[&dyn AsRef<StepId>]) -> Vec<Handle<SshHostKeys>> {
        let machines = self.machines.clone();
        let keys = machines.iter().map(|machine| {
            let key = SshHostKeys {
                path: self.host_key_path(machine),
                vm: machine.name.clone(),
            };
            self.plan
                .add(&format!("ssh.hostkey:{}", machine.name), after, &key)
        });
        keys.collect()
    }

    /// The VMs, as soon as they answer.
    pub(super) fn reached(&mut self, ground: &Ground) -> Vec<Reached> {
        let machines = self.machines.clone();
        match &ground.fleet {
            Fleet::Existing(adopted) => self.adopted_machines(adopted),
            Fleet::Made(made) => {
                let ready = machines
                    .iter()
                    .enumerate()
                    .filter_map(|(index, machine)| self.vm(machine, index, ground, made));
                ready
                    .map(|ready| Reached {
                        step: Anchor(ready.id().clone()),
                        ip: ready.output(&VmReady::IP),
                        iface: ready.output(&VmReady::IFACE),
                    })
                    .collect()
            }
        }
    }

    /// The five steps of one VM.
    fn vm(
        &mut self,
        machine: &Machine,
        index: usize,
        ground: &Ground,
        made: &Made,
    ) -> Option<Handle<VmReady>> {
        let (name, vms) = (machine.name.as_str(), &self.settings.vms);
        let host_key = made.host_keys.get(index)?;
        let seed = CloudinitSeed {
            vm: name.to_owned(),
            domain: self.settings.network.domain.clone(),
            dir: self.in_deploy(&format!("nocloud/{name}")),
            iso: self.in_pool(&format!("wiab-seed-{name}.iso")),
            user: self.settings.user.clone(),
            user_key: ground.key.output(&SshKeypair::PUBLIC),
            host_key_path: self.host_key_path(machine),
            host_key_public: host_key.output(&SshHostKeys::PUBLIC),
            mac: machine.mac.clone(),
        };
        let packages = ground.packages.as_ref();
        let seed = self.plan.add(
            &format!("vm.seed:{name}"),
            &after(packages, &[&ground.dirs, &made.pool]),
            &seed,
        );
        let disk = Qcow2Overlay {
            path: self.in_pool(&format!("{name}.qcow2")),
            base: made.image.output(&ImageBase::PATH),
            size_bytes: machine.disk_gib << 30,
        };
        let disk = self.plan.add(&format!("vm.disk:{name}"), &[], &disk);
        let domain = LibvirtDomain {
            name: name.to_owned(),
            installation: self.settings.name.clone(),
            virt_type: vms.virt_type,
            vcpus: machine.vcpus,
            memory_mib: machine.memory_mib,
            disk: disk.output(&Qcow2Overlay::PATH),
            seed: seed.output(&CloudinitSeed::ISO),
            network: self.settings.network.name.clone(),
            mac: machine.mac.clone(),
            tb_cache_mib: vms.tb_cache_mib,
        };
        let domain = self
            .plan
            .add(&format!("vm.define:{name}"), &[&ground.network], &domain);
        let running = LibvirtDomainRunning {
            name: name.to_owned(),
            shutdown_ms: vms.shutdown_timeout_s.saturating_mul(1_000),
        };
        let running = self
            .plan
            .add(&format!("vm.start:{name}"), &[&domain], &running);
        let ready = VmReady {
            vm: name.to_owned(),
            ip: machine.ip.clone(),
            user: self.settings.user.clone(),
            key_path: self.in_deploy("ssh/id_ed25519"),
            known_hosts: self.in_deploy("ssh/known_hosts"),
            deadline_ms: vms.ready_timeout_s.saturating_mul(1_000),
        };
        let after: [&dyn AsRef<StepId>; 3] = [&running, &ground.key, &made.known_hosts];
        Some(self.plan.add(&format!("vm.ready:{name}"), &after, &ready))
    }
}
