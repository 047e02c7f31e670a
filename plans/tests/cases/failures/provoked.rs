//! The failures that can still be provoked: what the run says, and that it goes on when the cause is gone.

use serde_json::{Value, json};
use wiab_engine::outcome::Outcome;
use wiab_plans::{ARTIFACT_HASH, HairpinPolicy, Settings};
use wiab_steps::host::sim::Machine;

use super::{Change, Site, Trouble};

/// What makes the run go on.
enum Cure {
    /// Somebody does what the hint says on the machine; `resume` completes the run.
    Machine(Change),
    /// The settings are changed as the hint says; a new run completes.
    Settings(fn(&mut Settings)),
    /// Nothing that a test can do: another release, another week.
    Elsewhere,
}

struct Case {
    number: u8,
    what: &'static str,
    settings: fn(&mut Settings),
    machine: Change,
    /// Unix time at which the installation begins, if it matters.
    epoch_ms: Option<u64>,
    /// Before this step starts, somebody does that.
    meddle: Option<(&'static str, Change)>,
    step: &'static str,
    why: &'static [&'static str],
    hint: &'static [&'static str],
    cure: Cure,
}

const CASE: Case = Case {
    number: 0,
    what: "",
    settings: |_| {},
    machine: |machine| machine,
    epoch_ms: None,
    meddle: None,
    step: "",
    why: &[],
    hint: &[],
    cure: Cure::Elsewhere,
};

/// 2026-12-01: after the key of the release's package repository has expired.
const LATER_MS: u64 = 1_796_083_200_000;

/// An older release.
const OTHER: &str = "e5e1919173f6fe2b56034a57e2dc59e8343e8b8e";

const NODES: [&str; 3] = ["kubenode1", "kubenode2", "kubenode3"];

const NAMES: [&str; 6] = [
    "account.staging.example.org",
    "assets.staging.example.org",
    "nginz-https.staging.example.org",
    "nginz-ssl.staging.example.org",
    "teams.staging.example.org",
    "webapp.staging.example.org",
];

fn unit(active: bool) -> Value {
    json!({"active": active, "enabled": true})
}

/// The image that runs webapp is on no node, or on the node that it was taken from.
fn without_webapp(mut machine: Machine) -> Machine {
    for node in NODES {
        let name = format!("{node}/images");
        let mut images = machine.inside(&name).unwrap();
        let all = images.as_array_mut().unwrap();
        all.retain(|image| !image.as_str().unwrap().contains("wire/webapp:"));
        machine = machine.with_inside(&name, Some(images));
    }
    machine
}

fn with_webapp(mut machine: Machine) -> Machine {
    for node in NODES {
        machine = machine.with_node_image(node, "quay.io/wire/webapp:0.8.0-pre.2699");
    }
    machine
}

/// The secret values of wire-server with another password of PostgreSQL.
fn unsynced(machine: Machine) -> Machine {
    let path = "/home/demo/wire-server-deploy/.wiab/values/wire-server.secrets.yaml";
    let state = machine.canonical_state();
    let text = state[format!("file:{path}")]["data"]["text"]
        .as_str()
        .unwrap();
    let changed = text
        .lines()
        .map(|line| match line.split_once("pgPassword:") {
            Some((before, _)) => format!("{before}pgPassword: verysecurepassword\n"),
            None => format!("{line}\n"),
        });
    let changed: String = changed.collect();
    machine.with_file(path, &changed, 0o600, "demo:demo")
}

/// The calling node tells this address to the calling services.
fn marked(machine: Machine, address: &str) -> Machine {
    let mut node = machine.object("Node", "", "kubenode3").unwrap();
    node["metadata"]["annotations"]["wire.com/external-ip"] = json!(address);
    machine.with_object(node)
}

const FOREIGN: &str =
    "table inet mine {\nchain through {\ntype filter hook forward priority 0; policy drop;\n}\n}\n";

