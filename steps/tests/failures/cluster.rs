//! Machines that do not answer, images that are missing, a content server that is down, data that a playbook would delete.

use serde_json::json;
use wiab_engine::outcome::{Before, Failure, Probe, Receipt, Residue, RetryAdvice};
use wiab_steps::host::sim::Machine;
use wiab_steps::kind::Kind;
use wiab_steps::kinds::ansible_playbook::AnsiblePlaybook;
use wiab_steps::kinds::data_verified::DataService;
use wiab_steps::kinds::images_seeded::{Acmesolver, ImagesSeeded};
use wiab_steps::kinds::plays::Play;
use wiab_steps::kinds::plays::images::ImageSet;

use crate::laws::cluster::{
    BOOKS, by_hand, data, images, played, restarted, small, without_images,
};
use crate::laws::tools::playbook;
use crate::laws::world::{World, same};

/// Cause and remedy are named.
fn says(failure: &Failure, code: &str, why: &[&str], hint: &[&str]) {
    assert_eq!(failure.code, code, "{failure:?}");
    for part in why {
        assert!(failure.why.contains(part), "{part}: {failure:?}");
    }
    let given = failure.hint.as_deref().unwrap_or_default();
    for part in hint {
        assert!(given.contains(part), "{part}: {failure:?}");
    }
}

async fn fails<K: Kind>(world: &World, kind: &K) -> Failure {
    let step = world.bind(kind);
    let before = match step.capture().await {
        Ok(before) => before,
        Err(failure) => return failure,
    };
    step.apply(1, false, &before).await.unwrap_err()
}

async fn seeded() -> Machine {
    played(small().await, &[0, 1, 2]).await
}

fn archive(image: &str) -> String {
    format!(
        "assethost/file//opt/assets/containers-helm/{}.tar",
        image.replace(['/', ':'], "_")
    )
}

fn brig(machine: &Machine) -> String {
    let held = machine.inside("kubenode1/images").unwrap();
    let mut all = held
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|image| image.as_str());
    all.find(|image| image.contains("wire/brig:"))
        .unwrap()
        .to_owned()
}

fn imports(machine: &Machine) -> u64 {
    let count = machine.inside("kubenode2/log/imports");
    count.and_then(|count| count.as_u64()).unwrap_or(0)
}

/// Failure 5: an archive that is listed but not there. The release's playbook does not notice; pods would.
#[tokio::test]
async fn an_image_that_cannot_be_fetched_is_named_with_its_node() {
    let machine = seeded().await;
    let brig = brig(&machine);
    let bare = without_images(&machine, "kubenode2", &["wire/brig:"]);
    let world = World::new(bare.with_inside(&archive(&brig), None));
    let failure = fails(&world, &images(2, ImageSet::Helm)).await;
    let name = brig.replace(['/', ':'], "_");
    says(
        &failure,
        "cluster.image-missing",
        &[&name, "kubenode2", "404"],
        &["content is not whole", "ast.sources"],
    );
    let output = by_hand(&world, BOOKS[2]).await;
    assert!(output.ok(), "the playbook does not notice");
}

/// Failure 5: an image that the node has thrown away since.
#[tokio::test]
async fn an_image_that_went_is_brought_again_and_no_other() {
    let machine = seeded().await;
    let world = World::new(without_images(&machine, "kubenode2", &["wire/brig:"]));
    let kind = images(2, ImageSet::Helm);
    let Probe::Partial { what } = world.bind(&kind).probe(false).await.unwrap() else {
        panic!("not noticed");
    };
    assert!(
        what.contains("1 images of containers-helm on kubenode2"),
        "{what}"
    );
    let before = imports(&world.host.machine());
    let receipt = world.done(&kind).await;
    assert_eq!(imports(&world.host.machine()), before + 1);
    let note = receipt.note.unwrap();
    assert!(note.contains("lacks acmesolver"), "{note}");
    let kept = world.state();
    same(&kept, &World::new(machine).state(), "brought again");
}

