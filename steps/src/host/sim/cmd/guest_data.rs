//! The data services of a virtual machine, as their own tools show them.

use serde_json::{Value, json};

use super::super::inside;
use super::super::state::Draft;
use super::domain::{Guest, guests};
use super::guest_run::Inner;
use super::{Reply, connect, ingress, option, options};

/// Where each service keeps what the tools below show.
pub(super) const CASSANDRA: &str = "/mnt/cassandra/data/schema";
pub(super) const ELASTIC: &str = "/var/lib/elasticsearch/nodes";
pub(super) const MINIO: &str = "/var/lib/minio-server1/.minio.sys/format.json";
pub(super) const RABBIT: &str = "/var/lib/rabbitmq/mnesia/cluster";
pub(super) const PG_DIR: &str = "/var/lib/postgresql/17/main";
pub(super) const PG_CONTROL: &str = "/var/lib/postgresql/17/main/global/pg_control";
pub(super) const PG_STANDBY: &str = "/var/lib/postgresql/17/main/standby.signal";
/// The unit of the server itself.
pub(super) const PG_UNIT: &str = "postgresql@17-main";

pub(super) fn run(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Option<Reply> {
    let vm = inner.vm();
    let there = match inner.program {
        "nodetool" => inside::file(draft, vm, "/opt/cassandra").is_some(),
        "rabbitmqctl" => inside::package(draft, vm, "rabbitmq-server"),
        "psql" => inside::package(draft, vm, "postgresql-client-17"),
        "ntpq" => inside::package(draft, vm, "ntp"),
        "mc" => inside::file(draft, vm, "/usr/local/bin/mc").is_some(),
        _ => true,
    };
    there.then(|| match inner.program {
        "nodetool" => nodetool(draft, inner),
        "rabbitmqctl" => rabbit(draft, inner),
        "psql" => psql(draft, inner),
        "ntpq" => ntpq(draft, inner),
        "mc" => buckets(draft, inner),
        _ => curl(draft, inner),
    })
}

/// The VMs that keep a file of a service, with its text and whether its unit runs.
fn peers(draft: &Draft<'_>, path: &str, unit: &str) -> Vec<(Guest, String, bool)> {
    let with_text = guests(draft).into_iter().filter_map(|guest| {
        let text = inside::text(draft, &guest.domain, path)?;
        let runs = guest.reachable && inside::runs(draft, &guest.domain, unit);
        Some((guest, text, runs))
    });
    with_text.collect()
}

fn nodetool(draft: &Draft<'_>, inner: &Inner<'_>) -> Reply {
    if !inside::runs(draft, inner.vm(), "cassandra") {
        return Reply::fail(
            1,
            "nodetool: Failed to connect to '127.0.0.1:7199' - ConnectException: 'Connection refused (Connection refused)'.\n",
        )
        .took(900);
    }
    let all = peers(draft, CASSANDRA, "cassandra");
    let mut text = String::new();
    if inner.args.contains(&"describecluster") {
        text += "Cluster Information:\n\tName: default\n\tSnitch: org.apache.cassandra.locator.SimpleSnitch\n\tSchema versions:\n";
        let mut versions: Vec<&String> = all.iter().map(|(_, schema, _)| schema).collect();
        versions.sort();
        versions.dedup();
        for version in versions {
            let same = all
                .iter()
                .filter(|(_, schema, up)| *up && schema == version);
            let ips: Vec<&str> = same.map(|(guest, ..)| guest.address.as_str()).collect();
            if !ips.is_empty() {
                text = format!("{text}\t\t{}: [{}]\n\n", version.trim(), ips.join(", "));
            }
        }
        let down = all.iter().filter(|(.., up)| !up);
        let down: Vec<&str> = down.map(|(guest, ..)| guest.address.as_str()).collect();
        if !down.is_empty() {
            text = format!("{text}\t\tUNREACHABLE: [{}]\n\n", down.join(", "));
        }
    } else {
        text += "Datacenter: datacenter1\n=======================\nStatus=Up/Down\n|/ State=Normal/Leaving/Joining/Moving\n--  Address  Load  Tokens  Owns  Host ID  Rack\n";
        for (guest, _, up) in &all {
            let state = if *up { "UN" } else { "DN" };
            text = format!(
                "{text}{state}  {}  108.45 KiB  256  100.0%  0  rack1\n",
                guest.address
            );
        }
    }
    Reply::ok(text).took(1_400)
}

fn rabbit(draft: &Draft<'_>, inner: &Inner<'_>) -> Reply {
    let me = inner.vm();
    if !inside::runs(draft, me, "rabbitmq-server") {
        return Reply::fail(69, format!("Error: unable to perform an operation on node 'rabbit@{me}'. Please see diagnostics information and suggestions below.\n")).took(900);
    }
    if inner.args.contains(&"list_policies") {
        return Reply::ok("[{\"vhost\":\"/\",\"name\":\"ha-exactly-two\",\"pattern\":\".*\",\"apply-to\":\"all\",\"definition\":\"{}\",\"priority\":0}]\n").took(700);
    }
    let members = inside::text(draft, me, RABBIT).unwrap_or_default();
    let members: Vec<&str> = members.split_whitespace().collect();
    let hosts = inside::text(draft, me, "/etc/hosts").unwrap_or_default();
    let up = |node: &&&str| {
        let name = node.strip_prefix("rabbit@").unwrap_or(node);
        let known = name == me || hosts.contains(&format!(" {name} "));
        known && inside::runs(draft, name, "rabbitmq-server")
    };
    let running: Vec<&str> = members.iter().filter(up).copied().collect();
    let answer = json!({"disk_nodes": members, "running_nodes": running, "partitions": {}});
    Reply::ok(format!("{answer}\n")).took(800)
}

/// A server's state: whether it is a standby, its system and timeline.
fn server(draft: &Draft<'_>, vm: &str) -> Option<(bool, Value)> {
    if !inside::runs(draft, vm, PG_UNIT) {
        return None;
    }
    let control = inside::text(draft, vm, PG_CONTROL)?;
    let standby = inside::file(draft, vm, PG_STANDBY).is_some();
    Some((standby, serde_json::from_str(&control).unwrap_or_default()))
}

/// A role's new password from `ALTER ROLE`; standbys follow their primary.
fn alter(draft: &mut Draft<'_>, vm: &str, standby: bool, sql: &str) -> Reply {
    let line = sql
        .lines()
        .find_map(|line| line.strip_prefix("ALTER ROLE \""));
    let parts = line.and_then(|line| line.split_once("\" PASSWORD '"));
    let Some((role, password)) =
        parts.and_then(|(role, rest)| Some((role, rest.strip_suffix("';")?)))
    else {
        return Reply::fail(3, "psql:<stdin>:1: ERROR:  syntax error\n");
    };
    if standby {
        return Reply::fail(
            3,
            "psql:<stdin>:5: ERROR:  cannot execute ALTER ROLE in a read-only transaction\n",
        );
    }
    let system = |draft: &Draft<'_>, vm: &str| {
        server(draft, vm).and_then(|(_, control)| control.get("system").cloned())
    };
    let own = system(draft, vm);
    for guest in guests(draft) {
        if system(draft, &guest.domain) == own {
            set_password(draft, &guest.domain, role, &password.replace("''", "'"));
        }
    }
    Reply::ok("").took(40)
}

