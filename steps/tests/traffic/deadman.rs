//! The dead-man timer: wiab dies with the new rules loaded, and the old ones come back.

use std::sync::Arc;

use wiab_engine::outcome::{Before, Probe};
use wiab_engine::ports::{Cancel, Clock as _};
use wiab_steps::host::sim::{Action, Fault, Machine, Phase, Points};
use wiab_steps::host::{Cmd, Host as _};

use super::world::{FOREIGN, firewall, host, traffic};
use crate::laws::world::{World, same};

async fn said(world: &World, argv: &[&str]) -> String {
    let cmd = Cmd::new(argv.iter().copied()).root();
    let output = world.host.run(&cmd, &Cancel::default(), &|_| {}).await;
    output.unwrap().text()
}

async fn armed(world: &World) -> bool {
    said(world, &["systemctl", "is-active", "wiab-fw-restore.timer"]).await == "active\n"
}

fn older() -> Machine {
    let mut other = traffic();
    "192.168.122.99".clone_into(&mut other.calling);
    host()
        .with_nft(FOREIGN)
        .with_nft(&other.script("eth0").unwrap())
}

/// Kills wiab right after the new rules are loaded; answers the wreck and the before-image.
async fn killed_with_new_rules(machine: &Machine) -> (Machine, Before) {
    let record = Points::record();
    let world = World::tapped(machine.clone(), Some(Arc::new(record.clone())));
    let step = world.bind(&firewall(traffic()));
    let before = step.capture().await.unwrap();
    let looked = record.seen().len();
    step.apply(1, false, &before).await.unwrap();
    let loaded = record
        .seen()
        .into_iter()
        .find(|point| point.what == "nft -f -" && point.phase == Phase::AfterEffect)
        .unwrap();
    let tap = Points::die_at(loaded.index - u64::try_from(looked).unwrap());
    let world = World::tapped(machine.clone(), Some(Arc::new(tap)));
    let step = world.bind(&firewall(traffic()));
    tokio::select! {
        biased;
        () = world.host.died() => {}
        ended = step.apply(1, false, &before) => panic!("no death at {loaded}: {ended:?}"),
    }
    (world.host.machine(), before)
}

#[tokio::test]
async fn the_old_rules_come_back_when_wiab_dies_before_it_confirms_the_new_ones() {
    for machine in [host(), older()] {
        let start = World::new(machine.clone()).state();
        let (wreck, before) = killed_with_new_rules(&machine).await;

        let world = World::new(wreck);
        assert!(armed(&world).await);
        assert!(
            said(&world, &["nft", "list", "ruleset"])
                .await
                .contains("192.168.122.23")
        );
        world.host.clock().sleep(130_000).await;
        assert!(!armed(&world).await);
        let script = "/run/wiab-fw-restore.nft";
        world
            .host
            .meddle(|machine| machine.without_file(script))
            .unwrap();
        same(&world.state(), &start, "after the timer");

        // A resume finds the old rules and goes on from there.
        let step = world.bind(&firewall(traffic()));
        assert!(!matches!(
            step.probe(true).await.unwrap(),
            Probe::Satisfied(_)
        ));
        step.apply(1, true, &before).await.unwrap();
        assert!(matches!(
            step.probe(false).await.unwrap(),
            Probe::Satisfied(_)
        ));
        assert!(!armed(&world).await);
    }
}

#[tokio::test]
async fn a_resume_in_time_confirms_the_new_rules_and_stops_the_timer() {
    let machine = older();
    let whole = World::new(machine.clone());
    whole.done(&firewall(traffic())).await;
    let (wreck, before) = killed_with_new_rules(&machine).await;

    let world = World::new(wreck);
    let step = world.bind(&firewall(traffic()));
    let found = step.probe(true).await.unwrap();
    assert!(matches!(found, Probe::Partial { .. }), "{found:?}");
    step.apply(1, true, &before).await.unwrap();
    assert!(!armed(&world).await);
    world.host.clock().sleep(130_000).await;
    same(&world.state(), &whole.state(), "long after the resume");
}

#[tokio::test]
async fn without_a_timer_nothing_is_changed() {
    let world = World::new(host());
    let start = world.state();
    let refused = Action::Fail {
        code: 1,
        stderr: "Failed to connect to bus".to_owned(),
    };
    world.host.arm(Fault::nth("systemd-run*", 1, refused));
    let step = world.bind(&firewall(traffic()));
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert!(
        failure.why.contains("Failed to connect to bus"),
        "{failure:?}"
    );
    assert!(failure.hint.unwrap().contains("timer of systemd"));
    step.undo(1, &before).await.unwrap();
    same(&world.state(), &start, "undone");
}

#[tokio::test]
async fn a_rollback_with_the_timer_running_stops_it() {
    let machine = older();
    let start = World::new(machine.clone()).state();
    let (wreck, before) = killed_with_new_rules(&machine).await;
    let world = World::new(wreck);
    world
        .bind(&firewall(traffic()))
        .undo(1, &before)
        .await
        .unwrap();
    assert!(!armed(&world).await);
    same(&world.state(), &start, "undone");
}
