//! A stopwatch: the benchmark's only clock.

use std::time::Duration;

/// Started when it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(std::time::Instant);

impl Watch {
    pub(crate) fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "measuring real time is the purpose of a benchmark"
        )]
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Microseconds for each of `count` things.
    pub(crate) fn us_each(&self, count: usize) -> f64 {
        self.elapsed().as_secs_f64() * 1e6 / crate::stats::real(count.max(1) as u64)
    }

    pub(crate) fn ms(&self) -> f64 {
        self.elapsed().as_secs_f64() * 1e3
    }
}
