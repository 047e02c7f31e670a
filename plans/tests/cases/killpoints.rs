//! The whole plan on the simulated machine, with wiab killed at host operations and event boundaries: resume ends like an
//! undisturbed run, rollback ends where everything began. [`thin`] chooses the kill points; `WIAB_KILLPOINTS=all` takes
//! every one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use wiab_engine::event::{
    Cause, Event, Evidence, Limits, OnFailure, RunOpened, RunResumed, UnwindBegan,
};
use wiab_engine::id::RunId;
use wiab_engine::outcome::Outcome;
use wiab_engine::plan::Plan;
use wiab_engine::ports::{BoxFuture, LogError, NoSecrets, RunLog};
use wiab_engine::runner::{Runner, World};
use wiab_engine::state::{Direction, RunState};
use wiab_plans::{Settings, wiab_staging};
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::sim::{Fate, Machine, Phase, Point, Points, SimHost, SimOptions, Tap};

use crate::thin::{Place, thin};

const RUN: RunId = RunId([5; 16]);

/// Commands that may be repeated because they only bring knowledge up to date.
const REFRESHING: [&str; 1] = ["apt-get update"];

/// Working files of an effect that one atomic move completes: they may be made again. The move itself may not.
const WORKING: [&str; 3] = [".wiab-new", ".part", "/nocloud/"];

/// A journal in memory that can cut the power before, in the middle of, or after making a batch durable.
#[derive(Debug, Clone, Default)]
struct Log(Arc<(Mutex<LogInner>, Notify)>);

#[derive(Debug, Default)]
struct LogInner {
    events: Vec<Event>,
    points: u64,
    die_at: Option<u64>,
    /// What each boundary lies before.
    boundaries: Vec<String>,
}

impl Log {
    fn with<T>(&self, act: impl FnOnce(&mut LogInner) -> T) -> T {
        act(&mut self.0.0.lock().unwrap())
    }

    fn begin(&self, die_at: Option<u64>) {
        self.with(|inner| {
            inner.points = 0;
            inner.die_at = die_at;
            inner.boundaries.clear();
        });
    }

    /// One boundary; answers whether the power goes off here.
    fn point(&self, before: &str) -> bool {
        let dead = self.with(|inner| {
            inner.points += 1;
            inner.boundaries.push(before.to_owned());
            inner.die_at == Some(inner.points)
        });
        if dead {
            self.0.1.notify_one();
        }
        dead
    }
}

impl RunLog for Log {
    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            // Every prefix of the batch may be what survives; all of it, unacknowledged, is the last one.
            for event in events {
                if self.point(&label(&event)) {
                    std::future::pending::<()>().await;
                }
                self.with(|inner| inner.events.push(event));
            }
            if self.point("acknowledged") {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }

    fn store(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Evidence, LogError>> {
        let evidence = Evidence {
            hash: blake3_of(&bytes),
            bytes: bytes.len() as u64,
        };
        Box::pin(async move { Ok(evidence) })
    }
}

/// Kind and step of an event.
fn label(event: &Event) -> String {
    let json = wiab_engine::codec::to_json(event);
    let step = json.get("step").and_then(Value::as_str).unwrap_or_default();
    format!("{} {step}", event.name())
}

/// Notes how many events were durable at each point of the host.
#[derive(Debug)]
struct Trace {
    log: Log,
    points: Points,
    written: Mutex<Vec<u64>>,
}

impl Tap for Trace {
    fn at(&self, point: &Point) -> Fate {
        let events = self.log.with(|inner| inner.events.len() as u64);
        self.written.lock().unwrap().push(events);
        self.points.at(point)
    }
}

/// The content does not matter here, only that equal output has an equal name.
fn blake3_of(bytes: &[u8]) -> [u8; 32] {
    let mut name = [0; 32];
    for (at, byte) in bytes.iter().enumerate() {
        name[at % 32] ^= byte;
    }
    name
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Forward,
    Back,
}

/// Where a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Never,
    Host(u64),
    Event(u64),
}

/// What one process left.
struct Left {
    machine: Machine,
    ended: Option<Outcome>,
    seen: Vec<Point>,
    written: Vec<u64>,
    boundaries: Vec<String>,
}

