//! PostgreSQL: one primary, the others stream from it. The playbook deletes replicas whenever it runs, and puts an outdated
//! primary above a promoted one: it only ever runs where there is no data.

use wiab_engine::outcome::Failure;

use super::footprint::{Before, Footprint};
use super::look::{Found, Told, ask_all, must_ask, question};
use super::{Role, Site, SiteHost};
use crate::host::shell::Shell;

/// The data, which only a confirmed undo deletes.
const DATA: &str = "/var/lib/postgresql";

pub(super) const PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Datanode],
    units: &[
        "detect-rogue-primary.timer",
        "repmgrd@17-main",
        "postgres_exporter",
        "postgresql@17-main",
    ],
    packages: &[
        "postgresql-17-repmgr",
        "repmgr",
        "repmgr-common",
        "postgresql-17",
        "postgresql-client-17",
        "postgresql-common",
        "postgresql-client-common",
        "python3-psycopg2",
    ],
    paths: &[
        DATA,
        "/etc/postgresql",
        "/etc/repmgr",
        "/opt/repmgr",
        "/usr/local/bin/detect_rogue_primary.sh",
        "/etc/sudoers.d/postgres",
        "/etc/systemd/system/repmgrd@.service",
        "/etc/systemd/system/detect-rogue-primary.timer",
        "/etc/systemd/system/detect-rogue-primary.service",
        "/etc/systemd/system/postgres_exporter.service",
    ],
    ..Footprint::NONE
}];

const QUERY: &str = "select pg_is_in_recovery(), (select count(*) from pg_stat_replication where state = 'streaming'), (select count(*) from pg_replication_slots where active), (select system_identifier from pg_control_system()), (select timeline_id from pg_control_checkpoint()), exists (select 1 from pg_database where datname = 'wire-server')";

/// One row of [`QUERY`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    standby: bool,
    streaming: usize,
    system: String,
    timeline: String,
    wire: bool,
}

fn row(text: &str) -> Option<Row> {
    let fields: Vec<&str> = text.lines().last()?.split('|').collect();
    let [standby, streaming, _, system, timeline, wire] = fields.as_slice() else {
        return None;
    };
    Some(Row {
        standby: *standby == "t",
        streaming: streaming.parse().ok()?,
        system: (*system).to_owned(),
        timeline: (*timeline).to_owned(),
        wire: *wire == "t",
    })
}

/// A node as it is.
#[derive(Debug, Clone)]
struct Node<'a> {
    host: &'a SiteHost,
    /// Why it cannot be asked.
    silent: Option<String>,
    data: bool,
    row: Option<Row>,
}

impl Node<'_> {
    fn says(&self) -> String {
        let name = &self.host.name;
        match (&self.silent, &self.row) {
            (Some(why), _) => format!("{name} does not answer ({why})"),
            (None, None) if self.data => format!("{name} has data but no server that answers"),
            (None, None) => format!("{name} has no data"),
            (None, Some(row)) => format!(
                "{name} is a {} of system {} on timeline {}",
                if row.standby { "standby" } else { "primary" },
                row.system,
                row.timeline
            ),
        }
    }
}

fn questions() -> Vec<super::look::Question<'static>> {
    vec![
        question(
            "row",
            &[
                "runuser", "-u", "postgres", "--", "psql", "-XAtq", "-d", "postgres", "-c", QUERY,
            ],
        ),
        question(
            "data",
            &["test", "-e", "/var/lib/postgresql/17/main/PG_VERSION"],
        ),
    ]
}

fn node<'a>(host: &'a SiteHost, told: &Told) -> Node<'a> {
    Node {
        host,
        silent: match told {
            Told::Silent(why) => Some(why.clone()),
            Told::Said(_) => None,
        },
        data: told.yes("data"),
        row: row(&told.text("row")).filter(|_| told.yes("row")),
    }
}

