//! One process's work on one run: display, signals, live reads, debug log, lease around the engine's runner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wiab_engine::id::{RunId, StepId};
use wiab_engine::installation::Installation;
use wiab_engine::outcome::Outcome;
use wiab_engine::plan::Plan;
use wiab_engine::ports::{ProgressSink, Scrub, Tick};
use wiab_engine::record::JournalLog;
use wiab_engine::runner::{RunError, Runner, World};
use wiab_engine::state::{Owed, RunState};
use wiab_journal::Journal;
use wiab_journal::live::Server;

use crate::app::App;
use crate::crash;
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::leased::Leased;
use crate::machine::Machine;
use crate::problem::{Problem, chain};
use crate::run_display::{Display, Parts};
use crate::screen::{failure, status};
use crate::signals;
use crate::store;

/// Redraws per second.
const BEATS_PER_S: u32 = 10;

/// What working on a run needs.
#[derive(Debug)]
pub(crate) struct Drive<'a> {
    /// The process.
    pub(crate) app: &'a App,
    /// The directories.
    pub(crate) dirs: &'a Dirs,
    /// The machine.
    pub(crate) machine: &'a Machine,
    /// The open journal.
    pub(crate) journal: &'a Journal,
    /// The run.
    pub(crate) run: RunId,
    /// Usual durations, in milliseconds.
    pub(crate) usual_ms: BTreeMap<StepId, u64>,
    /// Whether the operator asked for a rollback.
    pub(crate) wanted_rollback: bool,
}

impl Drive<'_> {
    /// Works until nothing is left to do, and says how it ended.
    pub(crate) async fn go(
        self,
        make: impl FnOnce(World) -> Result<Runner, RunError>,
    ) -> Result<(RunState, Code), Problem> {
        let app = self.app;
        crash::run(&self.run.display());
        crate::debug_log::start(app, &self.dirs.run(&self.run.display()))?;
        let display = Display::new(Parts {
            printer: Arc::clone(&app.printer),
            clock: Arc::clone(&self.machine.clock),
            mode: app.mode(),
            run: self.run,
            actor: App::actor(),
            usual_ms: self.usual_ms.clone(),
            width: app.width(),
        });
        let server = self.serve(&display)?;
        let resume = self.resume_command();
        let (sender, stops) = mpsc::channel(4);
        let asked = signals::listen(
            Arc::clone(&display),
            Arc::clone(&app.printer),
            resume,
            sender.clone(),
        )
        .map_err(|error| Problem::from_error(Code::Failure, "signals cannot be caught", &error))?;
        let leased = Leased::take(self.dirs, self.machine, sender).await?;
        self.machine.learn().await;
        let world = World {
            steps: self.machine.steps(),
            clock: Arc::clone(&self.machine.clock),
            log: Arc::new(JournalLog {
                journal: self.journal.clone(),
                run: self.run,
                actor: App::actor(),
                clock: Arc::clone(&self.machine.clock),
            }),
            scrub: self.machine.secrets.clone(),
            progress: Some(Arc::new(Clean {
                scrub: self.machine.secrets.clone(),
                sink: display.clone(),
            })),
            observer: Some(display.clone()),
        };
        let beats = tokio::spawn(beat(Arc::clone(&display)));
        let result = match make(world) {
            Ok(runner) => runner.drive(stops).await,
            Err(error) => Err(error),
        };
        beats.abort();
        leased.release(app).await;
        display.finish();
        drop(server);
        let state = result.map_err(|error| self.broken(&error))?;
        self.tell_owed(&state)?;
        let code = match state.ended {
            Some(Outcome::Interrupted) => asked.code(),
            Some(Outcome::FailedKept) if failure::only_checks_failed(&state) => Code::Preflight,
            Some(outcome) => Code::of(outcome, self.wanted_rollback),
            None => Code::Bug,
        };
        self.report(&state, code);
        Ok((state, code))
    }

    /// Tells what is owed after the run, if that has changed.
    fn tell_owed(&self, state: &RunState) -> Result<(), Problem> {
        let before = self.app.printer.owes();
        if !before && state.owed().next().is_none() {
            return Ok(());
        }
        let mut runs = Installation::default();
        for frame in self.journal.frames(1) {
            let frame = frame.map_err(|error| store::problem(&error, &self.app.suffix()))?;
            store::fold(&mut runs, &frame)?;
        }
        crate::owed::tell(self.app, &runs);
        Ok(())
    }

    fn serve(&self, display: &Arc<Display>) -> Result<Arc<Server>, Problem> {
        let id = self.run.display();
        let answer = Arc::new(move || serde_json::json!({"run": id}));
        let server = Server::start(self.journal, &self.dirs.journal(), answer)
            .map_err(|error| store::problem(&error, &self.app.suffix()))?;
        let server = Arc::new(server);
        display.also_to(&server);
        Ok(server)
    }

    fn resume_command(&self) -> String {
        let verb = if self.wanted_rollback {
            "rollback"
        } else {
            "apply --resume"
        };
        format!("wiab {verb} {}{}", self.run.short(), self.app.suffix())
    }

    fn broken(&self, error: &RunError) -> Problem {
        match error {
            RunError::Log(source) => Problem::new(Code::JournalIo, chain(source))
                .detail(["nothing further was started; what ran was stopped".to_owned()])
                .hint(format!(
                    "make room or repair the disk, then  {}",
                    self.resume_command()
                )),
            RunError::Illegal(_) => Problem::new(Code::Bug, chain(error)).hint(format!(
                "please report this bug with the output of  wiab journal log {}",
                self.run.short()
            )),
        }
    }

    fn report(&self, state: &RunState, code: Code) {
        let app = self.app;
        app.printer.json(&serde_json::json!({
            "type": "end",
            "run": self.run.display(),
            "outcome": crate::screen::outcome_word(state.ended, false),
            "exit": {"code": code.number(), "name": code.name()},
        }));
        let style = app.printer.out_style();
        app.printer.line(&format!(
            "run {} {} · {}",
            style.bold(&self.run.short()),
            crate::screen::outcome_words(state.ended, false),
            status::recap(style, &state.tally())
        ));
        let suffix = app.suffix();
        let cx = failure::Context {
            run: self.run,
            suffix: &suffix,
        };
        for line in failure::block(app.printer.err_style(), state, cx) {
            if code == Code::Ok {
                app.printer.note(&line);
            } else {
                app.printer.important(&line);
            }
        }
    }
}

