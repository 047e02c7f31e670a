//! The settings that a configuration file fills: plain data with defaults, checked by [`Settings::problems`].

mod certs;
mod site_step;
mod vms;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wiab_steps::kinds::images_seeded::Acmesolver;
use wiab_steps::secrets::Name;

use crate::artifact::ArtifactSettings;
use crate::traffic::TrafficSettings;

pub use certs::{CertSettings, Cure, Hairpin, HairpinAfter, HairpinPolicy};
pub use site_step::{CommandLine, Duration, SiteStep};
pub use vms::{MachineSettings, Provider, VmSettings};

/// What has no default on a real machine, and what it is on the simulated one.
pub const REHEARSAL: [(&str, &str); 3] = [
    ("domain", "staging.example.org"),
    ("cert_email", "admin@staging.example.org"),
    ("host_ip", "203.0.113.10"),
];

/// Everything that decides the plan. Holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Name of the installation; marks what belongs to it on the host.
    pub name: String,
    /// Which plan is made.
    pub plan: PlanName,
    /// The domain of the installation: `wire.example.org`. Empty until it is told.
    pub domain: String,
    /// Mail address for the certificate authority. Empty until it is told.
    pub cert_email: String,
    /// IPv4 address that the names of the domain point to. Empty until it is told.
    pub host_ip: String,
    /// The user that owns the deploy directory and logs in to the VMs.
    pub user: String,
    /// The deploy directory; without it, `wire-server-deploy` in the user's home.
    pub deploy_dir: Option<String>,
    /// Host packages and groups.
    pub host: HostSettings,
    /// What is looked at before anything is changed.
    pub preflight: PreflightSettings,
    /// The VMs' network.
    pub network: NetworkSettings,
    /// The VMs.
    pub vms: VmSettings,
    /// The base image.
    pub image: ImageSettings,
    /// The release.
    pub artifact: ArtifactSettings,
    /// The charts.
    pub charts: ChartSettings,
    /// The certificates.
    pub certs: CertSettings,
    /// The hairpin rule.
    pub hairpin: Hairpin,
    /// The Kubernetes nodes.
    pub kubernetes: KubernetesSettings,
    /// Texts of the operator's `values.d/NAME.yaml`, by name.
    pub overlays: BTreeMap<String, String>,
    /// The firewall.
    pub traffic: TrafficSettings,
    /// A rotation of secrets, which brings its steps into the plan. Not a setting of the file: a command asks for it.
    pub rotation: Option<Rotation>,
    /// Site-specific steps.
    #[serde(rename = "step")]
    pub steps: Vec<SiteStep>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "wiab".to_owned(),
            plan: PlanName::WiabStaging,
            domain: String::new(),
            cert_email: String::new(),
            host_ip: String::new(),
            user: "demo".to_owned(),
            deploy_dir: None,
            host: HostSettings::default(),
            preflight: PreflightSettings::default(),
            network: NetworkSettings::default(),
            vms: VmSettings::default(),
            image: ImageSettings::default(),
            artifact: ArtifactSettings::default(),
            charts: ChartSettings::default(),
            certs: CertSettings::default(),
            hairpin: Hairpin::default(),
            kubernetes: KubernetesSettings::default(),
            overlays: BTreeMap::new(),
            traffic: TrafficSettings::default(),
            rotation: None,
            steps: Vec::new(),
        }
    }
}

impl Settings {
    /// The defaults with what only an operator can tell, as it is on the simulated machine.
    pub fn rehearsal() -> Self {
        let [domain, cert_email, host_ip] = REHEARSAL.map(|(_, value)| value.to_owned());
        Self {
            domain,
            cert_email,
            host_ip,
            ..Self::default()
        }
    }

    /// The user's home.
    pub fn home(&self) -> String {
        match self.user.as_str() {
            "root" => "/root".to_owned(),
            user => format!("/home/{user}"),
        }
    }

    /// The deploy directory, without a trailing slash.
    pub fn deploy_dir(&self) -> String {
        match &self.deploy_dir {
            Some(dir) => dir.trim_end_matches('/').to_owned(),
            None => format!("{}/wire-server-deploy", self.home()),
        }
    }

    /// The directories through which QEMU's user must pass to the disk images, from the user's home, which is closed to
    /// others, to the pool; none if the pool is elsewhere.
    pub fn closed_dirs(&self) -> Vec<String> {
        let (home, pool) = (self.home(), self.vms.pool.trim_end_matches('/'));
        let inside = pool
            .strip_prefix(&home)
            .filter(|rest| rest.starts_with('/'));
        if inside.is_none() || self.vms.provider == Provider::Existing {
            return Vec::new();
        }
        let slashes = pool.char_indices().map(|(at, _)| at).chain([pool.len()]);
        let ends = slashes.filter(|at| *at >= home.len());
        let dirs = ends.filter_map(|at| {
            let (dir, rest) = pool.split_at_checked(at)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| dir.to_owned())
        });
        dirs.collect()
    }

    /// Whether a rotation gives a secret a new value.
    pub fn rotates(&self, name: Name) -> bool {
        let secrets = self.rotation.iter().flat_map(|rotation| &rotation.secrets);
        secrets.into_iter().any(|secret| secret == name.as_str())
    }

    /// The directory of unpacked releases, beside the deploy directory.
    pub fn releases_dir(&self) -> String {
        format!("{}.d", self.deploy_dir())
    }

    /// The file that holds the installation's secrets, the only one that does.
    pub fn sealed_path(&self) -> String {
        format!("{}/.wiab/secrets.toml", self.deploy_dir())
    }
}

