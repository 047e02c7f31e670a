//! What goes wrong with a release: each failure names its cause and its remedy, and leaves nothing half-made in use.

use std::sync::Arc;

use wiab_engine::outcome::{Failure, Probe, RetryAdvice};
use wiab_engine::ports::Cancel;
use wiab_steps::host::sim::{Action, Fault, Machine, SimHost, SimOptions, sha256_of_url};
use wiab_steps::host::{Cmd, Host as _};
use wiab_steps::kind::Kind;
use wiab_steps::kinds::image_base::ImageBase;

use crate::laws::artifact::{
    HASH, LOCAL, POINTER, TREE, checked, group_vars, local, prepared, remote, tree,
};
use crate::laws::world::World;

/// 2026-12-01: after the key of the simulated repository has expired.
const LATER_MS: u64 = 1_796_083_200_000;
/// 2026-06-20: 22 days before.
const SOON_MS: u64 = 1_781_913_600_000;

async fn fails<K: Kind>(world: &World, kind: &K) -> Failure {
    fails_at(world, kind, 1).await
}

async fn fails_at<K: Kind>(world: &World, kind: &K, attempt: u32) -> Failure {
    let step = world.bind(kind);
    let before = step.capture().await.unwrap();
    step.apply(attempt, false, &before).await.unwrap_err()
}

fn says(failure: &Failure, why: &[&str], hint: &str, code: &str) {
    for part in why {
        assert!(failure.why.contains(part), "{part}: {failure:?}");
    }
    let remedy = failure.hint.as_deref().unwrap_or_default();
    assert!(remedy.contains(hint), "{failure:?}");
    assert_eq!(failure.code, code);
}

fn at(machine: Machine, epoch_ms: u64) -> World {
    let options = SimOptions {
        epoch_ms,
        ..SimOptions::default()
    };
    World {
        host: SimHost::in_memory(machine, options),
        said: Arc::default(),
        notes: Arc::default(),
    }
}

#[tokio::test]
async fn an_unknown_hash_is_called_one() {
    let world = World::new(prepared());
    let failure = fails(&world, &remote("0000000000000000000000000000000000000000")).await;
    says(
        &failure,
        &["HTTP 403", "does not know this hash"],
        "correct [artifact] hash",
        "artifact.unknown-hash",
    );
    assert_eq!(failure.advice, RetryAdvice::GiveUp);
}

#[tokio::test]
async fn a_cut_download_is_continued_and_never_under_its_final_name() {
    let world = World::new(prepared());
    let kind = remote(HASH);
    world.host.arm(Fault::once("curl -fsSL*", Action::Half));
    let failure = fails(&world, &kind).await;
    assert_eq!(failure.advice, RetryAdvice::Retry);
    assert!(world.host.stat(&kind.path).await.unwrap().is_none());
    let part = format!("{}.part", kind.path);
    let have = world.host.stat(&part).await.unwrap().unwrap().bytes;
    let found = world.bind(&kind).probe(false).await.unwrap();
    assert!(matches!(found, Probe::Partial { .. }), "{found:?}");
    let step = world.bind(&kind);
    step.apply(2, false, &step.capture().await.unwrap())
        .await
        .unwrap();
    assert!(world.host.stat(&part).await.unwrap().is_none());
    assert!(have > 1 << 30, "half of it was there: {have}");
}

#[tokio::test]
async fn a_truncated_file_by_hand_is_told_from_a_whole_one() {
    let kind = remote(HASH);
    let cut = prepared().with_artifact(&kind.path, HASH, Some(3 << 30));
    let failure = fails(&World::new(cut), &kind).await;
    says(
        &failure,
        &["earlier download was cut off"],
        ".part, then decide `retry`",
        "artifact.truncated",
    );
    let damaged = prepared().with_artifact(LOCAL, HASH, Some(3 << 30));
    let failure = fails(&World::new(damaged), &local()).await;
    says(
        &failure,
        &[LOCAL, "damaged or cut off"],
        "remove",
        "artifact.damaged",
    );
}

