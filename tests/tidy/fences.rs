//! Crate fences: dependencies point one way, and each package has one door.

use super::tree::{none, packages, rust};

/// Which of our crates each of our packages may use.
const OWN: &[(&str, &[&str])] = &[
    ("wiab-journal", &[]),
    ("wiab-engine", &["wiab-journal"]),
    ("wiab-steps", &["wiab-engine"]),
    ("wiab-plans", &["wiab-engine", "wiab-steps"]),
    (
        "wiab",
        &["wiab-journal", "wiab-engine", "wiab-steps", "wiab-plans"],
    ),
    // It runs single steps against real packets.
    ("wiab-lab", &["wiab-engine", "wiab-steps"]),
];

/// The only places that may name a package. Each could be replaced in a day.
const DOORS: &[(&str, &[&str])] = &[
    ("sled", &["journal/src/"]),
    ("crc32c", &["journal/src/"]),
    ("petgraph", &["engine/src/graph.rs"]),
    ("backoff", &["engine/src/retry.rs"]),
    ("bincode", &["engine/src/codec.rs", "journal/src/codec.rs"]),
    ("clap", &["src/", "tests/lab/src/"]),
    ("clap_complete", &["src/"]),
    ("clap_mangen", &["src/"]),
    ("anstream", &["src/"]),
    ("indicatif", &["src/"]),
    ("etcetera", &["src/"]),
    ("jiff", &["src/"]),
    ("tracing_subscriber", &["src/"]),
    (
        "toml",
        &["src/", "steps/src/secrets/sealed.rs", "tests/tidy/"],
    ),
    ("aho_corasick", &["steps/src/secrets/scrub.rs"]),
    ("ed25519_dalek", &["steps/src/secrets/zauth.rs"]),
    (
        "flate2",
        &[
            "steps/src/host/sim/kube/release.rs",
            "steps/src/kinds/helm_release/stored.rs",
        ],
    ),
    ("getrandom", &["steps/src/secrets/entropy.rs"]),
    ("hmac", &["steps/src/host/ssh/known_hosts.rs"]),
    ("p256", &["steps/src/secrets/mls.rs"]),
    ("p384", &["steps/src/secrets/mls.rs"]),
    ("p521", &["steps/src/secrets/mls.rs"]),
    ("russh", &["steps/src/host/ssh/"]),
    ("sha1", &["steps/src/host/ssh/known_hosts.rs"]),
];

/// What the pure core of the engine must not name: no runtime, clock, file system, environment or process.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "fs_err",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::env",
    "std::process",
    "std::thread",
    "std::net",
];

/// The files of the engine that are not part of its pure core.
const SHELL: &[&str] = &[
    "engine/src/ports.rs",
    "engine/src/record.rs",
    "engine/src/runner/",
    "engine/src/simulator/",
    "engine/src/survey.rs",
];

/// Where commands, clocks and the environment may be used directly; elsewhere they come through a trait.
const DISALLOWED_HERE: &[&str] = &[
    "src/",
    "journal/src/",
    "steps/src/host/",
    "tests/",
    "benches/",
    "journal/benches/",
    "steps/tests/",
    "journal/tests/",
    "plans/tests/",
];

fn within(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        if place.ends_with('/') {
            path.starts_with(place)
        } else {
            path == *place
        }
    })
}

/// Whether a line of code names something of this crate or module: `name::…` or `use name`.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        let fresh = !before
            .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '"' || c == '.');
        let used = line.trim_start().starts_with("use ") && after.starts_with([';', ' ']);
        fresh && (after.starts_with("::") || used || name.contains("::"))
    })
}

#[test]
fn dependencies_point_one_way() {
    let mut breaches = Vec::new();
    for (dir, manifest) in packages() {
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let Some((_, allowed)) = OWN.iter().find(|(own, _)| *own == name) else {
            breaches.push(format!("{name} has no line in this test"));
            continue;
        };
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for used in table.keys().filter(|used| used.starts_with("wiab")) {
                if !allowed.contains(&used.as_str()) {
                    breaches.push(format!(
                        "{dir}/Cargo.toml: {name} must not depend on {used}"
                    ));
                }
            }
        }
    }
    none("journal ← engine ← steps ← plans ← src", &breaches);
}

#[test]
fn each_package_has_one_door() {
    let mut breaches = Vec::new();
    for file in rust() {
        for (name, doors) in DOORS {
            if within(&file.path, doors) {
                continue;
            }
            for (at, line) in file.code() {
                if names(line, name) {
                    breaches.push(format!(
                        "{}:{at}: {name} belongs into {}",
                        file.path,
                        doors.join(", ")
                    ));
                }
            }
        }
    }
    none("one package, one door", &breaches);
}

#[test]
fn only_packages_with_a_door_declare_the_dependency() {
    let mut breaches = Vec::new();
    for (dir, manifest) in packages() {
        let Some(table) = manifest.get("dependencies").and_then(toml::Value::as_table) else {
            continue;
        };
        let sources = if dir.is_empty() {
            "src/".to_owned()
        } else {
            format!("{dir}/src/")
        };
        for (name, doors) in DOORS {
            let declared = table.contains_key(*name) || table.contains_key(&name.replace('_', "-"));
            let has_door = doors.iter().any(|door| door.starts_with(&sources));
            if declared && !has_door {
                breaches.push(format!(
                    "{dir}/Cargo.toml: {name} belongs into {}",
                    doors.join(", ")
                ));
            }
        }
    }
    none("one package, one door", &breaches);
}

#[test]
fn the_engine_core_is_pure() {
    let mut breaches = Vec::new();
    for file in rust()
        .iter()
        .filter(|file| file.path.starts_with("engine/src/") && !within(&file.path, SHELL))
    {
        for (at, line) in file.code() {
            for name in IMPURE.iter().filter(|name| names(line, name)) {
                breaches.push(format!("{}:{at}: {name}", file.path));
            }
        }
    }
    none(
        "fold and decide know no runtime, clock, file system, environment or process",
        &breaches,
    );
}

#[test]
fn effects_have_named_places() {
    let lint = "clippy::disallowed_methods";
    let mut breaches = Vec::new();
    for file in rust()
        .iter()
        .filter(|file| !within(&file.path, DISALLOWED_HERE))
    {
        for (at, _) in file.code().filter(|(_, line)| line.contains(lint)) {
            breaches.push(format!("{}:{at}", file.path));
        }
    }
    none(
        "commands, clocks and the environment are reached through the hosts and `src`",
        &breaches,
    );
}

#[test]
fn the_rule_recognises_uses() {
    assert!(names("use anvil::Db;", "anvil"));
    assert!(names("    let db = anvil::open(path);", "anvil"));
    assert!(names("use forge;", "forge"));
    assert!(!names("use crate::forge::Delay;", "forge"));
    assert!(!names("let parcelled = unanvil::open();", "anvil"));
    assert!(names(
        "let now = std::time::Instant::now();",
        "std::time::Instant"
    ));
}
