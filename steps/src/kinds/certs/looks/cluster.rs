//! Looks at the cluster: what the objects say, what happened to them, the controller's log, and the pods that matter.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Scene, Seen};
use crate::certs::{Findings, LogScan, MANAGER_NAMESPACE, NAMESPACE, Part, stories};

/// Most lines of the controller's log that are read.
const LOG_LINES: &str = "--tail=2000";
/// How far back it is read.
const LOG_SINCE: &str = "--since=20m";
/// Most events that are told.
const EVENTS_MAX: usize = 40;

fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    let items = list.get("items").and_then(Value::as_array);
    items.into_iter().flatten()
}

/// Conditions and reasons of everything in the chain; it was listed already.
pub(super) fn objects(scene: &Scene<'_>) -> Seen {
    let mut seen = Seen::default();
    let mut open = 0_usize;
    for certificate in &scene.certificates {
        for story in stories(scene.list, certificate) {
            let _ = writeln!(seen.body, "{} {}: {}", story.kind, story.object, story.text);
            if story.complains {
                seen.findings
                    .complain(&story.name, &story.said, story.place);
            }
            open += usize::from(story.place == "challenge");
        }
    }
    let complaints = seen.findings.complaints.len();
    seen.summary = format!("{open} challenges, {complaints} different complaints");
    seen
}

/// Whether an event is about issuance.
fn concerns(event: &Value) -> bool {
    const KINDS: [&str; 6] = [
        "Certificate",
        "CertificateRequest",
        "Order",
        "Challenge",
        "ClusterIssuer",
        "Issuer",
    ];
    let (kind, name) = (
        text(event, "/involvedObject/kind"),
        text(event, "/involvedObject/name"),
    );
    KINDS.contains(&kind) || name.starts_with("cm-acme-http-solver")
}

pub(super) async fn events(scene: &Scene<'_>) -> Result<Seen, String> {
    let args = ["get", "events", "-n", NAMESPACE, "-o", "json"];
    let list = scene.json(scene.toolbox.kubectl(&args)).await?;
    let mut all: Vec<&Value> = items(&list).filter(|event| concerns(event)).collect();
    all.sort_by_key(|event| text(event, "/lastTimestamp"));
    let mut seen = Seen::default();
    let (count, old) = (all.len(), all.len().saturating_sub(EVENTS_MAX));
    for event in all.into_iter().skip(old) {
        let (reason, message) = (text(event, "/reason"), text(event, "/message"));
        let _ = writeln!(
            seen.body,
            "{} {} {} {reason}: {message}",
            text(event, "/lastTimestamp"),
            text(event, "/involvedObject/kind"),
            text(event, "/involvedObject/name"),
        );
        if text(event, "/type") == "Warning" {
            seen.findings.complain("", message, "event");
        }
    }
    seen.summary = format!("{count} events about the issuance");
    Ok(seen)
}

pub(super) async fn log(scene: &Scene<'_>) -> Result<Seen, String> {
    let args = [
        "logs",
        "-n",
        MANAGER_NAMESPACE,
        "-l",
        "app=cert-manager",
        LOG_LINES,
        LOG_SINCE,
    ];
    let output = scene.ok(scene.toolbox.kubectl(&args)).await?;
    let scan = LogScan::of(&output.text());
    let mut findings = Findings::default();
    for heard in scan.heard.iter().filter(|heard| heard.cause.is_some()) {
        findings.complain(&heard.name, &heard.line, "log");
    }
    let known = findings.complaints.len();
    Ok(Seen {
        summary: format!(
            "{} lines, {} different complaints, {known} of them known",
            scan.lines,
            scan.heard.len()
        ),
        body: scan.text(),
        findings,
    })
}

/// Why a pod does not serve; `None` when it does.
fn trouble(pod: &Value) -> Option<String> {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|one| text(one, "/type") == "Ready" && text(one, "/status") == "True");
    if ready || text(pod, "/status/phase") == "Succeeded" {
        return None;
    }
    let containers = pod
        .pointer("/status/containerStatuses")
        .and_then(Value::as_array);
    let waiting = containers.into_iter().flatten().find_map(|container| {
        let state = container.pointer("/state/waiting")?;
        let (reason, message) = (text(state, "/reason"), text(state, "/message"));
        let image = text(container, "/image");
        Some(match message {
            "" => format!("{reason} ({image})"),
            message => format!("{reason}: {message}"),
        })
    });
    let unscheduled = || {
        let conditions = pod.pointer("/status/conditions")?.as_array()?;
        let one = conditions
            .iter()
            .find(|one| text(one, "/reason") == "Unschedulable")?;
        Some(text(one, "/message").to_owned())
    };
    Some(
        waiting
            .or_else(unscheduled)
            .unwrap_or_else(|| "not ready".to_owned()),
    )
}

/// Namespace and selector of the pods of a part.
const PARTS: [(Part, &str, &str); 4] = [
    (Part::Manager, MANAGER_NAMESPACE, "app"),
    (
        Part::Ingress,
        NAMESPACE,
        "app.kubernetes.io/name=ingress-nginx",
    ),
    (
        Part::Dns,
        "kube-system",
        "k8s-app in (kube-dns,nodelocaldns,node-local-dns)",
    ),
    (
        Part::Solver,
        NAMESPACE,
        "acme.cert-manager.io/http01-solver=true",
    ),
];

/// The pods of the parts, one question each.
pub(super) async fn pods(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut said = Vec::new();
    for (part, namespace, selector) in PARTS {
        let args = ["get", "pods", "-n", namespace, "-l", selector, "-o", "json"];
        let list = match scene.json(scene.toolbox.kubectl(&args)).await {
            Ok(list) => list,
            Err(why) => {
                seen.findings
                    .unseen
                    .push((format!("pods of {part:?}"), why));
                continue;
            }
        };
        let (mut all, mut ready) = (0_usize, 0_usize);
        for pod in items(&list) {
            let name = text(pod, "/metadata/name");
            all += 1;
            let state = trouble(pod);
            let shown = state.as_deref().unwrap_or("ready");
            let _ = writeln!(seen.body, "{part:?} {name}: {shown}");
            match state {
                // It only begins.
                Some(why)
                    if why.contains("ContainerCreating") || why.contains("PodInitializing") => {}
                Some(why) => seen.findings.sick.push((part, name.to_owned(), why)),
                None => ready += 1,
            }
        }
        // Only of cert-manager is it known that there must be a pod.
        if all > 0 || part == Part::Manager {
            seen.findings.parts.push((part, ready));
            said.push(format!("{part:?} {ready} of {all} ready"));
        }
    }
    seen.summary = said.join(", ");
    Ok(seen)
}
