//! MinIO: two servers on every data node, and Wire's buckets.

use serde_json::Value;
use wiab_engine::outcome::Failure;

use super::footprint::Footprint;
use super::look::{Found, ask, question};
use super::{Role, Site};
use crate::host::shell::Shell;

const BUCKETS: [&str; 2] = ["assets", "public"];

pub(super) const PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Datanode],
    units: &["minio-server1", "minio-server2"],
    paths: &[
        "/var/lib/minio-server1",
        "/var/lib/minio-server2",
        "/usr/local/bin/minio",
        "/usr/local/bin/mc",
        "/root/.mc",
        "/etc/systemd/system/minio-server1.service",
        "/etc/systemd/system/minio-server2.service",
    ],
    starts: &[("/etc/default", "minio-server")],
    ..Footprint::NONE
}];

fn buckets(listing: &str) -> Vec<String> {
    let lines = listing
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|entry| Some(entry.get("key")?.as_str()?.trim_end_matches('/').to_owned()))
        .collect()
}

/// Asks every server for its health, and the first node for the buckets.
pub(crate) async fn look(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    for (index, host) in site.of(Role::Datanode).enumerate() {
        let url = |port: u16, what: &str| format!("http://{}:{port}/minio/health/{what}", host.ip);
        let urls = [
            url(9_000, "live"),
            url(9_092, "live"),
            url(9_000, "cluster"),
        ];
        let mut questions = vec![question("files", &["test", "-e", "/usr/local/bin/minio"])];
        for url in &urls {
            questions.push(question(
                url,
                &["curl", "-fsS", "-o", "/dev/null", "--max-time", "10", url],
            ));
        }
        questions.push(question(
            "buckets",
            &[
                "env",
                "HOME=/root",
                "/usr/local/bin/mc",
                "ls",
                "--json",
                "local",
            ],
        ));
        let told = ask(sh, site, host, &questions).await?;
        if found.silent(host, &told) {
            continue;
        }
        let name = &host.name;
        if told.yes("files") {
            found.there.push(format!("MinIO's files on {name}"));
        }
        for url in urls.iter().filter(|url| !told.yes(url)) {
            found
                .missing
                .push(format!("MinIO on {name} does not answer at {url}"));
        }
        // The client is set up on the first node only.
        if index == 0 {
            let there = buckets(&told.text("buckets"));
            for bucket in BUCKETS
                .iter()
                .filter(|bucket| !there.iter().any(|name| name == *bucket))
            {
                found.missing.push(format!("bucket {bucket}"));
            }
        }
    }
    found.notes.push(format!("buckets {}", BUCKETS.join(", ")));
    Ok(found)
}
