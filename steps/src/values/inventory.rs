//! The ansible inventory, from the release's own: addresses, interfaces, primary and key; the operator's overlay last.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{NodeName, RenderError, merge};
use crate::yaml::{Document, Origin, Why, YamlError, YamlPath, changed_paths};

/// Path of the release's inventory inside the artifact.
pub const TEMPLATE: &str = "ansible/inventory/offline/staging.yml";

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves packages and images.
    Asset,
    /// A Kubernetes node.
    Kube,
    /// A node of the databases.
    Data,
}

/// The groups whose hosts have addresses.
pub(crate) const GROUPS: [(&str, Role); 3] = [
    ("assethost", Role::Asset),
    ("kube-node", Role::Kube),
    ("datanodes", Role::Data),
];
/// Group and variable of every service that must know its interface.
pub(crate) const INTERFACES: [(&str, &str); 5] = [
    ("cassandra", "cassandra_network_interface"),
    ("elasticsearch", "elasticsearch_network_interface"),
    ("minio", "minio_network_interface"),
    ("rmq-cluster", "rabbitmq_network_interface"),
    ("postgresql", "postgresql_network_interface"),
];
/// Bytes that vxlan takes from every packet.
const VXLAN_BYTES: u32 = 50;
/// The usual MTU, for which kubespray's own values are right.
const MTU: u32 = 1_500;
/// Least MTU that IPv4 networks are run with.
const MTU_MIN: u32 = 576;
/// Rank among standbys that the template does not name.
const STANDBY_PRIORITY: u32 = 40;

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryHost {
    /// Its name, which is its host name.
    pub name: NodeName,
    /// What it is for.
    pub role: Role,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its user, where that is not the usual one.
    pub user: Option<String>,
    /// Its port of ssh, where that is not the usual one.
    pub port: Option<u16>,
}

/// What the inventory is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Every host of the inventory; the first data node is the primary of the databases.
    pub hosts: Vec<InventoryHost>,
    /// The interface of the data nodes: letters, digits, `.`, `_`, `-`.
    pub interface: String,
    /// Path of the private key, relative to the deploy directory.
    pub key_file: String,
    /// The user that ansible logs in as; `None` leaves the template's.
    pub user: Option<String>,
    /// Arguments of ssh; `None` leaves the template's, which check no host keys. Variables of the group `all` in files win
    /// over these, and extra variables of a run over both.
    pub ssh_args: Option<String>,
    /// MTU of the hosts' interfaces, in bytes; below 1500 the pods' network is told.
    pub mtu: u32,
}

impl Hosts {
    fn of(&self, role: Role) -> Vec<&InventoryHost> {
        self.hosts.iter().filter(|host| host.role == role).collect()
    }
}

/// Renders the inventory of a release, which messages call `release`; answers its text and the changed paths.
pub fn render(
    template: &str,
    hosts: &Hosts,
    release: &str,
    overlay: Option<&Document>,
) -> Result<(String, Vec<YamlPath>), RenderError> {
    let before = Document::parse(template, Origin::of_release(TEMPLATE, release))?;
    let mut after = before.clone();
    for (group, role) in GROUPS {
        members(&mut after, group, &hosts.of(role))?;
    }
    if !hosts.of(Role::Data).is_empty() {
        let interface = interface(&before, hosts)?;
        for (group, variable) in INTERFACES {
            fill(&mut after, &[group, "vars", variable], &interface)?;
        }
    }
    data_nodes(&mut after, hosts)?;
    let all = at(&["all", "vars"]);
    let key = Value::from(hosts.key_file.as_str());
    after.set(&all.key("ansible_ssh_private_key_file"), &key)?;
    for (name, value) in [
        ("ansible_user", &hosts.user),
        ("ansible_ssh_common_args", &hosts.ssh_args),
    ] {
        if let Some(value) = value {
            after.set(&all.key(name), &Value::from(value.as_str()))?;
        }
    }
    mtu(&mut after, hosts.mtu)?;
    if let Some(overlay) = overlay {
        merge(&mut after, overlay)?;
    }
    let changed = changed_paths(&before, &after);
    Ok((after.text().to_owned(), changed))
}

fn at(keys: &[&str]) -> YamlPath {
    keys.iter()
        .fold(YamlPath::root(), |path, key| path.key(key))
}

fn fill(document: &mut Document, keys: &[&str], value: &str) -> Result<(), YamlError> {
    let path = at(keys);
    document.need(&path)?;
    document.set(&path, &Value::from(value)).map(drop)
}

