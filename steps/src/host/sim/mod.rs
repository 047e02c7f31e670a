//! A simulated physical machine in virtual time, kept in a directory.

mod acme;
mod archive;
mod artifact;
mod canonical;
mod clock;
mod cmd;
mod container;
mod entity;
mod fault;
mod files;
mod hooks;
mod inside;
mod jobs;
mod kube;
mod marks;
mod perform;
mod played;
mod preset;
mod restart;
mod sha256;
mod state;
mod store;
mod surroundings;
mod trouble;
mod way;
mod xml;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wiab_engine::ports::{BoxFuture, Cancel, Clock as _};

pub use self::artifact::{StandIn, StandInChart, StandInFile, StandInPart};
pub use self::clock::SimClock;
pub use self::cmd::fetch::sha256_of_url;
pub use self::fault::{Action, Fault, Faults};
pub use self::hooks::{Fate, Phase, Point, Points, Tap};
pub use self::kube::preset::ClusterPreset;
pub use self::played::Trouble;
pub use self::state::Machine;
pub use self::store::SimError;

use self::fault::Armed;
use self::jobs::Running;
use self::marks::Marks;
use self::store::{Opened, Store};
use super::{Cmd, Host, HostError, JobId, JobState, LineSink, Meta, Output, Stat};
use crate::secrets::{Entropy, SeededEntropy};

/// How a simulated machine is opened.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Virtual milliseconds per real one; `None` is as fast as possible.
    pub speed: Option<f64>,
    /// Unix time of a machine that is made now, in milliseconds.
    pub epoch_ms: u64,
    /// The machine to begin with when the directory is empty.
    pub fresh: Machine,
    /// What is not as it should be around the machine while it is open, and the domain that this is about; `None` leaves
    /// everything as it was stored.
    pub troubles: Option<(Vec<Trouble>, String)>,
    /// Faults, beside those of `faults.json` in the directory.
    pub faults: Faults,
    /// Sees every operation and may end wiab's life at any of them.
    pub tap: Option<Arc<dyn Tap>>,
}

impl Default for SimOptions {
    /// A fresh Ubuntu machine on 2026-01-01, as fast as possible, without faults.
    fn default() -> Self {
        Self {
            speed: None,
            epoch_ms: 1_767_225_600_000,
            fresh: Machine::fresh(),
            troubles: None,
            faults: Faults::default(),
            tap: None,
        }
    }
}

/// The simulated machine as a [`Host`].
pub struct SimHost {
    inner: Mutex<Inner>,
    clock: SimClock,
    armed: Armed,
    tap: Option<Arc<dyn Tap>>,
    kill: Option<(u64, Option<Phase>)>,
    operations: AtomicU64,
    points: AtomicU64,
    dead: AtomicBool,
    died: Notify,
}

pub(crate) struct Inner {
    machine: Machine,
    store: Option<Store>,
    // Another process owns the directory: look, do not touch.
    copy: bool,
    running: Running,
    marks: Marks,
    /// The clock as a killed process leaves it.
    stored_ms: u64,
}

impl fmt::Debug for SimHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimHost({:?})", self.clock)
    }
}

impl SimHost {
    /// Opens the machine in `dir`, or makes one. Reads `faults.json` there. If another process has it open, this one can
    /// only look.
    pub fn open(dir: &Path, options: SimOptions) -> Result<Arc<Self>, SimError> {
        let mut options = options;
        options.fresh.epoch_ms = options.epoch_ms;
        let fresh = std::mem::take(&mut options.fresh);
        let opened = Store::open(dir, || fresh)?;
        let faults = &mut options.faults;
        let path = dir.join("faults.json");
        if path.exists() {
            let text = fs_err::read(&path)?;
            let more: Faults =
                serde_json::from_slice(&text).map_err(|error| SimError::Damaged {
                    path,
                    why: error.to_string(),
                })?;
            faults.faults.extend(more.faults);
            faults.kill_at = faults.kill_at.or(more.kill_at);
            faults.phase = faults.phase.or(more.phase);
        }
        let (machine, store, copy) = match opened {
            Opened::Owner(machine, store) => (machine, Some(store), false),
            Opened::Copy(machine) => (machine, None, true),
        };
        let machine = match &options.troubles {
            Some((troubles, domain)) => machine.troubled(troubles, domain),
            None => machine,
        };
        Ok(Self::build(machine, store, copy, options))
    }

