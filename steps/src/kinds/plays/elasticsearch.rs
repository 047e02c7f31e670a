//! Elasticsearch: one cluster of all data nodes.

use serde_json::Value;
use wiab_engine::outcome::Failure;

use super::footprint::Footprint;
use super::look::{Found, ask_each, question};
use super::{Role, Site};
use crate::host::shell::Shell;

pub(super) const PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Datanode],
    units: &["elasticsearch"],
    packages: &["elasticsearch-oss"],
    paths: &[
        "/var/lib/elasticsearch",
        "/var/log/elasticsearch",
        "/etc/elasticsearch",
        "/etc/default/elasticsearch",
    ],
    ..Footprint::NONE
}];

/// Asks every node how many it sees.
pub(crate) async fn look(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    let nodes: Vec<_> = site.of(Role::Datanode).collect();
    let urls: Vec<String> = nodes
        .iter()
        .map(|host| format!("http://{}:9200/_cluster/health", host.ip))
        .collect();
    let asks = nodes.iter().zip(&urls).map(|(host, url)| {
        let questions = vec![
            question("health", &["curl", "-fsS", "--max-time", "10", url]),
            question("files", &["test", "-e", "/etc/elasticsearch"]),
        ];
        (*host, questions)
    });
    for (host, told) in ask_each(sh, site, asks.collect()).await? {
        if found.silent(host, &told) {
            continue;
        }
        let name = &host.name;
        if told.yes("files") {
            found.there.push(format!("Elasticsearch's files on {name}"));
        }
        let health: Value = serde_json::from_str(&told.text("health")).unwrap_or_default();
        let seen = health
            .get("number_of_nodes")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let status = health
            .get("status")
            .and_then(Value::as_str)
            .unwrap_or("silent");
        let all = usize::try_from(seen).is_ok_and(|seen| seen == nodes.len());
        if !all || !matches!(status, "green" | "yellow") {
            found.missing.push(format!(
                "Elasticsearch on {name} is {status} and sees {seen} of {} nodes",
                nodes.len()
            ));
        }
    }
    found
        .notes
        .push(format!("{} nodes in one cluster", nodes.len()));
    Ok(found)
}
