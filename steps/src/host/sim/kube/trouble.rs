//! Why a part of a release does not run: always told by the state of cluster and machines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::entity::{Inside, KubeObject};
use super::super::inside as vm;
use super::super::state::Draft;
use super::charts::{Need, Part};
use super::release::Release;

/// The secret with the passwords of `PostgreSQL`.
const POSTGRES: &str = "Secret/default/wire-postgresql-external-secret";
/// Where a node of Cassandra keeps its schema.
const CASSANDRA: &str = "/mnt/cassandra/data/schema";
const DATA_NODES: [&str; 3] = ["datanode1", "datanode2", "datanode3"];

/// What keeps a pod from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No node takes it.
    Unschedulable,
    /// Its image is not on its node, and there is no registry.
    Pull { image: String },
    /// It ends soon after each start, with this last line.
    Crash { log: String },
}

/// What is wrong with a part of a release on a node; `None` if it comes up.
pub(crate) fn of(draft: &Draft<'_>, release: &Release, part: &Part, node: &str) -> Option<Trouble> {
    if node.is_empty() {
        return Some(Trouble::Unschedulable);
    }
    let image = release.images.get(part.name).cloned().unwrap_or_default();
    if !has_image(draft, node, &image) {
        return Some(Trouble::Pull { image });
    }
    let logs = part.needs.iter().filter_map(|need| {
        let log = unmet(draft, release, part, *need)?;
        Some(Trouble::Crash { log })
    });
    logs.into_iter().next()
}

fn inside(draft: &Draft<'_>, name: &str) -> Option<Value> {
    draft.get::<Inside>(name).map(|inside| inside.value)
}

/// The full form of an image's name.
fn full(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    if first.contains('.') || first.contains(':') && image.contains('/') {
        image.to_owned()
    } else if image.contains('/') {
        format!("docker.io/{image}")
    } else {
        format!("docker.io/library/{image}")
    }
}

fn has_image(draft: &Draft<'_>, node: &str, image: &str) -> bool {
    let Some(Value::Array(images)) = inside(draft, &format!("{node}/images")) else {
        return false;
    };
    let wanted = full(image);
    images
        .iter()
        .filter_map(Value::as_str)
        .any(|there| full(there) == wanted)
}

/// The last line of a part whose need is not met.
fn unmet(draft: &Draft<'_>, release: &Release, part: &Part, need: Need) -> Option<String> {
    let of_part = |key: &str| {
        release
            .config
            .pointer(&format!("/{}/secrets{key}", part.name))
    };
    match need {
        Need::Service(name) => (!serves(draft, name)).then(|| {
            format!("Network.Socket.getAddrInfo (called with preferred socket type/protocol: {name}): does not exist (Name or service not known)")
        }),
        Need::CassandraAll => cassandra(draft),
        Need::Postgres => {
            let given = of_part("/pgPassword").and_then(Value::as_str);
            (given != password(draft).as_deref()).then(|| {
                "FATAL:  password authentication failed for user \"wire-server\"".to_owned()
            })
        }
        Need::Rabbit => {
            let users = inside(draft, "datanode1/rabbitmq/users")?;
            let user = of_part("/rabbitmq/username").and_then(Value::as_str).unwrap_or("guest");
            let given = of_part("/rabbitmq/password").and_then(Value::as_str).unwrap_or("guest");
            let known = users.get(user).and_then(Value::as_str) == Some(given);
            (!known).then(|| {
                format!("RabbitMQ connection closed: ConnectionClosedException Abnormal \"Handshake failed. Please check the RabbitMQ logs for more information\" (user {user})")
            })
        }
        Need::Elasticsearch => {
            let mapping = inside(draft, "datanode1/elasticsearch/mapping")?;
            let kind = mapping.get("email").and_then(Value::as_str)?;
            (kind != "text").then(|| {
                format!("EsError {{errorStatus = 400, errorMessage = \"illegal_argument_exception: mapper [email] cannot be changed from type [{kind}] to [text]\"}}")
            })
        }
    }
}

/// The password of `PostgreSQL`'s user, as the cluster's secret has it.
fn password(draft: &Draft<'_>) -> Option<String> {
    let secret = draft.get::<KubeObject>(POSTGRES)?.json;
    let data = secret.pointer("/data/password")?.as_str()?;
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

/// Whether a service exists and leads anywhere.
fn serves(draft: &Draft<'_>, name: &str) -> bool {
    if !draft.has::<KubeObject>(&format!("Service/default/{name}")) {
        return false;
    }
    let endpoints = draft.get::<KubeObject>(&format!("Endpoints/default/{name}"));
    endpoints.is_none_or(|endpoints| {
        let addresses = endpoints.json.pointer("/subsets/0/addresses");
        addresses
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
    })
}

/// Why a migration of Cassandra fails: it wants every node and one schema.
fn cassandra(draft: &Draft<'_>) -> Option<String> {
    let up = DATA_NODES
        .iter()
        .filter(|node| vm::runs(draft, node, "cassandra"))
        .count();
    if up < DATA_NODES.len() {
        return Some(format!(
            "Unavailable {{required = 3, alive = {up}}}: Cannot achieve consistency level ALL"
        ));
    }
    let schemas = DATA_NODES
        .iter()
        .map(|node| vm::text(draft, node, CASSANDRA));
    let mut schemas: Vec<String> = schemas.flatten().collect();
    schemas.sort();
    schemas.dedup();
    (schemas.len() > 1).then(|| {
        "Column family ID mismatch: the nodes have different versions of the schema".to_owned()
    })
}
