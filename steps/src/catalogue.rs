//! The catalogue: every step kind by name, and how a stored step becomes a runnable one.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use wiab_engine::plan::StepSpec;
use wiab_engine::ports::{Step, Steps};

use crate::host::Host;
use crate::kind::{About, Kind};
use crate::kinds;

type Build = fn(Value, Arc<dyn Host>) -> Result<Arc<dyn Step>, serde_json::Error>;

/// A kind's entry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name and schema version.
    pub name: &'static str,
    /// What it is, from which `docs/steps.md` is made.
    pub about: About,
    build: Build,
}

const fn entry<K: Kind>() -> Entry {
    Entry {
        name: K::NAME,
        about: K::ABOUT,
        build: build::<K>,
    }
}

fn build<K: Kind + DeserializeOwned>(
    inputs: Value,
    host: Arc<dyn Host>,
) -> Result<Arc<dyn Step>, serde_json::Error> {
    Ok(serde_json::from_value::<K>(inputs)?.bind(host))
}

/// Every kind, in order of name.
pub const KINDS: &[Entry] = &[
    entry::<kinds::ansible_playbook::AnsiblePlaybook>(),
    entry::<kinds::apt_dist_upgrade::AptDistUpgrade>(),
    entry::<kinds::apt_packages::AptPackages>(),
    entry::<kinds::artifact_file::ArtifactFile>(),
    entry::<kinds::certs::calling_checked::CallingChecked>(),
    entry::<kinds::certs::cert_ready::CertReady>(),
    entry::<kinds::certs::cert_rehearsed::CertRehearsed>(),
    entry::<kinds::certs::cert_restored::CertRestored>(),
    entry::<kinds::certs::cert_saved::CertSaved>(),
    entry::<kinds::cert_manager_ready::CertManagerReady>(),
    entry::<kinds::chart_values::ChartValues>(),
    entry::<kinds::cloudinit_seed::CloudinitSeed>(),
    entry::<kinds::cluster_verified::ClusterVerified>(),
    entry::<kinds::command::Command>(),
    entry::<kinds::data_verified::DataVerified>(),
    entry::<kinds::dirs::Dirs>(),
    entry::<kinds::docker_user::DockerUser>(),
    entry::<kinds::file_block::FileBlock>(),
    entry::<kinds::file::File>(),
    entry::<kinds::certs::hairpin_needed::HairpinNeeded>(),
    entry::<kinds::certs::hairpin_rpfilter::HairpinRpfilter>(),
    entry::<kinds::helm_release::HelmRelease>(),
    entry::<kinds::host_acl::HostAcl>(),
    entry::<kinds::host_groups::HostGroups>(),
    entry::<kinds::certs::https_answers::HttpsAnswers>(),
    entry::<kinds::image_base::ImageBase>(),
    entry::<kinds::images_seeded::ImagesSeeded>(),
    entry::<kinds::inventory_checked::InventoryChecked>(),
    entry::<kinds::inventory::Inventory>(),
    entry::<kinds::kube_annotated::KubeAnnotated>(),
    entry::<kinds::kube_namespace::KubeNamespace>(),
    entry::<kinds::libvirt_domain_running::LibvirtDomainRunning>(),
    entry::<kinds::libvirt_domain::LibvirtDomain>(),
    entry::<kinds::libvirt_network_removed::LibvirtNetworkRemoved>(),
    entry::<kinds::libvirt_network::LibvirtNetwork>(),
    entry::<kinds::nft_check::NftCheck>(),
    entry::<kinds::nft_egress::NftEgress>(),
    entry::<kinds::nft_hairpin_removed::NftHairpinRemoved>(),
    entry::<kinds::nft_hairpin::NftHairpin>(),
    entry::<kinds::nft_health::NftHealth>(),
    entry::<kinds::nft_traffic::NftTraffic>(),
    entry::<kinds::postgresql_password::PostgresqlPassword>(),
    entry::<kinds::postgresql_secrets::PostgresqlSecrets>(),
    entry::<kinds::preflight::apt_lock::PreflightApt>(),
    entry::<kinds::preflight::artifact_url::PreflightArtifactUrl>(),
    entry::<kinds::preflight::clock::PreflightClock>(),
    entry::<kinds::preflight::dns::PreflightDns>(),
    entry::<kinds::preflight::firewall::PreflightFirewall>(),
    entry::<kinds::preflight::inputs::PreflightInputs>(),
    entry::<kinds::preflight::net::PreflightNet>(),
    entry::<kinds::preflight::os::PreflightOs>(),
    entry::<kinds::preflight::resources::PreflightResources>(),
    entry::<kinds::qcow2_overlay::Qcow2Overlay>(),
    entry::<kinds::release_checked::ReleaseChecked>(),
    entry::<kinds::group_vars::GroupVars>(),
    entry::<kinds::release_tree::ReleaseTree>(),
    entry::<kinds::secrets_rendered::SecretsRendered>(),
    entry::<kinds::secrets_rotated::SecretsRotated>(),
    entry::<kinds::secrets_sealed::SecretsSealed>(),
    entry::<kinds::service_off::ServiceOff>(),
    entry::<kinds::ssh_host_keys::SshHostKeys>(),
    entry::<kinds::ssh_keypair::SshKeypair>(),
    entry::<kinds::ssh_known_hosts::SshKnownHosts>(),
    entry::<kinds::sysctl::Sysctl>(),
    entry::<kinds::tool_image::ToolImage>(),
    entry::<kinds::traffic_verified::TrafficVerified>(),
    entry::<kinds::certs::turn_listens::TurnListens>(),
    entry::<kinds::vm_ready::VmReady>(),
    entry::<kinds::vms_adopted::VmsAdopted>(),
];

/// The kinds, bound to one host.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The host.
    pub host: Arc<dyn Host>,
}

impl Catalogue {
    /// Binds the kinds to a host.
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self { host }
    }
}

impl Steps for Catalogue {
    fn build(&self, spec: &StepSpec, inputs: Value) -> Result<Arc<dyn Step>, String> {
        let Some(entry) = KINDS.iter().find(|entry| entry.name == spec.kind) else {
            let known = KINDS.iter().map(|entry| entry.name);
            let near = wiab_engine::text::nearest(&spec.kind, known);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(format!(
                "step `{}` is of kind `{}`, which this version of wiab does not know{hint}",
                spec.id, spec.kind
            ));
        };
        (entry.build)(inputs, Arc::clone(&self.host)).map_err(|error| {
            format!(
                "step `{}` has inputs that kind `{}` does not accept: {error}",
                spec.id, spec.kind
            )
        })
    }
}
