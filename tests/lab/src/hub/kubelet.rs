//! Kubelets for the nodes whose agents have called: the nodes are registered and kept alive, pods that are scheduled run.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api::{self, LEASE, NODE, POD, STATUS, items, name, namespace, text};
use super::{Hub, ingress, logs, pods};
use crate::agent::{Answer, Ask};
use crate::error::{LabError, Result};
use crate::kube::{API_PORT, CLUSTER_IP, NODES};
use crate::sys::{Watch, now_utc};

/// How often a node says that it is alive, in seconds.
const HEARTBEAT_S: u64 = 5;
/// How often a node with pods that lack images looks what it has, in seconds.
const IMAGES_S: u64 = 3;

/// The version of the kubelet that is stood for: the release's, not that of the API server.
const VERSION: &str = "v1.29.10";

/// What is known of a node.
#[derive(Debug, Default)]
struct Known {
    beat: Option<Watch>,
    /// Its images and when they were listed; `None` inside: the node has no container engine, and everything runs.
    images: Option<(Watch, Option<Vec<String>>)>,
}

/// All kubelets.
#[derive(Debug, Default)]
pub(super) struct Kubelets {
    known: BTreeMap<String, Known>,
    /// Addresses of pods, by their uids.
    addresses: BTreeMap<String, usize>,
}

impl Kubelets {
    /// One look at everything.
    pub(super) fn tick(&mut self, hub: &Hub) -> Result<()> {
        let here = hub.agents.nodes();
        let all = api::list(POD)?;
        for (index, (node, ip)) in NODES.iter().enumerate() {
            if !here.iter().any(|name| name == node) {
                self.known.remove(*node);
                continue;
            }
            self.alive(node, ip, index)?;
            let own = |pod: &&Value| text(pod, "/spec/nodeName") == *node;
            let own: Vec<&Value> = all.iter().filter(own).collect();
            hub.agents.keep(node, &ports(&own, index));
            for pod in own {
                self.pod(hub, node, ip, pod)?;
            }
        }
        let there: Vec<&str> = all.iter().map(|pod| text(pod, "/metadata/uid")).collect();
        self.addresses
            .retain(|uid, _| there.contains(&uid.as_str()));
        Ok(())
    }

    fn alive(&mut self, node: &str, ip: &str, index: usize) -> Result<()> {
        let known = self.known.entry(node.to_owned()).or_default();
        if known.beat.is_some_and(|beat| !beat.over(HEARTBEAT_S)) {
            return Ok(());
        }
        let labels = json!({
            "kubernetes.io/hostname": node, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64",
        });
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}});
        api::create(NODE, &object)?;
        let now = now_utc();
        let status = node_status(node, ip, index, &now);
        api::patch(NODE, "", node, STATUS, &json!({"status": status}))?;
        let spec = json!({
            "holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now.replace('Z', ".000000Z"),
        });
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": node, "namespace": "kube-node-lease"}, "spec": spec,
        });
        if !api::create(LEASE, &lease)? {
            api::patch(LEASE, "kube-node-lease", node, "", &json!({"spec": spec}))?;
        }
        known.beat = Some(Watch::start());
        Ok(())
    }

    /// The images of a node, not older than some seconds.
    /// An error: the node does not say.
    fn images(&mut self, hub: &Hub, node: &str) -> Result<Option<Vec<String>>> {
        let known = self.known.entry(node.to_owned()).or_default();
        if let Some((since, images)) = &known.images
            && !since.over(IMAGES_S)
        {
            return Ok(images.clone());
        }
        let Answer::Images(images) = hub.agents.ask(node, &Ask::Images)? else {
            return Err(LabError::check(format!(
                "{node} does not say what images it has"
            )));
        };
        known.images = Some((Watch::start(), images.clone()));
        Ok(images)
    }

    fn pod(&mut self, hub: &Hub, node: &str, ip: &str, pod: &Value) -> Result<()> {
        let (namespace, name) = (namespace(pod), name(pod));
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            return api::delete(POD, namespace, name);
        }
        let status = match text(pod, "/status/phase") {
            "Pending" => {
                // What a node does not say it may have all the same: the pod waits.
                let Ok(images) = self.images(hub, node) else {
                    return Ok(());
                };
                let count = self.addresses.len();
                let uid = text(pod, "/metadata/uid").to_owned();
                let number = *self.addresses.entry(uid).or_insert(count);
                pods::started(pod, ip, number, images.as_deref())
            }
            "Running" => pods::ended(pod),
            _ => None,
        };
        match status {
            Some(status) => api::patch(POD, namespace, name, STATUS, &json!({"status": status})),
            None => Ok(()),
        }
    }
}

/// Which ports a node leads to the hub: the API server's, and the ingress controller's while its pod runs there.
fn ports(own: &[&Value], index: usize) -> Ask {
    let mut ports = BTreeMap::from([(API_PORT, API_PORT)]);
    if own
        .iter()
        .any(|pod| pods::is_ingress(pod) && pods::is_ready(pod))
    {
        ports.extend(ingress::PORTS.map(|(local, first)| (local, ingress::port(first, index))));
    }
    Ask::Listen(ports)
}

fn node_status(node: &str, ip: &str, index: usize, now: &str) -> Value {
    let resources =
        json!({"cpu": "6", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": reason, "lastHeartbeatTime": now, "lastTransitionTime": now});
    json!({
        "addresses": [
            {"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": node},
            // Where the API server finds this kubelet.
            {"type": "ExternalIP", "address": CLUSTER_IP},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": logs::port(index)}},
        "capacity": resources, "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            condition("Ready", "True", "KubeletReady"),
        ],
        "nodeInfo": {
            "kubeletVersion": VERSION, "kubeProxyVersion": VERSION, "containerRuntimeVersion": "containerd://1.7.22",
            "operatingSystem": "linux", "architecture": "amd64", "osImage": "wiab-lab", "kernelVersion": "lab",
            "machineID": node, "systemUUID": node, "bootID": node,
        },
    })
}

/// The pods that a selector's labels choose in a namespace.
pub(super) fn chosen<'a>(all: &'a [Value], in_namespace: &str, selector: &Value) -> Vec<&'a Value> {
    let Some(labels) = selector.as_object().filter(|labels| !labels.is_empty()) else {
        return Vec::new();
    };
    let fits = |pod: &&Value| {
        namespace(pod) == in_namespace
            && labels.iter().all(|(key, value)| {
                let own = pod.pointer("/metadata/labels").and_then(|own| own.get(key));
                own == Some(value)
            })
    };
    all.iter().filter(fits).collect()
}

/// The containers of a pod.
pub(super) fn containers(pod: &Value) -> &[Value] {
    items(pod, "/spec/containers")
}
