//! What goes wrong with charts: each fault ends in a message that names its cause and its remedy.

use serde_json::{Value, json};
use wiab_engine::outcome::{Failure, Probe, Residue};
use wiab_engine::ports::Clock as _;
use wiab_steps::host::sim::Machine;
use wiab_steps::kinds::helm_release::HelmRelease;
use wiab_steps::release::Chart;

use crate::laws::charts::{
    PASSWORD, before_wire_server, cluster, left_pending, release, with_secrets, with_values,
};
use crate::laws::world::World;

/// Applies the release, which fails; the failure, and how long it took in virtual milliseconds.
async fn fails(machine: Machine, kind: &HelmRelease) -> (World, Failure, u64) {
    let world = World::new(machine);
    // Helm and the look at its pods wait beside each other; time must not run while one of them works.
    let _busy = world.host.clock().busy();
    let start_ms = world.host.clock().mono_ms();
    let failure = {
        let step = world.bind(kind);
        let before = step.capture().await.unwrap();
        step.apply(1, false, &before).await.unwrap_err()
    };
    let took_ms = world.host.clock().mono_ms() - start_ms;
    (world, failure, took_ms)
}

/// The failure has this code, and cause and remedy have these words.
fn tells(failure: &Failure, code: &str, why: &[&str], hint: &[&str]) {
    assert_eq!(failure.code, code, "{failure:?}");
    assert_eq!(failure.residue, Residue::Dirty, "{failure:?}");
    for word in why {
        assert!(failure.why.contains(word), "{word}: {failure:?}");
    }
    for word in hint {
        assert!(
            failure.hint.as_ref().unwrap().contains(word),
            "{word}: {failure:?}"
        );
    }
    assert!(!failure.why.contains(PASSWORD), "{failure:?}");
}

fn schema(node: &str) -> String {
    format!("{node}/file//mnt/cassandra/data/schema")
}

fn wire_server() -> HelmRelease {
    release(Chart::WireServer)
}

#[tokio::test]
async fn number_2_a_migration_without_all_nodes_of_cassandra() {
    let ready = before_wire_server().await;
    let down = ready.clone().with_inside(
        "datanode2/unit/cassandra",
        Some(json!({"active": false, "enabled": true})),
    );
    let (world, failure, took_ms) = fails(down, &wire_server()).await;
    tells(
        &failure,
        "helm.cassandra",
        &["all three nodes", "cassandra-migrations", "alive = 2"],
        &["not UN", "data.verify:cassandra", "--resume"],
    );
    assert!(
        took_ms < 300_000,
        "stopped early, not after 15 minutes: {took_ms}"
    );
    // With the node back, the same step completes: the pending release is recovered first.
    world
        .host
        .meddle(|machine| {
            machine.with_inside(
                "datanode2/unit/cassandra",
                Some(json!({"active": true, "enabled": true})),
            )
        })
        .unwrap();
    let step = world.bind(&wire_server());
    let before = step.capture().await.unwrap();
    step.apply(2, false, &before).await.unwrap();
    let disagree = ready
        .with_inside(&schema("datanode1"), Some(json!({"text": "a"})))
        .with_inside(&schema("datanode2"), Some(json!({"text": "b"})));
    let (_, failure, _) = fails(disagree, &wire_server()).await;
    tells(
        &failure,
        "helm.cassandra-schema",
        &["different versions of the schema"],
        &["describecluster"],
    );
}

#[tokio::test]
async fn number_3_a_password_that_was_never_synced() {
    let ready = with_secrets(before_wire_server().await, "verysecurepassword");
    let (_, failure, took_ms) = fails(ready, &wire_server()).await;
    tells(
        &failure,
        "helm.pg-password",
        &[
            "wire-postgresql-external-secret",
            "password authentication failed for user \"wire-server\"",
        ],
        &["pg.secrets", "helm.wire-server"],
    );
    assert!(took_ms < 300_000, "{took_ms}");
}

#[tokio::test]
async fn number_5_an_image_that_a_node_lacks() {
    let machine = with_values(cluster(), Chart::Webapp, "{}\n");
    // Webapp has one pod, on the first node.
    let images = machine.inside("kubenode1/images").unwrap();
    let fewer: Vec<Value> = images
        .as_array()
        .unwrap()
        .iter()
        .filter(|image| !image.as_str().unwrap().contains("webapp"))
        .cloned()
        .collect();
    let machine = machine.with_inside("kubenode1/images", Some(json!(fewer)));
    let (_, failure, took_ms) = fails(machine, &release(Chart::Webapp)).await;
    tells(
        &failure,
        "helm.image-missing",
        &["kubenode1", "quay.io/wire/webapp:5.23.0", "no registry"],
        &["k8s.seed-helm:kubenode1"],
    );
    assert!(took_ms < 60_000, "{took_ms}");
}

