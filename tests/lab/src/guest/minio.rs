//! MinIO: two servers a machine, and its client.

use serde_json::{Value, json};

use crate::http::{self, Reply};
use crate::{Answer, text};

/// Where the buckets of the first server are.
const DATA: &str = "/var/lib/minio-server1";
/// Addresses of all machines, one a line.
const PEERS: &str = "/etc/default/minio-server1.peers";
const CLIENT: &str = "/root/.mc/config.json";
/// Port of a machine's first server.
pub(crate) const PORT: u16 = 9000;

/// What a server says.
pub(crate) fn reply(path: &str) -> Reply {
    match path {
        "/minio/health/live" => (200, String::new()),
        "/minio/health/cluster" => (if quorum() { 200 } else { 503 }, String::new()),
        "/buckets" => (200, buckets().join("\n")),
        _ => (403, String::new()),
    }
}

/// Whether more than half of the machines answer.
fn quorum() -> bool {
    let peers = text(PEERS);
    let all: Vec<&str> = peers
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let live = |ip: &&&str| http::get(ip, PORT, "/minio/health/live").is_some();
    2 * all.iter().filter(live).count() > all.len()
}

fn buckets() -> Vec<String> {
    let entries = std::fs::read_dir(DATA).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// `mc ls --json local`.
pub(crate) fn client(args: &[&str]) -> Answer {
    let words: Vec<&str> = args
        .iter()
        .filter(|word| !word.starts_with('-'))
        .copied()
        .collect();
    let ["ls", alias] = words.as_slice() else {
        return Answer::fail(1, "mc: <ERROR> this stand-in only lists\n");
    };
    let config: Value = serde_json::from_str(&text(CLIENT)).unwrap_or_default();
    if config.pointer(&format!("/aliases/{alias}")).is_none() {
        return Answer::fail(
            1,
            format!("mc: <ERROR> Unable to list folder. Requested path `{alias}` not found\n"),
        );
    }
    let Some(names) = http::get("127.0.0.1", PORT, "/buckets") else {
        return Answer::fail(1, "mc: <ERROR> Unable to list folder. Connection refused\n");
    };
    Answer::ok(names.lines().fold(String::new(), |all, name| {
        let line = json!({"status": "success", "type": "folder", "key": format!("{name}/")});
        format!("{all}{line}\n")
    }))
}
