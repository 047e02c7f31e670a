//! The plan `wiab-staging`: the DAG of the installation, written with typed handles.

mod artifact;
mod host;
mod inventory;
mod preflight;
mod traffic;
mod vms;

use wiab_engine::id::StepId;
use wiab_engine::plan::Plan;
use wiab_steps::kind::{BuildError, Handle, PlanBuilder};
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::dirs::{Dir, Dirs};
use wiab_steps::kinds::image_base::ImageBase;
use wiab_steps::kinds::libvirt_network::LibvirtNetwork;
use wiab_steps::kinds::ssh_host_keys::SshHostKeys;
use wiab_steps::kinds::ssh_keypair::SshKeypair;
use wiab_steps::kinds::ssh_known_hosts::{KnownHost, SshKnownHosts};

use crate::check::Problem;
use crate::machines::Machine;
use crate::settings::{PlanName, Settings};
use crate::site;

pub use self::preflight::{NAMES, PREFLIGHT};

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
        PlanName::WiabStaging | PlanName::Traffic | PlanName::Certificates => {
            Staging::new(settings).build()
        }
        PlanName::Steps => PlanBuilder::new("steps"),
    };
    for step in &settings.steps {
        plan.push(site::spec(step)?);
    }
    let mut plan = plan.finish()?;
    preflight::before_all(&mut plan);
    Ok(plan)
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
    /// `None` when only some of the VMs are made, to try the machines alone.
    release: Option<artifact::Release>,
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
        self.preflight();
        let ground = self.ground();
        let mut ready = Vec::new();
        for (index, machine) in self.machines.clone().iter().enumerate() {
            ready.extend(self.vm(machine, index, &ground));
        }
        let inventory = self.files(&ground, &ready);
        self.firewall(&ground, &inventory);
        self.hairpin(&ground);
        self.plan
    }

    fn ground(&mut self) -> Ground {
        let forward = self.forward();
        let packages = self.packages(&forward);
        let dirs = self.dirs();
        self.secrets(&dirs);
        let release = self.release(packages.as_ref(), &dirs);
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
            release,
        }
    }
}
