//! Random DAGs, random faults, and the power cut at every point: resume and rollback must keep every promise.

#![expect(clippy::cast_possible_truncation, reason = "dice have few sides")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::event::{Cause, Event, Limits, OnFailure, RunOpened, RunResumed, UnwindBegan};
use crate::id::{Lane, RunId, StepId};
use crate::mutant::{Mutant, plant};
use crate::outcome::{Outcome, UndoClass};
use crate::plan::{Plan, RetryPolicy, StepSpec};
use crate::ports::NoSecrets;
use crate::runner::{self, Observer, Runner};
use crate::state::RunState;
use world::{Cell, Fault, NoTime, Sort, World};

/// The `SplitMix64` generator: small, seeded, the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

struct Universe {
    plan: Plan,
    cells: BTreeMap<StepId, Cell>,
    limits: Limits,
}

fn cell(dice: &mut Dice, after: &[StepId]) -> Cell {
    let sort = [Sort::Careful, Sort::Careful, Sort::Blind, Sort::Job][dice.roll(4) as usize];
    let original = if dice.one_in(3) {
        Some(dice.roll(100) as u32)
    } else {
        None
    };
    let parts = 1 + dice.roll(3) as u32;
    let mut faults = BTreeMap::new();
    if dice.one_in(3) {
        let kinds = match sort {
            Sort::Careful => &[Fault::Clean, Fault::Dirty, Fault::Unknown, Fault::Panic][..],
            Sort::Blind | Sort::Job => &[Fault::Clean][..],
        };
        let attempt = 1 + dice.roll(2) as u32;
        faults.insert(attempt, kinds[dice.roll(kinds.len() as u64) as usize]);
    }
    Cell {
        sort,
        lasting: sort == Sort::Careful && dice.one_in(5),
        scaffold: (sort == Sort::Careful && dice.one_in(6)).then_some(false),
        parts,
        original,
        foreign: original,
        done: vec![0; parts as usize],
        adopted: sort != Sort::Job && dice.one_in(6),
        needs: after.to_vec(),
        faults,
        undo_faults: dice.one_in(5).then_some(1).into_iter().collect(),
    }
}

fn universe(seed: u64) -> Universe {
    let mut dice = Dice(seed);
    let count = 2 + dice.roll(9);
    let mut steps: Vec<StepSpec> = Vec::new();
    let mut cells = BTreeMap::new();
    for number in 0..count {
        let id = StepId::new(&format!("s{number}")).unwrap();
        let mut after: Vec<StepId> = Vec::new();
        for earlier in &steps {
            if dice.one_in(3) {
                after.push(earlier.id.clone());
            }
        }
        let cell = cell(&mut dice, &after);
        let undo = if cell.lasting {
            UndoClass::NothingToUndo
        } else {
            UndoClass::Reversible
        };
        cells.insert(id.clone(), cell);
        let references: Vec<_> = after
            .iter()
            .map(|id| serde_json::json!({"$output": [id.as_str(), "value"]}))
            .collect();
        steps.push(StepSpec {
            id,
            kind: "cell/1".to_owned(),
            summary: String::new(),
            undo_summary: String::new(),
            after,
            lanes: if dice.one_in(3) {
                vec![Lane::new(format!("lane{}", dice.roll(2)))]
            } else {
                vec![]
            },
            undo,
            idempotent: true,
            retry: RetryPolicy {
                attempts_max: 1 + dice.roll(3) as u32,
                delay_first_ms: 10,
                delay_max_ms: 100,
            },
            timeout_ms: 1_000,
            usual_ms: 1 + dice.roll(50),
            inputs: serde_json::Value::Array(references).to_string(),
        });
    }
    let limits = Limits {
        width: 1 + dice.roll(4) as u32,
        on_failure: OnFailure::Keep,
        fail_fast: dice.one_in(4),
    };
    Universe {
        plan: Plan {
            name: "random".to_owned(),
            steps,
        },
        cells,
        limits,
    }
}

