//! What the parts of an open journal share.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::layout::Layout;
use crate::opening::Opening;
use crate::options::Options;

/// What the journal's parts share while it is open.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    pub(crate) catalog: RwLock<Catalog>,
    pub(crate) blobs: Blobs,
    pub(crate) opening: Opening,
    pub(crate) poison: OnceLock<String>,
    pub(crate) pulse: Pulse,
}

impl Shared {
    pub(crate) fn new(
        layout: Layout,
        options: Options,
        catalog: Catalog,
        opening: Opening,
    ) -> Self {
        Self {
            blobs: Blobs::new(layout.out()),
            layout,
            options,
            catalog: RwLock::new(catalog),
            opening,
            poison: OnceLock::new(),
            pulse: Pulse::default(),
        }
    }

    pub(crate) fn with_catalog<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Wakes those who wait for something new.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    state: Mutex<Beats>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Beats {
    count: u64,
    waiting: usize,
}

impl Pulse {
    fn lock(&self) -> MutexGuard<'_, Beats> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn beat(&self) {
        let mut beats = self.lock();
        beats.count += 1;
        let waiting = beats.waiting;
        drop(beats);
        // Waking nobody would cost a system call per append.
        if waiting > 0 {
            self.wake.notify_all();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.lock().count
    }

    /// Waits until there were more than `seen` beats, or for `wait`. Returns the count.
    pub(crate) fn after(&self, seen: u64, wait: Duration) -> u64 {
        let mut beats = self.lock();
        beats.waiting += 1;
        let waited = self
            .wake
            .wait_timeout_while(beats, wait, |beats| beats.count <= seen);
        let mut beats = waited.unwrap_or_else(PoisonError::into_inner).0;
        beats.waiting -= 1;
        beats.count
    }
}