fn process(plan: &Plan, log: &Log, machine: Machine, goal: Goal, kill: Kill) -> Left {
    let tap = match kill {
        Kill::Host(at) => Points::die_at(at),
        Kill::Never | Kill::Event(_) => Points::record(),
    };
    log.begin(match kill {
        Kill::Event(at) => Some(at),
        Kill::Never | Kill::Host(_) => None,
    });
    let trace = Arc::new(Trace {
        log: log.clone(),
        points: tap,
        written: Mutex::default(),
    });
    let tap_door: Arc<dyn Tap> = trace.clone();
    let host = SimHost::in_memory(
        machine,
        SimOptions {
            tap: Some(tap_door),
            ..SimOptions::default()
        },
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        // A boundary that was passed twice may have left a permit behind.
        tokio::select! { biased; () = log.0.1.notified() => {}, () = std::future::ready(()) => {} }
        let runner = runner(plan, log, &host, goal);
        let (_stop, stops) = mpsc::channel(1);
        tokio::select! {
            biased;
            () = host.died() => None,
            () = log.0.1.notified() => None,
            ended = runner.drive(stops) => ended.unwrap().ended,
        }
    });
    drop(runtime);
    Left {
        machine: host.machine(),
        ended,
        seen: trace.points.seen(),
        written: std::mem::take(&mut *trace.written.lock().unwrap()),
        boundaries: log.with(|inner| std::mem::take(&mut inner.boundaries)),
    }
}

fn runner(plan: &Plan, log: &Log, host: &Arc<SimHost>, goal: Goal) -> Runner {
    let world = World {
        steps: Arc::new(Catalogue::new(host.clone())),
        clock: Arc::new(host.clock()),
        log: Arc::new(log.clone()),
        scrub: Arc::new(NoSecrets),
        progress: None,
        observer: None,
    };
    let events = log.with(|inner| inner.events.clone());
    let opened = RunOpened {
        plan: plan.clone(),
        limits: Limits {
            width: 8,
            on_failure: OnFailure::Keep,
            fail_fast: false,
        },
        host: "sim".to_owned(),
        tool: "test".to_owned(),
        command_line: String::new(),
    };
    if events.is_empty() {
        return Runner::fresh(RUN, opened, world);
    }
    let state = RunState::replay(&events).unwrap();
    let mut first: Vec<Event> = vec![
        RunResumed {
            tool: "test".to_owned(),
            command_line: String::new(),
        }
        .into(),
    ];
    if goal == Goal::Back && state.direction == Direction::Forward {
        first.push(
            UnwindBegan {
                cause: Cause::Operator,
                keep_to: None,
                wipe_data: true,
            }
            .into(),
        );
    }
    Runner::resume(RUN, state, first, world).unwrap()
}

/// An undisturbed run: what every other one is held against.
struct Reference {
    plan: Plan,
    before: Machine,
    after: Value,
    points: Vec<Point>,
    /// Per point of the host, how many events were durable.
    written: Vec<u64>,
    /// Per boundary between events, what it lies before.
    boundaries: Vec<String>,
    effects: BTreeMap<String, u32>,
}

fn reference() -> Reference {
    let plan = wiab_staging(&Settings::rehearsal()).unwrap();
    let before = Machine::fresh();
    let log = Log::default();
    let left = process(&plan, &log, before.clone(), Goal::Forward, Kill::Never);
    let failures: Vec<Event> = log.with(|inner| {
        let failed = |event: &&Event| matches!(event, Event::StepFailed(_));
        inner.events.iter().filter(failed).cloned().collect()
    });
    assert_eq!((left.ended, failures), (Some(Outcome::Completed), vec![]));
    Reference {
        after: left.machine.canonical_state(),
        effects: effects(&left.seen),
        plan,
        before,
        points: left.seen,
        written: left.written,
        boundaries: left.boundaries,
    }
}

/// How often each operation had its effect.
fn effects(seen: &[Point]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for point in seen
        .iter()
        .filter(|point| point.phase == Phase::AfterEffect)
    {
        *counts.entry(point.what.clone()).or_insert(0) += 1;
    }
    counts
}

/// One universe: killed once or twice, then brought to its goal.
fn universe(
    reference: &Reference,
    goal: Goal,
    first: Kill,
    second: Option<Kill>,
) -> Result<(), String> {
    let log = Log::default();
    let mut left = process(
        &reference.plan,
        &log,
        reference.before.clone(),
        Goal::Forward,
        first,
    );
    let mut seen = std::mem::take(&mut left.seen);
    if let Some(second) = second {
        left = process(&reference.plan, &log, left.machine, goal, second);
        seen.append(&mut left.seen);
    }
    // A run that was rolled back before the second process is over; nothing is left to do.
    for _ in 0..3 {
        let events = log.with(|inner| inner.events.clone());
        if goal == Goal::Back && events.is_empty() {
            break;
        }
        let over = RunState::replay(&events).is_ok_and(|state| match goal {
            Goal::Forward => state.ended == Some(Outcome::Completed),
            Goal::Back => state.ended == Some(Outcome::RolledBack),
        });
        if over {
            break;
        }
        left = process(&reference.plan, &log, left.machine, goal, Kill::Never);
        seen.append(&mut left.seen);
    }
    let wanted = match goal {
        Goal::Forward => &reference.after,
        Goal::Back => &reference.before.canonical_state(),
    };
    compare(wanted, &left.machine.canonical_state())?;
    if goal == Goal::Forward {
        nothing_twice(reference, &seen)?;
    }
    Ok(())
}

