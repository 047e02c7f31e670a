//! What is seen of a run while it runs: live block, plain lines, JSON lines. Also feeds the debug log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use wiab_engine::event::{Event, Recorded};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::ports::{Clock, ProgressSink, Tick};
use wiab_engine::runner::Observer;
use wiab_engine::state::RunState;
use wiab_journal::live::Server;

use crate::crash;
use crate::screen::event::{self, Line};
use crate::ui::live::{Block, Running};
use crate::ui::printer::{Level, Printer};
use crate::ui::style::harmless;
use crate::ui::time;

/// After this many seconds of silence a running step is mentioned again in plain mode.
const HEARTBEAT_S: u32 = 30;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Live block of running steps, finished ones scroll above.
    Tty,
    /// One line per event.
    Plain,
    /// JSON lines on stdout.
    Json,
    /// Nothing until the end.
    None,
}

/// Watches a run for the screen.
pub(crate) struct Display {
    printer: Arc<Printer>,
    clock: Arc<dyn Clock>,
    mode: Mode,
    run: RunId,
    actor: String,
    usual_ms: BTreeMap<StepId, u64>,
    server: OnceLock<Weak<Server>>,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    running: BTreeMap<StepId, Running>,
    block: Block,
    done: usize,
    total: usize,
    began_ms: u64,
}

impl fmt::Debug for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Display")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What a display is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The streams.
    pub(crate) printer: Arc<Printer>,
    /// The host's time.
    pub(crate) clock: Arc<dyn Clock>,
    /// How it is shown.
    pub(crate) mode: Mode,
    /// The run.
    pub(crate) run: RunId,
    /// Who works.
    pub(crate) actor: String,
    /// Usual durations, in milliseconds.
    pub(crate) usual_ms: BTreeMap<StepId, u64>,
    /// Width of the terminal, in characters.
    pub(crate) width: usize,
}

