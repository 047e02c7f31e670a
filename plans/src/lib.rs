//! The WIAB staging plan as data: which steps, in which order, with which inputs.

mod artifact;
mod chart_check;
mod check;
mod existing;
mod identity;
mod ipv4;
mod machines;
mod settings;
mod site;
mod staging;
mod traffic;

pub use artifact::{ARTIFACT_HASH, ArtifactSettings};
pub use check::Problem;
pub use machines::{MACHINES, Machine, Role, Row};
pub use settings::{
    CertSettings, ChartSettings, CommandLine, Cure, Duration, Hairpin, HairpinAfter, HairpinPolicy,
    HostSettings, ImageSettings, KubernetesSettings, MachineSettings, NetworkSettings, PlanName,
    PreflightSettings, Provider, REHEARSAL, Rotation, Settings, SiteStep, VmSettings,
};
pub use wiab_steps::kinds::images_seeded::Acmesolver;
pub use wiab_steps::kinds::libvirt_domain::VirtType;

pub use staging::{
    ChartNeeds, Charts, NAMES, PACKAGES, PREFLIGHT, StagingError, charts, vm_env, wiab_staging,
};
pub use traffic::TrafficSettings;
