//! Secrets that a running cluster already uses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::Failure;
use zeroize::Zeroizing;

use super::generate::{Found, GenerateError};
use super::name::{Name, ShapeError};
use crate::host::shell::Shell;
use crate::host::{Cmd, Output};
use crate::kinds::tool::Toolbox;

/// How the cluster is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Through what.
    pub kubectl: Kubectl,
    /// Path of the administrator's kubeconfig on the host; as long as it does not exist, there is no cluster.
    pub kubeconfig: String,
    /// Namespace of the charts.
    pub namespace: String,
}

/// How kubectl is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Kubectl {
    /// Words before its arguments: `kubectl`.
    Words(Vec<String>),
    /// In the release's tool container.
    Toolbox(Toolbox),
}

impl Kubectl {
    /// A call of it.
    pub(crate) fn cmd(&self, args: &[&str]) -> Result<Cmd, Failure> {
        match self {
            Self::Words(words) => {
                let words = words.iter().map(String::as_str);
                Ok(Cmd::new(words.chain(args.iter().copied())))
            }
            Self::Toolbox(toolbox) => toolbox.kubectl(args),
        }
    }
}

/// Kubernetes secret, key in it, and what it is.
const PLACES: &[(&str, &str, Name)] = &[
    ("brig", "turn-secret.txt", Name::Zrest),
    ("coturn", "zrest_secret.txt", Name::Zrest),
    ("brig", "secretkey.txt", Name::ZauthPrivate),
    ("brig", "publickey.txt", Name::ZauthPublic),
    ("nginz", "zauth.conf", Name::ZauthPublic),
    ("cargohold", "awsKeyId", Name::CargoholdAccessKey),
    ("cargohold", "awsSecretKey", Name::CargoholdSecretKey),
    ("galley", "removal_ed25519.pem", Name::MlsEd25519),
    (
        "galley",
        "removal_ecdsa_secp256r1_sha256.pem",
        Name::MlsP256,
    ),
    (
        "galley",
        "removal_ecdsa_secp384r1_sha384.pem",
        Name::MlsP384,
    ),
    (
        "galley",
        "removal_ecdsa_secp521r1_sha512.pem",
        Name::MlsP521,
    ),
    (
        "wire-postgresql-external-secret",
        "password",
        Name::PostgresqlWire,
    ),
    (
        "repmgr-postgresql-secret",
        "password",
        Name::PostgresqlRepmgr,
    ),
];

/// Why a cluster's values are not known.
#[derive(Debug)]
pub(crate) enum LiveError {
    /// The host failed.
    Host(Failure),
    /// The cluster does not answer.
    Silent(Failure),
    /// Its answer cannot be used.
    Unusable(Failure),
}

impl LiveError {
    /// The failure, whichever it is.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Host(failure) | Self::Silent(failure) | Self::Unusable(failure) => failure,
        }
    }
}

impl Cluster {
    fn query(&self) -> Result<Cmd, Failure> {
        let mut names: Vec<&str> = PLACES.iter().map(|(secret, _, _)| *secret).collect();
        names.sort_unstable();
        names.dedup();
        let fixed = [
            "--namespace",
            &self.namespace,
            "--ignore-not-found",
            "-o",
            "json",
        ];
        self.kubectl
            .cmd(&[&["get", "secrets"], names.as_slice(), &fixed].concat())
    }

    /// What the cluster uses; nothing as long as there is no cluster. A cluster that does not answer is a failure: it may
    /// use values that must not be made anew.
    pub(crate) async fn found(&self, sh: Shell<'_>) -> Result<Found, LiveError> {
        let known = sh.stat(&self.kubeconfig).await.map_err(LiveError::Host)?;
        if known.is_none() {
            return Ok(Found::default());
        }
        let query = self.query().map_err(LiveError::Host)?;
        match sh.secret(&query).await.map_err(LiveError::Host)? {
            Some(output) if output.ok() => read(&Zeroizing::new(output.stdout))
                .map_err(|error| LiveError::Unusable(self.unusable(&error))),
            answer => Err(LiveError::Silent(self.silent(answer.as_ref()))),
        }
    }

    fn unusable(&self, error: &GenerateError) -> Failure {
        Failure::clean(format!(
            "the secrets of the cluster of {}: {error}",
            self.kubeconfig
        ))
        .ask()
        .hint("find out which value is in use and make the cluster agree with itself, then decide `retry`")
    }

    fn silent(&self, answer: Option<&Output>) -> Failure {
        let why = match answer {
            None => "kubectl is not installed".to_owned(),
            Some(output) => {
                let said = output.error_text();
                let last = said.lines().next_back().unwrap_or_default();
                format!("kubectl ended with {}: {last}", output.code)
            }
        };
        Failure::clean(format!(
            "the cluster of {} cannot be asked for the secrets it uses: {why}",
            self.kubeconfig
        ))
        .ask()
        .hint(format!(
            "bring the cluster up and decide `retry`; if it no longer exists: mv {0} {0}.old",
            self.kubeconfig
        ))
    }
}

/// The values in kubectl's answer: nothing, one secret, or a list.
fn read(stdout: &[u8]) -> Result<Found, GenerateError> {
    let mut found = Found::default();
    let answer: Value = serde_json::from_slice(stdout).unwrap_or_default();
    let one = std::slice::from_ref(&answer);
    let secrets = answer.get("items").and_then(Value::as_array);
    for secret in secrets.map_or(one, Vec::as_slice) {
        let name = secret.pointer("/metadata/name").and_then(Value::as_str);
        for (_, key, what) in PLACES.iter().filter(|(place, _, _)| name == Some(place)) {
            let data = secret.get("data").and_then(|data| data.get(key));
            let Some(encoded) = data.and_then(Value::as_str) else {
                continue;
            };
            let from = format!("kubernetes secret {}/{key}", name.unwrap_or_default());
            let unreadable = || GenerateError::Unusable {
                name: *what,
                from: from.clone(),
                why: ShapeError::Unprintable,
            };
            let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| unreadable())?);
            let value = std::str::from_utf8(&bytes).map_err(|_| unreadable())?;
            found.offer(*what, value.trim_end_matches('\n'), &from)?;
        }
    }
    Ok(found)
}
