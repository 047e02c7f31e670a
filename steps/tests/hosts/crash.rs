//! Every crash point of a short procedure: what stands there is found again, and doing the rest ends alike.

use std::sync::Arc;

use wiab_steps::host::sim::{Machine, Phase, Points, SimHost, SimOptions};
use wiab_steps::host::{Host, Meta};

use super::{block, root};

const LINES: [&str; 7] = [
    "dpkg --configure -a",
    "apt-get install -y qemu-utils jq acl",
    "usermod -aG kvm,adm demo",
    "install -d -m 0755 /var/lib/images",
    "qemu-img create -f qcow2 /var/lib/images/a.qcow2 10G",
    "cp --reflink=auto --sparse=always /var/lib/images/a.qcow2 /var/lib/images/b.qcow2",
    "systemctl stop rsyslog",
];

/// A procedure of which every command may be repeated.
async fn procedure(host: &SimHost) {
    for line in LINES {
        let output = root(host, line).await.unwrap();
        assert_eq!(output.code, 0, "{line}: {}", output.error_text());
    }
    host.write("/etc/marker", b"0123456789", &Meta::root(0o640))
        .await
        .unwrap();
}

/// Runs until the end or death.
async fn live(host: &SimHost) -> bool {
    tokio::select! {
        biased;
        () = host.died() => false,
        () = procedure(host) => true,
    }
}

fn options(tap: Points) -> SimOptions {
    SimOptions {
        tap: Some(Arc::new(tap)),
        ..SimOptions::default()
    }
}

#[test]
fn every_point_is_survived() {
    block(async {
        let recorder = Points::record();
        let host = SimHost::in_memory(Machine::fresh(), options(recorder.clone()));
        assert!(live(&host).await);
        let expected = host.canonical_state();
        let points = recorder.seen();
        assert!(
            points
                .iter()
                .filter(|point| point.phase == Phase::Halfway)
                .count()
                >= 5
        );
        for point in &points {
            let dir = tempfile::tempdir().unwrap();
            let host = SimHost::open(dir.path(), options(Points::die_at(point.index))).unwrap();
            assert!(!live(&host).await, "{point}");
            let seen = host.canonical_state();
            let host = SimHost::open(dir.path(), SimOptions::default()).unwrap();
            assert_eq!(host.canonical_state(), seen, "reopened after {point}");
            let undone = match point.phase {
                Phase::Before | Phase::Halfway => false,
                Phase::AfterEffect | Phase::BeforeReturn => true,
            };
            if point.what.contains("a.qcow2 10G") {
                let whole = root(
                    &*host,
                    "qemu-img info --output=json /var/lib/images/a.qcow2",
                )
                .await
                .unwrap();
                assert_eq!(
                    whole.text().contains("qcow2\",\n  \"actual"),
                    undone,
                    "{point}"
                );
            }
            assert!(live(&host).await, "{point}");
            assert_eq!(host.canonical_state(), expected, "resumed after {point}");
        }
        println!("{} kill points, 0 divergent", points.len());
    });
}

#[test]
fn reading_costs_no_write() {
    block(async {
        let dir = tempfile::tempdir().unwrap();
        let host = SimHost::open(dir.path(), SimOptions::default()).unwrap();
        let log = dir.path().join("changes.jsonl");
        let before = fs_err::metadata(&log).unwrap().len();
        for line in [
            "true",
            "id -nG demo",
            "sysctl -n vm.swappiness",
            "cat /etc/hosts",
        ] {
            root(&*host, line).await.unwrap();
        }
        host.stat("/etc/hosts").await.unwrap();
        assert_eq!(fs_err::metadata(&log).unwrap().len(), before);
        root(&*host, "touch /tmp/a").await.unwrap();
        assert!(fs_err::metadata(&log).unwrap().len() > before);
        let second = SimHost::open(dir.path(), SimOptions::default()).unwrap();
        assert!(root(&*second, "touch /tmp/b").await.is_err());
        root(&*second, "test -e /tmp/a").await.unwrap();
    });
}