fn interface(document: &Document, hosts: &Hosts) -> Result<String, YamlError> {
    let name = &hosts.interface;
    let fine = (1..=15).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fine {
        return Ok(name.clone());
    }
    let why = Why::Shape {
        expected: "the name of a network interface".to_owned(),
        found: format!("`{}`", name.escape_debug()),
    };
    Err(document.error(&at(&["cassandra", "vars"]), why))
}

fn mapping(document: &Document, path: &YamlPath) -> Result<Map<String, Value>, YamlError> {
    match document.need(path)? {
        Value::Object(map) => Ok(map),
        found => {
            let why = Why::Shape {
                expected: "a mapping".to_owned(),
                found: format!("`{found}`"),
            };
            Err(document.error(path, why))
        }
    }
}

/// The keys of a mapping become these, in this order; keys that stay keep their lines.
fn rename(
    document: &mut Document,
    path: &YamlPath,
    wanted: Map<String, Value>,
) -> Result<(), YamlError> {
    let found = mapping(document, path)?;
    if found.keys().eq(wanted.keys()) {
        return Ok(());
    }
    document.set(path, &Value::Object(wanted)).map(drop)
}

/// The hosts of a group, with their addresses.
fn members(
    document: &mut Document,
    group: &str,
    hosts: &[&InventoryHost],
) -> Result<(), YamlError> {
    let path = at(&[group, "hosts"]);
    let found = mapping(document, &path)?;
    for (name, vars) in &found {
        if vars.get("ansible_host").is_none() {
            return Err(document.error(&path.key(name).key("ansible_host"), Why::Missing));
        }
    }
    let wanted = hosts.iter().map(|host| {
        let name = host.name.as_str().to_owned();
        (name, json!({"ansible_host": host.ip.to_string()}))
    });
    rename(document, &path, wanted.collect())?;
    for host in hosts {
        let own = path.key(host.name.as_str());
        let ip = Value::from(host.ip.to_string());
        document.set(&own.key("ansible_host"), &ip)?;
        if let Some(user) = &host.user {
            document.set(&own.key("ansible_user"), &Value::from(user.as_str()))?;
        }
        if let Some(port) = host.port {
            document.set(&own.key("ansible_port"), &Value::from(port))?;
        }
    }
    Ok(())
}

/// What names data nodes one by one: by position, the first is the primary.
fn data_nodes(document: &mut Document, hosts: &Hosts) -> Result<(), YamlError> {
    let names: Vec<&str> = hosts
        .of(Role::Data)
        .iter()
        .map(|host| host.name.as_str())
        .collect();
    let (first, rest) = names.split_at(names.len().min(1));
    let empty = |names: &[&str]| -> Map<String, Value> {
        let all = names.iter().map(|name| ((*name).to_owned(), json!({})));
        all.collect()
    };
    for (group, names) in [
        ("cassandra_seed", first),
        ("postgresql_rw", first),
        ("postgresql_ro", rest),
    ] {
        rename(document, &at(&[group, "hosts"]), empty(names))?;
    }
    if let Some(first) = first.first() {
        let primary = ["rmq-cluster", "vars", "rabbitmq_cluster_master"];
        fill(document, &primary, first)?;
    }
    ranks(document, &names)
}

/// Ranks of the databases' nodes, which the template gives by position.
fn ranks(document: &mut Document, names: &[&str]) -> Result<(), YamlError> {
    let path = at(&["postgresql", "vars", "repmgr_node_config"]);
    let known: Vec<Value> = mapping(document, &path)?.values().cloned().collect();
    let wanted = names.iter().enumerate().map(|(index, name)| {
        let further =
            json!({"node_id": index + 1, "priority": STANDBY_PRIORITY, "role": "standby"});
        (
            (*name).to_owned(),
            known.get(index).cloned().unwrap_or(further),
        )
    });
    rename(document, &path, wanted.collect())
}

/// A smaller MTU of the hosts leaves the pods' network less than kubespray expects.
fn mtu(document: &mut Document, mtu: u32) -> Result<(), YamlError> {
    if mtu >= MTU {
        return Ok(());
    }
    let path = at(&["k8s-cluster", "vars"]);
    if mtu < MTU_MIN {
        let why = Why::Shape {
            expected: format!("an MTU of at least {MTU_MIN}"),
            found: mtu.to_string(),
        };
        return Err(document.error(&path, why));
    }
    document.need(&at(&["k8s-cluster"]))?;
    for name in ["calico_mtu", "calico_veth_mtu"] {
        document.set(&path.key(name), &Value::from(mtu - VXLAN_BYTES))?;
    }
    Ok(())
}
