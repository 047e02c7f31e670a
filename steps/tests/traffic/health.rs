//! The script of the health check under the real shell and nft.

use serde_json::Value;
use wiab_steps::host::quote;
use wiab_steps::traffic::Traffic;

use super::real::{apart, possible};
use super::world::traffic;

/// The script in a network namespace of its own, with a `curl` that some nodes answer. `UP` names them, round by round.
fn rounds(traffic: &Traffic, ups: &[&str]) -> Vec<Value> {
    let say = |text: String| format!("printf %s {}", quote(&[text]));
    let curl = "#!/bin/sh\nfor url in \"$@\"; do :; done\nurl=${url#http://}\n\
                case \" $UP \" in *\" ${url%%:*} \"*) exit 0 ;; esac\nexit 28\n";
    let mut lines = vec![
        "PATH=$PATH:/usr/sbin:/sbin; d=$(mktemp -d) || exit 1".to_owned(),
        say(curl.to_owned()) + " > $d/curl && chmod 755 $d/curl",
        say(traffic.script("eth0").unwrap()) + " | nft -f - || exit 1",
        say(traffic.health_script().unwrap()) + " > $d/check",
    ];
    for up in ups {
        lines.push(format!(
            "UP='{up}' PATH=$d:$PATH sh $d/check >&2 || exit 1; nft -j list table ip wiab_nat"
        ));
    }
    lines.push("rm -rf $d".to_owned());
    let (ok, out, said) = apart(&lines.join("\n"), "").unwrap();
    assert!(ok, "{said}");
    let rounds = out.lines().map(|line| serde_json::from_str(line).unwrap());
    rounds.collect()
}

#[test]
fn the_script_writes_what_the_firewall_would_for_the_nodes_that_answer() {
    if !possible("the_script_writes_what_the_firewall_would_for_the_nodes_that_answer") {
        return;
    }
    let hostile = Traffic {
        comment: "it's $HOME `id` $(id) ${x} %s".to_owned(),
        ..traffic()
    };
    let all = "192.168.122.21 192.168.122.22 192.168.122.23";
    let ups = [
        "192.168.122.21 192.168.122.23",
        "192.168.122.22",
        "",
        "192.168.122.22",
        all,
    ];
    for traffic in [traffic(), hostile] {
        let found = rounds(&traffic, &ups);
        assert_eq!(found.len(), ups.len());
        for (found, up) in found.iter().zip(ups) {
            let wanted = if up.is_empty() { all } else { up };
            let wanted: Vec<String> = wanted.split(' ').map(str::to_owned).collect();
            assert_eq!(traffic.balanced(found), Some(wanted), "{found}");
        }
    }
}

#[test]
fn the_script_leaves_rules_alone_that_are_right() {
    if !possible("the_script_leaves_rules_alone_that_are_right") {
        return;
    }
    let one = "192.168.122.22";
    let handles = |table: &Value| -> Vec<u64> {
        let items = table["nftables"].as_array().unwrap().iter();
        let rules = items.filter_map(|item| item.get("rule"));
        rules.map(|rule| rule["handle"].as_u64().unwrap()).collect()
    };
    let found = rounds(&traffic(), &["", one, one]);
    assert_ne!(handles(&found[0]), handles(&found[1]));
    assert_eq!(handles(&found[1]), handles(&found[2]));
}

#[test]
fn the_script_is_this_for_the_defaults() {
    assert_eq!(
        traffic().health_script().unwrap(),
        include_str!("health.sh")
    );
}

#[test]
fn what_is_no_address_does_not_reach_the_shell() {
    let none = Traffic {
        nodes: vec!["$(id)".to_owned()],
        ..traffic()
    };
    assert!(none.health_script().is_err());
}
