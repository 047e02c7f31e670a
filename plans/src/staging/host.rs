//! The host: forwarding, packages, groups, directories, secrets, the network of the VMs.

use wiab_engine::id::StepId;
use wiab_steps::kind::Handle;
use wiab_steps::kinds::apt_dist_upgrade::AptDistUpgrade;
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::dirs::{Dir, Dirs};
use wiab_steps::kinds::host_acl::HostAcl;
use wiab_steps::kinds::host_groups::HostGroups;
use wiab_steps::kinds::libvirt_network::{LibvirtNetwork, Reservation};
use wiab_steps::kinds::libvirt_network_removed::LibvirtNetworkRemoved;

use wiab_steps::kinds::service_off::ServiceOff;
use wiab_steps::kinds::sysctl::{Setting, Sysctl};

use crate::settings::Provider;

use super::{Anchor, HYPERVISOR, PACKAGES, Staging, after, ancestors};

/// The user that QEMU's processes run as; it comes with libvirt's package.
const QEMU: &str = "libvirt-qemu";

impl Staging<'_> {
    /// Every network that libvirt starts, its own `default` on installation included, turns forwarding on: what it was
    /// before must be captured before that.
    pub(super) fn forward(&mut self) -> Handle<Sysctl> {
        let forward = Sysctl {
            file: "/etc/sysctl.d/60-wiab.conf".to_owned(),
            settings: vec![Setting {
                key: "net.ipv4.ip_forward".to_owned(),
                value: "1".to_owned(),
                fine: Vec::new(),
                max_with: None,
            }],
        };
        self.plan.add("host.ip-forward", &[], &forward)
    }

    pub(super) fn packages(&mut self, forward: &Handle<Sysctl>) -> Option<Handle<AptPackages>> {
        let host = &self.settings.host;
        let existing = self.settings.vms.provider == Provider::Existing;
        let packages = host.install_packages.then(|| {
            let needed = |name: &&str| !existing || !HYPERVISOR.contains(name);
            let names = PACKAGES.iter().filter(|name| needed(name));
            let mut names: Vec<String> = names.map(|name| (*name).to_owned()).collect();
            names.extend(host.extra_packages.iter().cloned());
            if !self.settings.closed_dirs().is_empty() {
                names.push("acl".to_owned());
            }
            names.sort();
            names.dedup();
            let packages = AptPackages {
                packages: names,
                keep: host.keep_packages,
            };
            let upgraded = host.dist_upgrade.then(|| {
                let upgrade = AptDistUpgrade {};
                self.plan.add("host.dist-upgrade", &[forward], &upgrade)
            });
            let mut after: Vec<&dyn AsRef<StepId>> = vec![forward];
            after.extend(upgraded.as_ref().map(|handle| handle as &dyn AsRef<StepId>));
            let packages = self.plan.add("host.packages", &after, &packages);
            self.names_again(&packages);
            packages
        });
        // Without the packages of a hypervisor its groups do not exist.
        let missing = |group: &&String| existing && ["kvm", "libvirt"].contains(&group.as_str());
        let groups: Vec<String> = host
            .groups
            .iter()
            .filter(|group| !missing(group))
            .cloned()
            .collect();
        if !groups.is_empty() {
            let groups = HostGroups {
                user: self.settings.user.clone(),
                groups,
            };
            self.plan
                .add("host.groups", &after(packages.as_ref(), &[]), &groups);
        }
        packages
    }

    pub(super) fn dirs(&mut self) -> Handle<Dirs> {
        let mut dirs = ancestors(&self.deploy);
        for (path, mode) in [
            ("", 0o755),
            ("/ansible", 0o755),
            ("/ansible/inventory", 0o755),
            ("/ansible/inventory/offline", 0o755),
            ("/ansible/inventory/offline/group_vars", 0o755),
            ("/ansible/inventory/offline/group_vars/all", 0o755),
            ("/.wiab", 0o700),
            ("/.wiab/values", 0o700),
            ("/ssh", 0o700),
        ] {
            let path = format!("{}{path}", self.deploy);
            dirs.push(Dir { path, mode });
        }
        let path = self.settings.releases_dir();
        dirs.push(Dir { path, mode: 0o755 });
        let mut made = Vec::new();
        if self.settings.vms.provider == Provider::Libvirt {
            made.extend(["ssh/host".to_owned(), "nocloud".to_owned()]);
            let seeds = self.machines.iter();
            made.extend(seeds.map(|machine| format!("nocloud/{}", machine.name)));
        }
        dirs.extend(made.iter().map(|path| Dir {
            path: self.in_deploy(path),
            mode: 0o700,
        }));
        self.plan.add("host.dirs", &[], &Dirs { dirs, root: false })
    }

    /// Libvirt's own directory comes with its package; another one is made, and opened to QEMU's user if it is in the home.
    pub(super) fn pool(&mut self, packages: Option<&Handle<AptPackages>>) -> Anchor {
        let path = self.settings.vms.pool.trim_end_matches('/').to_owned();
        let mut dirs = ancestors(&path);
        dirs.push(Dir { path, mode: 0o711 });
        let pool = Dirs { dirs, root: true };
        let pool = self.plan.add("img.pool", &after(packages, &[]), &pool);
        let dirs = self.settings.closed_dirs();
        if dirs.is_empty() {
            return Anchor(pool.id().clone());
        }
        let acl = HostAcl {
            user: QEMU.to_owned(),
            dirs,
        };
        let acl = self.plan.add("host.acl", &after(packages, &[&pool]), &acl);
        Anchor(acl.id().clone())
    }

    pub(super) fn network(
        &mut self,
        packages: Option<&Handle<AptPackages>>,
        forward: &Handle<Sysctl>,
    ) -> Handle<LibvirtNetwork> {
        let network = &self.settings.network;
        let removed = network.remove_default.then(|| {
            let removed = LibvirtNetworkRemoved {
                name: "default".to_owned(),
            };
            self.plan
                .add("net.default-removed", &after(packages, &[]), &removed)
        });
        let reservations = self.machines.iter().map(|machine| Reservation {
            mac: machine.mac.clone(),
            name: machine.name.clone(),
            ip: machine.ip.clone(),
        });
        let wirebox = LibvirtNetwork {
            name: network.name.clone(),
            bridge: network.bridge.clone(),
            address: network.address.clone(),
            netmask: self
                .settings
                .net()
                .map(|net| net.netmask().to_string())
                .unwrap_or_default(),
            range_start: network.range_start.clone(),
            range_end: network.range_end.clone(),
            reservations: reservations.collect(),
        };
        // Only the package's service: libvirt runs a dnsmasq of its own on the bridge.
        let off = ServiceOff {
            unit: "dnsmasq".to_owned(),
            why: "the VMs' network needs port 53".to_owned(),
        };
        let off = self
            .plan
            .add("host.dnsmasq-off", &after(packages, &[]), &off);
        let mut after = after(packages, &[forward, &off]);
        after.extend(removed.as_ref().map(|handle| handle as &dyn AsRef<StepId>));
        self.plan.add("net.wirebox", &after, &wirebox)
    }
}
