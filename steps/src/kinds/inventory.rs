//! `inventory/1`: the ansible inventory of the VMs.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::whole_file::{Old, Replace, WholeFile, capture};
use super::{Act, bound, known};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Out};

/// First line of the file, by which it is known as ours.
const HEADER: &str =
    "# Written by wiab; changes are overwritten. Put your own into another file beside it.\n";
/// `repmgr` ranks by position: node id, priority, role.
const REPMGR: [(u32, u32, &str); 3] =
    [(1, 150, "primary"), (2, 100, "standby"), (3, 50, "standby")];

/// The inventory file. The operator's own settings belong into a second inventory file, which wiab never touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// Path; its directory must exist.
    pub path: String,
    /// The user that ansible logs in as.
    pub user: String,
    /// Path of the private key, relative to the deploy directory.
    pub key_file: String,
    /// Path of the file with the VMs' host keys, relative to the deploy directory.
    pub known_hosts: String,
    /// The VM that serves packages and images.
    pub assethost: Vec<InventoryHost>,
    /// The Kubernetes nodes.
    pub kubenodes: Vec<InventoryHost>,
    /// The nodes of the databases; the first is the primary.
    pub datanodes: Vec<InventoryHost>,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryHost {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: Input<String>,
    /// Name of its network interface.
    pub iface: Input<String>,
}

/// A YAML mapping, in order.
#[derive(Debug, Default)]
struct Map(Vec<(String, Yaml)>);

#[derive(Debug)]
enum Yaml {
    Text(String),
    Number(u32),
    Map(Map),
}

impl Map {
    fn text(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.push((key.to_owned(), Yaml::Text(value.into())));
        self
    }

    fn number(mut self, key: &str, value: u32) -> Self {
        self.0.push((key.to_owned(), Yaml::Number(value)));
        self
    }

    fn map(mut self, key: &str, value: Self) -> Self {
        self.0.push((key.to_owned(), Yaml::Map(value)));
        self
    }

    fn render(&self, out: &mut String, depth: usize) {
        let pad = "  ".repeat(depth);
        for (key, value) in &self.0 {
            let _ = match value {
                // JSON strings are YAML double-quoted scalars.
                Yaml::Text(text) => writeln!(
                    out,
                    "{pad}{key}: {}",
                    serde_json::Value::from(text.as_str())
                ),
                Yaml::Number(number) => writeln!(out, "{pad}{key}: {number}"),
                Yaml::Map(map) if map.0.is_empty() => writeln!(out, "{pad}{key}: {{}}"),
                Yaml::Map(map) => {
                    let _ = writeln!(out, "{pad}{key}:");
                    map.render(out, depth + 1);
                    Ok(())
                }
            };
        }
    }
}

fn hosts(hosts: &[InventoryHost]) -> Result<Map, Failure> {
    let mut map = Map::default();
    for host in hosts {
        map = map.map(
            &host.name,
            Map::default().text("ansible_host", known(&host.ip, "ip")?),
        );
    }
    Ok(Map::default().map("hosts", map))
}

fn named(hosts: &[InventoryHost]) -> Map {
    let names = hosts.iter().fold(Map::default(), |map, host| {
        map.map(&host.name, Map::default())
    });
    Map::default().map("hosts", names)
}

fn children(names: &[&str]) -> Map {
    let map = names
        .iter()
        .fold(Map::default(), |map, name| map.map(name, Map::default()));
    Map::default().map("children", map)
}

impl Inventory {
    /// Output: the path.
    pub const PATH: Out<Self> = Out::new("path");

    /// The interface of the data services; all data nodes must agree on its name.
    fn interface(&self) -> Result<String, Failure> {
        let mut names = Vec::new();
        for host in &self.datanodes {
            names.push(known(&host.iface, "iface")?.as_str());
        }
        names.dedup();
        match names.as_slice() {
            [] => Ok(String::new()),
            [one] => Ok((*one).to_owned()),
            [..] => Err(Failure::clean(format!(
                "the data nodes name their network interfaces differently: {}",
                names.join(", ")
            ))
            .hint("give all data nodes the same machine type and network card")),
        }
    }

