//! How one operation passes: taps, faults, time, effect, answer.

use std::sync::atomic::Ordering;

use wiab_engine::ports::{Cancel, Clock as _};

use super::cmd::{self, Reply};
use super::fault::Action;
use super::hooks::{Fate, Phase, Point};
use super::state::{Change, Draft};
use super::{Inner, SimHost};
use crate::host::{Cmd, HostError, LineSink, Output};

/// Longer than any time limit: what a hanging command takes.
pub(super) const FOR_EVER_MS: u64 = 1 << 48;

/// Most pieces in which a command's lines come.
const PIECES_MAX: u64 = 24;

/// One operation on the machine.
pub(super) struct Op<'a> {
    /// What faults match and taps see.
    pub(super) what: &'a (dyn Fn() -> String + Send + Sync),
    /// Computes answer and changes from the present state.
    pub(super) handler: &'a (dyn Fn(&mut Draft<'_>) -> Result<Reply, HostError> + Send + Sync),
    /// Whether an injected failure is a failed file operation.
    pub(super) path: Option<&'a str>,
    pub(super) timeout_ms: u64,
    pub(super) cancel: Option<&'a Cancel>,
    pub(super) line: Option<LineSink<'a>>,
}

/// How wiab's life ends at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// In a test: nothing returns any more.
    PowerOff,
    /// For real.
    Kill,
}

/// Answer and changes, computed from one version of the state.
struct Planned {
    reply: Reply,
    changes: Vec<Change>,
    half: Option<Vec<Change>>,
    version: u64,
}

impl Inner {
    /// Takes changes and records them.
    pub(super) fn commit(&mut self, changes: &[Change]) -> Result<(), HostError> {
        if changes.is_empty() {
            return Ok(());
        }
        if self.copy {
            return Err(HostError::Denied {
                why: "another process uses this simulated machine".to_owned(),
            });
        }
        // Recorded first: what cannot be recorded has not happened.
        self.record(changes)?;
        self.running.follow(changes);
        self.marks.follow(changes);
        self.machine.commit(changes);
        if let Some(store) = &mut self.store {
            store.fold(&self.machine);
        }
        Ok(())
    }

    fn record(&mut self, changes: &[Change]) -> Result<(), HostError> {
        if let Some(store) = &mut self.store {
            store
                .append(changes, self.machine.now_ms)
                .map_err(|error| HostError::File {
                    path: "the simulated machine's directory".to_owned(),
                    why: error.to_string(),
                })?;
        }
        self.stored_ms = self.machine.now_ms;
        Ok(())
    }

    /// Records the time alone.
    pub(super) fn note_time(&mut self) {
        // Best effort: a store that fails shows at the next change.
        let _ = self.record(&[]);
    }
}

impl SimHost {
    pub(super) async fn run_command(
        &self,
        command: &Cmd,
        cancel: &Cancel,
        line: LineSink<'_>,
    ) -> Result<Output, HostError> {
        let reply = self
            .perform(&Op {
                what: &|| command.argv.join(" "),
                handler: &|draft| cmd::dispatch(draft, command),
                path: None,
                timeout_ms: command.timeout_ms,
                cancel: Some(cancel),
                line: Some(line),
            })
            .await?;
        Ok(reply.output())
    }

    pub(super) async fn perform(&self, op: &Op<'_>) -> Result<Reply, HostError> {
        self.stay_dead().await;
        let operation = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = self.armed.hit(op.what);
        self.pass(op, operation, Phase::Before).await;
        match &fault {
            Some(Action::LostBefore) => {
                return Err(HostError::Unreachable {
                    why: "connection refused (injected)".to_owned(),
                });
            }
            Some(Action::Fail { code, stderr }) => return failed(op, *code, stderr),
            _ => {}
        }
        let mut planned = self.plan(op)?;
        let took_ms = match &fault {
            Some(Action::Hang) => FOR_EVER_MS,
            Some(Action::Slow { ms }) => planned.reply.took_ms.saturating_add(*ms),
            _ => planned.reply.took_ms,
        };
        let mut pace = Pace::new(&planned.reply, took_ms, op);
        let first = self.wait(op, &mut pace, took_ms / 2).await;
        if planned.half.is_some()
            && let Some(death) = self.fate(op, operation, Phase::Halfway)
        {
            self.leave_half(op)?;
            self.die(death).await;
        }
        if let Err(error) = first {
            self.leave_half(op)?;
            return Err(error);
        }
        match &fault {
            Some(Action::Half) => {
                self.leave_half(op)?;
                return failed(op, 137, "Killed");
            }
            Some(Action::DiskFull) => {
                self.leave_half(op)?;
                return failed(op, 1, "No space left on device");
            }
            _ => {}
        }
        if let Err(error) = self.wait(op, &mut pace, took_ms - took_ms / 2).await {
            self.leave_half(op)?;
            return Err(error);
        }
        planned = self.effect(op, planned)?;
        if !planned.changes.is_empty() {
            self.pass(op, operation, Phase::AfterEffect).await;
        }
        if fault == Some(Action::LostAfter) {
            return Err(HostError::LostMidway {
                why: "connection reset by peer (injected)".to_owned(),
            });
        }
        pace.rest(op);
        self.pass(op, operation, Phase::BeforeReturn).await;
        Ok(planned.reply)
    }

    fn plan(&self, op: &Op<'_>) -> Result<Planned, HostError> {
        plan_in(&self.lock(), op)
    }

    /// Takes the whole effect, computed again if the machine has changed since.
    fn effect(&self, op: &Op<'_>, planned: Planned) -> Result<Planned, HostError> {
        let mut inner = self.lock();
        let mut planned = planned;
        if planned.version != inner.machine.version {
            planned = plan_in(&inner, op)?;
        }
        inner.commit(&planned.changes)?;
        Ok(planned)
    }

