//! The laws of every step kind, checked on the simulated machine.

pub(crate) mod artifact;
mod canary;
mod chart_values;
pub(crate) mod charts;
pub(crate) mod cluster;
pub(crate) mod defects;
pub(crate) mod fleet;
pub(crate) mod harness;
mod host;
mod openssl;
mod plays;
pub(crate) mod preflight;
mod release_files;
mod rotation;
pub(crate) mod scenarios;
mod sealed;
mod secrets;
pub(crate) mod tools;
mod unsaid;
pub(crate) mod world;

use std::collections::BTreeSet;

use wiab_steps::catalogue::KINDS;

/// Checks one group of scenarios and says how many crash points it went through.
async fn obey(group: &str) {
    let mut points = 0;
    let mut count = 0;
    for scenario in scenarios::all().await {
        if scenario.group == group {
            points += harness::check(&scenario).await;
            count += 1;
        }
    }
    assert!(count > 0, "no scenario in group {group}");
    println!("{group}: {count} scenarios, {points} kill points and faults, 0 divergent");
}

#[tokio::test]
async fn certificates_obey_the_laws() {
    obey("certs").await;
}

#[tokio::test]
async fn charts_obey_the_laws() {
    obey("charts").await;
}

#[tokio::test]
async fn files_keys_and_commands_obey_the_laws() {
    obey("files").await;
}

#[tokio::test]
async fn existing_machines_and_the_inventory_obey_the_laws() {
    obey("fleet").await;
}

#[tokio::test]
async fn the_cluster_obeys_the_laws() {
    obey("cluster").await;
}

#[tokio::test]
async fn playbooks_of_the_kubernetes_nodes_obey_the_laws() {
    obey("kube plays").await;
}

#[tokio::test]
async fn playbooks_of_the_data_nodes_obey_the_laws() {
    obey("data plays").await;
}

#[tokio::test]
async fn the_host_obeys_the_laws() {
    obey("host").await;
}

#[tokio::test]
async fn networks_obey_the_laws() {
    obey("network").await;
}

#[tokio::test]
async fn checks_obey_the_laws() {
    obey("preflight").await;
}

#[tokio::test]
async fn releases_obey_the_laws() {
    obey("release").await;
}

#[tokio::test]
async fn secrets_obey_the_laws() {
    obey("secrets").await;
}

#[tokio::test]
async fn tools_obey_the_laws() {
    obey("tools").await;
}

#[tokio::test]
async fn traffic_obeys_the_laws() {
    obey("traffic").await;
}

#[tokio::test]
async fn virtual_machines_obey_the_laws() {
    obey("vm").await;
}

#[tokio::test]
async fn every_kind_has_a_scenario_in_a_known_group() {
    let all = scenarios::all().await;
    let covered: BTreeSet<&str> = all.iter().map(|scenario| scenario.kind).collect();
    let known: BTreeSet<&str> = KINDS.iter().map(|entry| entry.name).collect();
    assert_eq!(covered, known);
    let groups: BTreeSet<&str> = all.iter().map(|scenario| scenario.group).collect();
    assert_eq!(
        groups,
        BTreeSet::from([
            "certs",
            "charts",
            "cluster",
            "data plays",
            "files",
            "fleet",
            "host",
            "kube plays",
            "network",
            "preflight",
            "release",
            "secrets",
            "tools",
            "traffic",
            "vm"
        ])
    );
}

#[test]
fn the_catalogue_is_in_order_and_documented() {
    let names: Vec<&str> = KINDS.iter().map(|entry| entry.name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
    for entry in KINDS {
        let about = entry.about;
        for text in [about.purpose, about.probe, about.effect, about.undo] {
            assert!(text.ends_with('.'), "{}: {text}", entry.name);
        }
    }
}