#[tokio::test]
async fn number_5_an_image_that_is_named_by_its_hash() {
    let ground = World::new(with_values(
        cluster(),
        Chart::IngressNginxController,
        NODE_PORT,
    ));
    ground.done(&release(Chart::IngressNginxController)).await;
    let cert = World::new(with_values(
        ground.host.machine(),
        Chart::CertManager,
        "{}\n",
    ));
    cert.done(&release(Chart::CertManager)).await;
    cert.host.clock().sleep(60_000).await;
    let (_, failure, _) = fails(
        with_values(cert.host.machine(), Chart::Sftd, "replicaCount: 1\n"),
        &release(Chart::Sftd),
    )
    .await;
    tells(
        &failure,
        "helm.image-missing",
        &["nginx@sha256:"],
        &["values.d", "tag"],
    );
}

const NODE_PORT: &str = "ingress-nginx:\n  controller:\n    service:\n      type: NodePort\n";

#[tokio::test]
async fn number_9_a_half_finished_release_is_recovered() {
    let values = "config: {a: 1}\n";
    let bare = with_values(cluster(), Chart::Webapp, values);
    let old = World::new(bare.clone());
    old.done(&release(Chart::Webapp)).await;
    let old = with_values(old.host.machine(), Chart::Webapp, "config: {a: 2}\n");
    for (machine, left) in [(bare, "pending-install"), (old, "pending-upgrade")] {
        let world = World::new(left_pending(machine, &release(Chart::Webapp)).await);
        let step = world.bind(&release(Chart::Webapp));
        let found = step.probe(false).await.unwrap();
        assert!(
            matches!(&found, Probe::Partial { what } if what.contains(left)),
            "{found:?}"
        );
        let before = step.capture().await.unwrap();
        step.apply(1, false, &before).await.unwrap();
        assert!(matches!(
            step.probe(false).await.unwrap(),
            Probe::Satisfied(_)
        ));
        step.undo(1, &before).await.unwrap();
        let found = step.probe(false).await.unwrap();
        let gone = left == "pending-install";
        assert_eq!(matches!(found, Probe::Absent), gone, "{found:?}");
        assert_eq!(matches!(found, Probe::Drifted { .. }), !gone, "{found:?}");
    }
}

#[tokio::test]
async fn number_11_credentials_that_rabbitmq_does_not_know() {
    let users = json!({"guest": "another"});
    let machine = before_wire_server()
        .await
        .with_inside("datanode1/rabbitmq/users", Some(users));
    let (_, failure, _) = fails(machine, &wire_server()).await;
    tells(
        &failure,
        "helm.rabbitmq",
        &["Handshake failed", "credentials"],
        &["rabbitmqctl list_users"],
    );
}

#[tokio::test]
async fn number_15_a_release_that_is_deployed_but_does_not_serve() {
    let world = World::new(with_values(cluster(), Chart::Webapp, "{}\n"));
    world.done(&release(Chart::Webapp)).await;
    world
        .host
        .meddle(|machine| machine.with_inside("kubenode1/images", Some(json!([]))))
        .unwrap();
    let found = world
        .bind(&release(Chart::Webapp))
        .probe(false)
        .await
        .unwrap();
    assert!(
        matches!(&found, Probe::Partial { what } if what == "webapp 0/1"),
        "{found:?}"
    );
}

#[tokio::test]
async fn number_22_a_mapping_that_cannot_be_changed() {
    let mapping = json!({"email": "keyword"});
    let machine = before_wire_server()
        .await
        .with_inside("datanode1/elasticsearch/mapping", Some(mapping));
    let (_, failure, _) = fails(machine, &wire_server()).await;
    tells(
        &failure,
        "helm.elasticsearch-mapping",
        &["400", "illegal_argument"],
        &["reindex"],
    );
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_yet_passes_by_itself() {
    let ground = World::new(with_values(
        cluster(),
        Chart::IngressNginxController,
        NODE_PORT,
    ));
    ground.done(&release(Chart::IngressNginxController)).await;
    let machine = with_values(ground.host.machine(), Chart::CertManager, "{}\n");
    let cert = World::new(machine);
    cert.done(&release(Chart::CertManager)).await;
    let machine = with_values(cert.host.machine(), Chart::NginxIngressServices, "{}\n");
    let (_, failure, _) = fails(machine, &release(Chart::NginxIngressServices)).await;
    tells(
        &failure,
        "helm.webhook",
        &["failed calling webhook"],
        &["cm.webhook-ready"],
    );
    assert_eq!(failure.advice, wiab_engine::outcome::RetryAdvice::Retry);
}

#[tokio::test]
async fn a_service_that_waits_for_a_load_balancer_names_it() {
    let machine = with_values(cluster(), Chart::IngressNginxController, "{}\n");
    let (_, failure, _) = fails(machine, &release(Chart::IngressNginxController)).await;
    tells(
        &failure,
        "helm.load-balancer",
        &["LoadBalancer"],
        &["NodePort"],
    );
}

#[tokio::test]
async fn an_external_chart_without_addresses_is_named() {
    let ready = before_wire_server().await;
    let machine = with_values(ready, Chart::MinioExternal, "IPs: []\n");
    let world = World::new(machine);
    world.done(&release(Chart::MinioExternal)).await;
    let (_, failure, _) = fails(world.host.machine(), &wire_server()).await;
    tells(
        &failure,
        "helm.service-missing",
        &["minio-external"],
        &["addresses"],
    );
}
