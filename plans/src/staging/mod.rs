//! The plan `wiab-staging`: the DAG of the installation, written with typed handles.

mod artifact;
mod certs;
mod charts;
mod cluster;
mod existing;
mod host;
mod inventory;
mod preflight;
mod secrets;
mod traffic;
mod vms;

use wiab_engine::id::StepId;
use wiab_engine::plan::Plan;
use wiab_steps::kind::{BuildError, Handle, Input, PlanBuilder};
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::dirs::{Dir, Dirs};
use wiab_steps::kinds::image_base::ImageBase;
use wiab_steps::kinds::release_checked::ReleaseChecked;
use wiab_steps::kinds::secrets_sealed::SecretsSealed;
use wiab_steps::kinds::ssh_host_keys::SshHostKeys;
use wiab_steps::kinds::ssh_keypair::SshKeypair;
use wiab_steps::kinds::ssh_known_hosts::{KnownHost, SshKnownHosts};
use wiab_steps::kinds::vms_adopted::VmsAdopted;

use wiab_steps::kinds::tool::Toolbox;
use wiab_steps::kinds::tool_image::ToolImage;

use crate::check::Problem;
use crate::machines::Machine;
use crate::settings::{PlanName, Provider, Settings};
use crate::site;

use self::artifact::Release;
use self::certs::CertGround;
use self::cluster::ClusterGround;
use self::traffic::Firewall;

pub use self::charts::{ChartNeeds, Charts, charts};
pub use self::preflight::{NAMES, PREFLIGHT};

/// Packages of the host. `dnsmasq-base` is only recommended by libvirt, which needs it for its networks; the package `dnsmasq`
/// is left out on purpose: it would start a second name server on port 53.
pub const PACKAGES: [&str; 14] = [
    "bind9-dnsutils",
    "bind9-host",
    "ca-certificates",
    "cloud-image-utils",
    "conntrack",
    "curl",
    "dnsmasq-base",
    "docker.io",
    "libvirt-clients",
    "libvirt-daemon-system",
    "nftables",
    "openssh-client",
    "qemu-system-x86",
    "qemu-utils",
];

