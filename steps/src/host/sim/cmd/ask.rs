//! Looking around: names, clock, firewall, file systems, access lists.

use std::fmt::Write as _;

use super::super::entity::{Facts, Package};
use super::super::files::{self, NO_ENTRY};
use super::super::state::Draft;
use super::super::surroundings::{Name, Surroundings};
use super::{Call, QUICK_MS, Reply, option, options};

/// What a question to a name server takes.
const QUERY_MS: u64 = 40;
/// How long `dig` and `host` wait for one that does not answer.
const DEAF_MS: u64 = 3_000;

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    match call.program {
        "dig" => dig(draft, &call.args),
        "host" => host(draft, call),
        "df" => df(draft, call).took(QUICK_MS),
        "sudo" => sudo(draft, call).took(QUICK_MS),
        "ufw" => ufw(draft, call).took(QUICK_MS),
        "printenv" => printenv(draft, call).took(QUICK_MS),
        _ => timedatectl(draft, call).took(QUICK_MS),
    }
}

fn lookup(draft: &Draft<'_>, name: &str) -> Name {
    let facts = draft.get::<Facts>("");
    facts.map_or_else(Name::default, |facts| {
        Surroundings::of(draft).name(&facts, name)
    })
}

/// `getent ahosts`.
pub(super) fn ahosts(draft: &Draft<'_>, name: &str) -> Reply {
    let known = lookup(draft, name);
    let mut text = String::new();
    for address in known.aaaa.iter().chain(&known.a) {
        for kind in ["STREAM", "DGRAM", "RAW"] {
            let shown = if kind == "STREAM" { name } else { "" };
            let _ = writeln!(text, "{address:<15} {kind:<6} {shown}");
        }
    }
    if text.is_empty() {
        return Reply::fail(2, "").took(QUERY_MS);
    }
    Reply::ok(text).took(QUERY_MS)
}

fn records<'a>(known: &'a Name, kind: &str) -> &'a [String] {
    match kind {
        "A" => &known.a,
        "AAAA" => &known.aaaa,
        "CAA" => &known.caa,
        _ => &known.txt,
    }
}

/// `dig @SERVER +noall +answer NAME TYPE NAME TYPE …`
pub(super) fn dig(draft: &Draft<'_>, args: &[&str]) -> Reply {
    let server = args.iter().find_map(|word| word.strip_prefix('@'));
    let words: Vec<&str> = args
        .iter()
        .copied()
        .filter(|word| !word.starts_with(['@', '+', '-']))
        .collect();
    let deaf = Surroundings::of(draft).deaf;
    if server.is_some_and(|server| deaf.iter().any(|other| other == server)) {
        let text = ";; communications error: timed out\n;; no servers could be reached\n\n";
        return Reply {
            code: 9,
            ..Reply::ok(text)
        }
        .took(DEAF_MS);
    }
    let mut text = String::new();
    for pair in words.chunks(2) {
        let [name, kind] = pair else {
            return Reply::fail(1, "dig: couldn't get address: a name without a type\n");
        };
        for data in records(&lookup(draft, name), kind) {
            let data = if *kind == "TXT" {
                format!("\"{data}\"")
            } else {
                data.clone()
            };
            let _ = writeln!(
                text,
                "{}.\t300\tIN\t{kind}\t{data}",
                name.trim_end_matches('.')
            );
        }
    }
    Reply::ok(text).took(QUERY_MS)
}

/// `host -W 3 [-t TYPE] NAME [SERVER]`
fn host(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, words) = options(&call.args, &["-t", "-W"]);
    let Some(name) = words.first() else {
        return call.complain(1, "Usage: host NAME [SERVER]");
    };
    let around = Surroundings::of(draft);
    if words
        .get(1)
        .is_some_and(|server| around.deaf.iter().any(|deaf| deaf == server))
    {
        let text = ";; connection timed out; no servers could be reached\n";
        return Reply {
            code: 1,
            ..Reply::ok(text)
        }
        .took(DEAF_MS);
    }
    let known = lookup(draft, name);
    let mut text = words.get(1).map_or_else(String::new, |server| {
        format!("Using domain server:\nName: {server}\nAddress: {server}#53\nAliases: \n\n")
    });
    let kinds: &[(&str, &str)] = match option(&flags, &["-t"]) {
        Some("CAA") => &[("CAA", "has CAA record")],
        Some("TXT") => &[("TXT", "descriptive text")],
        _ => &[("A", "has address"), ("AAAA", "has IPv6 address")],
    };
    let before = text.len();
    for (kind, says) in kinds {
        for data in records(&known, kind) {
            let quote = if *kind == "TXT" { "\"" } else { "" };
            let _ = writeln!(text, "{name} {says} {quote}{data}{quote}");
        }
    }
    if text.len() == before {
        let _ = writeln!(text, "Host {name} not found: 3(NXDOMAIN)");
        return Reply {
            code: 1,
            ..Reply::ok(text)
        }
        .took(QUERY_MS);
    }
    Reply::ok(text).took(QUERY_MS)
}

/// `df -B1 --output=source,target,fstype,avail PATH`
fn df(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, paths) = options(&call.args, &[]);
    let Some(facts) = draft.get::<Facts>("") else {
        return Reply::fail(1, "");
    };
    let columns = option(&flags, &["--output"]).unwrap_or("source,avail,target");
    let mut text = columns.replace(',', " ") + "\n";
    for path in paths {
        let full = call.path(draft, path);
        if files::at(draft, &full).is_none() {
            return call.complain(1, &format!("{path}: {NO_ENTRY}"));
        }
        let held = Surroundings::of(draft).filesystem(&facts, &full);
        let fields = columns.split(',').map(|column| match column {
            "source" => held.source.clone(),
            "target" => held.target.clone(),
            "fstype" => held.kind.clone(),
            _ => held.avail_bytes.to_string(),
        });
        text += &fields.collect::<Vec<String>>().join(" ");
        text.push('\n');
    }
    Reply::ok(text)
}

/// Only `sudo -n true` is asked by name; commands of root go another way.
fn sudo(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    if Surroundings::of(draft).sudo || call.root {
        return Reply::ok("");
    }
    call.complain(1, "a password is required")
}

fn ufw(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    if !call.root {
        return Reply::fail(1, "ERROR: You need to be root to run this script\n");
    }
    let on = Surroundings::of(draft).ufw && draft.has::<Package>("ufw");
    Reply::ok(format!(
        "Status: {}\n",
        if on { "active" } else { "inactive" }
    ))
}

fn printenv(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    match (call.args.first(), draft.get::<Facts>("")) {
        (Some(&"SSH_CONNECTION"), Some(facts)) => {
            let port = Surroundings::of(draft).ssh_port;
            Reply::ok(format!("198.51.100.20 50022 {} {port}\n", facts.address))
        }
        _ => Reply::fail(1, ""),
    }
}

fn timedatectl(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    if !call.args.contains(&"NTPSynchronized") {
        return call.complain(1, "only `show -p NTPSynchronized` is simulated");
    }
    let yes = Surroundings::of(draft).synchronised;
    Reply::ok(if yes { "yes\n" } else { "no\n" })
}