/// How long each step usually takes here, in milliseconds.
pub(crate) fn usual(plan: &Plan, runs: &Installation) -> BTreeMap<StepId, u64> {
    plan.steps
        .iter()
        .map(|step| {
            let learned = runs.usual_ms(&step.id);
            (step.id.clone(), learned.unwrap_or(step.usual_ms))
        })
        .collect()
}

/// What is owed on this installation, over all runs.
pub(crate) fn owed(runs: &Installation) -> Vec<Owed> {
    runs.owed().map(|open| open.owed.clone()).collect()
}

async fn beat(display: Arc<Display>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(u64::from(1_000 / BEATS_PER_S)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        ticks.tick().await;
        count = (count + 1) % BEATS_PER_S;
        display.beat(count == 0);
    }
}

/// The runtime that commands use.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    // One thread: a step handed to another one waits for that one to wake up, which costs as much as a sync; steps wait for
    // commands, they do not compute.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error(Code::Failure, "no threads can be started", &error))
}

/// Progress without secrets: what a command says while it runs passes the same scrubber as what is kept of it.
#[derive(Debug)]
struct Clean {
    scrub: Arc<dyn Scrub>,
    sink: Arc<dyn ProgressSink>,
}

impl ProgressSink for Clean {
    fn tick(&self, step: &StepId, tick: Tick) {
        let clean = |text: &str| self.scrub.scrub(text).into_owned();
        let tick = match tick {
            Tick::Line(text) => Tick::Line(clean(&text)),
            Tick::Stage(text) => Tick::Stage(clean(&text)),
            tick @ Tick::Amount { .. } => tick,
        };
        self.sink.tick(step, tick);
    }
}
