//! `RabbitMQ`: nodes that know each other by name and join a cluster.

use serde_json::json;

use crate::http::{self, Reply};
use crate::{Answer, host, text, write};

/// Port of the nodes among themselves.
pub(crate) const NODES: u16 = 25_672;
/// Port of clients.
pub(crate) const CLIENTS: u16 = 5672;
/// Names of the nodes of the cluster, one a line.
const MEMBERS: &str = "/var/lib/rabbitmq/mnesia/cluster";
/// The policies, as the tool lists them.
const POLICIES: &str = "/var/lib/rabbitmq/mnesia/policies";

fn members() -> Vec<String> {
    let mut all: Vec<String> = text(MEMBERS).lines().map(str::to_owned).collect();
    let own = format!("rabbit@{}", host());
    if !all.contains(&own) {
        all.push(own);
    }
    all.sort();
    all
}

fn remember(names: impl IntoIterator<Item = String>) -> std::io::Result<()> {
    let mut all = members();
    all.extend(names);
    all.sort();
    all.dedup();
    write(MEMBERS, &(all.join("\n") + "\n"))
}

/// What a node says; `/join/NAME` makes another one a member.
pub(crate) fn reply(path: &str) -> Reply {
    if let Some(name) = path.strip_prefix("/join/")
        && remember([name.to_owned()]).is_err()
    {
        return (500, String::new());
    }
    match path {
        "/policies" => (200, text(POLICIES)),
        _ => (200, members().join("\n") + "\n"),
    }
}

/// What a node answers that is known by its name.
fn ask(node: &str, path: &str) -> Option<String> {
    let name = node.strip_prefix("rabbit@")?;
    let name = if name == host() { "127.0.0.1" } else { name };
    http::get(name, NODES, path)
}

fn nodedown(node: &str) -> Answer {
    Answer::fail(
        69,
        format!(
            "Error: unable to perform an operation on node '{node}'. Please see diagnostics information and suggestions below.\n"
        ),
    )
}

pub(crate) fn ctl(args: &[&str]) -> Answer {
    let own = format!("rabbit@{}", host());
    let Some(known) = ask(&own, "/members") else {
        return nodedown(&own);
    };
    match args {
        ["join_cluster", node] => join(&own, node),
        ["set_policy", name, pattern, definition] => policy(name, pattern, definition),
        ["list_policies", ..] => Answer::ok(match ask(&own, "/policies") {
            Some(text) if !text.is_empty() => text,
            _ => "[]\n".to_owned(),
        }),
        ["cluster_status", ..] => status(known.lines().map(str::to_owned).collect()),
        _ => Answer::fail(64, "Error: this stand-in does not know that command\n"),
    }
}

/// Those that run are asked for further ones.
fn status(mut known: Vec<String>) -> Answer {
    let (mut running, mut at) = (Vec::new(), 0);
    while let Some(node) = known.get(at).cloned() {
        at += 1;
        if let Some(more) = ask(&node, "/members") {
            running.push(node);
            for name in more.lines().filter(|name| !name.is_empty()) {
                if !known.iter().any(|old| old == name) {
                    known.push(name.to_owned());
                }
            }
        }
    }
    let answer = json!({"disk_nodes": known, "running_nodes": running, "partitions": {}});
    Answer::ok(format!("{answer}\n"))
}

fn join(own: &str, node: &str) -> Answer {
    let Some(members) = ask(node, &format!("/join/{own}")) else {
        return nodedown(node);
    };
    let policies = ask(node, "/policies").unwrap_or_default();
    let noted = remember(members.lines().map(str::to_owned));
    let noted = noted.and_then(|()| {
        if policies.is_empty() {
            return Ok(());
        }
        write(POLICIES, &policies)
    });
    match noted {
        Ok(()) => Answer::ok(format!("Clustering node {own} with {node}\n")),
        Err(error) => Answer::fail(70, format!("Error: {error}\n")),
    }
}

fn policy(name: &str, pattern: &str, definition: &str) -> Answer {
    let one = json!([{"vhost": "/", "name": name, "pattern": pattern, "apply-to": "all", "definition": definition, "priority": 0}]);
    match write(POLICIES, &format!("{one}\n")) {
        Ok(()) => Answer::ok(format!(
            "Setting policy \"{name}\" for pattern \"{pattern}\" …\n"
        )),
        Err(error) => Answer::fail(70, format!("Error: {error}\n")),
    }
}
