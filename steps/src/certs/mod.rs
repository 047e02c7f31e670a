//! What Kubernetes says about certificates, and what its complaints mean: pure functions over JSON and texts.

mod chain;
mod classify;
mod signs;
mod time;

pub(crate) use chain::{Look, look};
pub use classify::{Cause, Diagnosis, classify};
pub(crate) use time::{openssl_time, parse_openssl, parse_utc, utc};

/// The issuer of the release's charts.
pub(crate) const ISSUER: &str = "letsencrypt-http01";
/// The namespace of the certificates.
pub(crate) const NAMESPACE: &str = "default";
/// The namespace of cert-manager.
pub(crate) const MANAGER_NAMESPACE: &str = "cert-manager-ns";
