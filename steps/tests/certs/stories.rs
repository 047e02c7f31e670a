//! Every signature of trouble as a scenario: the step runs on the simulated machine, and what it tells the journal, does, and
//! says at the end is held against `stories.txt`.

use std::fmt::Write as _;

use serde_json::json;
use wiab_engine::event::Event;
use wiab_engine::outcome::RetryAdvice;
use wiab_steps::host::sim::Machine;
use wiab_steps::kind::Input;
use wiab_steps::kinds::certs::cert_ready::CertReady;
use wiab_steps::kinds::certs::cure::{CurePolicy, Cures, HairpinCure};
use wiab_steps::kinds::nft_egress::NftEgress;
use wiab_steps::kinds::nft_traffic::NftTraffic;

use super::world::{CSR, HOST_IP, NAMES, asked, ready, rule, tried, unseeded, without_ingress};
use crate::laws::world::World;
use crate::traffic::world::traffic;

const ADMIN: &str = "admin@wire.example.org";
/// From the first sign to the diagnosis.
const DIAGNOSED_MS: u64 = 60_000;
/// Lets the VMs out and forwards nothing in.
const EGRESS_ONLY: &str = "table ip out {\nchain postrouting {\ntype nat hook postrouting priority 110; policy accept;\noifname \"eth0\" masquerade\n}\n}\n";
const DROPPING: &str =
    "table inet mine {\nchain through {\ntype filter hook forward priority 0; policy drop;\n}\n}\n";

pub(crate) fn cures(policy: CurePolicy, keep: bool) -> Cures {
    let wan = Input::Value("eth0".to_owned());
    let mut private = traffic();
    private.private = true;
    Cures {
        policy,
        hairpin: Some(HairpinCure {
            rule: rule(None),
            keep,
        }),
        egress: Some(NftEgress {
            wan: wan.clone(),
            open: true,
            needed: None,
        }),
        firewall: Some(NftTraffic {
            wan,
            traffic: traffic(),
            deadman_s: 120,
        }),
    }
}

pub(super) fn curing(policy: CurePolicy) -> CertReady {
    CertReady {
        cures: Some(cures(policy, false)),
        ..ready(CSR)
    }
}

/// What the world was told, in short lines.
fn told(world: &World) -> String {
    let mut text = String::new();
    for event in world.notes.events() {
        let _ = match event {
            Event::Diagnosed(one) => {
                let chosen = one.chosen.as_deref().unwrap_or("nothing");
                let mut lines = format!("diagnosed {chosen}\n");
                for suspect in &one.ranking {
                    let step = suspect.step.as_deref().unwrap_or("-");
                    let _ = writeln!(lines, "  {} ({step}): {}", suspect.cause, suspect.meaning);
                    for fact in &suspect.facts_for {
                        let _ = writeln!(lines, "    + {fact}");
                    }
                    for fact in &suspect.facts_against {
                        let _ = writeln!(lines, "    - {fact}");
                    }
                }
                for unknown in &one.unknown {
                    let _ = writeln!(lines, "  ? {unknown}");
                }
                write!(text, "{lines}")
            }
            Event::CureTried(one) => writeln!(text, "cure {}: {}", one.cause, one.what),
            Event::CureEnded(one) => {
                writeln!(text, "cure {} {:?}: {}", one.cause, one.outcome, one.seen)
            }
            Event::ObligationOpened(one) => {
                writeln!(text, "owed {}: {} [{}]", one.id, one.what, one.settle)
            }
            Event::ObligationSettled(one) => writeln!(text, "settled {}: {}", one.id, one.how),
            _ => Ok(()),
        };
    }
    text
}

fn count(world: &World, which: fn(&Event) -> bool) -> usize {
    let events = world.notes.events();
    events.iter().filter(|event| which(event)).count()
}

/// Runs a scenario and tells how it went.
async fn story(title: &str, machine: Machine, kind: &CertReady) -> String {
    let world = World::new(machine);
    let begun_ms = world.host.machine().now_ms();
    let ended = tried(&world, kind, 1).await;
    let took_ms = world.host.machine().now_ms() - begun_ms;
    let mut text = format!("== {title}\n{}", told(&world));
    let seen = count(&world, |event| matches!(event, Event::EvidenceTaken(_)));
    match ended {
        Ok(receipt) => {
            let _ = writeln!(text, "issued: {}", receipt.note.unwrap_or_default());
        }
        Err(failure) => {
            let diagnoses = count(&world, |event| matches!(event, Event::Diagnosed(_)));
            // What is not known is told as early, and waited out for some minutes more.
            assert!(
                failure.code == "cert.unknown"
                    || took_ms <= diagnoses as u64 * (DIAGNOSED_MS + 25_000),
                "{title}: {took_ms} ms for {diagnoses} diagnoses"
            );
            let asks = failure.advice == RetryAdvice::AskOperator;
            let verb = if asks { "asks" } else { "fails" };
            let _ = writeln!(
                text,
                "{verb} {}: {}\nhint: {}",
                failure.code,
                failure.why,
                failure.hint.unwrap_or_default()
            );
        }
    }
    let _ = writeln!(text, "({seen} pieces of evidence)\n");
    text
}

