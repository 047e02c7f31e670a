//! What keeps certificates and calls from working, each with the message that names cause and remedy.

use serde_json::json;
use wiab_engine::outcome::{Failure, Probe, Residue};
use wiab_steps::host::sim::{Action, Fault, Machine};

use crate::certs::world::{
    CSR, HOST_IP, NAMES, asked, calling, ground, https, mark, probe, ready, restored, rule, saved,
    tried, turn, unseeded, well, without_ingress,
};
use crate::laws::scenarios::deploy;
use crate::laws::world::World;
use crate::traffic::world::traffic;

const ADMIN: &str = "admin@wire.example.org";
/// From the first sign to the message.
const EARLY_MS: u64 = 75_000;

/// Waits for the first certificate and expects an early failure with these words, hint and code.
async fn fails(machine: Machine, why: &str, hint: &str, code: &str) -> Failure {
    let world = World::new(machine);
    let begun_ms = world.host.machine().now_ms();
    let failure = tried(&world, &ready(CSR), 1).await.unwrap_err();
    let took_ms = world.host.machine().now_ms() - begun_ms;
    assert!(failure.why.contains(why), "{failure:?}");
    assert!(failure.hint.as_ref().unwrap().contains(hint), "{failure:?}");
    assert_eq!(failure.code, code, "{failure:?}");
    assert!(took_ms <= EARLY_MS, "{code} after {took_ms} ms");
    assert_eq!(failure.residue, Residue::Clean);
    failure
}

/// The rule is there, nothing was asked for yet.
async fn ruled() -> Machine {
    let world = World::new(ground().await);
    world.done(&rule(None)).await;
    world.host.machine()
}

#[tokio::test]
async fn without_the_hairpin_the_self_check_times_out_and_a_cure_takes_effect_at_the_next_retry() {
    let machine = asked(ground().await, ADMIN, false);
    let failure = fails(
        machine.clone(),
        "do not come back (hairpin)",
        "hp.snat",
        "cert.hairpin",
    )
    .await;
    assert!(
        failure.why.contains("context deadline exceeded"),
        "{failure:?}"
    );
    let world = World::new(machine);
    tried(&world, &ready(CSR), 1).await.unwrap_err();
    world.done(&rule(Some("yes"))).await;
    let receipt = tried(&world, &ready(CSR), 2).await.unwrap();
    assert!(
        receipt.outputs["not_after"].starts_with("2026-04-01T"),
        "{receipt:?}"
    );
}

#[tokio::test]
async fn without_egress_the_account_cannot_be_registered() {
    let mut private = traffic();
    private.private = true;
    let script = private.script("eth0").unwrap();
    let machine = asked(ruled().await.with_nft(&script), ADMIN, false);
    fails(
        machine,
        "do not reach the certificate authority",
        "egress.open",
        "cert.egress",
    )
    .await;
}

#[tokio::test]
async fn a_missing_record_is_told_with_its_name() {
    let machine = ruled().await.with_name(NAMES[3], &[], &[]);
    let failure = fails(
        asked(machine, ADMIN, false),
        NAMES[3],
        "pre.dns",
        "cert.nosuchname",
    )
    .await;
    assert!(
        failure
            .hint
            .unwrap()
            .contains(&format!("A record {} with {HOST_IP}", NAMES[3]))
    );
}