const CASES: &[Case] = &[
    Case {
        number: 1,
        what: "the VMs do not reach the public address, and nobody adds the hairpin rule",
        settings: |settings| {
            settings.hairpin.policy = HairpinPolicy::Off;
            settings.certs.cure = wiab_plans::Cure::Never;
        },
        step: "cert.wait:web",
        why: &["do not come back (hairpin)", "account.staging.example.org"],
        hint: &["[hairpin] policy = \"auto\"", "NAT loopback"],
        cure: Cure::Settings(|settings| settings.hairpin.policy = HairpinPolicy::Auto),
        ..CASE
    },
    Case {
        number: 1,
        what: "a name is missing in the DNS",
        machine: |machine| machine.with_name(NAMES[5], &[], &[]),
        step: "pre.dns",
        why: &["no A record for webapp.staging.example.org"],
        hint: &["add A records to 203.0.113.10"],
        cure: Cure::Machine(|machine| machine.with_name(NAMES[5], &["203.0.113.10"], &[])),
        ..CASE
    },
    Case {
        number: 2,
        what: "a node of Cassandra is down when the migrations run",
        meddle: Some(("helm.wire-server", |machine| {
            machine.with_inside("datanode2/unit/cassandra", Some(unit(false)))
        })),
        step: "helm.wire-server",
        why: &["needs all three nodes", "alive = 2"],
        hint: &["data.verify:cassandra", "wiab apply --resume"],
        cure: Cure::Machine(|machine| {
            machine.with_inside("datanode2/unit/cassandra", Some(unit(true)))
        }),
        ..CASE
    },
    Case {
        number: 3,
        what: "the password of PostgreSQL does not get into the values of wire-server",
        meddle: Some(("helm.wire-server", unsynced)),
        step: "helm.wire-server",
        why: &[
            "PostgreSQL refuses the password",
            "user \"wire-server\"",
            "wire-postgresql-external-secret",
        ],
        hint: &["--only pg.secrets,sec.render-helm,helm.wire-server"],
        cure: Cure::Settings(|_| {}),
        ..CASE
    },
    Case {
        number: 5,
        what: "a node has thrown an image away",
        meddle: Some(("helm.webapp", without_webapp)),
        step: "helm.webapp",
        why: &[
            "kubenode1 does not have image quay.io/wire/webapp",
            "no registry",
        ],
        hint: &["k8s.seed-helm:kubenode1"],
        cure: Cure::Machine(with_webapp),
        ..CASE
    },
    Case {
        number: 5,
        what: "a release names an image by its digest, which no archive keeps",
        settings: |settings| settings.artifact.hash = Some(OTHER.to_owned()),
        step: "helm.sftd",
        why: &[
            "kubenode3 does not have image",
            "nginx@sha256:",
            "no registry",
        ],
        hint: &["repository and tag in values.d"],
        ..CASE
    },
    Case {
        number: 8,
        what: "the key of the release's package repository has expired",
        epoch_ms: Some(LATER_MS),
        step: "art.verify",
        why: &["expired 2026-07-12", "EXPKEYSIG"],
        hint: &["accept_expired_key = true"],
        cure: Cure::Settings(|settings| settings.artifact.accept_expired_key = true),
        ..CASE
    },
    Case {
        number: 11,
        what: "RabbitMQ does not know the credentials",
        meddle: Some(("helm.wire-server", |machine| {
            machine.with_inside(
                "datanode1/rabbitmq/users",
                Some(json!({"guest": "another"})),
            )
        })),
        step: "helm.wire-server",
        why: &["RabbitMQ refuses the credentials", "Handshake failed"],
        hint: &["rabbitmqctl list_users"],
        cure: Cure::Machine(|machine| machine.with_inside("datanode1/rabbitmq/users", None)),
        ..CASE
    },
    Case {
        number: 12,
        what: "ufw is active",
        machine: Machine::with_ufw,
        step: "pre.firewall",
        why: &["ufw is active and drops"],
        hint: &["sudo ufw disable"],
        ..CASE
    },
    Case {
        number: 12,
        what: "a firewall of somebody else drops what is forwarded",
        meddle: Some(("fw.verify", |machine| machine.with_nft(FOREIGN))),
        step: "fw.verify",
        why: &["chain inet mine through", "drops every forwarded packet"],
        hint: &["let the VMs' bridge pass"],
        cure: Cure::Machine(|machine| machine.with_nft("delete table inet mine\n")),
        ..CASE
    },
    Case {
        number: 13,
        what: "the host name of a machine is not its name in the inventory",
        meddle: Some(("inv.check", |machine| {
            machine.with_vm_fact("kubenode2", "host", json!("ubuntu"))
        })),
        step: "inv.check",
        why: &["host name is `ubuntu`", "kubenode2"],
        hint: &["hostnamectl set-hostname kubenode2"],
        cure: Cure::Machine(|machine| {
            machine.with_vm_fact("kubenode2", "host", json!("kubenode2"))
        }),
        ..CASE
    },
    Case {
        number: 13,
        what: "a playbook cannot reach a machine",
        machine: |machine| machine.with_playbook_unreachable("cassandra.yml", "datanode2"),
        step: "cas.install",
        why: &["datanode2 cannot be reached over ssh", "No route to host"],
        hint: &["demo@192.168.122.32", "virsh list"],
        cure: Cure::Machine(|machine| machine.without_playbook_fault("cassandra.yml")),
        ..CASE
    },
    Case {
        number: 14,
        what: "unattended-upgrades keeps apt's lock",
        machine: |machine| machine.with_apt_lock(812, "unattended-upgr", 36_000_000),
        step: "host.packages",
        why: &["unattended-upgr (process 812) held apt's lock"],
        hint: &["systemctl status unattended-upgrades"],
        cure: Cure::Machine(|machine| machine.with_apt_lock(812, "unattended-upgr", 0)),
        ..CASE
    },
    Case {
        number: 12,
        what: "the rules that forward web traffic were flushed",
        meddle: Some(("e2e.https:webapp", Machine::without_nft)),
        step: "e2e.https:webapp",
        why: &["webapp.staging.example.org does not answer at 203.0.113.10:443"],
        hint: &["wiab apply", "fw.apply"],
        cure: Cure::Settings(|_| {}),
        ..CASE
    },
    Case {
        number: 15,
        what: "the webapp answers 503 after all charts are installed",
        meddle: Some(("e2e.https:webapp", |machine| {
            machine.with_http_status("https://webapp.staging.example.org/", 503)
        })),
        step: "e2e.https:webapp",
        why: &[
            "webapp.staging.example.org answers 503",
            "webapp behind it does not",
        ],
        hint: &["kubectl get pods | grep webapp", "helm.webapp"],
        cure: Cure::Machine(|machine| {
            machine.with_http_status("https://webapp.staging.example.org/", 200)
        }),
        ..CASE
    },
    Case {
        number: 16,
        what: "the content of the release does not fit on assethost",
        meddle: Some(("ast.sources", |machine| {
            machine.with_inside("assethost/disk/free_bytes", Some(json!(9_u64 << 30)))
        })),
        step: "ast.sources",
        why: &["disk of assethost is too small", "9 GiB are free"],
        hint: &["/opt/assets/containers-helm", "disk_gib"],
        cure: Cure::Machine(|machine| machine.with_inside("assethost/disk/free_bytes", None)),
        ..CASE
    },
    Case {
        number: 17,
        what: "a package is missing in the release",
        machine: |machine| {
            machine.with_published(ARTIFACT_HASH, 0, &["-postgresql-17_17.8-1_amd64.deb"])
        },
        step: "art.verify",
        why: &["has no postgresql-17_17.8-1_amd64.deb"],
        hint: &["[artifact] hash to another release"],
        cure: Cure::Settings(|settings| {
            settings.artifact.hash = Some(OTHER.to_owned());
            settings.charts.calling = false;
        }),
        ..CASE
    },
    Case {
        number: 20,
        what: "the node of calls tells another address",
        meddle: Some(("e2e.calling", |machine| marked(machine, "192.0.2.9"))),
        step: "e2e.calling",
        why: &[
            "tells the calling services the address 192.0.2.9",
            "without sound",
        ],
        hint: &["kubectl annotate node kubenode3 wire.com/external-ip=203.0.113.10"],
        cure: Cure::Machine(|machine| marked(machine, "203.0.113.10")),
        ..CASE
    },
    Case {
        number: 21,
        what: "too many certificates for these names this week",
        meddle: Some(("helm.nginx-ingress-services", |machine| {
            machine.with_issued(&NAMES, 5)
        })),
        step: "cert.wait:web",
        why: &["refuses further certificates", "until 2026-01-08"],
        hint: &["[certs] staging = true"],
        cure: Cure::Settings(|settings| settings.certs.staging = true),
        ..CASE
    },
    Case {
        number: 22,
        what: "a mapping of Elasticsearch that cannot be changed",
        meddle: Some(("helm.wire-server", |machine| {
            machine.with_inside(
                "datanode1/elasticsearch/mapping",
                Some(json!({"email": "keyword"})),
            )
        })),
        step: "helm.wire-server",
        why: &["400 illegal_argument"],
        hint: &["reindex"],
        cure: Cure::Machine(|machine| machine.with_inside("datanode1/elasticsearch/mapping", None)),
        ..CASE
    },
];