    /// A machine in memory only. [`SimHost::machine`] of one can be given to the next, as after a crash.
    pub fn in_memory(machine: Machine, options: SimOptions) -> Arc<Self> {
        let mut machine = machine;
        if machine.epoch_ms == 0 {
            machine.epoch_ms = options.epoch_ms;
        }
        Self::build(machine, None, false, options)
    }

    fn build(machine: Machine, store: Option<Store>, copy: bool, options: SimOptions) -> Arc<Self> {
        let clock = SimClock::new(machine.epoch_ms, machine.now_ms, options.speed);
        Arc::new(Self {
            clock,
            armed: Armed::new(options.faults.faults),
            tap: options.tap,
            kill: options.faults.kill_at.map(|at| (at, options.faults.phase)),
            operations: AtomicU64::new(0),
            points: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            died: Notify::new(),
            inner: Mutex::new(Inner {
                running: Running::of(&machine),
                marks: Marks::of(&machine),
                stored_ms: machine.now_ms,
                machine,
                store,
                copy,
            }),
        })
    }

    /// The machine's clock; the engine must run on it.
    pub fn clock(&self) -> SimClock {
        self.clock.clone()
    }

    /// A copy of the machine as it is now, due jobs ended.
    pub fn machine(&self) -> Machine {
        self.lock().machine.clone()
    }

    /// The machine without what differs between equal machines: time, jobs, handles.
    pub fn canonical_state(&self) -> serde_json::Value {
        self.lock().machine.canonical_state()
    }

    /// BLAKE3 of [`SimHost::canonical_state`], in hexadecimal.
    pub fn digest(&self) -> String {
        self.lock().machine.digest()
    }

    /// Adds a fault.
    pub fn arm(&self, fault: Fault) {
        self.armed.arm(fault);
    }

    /// Forgets all faults.
    pub fn disarm(&self) {
        self.armed.clear();
    }

    /// Number of operations begun since opening.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    /// Whether a tap has ended wiab's life.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Resolves when a tap ends wiab's life. From then on no operation returns, so a test waits for this beside its run.
    pub async fn died(&self) {
        let notified = self.died.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_dead() {
            notified.await;
        }
    }

    /// Changes the machine by hand, as somebody else than wiab would: `put` is one of [`Machine`]'s builders.
    pub fn meddle(&self, change: impl FnOnce(Machine) -> Machine) -> Result<(), HostError> {
        let mut inner = self.lock();
        let before = inner.machine.clone();
        let after = change(before.clone());
        let changes = before.changes_to(&after);
        inner.commit(&changes)
    }

    /// The state at the present virtual time: due jobs have ended.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_dead() {
            inner.pass_time(self.clock.mono_ms());
            inner.keep_time();
        }
        inner
    }
}

impl Drop for SimHost {
    fn drop(&mut self) {
        // A clean end keeps the time that passed in commands that changed nothing.
        if !self.is_dead() {
            let mut inner = self.lock();
            inner.note_time();
        }
    }
}

impl Host for SimHost {
    fn name(&self) -> String {
        "sim".to_owned()
    }

    fn entropy(&self, purpose: &str) -> Box<dyn Entropy> {
        Box::new(SeededEntropy::new(purpose))
    }

    fn run<'a>(
        &'a self,
        cmd: &'a Cmd,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        Box::pin(self.run_command(cmd, cancel, line))
    }

    fn renew<'a>(&'a self, _cancel: &'a Cancel) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        root: bool,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>> {
        Box::pin(self.read_file(path, root))
    }

    fn write<'a>(
        &'a self,
        path: &'a str,
        bytes: &'a [u8],
        meta: &'a Meta,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(self.write_file(path, bytes, meta))
    }

    fn stat<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Stat>, HostError>> {
        Box::pin(self.stat_file(path))
    }

    fn remove<'a>(&'a self, path: &'a str, root: bool) -> BoxFuture<'a, Result<bool, HostError>> {
        Box::pin(self.remove_file(path, root))
    }

    fn job_start<'a>(
        &'a self,
        id: &'a JobId,
        cmd: &'a Cmd,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(self.start_job(id, cmd))
    }

    fn job_state<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<JobState, HostError>> {
        Box::pin(self.state_of_job(id))
    }

    fn job_wait<'a>(
        &'a self,
        id: &'a JobId,
        from: u64,
        timeout_ms: u64,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        Box::pin(self.wait_for_job(id, from, timeout_ms, cancel, line))
    }

    fn job_forget<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(self.forget_job(id))
    }
}
