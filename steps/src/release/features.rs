//! What differs between releases, each told by the shape of one file.

use serde_json::Value;

use super::{Sources, vars};
use crate::yaml::{Document, Why, YamlError, YamlPath};

/// The image of sftd's helper `join-call` is one of this repository in all releases that pin it.
const JOIN_CALL_REPOSITORY: &str = "docker.io/bitnamilegacy/nginx";

/// Features; `None` where the file that tells is not in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// How the template of the mail relay is nested.
    pub smtp: Option<SmtpShape>,
    /// Whether background-worker has a password of `PostgreSQL`.
    pub background_worker_pg: Option<bool>,
    /// Which image sftd's helper uses.
    pub join_call: Option<JoinCall>,
    /// Whether brig and galley offer MLS.
    pub mls: Option<Mls>,
    /// Whether gundeck is told the name of its redis.
    pub redis_host: Option<bool>,
    /// Whether the playbooks know private deployments, and what they do then by default.
    pub private_deployment: Option<bool>,
    /// Whether the artifact brings the image that answers ACME challenges.
    pub acmesolver: Option<bool>,
    /// Whether the chart smallstep-accomp is there.
    pub smallstep: bool,
}

/// How the values of the chart smtp are nested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpShape {
    /// At the top, where the chart does not look.
    Flat,
    /// Under `smtp`.
    Nested,
}

/// Which image sftd's helper uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinCall {
    /// The template names one.
    Pinned,
    /// The template names none, and the artifact brings this one.
    Brought {
        /// Repository of the image.
        repository: String,
        /// Its tag.
        tag: String,
    },
    /// The chart's own, for better or worse.
    ChartDefault,
}

/// Which services offer MLS. They must agree, or logins fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mls {
    /// `brig.config.optSettings.setEnableMLS`.
    pub brig: bool,
    /// `galley…featureFlags.mls.defaults.status`.
    pub galley: bool,
}

impl Features {
    pub(super) fn detect(sources: &Sources) -> Result<Self, YamlError> {
        let images = sources.images.as_deref();
        Ok(Self {
            smtp: sources.smtp.as_ref().map(smtp).transpose()?,
            background_worker_pg: sources.secrets.as_ref().map(|secrets| {
                let at = path(&["background-worker", "secrets", "pgPassword"]);
                secrets.get(&at).is_some()
            }),
            join_call: sources.sftd.as_ref().map(|sftd| join_call(sftd, images)),
            mls: sources.wire_server.as_ref().map(mls).transpose()?.flatten(),
            redis_host: sources.wire_server.as_ref().map(|values| {
                let at = path(&["gundeck", "config", "redis", "host"]);
                values.get(&at).is_some()
            }),
            private_deployment: match &sources.inventory {
                Some(inventory) => flag(inventory, &vars("private_deployment"))?,
                None => None,
            },
            acmesolver: images
                .map(|images| images.iter().any(|image| image.contains("acmesolver"))),
            smallstep: sources.smallstep,
        })
    }
}

pub(super) fn path(keys: &[&str]) -> YamlPath {
    keys.iter()
        .fold(YamlPath::root(), |path, key| path.key(key))
}

fn smtp(document: &Document) -> Result<SmtpShape, YamlError> {
    let flat = document.get(&path(&["config", "RELAY_NETWORKS"])).is_some();
    let nested = document
        .get(&path(&["smtp", "config", "RELAY_NETWORKS"]))
        .is_some();
    match (flat, nested) {
        (true, false) => Ok(SmtpShape::Flat),
        (false, true) => Ok(SmtpShape::Nested),
        (true, true) | (false, false) => Err(document.error(
            &path(&["smtp", "config", "RELAY_NETWORKS"]),
            Why::Shape {
                expected: "`config.RELAY_NETWORKS` either at the top or under `smtp`".to_owned(),
                found: if flat { "both" } else { "neither" }.to_owned(),
            },
        )),
    }
}

fn join_call(sftd: &Document, images: Option<&[String]>) -> JoinCall {
    if sftd.get(&path(&["joinCall", "image"])).is_some() {
        return JoinCall::Pinned;
    }
    images
        .unwrap_or_default()
        .iter()
        .find_map(|image| {
            let (repository, tag) = image.rsplit_once(':')?;
            let ours = repository == JOIN_CALL_REPOSITORY
                || JOIN_CALL_REPOSITORY.strip_prefix("docker.io/") == Some(repository);
            ours.then(|| JoinCall::Brought {
                repository: JOIN_CALL_REPOSITORY.to_owned(),
                tag: tag.to_owned(),
            })
        })
        .unwrap_or(JoinCall::ChartDefault)
}

/// A flag that may be missing but must be a flag.
fn flag(document: &Document, at: &YamlPath) -> Result<Option<bool>, YamlError> {
    match document.get(at) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(other) => Err(unknown(document, at, "true or false", &other)),
    }
}

fn unknown(document: &Document, at: &YamlPath, expected: &str, found: &Value) -> YamlError {
    let why = Why::Shape {
        expected: expected.to_owned(),
        found: format!("`{found}`"),
    };
    document.error(at, why)
}

fn mls(document: &Document) -> Result<Option<Mls>, YamlError> {
    let brig = path(&["brig", "config", "optSettings", "setEnableMLS"]);
    let galley = path(&[
        "galley",
        "config",
        "settings",
        "featureFlags",
        "mls",
        "defaults",
        "status",
    ]);
    let Some(brig) = flag(document, &brig)? else {
        return Ok(None);
    };
    let galley = match document.get(&galley) {
        None => return Ok(None),
        Some(status) if status == "enabled" => true,
        Some(status) if status == "disabled" => false,
        Some(other) => {
            return Err(unknown(
                document,
                &galley,
                "`enabled` or `disabled`",
                &other,
            ));
        }
    };
    Ok(Some(Mls { brig, galley }))
}