/// Failure 5: a release without the image that answers the certificate authority.
#[tokio::test]
async fn a_release_without_acmesolver_is_refused_where_that_is_wanted() {
    let world = World::new(seeded().await);
    let kind = ImagesSeeded {
        acmesolver: Acmesolver::Require,
        ..images(2, ImageSet::Helm)
    };
    let failure = fails(&world, &kind).await;
    says(
        &failure,
        "cluster.acmesolver",
        &["acmesolver"],
        &["tell", "quay.io"],
    );
}

async fn off(machine: Machine, vm: &str) -> World {
    // Switched on again, it does not answer for a while.
    World::new(restarted(&machine, &[vm]).await)
}

/// Failure 13: a machine of the inventory that does not answer.
#[tokio::test]
async fn a_machine_that_does_not_answer_is_named_before_anything_is_touched() {
    let world = off(played(small().await, &[0]).await, "datanode2").await;
    let start = world.state();
    for play in [Play::Cassandra, Play::Rabbitmq, Play::RabbitmqDns] {
        let failure = fails(&world, &playbook(play)).await;
        says(
            &failure,
            "cluster.unreachable",
            &["datanode2 does not answer", "No route to host"],
            &["virsh start datanode2", "192.168.122.32"],
        );
        assert_eq!(failure.advice, RetryAdvice::Retry);
        same(&world.state(), &start, "only looked");
    }
}

/// Failure 16: the content does not fit.
#[tokio::test]
async fn a_disk_too_small_for_the_content_is_noticed_before_hours_of_copying() {
    let machine = small()
        .await
        .with_inside("assethost/disk/free_bytes", Some(json!(9_u64 << 30)));
    let world = World::new(machine);
    let start = world.state();
    let failure = fails(&world, &playbook(Play::OfflineSources)).await;
    says(
        &failure,
        "cluster.assethost-full",
        &["assethost is too small", "9 GiB are free"],
        &["containers-helm", "disk_gib", "retry"],
    );
    assert_eq!(
        (failure.residue, failure.advice),
        (Residue::Clean, RetryAdvice::AskOperator)
    );
    same(&world.state(), &start, "nothing was copied");
}

/// Failures 16 and 19: the content server after a restart of its machine. The playbook's unit does not come back, wiab's does.
#[tokio::test]
async fn the_content_server_is_there_after_a_restart() {
    let world = World::new(small().await);
    world.done(&playbook(Play::OfflineSources)).await;
    let machine = restarted(&world.host.machine(), &["assethost"]).await;
    let unit = |machine: &Machine| {
        machine.inside("assethost/unit/serve-assets").unwrap()["active"].clone()
    };
    assert_eq!(unit(&machine), json!(true));

    let machine = restarted(&seeded().await, &["assethost"]).await;
    assert_eq!(unit(&machine), json!(false), "the playbook alone");
    let bare = without_images(&machine, "kubenode2", &["wire/brig:"]);
    let failure = fails(&World::new(bare), &images(2, ImageSet::Helm)).await;
    says(
        &failure,
        "cluster.assets-down",
        &["kubenode2 cannot fetch", "containers-helm"],
        &["systemctl start serve-assets"],
    );
}

const CONTROL: &str = "/file//var/lib/postgresql/17/main/global/pg_control";
const STANDBY: &str = "/file//var/lib/postgresql/17/main/standby.signal";

/// The second node was promoted and has taken writes; the first follows it.
fn failed_over(machine: Machine) -> Machine {
    let control =
        json!({"text": "{\"system\":\"7432100000000000001\",\"timeline\":2,\"writes\":5}"});
    machine
        .with_inside(&format!("datanode1{CONTROL}"), Some(control.clone()))
        .with_inside(&format!("datanode2{CONTROL}"), Some(control))
        .with_inside(&format!("datanode1{STANDBY}"), Some(json!({"text": ""})))
        .with_inside(&format!("datanode2{STANDBY}"), None)
}