/// The plans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanName {
    /// The installation, and the site's steps.
    #[default]
    WiabStaging,
    /// Of the installation, the firewall and what belongs to it.
    Traffic,
    /// Of the installation, the certificates and what they need.
    Certificates,
    /// The site's steps alone.
    Steps,
}

impl PlanName {
    /// The areas and steps of the installation that the plan consists of; empty means all of it.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::WiabStaging | Self::Steps => &[],
            Self::Traffic => &["fw"],
            Self::Certificates => &["hp", "egress", "cert", "e2e"],
        }
    }
}

/// A rotation of secrets: new values for the named ones, once per label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Its name: letters, digits, `-`.
    pub label: String,
    /// The secrets, as the sealed set names them.
    pub secrets: Vec<String>,
}

impl Rotation {
    /// The areas and steps of the installation that a rotation consists of.
    pub const WORDS: &'static [&'static str] =
        &["rot", "sec.render-helm", "helm.wire-server", "helm.coturn"];
}

/// `[host]`: what the host itself needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostSettings {
    /// Whether missing packages are installed.
    pub install_packages: bool,
    /// Packages besides those that wiab needs.
    pub extra_packages: Vec<String>,
    /// Whether a rollback leaves the packages.
    pub keep_packages: bool,
    /// Groups that the user becomes a member of.
    pub groups: Vec<String>,
    /// Whether all packages of the host are upgraded first; there is no way back from that.
    pub dist_upgrade: bool,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            install_packages: true,
            extra_packages: Vec::new(),
            keep_packages: false,
            groups: vec!["kvm".to_owned(), "libvirt".to_owned()],
            dist_upgrade: false,
        }
    }
}

/// `[preflight]`: what is looked at before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreflightSettings {
    /// Checks that are left out, by name.
    pub skip: Vec<String>,
    /// Addresses of public name servers that are asked besides the host's own; none for an installation that is not to be
    /// found on the internet.
    pub resolvers: Vec<String>,
}

impl Default for PreflightSettings {
    fn default() -> Self {
        Self {
            skip: Vec::new(),
            resolvers: ["1.1.1.1", "9.9.9.9"].map(str::to_owned).to_vec(),
        }
    }
}

/// `[network]`: the VMs' network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// Name in libvirt.
    pub name: String,
    /// Bridge.
    pub bridge: String,
    /// The host's address on it.
    pub address: String,
    /// Length of the network prefix in bits.
    pub prefix: u8,
    /// First address handed out dynamically.
    pub range_start: String,
    /// Last address handed out dynamically.
    pub range_end: String,
    /// Whether libvirt's network `default` is removed first.
    pub remove_default: bool,
    /// Domain of the VMs' names.
    pub domain: String,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            name: "wirebox".to_owned(),
            bridge: "virbr0".to_owned(),
            address: "192.168.122.1".to_owned(),
            prefix: 24,
            range_start: "192.168.122.100".to_owned(),
            range_end: "192.168.122.240".to_owned(),
            remove_default: true,
            domain: "wiab.internal".to_owned(),
        }
    }
}

/// `[image]`: the base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageSettings {
    /// An absolute path on the host, or an `https://` URL.
    pub source: String,
    /// SHA-256; without it, that of the first download is kept.
    pub sha256: Option<String>,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            source: "https://cloud-images.ubuntu.com/jammy/current/jammy-server-cloudimg-amd64.img"
                .to_owned(),
            sha256: None,
        }
    }
}

/// `[charts]`: what is installed into the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChartSettings {
    /// Charts that are left out.
    pub skip: Vec<String>,
    /// The chart that sends mail: `smtp` relays it, `demo-smtp` is for trying.
    pub smtp: String,
    /// Whether calls are possible: the conference server and the TURN server are installed.
    pub calling: bool,
    /// Whether smallstep-accomp is installed; later releases do not have it.
    pub smallstep_accomp: bool,
    /// How long the pods of a chart may take, in seconds.
    pub timeout_s: u64,
}

impl Default for ChartSettings {
    fn default() -> Self {
        Self {
            skip: Vec::new(),
            smtp: "smtp".to_owned(),
            calling: true,
            smallstep_accomp: false,
            timeout_s: 900,
        }
    }
}

/// `[kubernetes]`: the Kubernetes nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesSettings {
    /// Whether a release without the image that answers the certificate authority's challenges will do.
    pub acmesolver: Acmesolver,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deploy_directory_follows_the_user() {
        let mut settings = Settings::default();
        assert_eq!(settings.deploy_dir(), "/home/demo/wire-server-deploy");
        settings.user = "root".to_owned();
        assert_eq!(settings.deploy_dir(), "/root/wire-server-deploy");
        settings.deploy_dir = Some("/srv/wire/".to_owned());
        assert_eq!(settings.deploy_dir(), "/srv/wire");
    }

    #[test]
    fn an_empty_document_means_the_defaults() {
        let settings: Settings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, Settings::default());
        assert!(serde_json::from_str::<Settings>(r#"{"vms":{"scael":1}}"#).is_err());
    }
}