fn judge(nodes: &[Node<'_>]) -> Found {
    let mut found = Found::default();
    let rows = || nodes.iter().filter_map(|node| node.row.as_ref());
    let primaries: Vec<&Node<'_>> = nodes
        .iter()
        .filter(|node| node.row.as_ref().is_some_and(|row| !row.standby))
        .collect();
    for node in nodes {
        if node.row.is_some() || node.data {
            found.there.push(node.says());
        }
        if node.row.is_none() {
            found.missing.push(node.says());
        }
    }
    match primaries.as_slice() {
        [primary] => {
            let streaming = primary.row.as_ref().map_or(0, |row| row.streaming);
            let replicas = nodes.len().saturating_sub(1);
            if streaming < replicas {
                found.missing.push(format!(
                    "{streaming} of {replicas} replicas stream from {}",
                    primary.host.name
                ));
            }
            if !primary.row.as_ref().is_some_and(|row| row.wire) {
                found.missing.push("the database wire-server".to_owned());
            }
            found.notes.push(format!(
                "primary {}, {streaming} replicas stream",
                primary.host.name
            ));
        }
        [] if rows().next().is_some() => {
            found
                .missing
                .push("a primary: every node only follows".to_owned());
        }
        [] => {}
        many => {
            let names: Vec<&str> = many.iter().map(|node| node.host.name.as_str()).collect();
            found
                .missing
                .push(format!("one primary: {} all are", names.join(", ")));
        }
    }
    let mut systems: Vec<&str> = rows().map(|row| row.system.as_str()).collect();
    systems.sort_unstable();
    systems.dedup();
    if systems.len() > 1 {
        found
            .missing
            .push(format!("one system: there are {}", systems.join(", ")));
    }
    found
}

/// Asks all nodes for their part.
pub(crate) async fn look(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut nodes = Vec::new();
    for (host, told) in ask_all(sh, site, site.of(Role::Datanode), &questions()).await? {
        nodes.push(node(host, &told));
    }
    Ok(judge(&nodes))
}

/// The one primary. Fails where there is none, or more than one.
pub(crate) async fn primary<'a>(sh: Shell<'_>, site: &'a Site) -> Result<&'a SiteHost, Failure> {
    let mut nodes = Vec::new();
    for host in site.of(Role::Datanode) {
        let told = must_ask(sh, site, host, &questions()).await?;
        nodes.push(node(host, &told));
    }
    let leads = |node: &&Node<'_>| node.row.as_ref().is_some_and(|row| !row.standby);
    let mut primaries = nodes
        .iter()
        .filter(leads)
        .map(|node| node.host.name.clone());
    let found = match (primaries.next(), primaries.next()) {
        (Some(name), None) => site.host(&name),
        _ => None,
    };
    found.ok_or_else(|| {
        let states: Vec<String> = nodes.iter().map(Node::says).collect();
        Failure::dirty(format!("PostgreSQL has not one primary: {}", states.join("; ")))
            .ask()
            .hint("bring the cluster in order (`sudo -u postgres repmgr -f /etc/repmgr/17-main/repmgr.conf cluster show`), then decide `retry`")
            .code("cluster.postgresql-primary")
    })
}

/// Whether the playbook may run: only where there was no data before this step. A healthy cluster is adopted, wherever its
/// primary is; anything else is for a human.
pub(super) async fn ready(sh: Shell<'_>, site: &Site, before: &Before) -> Result<bool, Failure> {
    let mut nodes = Vec::new();
    for host in site.of(Role::Datanode) {
        let told = must_ask(sh, site, host, &questions()).await?;
        nodes.push(node(host, &told));
    }
    if judge(&nodes).whole() {
        return Ok(false);
    }
    let had = |node: &Node<'_>| before.get(&node.host.name).is_none_or(|had| had.path(DATA));
    let held: Vec<&Node<'_>> = nodes.iter().filter(|node| node.data && had(node)).collect();
    if held.is_empty() {
        return Ok(true);
    }
    let states: Vec<String> = nodes.iter().map(Node::says).collect();
    let first = held.first().map_or("", |node| node.host.ip.as_str());
    Err(Failure::clean(format!(
        "PostgreSQL holds data but is not whole: {}. The playbook would delete the replicas and everything written since a failover, so it is not run",
        states.join("; ")
    ))
    .ask()
    .hint(format!(
        "bring the cluster in order by hand (ssh -i {} {}@{first} sudo -u postgres repmgr -f /etc/repmgr/17-main/repmgr.conf cluster show; `repmgr standby clone` for a node without data), then decide `retry`",
        site.login.key_path, site.login.user
    ))
    .code("cluster.postgresql-data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(rows: &[(bool, Option<&str>)]) -> Vec<Node<'static>> {
        let host = Box::leak(Box::new(SiteHost {
            name: "datanode".to_owned(),
            ip: "192.0.2.1".to_owned(),
            role: Role::Datanode,
        }));
        rows.iter()
            .map(|(data, text)| Node {
                host,
                silent: None,
                data: *data,
                row: text.and_then(row),
            })
            .collect()
    }

    #[test]
    fn one_primary_with_streaming_replicas_is_whole_and_nothing_else_is() {
        let primary = (true, Some("f|2|2|73|2|t"));
        let standby = (true, Some("t|0|0|73|2|t"));
        assert!(judge(&nodes(&[standby, primary, standby])).whole());
        for broken in [
            vec![primary, primary, standby],
            vec![standby, standby, standby],
            vec![(true, Some("f|1|1|73|2|t")), standby, (true, None)],
            vec![primary, standby, (true, Some("t|0|0|74|2|t"))],
            vec![(true, Some("f|2|2|73|2|f")), standby, standby],
            vec![(false, None), (false, None), (false, None)],
        ] {
            assert!(!judge(&nodes(&broken)).whole(), "{broken:?}");
        }
    }
}