#[tokio::test]
async fn another_content_than_at_first_use_is_refused_with_both_digests() {
    let kind = remote(HASH);
    let world = World::new(prepared());
    let first = world.done(&kind).await.outputs["sha256"].clone();
    world
        .host
        .meddle(|machine| {
            machine
                .with_published(HASH, 1, &[])
                .without_file(&kind.path)
        })
        .unwrap();
    let failure = fails_at(&world, &kind, 2).await;
    says(
        &failure,
        &[&first, "recorded at first use"],
        "[artifact] sha256",
        "artifact.digest",
    );
    assert!(world.host.stat(&kind.path).await.unwrap().is_none());
    let mut pinned = local();
    pinned.sha256 = Some("ab".repeat(32));
    let world = World::new(prepared().with_artifact(LOCAL, HASH, None));
    let failure = fails(&world, &pinned).await;
    says(
        &failure,
        &[&"ab".repeat(32), "[artifact] sha256"],
        "[artifact] sha256",
        "artifact.digest",
    );
}

#[tokio::test]
async fn a_kept_download_survives_undo_and_a_partial_one_does_not() {
    let mut kind = remote(HASH);
    kind.keep = true;
    let world = World::new(prepared());
    let step = world.bind(&kind);
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    step.undo(1, &before).await.unwrap();
    assert!(world.host.stat(&kind.path).await.unwrap().is_some());
    let world = World::new(prepared());
    let start = world.state();
    world.host.arm(Fault::once("curl -fsSL*", Action::Half));
    fails(&world, &kind).await;
    world.bind(&kind).undo(1, &before).await.unwrap();
    assert_eq!(world.state(), start);
}

#[tokio::test]
async fn a_full_disk_is_told_before_and_in_the_middle() {
    let small = prepared().with_free_bytes(1 << 30);
    let failure = fails(&World::new(small), &remote(HASH)).await;
    says(
        &failure,
        &["the download needs 11.", "1.0 GiB are free"],
        "df -h",
        "host.disk-full",
    );
    let machine = prepared().with_artifact(LOCAL, HASH, None);
    let kind = tree(&machine).await;
    let failure = fails(&World::new(machine.clone().with_free_bytes(1 << 30)), &kind).await;
    says(
        &failure,
        &["the unpacked release needs"],
        "df -h",
        "host.disk-full",
    );
    let world = World::new(machine);
    world.host.arm(Fault::once("tar -xzf*", Action::DiskFull));
    let failure = fails(&world, &kind).await;
    says(&failure, &["No space left"], "make room", "host.disk-full");
}

/// By hand, the archive of the charts' images counts as the sign of a whole release, and it lies in the middle.
#[tokio::test]
async fn an_interrupted_unpacking_is_begun_anew() {
    let machine = prepared().with_artifact(LOCAL, HASH, None);
    let kind = tree(&machine).await;
    let world = World::new(machine);
    world.host.arm(Fault::once("tar -xzf*", Action::Half));
    let failure = fails(&world, &kind).await;
    assert_eq!(failure.advice, RetryAdvice::Retry);
    let state = world.state().to_string();
    assert!(state.contains(".partial/containers-helm.tar"));
    assert!(!state.contains(".partial/values/"));
    let found = world.bind(&kind).probe(false).await.unwrap();
    assert!(matches!(found, Probe::Partial { .. }), "{found:?}");
    let step = world.bind(&kind);
    let receipt = step
        .apply(2, false, &step.capture().await.unwrap())
        .await
        .unwrap();
    let values = format!("{}/values/wire-server", receipt.outputs["path"]);
    assert!(world.host.stat(&values).await.unwrap().is_some());
}

