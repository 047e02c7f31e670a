//! The packages we build with, held against `deny.toml`: known advisories with reasons, bans, pins, and a cap.

use super::tree::{none, read};

/// Most packages in Cargo.lock. Raising it is a decision: say in the commit what the new ones are for. russh alone brings some eighty.
const PACKAGES_MAX: usize = 291;

/// Advisories that we live with, and the package that each is about. All four say "unmaintained", none a vulnerability.
const ADVISORIES: &[(&str, &str)] = &[
    ("RUSTSEC-2024-0384", "instant"),
    ("RUSTSEC-2025-0012", "backoff"),
    ("RUSTSEC-2025-0057", "fxhash"),
    ("RUSTSEC-2025-0141", "bincode"),
];

/// Packages of which exactly this version is right, and why another is not.
const PINS: &[(&str, &str, &str)] = &[
    ("bincode", "2.0.1", "3.0.0 is one compile_error!"),
    (
        "sled",
        "0.34.7",
        "1.0 is an alpha without a release for two years",
    ),
    (
        "backoff",
        "0.4.0",
        "its last release; its defaults are known",
    ),
];

fn deny() -> toml::Table {
    read("deny.toml").parse().unwrap()
}

/// Name and version of every locked package.
fn locked() -> Vec<(String, String)> {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap();
    packages
        .iter()
        .map(|package| (text(package, "name"), text(package, "version")))
        .collect()
}

#[test]
fn advisories_are_ignored_with_a_reason_and_an_exit() {
    let deny = deny();
    let ignored = deny["advisories"]["ignore"].as_array().unwrap();
    let locked = locked();
    let mut breaches = Vec::new();
    for (id, name) in ADVISORIES {
        let entry = ignored
            .iter()
            .find(|entry| entry["id"].as_str() == Some(id));
        let reason = entry
            .and_then(|entry| entry["reason"].as_str())
            .unwrap_or_default();
        if !reason.contains(name) || !reason.contains("Exit: ") {
            breaches.push(format!(
                "{id}: a reason that names `{name}` and an `Exit: ` condition"
            ));
        }
        if !locked.iter().any(|(locked, _)| locked == name) {
            breaches.push(format!("{id}: `{name}` is gone; so may be the exception"));
        }
    }
    for entry in ignored {
        if !ADVISORIES
            .iter()
            .any(|(id, _)| entry["id"].as_str() == Some(id))
        {
            breaches.push(format!("{entry}: not in the list of this test"));
        }
    }
    none("exceptions in deny.toml", &breaches);
}

#[test]
fn banned_packages_are_absent() {
    let deny = deny();
    let locked = locked();
    let mut breaches = Vec::new();
    let bans = deny["bans"]["deny"].as_array().unwrap();
    for expected in ["bincode@3", "serde_yml", "openssl-sys", "rsa", "figment"] {
        if !bans
            .iter()
            .any(|ban| ban["crate"].as_str() == Some(expected))
        {
            breaches.push(format!("deny.toml no longer bans {expected}"));
        }
    }
    for ban in bans {
        let spec = ban["crate"].as_str().unwrap();
        if ban["reason"].as_str().unwrap_or_default().is_empty() {
            breaches.push(format!("{spec}: no reason"));
        }
        let (name, major) = spec.split_once('@').unwrap_or((spec, ""));
        for (_, version) in locked.iter().filter(|(locked, _)| locked == name) {
            if major.is_empty() || version.split('.').next() == Some(major) {
                breaches.push(format!("{name} {version} is in Cargo.lock"));
            }
        }
    }
    none("bans of deny.toml", &breaches);
}

#[test]
fn pinned_packages_have_exactly_one_version() {
    let locked = locked();
    let mut breaches = Vec::new();
    for (name, version, why) in PINS {
        let found: Vec<&str> = locked
            .iter()
            .filter(|(locked, _)| locked == name)
            .map(|(_, version)| version.as_str())
            .collect();
        if found != [*version] {
            breaches.push(format!("{name}: {found:?} instead of {version} ({why})"));
        }
    }
    none("pins", &breaches);
}

#[test]
fn the_number_of_packages_is_capped() {
    let count = locked().len();
    assert!(
        count <= PACKAGES_MAX,
        "{count} packages in Cargo.lock; at most {PACKAGES_MAX}"
    );
    println!("{count} packages, at most {PACKAGES_MAX}");
}
