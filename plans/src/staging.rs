//! The plan `wiab-staging`: the DAG of the installation, written with typed handles.

use wiab_engine::id::StepId;
use wiab_engine::plan::Plan;
use wiab_steps::kind::{BuildError, Handle, PlanBuilder};
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::cloudinit_seed::CloudinitSeed;
use wiab_steps::kinds::dirs::{Dir, Dirs};
use wiab_steps::kinds::file::File;
use wiab_steps::kinds::file_block::FileBlock;
use wiab_steps::kinds::host_groups::HostGroups;
use wiab_steps::kinds::image_base::ImageBase;
use wiab_steps::kinds::inventory::{Inventory, InventoryHost};
use wiab_steps::kinds::libvirt_domain::LibvirtDomain;
use wiab_steps::kinds::libvirt_domain_running::LibvirtDomainRunning;
use wiab_steps::kinds::libvirt_network::{LibvirtNetwork, Reservation};
use wiab_steps::kinds::libvirt_network_removed::LibvirtNetworkRemoved;
use wiab_steps::kinds::nft_hairpin::NftHairpin;
use wiab_steps::kinds::nft_hairpin_removed::NftHairpinRemoved;
use wiab_steps::kinds::qcow2_overlay::Qcow2Overlay;
use wiab_steps::kinds::secrets_sealed::{AdoptFile, SecretsSealed};
use wiab_steps::kinds::ssh_host_keys::SshHostKeys;
use wiab_steps::kinds::ssh_keypair::SshKeypair;
use wiab_steps::kinds::ssh_known_hosts::{KnownHost, SshKnownHosts};
use wiab_steps::kinds::sysctl::{Setting, Sysctl};
use wiab_steps::kinds::vm_ready::VmReady;
use wiab_steps::secrets::Form;

use crate::check::Problem;
use crate::machines::{Machine, Role};
use crate::settings::{HairpinPolicy, PlanName, Settings};
use crate::site;

/// Packages of the host. `dnsmasq-base` is only recommended by libvirt, which needs it for its networks; the package `dnsmasq`
/// is left out on purpose: it would start a second name server on port 53.
pub const PACKAGES: [&str; 10] = [
    "ca-certificates",
    "cloud-image-utils",
    "curl",
    "dnsmasq-base",
    "libvirt-clients",
    "libvirt-daemon-system",
    "nftables",
    "openssh-client",
    "qemu-system-x86",
    "qemu-utils",
];

/// Why no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The settings are wrong.
    #[error("the settings have {} problems", .0.len())]
    Settings(Vec<Problem>),
    /// The steps do not form a plan: a malformed id, or an `after` that is dangling or cyclic.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The plan that the settings ask for.
pub fn wiab_staging(settings: &Settings) -> Result<Plan, StagingError> {
    let problems = settings.problems();
    if !problems.is_empty() {
        return Err(StagingError::Settings(problems));
    }
    let mut plan = match settings.plan {
        PlanName::WiabStaging => Staging::new(settings).build(),
        PlanName::Steps => PlanBuilder::new("steps"),
    };
    for step in &settings.steps {
        plan.push(site::spec(step)?);
    }
    Ok(plan.finish()?)
}

/// The lines of `.vm-env`.
pub fn vm_env(machines: &[Machine]) -> String {
    let lines = machines
        .iter()
        .map(|machine| ["export ", machine.name, "_ip=", &machine.ip, "\n"].concat());
    lines.collect()
}

/// What the VMs' steps need from the steps before them.
struct Ground {
    packages: Option<Handle<AptPackages>>,
    dirs: Handle<Dirs>,
    network: Handle<LibvirtNetwork>,
    key: Handle<SshKeypair>,
    known_hosts: Handle<SshKnownHosts>,
    host_keys: Vec<Handle<SshHostKeys>>,
    pool: Handle<Dirs>,
    image: Handle<ImageBase>,
}

struct Staging<'a> {
    settings: &'a Settings,
    machines: Vec<Machine>,
    deploy: String,
    plan: PlanBuilder,
}

/// The directories above `path`, from the top.
fn ancestors(path: &str) -> Vec<Dir> {
    let slashes = path.char_indices().skip(1).filter(|(_, c)| *c == '/');
    slashes
        .filter_map(|(at, _)| path.get(..at))
        .map(|path| Dir {
            path: path.to_owned(),
            mode: 0o755,
        })
        .collect()
}

type After<'a> = Vec<&'a dyn AsRef<StepId>>;