/// By hand, another hash is downloaded and never unpacked.
#[tokio::test]
async fn another_hash_is_unpacked_beside_and_pointed_to() {
    let other = "f1f624256bdab0f9f76158c7f45e0618ee641237";
    let machine = prepared().with_artifact(LOCAL, other, None);
    let first = tree(&machine).await;
    let world = World::new(machine);
    let old = world.done(&first).await.outputs["path"].clone();
    world
        .host
        .meddle(|machine| machine.with_artifact(LOCAL, HASH, None))
        .unwrap();
    let second = tree(&prepared().with_artifact(LOCAL, HASH, None)).await;
    let found = world.bind(&second).probe(false).await.unwrap();
    let Probe::Drifted { diff } = &found else {
        panic!("{found:?}");
    };
    assert!(diff.contains(&format!("- release {old}")), "{diff}");
    let step = world.bind(&second);
    let before = step.capture().await.unwrap();
    let new = step.apply(2, false, &before).await.unwrap().outputs["path"].clone();
    let pointed = world.text_of(POINTER).await.unwrap();
    assert_eq!(pointed.trim(), new);
    let chart = format!("{new}/charts/wire-server/Chart.yaml");
    assert!(world.text_of(&chart).await.unwrap().contains("5.32.0"));
    step.undo(1, &before).await.unwrap();
    assert_eq!(world.text_of(POINTER).await.unwrap().trim(), old);
    assert!(world.host.stat(&new).await.unwrap().is_none());
    let again = world.bind(&first).probe(false).await.unwrap();
    assert!(matches!(again, Probe::Satisfied(_)), "{again:?}");
}

#[tokio::test]
async fn an_edited_release_is_a_question() {
    let machine = prepared().with_artifact(LOCAL, HASH, None);
    let kind = tree(&machine).await;
    let world = World::new(machine);
    let path = world.done(&kind).await.outputs["path"].clone();
    let file = format!("{path}/values/sftd/prod-values.example.yaml");
    world
        .host
        .meddle(|machine| machine.with_file(&file, "mine: 1\n", 0o644, "demo:demo"))
        .unwrap();
    let failure = fails(&world, &kind).await;
    says(
        &failure,
        &["values/sftd/prod-values.example.yaml"],
        "values.d/",
        "release.edited",
    );
    assert_eq!(failure.advice, RetryAdvice::AskOperator);
}

#[tokio::test]
async fn an_expired_repository_key_is_found_at_once_and_can_be_accepted() {
    let machine = prepared().with_release(TREE, HASH);
    let world = at(machine.clone(), LATER_MS);
    let failure = fails(&world, &checked()).await;
    says(
        &failure,
        &["expired 2026-07-12", "EXPKEYSIG"],
        "accept_expired_key = true",
        "release.key-expired",
    );
    let mut accepting = checked();
    accepting.accept_expired_key = true;
    let receipt = at(machine.clone(), LATER_MS).done(&accepting).await;
    assert_eq!(receipt.outputs["apt_options"], "[trusted=yes]");
    let receipt = at(machine.clone(), SOON_MS).done(&checked()).await;
    assert_eq!(receipt.outputs["apt_options"], "");
    assert!(
        receipt
            .note
            .unwrap()
            .contains("warning: its package key expires 2026-07-12")
    );
    let receipt = World::new(machine).done(&checked()).await;
    assert!(!receipt.note.unwrap().contains("warning"));
    assert_eq!(receipt.outputs["version"], "5.32.0");
    assert_eq!(receipt.outputs["acmesolver"], "no");
}

#[tokio::test]
async fn what_an_artifact_lacks_is_named() {
    let brig = "quay.io/wire/brig:5.32.0";
    let deb = "postgresql-17_17.8-1_amd64.deb";
    for (edit, why, code) in [
        (
            brig,
            "images are missing: quay.io/wire/brig:5.32.0 (containers-helm.tar)",
            "release.images-missing",
        ),
        (deb, deb, "release.binaries-missing"),
        ("debs-jammy.tar", "no debs-jammy.tar", "release.incomplete"),
        (
            "values/wire-server/prod-values.example.yaml",
            "values/wire-server/prod-values.example.yaml",
            "release.incomplete",
        ),
    ] {
        let machine = prepared()
            .with_published(HASH, 0, &[&format!("-{edit}")])
            .with_release(TREE, HASH);
        let failure = fails(&World::new(machine), &checked()).await;
        says(&failure, &[HASH, why], "another artifact", code);
    }
    let solver = "+quay.io/jetstack/cert-manager-acmesolver:v1.16.3";
    let machine = prepared()
        .with_published(HASH, 0, &[solver])
        .with_release(TREE, HASH);
    let receipt = World::new(machine).done(&checked()).await;
    assert_eq!(receipt.outputs["acmesolver"], "yes");
}

