//! The 23 failures that operators really met, each in a run of the whole plan: it ends with a message that names the cause
//! and the remedy, and goes on once the cause is gone; or it cannot happen any more.

mod harmless;
mod healed;
mod provoked;

use std::sync::{Arc, Mutex};

use wiab_engine::event::{Event, OperatorDecided, Verdict};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::{Failure, Outcome, Residue};
use wiab_engine::plan::Plan;
use wiab_engine::runner::Observer;
use wiab_engine::state::RunState;
use wiab_plans::{Settings, wiab_staging};
use wiab_steps::host::sim::{Fault, Faults, Machine, Points, SimHost, SimOptions, Tap};

use crate::world::{Goal, Log, Watch, driven, runner};

type Change = fn(Machine) -> Machine;

/// Somebody else changes the machine when a step starts for the first time.
#[derive(Debug)]
struct Meddler {
    host: Arc<SimHost>,
    step: &'static str,
    change: Mutex<Option<Change>>,
}

impl Observer for Meddler {
    fn durable(&self, events: &[Event], _: &RunState) {
        let starts = |event: &Event| matches!(event, Event::StepStarted(started) if started.step.as_str() == self.step);
        if events.iter().any(starts)
            && let Some(change) = self.change.lock().unwrap().take()
        {
            self.host.meddle(change).unwrap();
        }
    }
}

/// What happens to a run from outside.
#[derive(Debug, Clone, Default)]
struct Trouble {
    meddle: Option<(&'static str, Change)>,
    faults: Vec<Fault>,
    tap: Option<Points>,
}

/// One installation: its plan, its journal, its machine.
#[derive(Debug)]
struct Site {
    plan: Plan,
    log: Log,
    /// How many runs there were before.
    runs: u8,
    machine: Machine,
    /// When the machine was made, in Unix milliseconds.
    epoch_ms: u64,
}

impl Site {
    fn new(settings: &Settings, machine: Machine) -> Self {
        Self {
            plan: wiab_staging(settings).unwrap(),
            log: Log::default(),
            runs: 0,
            machine,
            epoch_ms: SimOptions::default().epoch_ms,
        }
    }

    /// Runs, or resumes, until nothing is left to do.
    fn run(&mut self, trouble: Trouble) -> Outcome {
        self.process(trouble).expect("nobody kills this process")
    }

    /// Runs, or resumes, until wiab is killed at a point.
    fn killed(&mut self, at: Points) {
        let trouble = Trouble {
            tap: Some(at),
            ..Trouble::default()
        };
        assert_eq!(self.process(trouble), None, "never got there");
    }

    fn process(&mut self, trouble: Trouble) -> Option<Outcome> {
        let tap = trouble.tap.map(|points| Arc::new(points) as Arc<dyn Tap>);
        let options = SimOptions {
            epoch_ms: self.epoch_ms,
            faults: Faults {
                faults: trouble.faults,
                ..Faults::default()
            },
            tap,
            ..SimOptions::default()
        };
        let host = SimHost::in_memory(self.machine.clone(), options);
        let meddler = trouble.meddle.map(|(step, change)| Meddler {
            host: host.clone(),
            step,
            change: Mutex::new(Some(change)),
        });
        let watch = Watch {
            run: RunId([5 + self.runs; 16]),
            observer: meddler.map(|meddler| Arc::new(meddler) as Arc<dyn Observer>),
            ..Watch::default()
        };
        let first = self.decisions();
        let work = runner(&self.plan, &self.log, &host, Goal::Forward, watch, first);
        let ended = driven(work, &host);
        self.machine = host.machine();
        ended
    }

    /// The failures of the steps that did not succeed later.
    fn failures(&self) -> Vec<(StepId, Failure)> {
        let mut open: Vec<(StepId, Failure)> = Vec::new();
        for event in self.log.events() {
            match event {
                Event::StepFailed(failed) => {
                    open.retain(|(step, _)| *step != failed.step);
                    open.push((failed.step, failed.failure));
                }
                Event::StepSucceeded(done) => open.retain(|(step, _)| *step != done.step),
                _ => {}
            }
        }
        open
    }

    /// What `wiab decide` is told about steps that left something behind and wait for a human: try again.
    fn decisions(&self) -> Vec<Event> {
        let parked = self
            .log
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Parked(parked) => Some(parked.step),
                _ => None,
            });
        let parked: Vec<StepId> = parked.collect();
        let mut failures = self.failures();
        failures
            .retain(|(step, failure)| failure.residue != Residue::Clean && parked.contains(step));
        let retried = |(step, _)| OperatorDecided {
            step: Some(step),
            verdict: Verdict::Retry,
            note: "the cause is gone".to_owned(),
        };
        failures.into_iter().map(retried).map(Event::from).collect()
    }

    /// Somebody does something on the machine between two runs.
    fn change(&mut self, change: impl FnOnce(Machine) -> Machine) {
        let machine = std::mem::take(&mut self.machine);
        self.machine = change(machine);
    }

    /// A new run with these settings on the same machine.
    fn again(&mut self, settings: &Settings) -> Outcome {
        self.plan = wiab_staging(settings).unwrap();
        self.log = Log::default();
        self.runs += 1;
        self.run(Trouble::default())
    }
}
