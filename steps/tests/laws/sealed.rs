//! Secrets are never lost and never made twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wiab_engine::outcome::{Failure, Probe, Residue, RetryAdvice};
use wiab_steps::host::sim::Machine;
use wiab_steps::host::{Host, Meta};
use wiab_steps::secrets::{Kubectl, Name, Origin, SealedSet};

use super::scenarios::deploy;
use super::secrets::{
    ansible_file, files, ground, live, older, other, rendered, sealed, wire_file,
};
use super::world::{Bound, World, same};

pub(crate) const CLUSTER: &str = "cat /cluster.json";

pub(crate) async fn set_of(world: &World) -> SealedSet {
    let text = world.text_of(&deploy("secrets.toml")).await.unwrap();
    SealedSet::parse("f", text.as_bytes()).unwrap()
}

/// Applies what must end in a question and change nothing.
async fn asks(world: &World, step: &Bound<'_>) -> Failure {
    let start = world.state();
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert_eq!(failure.advice, RetryAdvice::AskOperator, "{failure:?}");
    assert_eq!(failure.residue, Residue::Clean, "{failure:?}");
    assert!(failure.hint.is_some(), "{failure:?}");
    same(&world.state(), &start, &failure.why);
    failure
}

pub(crate) fn with_cluster(machine: Machine, set: &SealedSet) -> Machine {
    machine
        .with_file(&deploy("admin.conf"), "", 0o600, "root:root")
        .with_file("/cluster.json", &live(set).to_string(), 0o644, "root:root")
}

#[tokio::test]
async fn what_is_sealed_is_private_and_never_made_again() {
    let world = World::new(ground().await);
    world.done(&sealed("false")).await;
    let path = deploy("secrets.toml");
    let first = world.text_of(&path).await.unwrap();
    assert_eq!(world.host.stat(&path).await.unwrap().unwrap().mode, 0o600);
    assert!(
        first.contains("created = \"2026-01-01\""),
        "the day is known"
    );
    let receipt = world.done(&sealed("false")).await;
    assert_eq!(world.text_of(&path).await.unwrap(), first);
    assert_eq!(receipt.outputs["path"], path);
    assert_eq!(receipt.note.unwrap(), "14 generated, 0 adopted, 2026-01-01");
    world.done(&rendered()).await;
    for (path, _) in files() {
        assert_eq!(world.host.stat(&path).await.unwrap().unwrap().mode, 0o600);
    }
}

