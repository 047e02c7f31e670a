//! The whole plan on the simulated machine, with wiab killed at host operations and event boundaries: resume ends like an
//! undisturbed run, rollback ends where everything began. [`thin`] chooses the kill points of the plan's first half, up to
//! machines that are known and a firewall; `WIAB_KILLPOINTS=whole` those of the whole plan, `WIAB_KILLPOINTS=all` takes
//! every point of it, all ways.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::mpsc;
use wiab_engine::event::Event;
use wiab_engine::outcome::Outcome;
use wiab_engine::plan::Plan;
use wiab_engine::select::Selection;
use wiab_engine::state::RunState;
use wiab_plans::{Settings, wiab_staging};
use wiab_steps::host::sim::{Fate, Machine, Phase, Point, Points, SimHost, SimOptions, Tap};

use crate::thin::{Place, thin};
use crate::world::{Goal, Log, Watch, runner};

/// Commands that may be repeated because they only bring knowledge up to date.
const REFRESHING: [&str; 3] = ["apt-get update", "wiab-fw-restore", "kubectl get"];

/// Working files of an effect that one atomic move completes: they may be made again. The move itself may not.
const WORKING: [&str; 3] = [".wiab-new", ".part", "/nocloud/"];

/// Notes how many events were durable at each point of the host.
#[derive(Debug)]
struct Trace {
    log: Log,
    points: Points,
    written: Mutex<Vec<u64>>,
}

impl Tap for Trace {
    fn at(&self, point: &Point) -> Fate {
        let events = self.log.written();
        self.written.lock().unwrap().push(events);
        self.points.at(point)
    }
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
        log.rested().await;
        let runner = runner(plan, log, &host, goal, Watch::default(), Vec::new());
        let (_stop, stops) = mpsc::channel(1);
        tokio::select! {
            biased;
            () = host.died() => None,
            () = log.died() => None,
            ended = runner.drive(stops) => ended.unwrap().ended,
        }
    });
    drop(runtime);
    Left {
        machine: host.machine(),
        ended,
        seen: trace.points.seen(),
        written: std::mem::take(&mut *trace.written.lock().unwrap()),
        boundaries: log.boundaries(),
    }
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
    let plan = plan_under_test();
    let before = Machine::fresh();
    let log = Log::default();
    let left = process(&plan, &log, before.clone(), Goal::Forward, Kill::Never);
    let mut failures = log.events();
    failures.retain(|event| matches!(event, Event::StepFailed(_)));
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
        let events = log.events();
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
    let differs = |key: &str| {
        let (wanted, found) = (wanted.get(key), found.get(key));
        let same = if is_dated(key) {
            wanted.is_some() == found.is_some()
        } else {
            wanted == found
        };
        !same
    };
    let differences: Vec<String> = keys
        .into_iter()
        .filter(|key| differs(key))
        .take(3)
        .map(|key| {
            format!(
                "{key}: wanted {:?}, found {:?}",
                wanted.get(key),
                found.get(key)
            )
        })
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(differences.join("; "))
}

/// What carries the time at which a certificate was issued, which is another one in each universe.
fn is_dated(key: &str) -> bool {
    let kinds = [
        "kube:Certificate",
        "kube:Order/",
        "kube:Challenge/",
        "kube:Secret/",
        "issuance:",
        "issued:",
    ];
    key.ends_with("/.wiab/tls.json") || kinds.iter().any(|kind| key.starts_with(kind))
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

fn asked_for(what: &str) -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "chooses how much is tested, by hand"
    )]
    std::env::var_os(ALL).is_some_and(|value| value == what)
}

fn asked_for_all() -> bool {
    asked_for("all")
}

/// Where the part of the plan ends that is tested each time.
const UNTIL: [&str; 4] = ["fw.health", "inv", "sec.render-helm", "hosts"];

/// The plan under test.
fn plan_under_test() -> Plan {
    let whole = wiab_staging(&Settings::rehearsal()).unwrap();
    if asked_for_all() || asked_for("whole") {
        return whole;
    }
    let part = Selection {
        until: UNTIL.map(str::to_owned).to_vec(),
        ..Selection::default()
    };
    part.apply(&whole).unwrap()
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
