//! How far a certificate is, what its complaints mean, and what the evidence around it says: pure functions over JSON and texts.

mod cause;
mod chain;
mod classify;
mod findings;
mod log;
mod proofs;
mod rank;
mod read;
mod signs;

pub(crate) use crate::time::{openssl_time, parse_openssl, parse_utc, utc};
pub use cause::Cause;
pub(crate) use chain::{Look, Ready, look, stories};
pub use classify::{Diagnosis, classify};
pub use findings::{Answer, Complaint, End, Findings, Part, View, Way};
pub use log::{Heard, LogScan};
pub(crate) use proofs::HERE;
pub use rank::{Ranked, Ranking, Standing, rank};
pub use read::until;

/// The issuer of the release's charts.
pub(crate) const ISSUER: &str = "letsencrypt-http01";
/// The namespace of the certificates.
pub(crate) const NAMESPACE: &str = "default";
/// The namespace of cert-manager.
pub(crate) const MANAGER_NAMESPACE: &str = "cert-manager-ns";
