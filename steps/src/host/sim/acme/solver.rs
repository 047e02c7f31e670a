//! What cert-manager makes to answer a challenge: a pod, a service and an ingress.

use serde_json::{Value, json};

use super::super::cmd::spread;
use super::super::entity::KubeObject;
use super::super::kube;
use super::super::state::Draft;
use super::{Check, outside};

/// The mark of all of them.
const LABEL: &str = "acme.cert-manager.io/http01-solver";
const IMAGE: &str = "quay.io/jetstack/cert-manager-acmesolver:v1.16.3";
const KINDS: [&str; 3] = ["Pod", "Service", "Ingress"];

fn named(order: &str, check: &Check) -> String {
    let number = spread(&format!("{order} {}", check.name), 90_000) + 10_000;
    format!("cm-acme-http-solver-{number}")
}

fn object(kind: &str, name: &str, order: &str) -> Value {
    let version = match kind {
        "Ingress" => "networking.k8s.io/v1",
        _ => "v1",
    };
    json!({
        "apiVersion": version, "kind": kind,
        "metadata": {"name": name, "namespace": "default", "labels": {LABEL: "true", "order": order}},
    })
}

/// How the pod is: its node has the image, or gets it, or not.
fn pod_status(draft: &Draft<'_>) -> Value {
    let pulled = outside::solver(draft);
    let ready = if pulled { "True" } else { "False" };
    let state = if pulled {
        json!({"running": {}})
    } else {
        let message = format!("Back-off pulling image \"{IMAGE}\"");
        json!({"waiting": {"reason": "ImagePullBackOff", "message": message}})
    };
    json!({
        "phase": if pulled { "Running" } else { "Pending" },
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [{"name": "acmesolver", "image": IMAGE, "ready": pulled, "state": state}],
    })
}

/// Makes those of the open challenges of an order, and removes the others.
pub(super) fn put(draft: &mut Draft<'_>, order: &str, checks: &[Check]) {
    for check in checks {
        let name = named(order, check);
        if check.state != "pending" {
            for kind in KINDS {
                kube::del(draft, kind, "default", &name);
            }
            continue;
        }
        for kind in KINDS {
            let mut json = object(kind, &name, order);
            if kind == "Pod" {
                kube::set(&mut json, &["status"], pod_status(draft));
            }
            kube::put(draft, json);
        }
    }
}

/// Whether an object is one of them.
pub(super) fn is_one(json: &Value) -> bool {
    let labels = json.pointer("/metadata/labels");
    labels.is_some_and(|labels| labels.get(LABEL).is_some())
}

/// Removes all of a certificate's orders.
pub(super) fn drop_all(draft: &mut Draft<'_>, certificate: &str) {
    for kind in KINDS {
        for key in draft.names::<KubeObject>(&format!("{kind}/default/cm-acme-http-solver-")) {
            let order = draft
                .get::<KubeObject>(&key)
                .map(|object| kube::text(&object.json, "/metadata/labels/order").to_owned());
            if order.is_some_and(|order| order.starts_with(&format!("{certificate}-1-"))) {
                draft.del::<KubeObject>(&key);
            }
        }
    }
}
