//! The rules before the real nft, in a network namespace of their own; this machine's rules are not touched.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::Value;
use wiab_steps::traffic::Traffic;

use super::world::traffic;

/// Runs a line of shell as root of a fresh network namespace. `None` where that is not possible.
#[expect(clippy::disallowed_methods, reason = "the reference tool, in a test")]
pub(super) fn apart(line: &str, stdin: &str) -> Option<(bool, String, String)> {
    let mut child = Command::new("unshare")
        .args(["-r", "-n", "sh", "-c", line])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take().unwrap();
    // A child that could not start does not read.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    ))
}

/// Whether the real nft can be asked here; if not, the test that could not run is named.
pub(super) fn possible(test: &str) -> bool {
    let able =
        apart("PATH=$PATH:/usr/sbin:/sbin nft list ruleset", "").is_some_and(|(ok, _, _)| ok);
    if !able {
        println!("NOT RUN: {test}: it needs `nft` and user namespaces (`unshare -rn`)");
    }
    able
}

/// Loads the rules twice beside foreign ones, then lists ours.
const LOAD: &str = "PATH=$PATH:/usr/sbin:/sbin; f=$(mktemp) && cat > $f && nft add table inet other && \
    nft -c -f $f && nft -f $f && nft -f $f && nft list table inet other > /dev/null && \
    nft -j list table inet wiab && nft -j list table ip wiab_nat; code=$?; rm -f $f; exit $code";

/// What the real nft makes of the rules.
fn holds(traffic: &Traffic, wan: &str) {
    let script = traffic.script(wan).unwrap();
    let (ok, listing, said) = apart(LOAD, &script).unwrap();
    assert!(ok, "{said}\n{script}");
    let tables: Vec<Value> = listing
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found = [tables.first(), tables.get(1)];
    assert_eq!(
        traffic.differences(wan, found).unwrap(),
        Some(Vec::new()),
        "{script}"
    );
}

#[test]
fn nft_accepts_the_rules_and_lists_them_as_they_are_compared() {
    if !possible("nft_accepts_the_rules_and_lists_them_as_they_are_compared") {
        return;
    }
    let all = Traffic {
        ssh_ports: vec![2222, 22],
        open_tcp: vec![9090],
        keep_udp: vec![51_820, 40_000, 65_535],
        log: true,
        ..traffic()
    };
    let lone = Traffic {
        nodes: vec!["192.168.122.21".to_owned()],
        private: true,
        comment: String::new(),
        ..traffic()
    };
    for (traffic, wan) in [(traffic(), "eth0"), (all, "bond0.100"), (lone, "wan@if2")] {
        holds(&traffic, wan);
    }
}

#[test]
fn names_that_are_words_of_nft_are_names_when_quoted() {
    if !possible("names_that_are_words_of_nft_are_names_when_quoted") {
        return;
    }
    for name in [
        "wan@if2", "1eth", "eth0:1", "mark", "br-lan", "vlan100", "wg0", "accept", "10",
    ] {
        holds(&traffic(), name);
    }
}

/// Names that the kernel allows and that the rules accept.
fn name() -> impl Strategy<Value = String> {
    "[!#&-)+-.0-~]{1,15}".prop_filter("a name", |name| {
        let mut rules = traffic();
        rules.bridge.clone_from(name);
        rules.check("eth0").is_ok()
    })
}

fn some() -> impl Strategy<Value = (Traffic, String)> {
    let port = 1_u16..=65_535;
    let ports = |most| proptest::collection::vec(port.clone(), 0..most);
    (
        (name(), name(), ports(4), ports(3), ports(3)),
        (
            1_usize..6,
            1_024_u16..=40_000,
            40_001_u16..=65_535,
            any::<bool>(),
            any::<bool>(),
        ),
    )
        .prop_map(
            |(
                (wan, bridge, mut ssh_ports, open_tcp, keep_udp),
                (nodes, udp_first, udp_last, private, log),
            )| {
                ssh_ports.push(22);
                let nodes = (1..=nodes).map(|end| format!("10.1.2.{end}")).collect();
                let traffic = Traffic {
                    bridge,
                    ssh_ports,
                    open_tcp,
                    keep_udp,
                    nodes,
                    udp_first,
                    udp_last,
                    private,
                    log,
                    ..traffic()
                };
                (traffic, wan)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_settings_are_nft_accepts_the_rules((traffic, wan) in some()) {
        if apart("true", "").is_some_and(|(ok, _, _)| ok) {
            holds(&traffic, &wan);
        }
    }
}
