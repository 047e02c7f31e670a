//! One test for each defect of the firewall that people install by hand today: none of them is one of wiab's.

use std::collections::BTreeSet;

use wiab_engine::outcome::{Failure, Probe};
use wiab_engine::ports::{Cancel, Clock as _};
use wiab_steps::host::sim::Machine;
use wiab_steps::host::{Cmd, Host as _, Output};
use wiab_steps::kind::Kind;
use wiab_steps::kinds::docker_user::DockerUser;
use wiab_steps::kinds::nft_check::NftCheck;
use wiab_steps::traffic::Traffic;

use super::filter::{fate, listing};
use super::world::{
    FOREIGN, firewall, health, host, traffic, two, verified, with_ingress, with_traffic,
};
use crate::laws::scenarios::hairpin;
use crate::laws::world::World;

const NAT: &str = "ip wiab_nat";
const FILTER: &str = "inet wiab";

async fn run(world: &World, line: &str) -> Output {
    let cmd = Cmd::new(line.split(' ')).root();
    let output = world.host.run(&cmd, &Cancel::default(), &|_| {}).await;
    output.unwrap()
}

/// A machine with the firewall on it.
async fn with_rules(machine: Machine, traffic: Traffic) -> World {
    let world = World::new(machine);
    world.done(&firewall(traffic)).await;
    world
}

fn check(traffic: Traffic) -> NftCheck {
    NftCheck { wan: None, traffic }
}

async fn refused<K: Kind>(world: &World, kind: &K) -> Failure {
    let start = world.state();
    let step = world.bind(kind);
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert_eq!(world.state(), start, "{failure:?}");
    failure
}

async fn satisfied<K: Kind>(world: &World, kind: &K) -> bool {
    let found = world.bind(kind).probe(false).await.unwrap();
    matches!(found, Probe::Satisfied(_))
}