fn after<'a>(
    packages: Option<&'a Handle<AptPackages>>,
    rest: &[&'a dyn AsRef<StepId>],
) -> After<'a> {
    let packages = packages.map(|handle| handle as &dyn AsRef<StepId>);
    packages.into_iter().chain(rest.iter().copied()).collect()
}

impl<'a> Staging<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            machines: settings.machines(),
            deploy: settings.deploy_dir(),
            plan: PlanBuilder::new("wiab-staging"),
        }
    }

    fn in_deploy(&self, path: &str) -> String {
        format!("{}/{path}", self.deploy)
    }

    fn in_pool(&self, name: &str) -> String {
        format!("{}/{name}", self.settings.vms.pool.trim_end_matches('/'))
    }

    fn build(mut self) -> PlanBuilder {
        let ground = self.ground();
        let mut ready = Vec::new();
        for (index, machine) in self.machines.clone().iter().enumerate() {
            ready.extend(self.vm(machine, index, &ground));
        }
        self.files(&ground, &ready);
        self.hairpin(&ground);
        self.plan
    }

    fn ground(&mut self) -> Ground {
        let forward = self.forward();
        let packages = self.packages(&forward);
        let dirs = self.dirs();
        self.secrets(&dirs);
        let network = self.network(packages.as_ref(), &forward);
        let key = SshKeypair {
            path: self.in_deploy("ssh/id_ed25519"),
            comment: format!("wiab-{}", self.settings.name),
        };
        let key = self
            .plan
            .add("ssh.key", &after(packages.as_ref(), &[&dirs]), &key);
        let host_keys = self.host_keys(&after(packages.as_ref(), &[&dirs]));
        let hosts = self
            .machines
            .iter()
            .zip(&host_keys)
            .map(|(machine, handle)| KnownHost {
                names: vec![machine.name.to_owned(), machine.ip.clone()],
                public: handle.output(&SshHostKeys::PUBLIC),
            });
        let known_hosts = SshKnownHosts {
            path: self.in_deploy("ssh/known_hosts"),
            hosts: hosts.collect(),
        };
        let known_hosts = self.plan.add("ssh.known-hosts", &[&dirs], &known_hosts);
        let image = ImageBase {
            source: self.settings.image.source.clone(),
            sha256: self
                .settings
                .image
                .sha256
                .as_ref()
                .map(|digest| digest.to_lowercase()),
            pool: self.settings.vms.pool.clone(),
        };
        let pool = self.pool(packages.as_ref());
        let image = self
            .plan
            .add("img.base", &after(packages.as_ref(), &[&pool]), &image);
        Ground {
            packages,
            dirs,
            network,
            key,
            known_hosts,
            host_keys,
            pool,
            image,
        }
    }

    /// Every network that libvirt starts, its own `default` on installation included, turns forwarding on: what it was
    /// before must be captured before that.
    fn forward(&mut self) -> Handle<Sysctl> {
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

    fn packages(&mut self, forward: &Handle<Sysctl>) -> Option<Handle<AptPackages>> {
        let host = &self.settings.host;
        let packages = host.install_packages.then(|| {
            let mut names: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
            names.extend(host.extra_packages.iter().cloned());
            names.sort();
            names.dedup();
            let packages = AptPackages {
                packages: names,
                keep: host.keep_packages,
            };
            self.plan.add("host.packages", &[forward], &packages)
        });
        if !host.groups.is_empty() {
            let groups = HostGroups {
                user: self.settings.user.clone(),
                groups: host.groups.clone(),
            };
            self.plan
                .add("host.groups", &after(packages.as_ref(), &[]), &groups);
        }
        packages
    }

    fn dirs(&mut self) -> Handle<Dirs> {
        let mut dirs = ancestors(&self.deploy);
        for (path, mode) in [
            ("", 0o755),
            ("/ansible", 0o755),
            ("/ansible/inventory", 0o755),
            ("/ansible/inventory/offline", 0o755),
            ("/.wiab", 0o700),
            ("/ssh", 0o700),
            ("/ssh/host", 0o700),
            ("/nocloud", 0o700),
        ] {
            let path = format!("{}{path}", self.deploy);
            dirs.push(Dir { path, mode });
        }
        for machine in &self.machines {
            let path = self.in_deploy(&format!("nocloud/{}", machine.name));
            dirs.push(Dir { path, mode: 0o700 });
        }
        self.plan.add("host.dirs", &[], &Dirs { dirs, root: false })
    }

    /// Values that an earlier installation by hand already uses are adopted.
    fn secrets(&mut self, dirs: &Handle<Dirs>) {
        let file = |path: &str, form: Form| AdoptFile {
            path: self.in_deploy(path),
            form,
        };
        let wire_server = Form::WireServer {
            sms: false,
            background_worker_postgresql: false,
        };
        let sealed = SecretsSealed {
            path: self.settings.sealed_path(),
            adopt: vec![
                file(
                    "ansible/inventory/offline/group_vars/all/secrets.yaml",
                    Form::Ansible,
                ),
                file("values/wire-server/secrets.yaml", wire_server),
                file("values/coturn/secrets.yaml", Form::Coturn),
            ],
            cluster: None,
        };
        self.plan.add("sec.generate", &[dirs], &sealed);
    }

    /// Libvirt's own directory comes with its package; another one is made.
    fn pool(&mut self, packages: Option<&Handle<AptPackages>>) -> Handle<Dirs> {
        let path = self.settings.vms.pool.trim_end_matches('/').to_owned();
        let mut dirs = ancestors(&path);
        dirs.push(Dir { path, mode: 0o711 });
        let pool = Dirs { dirs, root: true };
        self.plan.add("img.pool", &after(packages, &[]), &pool)
    }

    fn network(
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
            name: machine.name.to_owned(),
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
        let mut after = after(packages, &[forward]);
        after.extend(removed.as_ref().map(|handle| handle as &dyn AsRef<StepId>));
        self.plan.add("net.wirebox", &after, &wirebox)
    }

    fn host_key_path(&self, machine: &Machine) -> String {
        self.in_deploy(&format!("ssh/host/{}_ed25519", machine.name))
    }

    fn host_keys(&mut self, after: &[&dyn AsRef<StepId>]) -> Vec<Handle<SshHostKeys>> {
        let machines = self.machines.clone();
        let keys = machines.iter().map(|machine| {
            let key = SshHostKeys {
                path: self.host_key_path(machine),
                vm: machine.name.to_owned(),
            };
            self.plan
                .add(&format!("ssh.hostkey:{}", machine.name), after, &key)
        });
        keys.collect()
    }

    /// The five steps of one VM.
    fn vm(&mut self, machine: &Machine, index: usize, ground: &Ground) -> Option<Handle<VmReady>> {
        let (name, vms) = (machine.name, &self.settings.vms);
        let host_key = ground.host_keys.get(index)?;
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
            &after(packages, &[&ground.dirs, &ground.pool]),
            &seed,
        );
        let disk = Qcow2Overlay {
            path: self.in_pool(&format!("{name}.qcow2")),
            base: ground.image.output(&ImageBase::PATH),
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
        let after: [&dyn AsRef<StepId>; 3] = [&running, &ground.key, &ground.known_hosts];
        Some(self.plan.add(&format!("vm.ready:{name}"), &after, &ready))
    }

    fn files(&mut self, ground: &Ground, ready: &[Handle<VmReady>]) {
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
        self.plan.add("inv.write", &[&ground.dirs], &inventory);
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
    }

    fn hairpin(&mut self, ground: &Ground) {
        let network = &self.settings.network;
        let packages = ground.packages.as_ref();
        match self.settings.hairpin.policy {
            HairpinPolicy::Off => {}
            HairpinPolicy::Remove => {
                let removed = NftHairpinRemoved {};
                self.plan.add("hp.removed", &after(packages, &[]), &removed);
            }
            HairpinPolicy::Add => {
                let filter = Sysctl {
                    file: "/etc/sysctl.d/60-wiab-hairpin.conf".to_owned(),
                    settings: vec![Setting {
                        key: format!("net.ipv4.conf.{}.rp_filter", network.bridge),
                        value: "2".to_owned(),
                        fine: vec!["0".to_owned(), "2".to_owned()],
                        max_with: Some("net.ipv4.conf.all.rp_filter".to_owned()),
                    }],
                };
                self.plan.add("hp.rpfilter", &[&ground.network], &filter);
                let hairpin = NftHairpin {
                    bridge: network.bridge.clone(),
                    subnet: self
                        .settings
                        .net()
                        .map(crate::ipv4::Net::cidr)
                        .unwrap_or_default(),
                };
                self.plan
                    .add("hp.snat", &after(packages, &[&ground.network]), &hairpin);
            }
        }
    }
}
