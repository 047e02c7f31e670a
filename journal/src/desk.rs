//! The queue in front of the database. Who waits for an append commits it, and with it everything queued, on its own
//! thread: handing over to another thread and back would cost two wake-ups per event. One background thread commits
//! what nobody waits for, and writes the copies.

use std::collections::VecDeque;
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::copy::Copies;
use crate::error::JournalError;
use crate::journal::Appended;
use crate::reserve::Reserve;
use crate::shared::Shared;
use crate::store::Store;
use crate::types::Frame;
use crate::writer::{self, Done, Job};

/// Most batches in one group.
const GROUP_BATCHES_MAX: usize = 256;
/// A group is closed when it has this many bytes of bodies.
const GROUP_BYTES_MAX: usize = 256 << 10;
/// Groups whose copies may be outstanding; with more, committing waits for the copies.
const COPY_GROUPS_MAX: usize = 64;
/// After writing copies the background thread looks for more by itself after so many milliseconds: waking it after
/// every append would cost each a system call and a processor's attention.
const LINGER_MS: u64 = 20;

/// Where jobs queue and are committed, by one thread at a time.
pub(crate) struct Desk {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Wakes the background thread.
    work: Condvar,
    /// Wakes everybody else: a group was committed, or copies were written.
    turn: Condvar,
    /// The database; only the thread that commits takes it. Gone when the background thread has ended.
    bench: Mutex<Option<Bench>>,
}

/// What committing needs.
struct Bench {
    store: Arc<Store>,
    reserve: Option<Reserve>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Open,
    /// Takes no more jobs.
    Closed,
    /// The background thread is gone.
    Ended,
}

/// What the background thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Background {
    #[default]
    Awake,
    /// Sleeps for a moment, then looks by itself.
    Lingers,
    /// Sleeps until it is woken.
    Sleeps,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Durable groups whose copies are to be written, in order.
    copies: VecDeque<Vec<Frame>>,
    copying: bool,
    committing: bool,
    phase: Phase,
    background: Background,
    /// Threads that wait for the copies.
    settling: usize,
    /// Whether the last group had several batches: then more are likely to come at once.
    crowd: bool,
    /// Threads that wait for `turn`.
    waiting: usize,
}

impl State {
    fn may_commit(&self) -> bool {
        !self.committing && !self.jobs.is_empty() && self.copies.len() < COPY_GROUPS_MAX
    }

    /// The next group and its size in bytes of bodies.
    fn take_group(&mut self) -> (Vec<Job>, usize) {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX {
            let Some(job) = self.jobs.pop_front() else {
                break;
            };
            bytes += job.bytes();
            group.push(job);
        }
        self.crowd = group.len() > 1;
        (group, bytes)
    }
}

