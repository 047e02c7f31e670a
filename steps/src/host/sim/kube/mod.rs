//! The simulated cluster: its objects, and how they look at a moment.

pub(crate) mod after;
pub(crate) mod charts;
pub(crate) mod objects;
pub(crate) mod pods;
pub(crate) mod preset;
pub(crate) mod release;
pub(crate) mod trouble;

use serde_json::Value;

use super::cmd::Call;
use super::entity::{KubeApi, KubeObject};
use super::files;
use super::state::{Draft, Entity as _, Machine};
use release::Release;

/// Where kubectl and helm find the cluster.
const KUBECONFIG: &str = "/wire-server-deploy/ansible/inventory/offline/artifacts/admin.conf";

/// Why kubectl and helm cannot reach the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// No configuration: the tools ask the machine that they run on.
    NoConfig,
    /// The server does not answer.
    Refused,
}

/// Whether the API server answers a call from inside the tool container.
pub(crate) fn reachable(draft: &Draft<'_>, call: &Call<'_>) -> Result<(), Unreachable> {
    if files::at(draft, &call.path(draft, KUBECONFIG)).is_none() {
        return Err(Unreachable::NoConfig);
    }
    if draft.has::<KubeApi>("") {
        Ok(())
    } else {
        Err(Unreachable::Refused)
    }
}

/// Kinds without a namespace.
const CLUSTER_WIDE: [&str; 4] = ["Node", "Namespace", "ClusterIssuer", "IngressClass"];

/// Whether objects of a kind live outside namespaces.
pub(crate) fn cluster_wide(kind: &str) -> bool {
    CLUSTER_WIDE.contains(&kind)
}

/// The entity's name: `kind/namespace/name`.
pub(crate) fn key(kind: &str, namespace: &str, name: &str) -> String {
    let namespace = if cluster_wide(kind) { "" } else { namespace };
    format!("{kind}/{namespace}/{name}")
}

/// An object as it is now.
pub(crate) fn get(draft: &Draft<'_>, kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let object = draft.get::<KubeObject>(&key(kind, namespace, name))?;
    Some(pods::view(draft, &object))
}

/// All objects of a kind as they are now; of one namespace, or of all.
pub(crate) fn list(draft: &Draft<'_>, kind: &str, namespace: Option<&str>) -> Vec<Value> {
    let found = raw(draft, kind, namespace);
    found
        .iter()
        .map(|object| pods::view(draft, object))
        .collect()
}

/// All objects of a kind as they are stored.
pub(crate) fn raw(draft: &Draft<'_>, kind: &str, namespace: Option<&str>) -> Vec<KubeObject> {
    let prefix = match namespace.filter(|_| !cluster_wide(kind)) {
        Some(namespace) => format!("{kind}/{namespace}/"),
        None => format!("{kind}/"),
    };
    let names = draft.names::<KubeObject>(&prefix);
    let found = names
        .iter()
        .filter_map(|name| draft.get::<KubeObject>(name));
    found.collect()
}

/// Sets an object that is ready at once.
pub(crate) fn put(draft: &mut Draft<'_>, json: Value) {
    put_ready(draft, json, Some(0));
}

/// Sets an object that is ready from a moment on.
pub(crate) fn put_ready(draft: &mut Draft<'_>, json: Value, ready_ms: Option<u64>) {
    let name = key(
        text(&json, "/kind"),
        text(&json, "/metadata/namespace"),
        text(&json, "/metadata/name"),
    );
    draft.put(&name, &KubeObject { json, ready_ms });
}

/// Removes an object; whether it was there.
pub(crate) fn del(draft: &mut Draft<'_>, kind: &str, namespace: &str, name: &str) -> bool {
    let name = key(kind, namespace, name);
    let there = draft.has::<KubeObject>(&name);
    draft.del::<KubeObject>(&name);
    there
}

/// A text inside an object; empty if it is not there.
pub(crate) fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Sets a field of an object inside an object; missing ones on the way are made.
pub(crate) fn set(json: &mut Value, path: &[&str], value: Value) {
    let mut place = json;
    for name in path {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        let Some(fields) = place.as_object_mut() else {
            return;
        };
        place = fields.entry(*name).or_insert(Value::Null);
    }
    *place = value;
}

/// Names of the nodes, in order.
pub(crate) fn nodes(draft: &Draft<'_>) -> Vec<String> {
    let names = draft.names::<KubeObject>("Node//");
    let names = names.iter().filter_map(|name| name.rsplit('/').next());
    names.map(str::to_owned).collect()
}

/// What an object is like whatever the time, for comparisons; `None` for what does not count: the history of a release.
pub(crate) fn canonical(machine: &Machine, name: &str) -> Option<(String, Value)> {
    let object = machine.get::<KubeObject>(name)?;
    let ready = object
        .ready_ms
        .is_some_and(|ready_ms| ready_ms <= machine.now_ms);
    let key = format!("{}:{name}", KubeObject::KIND);
    match Release::of(&object.json) {
        None => {
            let json = super::acme::canonical(machine, &object.json)?;
            Some((key, serde_json::json!({"json": json, "ready": ready})))
        }
        Some(release) => {
            let draft = Draft::new(machine);
            let last = Release::last(&draft, &release.namespace, &release.name)?;
            let key = key.rsplit_once(".v").map_or("", |(key, _)| key).to_owned();
            (last.revision == release.revision).then(|| (key, release.canonical()))
        }
    }
}