    fn all(&self) -> Map {
        let arguments = format!(
            "-o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -o ControlMaster=auto -o ControlPersist=60s",
            self.known_hosts
        );
        let vars = Map::default()
            .text("ansible_user", &*self.user)
            .text("ansible_ssh_private_key_file", &*self.key_file)
            .text("ansible_ssh_common_args", arguments);
        Map::default().map("vars", vars)
    }

    fn postgresql(&self, iface: &str) -> Map {
        let nodes = self.datanodes.iter().zip(REPMGR).fold(
            Map::default(),
            |map, (host, (id, priority, role))| {
                let node = Map::default()
                    .number("node_id", id)
                    .number("priority", priority)
                    .text("role", role);
                map.map(&host.name, node)
            },
        );
        let vars = Map::default()
            .text("wire_dbname", "wire-server")
            .text("postgresql_network_interface", iface)
            .map("repmgr_node_config", nodes);
        children(&["datanodes"]).map("vars", vars)
    }

    fn render(&self) -> Result<String, Failure> {
        let iface = self.interface()?;
        let on_datanodes = |variable: &str| {
            children(&["datanodes"]).map("vars", Map::default().text(variable, &*iface))
        };
        let first = self.datanodes.get(..1).unwrap_or_default();
        let rest = self.datanodes.get(1..).unwrap_or_default();
        let master = first
            .first()
            .map(|host| host.name.clone())
            .unwrap_or_default();
        let rabbit = Map::default()
            .text("rabbitmq_network_interface", &*iface)
            .text("rabbitmq_cluster_master", master);
        let map = Map::default()
            .map("all", self.all())
            .map("assethost", hosts(&self.assethost)?)
            .map("kube-node", hosts(&self.kubenodes)?)
            .map("kube-master", children(&["kube-node"]))
            .map("etcd", children(&["kube-node"]))
            .map("k8s-cluster", children(&["kube-node", "kube-master"]))
            .map("datanodes", hosts(&self.datanodes)?)
            .map("cassandra", on_datanodes("cassandra_network_interface"))
            .map("cassandra_seed", named(first))
            .map(
                "elasticsearch",
                on_datanodes("elasticsearch_network_interface"),
            )
            .map("elasticsearch_master", children(&["datanodes"]))
            .map("minio", on_datanodes("minio_network_interface"))
            .map("rmq-cluster", children(&["datanodes"]).map("vars", rabbit))
            .map("postgresql", self.postgresql(&iface))
            .map("postgresql_rw", named(first))
            .map("postgresql_ro", named(rest));
        let mut text = HEADER.to_owned();
        map.render(&mut text, 0);
        Ok(text)
    }

    fn whole(&self) -> Result<WholeFile<'_>, Failure> {
        Ok(WholeFile {
            path: &self.path,
            content: self.render()?.into_bytes(),
            mode: 0o644,
            owner: None,
            root: false,
            replace: Replace::Marked(HEADER),
        })
    }
}

impl Kind for Inventory {
    const NAME: &'static str = "inventory/1";
    const ABOUT: About = About {
        purpose: "Ansible knows the VMs, their addresses, roles and interfaces.",
        probe: "Compares the file.",
        effect: "Writes the file from what the VMs reported; never replaces one that was written by hand.",
        undo: "Restores or removes the file.",
    };

    fn summary(&self) -> String {
        let count = self.assethost.len() + self.kubenodes.len() + self.datanodes.len();
        format!("write inventory of {count} hosts to {}", self.path)
    }

