//! Releases of helm: one secret per revision.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::entity::KubeObject;
use super::super::state::Draft;

/// One revision of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    #[serde(skip)]
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
        serde_json::from_slice(&STANDARD.decode(data).ok()?).ok()
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
        let data = STANDARD.encode(json!(self).to_string());
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
