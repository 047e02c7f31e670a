//! Services and packages inside a virtual machine.

use super::super::inside::{self, GuestUnit};
use super::super::state::Draft;
use super::domain::guests;
use super::guest_run::Inner;
use super::{Reply, options};

/// Units and configuration that a package brings.
const BRINGS: [(&str, &[&str], &[&str]); 4] = [
    (
        "elasticsearch-oss",
        &["elasticsearch"],
        &["/etc/elasticsearch"],
    ),
    ("ntp", &["ntp"], &["/etc/ntp.conf"]),
    (
        "postgresql-17",
        &["postgresql@17-main", "postgresql"],
        &["/etc/postgresql/17"],
    ),
    ("rabbitmq-server", &["rabbitmq-server"], &["/etc/rabbitmq"]),
];

pub(super) fn run(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Reply {
    match inner.program {
        "systemctl" => systemctl(draft, inner),
        "apt-mark" => Reply::ok(""),
        "dpkg-query" => query(draft, inner),
        _ => apt_get(draft, inner),
    }
}

/// A unit's name without `.service`.
fn bare(unit: &str) -> &str {
    unit.trim_end_matches(".service")
}

fn systemctl(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Reply {
    let (flags, words) = options(inner.args, &[]);
    let Some((verb, units)) = words.split_first() else {
        return Reply::fail(1, "Too few arguments.\n");
    };
    let flag = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    match *verb {
        "is-active" | "is-enabled" => return look(draft, inner, verb, units, flag("--quiet")),
        _ if !inner.root => {
            let text = format!("Failed to {verb} unit: Interactive authentication required.\n");
            return Reply::fail(1, text);
        }
        "daemon-reload" | "reset-failed" => return Reply::ok("").took(300),
        "add-wants" => return add_wants(draft, inner, units),
        _ => {}
    }
    let vm = inner.vm();
    for unit in units {
        let name = bare(unit);
        let Some(mut state) = inside::unit(draft, vm, name) else {
            let text = format!("Failed to {verb} {unit}: Unit {unit} not loaded.\n");
            return Reply::fail(5, text);
        };
        match *verb {
            "start" | "restart" => state.active = true,
            "stop" => state.active = false,
            "enable" => {
                state.enabled |= !state.fixed;
                state.active |= flag("--now");
            }
            "disable" => {
                state.enabled = false;
                state.active &= !flag("--now");
                inside::remove(draft, vm, &wants(name));
            }
            other => return Reply::fail(1, format!("Unknown command verb {other}.\n")),
        }
        inside::put_unit(draft, vm, name, Some(state));
        draft.mark_half();
    }
    Reply::ok("").took(400)
}

/// The link by which the machine's start starts a unit.
fn wants(unit: &str) -> String {
    format!("/etc/systemd/system/multi-user.target.wants/{unit}.service")
}

/// `systemctl add-wants multi-user.target UNIT`: works without `[Install]`, too.
fn add_wants(draft: &mut Draft<'_>, inner: &Inner<'_>, words: &[&str]) -> Reply {
    for unit in words.iter().skip(1) {
        let name = bare(unit);
        let Some(mut state) = inside::unit(draft, inner.vm(), name) else {
            return Reply::fail(
                1,
                format!("Failed to add dependency: Unit file {unit} does not exist.\n"),
            );
        };
        state.enabled = true;
        inside::put_unit(draft, inner.vm(), name, Some(state));
        inside::write(draft, inner.vm(), &wants(name), "");
    }
    Reply::ok("").took(200)
}

fn look(draft: &Draft<'_>, inner: &Inner<'_>, verb: &str, units: &[&str], quiet: bool) -> Reply {
    let mut text = String::new();
    let mut good = false;
    for unit in units {
        let state = inside::unit(draft, inner.vm(), bare(unit));
        let (word, is) = match (verb, state) {
            ("is-active", Some(GuestUnit { active: true, .. })) => ("active", true),
            ("is-active", _) => ("inactive", false),
            (_, Some(GuestUnit { enabled: true, .. })) => ("enabled", true),
            (_, Some(GuestUnit { fixed: true, .. })) => ("static", true),
            (_, Some(_)) => ("disabled", false),
            (_, None) => ("", false),
        };
        good |= is;
        text = text + word + "\n";
    }
    let code = match (good, verb) {
        (true, _) => 0,
        (false, "is-active") => 3,
        (false, _) => 1,
    };
    Reply {
        code,
        ..Reply::ok(if quiet { String::new() } else { text })
    }
}

/// `dpkg-query -W -f '${Package} ${db:Status-Status}\n' NAME…`.
fn query(draft: &Draft<'_>, inner: &Inner<'_>) -> Reply {
    let (_, names) = options(inner.args, &["-f", "--showformat"]);
    let mut reply = Reply::ok("");
    for name in names {
        if inside::package(draft, inner.vm(), name) {
            let line = format!("{name} installed\n");
            reply.stdout.extend_from_slice(line.as_bytes());
        } else {
            reply.code = 1;
            let line = format!("dpkg-query: no packages found matching {name}\n");
            reply.stderr.extend_from_slice(line.as_bytes());
        }
    }
    reply
}

fn apt_get(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Reply {
    let (_, words) = options(inner.args, &["-o"]);
    let Some((verb, names)) = words.split_first() else {
        return inner.complain(1, "no command");
    };
    if !inner.root {
        return Reply::fail(
            100,
            "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\n",
        );
    }
    let vm = inner.vm().to_owned();
    match *verb {
        "update" => update(draft, &vm),
        "install" => {
            for name in names {
                install(draft, &vm, name);
                draft.mark_half();
            }
            Reply::ok("").took(6_000)
        }
        "purge" | "remove" => {
            for name in names {
                purge(draft, &vm, name);
                draft.mark_half();
            }
            Reply::ok("").took(4_000)
        }
        "autoremove" | "clean" => Reply::ok("").took(800),
        other => inner.complain(100, &format!("Invalid operation {other}")),
    }
}

/// Whether the server of every source of a VM answers.
fn update(draft: &Draft<'_>, vm: &str) -> Reply {
    let mut paths = inside::below(draft, vm, "/etc/apt/sources.list.d");
    paths.push("/etc/apt/sources.list".to_owned());
    for path in paths {
        let text = inside::text(draft, vm, &path).unwrap_or_default();
        for word in text.split_whitespace() {
            let Some(rest) = word.strip_prefix("http://") else {
                continue;
            };
            let address = rest.split(['/', ':']).next().unwrap_or_default();
            let all = guests(draft);
            let ours = all.iter().find(|guest| guest.address == address);
            if let Some(server) = ours
                && !inside::runs(draft, &server.domain, "serve-assets")
            {
                let text = format!(
                    "E: Failed to fetch {word}  Could not connect to {address}:8080 ({address}). - connect (111: Connection refused)\n"
                );
                return Reply::fail(100, text).took(900);
            }
        }
    }
    Reply::ok("Reading package lists...\n").took(4_000)
}

/// Installs a package with what it brings.
pub(super) fn install(draft: &mut Draft<'_>, vm: &str, name: &str) {
    inside::put_package(draft, vm, name, true);
    let brings = BRINGS.iter().find(|(package, ..)| *package == name);
    for unit in brings.map_or(&[] as &[&str], |(_, units, _)| *units) {
        if inside::unit(draft, vm, unit).is_none() {
            inside::put_unit(draft, vm, unit, Some(GuestUnit::ON));
        }
    }
    if name == "systemd-timesyncd" {
        inside::put_unit(draft, vm, name, Some(GuestUnit::ON));
    }
}

fn purge(draft: &mut Draft<'_>, vm: &str, name: &str) {
    inside::put_package(draft, vm, name, false);
    if let Some((_, units, paths)) = BRINGS.iter().find(|(package, ..)| *package == name) {
        for unit in *units {
            inside::put_unit(draft, vm, unit, None);
        }
        for path in *paths {
            inside::remove(draft, vm, path);
        }
    }
}