/// The artifact that the original documents name lacks the script that they tell people to run; nothing needs it.
#[tokio::test]
async fn no_script_of_the_artifact_is_needed_and_unknown_shapes_are_named() {
    let older = "e5e1919173f6fe2b56034a57e2dc59e8343e8b8e";
    let machine = prepared().with_release(TREE, older);
    let scripts = format!("{TREE}/bin/helm-operations.sh");
    let world = World::new(machine.clone());
    assert!(world.host.stat(&scripts).await.unwrap().is_none());
    world.done(&checked()).await;
    let smtp = format!("{TREE}/values/smtp/prod-values.example.yaml");
    let strange = machine.with_file(&smtp, "relay: {}\n", 0o644, "demo:demo");
    let failure = fails(&World::new(strange), &checked()).await;
    says(
        &failure,
        &[
            "values/smtp/prod-values.example.yaml",
            "smtp.config.RELAY_NETWORKS",
            HASH,
        ],
        "nothing was installed",
        "release.unknown-shape",
    );
}

#[tokio::test]
async fn the_operators_group_variables_are_kept_or_asked_about() {
    let own = format!("{}/all/offline.yml", group_vars().dir);
    let mine = |machine: Machine| machine.with_file(&own, "mine: 1\n", 0o644, "demo:demo");
    let world = World::new(prepared().with_release(TREE, HASH));
    let step = world.bind(&group_vars());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    world.host.meddle(mine).unwrap();
    let Probe::Satisfied(receipt) = step.probe(false).await.unwrap() else {
        panic!("a change of the operator's is kept");
    };
    assert!(
        receipt
            .note
            .unwrap()
            .contains("yours are kept: all/offline.yml")
    );
    step.undo(1, &before).await.unwrap();
    assert_eq!(world.text_of(&own).await.as_deref(), Some("mine: 1\n"));

    let world = World::new(mine(prepared()).with_release(TREE, HASH));
    let failure = fails(&world, &group_vars()).await;
    says(
        &failure,
        &["all/offline.yml", "not written by wiab"],
        "decide `accept`",
        "release.group-vars",
    );
    assert_eq!(world.text_of(&own).await.as_deref(), Some("mine: 1\n"));
}

#[tokio::test]
async fn a_cloud_image_is_held_to_what_its_publisher_says() {
    let source = "https://images.example/jammy-server-cloudimg-amd64.img";
    let kind = ImageBase {
        source: source.to_owned(),
        sha256: None,
        pool: "/var/lib/libvirt/images".to_owned(),
    };
    let machine =
        prepared()
            .with_libvirt()
            .with_file("/var/lib/libvirt/images/keep", "", 0o644, "root:root");
    let receipt = World::new(machine.clone()).done(&kind).await;
    assert_eq!(receipt.outputs["sha256"], sha256_of_url(source));
    assert!(receipt.note.unwrap().contains("as published beside it"));

    let world = World::new(machine);
    let none = Action::Fail {
        code: 22,
        stderr: "404".to_owned(),
    };
    world.host.arm(Fault::once("curl*SHA256SUMS", none));
    let receipt = world.done(&kind).await;
    assert!(receipt.note.unwrap().contains("pinned on first use"));

    // What lies there from an interrupted download is as long as the image, but something else.
    let key = blake3::hash(source.as_bytes()).to_hex();
    let part = format!("/var/lib/libvirt/images/wiab-base-{}.part", &key[..16]);
    let head = Cmd::new(["curl", "-sSIL", source]);
    let head = world.host.run(&head, &Cancel::default(), &|_| {}).await;
    let bytes = head.unwrap().text().lines().find_map(|line| {
        let (_, value) = line.split_once("Content-Length: ")?;
        value.trim().parse().ok()
    });
    let wrong = prepared().with_libvirt().with_artifact(&part, HASH, bytes);
    let failure = fails(&World::new(wrong), &kind).await;
    says(
        &failure,
        &["wanted is", &sha256_of_url(source)],
        "SHA256SUMS",
        "",
    );
}