async fn with_postgresql() -> Machine {
    played(seeded().await, &[4, 8]).await
}

/// Failure 18: a healthy cluster is adopted, wherever its primary is, and the playbook does not run.
#[tokio::test]
async fn writes_since_a_failover_are_never_discarded() {
    let machine = failed_over(with_postgresql().await);
    let world = World::new(machine.clone());
    let start = world.state();
    let step = world.bind(&playbook(Play::Postgresql));
    let Probe::Satisfied(receipt) = step.probe(false).await.unwrap() else {
        panic!("not adopted");
    };
    assert!(receipt.note.unwrap().contains("primary datanode2"));
    step.apply(1, false, &Before::Nothing).await.unwrap();
    same(&world.state(), &start, "adopted");

    // What the playbook does when it is run by hand.
    let world = World::new(machine);
    assert!(by_hand(&world, BOOKS[8]).await.ok());
    let after = world.host.machine();
    assert_eq!(after.inside("datanode2/log/data-wiped"), Some(json!(1)));
    assert_eq!(
        after.inside("datanode1/log/standby-forced-primary"),
        Some(json!(1))
    );
}

/// Failure 18: data that is not whole is for a human.
#[tokio::test]
async fn a_cluster_with_data_that_is_not_whole_is_left_alone_and_asked_about() {
    let stopped = json!({"active": false, "enabled": true, "static": false});
    let machine = failed_over(with_postgresql().await)
        .with_inside("datanode1/unit/postgresql@17-main", Some(stopped));
    let world = World::new(machine);
    let start = world.state();
    let failure = fails(&world, &playbook(Play::Postgresql)).await;
    says(
        &failure,
        "cluster.postgresql-data",
        &[
            "datanode1 has data but no server that answers",
            "datanode2 is a primary",
            "timeline 2",
            "not run",
        ],
        &["repmgr", "cluster show", "retry"],
    );
    assert_eq!(
        (failure.residue, failure.advice),
        (Residue::Clean, RetryAdvice::AskOperator)
    );
    same(&world.state(), &start, "asked");
}

/// Failure 19: after a restart of a data node its services are back, and the others still know it.
#[tokio::test]
async fn data_services_survive_the_restart_of_a_node() {
    let machine = played(small().await, &[0, 9, 10, 5]).await;
    let world = World::new(restarted(&machine, &["datanode2"]).await);
    for service in [DataService::Rabbitmq, DataService::Cassandra] {
        world.done(&data(2, service)).await;
    }
    assert!(matches!(
        world
            .bind(&playbook(Play::RabbitmqDns))
            .probe(false)
            .await
            .unwrap(),
        Probe::Satisfied(_)
    ));
    // A cloud-init that manages /etc/hosts would have written it anew.
    world
        .host
        .meddle(|machine| machine.with_inside("datanode2/file//etc/hosts", None))
        .unwrap();
    let failure = fails(&world, &data(2, DataService::Rabbitmq)).await;
    says(
        &failure,
        "cluster.data-not-whole",
        &["RabbitMQ is not whole", "datanode2 runs with 1 of 2 nodes"],
        &["/etc/hosts", "rmq.dns"],
    );
    world.done(&playbook(Play::RabbitmqDns)).await;
    world.done(&data(2, DataService::Rabbitmq)).await;
}

/// 2026-12-01: after the key of the simulated repository has expired.
const LATER_MS: u64 = 1_796_083_200_000;
const SOURCES: &str = "file//etc/apt/sources.list.d/192_168_122_10_8080_debs_jammy_public.list";

/// Applies a step under another name of its jobs than those of the steps before it.
async fn next<K: Kind>(world: &World, attempt: u32, kind: &K) -> Result<Receipt, Failure> {
    let step = world.bind(kind);
    let before = step.capture().await?;
    step.apply(attempt, false, &before).await
}

