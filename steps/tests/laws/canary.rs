//! Private keys never leave their files: not in receipts, before-images, transcripts or command lines.

use std::sync::Arc;

use wiab_steps::host::sim::{Action, Fault, Points};

use super::scenarios::{
    deploy, dirs, domain, host_keys, image, keypair, known_hosts, network, overlay, ready, running,
    seed, without_default,
};
use super::world::World;

/// The lines of a private key that are secret.
async fn secret_lines(world: &World, path: &str) -> Vec<String> {
    let text = world.text_of(path).await.unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn no_private_key_is_said_anywhere() {
    let points = Points::record();
    let world = World::tapped(without_default().await, Some(Arc::new(points.clone())));
    world.done(&dirs()).await;
    world.done(&network()).await;
    let user = world.done(&keypair()).await.outputs["public"].clone();
    let host = world.done(&host_keys()).await.outputs["public"].clone();
    world.done(&known_hosts(&host)).await;
    world.done(&seed("other", &user, &host)).await;
    let mut secrets = secret_lines(&world, &keypair().path).await;
    secrets.extend(secret_lines(&world, &host_keys().path).await);
    assert!(
        secrets.iter().all(|line| line.len() > 40),
        "a canary that sings"
    );

    // A seed that replaces another one, fails in between, and is taken back.
    let step = world.bind(&seed("demo", &user, &host));
    step.probe(false).await.unwrap();
    let before = step.capture().await.unwrap();
    let broken = Action::Fail {
        code: 1,
        stderr: "injected".to_owned(),
    };
    world.host.arm(Fault::once("cloud-localds*", broken));
    step.apply(1, false, &before).await.unwrap_err();
    step.undo(1, &before).await.unwrap();
    step.apply(2, false, &before).await.unwrap();

    // A key that is looked at once more.
    let step = world.bind(&keypair());
    let before = step.capture().await.unwrap();
    step.apply(1, true, &before).await.unwrap();
    let base = world.done(&image()).await.outputs["path"].clone();
    world.done(&overlay(&base)).await;
    world.done(&domain()).await;
    world.done(&running()).await;
    world.done(&ready()).await;

    let seeded = world.text_of(&deploy("nocloud/user-data")).await.unwrap();
    let host_secret = secret_lines(&world, &host_keys().path).await;
    assert!(
        host_secret.iter().all(|line| seeded.contains(line)),
        "the seed does carry the host key"
    );
    let mut said = world.said.lock().unwrap().clone();
    said.extend(points.seen().iter().map(|point| point.what.clone()));
    assert!(said.len() > 100);
    for secret in &secrets {
        for text in &said {
            assert!(!text.contains(secret), "a private key was said:\n{text}");
        }
    }
}