/// The same with the tools that the plan installs, and a container engine on its node.
fn equipped(machine: Machine) -> Machine {
    machine
        .with_packages(&["conntrack"])
        .with_inside(
            "kubenode1/file//usr/local/bin/containerd",
            Some(json!({"text": "1.7.13"})),
        )
        .with_inside(
            "kubenode1/unit/containerd",
            Some(json!({"active": true, "enabled": true})),
        )
}

pub(super) async fn ground() -> Machine {
    equipped(super::world::ground().await)
}

async fn ruled() -> Machine {
    let world = World::new(ground().await);
    world.done(&rule(None)).await;
    world.host.machine()
}

pub(super) fn ask(machine: Machine) -> Machine {
    asked(machine, ADMIN, false)
}

fn private(machine: Machine) -> Machine {
    let mut private = traffic();
    private.private = true;
    machine.with_nft(&private.script("eth0").unwrap())
}

/// Self-checks that end so for one name, and what they are called.
const CHECKS: &[(&str, &str)] = &[
    (
        "13.5 no route to host",
        "dial tcp 203.0.113.10:80: connect: no route to host",
    ),
    (
        "13.5 the name service misbehaves",
        "dial tcp: lookup NAME on 169.254.25.10:53: server misbehaving",
    ),
    (
        "13.5 the name service times out",
        "dial tcp: lookup NAME on 169.254.25.10:53: read udp 10.233.64.7:4711->169.254.25.10:53: i/o timeout",
    ),
    ("13.5 status 502", "wrong status code '502', expected '200'"),
    ("13.5 status 308", "wrong status code '308', expected '200'"),
    (
        "13.5 redirected to a bad certificate",
        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
    ),
    (
        "13.5 another site",
        "did not get expected response when querying endpoint, expected \"tok.key\" but got: <html>... (truncated)",
    ),
    (
        "13.5 reset",
        "read tcp 10.233.64.7:1->203.0.113.10:80: read: connection reset by peer",
    ),
    ("13.5 end of file", "EOF"),
    (
        "IPv6 address without a way",
        "dial tcp [2001:db8::1]:80: connect: network is unreachable",
    ),
    (
        "a complaint that nobody knows",
        "the flux capacitor is empty",
    ),
];

/// What the authority says, and how it is called.
const REFUSALS: &[(&str, &str, &str)] = &[
    (
        "13.5 the authority finds no name",
        "400 urn:ietf:params:acme:error:dns",
        "DNS problem: SERVFAIL looking up A for NAME - the domain's nameservers may be malfunctioning",
    ),
    (
        "13.5 the authority is answered by others",
        "403 urn:ietf:params:acme:error:unauthorized",
        "192.0.2.80: Invalid response from http://NAME/.well-known/acme-challenge/t: 404",
    ),
    (
        "the authority has trouble",
        "500 urn:ietf:params:acme:error:serverInternal",
        "Remote PerformValidation RPC failed",
    ),
];

/// What registering an account ends with.
const ACCOUNTS: &[(&str, &str)] = &[
    (
        "13.5 the contact is refused",
        "400 urn:ietf:params:acme:error:invalidContact: Error validating contact(s) :: contact email has forbidden domain \"example.com\"",
    ),
    (
        "the account is deactivated",
        "403 urn:ietf:params:acme:error:unauthorized: Account is not valid, has status \"deactivated\"",
    ),
    (
        "somebody looks into TLS",
        "Get \"https://acme-v02.api.letsencrypt.org/directory\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
    ),
];

async fn told_by_words(ruled: &Machine) -> String {
    let mut all = String::new();
    let never = ready(CSR);
    for (title, error) in CHECKS {
        let silent = title.contains("name service");
        let server = if silent {
            "169.254.25.10"
        } else {
            "192.0.2.53"
        };
        let machine = ruled.clone().with_deaf_resolver(server);
        let error = error.replace("NAME", NAMES[0]);
        let machine = ask(machine.with_check_error(NAMES[0], &error));
        all += &story(title, machine, &never).await;
    }
    for (title, kind, detail) in REFUSALS {
        let machine =
            ask(ruled
                .clone()
                .with_refusal(NAMES[0], kind, &detail.replace("NAME", NAMES[0])));
        all += &story(title, machine, &never).await;
    }
    for (title, error) in ACCOUNTS {
        let machine = ask(ruled.clone().with_account_error(error));
        all += &story(title, machine, &never).await;
    }
    all
}