    /// Leaves what an interrupted command leaves.
    fn leave_half(&self, op: &Op<'_>) -> Result<(), HostError> {
        let mut inner = self.lock();
        let planned = plan_in(&inner, op)?;
        inner.commit(&planned.half.unwrap_or_default())
    }

    /// Waits a part of an operation's time, streaming its lines.
    async fn wait(&self, op: &Op<'_>, pace: &mut Pace, ms: u64) -> Result<(), HostError> {
        let mut left_ms = ms;
        while left_ms > 0 {
            let step_ms = left_ms.min(pace.piece_ms).max(1);
            let until_limit_ms = op.timeout_ms.saturating_sub(pace.passed_ms);
            let now_ms = step_ms.min(until_limit_ms);
            let sleep = self.clock.sleep(now_ms);
            match op.cancel {
                Some(cancel) => tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Err(HostError::Cancelled),
                    () = sleep => {}
                },
                None => sleep.await,
            }
            self.stay_dead().await;
            pace.passed_ms = pace.passed_ms.saturating_add(now_ms);
            left_ms -= now_ms.min(left_ms);
            if now_ms < step_ms || pace.passed_ms >= op.timeout_ms {
                return Err(HostError::TimedOut {
                    after_ms: op.timeout_ms,
                });
            }
            pace.emit(op);
        }
        Ok(())
    }

    /// Passes a point without changes of its own.
    pub(super) async fn pass(&self, op: &Op<'_>, operation: u64, phase: Phase) {
        if let Some(death) = self.fate(op, operation, phase) {
            self.die(death).await;
        }
    }

    /// How this point ends, if it is an end.
    fn fate(&self, op: &Op<'_>, operation: u64, phase: Phase) -> Option<Death> {
        if self.tap.is_none() && self.kill.is_none() {
            return None;
        }
        let index = self.points.fetch_add(1, Ordering::SeqCst) + 1;
        let killed = match self.kill {
            Some((at, None)) => at == index,
            Some((at, Some(wanted))) => at == operation && phase >= wanted,
            None => false,
        };
        let changes = self.lock().machine.version;
        let fate = self.tap.as_ref().map_or(Fate::Continue, |tap| {
            tap.at(&Point {
                changes,
                index,
                operation,
                phase,
                what: (op.what)(),
            })
        });
        match fate {
            _ if killed => Some(Death::Kill),
            Fate::Die => Some(Death::PowerOff),
            Fate::Continue => None,
        }
    }

    async fn die(&self, death: Death) {
        if death == Death::Kill {
            // The real thing: no destructor runs, no buffer is written.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
        {
            let mut inner = self.lock();
            // As a killed process leaves it: time that nobody recorded has not passed.
            inner.machine.now_ms = inner.stored_ms;
            inner.store = None;
            self.dead.store(true, Ordering::SeqCst);
        }
        self.died.notify_waiters();
        self.stay_dead().await;
    }

    /// Never returns after death.
    pub(super) async fn stay_dead(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

fn plan_in(inner: &Inner, op: &Op<'_>) -> Result<Planned, HostError> {
    let mut draft = Draft::new(&inner.machine);
    let reply = (op.handler)(&mut draft)?;
    let (changes, half) = draft.finish();
    Ok(Planned {
        reply,
        changes,
        half,
        version: inner.machine.version,
    })
}

fn failed(op: &Op<'_>, code: i32, stderr: &str) -> Result<Reply, HostError> {
    if let Some(path) = op.path {
        Err(HostError::File {
            path: path.to_owned(),
            why: stderr.to_owned(),
        })
    } else {
        let mut text = stderr.to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let reply = Reply::fail(code, text);
        let mut pace = Pace::new(&reply, 0, op);
        pace.rest(op);
        Ok(reply)
    }
}

/// Spreads a command's lines over its time.
pub(super) struct Pace {
    lines: std::collections::VecDeque<String>,
    per_piece: usize,
    piece_ms: u64,
    passed_ms: u64,
}

impl Pace {
    fn new(reply: &Reply, took_ms: u64, op: &Op<'_>) -> Self {
        if op.line.is_none() {
            return Self::of(std::collections::VecDeque::new(), took_ms);
        }
        let lines = [&reply.stdout, &reply.stderr]
            .into_iter()
            .flat_map(|bytes| lines_of(bytes))
            .collect();
        Self::of(lines, took_ms)
    }

    fn of(lines: std::collections::VecDeque<String>, took_ms: u64) -> Self {
        let pieces = (lines.len() as u64).clamp(1, PIECES_MAX);
        let long = (1_000..FOR_EVER_MS).contains(&took_ms);
        Self {
            per_piece: lines.len().div_ceil(usize::try_from(pieces).unwrap_or(1)),
            piece_ms: if long { took_ms / pieces } else { u64::MAX },
            lines,
            passed_ms: 0,
        }
    }

    fn emit(&mut self, op: &Op<'_>) {
        // Short commands speak at their end, when their effect is there.
        if self.piece_ms < u64::MAX {
            self.speak(op, self.per_piece);
        }
    }

    fn rest(&mut self, op: &Op<'_>) {
        self.speak(op, usize::MAX);
    }

    fn speak(&mut self, op: &Op<'_>, most: usize) {
        let count = most.min(self.lines.len());
        for text in self.lines.drain(..count) {
            if let Some(line) = op.line {
                line(&text);
            }
        }
    }
}

/// The lines of a command's output, invalid bytes replaced.
pub(super) fn lines_of(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(str::to_owned)
        .collect()
}
