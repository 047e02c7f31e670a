//! How objects look at a moment: pods with their troubles, workloads that count them, events, logs.

use serde_json::{Value, json};

use super::super::entity::KubeObject;
use super::super::state::Draft;
use super::charts::{self, Part, Runs};
use super::release::Release;
use super::text;
use super::trouble::{self, Trouble};

/// From a container's start to its end when it cannot work.
const CRASH_MS: u64 = 6_000;
/// The longest pause before a container is started again.
const BACKOFF_MS_MAX: u64 = 300_000;
/// From a pod's start until its image was tried for the first time.
const PULL_MS: u64 = 4_000;

/// An object as `kubectl get -o json` shows it now.
pub(crate) fn view(draft: &Draft<'_>, object: &KubeObject) -> Value {
    let mut json = object.json.clone();
    let status = match text(&json, "/kind") {
        "Pod" => Pod::of(draft, object).map(|pod| pod.status()),
        "Deployment" | "StatefulSet" => workload(draft, &json),
        "DaemonSet" => workload(draft, &json).map(|counts| {
            let desired = counts.get("replicas").cloned();
            let ready = counts.get("readyReplicas").cloned();
            json!({"desiredNumberScheduled": desired, "numberReady": ready, "numberAvailable": ready, "updatedNumberScheduled": desired})
        }),
        "Job" => job(draft, &json),
        _ => None,
    };
    if let Some(status) = status {
        super::set(&mut json, &["status"], status);
    }
    json
}

/// A pod of a release, and what it does now.
pub(crate) struct Pod {
    name: String,
    part: Part,
    node: String,
    image: String,
    pub(crate) trouble: Option<Trouble>,
    ready_ms: u64,
    /// Since its start.
    age_ms: u64,
    now_ms: u64,
}

impl Pod {
    /// `None` for pods that no release started: they are as they are stored.
    pub(crate) fn of(draft: &Draft<'_>, object: &KubeObject) -> Option<Self> {
        let json = &object.json;
        let namespace = text(json, "/metadata/namespace");
        let release = Release::last(draft, namespace, text(json, "/metadata/labels/release"))?;
        let part = charts::part_of(&release.chart, text(json, "/metadata/labels/app"))?;
        let node = text(json, "/spec/nodeName").to_owned();
        let (ready_ms, now_ms) = (object.ready_ms?, draft.now_ms());
        Some(Self {
            name: text(json, "/metadata/name").to_owned(),
            trouble: trouble::of(draft, &release, &part, &node),
            image: text(json, "/spec/containers/0/image").to_owned(),
            part,
            node,
            ready_ms,
            age_ms: (now_ms + part.ms).saturating_sub(ready_ms),
            now_ms,
        })
    }

    /// What its start takes.
    pub(crate) fn start_ms(&self) -> u64 {
        self.part.ms
    }

    fn ready(&self) -> bool {
        self.trouble.is_none() && self.ready_ms <= self.now_ms
    }

    /// How often its container was started again.
    fn restarts(&self) -> u64 {
        let (mut at_ms, mut pause_ms, mut count) = (CRASH_MS, 10_000, 0);
        while at_ms + pause_ms <= self.age_ms {
            at_ms += pause_ms + CRASH_MS;
            pause_ms = (pause_ms * 2).min(BACKOFF_MS_MAX);
            count += 1;
        }
        count
    }

    fn waiting(&self) -> Option<(&'static str, String)> {
        match &self.trouble {
            Some(Trouble::Pull { image }) if self.age_ms >= 2 * PULL_MS => Some((
                "ImagePullBackOff",
                format!("Back-off pulling image \"{image}\""),
            )),
            Some(Trouble::Pull { image }) if self.age_ms >= PULL_MS => Some((
                "ErrImagePull",
                format!(
                    "failed to pull and unpack image \"{image}\": dial tcp: lookup registry: i/o timeout"
                ),
            )),
            Some(Trouble::Crash { .. }) if self.age_ms >= CRASH_MS => Some((
                "CrashLoopBackOff",
                format!(
                    "back-off restarting failed container={} pod={}",
                    self.part.name, self.name
                ),
            )),
            Some(Trouble::Pull { .. } | Trouble::Crash { .. }) => {
                Some(("ContainerCreating", String::new()))
            }
            Some(Trouble::Unschedulable) => None,
            None => (!self.ready()).then(|| ("ContainerCreating", String::new())),
        }
    }