impl Display {
    /// A display for one process's work on a run.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let live = Live {
            block: Block::new(parts.width),
            began_ms: parts.clock.mono_ms(),
            ..Live::default()
        };
        Arc::new(Self {
            printer: parts.printer,
            clock: parts.clock,
            mode: parts.mode,
            run: parts.run,
            actor: parts.actor,
            usual_ms: parts.usual_ms,
            server: OnceLock::new(),
            live: Mutex::new(live),
        })
    }

    /// Sends progress to those who follow from another terminal, too.
    pub(crate) fn also_to(&self, server: &Arc<Server>) {
        // Only the first server counts; there is one per process and run.
        let _again = self.server.set(Arc::downgrade(server));
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Redraws and mentions silent steps; called ten times a second.
    pub(crate) fn beat(&self, second_passed: bool) {
        let mut live = self.live();
        match self.mode {
            Mode::Tty => self.redraw(&mut live),
            Mode::Plain if second_passed => self.heartbeat(&mut live),
            Mode::Plain | Mode::Json | Mode::None => {}
        }
    }

    /// Names of the running steps.
    pub(crate) fn running(&self) -> Vec<String> {
        self.live()
            .running
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    /// Says something in the middle of the run.
    pub(crate) fn say(&self, text: &str) {
        let mut live = self.live();
        self.above(&mut live, |printer| printer.important(text));
    }

    /// Removes the live block: the run has ended.
    pub(crate) fn finish(&self) {
        let mut live = self.live();
        let erase = live.block.erase();
        self.printer.err_raw(&erase);
    }

    fn above(&self, live: &mut Live, print: impl FnOnce(&Printer)) {
        if self.mode == Mode::Tty {
            let erase = live.block.erase();
            self.printer.err_raw(&erase);
        }
        print(&self.printer);
        if self.mode == Mode::Tty {
            self.redraw(live);
        }
    }

    fn redraw(&self, live: &mut Live) {
        if self.printer.level() < Level::Normal {
            return;
        }
        let now_ms = self.clock.mono_ms();
        let bar = format!(
            "{}/{} · {} elapsed · run {}",
            live.done,
            live.total,
            time::took(now_ms.saturating_sub(live.began_ms)),
            self.run.short(),
        );
        let style = self.printer.err_style();
        let Live {
            running,
            block,
            done,
            total,
            ..
        } = live;
        let text = block.draw(style, running, now_ms, (*done, *total), &bar);
        self.printer.err_raw(&text);
    }

    fn heartbeat(&self, live: &mut Live) {
        let now_ms = self.clock.mono_ms();
        let wall_ms = self.clock.wall_ms();
        for (step, running) in &mut live.running {
            running.silent_s += 1;
            if running.silent_s < HEARTBEAT_S {
                continue;
            }
            running.silent_s = 0;
            self.printer.note(&format!(
                "{} {step} | {}",
                time::clock(wall_ms),
                running.describe(now_ms)
            ));
        }
    }

    fn follow(&self, live: &mut Live, event: &Event) {
        match event {
            Event::StepStarted(e) => self.begin(live, &e.step, e.attempt, false),
            Event::UndoStarted(e) => self.begin(live, &e.step, e.attempt, true),
            Event::StepSucceeded(e) => drop(live.running.remove(&e.step)),
            Event::StepFailed(e) => drop(live.running.remove(&e.step)),
            Event::UndoSucceeded(e) => drop(live.running.remove(&e.step)),
            Event::UndoFailed(e) => drop(live.running.remove(&e.step)),
            Event::RunOpened(_)
            | Event::RunResumed(_)
            | Event::PlanRevised(_)
            | Event::StepCaptured(_)
            | Event::RetryPlanned(_)
            | Event::StepReconciled(_)
            | Event::UnwindBegan(_)
            | Event::UndoSkipped(_)
            | Event::EvidenceTaken(_)
            | Event::Diagnosed(_)
            | Event::CureTried(_)
            | Event::CureEnded(_)
            | Event::ObligationOpened(_)
            | Event::ObligationSettled(_)
            | Event::Parked(_)
            | Event::OperatorDecided(_)
            | Event::Interrupted(_)
            | Event::RunEnded(_) => {}
        }
    }

    fn begin(&self, live: &mut Live, step: &StepId, attempt: u32, undo: bool) {
        let usual_ms = if undo {
            None
        } else {
            self.usual_ms.get(step).copied()
        };
        let running = Running::new(self.clock.mono_ms(), attempt, undo, usual_ms);
        live.running.insert(step.clone(), running);
    }

    fn show(&self, live: &mut Live, told: &Line, wall_ms: u64) {
        match self.mode {
            Mode::Plain => {
                let text = event::plain(self.printer.err_style(), wall_ms, told);
                self.printer.note(&text);
            }
            Mode::Tty if told.settled || told.step.is_none() => {
                let style = self.printer.err_style();
                let step = told.step.as_deref().unwrap_or("run");
                let text = format!(
                    "{} {}  {}",
                    style.glyph(told.mark),
                    style.bold(step),
                    told.text
                );
                self.above(live, |printer| printer.note(&text));
            }
            Mode::Tty | Mode::Json | Mode::None => {}
        }
    }
}

impl Observer for Display {
    fn durable(&self, events: &[Event], state: &RunState) {
        let wall_ms = self.clock.wall_ms();
        let first = state.position().saturating_sub(events.len() as u64) + 1;
        let mut live = self.live();
        live.done = state.done();
        live.total = state.plan().steps.len();
        for (number, event) in (first..).zip(events) {
            let told = event::line(event);
            tracing::debug!(
                run_seq = number,
                step = told.step,
                event = event.name(),
                "{}",
                told.text
            );
            crash::note(&format!(
                "{number} {} {} {}",
                event.name(),
                told.step.as_deref().unwrap_or(""),
                told.text
            ));
            self.follow(&mut live, event);
            if self.printer.wants_json() {
                let recorded = Recorded {
                    seq: number,
                    run: self.run,
                    time_ms: wall_ms,
                    actor: self.actor.clone(),
                    event: event.clone(),
                };
                self.printer.json(&event::json_live(&recorded));
            }
            self.show(&mut live, &told, wall_ms);
        }
    }
}

impl ProgressSink for Display {
    fn tick(&self, step: &StepId, tick: Tick) {
        if let Tick::Line(text) = &tick {
            tracing::trace!(step = step.as_str(), "{}", harmless(text));
        }
        if let (Tick::Line(text), Some(server)) = (&tick, self.server.get().and_then(Weak::upgrade))
        {
            server.progress(&format!("{step} |   {}", harmless(text)));
        }
        let mut live = self.live();
        if let (Tick::Line(text), Mode::Plain, Level::Verbose) =
            (&tick, self.mode, self.printer.level())
        {
            let clock = time::clock(self.clock.wall_ms());
            self.printer
                .note(&format!("{clock} {step} |   {}", harmless(text)));
        }
        if let Some(running) = live.running.get_mut(step) {
            running.tick(tick);
        }
    }
}
