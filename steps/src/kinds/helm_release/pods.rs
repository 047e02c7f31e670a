//! The pods of a release: which are ready, which never will be.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use wiab_engine::outcome::Failure;

use super::super::tool::Toolbox;
use super::state::{no_cluster, refused};
use crate::host::shell::Shell;

/// Names the release that an object belongs to; helm sets it on everything but hooks.
const OWNER: &str = "meta.helm.sh/release-name";
/// Marks the objects of hooks.
const HOOK: &str = "helm.sh/hook";
/// After so many restarts a container that ends at once is not going to recover.
const RESTARTS_MAX: u64 = 3;
/// Most workloads that a sentence names.
const NAMED_MAX: usize = 5;

/// A pod that is not ready, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sick {
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) node: String,
    pub(super) image: String,
    /// `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable`, …
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) restarts: u64,
}

impl Sick {
    /// Whether waiting cannot help: there is no registry, and what ends at once three times will do so again.
    pub(super) fn hopeless(&self) -> bool {
        match self.reason.as_str() {
            "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" => true,
            "CrashLoopBackOff" => self.restarts >= RESTARTS_MAX,
            _ => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Workload {
    name: String,
    ready: u64,
    wanted: u64,
}

/// What runs of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pods {
    workloads: Vec<Workload>,
    pub(super) sick: Vec<Sick>,
    hooks: Vec<String>,
    /// Services that wait for a load balancer.
    pub(super) balanced: Vec<String>,
}

impl Pods {
    /// Looks at everything of a release; `None` without a cluster.
    pub(super) async fn look(
        sh: Shell<'_>,
        tools: &Toolbox,
        namespace: &str,
        release: &str,
    ) -> Result<Option<Self>, Failure> {
        let question = format!("what runs in {namespace}");
        let list = sh.cx.once(&question, list(sh, tools, namespace)).await?;
        Ok(list.map(|list| Self::of(&list, release)))
    }

    /// Reads a list of objects.
    pub(super) fn of(list: &Value, release: &str) -> Self {
        let items: Vec<&Value> = list
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .collect();
        let mut found = Self::default();
        let mut selectors = Vec::new();
        for item in items.iter().filter(|item| belongs(item, release)) {
            let kind = text(item, "/kind");
            let name = text(item, "/metadata/name").to_owned();
            match kind {
                "Deployment" | "StatefulSet" | "DaemonSet" => {
                    found.workloads.push(workload(item, name));
                }
                "Job" if number(item, "/status/active") > 0 => found.hooks.push(name),
                "Service" if text(item, "/spec/type") == "LoadBalancer" => {
                    let given = item.pointer("/status/loadBalancer/ingress");
                    if given.and_then(Value::as_array).is_none_or(Vec::is_empty) {
                        found.balanced.push(name);
                    }
                }
                _ => {}
            }
            selectors.extend(item.pointer("/spec/selector/matchLabels").cloned());
        }
        let pods = items.iter().filter(|item| text(item, "/kind") == "Pod");
        let mine = pods.filter(|pod| selectors.iter().any(|selector| selects(selector, pod)));
        found.sick = mine.filter_map(|pod| sick(pod)).collect();
        found
    }

    /// Whether all workloads have all their pods.
    pub(super) fn ready(&self) -> bool {
        self.balanced.is_empty() && self.workloads.iter().all(|one| one.ready >= one.wanted)
    }

    pub(super) fn workloads(&self) -> usize {
        self.workloads.len()
    }

    /// Whether a pod is beyond hope.
    pub(super) fn hopeless(&self) -> bool {
        self.sick.iter().any(Sick::hopeless)
    }

    /// A hook that still works: it is active, and its pod is not failing.
    pub(super) fn working_hook(&self) -> Option<String> {
        let failing = |hook: &String| {
            self.sick.iter().any(|sick| {
                sick.pod.starts_with(&**hook)
                    && !sick.reason.is_empty()
                    && sick.reason != "ContainerCreating"
            })
        };
        self.hooks.iter().find(|hook| !failing(hook)).cloned()
    }

    /// What is not ready yet, in one sentence.
    pub(super) fn waiting(&self) -> String {
        let behind = self.workloads.iter().filter(|one| one.ready < one.wanted);
        let mut parts: Vec<String> = behind
            .map(|one| format!("{} {}/{}", one.name, one.ready, one.wanted))
            .collect();
        parts.extend(self.hooks.iter().map(|hook| format!("job {hook} works")));
        parts.extend(
            self.balanced
                .iter()
                .map(|name| format!("service {name} waits for a load balancer")),
        );
        let more = parts.len().saturating_sub(NAMED_MAX);
        parts.truncate(NAMED_MAX);
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        if parts.is_empty() {
            return "all pods are ready".to_owned();
        }
        parts.join(", ")
    }
}

/// Everything of a namespace that a release may have made to run; `None` without a cluster.
async fn list(
    sh: Shell<'_>,
    tools: &Toolbox,
    namespace: &str,
) -> Result<Option<Arc<Value>>, Failure> {
    let kinds = "deployments,statefulsets,daemonsets,jobs,pods,services";
    let Ok(cmd) = tools.kubectl(&["get", kinds, "-n", namespace, "-o", "json"]) else {
        return Ok(None);
    };
    // Specifications may hold passwords in their environment.
    let Some(output) = sh.secret(&cmd).await? else {
        return Ok(None);
    };
    if no_cluster(&output) {
        return Ok(None);
    }
    if !output.ok() {
        return Err(refused("kubectl get pods", &output));
    }
    let list = serde_json::from_slice(&output.stdout)
        .map_err(|_| Failure::dirty("kubectl's list of pods has an unknown form"))?;
    Ok(Some(Arc::new(list)))
}

fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

/// Whether helm made the object for the release. Hooks carry no owner, but the labels that all charts set.
fn belongs(item: &Value, release: &str) -> bool {
    let annotation = |name: &str| item.pointer("/metadata/annotations")?.get(name)?.as_str();
    if annotation(OWNER) == Some(release) {
        return true;
    }
    let labels = item.pointer("/metadata/labels");
    let label = |name: &str| labels.and_then(|labels| labels.get(name)?.as_str());
    let named = ["release", "app.kubernetes.io/instance"]
        .map(label)
        .contains(&Some(release));
    annotation(HOOK).is_some() && named
}

fn selects(selector: &Value, pod: &Value) -> bool {
    let Some(wanted) = selector.as_object().filter(|wanted| !wanted.is_empty()) else {
        return false;
    };
    let labels = pod.pointer("/metadata/labels");
    wanted
        .iter()
        .all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
}

fn workload(item: &Value, name: String) -> Workload {
    let (ready, wanted) = if text(item, "/kind") == "DaemonSet" {
        (
            number(item, "/status/numberReady"),
            number(item, "/status/desiredNumberScheduled"),
        )
    } else {
        // Without a number, one is meant.
        let wanted = item.pointer("/spec/replicas");
        let wanted = wanted.map_or(1, |count| count.as_u64().unwrap_or(1));
        (number(item, "/status/readyReplicas"), wanted)
    };
    Workload {
        name,
        ready,
        wanted,
    }
}

fn sick(pod: &Value) -> Option<Sick> {
    let phase = text(pod, "/status/phase");
    if phase == "Succeeded" {
        return None;
    }
    let list = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut statuses = list("/status/initContainerStatuses");
    statuses.extend(list("/status/containerStatuses"));
    let whole = Sick {
        pod: text(pod, "/metadata/name").to_owned(),
        container: String::new(),
        node: text(pod, "/spec/nodeName").to_owned(),
        image: String::new(),
        reason: String::new(),
        message: String::new(),
        restarts: 0,
    };
    for status in &statuses {
        let waiting = status.pointer("/state/waiting");
        let done = text(status, "/state/terminated/reason") == "Completed";
        let ready = status.get("ready").and_then(Value::as_bool) == Some(true);
        if ready || done {
            continue;
        }
        let reason = waiting.map_or("", |waiting| text(waiting, "/reason"));
        return Some(Sick {
            container: text(status, "/name").to_owned(),
            image: text(status, "/image").to_owned(),
            reason: reason.to_owned(),
            message: waiting
                .map_or("", |waiting| text(waiting, "/message"))
                .to_owned(),
            restarts: number(status, "/restartCount"),
            ..whole
        });
    }
    let conditions = list("/status/conditions");
    let unplaced = conditions.iter().find(|condition| {
        text(condition, "/type") == "PodScheduled" && text(condition, "/status") == "False"
    });
    unplaced.map(|condition| Sick {
        reason: text(condition, "/reason").to_owned(),
        message: text(condition, "/message").to_owned(),
        ..whole
    })
}

/// Containers of different pods that fail for the same reason, one each.
pub(super) fn distinct(sick: &[Sick], most: usize) -> Vec<&Sick> {
    let mut seen = BTreeSet::new();
    let mut worst: Vec<&Sick> = sick.iter().collect();
    worst.sort_by_key(|one| {
        (
            !one.hopeless(),
            one.reason.is_empty(),
            one.reason == "ContainerCreating",
        )
    });
    worst.retain(|one| seen.insert((&one.container, &one.reason)));
    worst.truncate(most);
    worst
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list() -> Value {
        let pod = |name: &str, labels: Value, waiting: Value, restarts: u64| {
            json!({
                "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {"nodeName": "kubenode2"},
                "status": {"phase": "Pending", "containerStatuses": [
                    {"name": "brig", "image": "i:1", "ready": false, "restartCount": restarts, "state": {"waiting": waiting}}
                ]},
            })
        };
        let brig = json!({"app": "brig"});
        json!({"items": [
            {"kind": "Deployment", "metadata": {"name": "brig", "annotations": {OWNER: "wire-server"}},
             "spec": {"replicas": 3, "selector": {"matchLabels": brig}}, "status": {"readyReplicas": 1}},
            {"kind": "Deployment", "metadata": {"name": "other", "annotations": {OWNER: "webapp"}},
             "spec": {"selector": {"matchLabels": {"app": "other"}}}, "status": {}},
            {"kind": "Job", "metadata": {"name": "migrate", "labels": {"release": "wire-server"}, "annotations": {HOOK: "pre-install"}},
             "spec": {"selector": {"matchLabels": {"job-name": "migrate"}}}, "status": {"active": 1}},
            pod("brig-1", brig.clone(), json!({"reason": "CrashLoopBackOff"}), 2),
            pod("brig-2", brig, json!({"reason": "ContainerCreating"}), 0),
            pod("other-1", json!({"app": "other"}), json!({"reason": "ImagePullBackOff"}), 0),
        ]})
    }

    #[test]
    fn only_the_releases_own_pods_count() {
        let found = Pods::of(&list(), "wire-server");
        assert_eq!(
            (found.workloads(), found.ready(), found.sick.len()),
            (1, false, 2)
        );
        assert_eq!(found.waiting(), "brig 1/3, job migrate works");
        assert!(!found.hopeless(), "two restarts may heal");
        assert_eq!(found.working_hook().as_deref(), Some("migrate"));
        assert_eq!(distinct(&found.sick, 1)[0].reason, "CrashLoopBackOff");
        assert!(Pods::of(&list(), "webapp").hopeless());
    }
}
