//! The runner: interprets decisions. Intent → durable → effect → outcome → durable, one batch per turn.

mod arrivals;
mod desk;
mod task;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};

use crate::book::Book;
use crate::decide::{Command, InFlight, decide};
use crate::event::{
    Event, Parked, RetryPlanned, RunEnded, RunOpened, StepStarted, StepSucceeded, UndoSkipped,
    UndoStarted, UnwindBegan,
};
use crate::id::{RunId, StepId};
use crate::look::Look;
use crate::mutant::{self, Mutant};
use crate::outcome::{How, Receipt};
use crate::ports::{
    Busy, Cancel, Clock, LogError, Progress, ProgressSink, RunLog, Scrub, StepCx, Steps, Transcript,
};
use crate::state::{Illegal, Index, Owed, RunState};
use crate::{inputs, retry};
use desk::{Desk, Handover};
use task::{Mode, Report, Work};

/// Most before-images and accounts on their way to the journal at once.
const HANDOVERS_MAX: usize = 256;

/// What the runner acts through.
#[derive(Debug, Clone)]
pub struct World {
    /// Builds steps.
    pub steps: Arc<dyn Steps>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The durable record.
    pub log: Arc<dyn RunLog>,
    /// Removes secrets.
    pub scrub: Arc<dyn Scrub>,
    /// Live progress; lossy.
    pub progress: Option<Arc<dyn ProgressSink>>,
    /// Sees every event once it is durable.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Watches a run.
pub trait Observer: Send + Sync + fmt::Debug {
    /// `events` are durable, and `state` has them folded in.
    fn durable(&self, events: &[Event], state: &RunState);
}

/// The operator's wish to stop. The third stage is the end of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Start nothing new; let running steps finish.
    Finish {
        /// `SIGINT`, `SIGTERM`, …
        by: String,
    },
    /// Stop running steps, too.
    Kill {
        /// `SIGINT`, `SIGTERM`, …
        by: String,
    },
}

