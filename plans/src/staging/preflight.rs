//! What is looked at before anything is changed: steps `pre.*`, before every other step.

use wiab_engine::id::StepId;
use wiab_engine::plan::Plan;
use wiab_steps::kind::Handle;
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::preflight::Check;
use wiab_steps::kinds::preflight::apt_lock::PreflightApt;
use wiab_steps::kinds::preflight::artifact_url::{Download, PreflightArtifactUrl};
use wiab_steps::kinds::preflight::clock::PreflightClock;
use wiab_steps::kinds::preflight::dns::PreflightDns;
use wiab_steps::kinds::preflight::firewall::PreflightFirewall;
use wiab_steps::kinds::preflight::net::PreflightNet;
use wiab_steps::kinds::preflight::os::PreflightOs;
use wiab_steps::kinds::preflight::resources::{PreflightResources, VmSize};

use super::Staging;

/// The area of these steps.
pub const PREFLIGHT: &str = "pre";

/// The names that clients use, below the domain.
pub const NAMES: [&str; 7] = [
    "nginz-https",
    "nginz-ssl",
    "webapp",
    "assets",
    "account",
    "teams",
    "sftd",
];

impl Staging<'_> {
    fn check<C: Check>(&mut self, name: &str, check: &C) {
        if !self.settings.preflight.skip.iter().any(|skip| skip == name) {
            self.plan.add(&format!("{PREFLIGHT}.{name}"), &[], check);
        }
    }

    pub(super) fn preflight(&mut self) {
        let settings = self.settings;
        self.check("inputs", &settings.identity());
        let user = settings.user.clone();
        self.check("os", &PreflightOs { user });
        self.check("resources", &self.resources());
        let net = PreflightNet {
            bridge: settings.network.bridge.clone(),
            address: settings.network.address.clone(),
            subnet: settings
                .net()
                .map(crate::ipv4::Net::cidr)
                .unwrap_or_default(),
            host_ip: settings.host_ip.clone(),
        };
        self.check("net", &net);
        self.check("firewall", &PreflightFirewall {});
        self.check("dns", &self.names(false));
        if let Some(urls) = self.downloads() {
            self.check("artifact-url", &urls);
        }
        self.check("clock", &PreflightClock {});
        if settings.host.install_packages {
            self.check("apt", &PreflightApt {});
        }
    }

    fn resources(&self) -> PreflightResources {
        let vms = self.machines.iter().map(|machine| VmSize {
            name: machine.name.clone(),
            vcpus: machine.vcpus,
            memory_mib: machine.memory_mib,
            disk_gib: machine.disk_gib,
        });
        PreflightResources {
            vms: vms.collect(),
            virt_type: self.settings.vms.virt_type,
            pool: self.settings.vms.pool.trim_end_matches('/').to_owned(),
            deploy: self.deploy.clone(),
            // Part of an installation, for trying the machines alone, does without the release.
            artifact: self.settings.vms.only.is_empty(),
        }
    }

    fn names(&self, tools_installed: bool) -> PreflightDns {
        let settings = self.settings;
        PreflightDns {
            domain: settings.domain.clone(),
            names: NAMES
                .map(|name| format!("{name}.{}", settings.domain))
                .to_vec(),
            host_ip: settings.host_ip.clone(),
            resolvers: settings.preflight.resolvers.clone(),
            tools_installed,
        }
    }

    fn downloads(&self) -> Option<PreflightArtifactUrl> {
        let image = ("cloud-image", self.settings.image.source.clone());
        let artifact = ("artifact", self.settings.artifact.source());
        let artifact = self.settings.vms.only.is_empty().then_some(artifact);
        let downloads: Vec<Download> = artifact
            .into_iter()
            .chain([image])
            .filter(|(_, url)| url.starts_with("https://"))
            .map(|(name, url)| Download {
                name: name.to_owned(),
                url,
                unpacked: name == "artifact",
            })
            .collect();
        (!downloads.is_empty()).then(|| PreflightArtifactUrl {
            downloads,
            into: self.deploy.clone(),
            done: self.in_deploy("release"),
        })
    }

    /// The tools that ask public name servers come with the packages: what could not be asked before is asked then.
    pub(super) fn names_again(&mut self, packages: &Handle<AptPackages>) {
        let settings = &self.settings.preflight;
        if settings.skip.iter().any(|skip| skip == "dns") || settings.resolvers.is_empty() {
            return;
        }
        let names = self.names(true);
        self.plan.add("host.dns", &[packages], &names);
    }
}

/// Makes every step that waits for nothing wait for the checks.
pub(super) fn before_all(plan: &mut Plan) {
    let checks: Vec<StepId> = plan
        .steps
        .iter()
        .map(|step| step.id.clone())
        .filter(|id| id.area() == PREFLIGHT)
        .collect();
    for step in &mut plan.steps {
        if step.after.is_empty() && step.id.area() != PREFLIGHT {
            step.after.clone_from(&checks);
        }
    }
}