    fn undo_summary(&self) -> String {
        format!("restore or remove {}", self.path)
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for Inventory {
    type Image = Option<Old>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        match self.whole() {
            Ok(whole) => whole.probe(sh).await,
            Err(_) => Ok(Probe::Absent),
        }
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Old>, Failure> {
        capture(sh, &self.path, false).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Old>) -> Result<Receipt, Failure> {
        self.whole()?.apply(sh).await
    }

    async fn undo(&self, sh: Shell<'_>, old: &Option<Old>) -> Result<(), Failure> {
        self.whole()?.undo(sh, old.as_ref()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value of a key at a path of an indented mapping.
    fn at<'a>(text: &'a str, path: &[&str]) -> Option<&'a str> {
        let mut lines = text.lines();
        for (depth, key) in path.iter().enumerate() {
            let wanted = format!("{}{key}:", "  ".repeat(depth));
            let line = lines.find(|line| line.starts_with(&wanted))?;
            if depth + 1 == path.len() {
                return line
                    .strip_prefix(&wanted)
                    .map(|value| value.trim().trim_matches('"'));
            }
        }
        None
    }

    fn host(name: &str, ip: &str) -> InventoryHost {
        InventoryHost {
            name: name.to_owned(),
            ip: Input::Value(ip.to_owned()),
            iface: Input::Value("enp1s0".to_owned()),
        }
    }

    fn inventory() -> Inventory {
        Inventory {
            path: "/d/inventory.yml".to_owned(),
            user: "demo".to_owned(),
            key_file: "ssh/id_ed25519".to_owned(),
            known_hosts: "ssh/known_hosts".to_owned(),
            assethost: vec![host("assethost", "a1")],
            kubenodes: vec![
                host("kubenode1", "k1"),
                host("kubenode2", "k2"),
                host("kubenode3", "k3"),
            ],
            datanodes: vec![
                host("datanode1", "d1"),
                host("datanode2", "d2"),
                host("datanode3", "d3"),
            ],
        }
    }

    #[test]
    fn the_ten_paths_have_their_known_values() {
        let text = inventory().render().unwrap();
        for (path, value) in [
            (
                &["assethost", "hosts", "assethost", "ansible_host"][..],
                "a1",
            ),
            (&["kube-node", "hosts", "kubenode1", "ansible_host"], "k1"),
            (&["kube-node", "hosts", "kubenode3", "ansible_host"], "k3"),
            (&["datanodes", "hosts", "datanode2", "ansible_host"], "d2"),
            (
                &["cassandra", "vars", "cassandra_network_interface"],
                "enp1s0",
            ),
            (
                &["elasticsearch", "vars", "elasticsearch_network_interface"],
                "enp1s0",
            ),
            (&["minio", "vars", "minio_network_interface"], "enp1s0"),
            (
                &["rmq-cluster", "vars", "rabbitmq_network_interface"],
                "enp1s0",
            ),
            (
                &["rmq-cluster", "vars", "rabbitmq_cluster_master"],
                "datanode1",
            ),
            (
                &["postgresql", "vars", "postgresql_network_interface"],
                "enp1s0",
            ),
            (
                &[
                    "postgresql",
                    "vars",
                    "repmgr_node_config",
                    "datanode3",
                    "priority",
                ],
                "50",
            ),
            (
                &["all", "vars", "ansible_ssh_private_key_file"],
                "ssh/id_ed25519",
            ),
            (&["cassandra_seed", "hosts", "datanode1"], "{}"),
            (&["postgresql_ro", "hosts", "datanode3"], "{}"),
            (&["k8s-cluster", "children", "kube-master"], "{}"),
        ] {
            assert_eq!(at(&text, path), Some(value), "{path:?}\n{text}");
        }
    }

    #[test]
    fn data_nodes_that_disagree_about_the_interface_are_refused() {
        let mut inventory = inventory();
        inventory.datanodes[2].iface = Input::Value("eth0".to_owned());
        assert!(inventory.render().unwrap_err().why.contains("enp1s0, eth0"));
        inventory.datanodes.clear();
        assert!(inventory.render().is_ok());
    }
}
