//! Nothing of a particular machine is in the tree: no paths of a builder, no addresses of package servers.

use super::tree::{files, none};

/// Paths and names that only exist where somebody builds; in two halves so that this file does not match itself.
const MACHINE: &[&str] = &[
    concat!("/root/", ".cargo"),
    concat!("/root/", ".rustup"),
    concat!(".py", "env"),
    concat!("bash_", "jobs"),
    concat!("static.cra", "tes.io"),
    concat!("index.crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("py", "pi.org"),
    concat!("registry.np", "mjs.org"),
];

/// Hosts that an address in the tree may name: public pages, the product's own downloads, and examples.
const HOSTS: &[&str] = &[
    "github.com",
    "docs.rs",
    "rustsec.org",
    "www.w3.org",
    "example.com",
    "example.org",
    "localhost",
    "127.0.0.1",
    "libvirt.org",
    "example",
    "archive.ubuntu.com",
    "cloud-images.ubuntu.com",
    "s3-eu-west-1.amazonaws.com",
    // The certificate authority, whose server the simulated one stands for, and where it tells of its troubles.
    "letsencrypt.org",
    "letsencrypt.status.io",
    // Names that nobody can own: those of tests, and those inside a cluster.
    "test",
    "svc",
];

/// Networks whose addresses say nothing about a place: that of wiab's VMs, and the one kept for documentation.
const NETWORKS: &[&str] = &["192.168.122.", "203.0.113."];

#[test]
fn no_paths_of_a_builder() {
    let mut breaches = Vec::new();
    let workplace = concat!("/wo", "rk/");
    for file in files() {
        for (at, line) in file.lines() {
            let own = line.match_indices(workplace).any(|(at, _)| {
                // The lab has a directory of that name inside another one.
                !line[..at]
                    .chars()
                    .next_back()
                    .is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
            });
            if own || MACHINE.iter().any(|part| line.contains(part)) {
                breaches.push(format!("{}:{at}: {}", file.path, line.trim()));
            }
        }
    }
    none("no path or server of a builder's machine", &breaches);
}

#[test]
fn addresses_name_known_hosts_only() {
    let mut breaches = Vec::new();
    for file in files() {
        for (at, line) in file.lines() {
            for host in hosts(line) {
                let known = HOSTS
                    .iter()
                    .any(|known| host == *known || host.ends_with(&format!(".{known}")));
                let known = known || NETWORKS.iter().any(|network| host.starts_with(network));
                // A word without a dot is a placeholder.
                if !known && host.contains('.') {
                    breaches.push(format!("{}:{at}: {host}", file.path));
                }
            }
        }
    }
    none("addresses name hosts of a known list", &breaches);
}

/// The hosts of all web addresses in a line; placeholders such as `https://{host}` name none.
fn hosts(line: &str) -> Vec<&str> {
    let schemes = ["http://", "https://"];
    let starts = schemes
        .iter()
        .flat_map(|scheme| line.match_indices(scheme).map(|(at, _)| at + scheme.len()));
    starts
        .filter_map(|at| {
            let rest = &line[at..];
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-')
                .unwrap_or(rest.len());
            let host = rest[..end].trim_end_matches('.');
            (!host.is_empty()).then_some(host)
        })
        .collect()
}

#[test]
fn hosts_are_found() {
    assert_eq!(
        hosts("see https://docs.rs/x and http://a.example.com:80."),
        ["a.example.com", "docs.rs"]
    );
    assert_eq!(hosts("https://{domain}/"), [""; 0]);
}

#[test]
fn locked_packages_come_from_one_registry() {
    let lock: toml::Table = super::tree::read("Cargo.lock").parse().unwrap();
    let sources: std::collections::BTreeSet<String> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|package| package.get("source")?.as_str().map(ToOwned::to_owned))
        .collect();
    let breaches: Vec<String> = sources
        .into_iter()
        .filter(|source| !source.starts_with("registry+https://github.com/rust-lang/"))
        .collect();
    none(
        "no mirrors, git or private registries in Cargo.lock",
        &breaches,
    );
}
