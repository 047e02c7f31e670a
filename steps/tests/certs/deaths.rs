//! wiab is killed while a cure is on the host.

use std::sync::Arc;

use wiab_engine::book::{Keeper, Notebook};
use wiab_engine::event::Event;
use wiab_engine::outcome::Before;
use wiab_steps::host::sim::{Machine, Point, Points};
use wiab_steps::kinds::certs::cert_ready::CertReady;
use wiab_steps::kinds::certs::cure::CurePolicy;

use super::stories::{ask, curing, ground};
use crate::laws::world::{World, same};

/// Dies at points of apply; then the next process ends like an undisturbed one, and owes nothing.
#[tokio::test]
async fn what_is_temporary_goes_wherever_wiab_dies() {
    let machine = ask(ground().await);
    let kind = curing(CurePolicy::Auto);
    let start = World::new(machine.clone()).state();
    let record = Points::record();
    let world = World::tapped(machine.clone(), Some(Arc::new(record.clone())));
    let before = world.bind(&kind).capture().await.unwrap();
    world.bind(&kind).apply(1, false, &before).await.unwrap();
    // Everything that changes the host, and some of the rest.
    let seen = record.seen();
    let changes = |point: &&Point| point.what.contains("nft -f") || point.index.is_multiple_of(41);
    let points: Vec<&Point> = seen.iter().filter(changes).collect();
    assert!(points.len() >= 6, "{}", points.len());
    for point in points {
        let tap = Points::die_at(point.index);
        let world = World::tapped(machine.clone(), Some(Arc::new(tap)));
        let first = async {
            let before = world.bind(&kind).capture().await.unwrap();
            let ended = world.bind(&kind).apply(1, false, &before).await;
            panic!("no death at {point}: {ended:?}");
        };
        tokio::select! {
            biased;
            () = world.host.died() => {}
            () = first => {}
        }
        let (wreck, notes) = (world.host.machine(), world.notes.clone());
        for forward in [true, false] {
            let mut next = World::new(wreck.clone());
            next.notes = Arc::new(Notebook::default());
            for event in notes.events() {
                next.notes.record(event).await.unwrap();
            }
            let image = before_image(&machine, &kind).await;
            let step = next.bind(&kind);
            if forward {
                step.apply(1, true, &image).await.unwrap();
            } else {
                step.undo(1, &image).await.unwrap();
            }
            same(&next.state(), &start, &format!("killed at {point}"));
            assert!(
                open(&next).is_empty(),
                "killed at {point}: {:?}",
                open(&next)
            );
        }
    }
}

async fn before_image(machine: &Machine, kind: &CertReady) -> Before {
    let world = World::new(machine.clone());
    world.bind(kind).capture().await.unwrap()
}

/// Obligations that are open.
fn open(world: &World) -> Vec<String> {
    let mut open = Vec::new();
    for event in world.notes.events() {
        match event {
            Event::ObligationOpened(one) => open.push(one.id),
            Event::ObligationSettled(one) => open.retain(|id| *id != one.id),
            _ => {}
        }
    }
    open
}