/// Holds the run against the table; the error says what is different.
fn check(case: &Case) {
    let title = format!("number {}, {}", case.number, case.what);
    let mut settings = Settings::rehearsal();
    (case.settings)(&mut settings);
    let mut site = Site::new(&settings, (case.machine)(Machine::fresh()));
    site.epoch_ms = case.epoch_ms.unwrap_or(site.epoch_ms);
    let trouble = Trouble {
        meddle: case.meddle,
        ..Trouble::default()
    };
    let outcome = site.run(trouble);
    assert!(
        matches!(outcome, Outcome::FailedKept | Outcome::Parked),
        "{title}: {outcome:?}"
    );
    let failures = site.failures();
    let failed = failures.iter().find(|(step, _)| step.as_str() == case.step);
    let (_, failure) =
        failed.unwrap_or_else(|| panic!("{title}: {} did not fail: {failures:#?}", case.step));
    let hint = failure.hint.clone().unwrap_or_default();
    for (text, parts) in [(&failure.why, case.why), (&hint, case.hint)] {
        assert!(!parts.is_empty(), "{title}");
        for part in parts {
            assert!(text.contains(part), "{title}: no `{part}` in {failure:#?}");
        }
    }
    let outcome = match case.cure {
        Cure::Machine(change) => {
            site.change(change);
            site.run(Trouble::default())
        }
        Cure::Settings(change) => {
            change(&mut settings);
            site.again(&settings)
        }
        Cure::Elsewhere => return,
    };
    let left = site.failures();
    assert_eq!(
        (outcome, left),
        (Outcome::Completed, Vec::new()),
        "{title}, then cured"
    );
}

/// The numbers that cannot be provoked any more are those of [`super::harmless`].
pub(super) fn numbers() -> Vec<u8> {
    CASES.iter().map(|case| case.number).collect()
}

fn check_all(wanted: impl Fn(usize) -> bool) {
    let chosen = CASES.iter().enumerate();
    for (_, case) in chosen.filter(|(at, _)| wanted(*at)) {
        check(case);
    }
}

// Four tests, so that they run beside each other.

#[test]
fn every_fourth_failure_names_its_cause_and_its_remedy() {
    check_all(|at| at % 4 == 0);
}

#[test]
fn the_next_ones_do() {
    check_all(|at| at % 4 == 1);
}

#[test]
fn those_after_them_do() {
    check_all(|at| at % 4 == 2);
}

#[test]
fn and_so_does_the_rest() {
    check_all(|at| at % 4 == 3);
}