impl Universe {
    fn world(&self) -> World {
        let world = World::default();
        world.with(|inner| inner.cells.clone_from(&self.cells));
        world
    }

    fn opened(&self) -> RunOpened {
        RunOpened {
            plan: self.plan.clone(),
            limits: self.limits,
            host: "world".to_owned(),
            tool: "test".to_owned(),
            command_line: String::new(),
        }
    }
}

/// Compares, after every batch, the live state with a replay of the journal.
#[derive(Debug)]
struct Mirror(World);

impl Observer for Mirror {
    fn durable(&self, _events: &[Event], state: &RunState) {
        let journal = self.0.with(|inner| inner.journal.clone());
        let replayed = RunState::replay(&journal).unwrap();
        if replayed != *state {
            self.0
                .breach("the live state differs from its replay".to_owned());
        }
        let mut lanes = std::collections::BTreeSet::new();
        for (spec, record) in state.steps() {
            if record.state.word() == "running" && !spec.lanes.iter().all(|lane| lanes.insert(lane))
            {
                self.0.breach(format!("{} shares a held lane", spec.id));
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Forward,
    Back,
}

/// One process: from the journal as it is to the end, or to the power cut.
fn process(
    world: &World,
    universe: &Universe,
    goal: Goal,
    kill_at: Option<u64>,
) -> Option<RunState> {
    world.with(|inner| {
        inner.points = 0;
        inner.kill_at = kill_at;
        inner.dead = false;
        // What was in flight at a power cut never completes later: jobs are atomic in this world.
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        // A power cut that several tasks noticed may have left a permit behind.
        tokio::select! { biased; () = world.off.notified() => {}, () = std::future::ready(()) => {} }
        let runner = runner_for(world, universe, goal)?;
        let (_stop, stops) = mpsc::channel(1);
        tokio::select! {
            biased;
            () = world.off.notified() => None,
            ended = runner.drive(stops) => Some(ended.unwrap()),
        }
    })
}

fn runner_for(world: &World, universe: &Universe, goal: Goal) -> Option<Runner> {
    let run = RunId([9; 16]);
    let doors = runner::World {
        steps: Arc::new(world.clone()),
        clock: Arc::new(NoTime),
        log: Arc::new(world.clone()),
        scrub: Arc::new(NoSecrets),
        progress: None,
        observer: Some(Arc::new(Mirror(world.clone()))),
    };
    let journal = world.with(|inner| inner.journal.clone());
    if journal.is_empty() {
        return (goal == Goal::Forward).then(|| Runner::fresh(run, universe.opened(), doors));
    }
    let state = RunState::replay(&journal).unwrap();
    let mut events: Vec<Event> = vec![
        RunResumed {
            tool: "test".to_owned(),
            command_line: String::new(),
        }
        .into(),
    ];
    if goal == Goal::Back && state.direction == crate::state::Direction::Forward {
        events.push(
            UnwindBegan {
                cause: Cause::Operator,
                keep_to: None,
                wipe_data: true,
            }
            .into(),
        );
    }
    Some(Runner::resume(run, state, events, doors).unwrap())
}

/// Works on until the goal is reached; a final failure is resumed, as an operator would.
fn finish(world: &World, universe: &Universe, goal: Goal) -> Result<(), String> {
    for _ in 0..12 {
        let Some(state) = process(world, universe, goal, None) else {
            return if goal == Goal::Back {
                Ok(())
            } else {
                Err("no runner".to_owned())
            };
        };
        match (goal, state.ended) {
            (Goal::Forward, Some(Outcome::Completed)) | (Goal::Back, Some(Outcome::RolledBack)) => {
                return Ok(());
            }
            (Goal::Forward, Some(Outcome::FailedKept)) => {}
            (_, ended) => return Err(format!("ended as {ended:?}")),
        }
    }
    Err("does not come to an end".to_owned())
}

fn check(world: &World, universe: &Universe, goal: Goal) -> Result<(), String> {
    world.with(|inner| {
        if let Some(breach) = inner.breaches.first() {
            return Err(breach.clone());
        }
        let state = RunState::replay(&inner.journal).ok();
        if let Some(owed) = state.as_ref().and_then(|state| state.owed().next()) {
            return Err(format!("{} is still owed", owed.id));
        }
        for (id, cell) in &inner.cells {
            if cell.scaffold == Some(true) {
                return Err(format!("the scaffold of {id} still stands"));
            }
            let first = &universe.cells[id];
            let right = match goal {
                Goal::Forward => cell.complete() && (first.adopted || cell.foreign.is_none()),
                Goal::Back => cell.lasting || cell.face() == first.face(),
            };
            if !right {
                return Err(format!("{id} ended as {cell:?}"));
            }
            let twice = cell.sort == Sort::Careful && cell.done.iter().any(|count| *count > 1);
            if twice {
                return Err(format!("a part of {id} was done twice: {cell:?}"));
            }
        }
        Ok(())
    })
}

/// How many points an undisturbed process passes.
fn points(world: &World) -> u64 {
    world.with(|inner| inner.points)
}

/// Kills the first process at `first`, the second (of the same or the other goal) at `second`, then finishes.
fn scenario(seed: u64, goal: Goal, first: u64, second: Option<u64>) -> Result<(), String> {
    let universe = universe(seed);
    let world = universe.world();
    world.tear(seed as usize + first as usize);
    let _cut_or_ended = process(&world, &universe, Goal::Forward, Some(first));
    announced(&world)?;
    if let Some(second) = second {
        let _cut_or_ended = process(&world, &universe, goal, Some(second));
        announced(&world)?;
    }
    finish(&world, &universe, goal)?;
    check(&world, &universe, goal)
}

/// After a power cut: whatever is temporary on the host is an open obligation in the journal.
fn announced(world: &World) -> Result<(), String> {
    match world.unannounced().first() {
        Some(id) => Err(format!("nobody knows of the scaffold of {id}")),
        None => Ok(()),
    }
}

/// Every kill point of every goal for one universe; answers how many were tried.
fn exhaust(seed: u64) -> Result<u64, String> {
    let universe = universe(seed);
    let world = universe.world();
    let _first = process(&world, &universe, Goal::Forward, None);
    let total = points(&world);
    let mut dice = Dice(seed ^ 0xabcd);
    let mut tried = 0;
    for goal in [Goal::Forward, Goal::Back] {
        for first in 1..=total + 1 {
            let second = (tried % 2 == 1).then(|| 1 + dice.roll(total));
            scenario(seed, goal, first, second).map_err(|why| {
                format!("seed {seed}, {goal:?}, killed at {first} then {second:?}: {why}")
            })?;
            tried += 1;
        }
    }
    Ok(tried)
}

#[test]
fn every_kill_point_of_random_plans_converges() {
    quiet_planned_panics();
    plant(None);
    let mut tried = 0;
    for seed in 0..120 {
        tried += exhaust(seed).unwrap();
    }
    println!("seeds 0..120: {tried} kill points, 0 divergent");
}

#[test]
fn each_planted_mistake_is_found() {
    quiet_planned_panics();
    for mutant in [
        Mutant::RecapturesOnResume,
        Mutant::FailedStepNotUndone,
        Mutant::UndoBeforeDependents,
        Mutant::NoProbeOnResume,
        Mutant::AdoptedStepUndone,
        Mutant::OwesBeforeDurable,
        Mutant::ForgetsObligations,
    ] {
        plant(Some(mutant));
        let found = (0..120).find_map(|seed| exhaust(seed).err());
        plant(None);
        let found = found.unwrap_or_else(|| panic!("{mutant:?} survives"));
        println!("{mutant:?} is found: {found}");
    }
}

/// Planned panics of simulated steps would fill the output; all others are still shown.
fn quiet_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"planned") {
                shown(info);
            }
        }));
    });
}
