//! The installation of the tests, and the situations of the kinds.

use std::net::Ipv4Addr;

use serde_json::json;
use wiab_engine::outcome::{Failure, Receipt};
use wiab_steps::host::sim::{ClusterPreset, Machine};
use wiab_steps::kind::{Input, Kind};
use wiab_steps::kinds::certs::KubeNode;
use wiab_steps::kinds::certs::calling_checked::CallingChecked;
use wiab_steps::kinds::certs::cert_ready::CertReady;
use wiab_steps::kinds::certs::cert_rehearsed::CertRehearsed;
use wiab_steps::kinds::certs::cert_restored::CertRestored;
use wiab_steps::kinds::certs::cert_saved::CertSaved;
use wiab_steps::kinds::certs::hairpin_needed::HairpinNeeded;
use wiab_steps::kinds::certs::hairpin_rpfilter::HairpinRpfilter;
use wiab_steps::kinds::certs::https_answers::HttpsAnswers;
use wiab_steps::kinds::certs::looks::Ground;
use wiab_steps::kinds::certs::turn_listens::TurnListens;
use wiab_steps::kinds::login::Login;
use wiab_steps::kinds::nft_hairpin::NftHairpin;
use wiab_steps::kinds::tool::Toolbox;

use crate::laws::scenarios::{self, Scenario, deploy, looks, scenario};
use crate::laws::world::World;
use crate::traffic::world::traffic;

pub(crate) const DOMAIN: &str = "wire.example.org";
pub(crate) const HOST_IP: &str = "203.0.113.10";
pub(crate) const CSR: &str = "wire-example-org-csr";
/// The names of the first certificate.
pub(crate) const NAMES: [&str; 6] = [
    "nginz-https.wire.example.org",
    "nginz-ssl.wire.example.org",
    "webapp.wire.example.org",
    "assets.wire.example.org",
    "teams.wire.example.org",
    "account.wire.example.org",
];
const TREE: &str = "/home/demo/deploy.d/1";
const IMAGE: &str = "quay.io/wire/wire-server-deploy:1";

fn looking<K: Kind>(name: &'static str, machine: &Machine, kind: &K) -> Scenario {
    Scenario {
        group: "certs",
        ..looks(name, machine, kind)
    }
}

fn value(text: &str) -> Input<String> {
    Input::Value(text.to_owned())
}

pub(crate) fn toolbox() -> Toolbox {
    Toolbox {
        image: value(IMAGE),
        tree: value(TREE),
        deploy: scenarios::DEPLOY.to_owned(),
    }
}

pub(crate) fn login() -> Login {
    Login {
        user: "demo".to_owned(),
        key_path: deploy("ssh/id_ed25519"),
        known_hosts: deploy("ssh/known_hosts"),
        accounts: std::collections::BTreeMap::new(),
    }
}

/// Only the first has a machine in this world.
fn nodes() -> Vec<KubeNode> {
    vec![node()]
}

fn node() -> KubeNode {
    KubeNode {
        name: "kubenode1".to_owned(),
        ip: value("192.168.122.21"),
    }
}

pub(crate) fn rule(needed: Option<&str>) -> NftHairpin {
    NftHairpin {
        needed: needed.map(value),
        ..scenarios::hairpin()
    }
}

pub(crate) fn probe(host_ip: &str) -> HairpinNeeded {
    HairpinNeeded {
        certificates: None,
        host_ip: host_ip.to_owned(),
        nodes: vec![node()],
        login: login(),
        rule: rule(None),
        deadline_ms: 120_000,
    }
}

/// What is looked at in case of trouble.
pub(crate) fn looked_at() -> Ground {
    Ground {
        domain: DOMAIN.to_owned(),
        nodes: nodes(),
        login: login(),
        rule: rule(None),
        resolvers: vec!["1.1.1.1".to_owned(), "9.9.9.9".to_owned()],
    }
}

pub(crate) fn ready(certificate: &str) -> CertReady {
    CertReady {
        toolbox: toolbox(),
        certificate: certificate.to_owned(),
        host_ip: HOST_IP.to_owned(),
        way: None,
        ground: Some(looked_at()),
        cures: None,
        deadline_ms: 20 * 60_000,
    }
}

pub(crate) fn rehearsed() -> CertRehearsed {
    CertRehearsed {
        toolbox: toolbox(),
        names: NAMES.map(str::to_owned).to_vec(),
        email: "admin@wire.example.org".to_owned(),
        certificates: vec![CSR.to_owned(), "sftd".to_owned()],
        host_ip: HOST_IP.to_owned(),
        way: None,
        ground: looked_at(),
        cures: None,
        deadline_ms: 20 * 60_000,
    }
}

pub(crate) fn saved(not_after: &[&str]) -> CertSaved {
    CertSaved {
        toolbox: toolbox(),
        path: deploy("tls.json"),
        domain: DOMAIN.to_owned(),
        not_after: not_after.iter().map(|end| value(end)).collect(),
        keep: false,
    }
}

pub(crate) fn restored() -> CertRestored {
    CertRestored {
        toolbox: toolbox(),
        path: deploy("tls.json"),
        domain: DOMAIN.to_owned(),
    }
}

pub(crate) fn https(name: &str) -> HttpsAnswers {
    HttpsAnswers {
        name: name.to_owned(),
        host_ip: HOST_IP.parse::<Ipv4Addr>().unwrap(),
        nodes: vec![node()],
        login: login(),
        way: Some(value("yes")),
        staging: false,
    }
}

pub(crate) fn turn() -> TurnListens {
    TurnListens {
        node: node(),
        login: login(),
    }
}

