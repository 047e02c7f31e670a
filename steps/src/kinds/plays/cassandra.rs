//! Cassandra: every node up, one schema version.

use wiab_engine::outcome::Failure;

use super::footprint::Footprint;
use super::look::{Found, ask_each, question};
use super::{Role, Site};
use crate::host::shell::Shell;

/// The data, which only a confirmed undo deletes.
pub(super) const DATA: &str = "/mnt/cassandra";

pub(super) const PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Datanode],
    units: &["cassandra"],
    packages: &["libjemalloc2", "openjdk-8-jre-headless"],
    paths: &[
        DATA,
        "/opt/cassandra",
        "/etc/systemd/system/cassandra.service",
        "/var/spool/cron/crontabs/cassandra",
    ],
    starts: &[("/opt", "apache-cassandra-")],
    keeps: &["/etc/sysctl.conf"],
    ..Footprint::NONE
}];

/// A newer Java refuses the addresses of the old remote management without this.
const JAVA: &str = "-Dcom.sun.jndi.rmiURLParsing=legacy";
const NODETOOL: &str = "/opt/cassandra/bin/nodetool";

/// Addresses by state in `nodetool status`: those that are up and normal.
fn normal(status: &str) -> Vec<&str> {
    status
        .lines()
        .filter_map(|line| line.strip_prefix("UN "))
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

/// Schema versions in `nodetool describecluster`; nodes that do not answer count as one of their own.
fn schemas(text: &str) -> Vec<&str> {
    let lines = text
        .lines()
        .skip_while(|line| !line.contains("Schema versions"));
    lines
        .skip(1)
        .filter(|line| line.contains(": ["))
        .filter_map(|line| line.trim().split(':').next())
        .collect()
}

/// Asks every node about all.
pub(crate) async fn look(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    let nodes: Vec<_> = site.of(Role::Datanode).collect();
    let status = || {
        vec![
            question("link", &["test", "-e", "/opt/cassandra"]),
            question("status", &[NODETOOL, JAVA, "status"]),
        ]
    };
    let schema = || vec![question("schema", &[NODETOOL, JAVA, "describecluster"])];
    // Every call of nodetool starts a Java of its own, for a second and more: all of them at once.
    let asks = nodes.iter().map(|host| (*host, status()));
    let more = nodes.iter().map(|host| (*host, schema()));
    let mut told = ask_each(sh, site, asks.chain(more).collect()).await?;
    let schemas_told = told.split_off(nodes.len());
    for ((host, told), (_, schema)) in told.into_iter().zip(schemas_told) {
        if found.silent(host, &told) {
            continue;
        }
        let name = &host.name;
        if told.yes("link") {
            found.there.push(format!("Cassandra's files on {name}"));
        }
        let up = normal(&told.text("status")).len();
        if !told.yes("status") {
            found
                .missing
                .push(format!("Cassandra on {name} does not answer"));
        } else if up < nodes.len() {
            found
                .missing
                .push(format!("{name} sees {up} of {} nodes up", nodes.len()));
        }
        let text = schema.text("schema");
        let versions = schemas(&text);
        if schema.yes("schema") && versions.len() != 1 {
            found.missing.push(format!(
                "{name} sees {} schema versions: {}",
                versions.len(),
                versions.join(", ")
            ));
        }
    }
    found
        .notes
        .push(format!("{} nodes up, one schema version", nodes.len()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_schemas_are_read() {
        let status = "Datacenter: datacenter1\n--  Address  Load\nUN  192.168.122.31  1 MiB\nUJ  192.168.122.32  1 MiB\nDN  192.168.122.33  1 MiB\n";
        assert_eq!(normal(status), ["192.168.122.31"]);
        let one = "Cluster Information:\n\tName: default\n\tSchema versions:\n\t\te84b6a60: [192.168.122.31, 192.168.122.32]\n\n";
        assert_eq!(schemas(one), ["e84b6a60"]);
        let two = format!("{one}\t\tUNREACHABLE: [192.168.122.33]\n");
        assert_eq!(schemas(&two), ["e84b6a60", "UNREACHABLE"]);
    }
}
