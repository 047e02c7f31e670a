//! Every crash point of a short procedure: what stands there is found again, and doing the rest ends alike.

use std::sync::Arc;

use wiab_steps::host::sim::{Machine, Phase, Points, SimHost, SimOptions};
use wiab_steps::host::{Host, Meta};

use super::{block, root};

const LINES: [&str; 7] = [
    "dpkg --configure -a",
    "apt-get install -y qemu-utils jq acl",
    "usermod -aG kvm,docker demo",
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

fn machine() -> Machine {
    Machine::fresh().with_group("docker", 121, &[])
}

fn options(tap: Points) -> SimOptions {
    SimOptions {
        tap: Some(Arc::new(tap)),
        fresh: machine(),
        ..SimOptions::default()
    }
}

#[test]
fn every_point_is_survived() {
    block(async {
        let recorder = Points::record();
        let host = SimHost::in_memory(machine(), options(recorder.clone()));
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

/// Set for the child that kills itself.
const CHILD: &str = "WIAB_TEST_SIM_DIR";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test is its own child, which dies for real"
)]
fn faults_json_kills_the_process_itself() {
    if let Some(dir) = std::env::var_os(CHILD) {
        block(async {
            let host =
                SimHost::open(std::path::Path::new(&dir), options(Points::record())).unwrap();
            procedure(&host).await;
        });
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let faults = r#"{"kill_at": 3, "phase": "halfway"}"#;
    fs_err::write(dir.path().join("faults.json"), faults).unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "hosts::crash::faults_json_kills_the_process_itself",
        ])
        .env(CHILD, dir.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
    fs_err::remove_file(dir.path().join("faults.json")).unwrap();
    block(async {
        let host = SimHost::open(dir.path(), SimOptions::default()).unwrap();
        // The third command had put the user into the first of two groups.
        let groups = root(&*host, "id -nG demo").await.unwrap().text();
        assert_eq!(groups, "demo adm sudo kvm\n");
        let before = root(&*host, "dpkg-query -W -f=${db:Status-Status} jq")
            .await
            .unwrap();
        assert_eq!(before.text(), "installed");
    });
}
