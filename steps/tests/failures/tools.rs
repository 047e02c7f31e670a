//! The tool image of another release, playbooks that fail, and playbooks that go on when wiab is gone.

use std::sync::Arc;

use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::{Before, Failure, Probe, Residue, RetryAdvice};
use wiab_engine::ports::Cancel;
use wiab_steps::host::sim::{Action, Fault, Machine, Points};
use wiab_steps::host::{Cmd, Host as _, JobId, JobState};
use wiab_steps::kinds::plays::Play;

use crate::laws::cluster;
use crate::laws::scenarios::{DEPLOY, deploy};
use crate::laws::tools::{IMAGE, TREE, archive, image, playbook, unpacked};
use crate::laws::world::World;

const OLD: &str = "quay.io/wire/wire-server-deploy:old";
const TIME: &str = "sync_time.yml";

async fn machines() -> Machine {
    cluster::played(cluster::small().await, &[0]).await
}

fn says(failure: &Failure, why: &[&str], hint: &[&str]) {
    for part in why {
        assert!(failure.why.contains(part), "{part}: {failure:?}");
    }
    let given = failure.hint.as_deref().unwrap_or_default();
    for part in hint {
        assert!(given.contains(part), "{part}: {failure:?}");
    }
    assert!(!failure.code.is_empty(), "{failure:?}");
}

async fn images(world: &World) -> String {
    let cmd = Cmd::new(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).root();
    let output = world.host.run(&cmd, &Cancel::default(), &|_| {}).await;
    output.unwrap().text()
}

/// Failure 6: the image of the first release serves the second one.
#[tokio::test]
async fn an_older_image_is_neither_used_nor_removed() {
    let world = World::new(unpacked().with_docker_image(OLD, "old tools"));
    let step = world.bind(&image());
    assert_eq!(step.probe(false).await.unwrap(), Probe::Absent);
    let before = step.capture().await.unwrap();
    let receipt = step.apply(1, false, &before).await.unwrap();
    assert_eq!(receipt.outputs["image"], IMAGE);
    assert!(receipt.outputs["id"].starts_with("sha256:"));
    assert_eq!(images(&world).await, format!("{IMAGE}\n{OLD}\n"));
    step.undo(1, &before).await.unwrap();
    assert_eq!(images(&world).await, format!("{OLD}\n"));
}

#[tokio::test]
async fn an_image_of_the_same_name_and_other_content_is_told_from_ours() {
    let world = World::new(unpacked().with_docker_image(IMAGE, "somebody else's"));
    let Probe::Drifted { diff } = world.bind(&image()).probe(false).await.unwrap() else {
        panic!("taken for ours");
    };
    assert!(diff.lines().count() == 2 && diff.contains(IMAGE), "{diff}");
}

#[tokio::test]
async fn the_archive_may_hold_more_images_and_such_without_a_name() {
    let several = [
        ("", "no name"),
        ("quay.io/wire/zauth:5.23.0", "zauth"),
        (IMAGE, "new tools"),
    ];
    let world = World::new(unpacked().with_docker_archive_of(&archive(), &several));
    let receipt = world.done(&image()).await;
    assert_eq!(receipt.outputs["image"], IMAGE);
    let nameless = unpacked().with_docker_archive_of(&archive(), &several[..2]);
    let world = World::new(nameless);
    let failure = world.bind(&image()).probe(false).await.unwrap_err();
    says(
        &failure,
        &["manifest.json", "exactly one image"],
        &["another release"],
    );
}

#[tokio::test]
async fn a_damaged_release_and_a_dead_docker_are_named() {
    let list = format!("{TREE}/containers-adminhost/index.txt");
    let twice = "container-wire-server-deploy.tgz\ncontainer-wire-server-deploy.old.tgz\n";
    let cases = [
        (
            unpacked().with_file(&list, twice, 0o644, "demo:demo"),
            "names 2 archives",
            "unpack the artifact again",
        ),
        (
            unpacked().with_file(&archive(), "no archive", 0o644, "demo:demo"),
            "has no manifest.json",
            "unpack the artifact again",
        ),
        (
            unpacked().with_service("docker", false, true),
            "docker does not answer",
            "systemctl start docker",
        ),
    ];
    for (machine, why, hint) in cases {
        let world = World::new(machine);
        let failure = world.bind(&image()).probe(false).await.unwrap_err();
        says(&failure, &[why], &[hint]);
    }
    let world = World::new(unpacked());
    world
        .host
        .arm(Fault::once("docker load*", Action::DiskFull));
    let step = world.bind(&image());
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    says(&failure, &["No space left"], &["docker system df"]);
}

async fn fails(machine: Machine) -> Failure {
    let world = World::new(machine);
    let step = world.bind(&playbook(Play::SyncTime));
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap_err()
}