#[tokio::test]
async fn every_other_cause_is_told_with_its_step() {
    let ruled = ruled().await;
    let ask = |machine: Machine| asked(machine, ADMIN, false);
    let there = |name: &str| ruled.clone().with_name(name, &["192.0.2.80"], &[]);
    fails(
        ask(ruled.clone().without_nft().with_nft(EGRESS_ONLY)),
        "not forwarded to the nodes",
        "fw.apply",
        "cert.notforwarded",
    )
    .await;
    fails(
        ask(without_ingress(ruled.clone())),
        "nothing listens",
        "fw.apply",
        "cert.refused",
    )
    .await;
    let other = there(NAMES[1]).with_other_site("192.0.2.80");
    fails(
        ask(other),
        "knows nothing of the challenge",
        "pre.dns",
        "cert.notfound",
    )
    .await;
    let six = ruled
        .clone()
        .with_name(NAMES[2], &[HOST_IP], &["2001:db8::1"]);
    fails(
        ask(six),
        "does not reach port 80",
        "AAAA record of webapp",
        "cert.authoritycannotconnect",
    )
    .await;
    fails(
        ask(ruled.clone().with_closed_port_80()),
        "does not reach port 80",
        "pre.dns",
        "cert.authoritycannotconnect",
    )
    .await;
    let caa = ruled
        .clone()
        .with_caa("wire.example.org", &["0 issue \"pki.example\""]);
    fails(ask(caa), "CAA record", "letsencrypt.org", "cert.caa").await;
    let forbidden = ruled.clone().with_forbidden_domain("wire.example.org");
    fails(
        ask(forbidden),
        "does not issue for this domain",
        "pre.inputs",
        "cert.rejectedname",
    )
    .await;
    fails(
        asked(ruled, "admin@example.com", false),
        "does not accept the mail address",
        "pre.inputs",
        "cert.contact",
    )
    .await;
}

/// Lets the VMs out and forwards nothing in.
const EGRESS_ONLY: &str = "table ip out {\nchain postrouting {\ntype nat hook postrouting priority 110; policy accept;\noifname \"eth0\" masquerade\n}\n}\n";

#[tokio::test]
async fn a_missing_solver_image_is_told_where_the_nodes_cannot_fetch_it() {
    let world = World::new(unseeded().await);
    world.done(&rule(None)).await;
    let open = asked(world.host.machine(), ADMIN, false);
    tried(&World::new(open.clone()), &ready(CSR), 1)
        .await
        .unwrap();
    // The account is registered while the way out is open; then it closes.
    let world = World::new(open);
    world.bind(&ready(CSR)).probe(false).await.unwrap();
    let mut private = traffic();
    private.private = true;
    let script = private.script("eth0").unwrap();
    let shut = world.host.machine().without_nft().with_nft(&script);
    let world = World::new(shut);
    world.done(&rule(None)).await;
    fails(
        world.host.machine(),
        "cert-manager-acmesolver is missing",
        "k8s.seed-helm",
        "cert.solverdown",
    )
    .await;
}

#[tokio::test]
async fn the_weekly_limit_is_told_with_its_end_and_nothing_is_asked_again_before_it() {
    let machine = asked(ruled().await.with_issued(&NAMES, 5), ADMIN, false);
    let failure = fails(
        machine.clone(),
        "until 2026-01-08 00:0",
        "cert.wait",
        "cert.ratelimited",
    )
    .await;
    assert!(failure.hint.unwrap().contains("staging"));
    let world = World::new(machine.clone());
    for attempt in [1, 2, 3] {
        let failure = tried(&world, &ready(CSR), attempt).await.unwrap_err();
        assert_eq!(failure.code, "cert.ratelimited");
    }
    let said = world.said.lock().unwrap().join("\n");
    assert!(!said.contains("kubectl replace"), "asked again in vain");
    // Test certificates do not count.
    let world = World::new(asked(ruled().await.with_issued(&NAMES, 5), ADMIN, true));
    tried(&world, &ready(CSR), 1).await.unwrap();
}

#[tokio::test]
async fn after_a_refusal_a_cure_does_not_wait_an_hour() {
    let broken = ruled()
        .await
        .with_name(NAMES[2], &[HOST_IP], &["2001:db8::1"]);
    let world = World::new(asked(broken, ADMIN, false));
    tried(&world, &ready(CSR), 1).await.unwrap_err();
    world
        .host
        .meddle(|machine| machine.with_name(NAMES[2], &[HOST_IP], &[]))
        .unwrap();
    let begun_ms = world.host.machine().now_ms();
    tried(&world, &ready(CSR), 2).await.unwrap();
    let took_ms = world.host.machine().now_ms() - begun_ms;
    assert!(took_ms < 120_000, "{took_ms} ms");
}

