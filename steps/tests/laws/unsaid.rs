//! Secrets are never said: not in receipts, before-images, transcripts, command lines or failures.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wiab_engine::ports::{Cancel, Scrub};
use wiab_steps::host::sim::{Action, Fault, Machine, Points};
use wiab_steps::host::{Cmd, Host, JobId, JobState, Meta};
use wiab_steps::kind::Kind;
use wiab_steps::secrets::{Form, LearningHost, Name, ScrubError, Scrubber, SealedSet};

use super::scenarios::deploy;
use super::sealed::{CLUSTER, set_of, with_cluster};
use super::secrets::{cluster, ground, older, other, rendered, sealed, wire_file};
use super::world::World;

/// Every text by which a value could be recognised.
fn canaries(set: &SealedSet) -> Vec<String> {
    let mut all = Vec::new();
    for name in Name::ALL {
        let value = set.get(name);
        all.push(STANDARD.encode(value).trim_end_matches('=').to_owned());
        let lines = value
            .lines()
            .filter(|line| line.len() >= 16 && !line.starts_with("-----"));
        all.extend(lines.map(str::to_owned));
    }
    all
}

/// Applies with a fault at every operation, undoes, and looks in between.
async fn exercise<K: Kind>(machine: &Machine, kind: &K) -> Vec<String> {
    let record = Points::record();
    let counter = World::tapped(machine.clone(), Some(Arc::new(record.clone())));
    let step = counter.bind(kind);
    let before = step.capture().await.unwrap();
    let begun = counter.host.operations();
    let _ = step.apply(1, false, &before).await;
    let operations = counter.host.operations() - begun;
    step.probe(false).await.unwrap();
    let _ = step.undo(1, &before).await;
    step.probe(false).await.unwrap();
    let mut said: Vec<String> = record
        .seen()
        .iter()
        .map(|point| point.what.clone())
        .collect();
    said.extend(counter.said.lock().unwrap().clone());
    said.push(format!(
        "{kind:?} {} {}",
        kind.summary(),
        kind.undo_summary()
    ));
    for nth in 1..=operations {
        let world = World::new(machine.clone());
        let step = world.bind(kind);
        let before = step.capture().await.unwrap();
        let refused = Action::Fail {
            code: 1,
            stderr: "injected".to_owned(),
        };
        world.host.arm(Fault::nth("*", nth, refused));
        let _ = step.apply(1, false, &before).await;
        let _ = step.probe(false).await;
        let _ = step.undo(1, &before).await;
        said.extend(world.said.lock().unwrap().clone());
    }
    said
}

#[tokio::test]
async fn no_secret_is_said_anywhere() {
    let (old, set) = (other("old"), other("set"));
    let fresh = ground().await;
    let world = World::new(fresh.clone());
    world.done(&sealed("false")).await;
    let made = set_of(&world).await;
    let with_set = |machine: Machine| {
        machine.with_file(&deploy("secrets.toml"), &set.encode(), 0o644, "demo:demo")
    };
    let older = older(&old, 0o644, "demo:demo").await;
    let damaged = set.encode().replace("version = 1", "version = ");
    let extra = format!("x: [{}\n", old.get(Name::Zrest));
    let mut said = Vec::new();
    for machine in [
        fresh.clone(),
        with_cluster(older.clone(), &set),
        with_set(fresh.clone()),
        fresh
            .clone()
            .with_file(&deploy("secrets.toml"), &damaged, 0o600, "demo:demo"),
        older
            .clone()
            .with_file(&wire_file(), &extra, 0o644, "demo:demo"),
    ] {
        said.extend(exercise(&machine, &sealed(CLUSTER)).await);
    }
    for machine in [
        fresh.clone(),
        with_set(fresh),
        with_set(older.clone()),
        with_set(older).with_file(&wire_file(), &extra, 0o644, "demo:demo"),
    ] {
        said.extend(exercise(&machine, &rendered()).await);
    }
    assert!(said.len() > 500, "{}", said.len());
    for set in [&old, &set, &made] {
        for canary in canaries(set) {
            let leak = said.iter().find(|text| text.contains(&canary));
            assert!(leak.is_none(), "a secret was said:\n{leak:?}");
        }
    }
}

#[tokio::test]
async fn the_scrubber_learns_what_passes_through_the_host() {
    let world = World::new(ground().await);
    let path = deploy("secrets.toml");
    let scrubber = Arc::new(Scrubber::default());
    let host = LearningHost::new(world.host.clone(), scrubber.clone(), &path);
    assert_eq!(scrubber.load(&host, &path).await, Ok(false));
    let set = other("set");
    let text = set.encode();
    let line = format!("password is {}", set.get(Name::PostgresqlWire));
    assert_eq!(scrubber.scrub(&line), line);
    let meta = Meta::user(0o600);
    host.write(&path, text.as_bytes(), &meta).await.unwrap();
    assert_eq!(
        scrubber.scrub(&line),
        "password is ‹secret:postgresql_wire›"
    );

    // A new process knows nothing until it loads or reads.
    for load in [true, false] {
        let scrubber = Arc::new(Scrubber::default());
        let host = LearningHost::new(world.host.clone(), scrubber.clone(), &path);
        if load {
            assert_eq!(scrubber.load(&*world.host, &path).await, Ok(true));
        } else {
            host.read(&path, false).await.unwrap().unwrap();
        }
        assert_eq!(
            scrubber.scrub(&line),
            "password is ‹secret:postgresql_wire›"
        );
        let shown = scrubber.scrub(&Form::Ansible.render(&set)).into_owned();
        let hidden = shown.matches("‹secret:minio_").count();
        assert_eq!(hidden, 4, "{shown}");
    }

    // A damaged set teaches nothing, and loading it is an error that says no value.
    host.write(&path, b"version = 'canary", &meta)
        .await
        .unwrap();
    let error = Scrubber::default().load(&host, &path).await.unwrap_err();
    assert!(matches!(error, ScrubError::Sealed(_)));
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[tokio::test]
async fn the_learning_host_is_otherwise_the_host() {
    let world = World::new(ground().await);
    let scrubber = Arc::new(Scrubber::default());
    let host = LearningHost::new(world.host.clone(), scrubber, "/x");
    assert_eq!(host.name(), world.host.name());
    let cmd = Cmd::new(["sh", "-c", "echo hello"]);
    let output = host.run(&cmd, &Cancel::default(), &|_| {}).await.unwrap();
    assert_eq!(output.text(), "hello\n");
    let meta = Meta::user(0o644);
    let path = deploy("file");
    host.write(&path, b"text", &meta).await.unwrap();
    assert_eq!(host.read(&path, false).await.unwrap().unwrap(), b"text");
    assert_eq!(host.stat(&path).await.unwrap().unwrap().bytes, 4);
    assert!(host.remove(&path, false).await.unwrap());
    let step = wiab_engine::id::StepId::new("law.step").unwrap();
    let id = JobId::new(wiab_engine::id::RunId([7; 16]), &step, 1, "run");
    host.job_start(&id, &cmd).await.unwrap();
    let waited = host
        .job_wait(&id, 0, 60_000, &Cancel::default(), &|_| {})
        .await
        .unwrap();
    assert_eq!(waited.text(), "hello\n");
    assert_eq!(host.job_state(&id).await.unwrap(), JobState::Exited(0));
    host.job_forget(&id).await.unwrap();
    let mut drawn = [[0; 8]; 2];
    host.entropy("a").fill(&mut drawn[0]).unwrap();
    world.host.entropy("a").fill(&mut drawn[1]).unwrap();
    assert_eq!(drawn[0], drawn[1]);
}