/// The tables of others.
fn foreign(world: &World) -> Vec<(String, serde_json::Value)> {
    let state = world.state();
    let tables = state.as_object().unwrap().iter();
    let tables = tables.filter(|(key, _)| key.starts_with("nft:") && !key.contains("wiab"));
    tables
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[tokio::test]
async fn defect_1_rules_of_others_are_never_flushed() {
    let world = World::new(host().with_nft(FOREIGN));
    let start = foreign(&world);
    assert_eq!(start.len(), 3);
    let rules = firewall(traffic());
    let step = world.bind(&rules);
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    assert_eq!(foreign(&world), start, "applied");
    assert!(run(&world, "systemctl restart wiab-firewall").await.ok());
    assert_eq!(foreign(&world), start, "loaded again");
    step.undo(1, &before).await.unwrap();
    assert_eq!(foreign(&world), start, "undone");

    // The system's own service does flush everything; our rules come back with it.
    step.apply(2, false, &before).await.unwrap();
    assert!(run(&world, "systemctl restart nftables").await.ok());
    assert!(satisfied(&world, &rules).await);
}

#[tokio::test]
async fn defect_2_docker_started_after_the_firewall_does_not_cut_the_vms_off() {
    let world = World::new(with_traffic().await);
    assert!(satisfied(&world, &verified()).await);
    world
        .host
        .meddle(|machine| machine.with_nft(FOREIGN))
        .unwrap();
    let failure = refused(&world, &verified()).await;
    assert_eq!(failure.code, "traffic.docker-drop");
    let user = DockerUser {
        bridge: "virbr0".to_owned(),
    };
    world.done(&user).await;
    assert!(satisfied(&world, &verified()).await);

    // A restart of docker may leave nothing of it; the unit is restarted with docker and puts it back.
    let unit = world
        .text_of("/etc/systemd/system/wiab-docker-user.service")
        .await;
    let unit = unit.unwrap();
    for line in [
        "After=docker.service",
        "PartOf=docker.service",
        "WantedBy=docker.service",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
    }
    assert!(
        run(&world, "nft flush chain ip filter DOCKER-USER")
            .await
            .ok()
    );
    assert!(!satisfied(&world, &verified()).await);
    assert!(run(&world, "systemctl restart wiab-docker-user").await.ok());
    assert!(satisfied(&world, &verified()).await);
}

#[test]
fn defect_3_no_table_is_one_that_iptables_must_be_able_to_read() {
    let script = traffic().script("eth0").unwrap();
    let heads = script.lines().filter_map(|line| line.split_once("table "));
    let tables: BTreeSet<&str> = heads.map(|(_, rest)| rest.trim_end_matches(" {")).collect();
    assert_eq!(tables, BTreeSet::from([FILTER, NAT]));
    let of_iptables = ["filter", "nat", "mangle", "raw", "security"];
    for table in tables {
        let name = table.split(' ').nth(1).unwrap();
        assert!(!of_iptables.contains(&name), "{table}");
    }
}

#[tokio::test]
async fn defect_4_another_ssh_port_is_not_locked_out() {
    let moved = || {
        host()
            .without_socket("tcp 0.0.0.0:22 sshd")
            .with_socket("tcp 0.0.0.0:2222 sshd")
    };
    let world = World::new(moved());
    for failure in [
        refused(&world, &check(traffic())).await,
        refused(&world, &firewall(traffic())).await,
    ] {
        assert_eq!(failure.code, "traffic.lockout");
        assert!(failure.hint.unwrap().contains("2222"));
    }
    let open = Traffic {
        ssh_ports: vec![22, 2222],
        ..traffic()
    };
    let world = with_rules(moved(), open).await;
    let rules = listing(&world, FILTER).await;
    let ssh = [
        ("iifname", "eth0"),
        ("tcp dport", "2222"),
        ("ct state", "new"),
    ];
    assert_eq!(fate(&rules, "input", &ssh), "accept");
}

#[tokio::test]
async fn defect_5_local_services_keep_their_ports() {
    let busy = || {
        host()
            .with_socket("udp 0.0.0.0:51820")
            .with_socket("tcp 0.0.0.0:9090 cockpit")
    };
    let world = World::new(busy());
    let failure = refused(&world, &check(traffic())).await;
    assert_eq!(failure.code, "traffic.udp-clash");
    let kept = Traffic {
        keep_udp: vec![51_820],
        ..traffic()
    };
    let Probe::Satisfied(seen) = world.bind(&check(kept.clone())).probe(false).await.unwrap()
    else {
        panic!("refused");
    };
    let note = seen.note.unwrap();
    assert!(note.contains("not reachable from outside: TCP"), "{note}");
    assert!(note.contains("9090"), "{note}");

    let kept = Traffic {
        open_tcp: vec![9090],
        ..kept
    };
    let world = with_rules(busy(), kept).await;
    let (nat, filter) = (listing(&world, NAT).await, listing(&world, FILTER).await);
    let public = |port| [("iifname", "eth0"), ("fib", "local"), ("udp dport", port)];
    assert_eq!(fate(&nat, "prerouting", &public("51820")), "pass");
    for port in ["32768", "51819", "51821", "65535"] {
        let found = fate(&nat, "prerouting", &public(port));
        assert!(
            found.starts_with("dnat") && found.contains("192.168.122.23"),
            "{port}: {found}"
        );
    }
    for packet in [("udp dport", "51820"), ("tcp dport", "9090")] {
        let packet = [("iifname", "eth0"), packet, ("ct state", "new")];
        assert_eq!(fate(&filter, "input", &packet), "accept", "{packet:?}");
    }
    let packet = [
        ("iifname", "eth0"),
        ("tcp dport", "9091"),
        ("ct state", "new"),
    ];
    assert_eq!(fate(&filter, "input", &packet), "drop");
}

#[tokio::test]
async fn defect_6_the_host_keeps_its_ipv6_neighbours_and_path_mtu() {
    let world = with_rules(host(), traffic()).await;
    let rules = listing(&world, FILTER).await;
    for (key, kinds) in [
        (
            "icmpv6 type",
            &[
                "nd-neighbor-solicit",
                "nd-neighbor-advert",
                "nd-router-advert",
                "packet-too-big",
            ][..],
        ),
        (
            "icmp type",
            &["destination-unreachable", "time-exceeded", "echo-request"],
        ),
    ] {
        for kind in kinds {
            let packet = [("iifname", "eth0"), (key, *kind), ("ct state", "untracked")];
            assert_eq!(fate(&rules, "input", &packet), "accept", "{kind}");
        }
    }
}

#[tokio::test]
async fn defect_7_containers_on_any_bridge_keep_their_internet() {
    let world = with_rules(host(), traffic()).await;
    let rules = listing(&world, FILTER).await;
    for bridge in ["docker0", "br-5f2a", "wg0", "lxdbr0"] {
        for pair in [[bridge, "eth0"], ["eth0", bridge], [bridge, "docker0"]] {
            let packet = [
                ("iifname", pair[0]),
                ("oifname", pair[1]),
                ("ct state", "new"),
            ];
            assert_eq!(fate(&rules, "forward", &packet), "accept", "{pair:?}");
        }
        let packet = [
            ("iifname", bridge),
            ("tcp dport", "5000"),
            ("ct state", "new"),
        ];
        assert_eq!(fate(&rules, "input", &packet), "accept", "{bridge}");
    }
}

#[tokio::test]
async fn defect_8_the_interface_is_quoted_and_may_be_named() {
    for name in ["wan@if2", "1eth", "eth0:1", "mark", "accept"] {
        let script = traffic().script(name).unwrap();
        for key in ["iifname !=", "iifname", "elements = {"] {
            let quoted = format!("{key} \"{name}\"");
            assert!(script.contains(&quoted), "{quoted}: {script}");
        }
        let world = World::new(host().with_nft(&script));
        let rules = listing(&world, FILTER).await;
        let packet = [("iifname", name), ("tcp dport", "9"), ("ct state", "new")];
        assert_eq!(fate(&rules, "input", &packet), "drop", "{name}");
    }
    // Not always the device of the default route.
    let other = NftCheck {
        wan: Some("eth7".to_owned()),
        traffic: traffic(),
    };
    let failure = refused(&World::new(host()), &other).await;
    assert!(failure.why.contains("`eth7`"), "{failure:?}");
    let default = World::new(host()).done(&check(traffic())).await;
    assert_eq!(default.outputs["wan"], "eth0");
}

async fn gets(world: &World, ends: &[&str], when: &str) {
    let wanted = ends.iter().map(|end| format!("192.168.122.{end}"));
    let found = two().balanced(&listing(world, NAT).await);
    assert_eq!(found, Some(wanted.collect()), "{when}");
}

#[tokio::test]
async fn defect_9_a_node_that_is_down_gets_no_share_and_gets_it_back() {
    let world = with_rules(with_ingress().await, two()).await;
    assert!(run(&world, "virsh destroy kubenode1").await.ok());
    gets(&world, &["21", "22"], "without the health check").await;

    let step = world.bind(&health(two()));
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    gets(&world, &["22"], "one node is down").await;
    assert!(run(&world, "virsh destroy kubenode2").await.ok());
    gets(&world, &["21", "22"], "no node answers").await;
    assert!(run(&world, "virsh start kubenode2").await.ok());
    world.host.clock().sleep(300_000).await;
    gets(&world, &["22"], "the second is back").await;

    // The firewall's own step does not take that for drift, and its rules are balanced when they are loaded again.
    assert!(satisfied(&world, &firewall(two())).await);
    assert!(run(&world, "systemctl restart wiab-firewall").await.ok());
    gets(&world, &["22"], "after the rules were loaded again").await;

    step.undo(1, &before).await.unwrap();
    gets(&world, &["21", "22"], "undone").await;
    assert!(run(&world, "virsh start kubenode1").await.ok());
}

#[tokio::test]
async fn defect_10_altered_rules_are_seen_and_the_hairpin_rule_survives() {
    let world = with_rules(host(), traffic()).await;
    let hairpin = hairpin();
    world.done(&hairpin).await;
    let done = world.state();
    for line in [
        "nft flush chain inet wiab input",
        "nft flush chain ip wiab_nat public",
        "nft delete table ip wiab_nat",
        "nft add rule inet wiab forward counter accept",
    ] {
        assert!(run(&world, line).await.ok(), "{line}");
        let step = world.bind(&firewall(traffic()));
        let found = step.probe(false).await.unwrap();
        assert!(matches!(found, Probe::Drifted { .. }), "{line}: {found:?}");
        world.done(&firewall(traffic())).await;
        assert_eq!(world.state(), done, "{line}");
        assert!(satisfied(&world, &hairpin).await, "{line}");
    }
    assert!(run(&world, "systemctl restart wiab-firewall").await.ok());
    assert!(satisfied(&world, &hairpin).await);
}

#[test]
fn defect_11_a_comment_is_not_needed() {
    let none = Traffic {
        comment: String::new(),
        ..traffic()
    };
    let script = none.script("eth0").unwrap();
    assert!(!script.contains("comment \"\""), "{script}");
    assert!(
        none.health_script()
            .unwrap()
            .contains("comment_80='HTTP ingress LB'")
    );
}

#[tokio::test]
async fn defect_12_what_is_dropped_can_be_logged() {
    let loud = Traffic {
        log: true,
        ..traffic()
    };
    for (traffic, wanted) in [(traffic(), 0), (loud, 2)] {
        let world = with_rules(host(), traffic).await;
        let text = run(&world, "nft list table inet wiab").await.text();
        let logs = text.matches("limit rate 6/minute log prefix \"wiab drop: \"");
        assert_eq!(logs.count(), wanted, "{text}");
    }
}

#[tokio::test]
async fn defect_13_connections_to_a_node_that_is_no_more_meant_end() {
    let mut other = traffic();
    "192.168.122.99".clone_into(&mut other.calling);
    let machine = host()
        .with_nft(&other.script("eth0").unwrap())
        .with_flows("192.168.122.99", 7)
        .with_flows("192.168.122.21", 3);
    let world = with_rules(machine, traffic()).await;
    let left = |address: &str| format!("conntrack -D -g {address}");
    assert!(!run(&world, &left("192.168.122.99")).await.ok());
    assert!(run(&world, &left("192.168.122.21")).await.ok());
}

#[tokio::test]
async fn defect_14_a_private_installation_lets_nothing_out() {
    let private = Traffic {
        private: true,
        ..traffic()
    };
    for (traffic, way, translated) in [
        (traffic(), "accept", "masquerade"),
        (private, "drop", "pass"),
    ] {
        let world = with_rules(host(), traffic).await;
        let (filter, nat) = (listing(&world, FILTER).await, listing(&world, NAT).await);
        let out = [
            ("iifname", "virbr0"),
            ("oifname", "eth0"),
            ("ct state", "new"),
        ];
        assert_eq!(fate(&filter, "forward", &out), way);
        let out = [("oifname", "eth0"), ("ip saddr", "192.168.122.0/24")];
        assert_eq!(fate(&nat, "postrouting", &out), translated);
        let web = [
            ("iifname", "eth0"),
            ("oifname", "virbr0"),
            ("ct state", "new"),
            ("ct status", "dnat"),
        ];
        assert_eq!(fate(&filter, "forward", &web), "accept");
    }
}
