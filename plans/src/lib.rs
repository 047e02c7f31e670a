//! The WIAB staging plan as data: which steps, in which order, with which inputs.

mod check;
mod existing;
mod identity;
mod ipv4;
mod machines;
mod settings;
mod site;
mod staging;
mod traffic;

pub use check::Problem;
pub use machines::{MACHINES, Machine, Role, Row};
pub use settings::{
    ARTIFACT_HASH, ArtifactSettings, CommandLine, Duration, Hairpin, HairpinPolicy, HostSettings,
    ImageSettings, MachineSettings, NetworkSettings, PlanName, PreflightSettings, Provider,
    REHEARSAL, Rotation, Settings, SiteStep, VmSettings,
};
pub use wiab_steps::kinds::libvirt_domain::VirtType;

pub use staging::{NAMES, PACKAGES, PREFLIGHT, StagingError, vm_env, wiab_staging};
pub use traffic::TrafficSettings;
