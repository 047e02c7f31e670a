//! What goes wrong with traffic: firewalls of others, no way out, calls that end at the wrong place.

use wiab_engine::outcome::{Failure, Residue};
use wiab_engine::ports::Cancel;
use wiab_steps::host::sim::{Action, Fault, Machine};
use wiab_steps::host::{Cmd, Host as _};
use wiab_steps::kind::{Input, Kind};
use wiab_steps::kinds::docker_user::DockerUser;
use wiab_steps::kinds::inventory_checked::InventoryChecked;
use wiab_steps::kinds::kube_annotated::KubeAnnotated;
use wiab_steps::kinds::nft_check::NftCheck;
use wiab_steps::kinds::preflight::Report;
use wiab_steps::kinds::preflight::firewall::PreflightFirewall;

use crate::laws::charts::{annotated, cluster};
use crate::laws::cluster::{site, small};
use crate::laws::scenarios::deploy;
use crate::laws::world::World;
use crate::traffic::world::{FOREIGN, OUTSIDE, host, traffic, verified, with_traffic};

/// The step fails without having changed anything; code, cause and remedy have these words.
async fn fails<K: Kind>(
    world: &World,
    kind: &K,
    code: &str,
    why: &[&str],
    hint: &[&str],
) -> Failure {
    let start = world.state();
    let step = world.bind(kind);
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert_eq!(failure.code, code, "{failure:?}");
    assert_eq!(failure.residue, Residue::Clean, "{failure:?}");
    let said = failure.hint.clone().unwrap();
    for word in why {
        assert!(failure.why.contains(word), "{word}: {failure:?}");
    }
    for word in hint {
        assert!(said.contains(word), "{word}: {failure:?}");
    }
    assert_eq!(world.state(), start);
    failure
}

fn check() -> NftCheck {
    NftCheck {
        wan: None,
        traffic: traffic(),
    }
}

/// A chain that drops what is forwarded.
fn dropping(table: &str, chain: &str) -> String {
    format!(
        "table {table} {{\nchain {chain} {{\ntype filter hook forward priority 0; policy drop;\nct state established,related accept\n}}\n}}\n"
    )
}

#[tokio::test]
async fn number_12_a_foreign_firewall_drops_what_is_forwarded() {
    let cases = [
        (
            "ip filter",
            "FORWARD",
            "ufw",
            &[
                "sudo ufw route allow in on virbr0",
                "DEFAULT_FORWARD_POLICY",
            ],
        ),
        (
            "inet firewalld",
            "filter_FORWARD",
            "firewalld",
            &["systemctl disable --now firewalld", "--resume"],
        ),
        (
            "inet mine",
            "through",
            "somebody else",
            &["let the VMs' bridge pass", "--resume"],
        ),
    ];
    for (table, chain, who, hint) in cases {
        let world = World::new(host().with_nft(&dropping(table, chain)));
        let why = [table, chain, who, "drops every forwarded packet"];
        fails(&world, &check(), "traffic.foreign-drop", &why, hint).await;
        // The same when it comes after the installation.
        let later = World::new(with_traffic().await.with_nft(&dropping(table, chain)));
        fails(&later, &verified(), "traffic.foreign-drop", &why, hint).await;
    }
}

#[tokio::test]
async fn number_12_ufw_is_active() {
    let world = World::new(Machine::fresh().with_ufw());
    let found = world
        .bind(&PreflightFirewall {})
        .probe(false)
        .await
        .unwrap();
    let all = Report::seen(&found).unwrap();
    let ufw = all.iter().find(|finding| finding.what == "ufw").unwrap();
    assert!(ufw.why.contains("active"), "{ufw:?}");
    assert!(ufw.remedy.contains("sudo ufw disable"), "{ufw:?}");
}

#[tokio::test]
async fn number_12_docker_drops_what_is_forwarded() {
    let world = World::new(with_traffic().await.with_nft(FOREIGN));
    let why = ["docker drops", "virbr0", "DOCKER-USER"];
    let hint = ["systemctl restart wiab-docker-user", "wiab apply --resume"];
    fails(&world, &verified(), "traffic.docker-drop", &why, &hint).await;
    // The check before the firewall passes: the bridge is let through by the next step.
    world.done(&check()).await;
    let user = DockerUser {
        bridge: "virbr0".to_owned(),
    };
    world.done(&user).await;
    world.done(&verified()).await;
}