#[tokio::test]
async fn asking_again_reads_anew_what_somebody_else_wrote_and_gives_up_in_the_end() {
    let broken = ruled()
        .await
        .with_name(NAMES[2], &[HOST_IP], &["2001:db8::1"]);
    let world = World::new(asked(broken, ADMIN, false));
    tried(&world, &ready(CSR), 1).await.unwrap_err();
    let repaired = world.host.machine().with_name(NAMES[2], &[HOST_IP], &[]);
    let conflict = Action::Fail {
        code: 1,
        stderr: "Error from server (Conflict): the object has been modified\n".to_owned(),
    };
    let replaces = "*kubectl replace --raw *";
    let world = World::new(repaired.clone());
    world.host.arm(Fault::once(replaces, conflict.clone()));
    tried(&world, &ready(CSR), 2).await.unwrap();
    let world = World::new(repaired);
    world.host.arm(Fault::always(replaces, conflict));
    let failure = tried(&world, &ready(CSR), 2).await.unwrap_err();
    assert_eq!(failure.code, "cert.not-asked");
    assert!(failure.why.contains("Conflict"), "{failure:?}");
}

#[tokio::test]
async fn a_cluster_that_begins_anew_takes_the_saved_certificates() {
    let world = World::new(well().await);
    let mut ends = Vec::new();
    for name in [CSR, "sftd"] {
        ends.push(tried(&world, &ready(name), 1).await.unwrap().outputs["not_after"].clone());
    }
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    tried(&world, &saved(&ends), 1).await.unwrap();
    let kept = world.text_of(&deploy("tls.json")).await.unwrap();
    let said = world.said.lock().unwrap().join("\n");
    assert!(
        !said.contains("PRIVATE KEY") && !said.contains("tls.key"),
        "a key was said"
    );
    // The week's limit is reached, and the cluster is a new one.
    let anew = ruled().await.with_issued(&NAMES, 5).with_file(
        &deploy("tls.json"),
        &kept,
        0o600,
        "demo:demo",
    );
    let world = World::new(anew);
    tried(&world, &restored(), 1).await.unwrap();
    world
        .host
        .meddle(|machine| asked(machine, ADMIN, false))
        .unwrap();
    let receipt = tried(&world, &ready(CSR), 1).await.unwrap();
    assert_eq!(receipt.outputs["not_after"], ends[0]);
    // Those of another domain are left alone.
    let mut other = restored();
    "other.example.org".clone_into(&mut other.domain);
    let found = world.bind(&other).probe(false).await.unwrap();
    assert!(
        matches!(found, Probe::Satisfied(receipt) if receipt.note.as_ref().unwrap().contains("wire.example.org"))
    );
}

