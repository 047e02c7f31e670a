//! The real clock.

use std::time::Duration;

use wiab_engine::ports::{BoxFuture, Busy, Clock};

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    pub fn new() -> Self {
        Self {
            started: tokio::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let now = std::time::SystemTime::now();
        let since = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn mono_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'_, ()> {
        Box::pin(pause(ms))
    }

    fn alarm(&self, ms: u64) -> BoxFuture<'_, Busy> {
        Box::pin(async move {
            pause(ms).await;
            Busy(None)
        })
    }

    fn busy(&self) -> Busy {
        Busy(None)
    }
}

/// Waits in real time.
pub(in crate::host) async fn pause(ms: u64) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where a real host waits"
    )]
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
