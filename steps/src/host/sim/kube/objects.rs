//! The objects that a release consists of.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::cmd::spread;
use super::super::entity::KubeObject;
use super::super::state::Draft;
use super::charts::{self, Part, Runs};
use super::release::Release;
use super::trouble::{self, Trouble};

/// An object, and when it is ready.
pub(crate) type Wanted = (Value, Option<u64>);

/// Names the owner of an object, as helm does.
pub(crate) const OWNER: &str = "meta.helm.sh/release-name";

fn meta(release: &Release, name: &str) -> Value {
    json!({
        "name": name, "namespace": release.namespace,
        "labels": {"app": name, "release": release.name, "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {OWNER: release.name, "meta.helm.sh/release-namespace": release.namespace},
    })
}

/// Changes when the pods of a release must be started anew.
fn hash(release: &Release, part: &Part) -> String {
    let image = release.images.get(part.name);
    let text = json!([release.config, image, release.version]).to_string();
    format!("{:08x}", spread(&text, 1 << 32))
}

/// The node of each pod of a part; empty texts where none takes it.
fn places(draft: &Draft<'_>, release: &Release, runs: Runs) -> Vec<String> {
    let mut nodes = super::nodes(draft);
    let selector = release
        .config
        .pointer("/nodeSelector/kubernetes.io~1hostname");
    if let Some(node) = selector.and_then(Value::as_str) {
        nodes.retain(|name| name == node);
    }
    let count = match runs {
        Runs::DaemonSet => return nodes,
        Runs::PreHook => 1,
        Runs::Deployment(count) | Runs::StatefulSet(count) => usize::try_from(count).unwrap_or(1),
    };
    (0..count)
        .map(|index| {
            nodes
                .get(index % nodes.len().max(1))
                .cloned()
                .unwrap_or_default()
        })
        .collect()
}

fn pod(release: &Release, part: &Part, node: &str, name: &str) -> Value {
    let mut labels = json!({"app": part.name, "release": release.name});
    if part.runs == Runs::PreHook
        && let Some(labels) = labels.as_object_mut()
    {
        labels.insert("job-name".to_owned(), json!(part.name));
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": release.namespace, "labels": labels},
        "spec": {
            "nodeName": node,
            "containers": [{"name": part.name, "image": release.images.get(part.name)}],
        },
    })
}

fn workload(release: &Release, part: &Part, replicas: usize) -> Value {
    let mut metadata = meta(release, part.name);
    if part.runs == Runs::PreHook {
        let hook = json!({"helm.sh/hook": "pre-install,pre-upgrade"});
        super::set(&mut metadata, &["annotations"], hook);
        return json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
            "spec": {"selector": {"matchLabels": {"job-name": part.name}}},
        });
    }
    json!({
        "apiVersion": "apps/v1", "kind": part.runs.kind(), "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": part.name, "release": release.name}},
        },
    })
}

/// A part's workload and pods. `start_ms` is when they start.
pub(crate) fn part(
    draft: &Draft<'_>,
    release: &Release,
    part: &Part,
    start_ms: u64,
) -> Vec<Wanted> {
    let places = places(draft, release, part.runs);
    let hash = hash(release, part);
    let mut all = vec![(workload(release, part, places.len()), Some(start_ms))];
    for (index, node) in places.iter().enumerate() {
        let name = match part.runs {
            Runs::StatefulSet(_) => format!("{}-{index}", part.name),
            Runs::Deployment(_) | Runs::DaemonSet | Runs::PreHook => {
                format!("{}-{hash}-{index}", part.name)
            }
        };
        let mut pod = pod(release, part, node, &name);
        super::set(
            &mut pod,
            &["metadata", "labels", "pod-template-hash"],
            json!(hash),
        );
        all.push((pod, Some(start_ms + part.ms)));
    }
    all
}

fn addresses(config: &Value, service: &str) -> Option<Vec<Value>> {
    let key = match service {
        "postgresql-external-rw" => "RWIPs",
        "postgresql-external-ro" => "ROIPs",
        name if name.ends_with("-external") => "IPs",
        _ => return None,
    };
    let list = config.get(key).and_then(Value::as_array);
    let ips = list.into_iter().flatten();
    Some(ips.map(|ip| json!({"ip": ip})).collect())
}

/// Services and endpoints.
fn services(release: &Release) -> Vec<Wanted> {
    let own = charts::parts(&release.chart).iter();
    let own = own
        .filter(|part| part.runs != Runs::PreHook)
        .map(|part| part.name);
    let mut names: Vec<&str> = own.collect();
    names.extend(charts::services(&release.chart));
    let mut all = Vec::new();
    for name in names {
        let balanced = release.chart == "ingress-nginx-controller";
        let kind = match release
            .config
            .pointer("/ingress-nginx/controller/service/type")
        {
            Some(kind) if balanced => kind.clone(),
            _ if balanced => json!("LoadBalancer"),
            _ => json!("ClusterIP"),
        };
        all.push((
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(release, name), "spec": {"type": kind}}),
            Some(0),
        ));
        if let Some(addresses) = addresses(&release.config, name) {
            all.push((
                json!({
                    "apiVersion": "v1", "kind": "Endpoints", "metadata": meta(release, name),
                    "subsets": [{"addresses": addresses}],
                }),
                Some(0),
            ));
        }
    }
    all
}