/// Notes a role's password where the server keeps it.
pub(super) fn set_password(draft: &mut Draft<'_>, vm: &str, role: &str, password: &str) {
    let control = inside::text(draft, vm, PG_CONTROL).unwrap_or_default();
    let mut control: Value = serde_json::from_str(&control).unwrap_or_default();
    if let Some(fields) = control.as_object_mut() {
        fields.insert(format!("password of {role}"), json!(password));
        inside::write(draft, vm, PG_CONTROL, &control.to_string());
    }
}

/// A login over the network, with the password that the command's input holds.
fn login(control: &Value, role: &str, password: &str) -> Reply {
    let known = control.get(format!("password of {role}"));
    if known.and_then(Value::as_str) == Some(password) {
        return Reply::ok("1\n").took(60);
    }
    let text = format!(
        "psql: error: connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  password authentication failed for user \"{role}\"\n"
    );
    Reply::fail(2, text).took(60)
}

/// One row: in recovery, standbys that stream, slots that are used, system, timeline, whether Wire's database is there.
fn psql(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Reply {
    let input = String::from_utf8_lossy(inner.stdin).into_owned();
    let (flags, _) = options(inner.args, &["-h", "-U", "-d", "-f", "-v", "-c", "-Atc"]);
    if inner.root {
        return Reply::fail(2, "psql: error: FATAL:  role \"root\" does not exist\n");
    }
    let Some((standby, control)) = server(draft, inner.vm()) else {
        return Reply::fail(2, "psql: error: connection to server on socket \"/var/run/postgresql/.s.PGSQL.5432\" failed: No such file or directory\n").took(60);
    };
    if let Some(role) = option(&flags, &["-U"]) {
        return login(&control, role, input.trim_end_matches('\n'));
    }
    if option(&flags, &["-f"]) == Some("-") {
        return alter(draft, inner.vm(), standby, &input);
    }
    let system = control.get("system").cloned().unwrap_or_default();
    let streaming = guests(draft)
        .iter()
        .filter(|guest| guest.domain != inner.vm())
        .filter_map(|guest| server(draft, &guest.domain))
        .filter(|(standby, other)| *standby && other.get("system") == Some(&system))
        .count();
    let streaming = if standby { 0 } else { streaming };
    let recovery = if standby { "t" } else { "f" };
    let system = system.as_str().unwrap_or_default().to_owned();
    let timeline = control.get("timeline").and_then(Value::as_u64);
    Reply::ok(format!(
        "{recovery}|{streaming}|{streaming}|{system}|{}|t\n",
        timeline.unwrap_or(1)
    ))
    .took(60)
}

fn ntpq(draft: &Draft<'_>, inner: &Inner<'_>) -> Reply {
    if !inside::runs(draft, inner.vm(), "ntp") {
        return Reply::fail(1, "/usr/bin/ntpq: read: Connection refused\n");
    }
    let lost = inside::has(draft, inner.vm(), "clock/unsynchronised");
    let mark = if lost { ' ' } else { '*' };
    Reply::ok(format!(
        "     remote           refid      st t when poll reach   delay   offset  jitter\n==============================================================================\n{mark}91.189.94.4      17.253.34.251    2 u   33   64    7    1.214   +0.113   0.214\n"
    ))
    .took(60)
}

/// `mc ls --json local`: one line per bucket.
fn buckets(draft: &Draft<'_>, inner: &Inner<'_>) -> Reply {
    if !inside::runs(draft, inner.vm(), "minio-server1") {
        return Reply::fail(1, "mc: <ERROR> Unable to list folder. Connection refused\n");
    }
    let all = inside::below(draft, inner.vm(), "/var/lib/minio-server1");
    let names = all.iter().filter_map(|path| {
        let name = path.strip_prefix("/var/lib/minio-server1/")?;
        (!name.contains('/') && !name.starts_with('.')).then(|| name.to_owned())
    });
    Reply::ok(names.fold(String::new(), |text, name| {
        format!(
            "{text}{}\n",
            json!({"status": "success", "type": "folder", "key": format!("{name}/")})
        )
    }))
    .took(200)
}

fn curl(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Reply {
    let with_value = [
        "-o",
        "--max-time",
        "--connect-timeout",
        "--retry",
        "-w",
        "--noproxy",
        "--retry-delay",
        "--parallel-max",
    ];
    let (flags, words) = options(inner.args, &with_value);
    let url = words.first().copied().unwrap_or_default();
    if let Some(reply) = ingress::asked(draft, url) {
        return reply;
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    let local = matches!(host, "localhost" | "127.0.0.1");
    let found = guests(draft).into_iter().find(|guest| {
        let here = guest.domain == inner.guest.domain;
        (local && here) || guest.address == host || guest.hostname == host
    });
    // What no VM has lies outside.
    if found.is_none()
        && let Some(reply) = connect::from_vm(draft, &inner.guest.address, inner.args)
    {
        return reply;
    }
    if found.is_none() && ingress::is_outside(host) {
        return ingress::outside(draft, host);
    }
    let refused = || {
        Reply::fail(
            7,
            format!(
                "curl: (7) Failed to connect to {host} port {port} after 0 ms: Connection refused\n"
            ),
        )
    };
    let Some(server) = found.filter(|guest| guest.reachable) else {
        return refused().took(3_000);
    };
    let body = match answer(draft, &server.domain, port, path) {
        None => return refused(),
        Some(Err(code)) => {
            return Reply::fail(
                22,
                format!("curl: (22) The requested URL returned error: {code}\n"),
            );
        }
        Some(Ok(body)) => body,
    };
    match option(&flags, &["-o"]) {
        Some("/dev/null") => Reply::ok(""),
        Some(path) => {
            inside::write(draft, inner.vm(), path, &body);
            Reply::ok("").took(800)
        }
        None => Reply::ok(body),
    }
}

/// What a port answers to a path; `None` where nothing listens.
fn answer(draft: &Draft<'_>, vm: &str, port: &str, path: &str) -> Option<Result<String, u16>> {
    let runs = |unit: &str| inside::runs(draft, vm, unit).then_some(());
    match port {
        "8080" => {
            runs("serve-assets")?;
            let full = format!("/opt/assets/{}", path.trim_end_matches('/'));
            let full = full.trim_end_matches('/');
            Some(match inside::file(draft, vm, full) {
                None => Err(404),
                Some(_) => Ok(inside::text(draft, vm, full).unwrap_or_default()),
            })
        }
        "9200" => {
            runs("elasticsearch")?;
            let all = peers(draft, ELASTIC, "elasticsearch");
            let up = all.iter().filter(|(.., up)| *up).count();
            let status = if up == all.len() { "green" } else { "yellow" };
            let health = json!({"cluster_name": "elasticsearch-directory", "status": status, "number_of_nodes": up, "number_of_data_nodes": up});
            Some(Ok(format!("{health}\n")))
        }
        "9000" | "9092" => {
            runs(if port == "9000" {
                "minio-server1"
            } else {
                "minio-server2"
            })?;
            let up = peers(draft, MINIO, "minio-server1")
                .iter()
                .filter(|(.., up)| *up)
                .count();
            let cluster = path == "minio/health/cluster";
            Some(if cluster && up < 2 {
                Err(503)
            } else {
                Ok(String::new())
            })
        }
        _ => None,
    }
}