/// Failure 13: a machine that does not answer.
#[tokio::test]
async fn an_unreachable_machine_is_named_with_the_way_to_test_it() {
    let failure = fails(
        machines()
            .await
            .with_playbook_unreachable(TIME, "datanode2"),
    )
    .await;
    says(
        &failure,
        &[
            "sync_time.yml: datanode2 cannot be reached over ssh",
            "No route to host",
        ],
        &["ssh -i", "demo@192.168.122.32", "virsh list"],
    );
    assert_eq!(failure.advice, RetryAdvice::Retry);
    assert_eq!(failure.code, "ansible.unreachable");
}

#[tokio::test]
async fn a_failing_task_is_named_with_machine_and_reason() {
    let machine = machines().await.with_playbook_fault(
        TIME,
        "install ntp",
        "datanode1",
        "No package matching 'ntp' is available",
    );
    let failure = fails(machine).await;
    says(
        &failure,
        &[
            "task `install ntp` failed on datanode1",
            "No package matching 'ntp'",
            "exit code 2",
        ],
        &["on datanode1", "wiab apply --resume"],
    );
    assert_eq!(failure.residue, Residue::Dirty);
}

/// Failure 14: the lock of the package manager is held.
#[tokio::test]
async fn a_held_package_lock_is_tried_again() {
    let msg = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)";
    let machine = machines()
        .await
        .with_playbook_fault(TIME, "install ntp", "datanode1", msg);
    let failure = fails(machine).await;
    says(&failure, &["lock-frontend"], &["unattended-upgrades"]);
    assert_eq!(failure.advice, RetryAdvice::Retry);
}

/// How often a playbook was started in a container.
fn starts(points: &Points) -> usize {
    let seen = points.seen();
    let starts = seen.iter().map(|point| (point.operation, &point.what));
    let mut of: Vec<_> = starts
        .filter(|(_, what)| what.starts_with("job-start ") && what.contains(" docker run "))
        .collect();
    of.dedup();
    of.len()
}

/// A machine on which wiab was killed while a playbook runs; `faults` hit the first life.
async fn killed_in_the_middle(faults: &[Fault]) -> (Machine, Before) {
    let record = Points::record();
    let world = World::tapped(machines().await, Some(Arc::new(record.clone())));
    let step = world.bind(&playbook(Play::SyncTime));
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    assert_eq!(starts(&record), 1);
    let seen = record.seen();
    let wait = seen
        .iter()
        .find(|point| point.what.starts_with("job-wait "));
    let tap = Points::die_at(wait.unwrap().index);
    let world = World::tapped(machines().await, Some(Arc::new(tap)));
    for fault in faults {
        world.host.arm(fault.clone());
    }
    let step = world.bind(&playbook(Play::SyncTime));
    let before = step.capture().await.unwrap();
    tokio::select! {
        biased;
        () = world.host.died() => {}
        ended = step.apply(1, false, &before) => panic!("no death: {ended:?}"),
    }
    (world.host.machine(), before)
}

fn client_killed() -> Fault {
    Fault::once("docker run*ansible-playbook*", Action::Half)
}

async fn running(world: &World) -> String {
    let cmd = Cmd::new(["docker", "ps", "--format", "{{.Names}}"]).root();
    let output = world.host.run(&cmd, &Cancel::default(), &|_| {}).await;
    output.unwrap().text()
}

/// Failure 23: the playbook goes on when wiab is killed, and the next run races it.
#[tokio::test]
async fn a_playbook_that_still_runs_is_attached_to() {
    for (faults, attempt, client) in [
        (vec![], 1, "its client lives"),
        (vec![], 2, "a later attempt"),
        (vec![client_killed()], 1, "its client is killed"),
        (
            vec![client_killed()],
            2,
            "its client is killed, a later attempt",
        ),
    ] {
        let (wreck, before) = killed_in_the_middle(&faults).await;
        let points = Points::record();
        let world = World::tapped(wreck, Some(Arc::new(points.clone())));
        assert_eq!(running(&world).await.lines().count(), 1, "{client}");
        let step = world.bind(&playbook(Play::SyncTime));
        if attempt == 1 {
            assert_eq!(step.probe(true).await.unwrap(), Probe::Running, "{client}");
        }
        let receipt = step.apply(attempt, attempt == 1, &before).await.unwrap();
        let note = receipt.note.unwrap_or_default();
        assert!(note.contains("2 machines"), "{client}: {note}");
        // Attaching to a job is to start it again, which does nothing.
        let fresh = points.seen();
        let again = format!("law.step.{attempt}.play docker run");
        let begun = fresh
            .iter()
            .filter(|point| point.what.contains(&again))
            .count();
        assert!(
            attempt == 1 || begun == 0,
            "{client}: a second one was started"
        );
        assert_eq!(running(&world).await, "", "{client}");
    }
}