#[tokio::test]
async fn live_values_win_over_files_and_files_over_new_ones() {
    let (in_files, in_cluster) = (other("files"), other("cluster"));
    let machine = with_cluster(older(&in_files, 0o644, "demo:demo").await, &in_cluster);
    let world = World::new(machine);
    world.done(&sealed(CLUSTER)).await;
    let set = set_of(&world).await;
    for (name, from, origin) in [
        (
            Name::Zrest,
            &in_cluster,
            "kubernetes secret brig/turn-secret.txt",
        ),
        (
            Name::ZauthPublic,
            &in_cluster,
            "kubernetes secret brig/publickey.txt",
        ),
        (
            Name::MlsP521,
            &in_cluster,
            "kubernetes secret galley/removal_ecdsa_secp521r1_sha512.pem",
        ),
        (
            Name::PostgresqlRepmgr,
            &in_cluster,
            "kubernetes secret repmgr-postgresql-secret/password",
        ),
        (
            Name::MlsP256,
            &in_files,
            &format!(
                "{}: galley.secrets.mlsPrivateKeys.removal.ecdsa_secp256r1_sha256",
                wire_file()
            ),
        ),
        (
            Name::MinioSecretKey,
            &in_files,
            &format!("{}: minio_secret_key", ansible_file()),
        ),
    ] {
        assert_eq!(set.get(name), from.get(name), "{name}");
        let adopted = Origin::Adopted {
            from: origin.to_owned(),
        };
        assert_eq!(set.origin(name), Some(&adopted));
    }
    assert_eq!(set.origin(Name::Prometheus), Some(&Origin::Generated));
    assert_eq!(set.adopted(), 13);
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_not_taken_for_none() {
    let machine = with_cluster(ground().await, &other("x"));
    let world = World::new(machine);
    for command in ["false", "missing-tool"] {
        let failure = asks(&world, &world.bind(&sealed(command))).await;
        assert!(failure.why.contains("cannot be asked"), "{failure:?}");
    }
    let mut sealing = sealed("");
    sealing.cluster.as_mut().unwrap().kubectl = Kubectl::Words(vec!["kubectl".to_owned()]);
    let failure = asks(&world, &world.bind(&sealing)).await;
    assert!(
        failure.why.contains("kubectl is not installed"),
        "{failure:?}"
    );
    // As long as there is no kubeconfig, nobody is asked.
    let world = World::new(ground().await);
    world.done(&sealed("false")).await;
}

#[tokio::test]
async fn a_damaged_set_is_a_question_and_stays_as_it_is() {
    let path = deploy("secrets.toml");
    let good = other("good").encode().to_string();
    let zrest = other("good").get(Name::Zrest).to_owned();
    for damaged in [
        String::new(),
        good.replace(&zrest, "canary-canary"),
        good.chars().take(good.len() / 2).collect(),
        good.replace("version = 1", "version = 9"),
    ] {
        let machine = ground()
            .await
            .with_file(&path, &damaged, 0o600, "demo:demo");
        let world = World::new(machine);
        let step = world.bind(&sealed("false"));
        let failure = asks(&world, &step).await;
        assert!(failure.why.contains(&path), "{failure:?}");
        let probe = step.probe(false).await.unwrap();
        assert!(matches!(probe, Probe::Partial { .. }), "{probe:?}");
        let render = world.bind(&rendered());
        asks(&world, &render).await;
        // Not even by undo, whatever the before-image says.
        let empty = World::new(ground().await);
        let before = empty.bind(&sealed("false")).capture().await.unwrap();
        step.undo(1, &before).await.unwrap_err();
        assert_eq!(world.text_of(&path).await.unwrap(), damaged);
        let said = world.said.lock().unwrap().join("\n");
        assert!(!said.contains("canary-canary"), "{said}");
    }
}

#[tokio::test]
async fn values_that_contradict_each_other_are_a_question() {
    let (one, two) = (other("one"), other("two"));
    let coturn = World::new(older(&two, 0o644, "demo:demo").await);
    let (path, _) = &files()[2];
    let text = coturn.text_of(path).await.unwrap();
    let machine = older(&one, 0o644, "demo:demo")
        .await
        .with_file(path, &text, 0o644, "demo:demo");
    let world = World::new(machine);
    let failure = asks(&world, &world.bind(&sealed("false"))).await;
    assert!(
        failure.why.contains("`zrest` differs between"),
        "{failure:?}"
    );
    // In the cluster too.
    let mut contradiction = live(&one);
    contradiction["items"][1]["data"]["zauth.conf"] =
        STANDARD.encode(two.get(Name::ZauthPublic)).into();
    let machine = with_cluster(ground().await, &one).with_file(
        "/cluster.json",
        &contradiction.to_string(),
        0o644,
        "root:root",
    );
    let world = World::new(machine);
    let failure = asks(&world, &world.bind(&sealed(CLUSTER))).await;
    assert!(failure.why.contains("`zauth_public`"), "{failure:?}");
}

#[tokio::test]
async fn secrets_in_use_survive_their_undo() {
    let world = World::new(ground().await);
    let start = world.state();
    let seal = world.bind(&sealed(CLUSTER));
    let seal_before = seal.capture().await.unwrap();
    seal.apply(1, false, &seal_before).await.unwrap();
    let render = world.bind(&rendered());
    let render_before = render.capture().await.unwrap();
    render.apply(1, false, &render_before).await.unwrap();
    let refused = seal.undo(1, &seal_before).await.unwrap_err();
    assert!(refused.why.contains("is in use"), "{refused:?}");
    render.undo(1, &render_before).await.unwrap();

    let set = set_of(&world).await;
    world
        .host
        .meddle(|machine| with_cluster(machine, &set))
        .unwrap();
    let refused = seal.undo(1, &seal_before).await.unwrap_err();
    assert!(refused.why.contains("kubernetes secret"), "{refused:?}");

    world
        .host
        .meddle(|machine| {
            machine
                .without_file(&deploy("admin.conf"))
                .without_file("/cluster.json")
        })
        .unwrap();
    seal.undo(1, &seal_before).await.unwrap();
    same(&world.state(), &start, "undone");
}

#[tokio::test]
async fn an_unreachable_cluster_does_not_hold_up_a_confirmed_undo() {
    let world = World::new(ground().await);
    let seal = world.bind(&sealed("false"));
    let before = seal.capture().await.unwrap();
    seal.apply(1, false, &before).await.unwrap();
    let kubeconfig = deploy("admin.conf");
    let put = |machine: Machine| machine.with_file(&kubeconfig, "", 0o600, "root:root");
    world.host.meddle(put).unwrap();
    seal.undo(1, &before).await.unwrap();
    assert_eq!(world.text_of(&deploy("secrets.toml")).await, None);
}

#[tokio::test]
async fn values_of_somebody_else_are_not_overwritten() {
    let (old, set) = (other("old"), other("set"));
    let ground = older(&old, 0o600, "demo:demo").await.with_file(
        &deploy("secrets.toml"),
        &set.encode(),
        0o600,
        "demo:demo",
    );
    let world = World::new(ground.clone());
    let own = world.text_of(&wire_file()).await.unwrap();
    for (text, names) in [
        (
            format!("{own}legalhold:\n  serviceToken: canary-token\n"),
            "legalhold.serviceToken",
        ),
        (
            own.replace("dummyPassword", "canary-token"),
            "brig.secrets.smtpPassword",
        ),
        ("brig: [canary-token\n".to_owned(), "is not YAML"),
    ] {
        let machine = ground
            .clone()
            .with_file(&wire_file(), &text, 0o600, "demo:demo");
        let world = World::new(machine);
        let failure = asks(&world, &world.bind(&rendered())).await;
        assert!(failure.why.contains(names), "{failure:?}");
        let said = world.said.lock().unwrap().join("\n");
        assert!(!said.contains("canary-token"), "{said}");
    }
    // An edit of a rendered file is seen, and undo leaves it.
    let world = World::new(ground);
    let render = world.bind(&rendered());
    let before = render.capture().await.unwrap();
    render.apply(1, false, &before).await.unwrap();
    let text = world.text_of(&ansible_file()).await.unwrap();
    let edited = text.replace(set.get(Name::MinioSecretKey), "edited-by-hand");
    world
        .host
        .write(&ansible_file(), edited.as_bytes(), &Meta::user(0o600))
        .await
        .unwrap();
    let Probe::Drifted { diff } = render.probe(false).await.unwrap() else {
        panic!("not seen");
    };
    assert_eq!(diff, format!("~ {}: minio_secret_key", ansible_file()));
    render.undo(1, &before).await.unwrap_err();
    assert_eq!(world.text_of(&ansible_file()).await.unwrap(), edited);
}

#[tokio::test]
async fn a_missing_directory_is_said() {
    let world = World::new(Machine::fresh());
    let step = world.bind(&sealed("false"));
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert_eq!(
        failure.why,
        format!(
            "the directory {} is missing",
            deploy("secrets.toml").trim_end_matches("/secrets.toml")
        )
    );
}
