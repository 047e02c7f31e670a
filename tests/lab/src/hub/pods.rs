//! What becomes of a pod: it runs when its node has its images, waits for them otherwise, and ends if it is one that ends.

use serde_json::{Value, json};

use super::api::{items, text};
use super::kubelet::containers;
use crate::sys::now_utc;

/// Part of the names of the pods of the ingress controller.
const INGRESS: &str = "ingress-nginx-controller";

/// Whether a pod is one of the ingress controller.
pub(super) fn is_ingress(pod: &Value) -> bool {
    text(pod, "/metadata/name").starts_with(INGRESS)
}

/// Whether a pod is ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    let ready = |one: &Value| text(one, "/type") == "Ready" && text(one, "/status") == "True";
    items(pod, "/status/conditions").iter().any(ready)
}

/// The full name of an image, as a container engine lists it.
fn full(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let registry = first.contains(['.', ':']) || first == "localhost";
    let named = match (registry, first) {
        (true, _) => image.to_owned(),
        (false, "") => format!("docker.io/library/{rest}"),
        (false, _) => format!("docker.io/{image}"),
    };
    let last = named.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) {
        named
    } else {
        format!("{named}:latest")
    }
}

/// The one image that the release has no archive of: nodes fetch it from its registry, for which this stands.
const FETCHED: &str = "quay.io/jetstack/cert-manager-acmesolver:";

/// The first image that a node lacks.
fn lacking<'a>(pod: &'a Value, images: &[String]) -> Option<&'a str> {
    let all = items(pod, "/spec/initContainers")
        .iter()
        .chain(containers(pod));
    let mut wanted = all.map(|container| text(container, "/image"));
    wanted.find(|image| {
        let full = full(image);
        !full.starts_with(FETCHED) && !images.iter().any(|there| *there == full || there == image)
    })
}

/// The next status of a pod that is pending; `None` when it stays as it is.
pub(super) fn started(
    pod: &Value,
    ip: &str,
    number: usize,
    images: Option<&[String]>,
) -> Option<Value> {
    let now = now_utc();
    if let Some(image) = images.and_then(|images| lacking(pod, images)) {
        return waiting(pod, ip, image, &now);
    }
    let state = |container: &Value| {
        json!({
            "name": text(container, "/name"), "image": text(container, "/image"), "imageID": text(container, "/image"),
            "containerID": format!("containerd://{}", text(pod, "/metadata/uid")),
            "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": now}},
        })
    };
    let states: Vec<Value> = containers(pod).iter().map(state).collect();
    let address = format!("10.233.{}.{}", 64 + number / 250, 1 + number % 250);
    Some(json!({
        "phase": "Running", "hostIP": ip, "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
        "conditions": conditions("True", &now), "containerStatuses": states,
    }))
}

fn conditions(ready: &str, now: &str) -> Vec<Value> {
    let one = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": now});
    vec![
        one("Initialized", "True"),
        one("Ready", ready),
        one("ContainersReady", ready),
        one("PodScheduled", "True"),
    ]
}

/// The status of a pod whose image its node neither has nor can get.
fn waiting(pod: &Value, ip: &str, image: &str, now: &str) -> Option<Value> {
    let registry = full(image).split('/').next().unwrap_or_default().to_owned();
    let before = text(pod, "/status/containerStatuses/0/state/waiting/reason");
    let (reason, message) = match before {
        "" => (
            "ErrImagePull",
            format!(
                "rpc error: code = Unknown desc = failed to pull and unpack image \"{0}\": failed to resolve reference \"{0}\": \
                 failed to do request: Head \"https://{registry}/v2/\": dial tcp: lookup {registry}: no such host",
                full(image)
            ),
        ),
        "ErrImagePull" => (
            "ImagePullBackOff",
            format!("Back-off pulling image \"{image}\""),
        ),
        _ => return None,
    };
    let state = |container: &Value| {
        json!({
            "name": text(container, "/name"), "image": text(container, "/image"), "imageID": "",
            "ready": false, "started": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        })
    };
    let states: Vec<Value> = containers(pod).iter().map(state).collect();
    Some(json!({
        "phase": "Pending", "hostIP": ip, "startTime": now,
        "conditions": conditions("False", now), "containerStatuses": states,
    }))
}

/// The last status of a pod that does its work and ends; `None` for one that goes on.
pub(super) fn ended(pod: &Value) -> Option<Value> {
    let job = |owner: &Value| text(owner, "/kind") == "Job";
    let of_job = items(pod, "/metadata/ownerReferences").iter().any(job);
    if !of_job && text(pod, "/spec/restartPolicy") != "Never" {
        return None;
    }
    let now = now_utc();
    let state = |old: &Value| {
        let mut state = old.clone();
        if let Some(map) = state.as_object_mut() {
            map.insert("ready".to_owned(), json!(false));
            map.insert("started".to_owned(), json!(false));
            let end = json!({"terminated": {
                "exitCode": 0, "reason": "Completed", "finishedAt": now,
                "startedAt": text(old, "/state/running/startedAt"),
            }});
            map.insert("state".to_owned(), end);
        }
        state
    };
    let states: Vec<Value> = items(pod, "/status/containerStatuses")
        .iter()
        .map(state)
        .collect();
    Some(json!({
        "phase": "Succeeded", "conditions": conditions("False", &now), "containerStatuses": states,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_full_names() {
        for (image, name) in [
            ("redis", "docker.io/library/redis:latest"),
            ("bitnami/redis:7", "docker.io/bitnami/redis:7"),
            ("quay.io/wire/brig:5", "quay.io/wire/brig:5"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
        ] {
            assert_eq!(full(image), name);
        }
    }

    #[test]
    fn a_pod_waits_for_its_image_and_runs_when_it_is_there() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "quay.io/wire/a:1"}]}});
        let state = started(&pod, "192.0.2.1", 0, Some(&[])).unwrap();
        let reason = "/containerStatuses/0/state/waiting/reason";
        assert_eq!(text(&state, reason), "ErrImagePull");
        let waits = json!({"spec": pod["spec"], "status": state});
        let state = started(&waits, "192.0.2.1", 0, Some(&[])).unwrap();
        assert_eq!(text(&state, reason), "ImagePullBackOff");
        let there = ["quay.io/wire/a:1".to_owned()];
        let state = started(&waits, "192.0.2.1", 251, Some(&there)).unwrap();
        assert_eq!(text(&state, "/phase"), "Running");
        assert_eq!(text(&state, "/podIP"), "10.233.65.2");
        assert!(started(&waits, "192.0.2.1", 0, None).is_some());
        for policy in ["Always", "OnFailure"] {
            assert_eq!(ended(&json!({"spec": {"restartPolicy": policy}})), None);
        }
        let job = json!({"spec": {"restartPolicy": "Never"}, "status": state});
        assert_eq!(text(&ended(&job).unwrap(), "/phase"), "Succeeded");
    }
}