#[tokio::test]
async fn a_playbook_whose_client_dies_under_wiab_is_followed_on() {
    let points = Points::record();
    let world = World::tapped(machines().await, Some(Arc::new(points.clone())));
    world.host.arm(client_killed());
    world.done(&playbook(Play::SyncTime)).await;
    assert_eq!(starts(&points), 1);
    let seen = points.seen();
    let followed = |point: &&wiab_steps::host::sim::Point| {
        point.what.starts_with("docker logs --follow wiab-")
    };
    assert!(seen.iter().any(|point| followed(&point)));
}

#[tokio::test]
async fn a_playbook_that_ended_unheard_is_judged_by_what_it_did() {
    let (wreck, before) = killed_in_the_middle(&[client_killed()]).await;
    let points = Points::record();
    let world = World::tapped(wreck, Some(Arc::new(points.clone())));
    let long = Cmd::new(["sleep", "1800"]).timeout_ms(3_600_000);
    let slept = world.host.run(&long, &Cancel::default(), &|_| {}).await;
    assert!(slept.unwrap().ok());
    assert_eq!(running(&world).await, "");
    let step = world.bind(&playbook(Play::SyncTime));
    assert!(matches!(
        step.probe(true).await.unwrap(),
        Probe::Satisfied(_)
    ));
    step.apply(2, false, &before).await.unwrap();
    assert_eq!(starts(&points), 0);
}

#[tokio::test]
async fn stopping_stops_the_container_and_undo_finds_nothing_running() {
    let points = Points::record();
    let world = World::tapped(machines().await, Some(Arc::new(points.clone())));
    let step = world.bind(&playbook(Play::SyncTime));
    let before = step.capture().await.unwrap();
    let failure = step.apply_stopped(8_000, &before).await.unwrap_err();
    assert_eq!(failure.residue, Residue::Unknown, "{failure:?}");
    assert!(failure.why.contains("stopped on request"), "{failure:?}");
    assert_eq!(running(&world).await, "");
    let seen = points.seen();
    assert!(
        seen.iter()
            .any(|point| point.what.starts_with("docker stop "))
    );

    let (wreck, before) = killed_in_the_middle(&[client_killed()]).await;
    let world = World::new(wreck);
    world
        .bind(&playbook(Play::SyncTime))
        .undo(1, &before)
        .await
        .unwrap();
    assert_eq!(running(&world).await, "");
}

#[tokio::test]
async fn a_container_of_another_run_is_named_and_nothing_is_started() {
    let points = Points::record();
    let world = World::tapped(machines().await, Some(Arc::new(points.clone())));
    let installation = format!("wiab.installation={DEPLOY}");
    let other = Cmd::new([
        "docker",
        "run",
        "--rm",
        "--name",
        "wiab-deploy-cas.install-1",
        "--label",
        &installation,
        "--label",
        "wiab.run=other",
        "--label",
        "wiab.step=cas.install",
        "--label",
        "wiab.command=play",
        cluster::IMAGE,
        "sleep",
        "600",
    ]);
    let id = JobId::new(
        RunId([9; 16]),
        &StepId::new("cas.install").unwrap(),
        1,
        "play",
    );
    world.host.job_start(&id, &other.root()).await.unwrap();
    assert_eq!(world.host.job_state(&id).await.unwrap(), JobState::Running);
    let step = world.bind(&playbook(Play::SyncTime));
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    says(
        &failure,
        &[
            "container wiab-deploy-cas.install-1 of run other",
            "cas.install",
        ],
        &[
            "docker wait wiab-deploy-cas.install-1",
            "docker stop wiab-deploy-cas.install-1",
        ],
    );
    assert_eq!(failure.residue, Residue::Clean);
    assert_eq!(starts(&points), 1, "only the other one");
}

#[tokio::test]
async fn no_secret_is_in_a_command_or_its_environment() {
    let secret = "canary-5f1d2c";
    let path = "ansible/inventory/offline/group_vars/all/secrets.yaml";
    let text = format!("minio_secret_key: {secret}\n");
    let machine = machines()
        .await
        .with_file(&deploy(path), &text, 0o600, "demo:demo");
    let points = Points::record();
    let world = World::tapped(machine, Some(Arc::new(points.clone())));
    let mut kind = playbook(Play::SyncTime);
    kind.vars = vec![path.to_owned()];
    world.done(&kind).await;
    let mut said = world.said.lock().unwrap().clone();
    said.extend(points.seen().iter().map(|point| point.what.clone()));
    let all = said.join("\n");
    assert!(
        all.contains(&format!("@/wiab/{path}")),
        "the file is passed by name"
    );
    assert!(!all.contains(secret));
    assert!(
        all.contains("--label wiab.step=law.step")
            && all.contains("ANSIBLE_HOST_KEY_CHECKING=True")
    );
}