fn accepting(options: &str) -> AnsiblePlaybook {
    AnsiblePlaybook {
        apt_options: Some(options.to_owned().into()),
        ..playbook(Play::OfflineSources)
    }
}

fn line(world: &World, node: &str) -> String {
    let found = world.host.machine().inside(&format!("{node}/{SOURCES}"));
    let text = found.and_then(|entry| entry["text"].as_str().map(str::to_owned));
    text.unwrap_or_default()
}

/// Failure 8: the repository's key has expired. Neither the playbook nor anything after it fails once that is accepted, and
/// nothing but the one line trusts anything more than before.
#[tokio::test]
async fn an_expired_key_that_is_accepted_is_accepted_for_one_line_only() {
    let late = small().await.with_wall_ms(LATER_MS);
    let failure = fails(&World::new(late.clone()), &playbook(Play::OfflineSources)).await;
    says(
        &failure,
        "release.key-expired",
        &["Add offline repo key", "failed to add the key"],
        &["has expired", "[artifact] accept_expired_key = true"],
    );

    let world = World::new(late);
    let trusted = [
        "datanode1/file//etc/apt/trusted.gpg",
        "datanode1/file//etc/apt/apt.conf.d/90-baroque",
        "assethost/file//opt/assets/.wiab-ubuntu.gpg",
    ];
    let kind = accepting("[trusted=yes]");
    world.done(&kind).await;
    for node in ["kubenode1", "kubenode2", "datanode1", "datanode2"] {
        assert_eq!(
            line(&world, node),
            "deb [trusted=yes] http://192.168.122.10:8080/debs-jammy/public jammy main\n"
        );
    }
    let machine = world.host.machine();
    for path in trusted {
        assert_eq!(machine.inside(path), None, "{path}");
    }
    let all = serde_json::to_string(&machine).unwrap();
    assert!(!all.contains("AllowUnauthenticated") && !all.contains("AllowInsecure"));
    let again = world.bind(&kind).probe(false).await.unwrap();
    assert!(matches!(again, Probe::Satisfied(_)), "{again:?}");
    // The playbooks after it install packages.
    for (attempt, play) in [(2, Play::SyncTime), (3, Play::Cassandra)] {
        next(&world, attempt, &playbook(play)).await.unwrap();
    }
}

/// Failure 8: the key expires after the installation, and a later release brings a valid one.
#[tokio::test]
async fn the_option_comes_when_it_is_needed_and_goes_when_it_is_not() {
    let world = World::new(small().await);
    world.done(&accepting("")).await;
    assert!(line(&world, "datanode1").starts_with("deb http://"));
    let expired = world.host.machine().with_wall_ms(LATER_MS);
    let late = World::new(expired.clone());
    let failure = next(&late, 2, &playbook(Play::SyncTime)).await.unwrap_err();
    says(
        &failure,
        "release.key-expired",
        &["EXPKEYSIG"],
        &["accept_expired_key = true"],
    );
    let late = World::new(expired);
    let probe = late.bind(&accepting("[trusted=yes]")).probe(false).await;
    let Ok(Probe::Partial { what }) = probe else {
        panic!("{probe:?}");
    };
    assert!(
        what.contains("datanode1 has no [trusted=yes] at its source"),
        "{what}"
    );
    next(&late, 3, &accepting("[trusted=yes]")).await.unwrap();
    next(&late, 4, &playbook(Play::SyncTime)).await.unwrap();
    let machine = late.host.machine();

    let renewed = World::new(machine.with_wall_ms(LATER_MS - (300 * 86_400_000)));
    let probe = renewed.bind(&accepting("")).probe(false).await.unwrap();
    assert!(matches!(probe, Probe::Partial { .. }), "{probe:?}");
    next(&renewed, 5, &accepting("")).await.unwrap();
    assert!(line(&renewed, "datanode1").starts_with("deb http://"));
}
