//! Which certificate the ingress controller shows for a name.

use serde_json::Value;

use super::super::entity::KubeObject;
use super::super::kube::{self, text};
use super::super::state::Draft;
use super::objects::Paper;

/// What it shows when it has none for a name.
const FAKE: &str = "O = Acme Co, CN = Kubernetes Ingress Controller Fake Certificate";
/// How long the fake one is valid, in milliseconds.
const FAKE_MS: u64 = 365 * 86_400_000;

/// A certificate as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Served {
    pub(crate) paper: Paper,
    /// Whether browsers trust its issuer.
    pub(crate) trusted: bool,
}

/// The certificate for a name.
pub(crate) fn served(draft: &mut Draft<'_>, name: &str) -> Served {
    super::advance(draft);
    let certificates = kube::raw(draft, "Certificate", None);
    let lists = |object: &&KubeObject| {
        let names = object
            .json
            .pointer("/spec/dnsNames")
            .and_then(Value::as_array);
        let mut names = names.into_iter().flatten();
        names.any(|one| one.as_str() == Some(name))
    };
    let secret = certificates.iter().find(lists).and_then(|object| {
        let (namespace, secret) = (
            text(&object.json, "/metadata/namespace"),
            text(&object.json, "/spec/secretName"),
        );
        kube::get(draft, "Secret", namespace, secret)
    });
    match secret.and_then(|secret| Paper::of(&secret)) {
        Some(paper) => Served {
            trusted: !paper.issuer.contains("STAGING"),
            paper,
        },
        None => Served {
            paper: Paper {
                names: vec!["ingress.local".to_owned()],
                issuer: FAKE.to_owned(),
                not_before_ms: draft.base().epoch_ms,
                not_after_ms: draft.base().epoch_ms + FAKE_MS,
            },
            trusted: false,
        },
    }
}
