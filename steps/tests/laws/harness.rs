//! The laws: satisfied after apply, once is enough, undo restores, and a crash or a fault anywhere changes none of that.

use std::sync::Arc;

use serde_json::Value;
use wiab_engine::outcome::{Before, Failure, Probe, Residue, RetryAdvice};
use wiab_steps::host::sim::{Action, Fault, Machine, Points};

use super::scenarios::Scenario;
use super::world::{Bound, World, same};

/// Attempts that the engine would make.
const ATTEMPTS: u32 = 3;

/// Checks all laws; answers the number of crash points and faults.
pub(crate) async fn check(scenario: &Scenario) -> usize {
    if scenario.only_looks {
        return only_looks(scenario).await;
    }
    let world = World::new(scenario.machine.clone());
    let step = world.step(scenario.kind, &scenario.inputs);
    let name = scenario.name;
    let start = world.state();

    let first = step.probe(false).await.unwrap();
    assert!(
        !matches!(first, Probe::Satisfied(_)),
        "{name}: nothing to do: {first:?}"
    );
    let before = step.capture().await.unwrap();
    same(&world.state(), &start, &format!("{name}: after looking"));

    let receipt = step
        .apply(1, false, &before)
        .await
        .unwrap_or_else(|failure| panic!("{name}: {failure:?}"));
    let done = world.state();
    let Probe::Satisfied(seen) = step.probe(false).await.unwrap() else {
        panic!("{name}: not satisfied after apply");
    };
    assert_eq!(seen.outputs, receipt.outputs, "{name}: the probe's outputs");
    step.apply(2, false, &before).await.unwrap();
    same(&world.state(), &done, &format!("{name}: applied twice"));
    let applied = world.host.machine();

    let adopted = step.capture().await.unwrap();
    if scenario.undo_acts_alone {
        step.undo(1, &adopted).await.unwrap();
        same(
            &world.state(),
            &done,
            &format!("{name}: an adopted step was undone"),
        );
    }
    let back = if scenario.one_way { &done } else { &start };
    for time in ["once", "twice"] {
        step.undo(1, &before)
            .await
            .unwrap_or_else(|failure| panic!("{name}: {failure:?}"));
        same(&world.state(), back, &format!("{name}: undone {time}"));
    }
    let law = Law {
        scenario,
        before,
        start,
        done,
    };
    law.interrupted().await + law.undo_interrupted(&applied).await + law.faulty().await
}

/// The laws of a kind that changes nothing: it is satisfied where all is well, and whatever fails, the host stays as it was.
async fn only_looks(scenario: &Scenario) -> usize {
    let name = scenario.name;
    let world = World::new(scenario.machine.clone());
    let step = world.step(scenario.kind, &scenario.inputs);
    let start = world.state();
    let Probe::Satisfied(seen) = step.probe(false).await.unwrap() else {
        panic!("{name}: not satisfied where all is well");
    };
    assert_eq!(step.capture().await.unwrap(), Before::Nothing, "{name}");
    let begun = world.host.operations();
    let receipt = step.apply(1, false, &Before::Nothing).await.unwrap();
    let operations = world.host.operations() - begun;
    assert_eq!(receipt.outputs, seen.outputs, "{name}: outputs");
    step.undo(1, &Before::Nothing).await.unwrap();
    same(&world.state(), &start, name);
    let refused = Action::Fail {
        code: 1,
        stderr: "injected".to_owned(),
    };
    let actions = [refused, Action::LostBefore, Action::LostAfter, Action::Half];
    for nth in 1..=operations {
        for action in &actions {
            let world = World::new(scenario.machine.clone());
            world.host.arm(Fault::nth("*", nth, action.clone()));
            let step = world.step(scenario.kind, &scenario.inputs);
            let when = format!("{name}: {action:?} at operation {nth}");
            if let Err(failure) = step.apply(1, false, &Before::Nothing).await {
                assert_eq!(failure.residue, Residue::Clean, "{when}: {failure:?}");
            }
            same(&world.state(), &start, &when);
            world.host.disarm();
            step.apply(2, false, &Before::Nothing).await.unwrap();
        }
    }
    usize::try_from(operations).unwrap() * actions.len()
}

struct Law<'a> {
    scenario: &'a Scenario,
    before: Before,
    start: Value,
    done: Value,
}

/// Looks and applies as the engine does after a crash, or after a failed attempt.
async fn carry_on(step: &Bound<'_>, before: &Before, first: u32) -> Result<(), Failure> {
    if matches!(step.probe(first == 1).await?, Probe::Satisfied(_)) {
        return Ok(());
    }
    let mut attempt = first;
    loop {
        match step.apply(attempt, attempt == 1, before).await {
            Ok(_) => return Ok(()),
            Err(failure) if attempt < ATTEMPTS && failure.advice == RetryAdvice::Retry => {
                attempt += 1;
            }
            Err(failure) => return Err(failure),
        }
    }
}