async fn told_by_the_machine(ground: &Machine, ruled: &Machine) -> String {
    let auto = curing(CurePolicy::Auto);
    let bridge_nf = "net.bridge.bridge-nf-call-iptables";
    let mut alone = traffic();
    alone.nodes.truncate(1);
    let alone = alone.script("eth0").unwrap();
    let cases: Vec<(&str, Machine)> = vec![
        ("13.5 hairpin, cured", ask(ground.clone())),
        (
            "hairpin with bridge-nf: no rule helps",
            ask(ground.clone().with_nft(&alone).with_sysctl(bridge_nf, "1")),
        ),
        (
            "hairpin and a name that is missing",
            ask(ground.clone().with_name(NAMES[1], &[], &[])),
        ),
        (
            "a firewall of others drops",
            ask(ruled.clone().with_nft(DROPPING)),
        ),
        (
            "13.5 nothing forwards, cured",
            ask(ruled.clone().without_nft().with_nft(EGRESS_ONLY)),
        ),
        (
            "13.5 no ingress controller",
            ask(without_ingress(ruled.clone())),
        ),
        (
            "13.5 no such name",
            ask(ruled.clone().with_name(NAMES[3], &[], &[])),
        ),
        (
            "13.5 status 404 of another machine",
            ask(ruled
                .clone()
                .with_name(NAMES[1], &["192.0.2.80"], &[])
                .with_other_site("192.0.2.80")),
        ),
        (
            "13.5 the authority does not reach port 80",
            ask(ruled.clone().with_closed_port_80()),
        ),
        (
            "13.5 an IPv6 address that leads nowhere",
            ask(ruled
                .clone()
                .with_name(NAMES[2], &[HOST_IP], &["2001:db8::1"])),
        ),
        (
            "13.5 CAA",
            ask(ruled
                .clone()
                .with_caa("wire.example.org", &["0 issue \"pki.example\""])),
        ),
        (
            "13.5 the weekly limit",
            ask(ruled.clone().with_issued(&NAMES, 5)),
        ),
        (
            "13.5 a domain that is not issued for",
            ask(ruled.clone().with_forbidden_domain("wire.example.org")),
        ),
        ("13.5 no way out, cured", ask(private(ruled.clone()))),
    ];
    let mut all = String::new();
    for (title, machine) in cases {
        all += &story(title, machine, &auto).await;
    }
    let router = CertReady {
        host_ip: "198.51.100.7".to_owned(),
        ..auto
    };
    let names = NAMES.iter().chain(&["sftd.wire.example.org"]);
    let machine = names.fold(ground.clone(), |machine, name| {
        machine.with_name(name, &["198.51.100.7"], &[])
    });
    all += &story(
        "hairpin of a router: no rule here helps",
        ask(machine),
        &router,
    )
    .await;
    all += &story(
        "hairpin, asked",
        ask(ground.clone()),
        &curing(CurePolicy::Ask),
    )
    .await;
    all += &story("hairpin, never cured", ask(ground.clone()), &ready(CSR)).await;
    all
}

#[tokio::test]
async fn every_signature_has_its_story() {
    let (ground, ruled) = (ground().await, ruled().await);
    let mut all = told_by_the_machine(&ground, &ruled).await;
    all += &told_by_words(&ruled).await;
    let written = concat!(env!("CARGO_TARGET_TMPDIR"), "/stories.txt");
    fs_err::write(written, &all).unwrap();
    assert!(
        all == include_str!("stories.txt"),
        "a story has changed; if it is meant, copy {written} over steps/tests/certs/stories.txt"
    );
}

#[tokio::test]
async fn a_missing_image_is_fetched_through_a_way_out_that_closes_again() {
    let world = World::new(equipped(unseeded().await));
    world.done(&rule(None)).await;
    let open = ask(world.host.machine());
    // The account is registered while the way out is open; then it closes.
    let world = World::new(open);
    world.bind(&ready(CSR)).probe(false).await.unwrap();
    let shut = private(world.host.machine());
    let world = World::new(shut);
    tried(&world, &curing(CurePolicy::Auto), 1).await.unwrap();
    let text = told(&world);
    assert!(text.contains("cure solverdown: let the VMs out"), "{text}");
    assert!(text.contains("settled cert.egress"), "{text}");
}

#[tokio::test]
async fn a_question_is_answered_by_letting_the_step_go_on() {
    let world = World::new(ask(ground().await));
    let kind = curing(CurePolicy::Ask);
    let failure = tried(&world, &kind, 1).await.unwrap_err();
    assert_eq!(failure.advice, RetryAdvice::AskOperator);
    assert!(
        failure
            .hint
            .unwrap()
            .contains("shall wiab add the hairpin rule")
    );
    assert!(
        !told(&world).contains("cure hairpin"),
        "not before it is permitted"
    );
    tried(&world, &kind, 2).await.unwrap();
    let text = told(&world);
    for line in [
        "settled cert.ask-hairpin",
        "cure hairpin Worked",
        "settled cert.hairpin-rule",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_kept_cure_is_taken_back_by_undo_and_a_temporary_one_leaves_nothing() {
    for keep in [false, true] {
        let world = World::new(ask(ground().await));
        let start = world.state();
        let kind = CertReady {
            cures: Some(cures(CurePolicy::Auto, keep)),
            ..ready(CSR)
        };
        let step = world.bind(&kind);
        let before = step.capture().await.unwrap();
        step.apply(1, false, &before).await.unwrap();
        assert_eq!(world.state() == start, !keep, "keep {keep}");
        step.undo(1, &before).await.unwrap();
        assert_eq!(world.state(), start, "keep {keep}");
    }
}