/// Those of them that only the making of VMs needs.
const HYPERVISOR: [&str; 6] = [
    "cloud-image-utils",
    "dnsmasq-base",
    "libvirt-clients",
    "libvirt-daemon-system",
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

/// The lines of `.vm-env`. What a shell does not take in a name becomes `_`.
pub fn vm_env(machines: &[Machine]) -> String {
    let lines = machines.iter().map(|machine| {
        let name: String = machine
            .name
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        format!("export {name}_ip={}\n", machine.ip)
    });
    lines.collect()
}

/// What the VMs' steps need from the steps before them.
struct Ground {
    packages: Option<Handle<AptPackages>>,
    dirs: Handle<Dirs>,
    /// After it, the host has its interface towards the VMs.
    network: Anchor,
    key: Handle<SshKeypair>,
    fleet: Fleet,
    /// `None` when only some of the VMs are made, to try the machines alone.
    release: Option<artifact::Release>,
}

/// Where the VMs come from.
enum Fleet {
    /// They are made.
    Made(Box<Made>),
    /// They are there; this step has looked at them.
    Existing(Handle<VmsAdopted>),
}

/// What the making of VMs needs.
struct Made {
    known_hosts: Handle<SshKnownHosts>,
    host_keys: Vec<Handle<SshHostKeys>>,
    /// After it, the pool is there, and QEMU's user can reach it.
    pool: Anchor,
    image: Handle<ImageBase>,
}

/// A step that others come after, whatever its kind.
#[derive(Debug, Clone)]
struct Anchor(StepId);

impl AsRef<StepId> for Anchor {
    fn as_ref(&self) -> &StepId {
        &self.0
    }
}

/// A VM that answers: the step after which it does, its address, and the interface of its services.
struct Reached {
    step: Anchor,
    ip: Input<String>,
    iface: Input<String>,
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
        let reached = self.reached(&ground);
        let inventory = self.files(&ground, &reached);
        let firewall = self.firewall(&ground, &inventory);
        match &ground.release {
            Some(release) => self.system(&ground, release, &inventory, firewall.as_ref()),
            None => drop(self.secrets(&ground.dirs, None)),
        }
        self.hairpin(&ground);
        self.plan
    }

    /// What runs on the machines.
    fn system(
        &mut self,
        ground: &Ground,
        release: &Release,
        inventory: &Anchor,
        firewall: Option<&Firewall>,
    ) {
        let packages = ground.packages.as_ref();
        let tools = ToolImage {
            tree: release.tree(),
        };
        let tools = self
            .plan
            .add("img.wsd", &after(packages, &release.done()), &tools);
        let toolbox = Toolbox {
            image: tools.output(&ToolImage::IMAGE),
            tree: release.tree(),
            deploy: self.deploy.clone(),
        };
        let sealed = self.secrets(&ground.dirs, Some(&toolbox));
        let files = self.secret_files(&sealed);
        let cluster_ground = ClusterGround {
            tree: release.tree(),
            tools: &tools,
            apt_options: release.checked.output(&ReleaseChecked::APT_OPTIONS),
            sealed: sealed.output(&SecretsSealed::PATH),
            after: vec![
                inventory,
                &release.checked,
                &release.group_vars,
                &files.ansible,
            ],
        };
        let cluster = self.cluster(&cluster_ground);
        let rotated = files.rotated.as_ref();
        let rotated = rotated.and_then(|rotated| self.rotated_password(&cluster_ground, rotated));
        let ids = |steps: &[Handle<_>]| -> Vec<StepId> {
            steps.iter().map(|step| step.id().clone()).collect()
        };
        let needs = ChartNeeds {
            tools: toolbox.clone(),
            artifact: release.name.clone(),
            values_dir: ground.dirs.id().clone(),
            cluster: cluster.verified.id().clone(),
            images: cluster
                .images
                .iter()
                .map(|step| step.id().clone())
                .collect(),
            data: ids(&cluster.data).into_iter().chain(rotated).collect(),
            secrets: files.helm,
            traffic: self.before_issuance(),
        };
        let charts = charts::charts(&mut self.plan, self.settings, &needs);
        self.traffic_verified(firewall, charts.controller.clone());
        let ground = CertGround {
            toolbox: &toolbox,
            charts: &charts,
            wan: firewall.map(|firewall| firewall.wan.clone()),
            firewall: firewall.map(|firewall| Anchor(firewall.health.id().clone())),
        };
        self.certs(&ground);
    }

    fn ground(&mut self) -> Ground {
        let forward = self.forward();
        let packages = self.packages(&forward);
        let dirs = self.dirs();
        let release = self.release(packages.as_ref(), &dirs);
        let key = SshKeypair {
            path: self.in_deploy("ssh/id_ed25519"),
            comment: format!("wiab-{}", self.settings.name),
        };
        let key = self
            .plan
            .add("ssh.key", &after(packages.as_ref(), &[&dirs]), &key);
        let (network, fleet) = match self.settings.vms.provider {
            Provider::Libvirt => {
                let network = self.network(packages.as_ref(), &forward);
                let made = self.made(packages.as_ref(), &dirs);
                (Anchor(network.id().clone()), Fleet::Made(Box::new(made)))
            }
            Provider::Existing => {
                let adopted = self.adopted(packages.as_ref(), &key);
                (Anchor(adopted.id().clone()), Fleet::Existing(adopted))
            }
        };
        Ground {
            packages,
            dirs,
            network,
            key,
            fleet,
            release,
        }
    }

    /// Everything that is made before the first VM.
    fn made(&mut self, packages: Option<&Handle<AptPackages>>, dirs: &Handle<Dirs>) -> Made {
        let host_keys = self.host_keys(&after(packages, &[dirs]));
        let hosts = self
            .machines
            .iter()
            .zip(&host_keys)
            .map(|(machine, handle)| KnownHost {
                names: vec![machine.name.clone(), machine.ip.clone()],
                public: handle.output(&SshHostKeys::PUBLIC),
            });
        let known_hosts = SshKnownHosts {
            path: self.in_deploy("ssh/known_hosts"),
            hosts: hosts.collect(),
        };
        let known_hosts = self.plan.add("ssh.known-hosts", &[dirs], &known_hosts);
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
        let pool = self.pool(packages);
        let image = self
            .plan
            .add("img.base", &after(packages, &[&pool]), &image);
        Made {
            known_hosts,
            host_keys,
            pool,
            image,
        }
    }
}