impl Law<'_> {
    fn name(&self) -> &str {
        self.scenario.name
    }

    fn world(machine: &Machine, tap: Option<&Points>) -> World {
        let tap = tap.map(|tap| Arc::new(tap.clone()) as Arc<_>);
        World::tapped(machine.clone(), tap)
    }

    fn step<'w>(&self, world: &'w World) -> Bound<'w> {
        world.step(self.scenario.kind, &self.scenario.inputs)
    }

    async fn resumes(&self, wreck: &Machine, first: u32, when: &str) {
        let world = Self::world(wreck, None);
        let step = self.step(&world);
        let resumed = carry_on(&step, &self.before, first).await;
        resumed.unwrap_or_else(|failure| panic!("{when}: resume: {failure:?}"));
        same(&world.state(), &self.done, &format!("{when}: resumed"));
    }

    async fn rolls_back(&self, wreck: &Machine, when: &str) {
        let world = Self::world(wreck, None);
        let step = self.step(&world);
        for attempt in [1, 2] {
            let undone = step.undo(attempt, &self.before).await;
            undone.unwrap_or_else(|failure| panic!("{when}: undo: {failure:?}"));
            if !self.scenario.one_way {
                same(&world.state(), &self.start, &format!("{when}: undone"));
            }
        }
    }

    /// Dies at every point of apply; then resume equals apply, and undo equals before.
    async fn interrupted(&self) -> usize {
        let record = Points::record();
        let world = Self::world(&self.scenario.machine, Some(&record));
        self.step(&world)
            .apply(1, false, &self.before)
            .await
            .unwrap();
        let points = record.seen();
        for point in &points {
            let tap = Points::die_at(point.index);
            let world = Self::world(&self.scenario.machine, Some(&tap));
            let step = self.step(&world);
            tokio::select! {
                biased;
                () = world.host.died() => {}
                ended = step.apply(1, false, &self.before) => panic!("{}: no death at {point}: {ended:?}", self.name()),
            }
            let wreck = world.host.machine();
            let when = format!("{}: killed at {point}", self.name());
            self.resumes(&wreck, 1, &when).await;
            self.rolls_back(&wreck, &when).await;
        }
        points.len()
    }

    /// Dies at every point of undo; then undo again equals before.
    async fn undo_interrupted(&self, applied: &Machine) -> usize {
        let record = Points::record();
        let world = Self::world(applied, Some(&record));
        self.step(&world).undo(1, &self.before).await.unwrap();
        let points = record.seen();
        for point in &points {
            let tap = Points::die_at(point.index);
            let world = Self::world(applied, Some(&tap));
            let step = self.step(&world);
            tokio::select! {
                biased;
                () = world.host.died() => {}
                ended = step.undo(1, &self.before) => panic!("{}: no death at {point}: {ended:?}", self.name()),
            }
            let when = format!("{}: undo killed at {point}", self.name());
            self.rolls_back(&world.host.machine(), &when).await;
        }
        points.len()
    }

    /// Every operation of apply fails once, in every way; a failure that says `Clean` has left nothing.
    async fn faulty(&self) -> usize {
        let counter = Self::world(&self.scenario.machine, None);
        self.step(&counter)
            .apply(1, false, &self.before)
            .await
            .unwrap();
        let operations = counter.host.operations();
        let refused = Action::Fail {
            code: 1,
            stderr: "injected".to_owned(),
        };
        let actions = [
            refused,
            Action::LostBefore,
            Action::LostAfter,
            Action::Half,
            Action::DiskFull,
        ];
        for nth in 1..=operations {
            for action in &actions {
                let world = Self::world(&self.scenario.machine, None);
                world.host.arm(Fault::nth("*", nth, action.clone()));
                let step = self.step(&world);
                let when = format!("{}: {action:?} at operation {nth}", self.name());
                match step.apply(1, false, &self.before).await {
                    Ok(_) => same(&world.state(), &self.done, &format!("{when}: survived")),
                    Err(failure) => {
                        if failure.residue == Residue::Clean {
                            same(
                                &world.state(),
                                &self.start,
                                &format!("{when}: {failure:?} says clean"),
                            );
                        }
                        world.host.disarm();
                        let wreck = world.host.machine();
                        self.resumes(&wreck, 2, &when).await;
                        self.rolls_back(&wreck, &when).await;
                    }
                }
            }
        }
        usize::try_from(operations).unwrap() * actions.len()
    }
}