/// Everything of a release but its hooks.
pub(crate) fn wanted(draft: &Draft<'_>, release: &Release, start_ms: u64) -> Vec<Wanted> {
    let parts = charts::parts(&release.chart).iter();
    let workloads = parts
        .filter(|one| one.runs != Runs::PreHook)
        .flat_map(|one| part(draft, release, one, start_ms));
    workloads.chain(services(release)).collect()
}

/// Brings a release's objects to what it wants; what is as wanted already is not started anew.
pub(crate) fn set(draft: &mut Draft<'_>, release: &Release, start_ms: u64) {
    let wanted = wanted(draft, release, start_ms);
    let names: Vec<(String, String)> = wanted.iter().map(|(json, _)| name_of(json)).collect();
    for (kind, name) in owned(draft, release) {
        if !names.contains(&(kind.clone(), name.clone())) {
            super::del(draft, &kind, &release.namespace, &name);
        }
    }
    for (json, ready_ms) in wanted {
        let (kind, name) = name_of(&json);
        let key = super::key(&kind, &release.namespace, &name);
        let old = draft.get::<KubeObject>(&key);
        if old.is_none_or(|old| old.json != json) {
            super::put_ready(draft, json, ready_ms);
        }
    }
}

fn name_of(json: &Value) -> (String, String) {
    let text = |pointer| super::text(json, pointer).to_owned();
    (text("/kind"), text("/metadata/name"))
}

/// Kind and name of everything that belongs to a release, its hooks' leftovers included.
pub(crate) fn owned(draft: &Draft<'_>, release: &Release) -> Vec<(String, String)> {
    let names = draft.names::<KubeObject>("");
    let found = names.iter().filter_map(|key| {
        let object = draft.get::<KubeObject>(key)?;
        let owner = object
            .json
            .pointer("/metadata/annotations")?
            .get(OWNER)?
            .as_str()?;
        let here = super::text(&object.json, "/metadata/namespace") == release.namespace;
        (owner == release.name && here).then(|| name_of(&object.json))
    });
    let mut all: Vec<_> = found.collect();
    let pods = names.iter().filter_map(|key| {
        let prefix = format!("Pod/{}/", release.namespace);
        let object = key
            .strip_prefix(&prefix)
            .and(draft.get::<KubeObject>(key))?;
        let of = super::text(&object.json, "/metadata/labels/release") == release.name;
        of.then(|| name_of(&object.json))
    });
    all.extend(pods);
    all
}

/// Removes the pods and jobs of hooks.
pub(crate) fn drop_hooks(draft: &mut Draft<'_>, release: &Release) {
    for part in charts::parts(&release.chart) {
        if part.runs != Runs::PreHook {
            continue;
        }
        super::del(draft, "Job", &release.namespace, part.name);
        let prefix = format!("Pod/{}/{}-", release.namespace, part.name);
        for key in draft.names::<KubeObject>(&prefix) {
            draft.del::<KubeObject>(&key);
        }
    }
}

/// When everything of a release is ready; the first pod's trouble if that is never.
pub(crate) fn ready_at(draft: &Draft<'_>, release: &Release) -> Result<u64, Trouble> {
    let mut at_ms = 0;
    for part in charts::parts(&release.chart) {
        if part.runs == Runs::PreHook {
            continue;
        }
        for pod in super::raw(draft, "Pod", Some(&release.namespace)) {
            if super::text(&pod.json, "/metadata/labels/app") != part.name
                || super::text(&pod.json, "/metadata/labels/release") != release.name
            {
                continue;
            }
            let node = super::text(&pod.json, "/spec/nodeName");
            if let Some(trouble) = trouble::of(draft, release, part, node) {
                return Err(trouble);
            }
            at_ms = at_ms.max(pod.ready_ms.unwrap_or_default());
        }
    }
    let services = super::raw(draft, "Service", Some(&release.namespace));
    let waits = services.iter().any(|service| {
        super::text(&service.json, "/spec/type") == "LoadBalancer"
            && super::text(&service.json, "/metadata/labels/release") == release.name
    });
    if waits {
        Err(Trouble::Unschedulable)
    } else {
        Ok(at_ms)
    }
}

/// Images of the parts of a chart, from the release's list of images: the one of the same last name, else the table's.
pub(crate) fn images(
    chart: &str,
    app_version: &str,
    listed: &[String],
    config: &Value,
) -> BTreeMap<String, String> {
    let last = |image: &str| {
        let name = image.rsplit('/').next().unwrap_or_default();
        let name = name.split(['@', ':']).next().unwrap_or_default();
        name.to_owned()
    };
    let parts = charts::parts(chart).iter().map(|part| {
        let key = match part.name {
            "sftd-join-call" => "/joinCall/image",
            _ => "/image",
        };
        let given = config.pointer(key).and_then(|image| {
            let repository = image
                .get("repository")
                .and_then(Value::as_str)
                .unwrap_or(part.image);
            Some(format!("{repository}:{}", image.get("tag")?.as_str()?))
        });
        let fitting = listed.iter().find(|image| last(image) == last(part.image));
        let fitting = fitting.filter(|_| part.name != "sftd-join-call").cloned();
        // The helper's own default is named by its hash, which no archive of images keeps.
        let default = match part.name {
            "sftd-join-call" => format!("{}@sha256:{}", part.image, "0".repeat(64)),
            _ => format!("{}:{app_version}", part.image),
        };
        let image = given.or(fitting).unwrap_or(default);
        (part.name.to_owned(), image)
    });
    parts.collect()
}
