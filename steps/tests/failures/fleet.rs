//! Failures of machines and inventory (13), and of machines after a restart (19).

use serde_json::{Value, json};
use wiab_engine::outcome::{Failure, Probe, Residue, RetryAdvice};
use wiab_engine::ports::Cancel;
use wiab_steps::host::sim::{Action, Fault, Machine};
use wiab_steps::host::{Cmd, Host};
use wiab_steps::kind::Kind;

use crate::laws::defects::asks;
use crate::laws::fleet::{adopted, checked, given, inventory, written};
use crate::laws::scenarios::{domain, growth, network, ready, running};
use crate::laws::world::{World, same};

async fn fails<K: Kind>(machine: Machine, kind: &K) -> Failure {
    let world = World::new(machine);
    let step = world.bind(kind);
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    step.undo(1, &before).await.unwrap();
    failure
}

fn says(failure: &Failure, why: &str, remedy: &str) {
    let hint = failure.hint.as_deref().unwrap_or_default();
    assert!(failure.why.contains(why), "{why}\n{failure:#?}");
    assert!(hint.contains(remedy), "{remedy}\n{failure:#?}");
}

/// Machine, fact, value, what the message says of it, and the remedy.
type Case = (
    &'static str,
    &'static str,
    Value,
    &'static str,
    &'static str,
);

fn cases() -> Vec<Case> {
    vec![
        (
            "kubenode2",
            "os",
            json!("debian 12"),
            "kubenode2 (point 1): it runs `debian 12`, not ubuntu 22.04",
            "install Ubuntu Server 22.04",
        ),
        (
            "datanode1",
            "python",
            json!(false),
            "datanode1 (point 1): /usr/bin/python3 is missing",
            "datanode1: sudo apt-get install python3",
        ),
        (
            "assethost",
            "sudo",
            json!(false),
            "assethost (point 1): demo cannot use sudo without a password",
            "NOPASSWD:ALL' | sudo tee",
        ),
        (
            "kubenode1",
            "host",
            json!("ubuntu"),
            "kubenode1 (point 2): its host name is `ubuntu`",
            "kubenode1: sudo hostnamectl set-hostname kubenode1",
        ),
        (
            "datanode2",
            "address",
            json!(false),
            "datanode2 (point 3): interface `ens3` has no IPv4 address",
            "`interface` of the VM in [vms.machines.datanode2]",
        ),
        (
            "kubenode3",
            "mtu",
            json!(1450),
            "kubenode3 (point 4): its MTU is 1450, that of the others 1500",
            "set `mtu: 1500`",
        ),
        (
            "kubenode1",
            "blocked",
            json!(["10.20.0.31:22"]),
            "kubenode1 (point 4): it does not reach datanode1 at 10.20.0.31:22: no answer",
            "let 10.20.0.21 through to 10.20.0.31:22",
        ),
        (
            "datanode3",
            "ahead_ms",
            json!(95_000),
            "datanode3 (point 5): its clock differs from the others' by about 95 s",
            "sudo timedatectl set-ntp true",
        ),
        (
            "datanode3",
            "ahead_ms",
            json!(-7_000),
            "datanode3 (point 5): its clock differs",
            "sudo timedatectl set-ntp true",
        ),
        (
            "datanode3",
            "zone",
            json!("+0200"),
            "datanode3 (point 5): its time zone is +0200, that of the others +0000",
            "sudo timedatectl set-timezone UTC",
        ),
        (
            "kubenode2",
            "gpg",
            json!(false),
            "kubenode2 (point 5): gpg is missing",
            "sudo apt-get install gnupg",
        ),
        (
            "kubenode2",
            "swap",
            json!("/swap.img"),
            "kubenode2 (point 5): it swaps to /swap.img",
            "sudo swapoff -a",
        ),
        (
            "datanode1",
            "blocked",
            json!(["10.20.0.10:8080"]),
            "datanode1 (point 6): it does not reach assethost at 10.20.0.10:8080",
            "let 10.20.0.31 through to 10.20.0.10:8080",
        ),
    ]
}

#[tokio::test]
async fn every_point_of_an_existing_machine_is_named_with_its_remedy() {
    let machine = given().await;
    for (name, key, value, why, remedy) in cases() {
        let broken = machine.clone().with_vm_fact(name, key, value);
        let failure = fails(broken, &adopted()).await;
        says(&failure, why, remedy);
        assert!(
            failure.why.starts_with("1 thing is not right"),
            "{failure:#?}"
        );
        assert_eq!(failure.residue, Residue::Dirty, "host keys are pinned");
    }
}

