//! Virtual time: it stands still while anybody works and jumps when everybody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wiab_engine::ports::{BoxFuture, Busy, BusyCount, Clock};

/// The clock of a simulated machine.
///
/// Every task that works holds a token of [`Clock::busy`]. Inside [`Clock::sleep`] one token counts as released, so a
/// task that holds one token may wait in one sleep at a time; a second sleep beside it (a time limit in a `select!`)
/// needs a token of its own, or time would run while the task works. When nobody is busy, time jumps to the earliest
/// sleeper; it and all others due at that moment count as busy *before* their wakers run. Without any token the clock
/// still advances, but the order of tasks that wake at different times is then not exact.
///
/// With a speed, the clock is the real one, scaled; tokens mean nothing then.
#[derive(Clone)]
pub struct SimClock(Arc<Inner>);

struct Inner {
    epoch_ms: u64,
    scaled: Option<Scaled>,
    state: Mutex<State>,
}

struct Scaled {
    speed: f64,
    start_ms: u64,
    started: tokio::time::Instant,
}

#[derive(Default)]
struct State {
    now_ms: u64,
    tokens: usize,
    next_id: u64,
    sleepers: BTreeMap<(u64, u64), Option<Waker>>,
    woken: BTreeSet<u64>,
    alarms: BTreeMap<(u64, u64), Option<Waker>>,
    /// Alarms that rang and whose token nobody has taken yet.
    rung: BTreeSet<u64>,
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimClock({} ms)", self.mono_ms())
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimClock")
    }
}