/// Why a run could not go on. The journal holds everything that was acknowledged; the run is resumable.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal failed; nothing was started after that.
    #[error("nothing further was started")]
    Log(#[source] LogError),
    /// An event did not fit the state: a bug.
    #[error("the engine contradicts itself")]
    Illegal(#[source] Illegal),
}

/// One process's work on one run.
#[derive(Debug)]
pub struct Runner {
    run: RunId,
    world: World,
    state: RunState,
    in_flight: InFlight,
    /// Events to make durable with the next batch; already folded into `state`.
    batch: Vec<Event>,
    /// Effects to start once the batch is durable.
    effects: Vec<Effect>,
    /// Tasks that wait for the batch.
    acknowledge: Vec<oneshot::Sender<()>>,
    tasks: JoinSet<Report>,
    owners: BTreeMap<Id, (Index, Mode)>,
    cancels: BTreeMap<Index, Cancel>,
    handover: (mpsc::Sender<Handover>, mpsc::Receiver<Handover>),
    wipe_on_failure: bool,
    /// What earlier runs owe.
    owed_earlier: Vec<Owed>,
    /// What probes learn together, until the first effect.
    look: Arc<Look>,
}

#[derive(Debug, Clone, Copy)]
enum Effect {
    Work {
        step: Index,
        attempt: u32,
        mode: Mode,
    },
    Wait {
        step: Index,
        delay_ms: u64,
    },
}

impl Runner {
    /// A new run. `opened` becomes its first event.
    pub fn fresh(run: RunId, opened: RunOpened, world: World) -> Self {
        let state = RunState::open(&opened);
        let mut runner = Self::on(run, state, world);
        runner.batch.push(opened.into());
        runner
    }

    /// A run that is in the journal already. `events` (`RunResumed`, `PlanRevised`, `UnwindBegan`) come first.
    pub fn resume(
        run: RunId,
        state: RunState,
        events: Vec<Event>,
        world: World,
    ) -> Result<Self, RunError> {
        let mut runner = Self::on(run, state, world);
        for event in events {
            runner.record(event)?;
        }
        Ok(runner)
    }

    fn on(run: RunId, state: RunState, world: World) -> Self {
        Self {
            run,
            world,
            state,
            in_flight: InFlight::default(),
            batch: Vec::new(),
            effects: Vec::new(),
            acknowledge: Vec::new(),
            tasks: JoinSet::new(),
            owners: BTreeMap::new(),
            cancels: BTreeMap::new(),
            handover: mpsc::channel(HANDOVERS_MAX),
            wipe_on_failure: false,
            owed_earlier: Vec::new(),
            look: Arc::default(),
        }
    }

    /// Whether a rollback that a failure causes may take back effects that hold data.
    #[must_use]
    pub fn wipe_on_failure(mut self, wipe: bool) -> Self {
        self.wipe_on_failure = wipe;
        self
    }

    /// What is owed on the host, over all runs of the installation; steps of this run may settle it.
    #[must_use]
    pub fn owed(mut self, owed: Vec<Owed>) -> Self {
        self.owed_earlier = owed;
        self
    }

    /// Works until nothing is left to do. The answer is the state with `ended` set.
    pub async fn drive(mut self, mut stops: mpsc::Receiver<Stop>) -> Result<RunState, RunError> {
        let mut tokens = vec![self.world.clock.busy()];
        loop {
            self.decide_all()?;
            if let Err(error) = self.commit().await {
                self.drain().await;
                return Err(RunError::Log(error));
            }
            if self.state.ended.is_some() {
                return Ok(self.state);
            }
            for effect in std::mem::take(&mut self.effects) {
                self.begin(effect);
            }
            tokens.clear();
            self.arrivals(&mut stops, &mut tokens).await?;
        }
    }

    /// Decides until there is nothing more to decide; collects events and effects.
    fn decide_all(&mut self) -> Result<(), RunError> {
        loop {
            let commands = decide(&self.state, &self.in_flight);
            if commands.is_empty() {
                return Ok(());
            }
            for command in commands {
                self.interpret(command)?;
            }
        }
    }

    fn interpret(&mut self, command: Command) -> Result<(), RunError> {
        match command {
            Command::Start { step, attempt } => {
                self.record(StepStarted {
                    step: self.id(step),
                    attempt,
                })?;
                self.plan_work(step, attempt, Mode::Attempt);
            }
            Command::Reconcile { step, attempt } => self.plan_work(step, attempt, Mode::Reconcile),
            Command::Reattach { step, attempt } => self.plan_work(step, attempt, Mode::Reattach),
            Command::Undo { step, attempt } => {
                self.record(UndoStarted {
                    step: self.id(step),
                    attempt,
                })?;
                self.plan_work(step, attempt, Mode::Undo);
            }
            Command::Settle {
                step,
                attempt,
                receipt,
            } => self.settle(step, attempt, receipt)?,
            Command::PlanRetry {
                step,
                attempt,
                tries,
                policy,
            } => {
                let id = self.id(step);
                let delay_ms = retry::delay_ms(&policy, self.run, &id, tries);
                self.record(RetryPlanned {
                    step: id,
                    attempt,
                    delay_ms,
                })?;
            }
            Command::Wait { step, delay_ms } => {
                self.in_flight.waiting.insert(step);
                self.effects.push(Effect::Wait { step, delay_ms });
            }
            Command::LeaveStanding { step, why } => {
                self.record(UndoSkipped {
                    step: self.id(step),
                    why,
                })?;
            }
            Command::Park { step, why } => self.record(Parked {
                step: self.id(step),
                why,
            })?,
            Command::BeginUnwind { cause } => {
                self.record(UnwindBegan {
                    cause,
                    keep_to: None,
                    wipe_data: self.wipe_on_failure,
                })?;
            }
            Command::End { outcome } => self.record(RunEnded { outcome })?,
        }
        Ok(())
    }

    /// After a resume the host turned out to be as wanted: whose work it is, the before-image tells.
    fn settle(&mut self, step: Index, attempt: u32, receipt: Receipt) -> Result<(), RunError> {
        let touched = self
            .state
            .at(step)
            .is_some_and(|(_, record)| record.touched);
        let how = if touched { How::Changed } else { How::Adopted };
        let step = self.id(step);
        self.record(StepSucceeded {
            step,
            attempt,
            how,
            receipt,
            evidence: None,
            took_ms: 0,
        })
    }

    fn plan_work(&mut self, step: Index, attempt: u32, mode: Mode) {
        self.in_flight.rested.remove(&step);
        self.in_flight.busy.insert(step);
        self.effects.push(Effect::Work {
            step,
            attempt,
            mode,
        });
    }

    fn id(&self, step: Index) -> StepId {
        // Commands only name steps of the plan they were decided on.
        self.state
            .spec(step)
            .map_or_else(unreachable_id, |spec| spec.id.clone())
    }

    /// Folds an event and queues it for the journal.
    fn record(&mut self, event: impl Into<Event>) -> Result<(), RunError> {
        let event = event.into();
        self.state.apply(&event).map_err(RunError::Illegal)?;
        if let Event::ObligationSettled(settled) = &event {
            self.owed_earlier.retain(|owed| owed.id != settled.id);
        }
        self.batch.push(event);
        Ok(())
    }

    /// Makes the batch durable, then tells those who wait for it.
    async fn commit(&mut self) -> Result<(), LogError> {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            match &self.world.observer {
                Some(observer) => {
                    self.world.log.append(batch.clone()).await?;
                    observer.durable(&batch, &self.state);
                }
                None => self.world.log.append(batch).await?,
            }
        }
        for waiter in self.acknowledge.drain(..) {
            // A task that was cancelled meanwhile no longer listens.
            let _gone = waiter.send(());
        }
        Ok(())
    }

    fn begin(&mut self, effect: Effect) {
        let busy = self.world.clock.busy();
        match effect {
            Effect::Wait { step, delay_ms } => {
                let clock = Arc::clone(&self.world.clock);
                self.tasks.spawn(async move {
                    clock.sleep(delay_ms).await;
                    Report::Rested { step, busy }
                });
            }
            Effect::Work {
                step,
                attempt,
                mode,
            } => {
                let Some(work) = self.work(step, attempt, mode, busy) else {
                    return;
                };
                let handle = self.tasks.spawn(task::run(work));
                self.owners.insert(handle.id(), (step, mode));
            }
        }
    }

    fn work(&mut self, step: Index, attempt: u32, mode: Mode, busy: Busy) -> Option<Work> {
        let (spec, record) = self.state.at(step)?;
        let built = inputs::resolve(spec, &|from, name| self.state.output(from, name))
            .map_err(|error| error.to_string())
            .and_then(|inputs| self.world.steps.build(spec, inputs));
        let cancel = Cancel::default();
        let cx = StepCx {
            run: self.run,
            step: spec.id.clone(),
            attempt,
            forward_attempt: record.attempts,
            resumed: matches!(mode, Mode::Reconcile | Mode::Reattach),
            cancel: cancel.clone(),
            progress: Progress {
                step: spec.id.clone(),
                sink: self.world.progress.clone(),
            },
            clock: Arc::clone(&self.world.clock),
            evidence: Transcript::default(),
            book: self.book(&spec.id),
            look: Some(Arc::clone(&self.look)),
        };
        let work = Work {
            index: step,
            mode,
            step: built,
            cx,
            before: record
                .before
                .clone()
                .filter(|_| !(mode == Mode::Attempt && mutant::on(Mutant::RecapturesOnResume))),
            touched: record.touched,
            redo: record.redo,
            timeout_ms: spec.timeout_ms,
            log: Arc::clone(&self.world.log),
            scrub: Arc::clone(&self.world.scrub),
            handover: self.handover.0.clone(),
            busy,
        };
        self.cancels.insert(step, cancel);
        Some(work)
    }

    /// A fresh page for one task.
    fn book(&self, step: &StepId) -> Book {
        let desk = Desk {
            step: step.clone(),
            log: Arc::clone(&self.world.log),
            scrub: Arc::clone(&self.world.scrub),
            handover: self.handover.0.clone(),
        };
        let earlier = self.owed_earlier.iter();
        Book::new(Arc::new(desk), earlier.chain(self.state.owed()).cloned())
    }
}

fn unreachable_id() -> StepId {
    #[expect(clippy::expect_used, reason = "a constant that the alphabet accepts")]
    StepId::new("unknown").expect("constant id")
}