/// 13: the same before any playbook, whoever made the machines.
#[tokio::test]
async fn an_inventory_that_is_wrong_is_found_before_the_first_playbook() {
    let machine = written().await;
    for (name, key, value, why, remedy) in cases() {
        // The interface is the file's here.
        let remedy = if key == "address" {
            "the variable in values.d/inventory.yaml"
        } else {
            remedy
        };
        let failure = fails(machine.clone().with_vm_fact(name, key, value), &checked()).await;
        says(&failure, why, remedy);
    }
    let down = fails(
        machine.clone().with_existing_vm_down("datanode2"),
        &checked(),
    )
    .await;
    says(
        &down,
        "datanode2 (point 6): ssh to 10.20.0.32 fails",
        "see that it runs and that port 22 of 10.20.0.32 is open",
    );
    says(
        &down,
        "kubenode1 (point 4): it does not reach datanode2 at 10.20.0.32:22",
        "firewalls and routes",
    );

    // A wrong interface in the operator's overlay; one service alone is enough.
    let mut wrong = inventory();
    wrong.overlay = Some("minio:\n  vars:\n    minio_network_interface: eth7\n".to_owned());
    let world = World::new(machine.clone());
    world.done(&wrong).await;
    let failure = fails(world.host.machine(), &checked()).await;
    says(
        &failure,
        "datanode1 (point 3): there is no interface `eth7`",
        "values.d/inventory.yaml",
    );
    says(
        &failure,
        "datanode3 (point 3): there is no interface `eth7`",
        "use one that has an address (lo, ens3)",
    );

    let mut more = inventory();
    more.overlay =
        Some("kube-node:\n  hosts:\n    kubenode4:\n      ansible_host: 10.20.0.24\n".to_owned());
    let world = World::new(machine.clone());
    world.done(&more).await;
    let failure = fails(world.host.machine(), &checked()).await;
    says(
        &failure,
        "kubenode4 (point 7): the inventory has it, the settings do not",
        "values.d/inventory.yaml",
    );

    let gone = fails(machine.without_file(&inventory().path), &checked()).await;
    says(&gone, "inventory.yml is missing", "inv.write");
}

#[tokio::test]
async fn all_findings_are_reported_at_once() {
    let machine = cases()
        .into_iter()
        .fold(given().await, |machine, (name, key, value, ..)| {
            machine.with_vm_fact(name, key, value)
        });
    let machine = machine
        .with_vm_fact("host", "blocked", json!(["10.20.0.21:6443"]))
        .with_vm_fact("host", "route", json!("br1"))
        .with_existing_vm_closed("kubenode3");
    let failure = fails(machine, &adopted()).await;
    for (why, remedy) in [
        ("it runs `debian 12`", "kubenode2: install Ubuntu"),
        ("its host name is `ubuntu`", "hostnamectl"),
        ("gpg is missing", "gnupg"),
        (
            "this host does not reach 10.20.0.21:6443: no answer",
            "open port 6443 of 10.20.0.21 to this host",
        ),
        (
            "kubenode2 (point 8): the host reaches it through `br1`, the traffic rules would use `br0`",
            "set `bridge = \"br1\"` in [network]",
        ),
        (
            "kubenode3 (point 6): ssh to 10.20.0.23 fails",
            "ssh-copy-id -f -i /home/demo/deploy/ssh/id_ed25519.pub -p 22 demo@10.20.0.23",
        ),
    ] {
        says(&failure, why, remedy);
    }
}