impl State {
    /// Jumps to the earliest sleeper if nobody is busy; answers whom to wake.
    fn advance(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if !self.woken.is_empty() || self.sleepers.len() < self.tokens {
            return wakers;
        }
        let next = self
            .sleepers
            .first_key_value()
            .into_iter()
            .chain(self.alarms.first_key_value());
        let Some(deadline_ms) = next.map(|(&(deadline_ms, _), _)| deadline_ms).min() else {
            return wakers;
        };
        self.now_ms = self.now_ms.max(deadline_ms);
        while let Some(entry) = self.alarms.first_entry() {
            let (due_ms, id) = *entry.key();
            if due_ms > self.now_ms {
                break;
            }
            wakers.extend(entry.remove());
            self.rung.insert(id);
            self.tokens += 1;
        }
        while let Some(entry) = self.sleepers.first_entry() {
            let (due_ms, id) = *entry.key();
            if due_ms > self.now_ms {
                break;
            }
            wakers.extend(entry.remove());
            self.woken.insert(id);
        }
        wakers
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self) {
        let wakers = self.lock().advance();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl BusyCount for Inner {
    fn release(&self) {
        let wakers = {
            let mut state = self.lock();
            state.tokens = state.tokens.saturating_sub(1);
            state.advance()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl SimClock {
    /// A clock at `now_ms` after its epoch (Unix milliseconds). `speed` is virtual milliseconds per real one; `None`
    /// is as fast as possible. A speed that is not positive counts as `None`.
    pub fn new(epoch_ms: u64, now_ms: u64, speed: Option<f64>) -> Self {
        let scaled = speed.filter(|speed| *speed > 0.0).map(|speed| Scaled {
            speed,
            start_ms: now_ms,
            started: tokio::time::Instant::now(),
        });
        Self(Arc::new(Inner {
            epoch_ms,
            scaled,
            state: Mutex::new(State {
                now_ms,
                ..State::default()
            }),
        }))
    }

    /// Unix milliseconds at which the machine was made.
    pub fn epoch_ms(&self) -> u64 {
        self.0.epoch_ms
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        self.0.epoch_ms.saturating_add(self.mono_ms())
    }

    fn mono_ms(&self) -> u64 {
        let Some(scaled) = &self.0.scaled else {
            return self.0.lock().now_ms;
        };
        let passed = scaled.started.elapsed().mul_f64(scaled.speed);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        scaled.start_ms.saturating_add(passed_ms)
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'_, ()> {
        if let Some(scaled) = &self.0.scaled {
            // Bounded: a hanging command waits "for ever", which `Duration` cannot hold.
            let real = Duration::from_millis(ms.min(1 << 40)).div_f64(scaled.speed);
            #[expect(
                clippy::disallowed_methods,
                reason = "this is a clock: the watcher's real time passes here"
            )]
            return Box::pin(tokio::time::sleep(real.min(Duration::from_secs(1 << 30))));
        }
        Box::pin(Sleep {
            clock: self.0.clone(),
            ms,
            id: None,
        })
    }

    fn alarm(&self, ms: u64) -> BoxFuture<'_, Busy> {
        if self.0.scaled.is_some() {
            return Box::pin(async move {
                self.sleep(ms).await;
                Busy::default()
            });
        }
        Box::pin(Alarm {
            clock: self.0.clone(),
            ms,
            id: None,
        })
    }

    fn busy(&self) -> Busy {
        self.0.lock().tokens += 1;
        Busy(Some(self.0.clone()))
    }
}

struct Sleep {
    clock: Arc<Inner>,
    ms: u64,
    id: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        let mut wakers = Vec::new();
        let key = match self.id {
            Some(key) => key,
            None if self.ms == 0 => return Poll::Ready(()),
            None => {
                let key = (state.now_ms.saturating_add(self.ms), state.next_id);
                state.next_id += 1;
                state.sleepers.insert(key, None);
                self.id = Some(key);
                wakers = state.advance();
                key
            }
        };
        let done = state.woken.remove(&key.1);
        if done {
            self.id = None;
            self.ms = 0;
            wakers.extend(state.advance());
        } else if let Some(slot) = state.sleepers.get_mut(&key) {
            *slot = Some(cx.waker().clone());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.id.take() {
            let mut state = self.clock.lock();
            state.sleepers.remove(&key);
            state.woken.remove(&key.1);
            drop(state);
            self.clock.advance();
        }
    }
}

struct Alarm {
    clock: Arc<Inner>,
    ms: u64,
    id: Option<(u64, u64)>,
}

impl Future for Alarm {
    type Output = Busy;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Busy> {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        let key = if let Some(key) = self.id {
            key
        } else {
            let key = (state.now_ms.saturating_add(self.ms), state.next_id);
            state.next_id += 1;
            state.alarms.insert(key, None);
            self.id = Some(key);
            key
        };
        if state.rung.remove(&key.1) {
            self.id = None;
            return Poll::Ready(Busy(Some(self.clock.clone())));
        }
        if let Some(slot) = state.alarms.get_mut(&key) {
            *slot = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.id.take() {
            let mut state = self.clock.lock();
            state.alarms.remove(&key);
            if state.rung.remove(&key.1) {
                state.tokens = state.tokens.saturating_sub(1);
            }
            drop(state);
            self.clock.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn sleepers_wake_in_order_of_time_while_tokens_pair_with_sleeps() {
        block(async {
            let clock = SimClock::new(1_000, 0, None);
            let seen = Arc::new(Mutex::new(Vec::new()));
            let tasks: Vec<_> = [(30_u64, 3), (10, 1), (20, 2)]
                .into_iter()
                .map(|(ms, times)| {
                    let (clock, seen, token) = (clock.clone(), seen.clone(), clock.busy());
                    tokio::spawn(async move {
                        for _ in 0..times {
                            clock.sleep(ms).await;
                            seen.lock().unwrap().push((clock.mono_ms(), ms));
                            tokio::task::yield_now().await;
                        }
                        drop(token);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(
                *seen.lock().unwrap(),
                [(10, 10), (20, 20), (30, 30), (40, 20), (60, 30), (90, 30)]
            );
            assert_eq!(clock.wall_ms(), 1_090);
        });
    }

    #[test]
    fn time_stands_still_while_somebody_works() {
        block(async {
            let clock = SimClock::new(0, 0, None);
            let worker = clock.busy();
            let sleeper = clock.clone();
            let token = clock.busy();
            let task = tokio::spawn(async move {
                sleeper.sleep(50).await;
                drop(token);
            });
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(clock.mono_ms(), 0);
            drop(worker);
            task.await.unwrap();
            assert_eq!(clock.mono_ms(), 50);
        });
    }

    #[test]
    fn a_dropped_sleep_is_forgotten() {
        block(async {
            let clock = SimClock::new(0, 0, None);
            let _token = clock.busy();
            let limit = clock.busy();
            {
                let long = clock.sleep(1_000);
                let short = clock.sleep(10);
                tokio::pin!(long, short);
                tokio::select! { biased; () = &mut long => panic!("too long"), () = &mut short => {} }
            }
            drop(limit);
            clock.sleep(5).await;
            assert_eq!(clock.mono_ms(), 15);
        });
    }

    #[test]
    fn an_alarm_rings_beside_the_work_and_stops_time_until_it_is_answered() {
        block(async {
            let clock = SimClock::new(0, 0, None);
            let token = clock.busy();
            let work = async {
                clock.sleep(40).await;
                clock.sleep(40).await;
            };
            let other = clock.clone();
            let other_token = clock.busy();
            let other = tokio::spawn(async move {
                for _ in 0..100 {
                    other.sleep(1).await;
                }
                drop(other_token);
            });
            let rang = tokio::select! {
                biased;
                () = work => None,
                busy = clock.alarm(50) => Some(busy),
            };
            assert_eq!(clock.mono_ms(), 50);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                clock.mono_ms(),
                50,
                "time stands still while the alarm's token is held"
            );
            drop(rang);
            drop(token);
            other.await.unwrap();
            assert_eq!(clock.mono_ms(), 100);
        });
    }

    #[test]
    fn without_tokens_it_still_moves() {
        block(async {
            let clock = SimClock::new(0, 7, None);
            clock.sleep(3).await;
            clock.sleep(0).await;
            assert_eq!(clock.mono_ms(), 10);
        });
    }
}