    fn status(&self) -> Value {
        let ready = self.ready();
        let condition = |kind: &str, yes: bool| json!({"type": kind, "status": if yes { "True" } else { "False" }});
        if self.trouble == Some(Trouble::Unschedulable) {
            let why =
                "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.";
            return json!({
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}],
            });
        }
        let finished = ready && self.part.runs == Runs::PreHook;
        let mut container = json!({
            "name": self.part.name, "image": self.image, "ready": ready && !finished, "restartCount": 0,
        });
        let state = match self.waiting() {
            Some((reason, message)) => json!({"waiting": {"reason": reason, "message": message}}),
            None if finished => json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
            None => json!({"running": {}}),
        };
        super::set(&mut container, &["state"], state);
        if matches!(self.trouble, Some(Trouble::Crash { .. })) {
            super::set(&mut container, &["restartCount"], json!(self.restarts()));
            let last = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
            super::set(&mut container, &["lastState"], last);
        }
        json!({
            "phase": if finished { "Succeeded" } else if self.waiting().is_none() { "Running" } else { "Pending" },
            "conditions": [condition("Ready", ready), condition("PodScheduled", true)],
            "containerStatuses": [container],
        })
    }

    /// What its container said last.
    pub(crate) fn log(&self) -> Result<String, String> {
        match &self.trouble {
            Some(Trouble::Crash { log }) => Ok(format!(
                "{{\"level\":\"Info\",\"message\":\"{} starting\"}}\n{log}\n",
                self.part.name
            )),
            Some(Trouble::Pull { .. }) => Err(format!(
                "container \"{}\" in pod \"{}\" is waiting to start: trying and failing to pull image",
                self.part.name, self.name
            )),
            Some(Trouble::Unschedulable) => Err(format!("pod \"{}\" has no node", self.name)),
            None => Ok(format!(
                "{{\"level\":\"Info\",\"message\":\"{} started\"}}\n",
                self.part.name
            )),
        }
    }

    /// What the cluster noted about it: reason and message.
    pub(crate) fn events(&self) -> Vec<(&'static str, String)> {
        match &self.trouble {
            None => Vec::new(),
            Some(Trouble::Unschedulable) => vec![(
                "FailedScheduling",
                "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
                    .to_owned(),
            )],
            Some(Trouble::Pull { image }) => vec![(
                "Failed",
                format!(
                    "Failed to pull image \"{image}\" on {}: dial tcp: lookup registry: i/o timeout",
                    self.node
                ),
            )],
            Some(Trouble::Crash { .. }) => vec![(
                "BackOff",
                format!(
                    "Back-off restarting failed container {} in pod {}",
                    self.part.name, self.name
                ),
            )],
        }
    }
}

/// The counts of a workload whose pods carry its labels.
fn workload(draft: &Draft<'_>, json: &Value) -> Option<Value> {
    let wanted = json.pointer("/spec/replicas")?.as_u64()?;
    let labels = json.pointer("/spec/selector/matchLabels")?.as_object()?;
    let pods = super::raw(draft, "Pod", Some(text(json, "/metadata/namespace")));
    let mine = pods.iter().filter(|pod| {
        let own = pod.json.pointer("/metadata/labels");
        labels
            .iter()
            .all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
    });
    let ready = mine
        .filter_map(|pod| Pod::of(draft, pod))
        .filter(Pod::ready)
        .count();
    Some(
        json!({"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready, "availableReplicas": ready}),
    )
}

fn job(draft: &Draft<'_>, json: &Value) -> Option<Value> {
    let name = text(json, "/metadata/name");
    let pods = super::raw(draft, "Pod", Some(text(json, "/metadata/namespace")));
    let mut mine = pods
        .iter()
        .filter(|pod| text(&pod.json, "/metadata/labels/job-name") == name);
    let pod = Pod::of(draft, mine.next()?)?;
    Some(if pod.ready() {
        json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]})
    } else {
        json!({"active": 1})
    })
}

/// Events of one pod, or of all of a namespace, as kubectl lists them.
pub(crate) fn events(draft: &Draft<'_>, namespace: &str, of: Option<&str>) -> Vec<Value> {
    let pods = super::raw(draft, "Pod", Some(namespace));
    let found = pods.iter().filter_map(|object| Pod::of(draft, object));
    let found = found.filter(|pod| of.is_none_or(|name| name == pod.name));
    let events = found.flat_map(|pod| {
        let list = pod.events().into_iter();
        list.map(move |(reason, message)| {
            json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": format!("{}.{reason}", pod.name), "namespace": namespace},
                "involvedObject": {"kind": "Pod", "name": pod.name, "namespace": namespace},
                "type": "Warning", "reason": reason, "message": message,
            })
        })
        .collect::<Vec<_>>()
    });
    events.collect()
}
