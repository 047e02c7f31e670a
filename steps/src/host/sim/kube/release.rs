//! Releases of helm: one secret per revision.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::super::entity::KubeObject;
use super::super::state::Draft;

/// One revision of a release.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Release {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) revision: u64,
    /// `deployed`, `failed`, `superseded`, `pending-install`, `pending-upgrade`, `pending-rollback`.
    pub(crate) status: String,
    pub(crate) description: String,
    pub(crate) chart: String,
    pub(crate) version: String,
    pub(crate) app_version: String,
    /// What the user gave.
    pub(crate) config: Value,
    /// Images of its parts: `brig` → `quay.io/wire/brig:5.23.0`.
    pub(crate) images: std::collections::BTreeMap<String, String>,
    /// When it was begun.
    pub(crate) begun_ms: u64,
}

impl Release {
    fn prefix(namespace: &str, name: &str) -> String {
        format!("Secret/{namespace}/sh.helm.release.v1.{name}.v")
    }

    /// The release in a secret, if it holds one.
    pub(crate) fn of(secret: &Value) -> Option<Self> {
        if secret.get("type")? != "helm.sh/release.v1" {
            return None;
        }
        let data = secret.pointer("/data/release")?.as_str()?;
        let packed = STANDARD.decode(STANDARD.decode(data).ok()?).ok()?;
        let record: Value = serde_json::from_reader(GzDecoder::new(packed.as_slice())).ok()?;
        let text = |pointer: &str| Some(record.pointer(pointer)?.as_str()?.to_owned());
        Some(Self {
            name: text("/name")?,
            namespace: text("/namespace")?,
            revision: record.get("version")?.as_u64()?,
            status: text("/info/status")?,
            description: text("/info/description")?,
            chart: text("/chart/metadata/name")?,
            version: text("/chart/metadata/version")?,
            app_version: text("/chart/metadata/appVersion")?,
            config: record.get("config")?.clone(),
            images: serde_json::from_value(record.get("images")?.clone()).ok()?,
            begun_ms: 0,
        })
    }

    /// As helm writes it into the secret: packed. `images` is the simulated machine's own.
    fn packed(&self) -> String {
        let record = json!({
            "name": self.name, "namespace": self.namespace, "version": self.revision,
            "info": {"status": self.status, "description": self.description},
            "chart": {"metadata": {"name": self.chart, "version": self.version, "appVersion": self.app_version}},
            "config": self.config, "images": self.images,
        });
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing into memory does not fail.
        let written = packed.write_all(record.to_string().as_bytes());
        let bytes = written.and_then(|()| packed.finish()).unwrap_or_default();
        STANDARD.encode(STANDARD.encode(bytes))
    }

    /// All revisions of a release, oldest first.
    pub(crate) fn history(draft: &Draft<'_>, namespace: &str, name: &str) -> Vec<Self> {
        let mut all: Vec<Self> = draft
            .names::<KubeObject>(&Self::prefix(namespace, name))
            .iter()
            .filter_map(|key| draft.get::<KubeObject>(key))
            .filter_map(|object| {
                let release = Self::of(&object.json)?;
                Some(Self {
                    begun_ms: object.ready_ms.unwrap_or_default(),
                    ..release
                })
            })
            .filter(|release| release.name == name)
            .collect();
        all.sort_by_key(|release| release.revision);
        all
    }

    /// The newest revision.
    pub(crate) fn last(draft: &Draft<'_>, namespace: &str, name: &str) -> Option<Self> {
        Self::history(draft, namespace, name).pop()
    }

    /// The newest revision of every release.
    pub(crate) fn all(draft: &Draft<'_>) -> Vec<Self> {
        let names = draft.names::<KubeObject>("Secret/");
        let found = names.iter().filter_map(|key| draft.get::<KubeObject>(key));
        let mut names: Vec<(String, String)> = found
            .filter_map(|object| Self::of(&object.json))
            .map(|release| (release.namespace, release.name))
            .collect();
        names.sort();
        names.dedup();
        names
            .iter()
            .filter_map(|(namespace, name)| Self::last(draft, namespace, name))
            .collect()
    }

    /// Stores the revision.
    pub(crate) fn put(&self, draft: &mut Draft<'_>) {
        let secret = format!("sh.helm.release.v1.{}.v{}", self.name, self.revision);
        let data = self.packed();
        let json = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
            "metadata": {
                "name": secret, "namespace": self.namespace,
                "labels": {
                    "name": self.name, "owner": "helm", "status": self.status,
                    "version": self.revision.to_string(),
                },
            },
            "data": {"release": data},
        });
        super::put_ready(draft, json, Some(self.begun_ms));
    }

    /// Forgets every revision.
    pub(crate) fn forget(draft: &mut Draft<'_>, namespace: &str, name: &str) {
        for release in Self::history(draft, namespace, name) {
            let secret = format!("sh.helm.release.v1.{name}.v{}", release.revision);
            super::del(draft, "Secret", namespace, &secret);
        }
    }

    /// What counts of it, whatever led there.
    pub(crate) fn canonical(&self) -> Value {
        json!({
            "namespace": self.namespace, "status": self.status, "chart": self.chart, "version": self.version,
            "config": self.config, "images": self.images,
        })
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.status.starts_with("pending-")
    }
}