/// Where bridged packets pass the filters, docker's drops even what VMs send each other.
#[tokio::test]
async fn number_12_docker_drops_what_vms_send_each_other() {
    let machine = small().await.with_nft(FOREIGN);
    let world = World::new(machine.with_sysctl("net.bridge.bridge-nf-call-iptables", "1"));
    let names = site(2).hosts.into_iter().map(|host| host.name);
    let asked = InventoryChecked {
        inventory: deploy("ansible/inventory/offline/inventory.yml"),
        names: names.collect(),
        login: site(2).login,
    };
    let step = world.bind(&asked);
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert!(failure.why.contains("does not reach"), "{failure:?}");
    let user = DockerUser {
        bridge: "virbr0".to_owned(),
    };
    world.done(&user).await;
    world.done(&asked).await;
}

#[tokio::test]
async fn number_12_somebody_flushed_or_changed_the_rules() {
    let gone = World::new(with_traffic().await.without_nft());
    let hint = ["systemctl restart wiab-firewall", "nft monitor"];
    fails(&gone, &verified(), "traffic.rules", &["not loaded"], &hint).await;
    let more = "table ip wiab_nat {\nchain public {\ntcp dport 8443 counter dnat to 192.168.122.21\n}\n}\n";
    let changed = World::new(with_traffic().await.with_nft(more));
    fails(
        &changed,
        &verified(),
        "traffic.rules",
        &["- public: tcp dport == 8443"],
        &hint,
    )
    .await;
}

#[tokio::test]
async fn number_12_the_vms_have_no_way_out() {
    let off = with_traffic().await.with_sysctl("net.ipv4.ip_forward", "0");
    let why = ["does not forward", "net.ipv4.ip_forward"];
    let hint = ["sysctl -w net.ipv4.ip_forward=1", "/etc/sysctl.d"];
    fails(
        &World::new(off),
        &verified(),
        "traffic.forwarding",
        &why,
        &hint,
    )
    .await;

    // Something on the way that cannot be seen from the host's rules.
    let world = World::new(with_traffic().await);
    let lost = || Action::Fail {
        code: 28,
        stderr: "curl: (28) Connection timed out".to_owned(),
    };
    world.host.arm(Fault::always("ssh *letsencrypt*", lost()));
    let why = [
        "VM assethost does not reach",
        OUTSIDE,
        "but the host does",
        "timed out",
        "after 60 s",
    ];
    let hint = ["nft list chain ip wiab_nat postrouting"];
    fails(&world, &verified(), "traffic.silent", &why, &hint).await;
    world.host.arm(Fault::always("curl *letsencrypt*", lost()));
    let why = ["neither VM assethost nor the host reaches"];
    fails(
        &world,
        &verified(),
        "traffic.silent",
        &why,
        &["curl -v", "provider"],
    )
    .await;
    world.host.disarm();
    world.done(&verified()).await;
}

#[tokio::test]
async fn a_node_without_the_ingress_controller_is_named() {
    let world = World::new(with_traffic().await);
    let off = Cmd::new(["virsh", "destroy", "kubenode2"]).root();
    let done = world.host.run(&off, &Cancel::default(), &|_| {}).await;
    assert!(done.unwrap().ok());
    let why = [
        "192.168.122.22 does not answer on port 31772",
        "on port 31773",
        "after 60 s",
    ];
    let hint = [
        "kubectl get pods -A -o wide | grep ingress-nginx",
        "--resume",
    ];
    let failure = fails(&world, &verified(), "traffic.silent", &why, &hint).await;
    assert!(!failure.why.contains("192.168.122.21"), "{failure:?}");
}

#[tokio::test]
async fn number_20_calls_are_sent_to_another_node_than_the_calling_one() {
    let other = KubeAnnotated {
        ip: Input::Value("192.168.122.22".parse().unwrap()),
        ..annotated("203.0.113.7")
    };
    let why = ["forwarded to 192.168.122.22", "kubenode3", "192.168.122.23"];
    fails(
        &World::new(cluster()),
        &other,
        "calling.node",
        &why,
        &["traffic.calling_node", "--resume"],
    )
    .await;
}

#[tokio::test]
async fn number_20_a_service_of_the_host_lies_in_the_range_of_calls() {
    let world = World::new(host().with_socket("udp 0.0.0.0:51820"));
    let why = ["UDP port 51820", "range of calls", "calling node"];
    let hint = ["keep_udp = [51820]", "[traffic]"];
    fails(&world, &check(), "traffic.udp-clash", &why, &hint).await;
}