fn compare(wanted: &Value, found: &Value) -> Result<(), String> {
    if wanted == found {
        return Ok(());
    }
    let (Some(wanted), Some(found)) = (wanted.as_object(), found.as_object()) else {
        return Err("not a machine".to_owned());
    };
    let keys: std::collections::BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let differences: Vec<String> = keys
        .into_iter()
        .filter(|key| wanted.get(*key) != found.get(*key))
        .take(3)
        .map(|key| {
            format!(
                "{key}: wanted {:?}, found {:?}",
                wanted.get(key),
                found.get(key)
            )
        })
        .collect();
    Err(differences.join("; "))
}

fn nothing_twice(reference: &Reference, seen: &[Point]) -> Result<(), String> {
    for (what, count) in effects(seen) {
        let usual = reference.effects.get(&what).copied().unwrap_or(1);
        if count > usual && !may_repeat(&what) {
            return Err(format!(
                "`{what}` had its effect {count} times, {usual} in an undisturbed run"
            ));
        }
    }
    Ok(())
}

fn may_repeat(what: &str) -> bool {
    let refreshing = REFRESHING.iter().any(|words| what.contains(words));
    let working = !what.starts_with("mv ") && WORKING.iter().any(|words| what.contains(words));
    refreshing || working
}

/// Takes every kill point instead of those that stand for all.
const ALL: &str = "WIAB_KILLPOINTS";

fn asked_for_all() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "chooses how much is tested, by hand"
    )]
    std::env::var_os(ALL).is_some_and(|value| value == "all")
}

/// The first kills.
fn first_kills(reference: &Reference) -> Vec<Kill> {
    let hosts: Vec<Place> = reference
        .points
        .iter()
        .zip(&reference.written)
        .map(|(point, events)| Place::host(point, *events))
        .collect();
    let events: Vec<Place> = (1..)
        .zip(&reference.boundaries)
        .map(|(index, what)| Place::event(index, what))
        .collect();
    let all = asked_for_all();
    let chosen = |places: &[Place]| -> Vec<u64> {
        if all {
            places.iter().map(|place| place.index).collect()
        } else {
            thin(places)
        }
    };
    let hosts = chosen(&hosts).into_iter().map(Kill::Host);
    hosts
        .chain(chosen(&events).into_iter().map(Kill::Event))
        .collect()
}

/// Every first kill with one of the four ways to go on: to either goal, with or without a second kill, at a point that moves
/// through the resume. Asked for all, every kill goes all four ways.
fn universes(reference: &Reference) -> Vec<(Goal, Kill, Option<Kill>)> {
    let (hosts, events) = (
        reference.points.len() as u64,
        reference.boundaries.len() as u64,
    );
    let mut universes = Vec::new();
    for (number, first) in (0_u64..).zip(first_kills(reference)) {
        // Multiples of a prime spread over the whole resume, whatever its length.
        let second = if number.is_multiple_of(3) {
            Kill::Host(1 + number * 7_919 % hosts.max(1))
        } else {
            Kill::Event(1 + number * 7_919 % events.max(1))
        };
        let ways = [
            (Goal::Forward, first, None),
            (Goal::Back, first, Some(second)),
            (Goal::Back, first, None),
            (Goal::Forward, first, Some(second)),
        ];
        if asked_for_all() {
            universes.extend(ways);
        } else {
            universes.extend(ways.get(usize::try_from(number % 4).unwrap()).copied());
        }
    }
    universes
}

#[test]
fn every_kill_point_converges() {
    let reference = reference();
    let all = universes(&reference);
    println!(
        "{} host points and {} event boundaries; {} universes",
        reference.points.len(),
        reference.boundaries.len(),
        all.len()
    );
    let divergent: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some((goal, first, second)) =
                    all.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    if let Err(why) = universe(&reference, *goal, *first, *second) {
                        let at = match first {
                            Kill::Host(index) => {
                                reference.points[usize::try_from(*index).unwrap() - 1].to_string()
                            }
                            Kill::Never | Kill::Event(_) => format!("{first:?}"),
                        };
                        divergent
                            .lock()
                            .unwrap()
                            .push(format!("{goal:?} killed at {at}, then {second:?}: {why}"));
                    }
                }
            });
        }
    });
    let divergent = divergent.into_inner().unwrap();
    println!(
        "{} host points and {} event boundaries, {} of them to stand for all; {} kills, {} divergent",
        reference.points.len(),
        reference.boundaries.len(),
        first_kills(&reference).len(),
        all.len(),
        divergent.len()
    );
    let shown: Vec<&String> = divergent.iter().take(8).collect();
    assert!(divergent.is_empty(), "{shown:#?}");
}