impl Desk {
    pub(crate) fn new(shared: Arc<Shared>, store: Arc<Store>) -> Self {
        let reserve = shared.options.reserve.then(|| store.file().ok()).flatten();
        let reserve = reserve.map(Reserve::new);
        Self {
            shared,
            state: Mutex::default(),
            work: Condvar::new(),
            turn: Condvar::new(),
            bench: Mutex::new(Some(Bench { store, reserve })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job; waits while the queue is full. A job that is refused is answered.
    fn push(&self, job: Job) -> Option<MutexGuard<'_, State>> {
        if let Some(why) = self.shared.poison.get() {
            job.finish(Err(JournalError::Poisoned { why: why.clone() }));
            return None;
        }
        let most = self.shared.options.queue_batches.max(1);
        let mut state = self.lock();
        while state.jobs.len() >= most && state.phase == Phase::Open {
            state = self.wait_turn(state);
        }
        if state.phase != Phase::Open {
            drop(state);
            job.finish(Err(JournalError::Closed));
            return None;
        }
        state.jobs.push_back(job);
        Some(state)
    }

    /// Queues a job for the background thread.
    pub(crate) fn submit(&self, job: Job) {
        if let Some(state) = self.push(job) {
            self.wake(state);
        }
    }

    /// Queues a job and returns when it is done; commits it here unless somebody else does.
    pub(crate) fn run(&self, job: impl FnOnce(Done) -> Job) -> Result<Appended, JournalError> {
        let (sender, receiver) = sync_channel(1);
        let job = job(Box::new(move |result| {
            // The receiver lives until the answer came.
            let _ = sender.send(result);
        }));
        let mut state = self.push(job);
        if state.take_if(|state| state.crowd).is_some() {
            // Those who were acknowledged just now come back at once; together they need one sync.
            std::thread::yield_now();
        }
        loop {
            match receiver.try_recv() {
                Ok(result) => return result,
                Err(TryRecvError::Disconnected) => return Err(JournalError::Closed),
                Err(TryRecvError::Empty) => {}
            }
            let held = state.take().unwrap_or_else(|| self.lock());
            state = Some(if held.may_commit() {
                self.commit(held)
            } else {
                self.wait_turn(held)
            });
        }
    }

    /// Commits one group on this thread.
    fn commit<'d>(&'d self, mut state: MutexGuard<'d, State>) -> MutexGuard<'d, State> {
        let (jobs, bytes) = state.take_group();
        state.committing = true;
        drop(state);
        let mut turn = Turn {
            desk: self,
            frames: Vec::new(),
        };
        {
            let mut bench = self.bench.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(bench) = bench.as_mut() {
                if let Some(reserve) = &mut bench.reserve {
                    reserve.tend(bytes);
                }
                turn.frames = writer::commit(jobs, &bench.store, &self.shared);
            }
        }
        drop(turn);
        self.lock()
    }

    fn wait_turn<'d>(&'d self, mut state: MutexGuard<'d, State>) -> MutexGuard<'d, State> {
        state.waiting += 1;
        let mut state = self
            .turn
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Wakes who has something to do now, and nobody else: every wake-up is a system call.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let someone = state.waiting > 0;
        let urgent = !state.jobs.is_empty()
            || state.phase != Phase::Open
            || (state.settling > 0 && !state.copies.is_empty())
            || state.copies.len() >= COPY_GROUPS_MAX / 2;
        let background = match state.background {
            Background::Awake => false,
            Background::Lingers => urgent,
            Background::Sleeps => urgent || !state.copies.is_empty(),
        };
        if background {
            state.background = Background::Awake;
        }
        drop(state);
        if someone {
            self.turn.notify_all();
        }
        if background {
            self.work.notify_one();
        }
    }

    /// The background thread: until the desk is closed and everything is written.
    pub(crate) fn serve(&self) {
        let _end = End(self);
        let mut copies = Copies::new(self.shared.layout.clone());
        let mut busy = false;
        let mut state = self.lock();
        loop {
            if state.may_commit() {
                state = self.commit(state);
            } else if let Some(frames) = state.copies.pop_front() {
                busy = true;
                state.copying = true;
                drop(state);
                copies.append(&frames, &self.shared.options);
                let mut done = self.lock();
                done.copying = false;
                self.wake(done);
                state = self.lock();
            } else if state.phase != Phase::Open && state.jobs.is_empty() && !state.committing {
                break;
            } else if std::mem::take(&mut busy) {
                state.background = Background::Lingers;
                let linger = Duration::from_millis(LINGER_MS);
                let lingers = |state: &mut State| state.background == Background::Lingers;
                let waited = self.work.wait_timeout_while(state, linger, lingers);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                state.background = Background::Awake;
            } else {
                state.background = Background::Sleeps;
                let sleeps = |state: &mut State| state.background == Background::Sleeps;
                let waited = self.work.wait_while(state, sleeps);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(state);
        copies.sync();
    }

    /// Waits until the copies hold everything that was queued before.
    pub(crate) fn settle(&self) {
        let mut state = self.lock();
        state.settling += 1;
        self.wake(state);
        state = self.lock();
        while state.phase != Phase::Ended
            && (state.committing
                || state.copying
                || !state.jobs.is_empty()
                || !state.copies.is_empty())
        {
            state = self.wait_turn(state);
        }
        state.settling -= 1;
    }

    /// Takes no more jobs; the background thread ends when the queue is done.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closed;
        }
        self.wake(state);
    }
}

/// Gives the turn to the next, even when a callback panics.
struct Turn<'d> {
    desk: &'d Desk,
    frames: Vec<Frame>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        state.committing = false;
        if !self.frames.is_empty() {
            state.copies.push_back(std::mem::take(&mut self.frames));
        }
        self.desk.wake(state);
    }
}

/// Answers everybody when the background thread ends, even by a panic, and lets go of the database.
struct End<'d>(&'d Desk);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.phase = Phase::Ended;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        for job in jobs {
            job.finish(Err(JournalError::Closed));
        }
        self.0.turn.notify_all();
        let bench = self.0.bench.lock();
        bench.unwrap_or_else(PoisonError::into_inner).take();
    }
}
