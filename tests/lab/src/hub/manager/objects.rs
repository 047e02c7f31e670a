//! cert-manager's objects: conditions, events, log lines, and what a challenge brings with it.

use serde_json::{Value, json};

use super::super::api::{self, EVENT, INGRESS, Kind, POD, SERVICE, items, name, namespace, text};
use crate::error::Result;
use crate::sys::{now_utc, wall_ms};

/// The solver's image.
const SOLVER: &str = "quay.io/jetstack/cert-manager-acmesolver:v1.16.3";
const SOLVER_PORT: u16 = 8_089;

/// Status and reason of a condition.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let list = items(object, "/status/conditions");
    let one = list.iter().find(|one| text(one, "/type") == kind)?;
    Some((text(one, "/status"), text(one, "/reason")))
}

/// Makes an object, and reads it back with its uid.
pub(super) fn made(kind: Kind, object: &Value) -> Result<Value> {
    api::create(kind, object)?;
    let found = api::get(kind, namespace(object), name(object))?;
    Ok(found.unwrap_or_else(|| object.clone()))
}

/// The condition of a certificate without its secret.
pub(super) fn missing() -> Value {
    new_condition(
        "Ready",
        false,
        "DoesNotExist",
        "Issuing certificate as Secret does not exist",
    )
}

/// A condition that begins now.
pub(super) fn new_condition(kind: &str, holds: bool, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
        "lastTransitionTime": now_utc(),
    })
}

/// A line as the controller writes it.
pub(super) fn klog(level: char, place: &str, text: &str) -> String {
    let now = now_utc();
    let (date, time) = now.split_once('T').unwrap_or_default();
    let date = date.get(5..).unwrap_or_default().replace('-', "");
    let time = time.trim_end_matches('Z');
    format!(
        "{level}{date} {time}.{:03}000       1 {place}] {text}",
        wall_ms() % 1_000
    )
}

/// Says something about an object.
pub(super) fn event(about: &Value, (kind, reason): (&str, &str), message: &str) -> Result<()> {
    let space = match namespace(about) {
        "" => "default",
        space => space,
    };
    let now = now_utc();
    let object = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{}.{:x}", name(about), wall_ms()), "namespace": space},
        "involvedObject": {
            "apiVersion": text(about, "/apiVersion"), "kind": text(about, "/kind"), "name": name(about),
            "namespace": namespace(about), "uid": text(about, "/metadata/uid"),
        },
        "type": kind, "reason": reason, "message": message, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        "source": {"component": "cert-manager-controller"},
    });
    api::create(EVENT, &object).map(drop)
}

/// An object that another one owns: it goes when its owner goes.
pub(super) fn owned(owner: &Value, version: &str, kind: &str, own_name: &str) -> Value {
    json!({
        "apiVersion": version, "kind": kind,
        "metadata": {
            "name": own_name, "namespace": namespace(owner),
            "ownerReferences": [{
                "apiVersion": text(owner, "/apiVersion"), "kind": text(owner, "/kind"), "name": name(owner),
                "uid": text(owner, "/metadata/uid"), "controller": true, "blockOwnerDeletion": true,
            }],
        },
    })
}

/// The same with something more.
pub(super) fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
    object
}

/// A short name made of a longer one.
pub(super) fn digest(text: &str) -> String {
    let all = blake3::hash(text.as_bytes()).to_hex();
    let digits = all.chars().take(8);
    let number = u32::from_str_radix(&digits.collect::<String>(), 16).unwrap_or(0);
    number.to_string()
}

/// Pod, service and ingress by which a challenge is answered.
pub(super) fn present(challenge: &Value, host: &str, token: &str, key: &str) -> Result<()> {
    let own = format!("cm-acme-http-solver-{}", digest(name(challenge)));
    let labels = json!({
        "acme.cert-manager.io/http01-solver": "true", "acme.cert-manager.io/http-domain": digest(host),
        "acme.cert-manager.io/http-token": digest(token),
    });
    let labelled = |version: &str, kind: &str, spec: Value| {
        let mut object = owned(challenge, version, kind, &own);
        if let Some(meta) = object
            .pointer_mut("/metadata")
            .and_then(Value::as_object_mut)
        {
            meta.insert("labels".to_owned(), labels.clone());
        }
        with(object, "spec", spec)
    };
    let pod = json!({
        "restartPolicy": "OnFailure", "automountServiceAccountToken": false,
        "containers": [{
            "name": "acmesolver", "image": SOLVER, "ports": [{"name": "http", "containerPort": SOLVER_PORT}],
            "args": [
                format!("--listen-port={SOLVER_PORT}"), format!("--domain={host}"), format!("--token={token}"), format!("--key={key}"),
            ],
        }],
    });
    let service = json!({
        "type": "NodePort", "selector": labels,
        "ports": [{"name": "http", "port": SOLVER_PORT, "targetPort": SOLVER_PORT, "protocol": "TCP"}],
    });
    let path = format!("/.well-known/acme-challenge/{token}");
    let backend = json!({"service": {"name": own, "port": {"number": SOLVER_PORT}}});
    // The authority's own token is another one, which the client learns only later: both are led to the solver.
    let paths = [path.as_str(), "/.well-known/acme-challenge/"];
    let paths = paths.map(
        |path| json!({"path": path, "pathType": "ImplementationSpecific", "backend": backend}),
    );
    let ingress =
        json!({"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]});
    api::create(POD, &labelled("v1", "Pod", pod))?;
    api::create(SERVICE, &labelled("v1", "Service", service))?;
    api::create(
        INGRESS,
        &labelled("networking.k8s.io/v1", "Ingress", ingress),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_the_controllers() {
        let line = klog('E', "sync.go:208", "\"propagation check failed\"");
        let (head, rest) = line.split_once(' ').unwrap();
        assert!(head.starts_with('E') && head.len() == 5, "{line}");
        assert!(
            rest.ends_with("       1 sync.go:208] \"propagation check failed\""),
            "{line}"
        );
        assert_eq!(rest.find('.'), Some(8), "{line}");
    }
}
