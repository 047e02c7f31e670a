//! What every test of a whole run needs: a journal in memory, the engine's runner on the simulated machine.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use wiab_engine::event::{
    Cause, Event, Evidence, Limits, OnFailure, RunOpened, RunResumed, UnwindBegan,
};
use wiab_engine::id::RunId;
use wiab_engine::outcome::Outcome;
use wiab_engine::plan::Plan;
use wiab_engine::ports::{BoxFuture, LogError, NoSecrets, ProgressSink, RunLog, Scrub};
use wiab_engine::runner::{Observer, Runner, World};
use wiab_engine::state::{Direction, RunState};
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::sim::SimHost;

const RUN: RunId = RunId([5; 16]);

/// A journal in memory that can cut the power before, in the middle of, or after making a batch durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<(Mutex<LogInner>, Notify)>);

#[derive(Debug, Default)]
struct LogInner {
    events: Vec<Event>,
    points: u64,
    die_at: Option<u64>,
    /// What each boundary lies before.
    boundaries: Vec<String>,
    /// Output of commands, where it is wanted.
    stored: Option<Vec<Vec<u8>>>,
}

impl Log {
    /// A journal that keeps the output of commands as well.
    pub(crate) fn keeping() -> Self {
        let log = Self::default();
        log.with(|inner| inner.stored = Some(Vec::new()));
        log
    }

    fn with<T>(&self, act: impl FnOnce(&mut LogInner) -> T) -> T {
        act(&mut self.0.0.lock().unwrap())
    }

    /// What is durable.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.with(|inner| inner.events.clone())
    }

    /// How much is durable.
    pub(crate) fn written(&self) -> u64 {
        self.with(|inner| inner.events.len() as u64)
    }

    /// The output that was kept.
    pub(crate) fn stored(&self) -> Vec<Vec<u8>> {
        self.with(|inner| inner.stored.clone().unwrap_or_default())
    }

    /// The boundaries since [`Log::begin`].
    pub(crate) fn boundaries(&self) -> Vec<String> {
        self.with(|inner| std::mem::take(&mut inner.boundaries))
    }

    /// A process begins, which dies at the boundary of that number.
    pub(crate) fn begin(&self, die_at: Option<u64>) {
        self.with(|inner| {
            inner.points = 0;
            inner.die_at = die_at;
            inner.boundaries.clear();
        });
    }

    /// Resolves when the power goes off.
    pub(crate) async fn died(&self) {
        self.0.1.notified().await;
    }

    /// A boundary that was passed twice may have left a permit behind; it is taken away.
    pub(crate) async fn rested(&self) {
        tokio::select! { biased; () = self.died() => {}, () = std::future::ready(()) => {} }
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
            hash: digest(&bytes),
            bytes: bytes.len() as u64,
        };
        self.with(|inner| {
            if let Some(stored) = &mut inner.stored {
                stored.push(bytes);
            }
        });
        Box::pin(async move { Ok(evidence) })
    }
}

/// Kind and step of an event.
fn label(event: &Event) -> String {
    let json = wiab_engine::codec::to_json(event);
    let step = json.get("step").and_then(Value::as_str).unwrap_or_default();
    format!("{} {step}", event.name())
}

/// The content does not matter here, only that equal output has an equal name.
fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut name = [0; 32];
    for (at, byte) in bytes.iter().enumerate() {
        name[at % 32] ^= byte;
    }
    name
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Forward,
    Back,
}

/// Which run it is, and who else watches it.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) run: RunId,
    pub(crate) scrub: Arc<dyn Scrub>,
    pub(crate) progress: Option<Arc<dyn ProgressSink>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Default for Watch {
    /// Nobody, and the first run.
    fn default() -> Self {
        Self {
            run: RUN,
            scrub: Arc::new(NoSecrets),
            progress: None,
            observer: None,
        }
    }
}

/// The runner of a plan: of a new run if the journal is empty, else of the one that is in it. `first` are decisions of the
/// operator's.
pub(crate) fn runner(
    plan: &Plan,
    log: &Log,
    host: &Arc<SimHost>,
    goal: Goal,
    watch: Watch,
    first: Vec<Event>,
) -> Runner {
    let world = World {
        steps: Arc::new(Catalogue::new(host.clone())),
        clock: Arc::new(host.clock()),
        log: Arc::new(log.clone()),
        scrub: watch.scrub,
        progress: watch.progress,
        observer: watch.observer,
    };
    let events = log.events();
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
        return Runner::fresh(watch.run, opened, world);
    }
    let state = RunState::replay(&events).unwrap();
    let resumed = RunResumed {
        tool: "test".to_owned(),
        command_line: String::new(),
    };
    let mut all = first;
    all.push(resumed.into());
    if goal == Goal::Back && state.direction == Direction::Forward {
        all.push(
            UnwindBegan {
                cause: Cause::Operator,
                keep_to: None,
                wipe_data: true,
            }
            .into(),
        );
    }
    Runner::resume(watch.run, state, all, world).unwrap()
}

/// Drives a run to its end, in virtual time; `None` if a tap kills it before.
pub(crate) fn driven(runner: Runner, host: &SimHost) -> Option<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (_stop, stops) = mpsc::channel(1);
        tokio::select! {
            biased;
            () = host.died() => None,
            ended = runner.drive(stops) => ended.unwrap().ended,
        }
    })
}
