//! Every crash point of a short procedure: what stands there is found again, and doing the rest ends alike.

use std::sync::Arc;

use wiab_engine::ports::Clock as _;
use wiab_steps::host::sim::{Machine, Phase, Points, SimHost, SimOptions};
use wiab_steps::host::{Host, Meta};

use super::{block, good, root, root_with};

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

const DOMAIN: &str = "<domain type='kvm'><name>vm</name><memory unit='MiB'>512</memory><vcpu>1</vcpu>\
    <os><type arch='x86_64'>hvm</type></os></domain>";

#[test]
fn what_time_has_done_and_wiab_has_seen_stays_so_after_a_death() {
    block(async {
        let dir = tempfile::tempdir().unwrap();
        let open = |tap: Points| {
            let options = SimOptions {
                fresh: Machine::fresh().with_libvirt(),
                tap: Some(Arc::new(tap)),
                ..SimOptions::default()
            };
            SimHost::open(dir.path(), options).unwrap()
        };
        let state = async |host: &SimHost| good(host, "virsh domstate vm").await;
        let host = open(Points::record());
        root_with(&*host, "virsh define /dev/stdin", DOMAIN).await;
        good(&*host, "virsh start vm").await;
        drop(host);
        // Asked twice, shut down, asked until it is off, dead at the next question.
        let host = open(Points::die_at(10));
        assert_eq!(state(&host).await, "running\n\n");
        good(&*host, "virsh shutdown vm").await;
        assert_eq!(state(&host).await, "running\n\n");
        host.clock().sleep(4_000).await;
        assert_eq!(state(&host).await, "shut off\n\n");
        tokio::select! {
            biased;
            () = host.died() => {}
            _ = state(&host) => panic!("it lives on"),
        }
        let seen = host.canonical_state();
        drop(host);
        let host = open(Points::record());
        assert_eq!(
            host.canonical_state(),
            seen,
            "a death in a test leaves what a killed process leaves"
        );
        assert_eq!(state(&host).await, "shut off\n\n");
    });
}

#[test]
fn little_time_is_lost_with_a_death_and_none_comes_back() {
    block(async {
        let dir = tempfile::tempdir().unwrap();
        let host = SimHost::open(dir.path(), options(Points::die_at(40))).unwrap();
        let clock = host.clock();
        let ask = async {
            loop {
                root(&*host, "test -e /etc/hosts").await.unwrap();
                clock.sleep(700).await;
            }
        };
        tokio::select! {
            biased;
            () = host.died() => {}
            () = ask => {}
        }
        let dead_ms = clock.mono_ms();
        drop(host);
        let host = SimHost::open(dir.path(), SimOptions::default()).unwrap();
        let back_ms = host.clock().mono_ms();
        assert!(dead_ms > 10_000, "{dead_ms}");
        assert!(
            (dead_ms - 1_000..=dead_ms).contains(&back_ms),
            "{back_ms} of {dead_ms}"
        );
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

/// Set for the child whose disk is full.
const FULL: &str = "WIAB_TEST_FULL_DIR";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test is its own child, which may only write short files"
)]
fn a_torn_record_is_taken_back() {
    let write = async |host: &SimHost, index: usize| {
        let path = format!("/var/tmp/{index}");
        host.write(&path, &[b'x'; 3_000], &Meta::root(0o644)).await
    };
    if let Some(dir) = std::env::var_os(FULL) {
        block(async {
            let host =
                SimHost::open(std::path::Path::new(&dir), options(Points::record())).unwrap();
            let mut index = 0;
            while write(&host, index).await.is_ok() {
                index += 1;
                assert!(index < 1_000, "the disk is never full");
            }
            let failed = format!("/var/tmp/{index}");
            assert_eq!(host.stat(&failed).await.unwrap(), None);
            // A short change still fits: the torn one is gone.
            good(&*host, "touch /var/tmp/last").await;
            assert!(write(&host, index).await.is_err());
        });
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // 512-byte blocks; the snapshot of the machine must fit.
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "hosts::crash::a_torn_record_is_taken_back"])
        .env(FULL, dir.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    block(async {
        let host = SimHost::open(dir.path(), SimOptions::default()).unwrap();
        let mut index = 0;
        while host
            .stat(&format!("/var/tmp/{index}"))
            .await
            .unwrap()
            .is_some()
        {
            index += 1;
        }
        assert!(index > 3, "{index}");
        assert!(host.stat("/var/tmp/last").await.unwrap().is_some());
        write(&host, index).await.unwrap();
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
