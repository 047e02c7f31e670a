//! The ansible inventory, from the release's own: addresses, interfaces, primary and key; the operator's overlay last.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::{NodeName, RenderError, merge};
use crate::release::Release;
use crate::yaml::{Document, Origin, Why, YamlError, YamlPath, changed_paths};

/// Path of the release's inventory inside the artifact.
pub const TEMPLATE: &str = "ansible/inventory/offline/staging.yml";

const KEY: [&str; 3] = ["all", "vars", "ansible_ssh_private_key_file"];
/// The groups whose hosts have addresses.
const GROUPS: [&str; 3] = ["assethost", "kube-node", "datanodes"];
/// Group and variable of every service that must know its interface.
const INTERFACES: [(&str, &str); 5] = [
    ("cassandra", "cassandra_network_interface"),
    ("elasticsearch", "elasticsearch_network_interface"),
    ("minio", "minio_network_interface"),
    ("rmq-cluster", "rabbitmq_network_interface"),
    ("postgresql", "postgresql_network_interface"),
];

/// What the inventory is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Every host of the inventory, with its address.
    pub addresses: BTreeMap<NodeName, Ipv4Addr>,
    /// The interface of the data nodes: letters, digits, `.`, `_`, `-`.
    pub interface: String,
    /// The data node that the cluster of `RabbitMQ` forms around.
    pub primary: NodeName,
    /// Path of the private key, relative to the deploy directory.
    pub key_file: String,
}

/// Renders the inventory; answers its text and the changed paths.
pub fn render(
    template: &str,
    hosts: &Hosts,
    release: &Release,
    overlay: Option<&Document>,
) -> Result<(String, Vec<YamlPath>), RenderError> {
    let before = Document::parse(
        template,
        Origin::of_release(TEMPLATE, release.name.as_str()),
    )?;
    let mut after = before.clone();
    addresses(&mut after, hosts)?;
    for (group, variable) in INTERFACES {
        fill(
            &mut after,
            &[group, "vars", variable],
            &interface(&before, hosts)?,
        )?;
    }
    let primary = ["rmq-cluster", "vars", "rabbitmq_cluster_master"];
    fill(&mut after, &primary, hosts.primary.as_str())?;
    after.set(&at(&KEY), &Value::from(hosts.key_file.as_str()))?;
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

/// Every host of the template gets its address, and every given host must be in it.
fn addresses(document: &mut Document, hosts: &Hosts) -> Result<(), YamlError> {
    let mut left = hosts.addresses.clone();
    for group in GROUPS {
        let path = at(&[group, "hosts"]);
        let Value::Object(members) = document.need(&path)? else {
            return Err(document.error(&path, Why::Missing));
        };
        for name in members.keys() {
            let ip = name
                .parse::<NodeName>()
                .ok()
                .and_then(|name| left.remove(&name))
                .ok_or_else(|| {
                    let why = Why::Shape {
                        expected: "a host of this installation".to_owned(),
                        found: format!("`{name}`"),
                    };
                    document.error(&path.key(name), why)
                })?;
            fill(
                document,
                &[group, "hosts", name, "ansible_host"],
                &ip.to_string(),
            )?;
        }
    }
    match left.keys().next() {
        None => Ok(()),
        Some(name) => {
            Err(document.error(&at(&["datanodes", "hosts", name.as_str()]), Why::Missing))
        }
    }
}