#[tokio::test]
async fn the_fake_certificate_is_not_taken_for_one() {
    let world = World::new(asked(ground().await, ADMIN, false));
    let failure = tried(&world, &https(NAMES[2]), 1).await.unwrap_err();
    assert!(failure.why.contains("Fake Certificate"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("cert.wait"));
    let world = World::new(well().await);
    tried(&world, &ready(CSR), 1).await.unwrap();
    tried(&world, &https(NAMES[0]), 1).await.unwrap();
    world.host.meddle(Machine::without_nft).unwrap();
    let failure = tried(&world, &https(NAMES[0]), 1).await.unwrap_err();
    assert!(
        failure.why.contains("does not answer at 203.0.113.10:443"),
        "{failure:?}"
    );
    // A test certificate is only good where it is wanted.
    let world = World::new(asked(ruled().await, ADMIN, true));
    tried(&world, &ready(CSR), 1).await.unwrap();
    let failure = tried(&world, &https(NAMES[0]), 1).await.unwrap_err();
    assert!(failure.why.contains("STAGING"), "{failure:?}");
    let mut staging = https(NAMES[0]);
    staging.staging = true;
    tried(&world, &staging, 1).await.unwrap();
}

#[tokio::test]
async fn a_name_that_answers_503_does_not_answer() {
    let world = World::new(well().await);
    tried(&world, &ready(CSR), 1).await.unwrap();
    let url = format!("https://{}/", NAMES[2]);
    let say = |status| {
        let url = url.clone();
        world
            .host
            .meddle(move |machine| machine.with_http_status(&url, status))
            .unwrap();
    };
    say(503);
    let failure = tried(&world, &https(NAMES[2]), 1).await.unwrap_err();
    assert!(
        failure
            .why
            .contains("webapp.wire.example.org answers 503 on kubenode1"),
        "{failure:?}"
    );
    assert_eq!(failure.code, "https.server-error");
    let hint = failure.hint.unwrap();
    assert!(hint.contains("kubectl get pods | grep webapp") && hint.contains("helm.webapp"));
    // Others answer, and so does this one as soon as something is behind it.
    tried(&world, &https(NAMES[0]), 1).await.unwrap();
    say(403);
    tried(&world, &https(NAMES[2]), 1).await.unwrap();
}

#[tokio::test]
async fn calls_that_would_have_no_sound_are_told() {
    let ground = asked(ground().await, ADMIN, false);
    let world = World::new(mark(ground.clone(), "192.0.2.9"));
    let failure = tried(&world, &calling(), 1).await.unwrap_err();
    assert!(
        failure
            .why
            .contains("tells the calling services the address 192.0.2.9"),
        "{failure:?}"
    );
    assert!(
        failure
            .hint
            .unwrap()
            .contains("kubectl annotate node kubenode1 wire.com/external-ip=203.0.113.10")
    );
    // The SFT pod read the mark before it was set.
    let mut pod = ground.object("Pod", "default", "sftd-0").unwrap();
    pod["metadata"]["labels"] = json!({"app": "sftd"});
    pod["status"] = json!({"startTime": "2026-01-01T00:30:00Z"});
    let world = World::new(mark(ground.clone(), HOST_IP).with_object(pod.clone()));
    let failure = tried(&world, &calling(), 1).await.unwrap_err();
    assert!(failure.why.contains("sftd-0 started before"), "{failure:?}");
    assert!(
        failure
            .hint
            .unwrap()
            .contains("kubectl delete pod -n default sftd-0")
    );
    pod["status"] = json!({"startTime": "2026-01-01T01:30:00Z"});
    let world = World::new(mark(ground.clone(), HOST_IP).with_object(pod));
    tried(&world, &calling(), 1).await.unwrap();
    // The firewall means another node.
    let mut other = calling();
    other.node.ip = wiab_steps::kind::Input::Value("192.168.122.23".to_owned());
    let failure = tried(&world, &other, 1).await.unwrap_err();
    assert!(
        failure
            .why
            .contains("forwarded to 192.168.122.23, but kubenode1 has the address 192.168.122.21"),
        "{failure:?}"
    );
    let silent = World::new(ground.without_object("Pod", "default", "coturn-0"));
    let failure = tried(&silent, &turn(), 1).await.unwrap_err();
    assert!(failure.why.contains("over tcp and udp"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("helm.coturn"));
}

#[tokio::test]
async fn the_way_is_measured_before_the_first_self_check() {
    // As the plan has it: measure, add, then the charts; the first check passes.
    let world = World::new(ground().await);
    let measured = tried(&world, &probe(HOST_IP), 1).await.unwrap();
    tried(&world, &rule(Some(&measured.outputs["needed"])), 1)
        .await
        .unwrap();
    world
        .host
        .meddle(|machine| asked(machine, ADMIN, false))
        .unwrap();
    let begun_ms = world.host.machine().now_ms();
    tried(&world, &ready(CSR), 1).await.unwrap();
    let took_ms = world.host.machine().now_ms() - begun_ms;
    assert!(took_ms < 60_000, "{took_ms} ms");
}