pub(crate) fn calling() -> CallingChecked {
    CallingChecked {
        toolbox: toolbox(),
        node: node(),
        host_ip: HOST_IP.to_owned(),
    }
}

/// A VM that answers, a cluster, the firewall, and the charts that certificates need; none is asked for yet.
pub(crate) async fn ground() -> Machine {
    (1..=3).fold(unseeded().await, |machine, index| {
        let solver = "quay.io/jetstack/cert-manager-acmesolver:v1.16.3";
        machine.with_node_image(&format!("kubenode{index}"), solver)
    })
}

/// The same without the solver's image on the nodes.
pub(crate) async fn unseeded() -> Machine {
    let world = World::new(scenarios::growth().await.started);
    world.done(&scenarios::ready()).await;
    let preset = ClusterPreset {
        image: IMAGE.to_owned(),
        deploy: scenarios::DEPLOY.to_owned(),
        tree: TREE.to_owned(),
        version: "5.23.0".to_owned(),
        password: "pg-password".to_owned(),
    };
    let machine = world
        .host
        .machine()
        .with_cluster(&preset)
        .with_sysctl("net.ipv4.ip_forward", "1")
        .with_nft(&traffic().script("eth0").unwrap())
        .with_object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cert-manager-ns"}}));
    machine
        .with_chart("cert-manager", json!({}))
        .with_chart("ingress-nginx-controller", json!({}))
        .with_chart(
            "coturn",
            json!({"nodeSelector": {"kubernetes.io/hostname": "kubenode1"}}),
        )
}

/// The charts that ask for certificates.
pub(crate) fn asked(machine: Machine, email: &str, test: bool) -> Machine {
    let [https, ssl, webapp, assets, teams, account] = NAMES;
    machine
        .with_chart(
            "nginx-ingress-services",
            json!({
                "tls": {"useCertManager": true},
                "certManager": {"certmasterEmail": email, "inTestMode": test},
                "config": {"dns": {
                    "https": https, "ssl": ssl, "webapp": webapp, "fakeS3": assets,
                    "teamSettings": teams, "accountPages": account,
                }},
            }),
        )
        .with_chart("sftd", json!({"host": format!("sftd.{DOMAIN}")}))
}

/// The same with everything as it should be: the rule is there, the charts have asked.
pub(crate) async fn well() -> Machine {
    let world = World::new(ground().await);
    world.done(&rule(None)).await;
    asked(world.host.machine(), "admin@wire.example.org", false)
}

/// Runs a step as the engine would, and hands over its failure.
pub(crate) async fn tried<K: Kind>(
    world: &World,
    kind: &K,
    attempt: u32,
) -> Result<Receipt, Failure> {
    let step = world.bind(kind);
    let before = step.capture().await.unwrap();
    step.apply(attempt, false, &before).await
}

/// Situations of the kinds.
pub(crate) async fn scenarios() -> Vec<Scenario> {
    let ground = ground().await;
    let world = World::new(well().await);
    let mut ends = Vec::new();
    for name in [CSR, "sftd"] {
        let receipt = world.done(&ready(name)).await;
        ends.push(receipt.outputs["not_after"].clone());
    }
    let issued = world.host.machine();
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    world.done(&saved(&ends)).await;
    let kept = world.text_of(&deploy("tls.json")).await.unwrap();
    let anew = ground
        .clone()
        .with_file(&deploy("tls.json"), &kept, 0o600, "demo:demo");
    let marked = mark(issued.clone(), HOST_IP);
    let strict = ground
        .clone()
        .with_sysctl("net.ipv4.conf.virbr0.rp_filter", "1")
        .with_sysctl("net.ipv4.conf.all.rp_filter", "0");
    let filter = HairpinRpfilter {
        sysctl: scenarios::rp_filter(),
        needed: value("yes"),
    };
    let pending = well().await;
    let ruled = World::new(ground.clone());
    ruled.done(&rule(None)).await;
    let ruled = ruled.host.machine();
    vec![
        looking("the way, measured", &ground, &probe(HOST_IP)),
        scenario(
            "certs",
            "hairpin where it is needed",
            &ground,
            &rule(Some("yes")),
        ),
        scenario(
            "certs",
            "reverse path filter where it is needed",
            &strict,
            &filter,
        ),
        scenario("certs", "certificate of six names", &pending, &ready(CSR)),
        scenario("certs", "rehearsal", &ruled, &rehearsed()),
        looking("certificate that is there", &issued, &ready(CSR)),
        scenario("certs", "save", &issued, &saved(&ends)),
        scenario("certs", "restore", &anew, &restored()),
        looking("https", &issued, &https(NAMES[2])),
        looking("turn", &issued, &turn()),
        looking("calling", &marked, &calling()),
    ]
}

/// The calling node tells that address.
pub(crate) fn mark(machine: Machine, address: &str) -> Machine {
    let mut node = machine.object("Node", "", "kubenode1").unwrap();
    node["metadata"]["annotations"] = json!({"wire.com/external-ip": address});
    node["metadata"]["managedFields"] = json!([{
        "manager": "kubectl-annotate", "time": "2026-01-01T01:00:00Z",
        "fieldsV1": {"f:metadata": {"f:annotations": {"f:wire.com/external-ip": {}}}},
    }]);
    machine.with_object(node)
}

/// The same without the pods of the ingress controller.
pub(crate) fn without_ingress(mut machine: Machine) -> Machine {
    for name in machine.objects("Pod/default/ingress-nginx-controller") {
        machine = machine.without_object("Pod", "default", &name);
    }
    machine
}
