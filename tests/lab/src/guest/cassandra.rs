//! Cassandra: every node keeps a schema version; `nodetool` asks all of them.

use std::collections::BTreeMap;

use crate::http::{self, Reply};
use crate::{Answer, text};

/// Port of the nodes among themselves.
pub(crate) const GOSSIP: u16 = 7000;
/// Port of clients.
pub(crate) const CLIENTS: u16 = 9042;
/// Addresses of all nodes, one a line.
const PEERS: &str = "/opt/cassandra/conf/peers";
const SCHEMA: &str = "/mnt/cassandra/data/schema";

/// What a node says.
pub(crate) fn reply(_: &str) -> Reply {
    match text(SCHEMA).trim() {
        "" => (503, String::new()),
        version => (200, format!("{version}\n")),
    }
}

/// All nodes, with the schema version of those that answer.
fn nodes() -> Vec<(String, Option<String>)> {
    let peers = text(PEERS);
    let ips = peers.lines().map(str::trim).filter(|line| !line.is_empty());
    ips.map(|ip| {
        let version = http::get(ip, GOSSIP, "/schema").map(|text| text.trim().to_owned());
        (ip.to_owned(), version)
    })
    .collect()
}

pub(crate) fn nodetool(args: &[&str]) -> Answer {
    if http::get("127.0.0.1", GOSSIP, "/schema").is_none() {
        return Answer::fail(
            1,
            "nodetool: Failed to connect to '127.0.0.1:7199' - ConnectException: 'Connection refused (Connection refused)'.\n",
        );
    }
    let nodes = nodes();
    Answer::ok(if args.contains(&"describecluster") {
        described(&nodes)
    } else {
        listed(&nodes)
    })
}

fn listed(nodes: &[(String, Option<String>)]) -> String {
    let head = "Datacenter: datacenter1\n=======================\nStatus=Up/Down\n|/ State=Normal/Leaving/Joining/Moving\n--  Address  Load  Tokens  Owns  Host ID  Rack\n";
    nodes.iter().fold(head.to_owned(), |all, (ip, version)| {
        let state = if version.is_some() { "UN" } else { "DN" };
        all + &format!("{state}  {ip}  108.45 KiB  256  100.0%  {ip}  rack1\n")
    })
}

fn described(nodes: &[(String, Option<String>)]) -> String {
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (ip, version) in nodes {
        let version = version.as_deref().unwrap_or("UNREACHABLE");
        by_version.entry(version).or_default().push(ip);
    }
    let head = "Cluster Information:\n\tName: default\n\tSnitch: org.apache.cassandra.locator.SimpleSnitch\n\tSchema versions:\n";
    by_version
        .iter()
        .fold(head.to_owned(), |all, (version, ips)| {
            all + &format!("\t\t{version}: [{}]\n\n", ips.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_do_not_answer_are_told_apart() {
        let nodes = [
            ("10.0.0.1".to_owned(), Some("a".to_owned())),
            ("10.0.0.2".to_owned(), None),
        ];
        assert!(
            listed(&nodes).contains("UN  10.0.0.1 ") && listed(&nodes).contains("DN  10.0.0.2 ")
        );
        assert!(described(&nodes).contains("\t\ta: [10.0.0.1]\n"));
        assert!(described(&nodes).contains("UNREACHABLE: [10.0.0.2]"));
    }
}
