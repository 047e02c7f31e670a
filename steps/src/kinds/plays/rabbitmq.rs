//! `RabbitMQ`: names of the nodes, and one cluster of them.

use serde_json::Value;
use wiab_engine::outcome::Failure;

use super::footprint::Footprint;
use super::look::{Found, ask_all, question};
use super::{Role, Site};
use crate::host::shell::Shell;

pub(super) const DNS_PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Datanode],
    keeps: &["/etc/hosts"],
    ..Footprint::NONE
}];

pub(super) const PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Datanode],
    units: &["rabbitmq-server"],
    packages: &["rabbitmq-server"],
    paths: &[
        "/var/lib/rabbitmq",
        "/var/log/rabbitmq",
        "/etc/rabbitmq",
        "/etc/default/rabbitmq-server",
    ],
    ..Footprint::NONE
}];

/// Whether a hosts file maps the address to both of a node's names.
fn names(hosts: &str, ip: &str, name: &str) -> bool {
    let node = format!("rabbit@{name}");
    hosts.lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        words.first() == Some(&ip) && words.contains(&name) && words.contains(&node.as_str())
    })
}

/// Looks at every node's hosts file.
pub(super) async fn look_names(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    let nodes: Vec<_> = site.of(Role::Datanode).collect();
    let questions = [question("hosts", &["cat", "/etc/hosts"])];
    for (host, told) in ask_all(sh, site, nodes.iter().copied(), &questions).await? {
        if found.silent(host, &told) {
            continue;
        }
        let text = told.text("hosts");
        let others = nodes.iter().filter(|other| other.name != host.name);
        let unknown: Vec<&str> = others
            .filter(|other| !names(&text, &other.ip, &other.name))
            .map(|other| other.name.as_str())
            .collect();
        found.part(
            unknown.is_empty(),
            format!("names on {}", host.name),
            format!("{} does not know {}", host.name, unknown.join(", ")),
        );
    }
    found
        .notes
        .push(format!("{} nodes know each other", nodes.len()));
    Ok(found)
}

fn running(status: &str) -> usize {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
    let nodes = status.get("running_nodes").and_then(Value::as_array);
    nodes.map_or(0, Vec::len)
}

/// Asks every node which others run with it.
pub(crate) async fn look(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    let nodes: Vec<_> = site.of(Role::Datanode).collect();
    let questions = [
        question(
            "status",
            &["rabbitmqctl", "cluster_status", "--formatter", "json"],
        ),
        question(
            "policies",
            &["rabbitmqctl", "list_policies", "--formatter", "json"],
        ),
        question("files", &["test", "-e", "/etc/rabbitmq"]),
    ];
    for (host, told) in ask_all(sh, site, nodes.iter().copied(), &questions).await? {
        if found.silent(host, &told) {
            continue;
        }
        let name = &host.name;
        if told.yes("files") {
            found.there.push(format!("RabbitMQ's files on {name}"));
        }
        let seen = running(&told.text("status"));
        if !told.yes("status") {
            found
                .missing
                .push(format!("RabbitMQ on {name} does not answer"));
        } else if seen != nodes.len() {
            found
                .missing
                .push(format!("{name} runs with {seen} of {} nodes", nodes.len()));
        } else if !told.text("policies").contains("ha-exactly-two") {
            found.missing.push(format!("{name} does not mirror queues"));
        }
    }
    found
        .notes
        .push(format!("{} nodes in one cluster", nodes.len()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_line_has_address_and_both_names() {
        let hosts = "127.0.0.1 localhost\n192.168.122.32 datanode2 rabbit@datanode2 # x\n# 192.168.122.33 datanode3 rabbit@datanode3\n";
        assert!(names(hosts, "192.168.122.32", "datanode2"));
        assert!(!names(hosts, "192.168.122.33", "datanode3"));
        assert!(!names(hosts, "192.168.122.32", "datanode"));
    }
}