#[tokio::test]
async fn a_host_key_is_trusted_once_shown_and_never_replaced() {
    let world = World::new(given().await);
    let receipt = world.done(&adopted()).await;
    let note = receipt.note.unwrap();
    assert!(
        note.contains("kubenode1 SHA256:") && note.contains("trusted from now on"),
        "{note}"
    );
    assert_eq!(receipt.outputs["iface"], "ens3");
    assert_eq!(receipt.outputs["mtu"], "1500");

    let other = world
        .host
        .machine()
        .with_existing_vm_reinstalled("kubenode1");
    let found = World::new(other.clone())
        .bind(&adopted())
        .probe(false)
        .await
        .unwrap();
    assert!(
        format!("{found:?}").contains("kubenode1 (point 6)"),
        "{found:?}"
    );
    asks(
        other,
        &adopted(),
        "kubenode1 (point 6): its host key has changed, it is now SHA256:",
    )
    .await;

    // A key of the settings is held against the machine before anything is trusted.
    let mut given_key = adopted();
    let print = note
        .split("kubenode1 ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    given_key
        .host_keys
        .insert("kubenode1".to_owned(), print.to_owned());
    let fresh = given().await;
    let receipt = World::new(fresh.clone()).done(&given_key).await;
    assert!(receipt.note.unwrap().contains("as in the settings"));
    let wrong = format!("SHA256:{}", "A".repeat(43));
    given_key.host_keys.insert("kubenode1".to_owned(), wrong);
    asks(fresh, &given_key, "not the one of the settings").await;
}

#[tokio::test]
async fn other_users_ports_and_mtus_are_followed() {
    let mut machine = given()
        .await
        .with_existing_vm_login("datanode3", "ubuntu", 2_222);
    for (name, ..) in crate::laws::fleet::SEVEN {
        machine = machine.with_vm_fact(name, "mtu", json!(1400));
    }
    let mut kind = adopted();
    let account = wiab_steps::kinds::login::Account {
        user: "ubuntu".to_owned(),
        port: 2_222,
    };
    kind.login.accounts.insert("10.20.0.33".to_owned(), account);
    let world = World::new(machine);
    let receipt = world.done(&kind).await;
    assert_eq!(receipt.outputs["mtu"], "1400");
    let pinned = world.text_of(&kind.login.known_hosts).await.unwrap();
    assert!(
        pinned.contains("\n[10.20.0.33]:2222 ssh-ed25519 "),
        "{pinned}"
    );
}

#[tokio::test]
async fn an_inventory_edited_by_hand_is_kept_and_its_differences_are_shown() {
    let world = World::new(written().await);
    let path = inventory().path;
    let text = world.text_of(&path).await.unwrap();
    assert!(text.contains("calico_mtu: 1400"), "the overlay: {text}");
    assert!(text.contains("StrictHostKeyChecking=yes"), "{text}");
    let edited = text.replace(
        "calico_mtu: 1400",
        "calico_mtu: 1300\n    ansible_become_pass: hunter2",
    );
    let machine = world
        .host
        .machine()
        .with_file(&path, &edited, 0o644, "demo:demo");
    asks(machine.clone(), &inventory(), "+     calico_mtu: 1300").await;
    let failure = fails(machine, &inventory()).await;
    says(
        &failure,
        "was edited by hand",
        "put what you want to keep into values.d/inventory.yaml",
    );
    assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    assert_eq!(failure.advice, RetryAdvice::AskOperator);

    let handmade = given()
        .await
        .with_file(&path, "all: {}\n", 0o644, "demo:demo");
    asks(handmade, &inventory(), "was not written by wiab").await;
}

#[tokio::test]
async fn an_inventory_of_another_release_is_written_anew_and_undone() {
    let world = World::new(given().await);
    let mut older = inventory();
    older.overlay = None;
    world.done(&older).await;
    let first = world.state();
    let step = world.bind(&inventory());
    let found = step.probe(false).await.unwrap();
    assert!(matches!(found, Probe::Drifted { .. }), "{found:?}");
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    step.undo(1, &before).await.unwrap();
    same(&world.state(), &first, "undone");
}

/// A machine that accepts a login and then says nothing is one of the findings, not the end of the look.
#[tokio::test]
async fn a_machine_that_hangs_is_told_with_the_others() {
    let world = World::new(written().await);
    world
        .host
        .arm(Fault::once("ssh*@10.20.0.22*", Action::Hang));
    let step = world.bind(&checked());
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    says(
        &failure,
        "kubenode2 (point 6): ssh to 10.20.0.22 fails: no answer within 60 s",
        "see that it runs",
    );
}

async fn inside(world: &World, remote: &str) -> String {
    let known_hosts = format!("UserKnownHostsFile={}", ready().known_hosts);
    let argv = [
        "ssh",
        "-i",
        &ready().key_path,
        "-o",
        &known_hosts,
        "--",
        "demo@192.168.122.21",
        remote,
    ];
    let cmd = Cmd::new(argv);
    let output = world
        .host
        .run(&cmd, &Cancel::default(), &|_| {})
        .await
        .unwrap();
    assert!(output.ok(), "{output:?}");
    output.text()
}

/// 19: after a restart of the host the VMs are back, and their `/etc/hosts` has what playbooks put there.
#[tokio::test]
async fn a_restart_of_the_host_brings_the_vms_back_with_their_hosts_files() {
    let world = World::new(growth().await.started);
    world.done(&ready()).await;
    inside(
        &world,
        "sudo -n sh -c 'echo 192.168.122.31 datanode1 >> /etc/hosts'",
    )
    .await;
    let up = World::new(world.host.machine().restarted());
    let found = up.bind(&running()).probe(false).await.unwrap();
    assert!(matches!(found, Probe::Satisfied(_)), "{found:?}");
    let found = up.bind(&network()).probe(false).await.unwrap();
    assert!(matches!(found, Probe::Satisfied(_)), "{found:?}");
    up.done(&ready()).await;
    let hosts = inside(&up, "cat /etc/hosts").await;
    assert!(hosts.contains("192.168.122.31 datanode1"), "{hosts}");

    // A VM that somebody took out of autostart is named by the probe, and the step puts it back.
    let off = world
        .host
        .machine()
        .without_autostart("kubenode1")
        .restarted();
    let down = World::new(off);
    let found = down.bind(&domain()).probe(false).await.unwrap();
    assert!(
        format!("{found:?}").contains("not started with the host"),
        "{found:?}"
    );
    assert_eq!(
        down.bind(&running()).probe(false).await.unwrap(),
        Probe::Absent
    );
    down.done(&domain()).await;
    down.done(&running()).await;
    down.done(&ready()).await;
    let again = World::new(down.host.machine().restarted());
    let found = again.bind(&running()).probe(false).await.unwrap();
    assert!(matches!(found, Probe::Satisfied(_)), "{found:?}");
}
