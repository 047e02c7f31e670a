//! Time, the environment and interrupts: everything that the lab takes from the system besides commands.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{LabError, Result};

/// Set by the first interrupt.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Set while the lab cleans up; interrupts are then ignored.
static CLEANING: AtomicBool = AtomicBool::new(false);

/// A point in monotonic time, for measuring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(Instant);

impl Watch {
    /// Starts measuring.
    #[expect(
        clippy::disallowed_methods,
        reason = "the lab acts on the real machine in real time"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    pub(crate) fn secs(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    /// Whether more than this many seconds have passed.
    pub(crate) fn over(self, limit_s: u64) -> bool {
        self.0.elapsed() > Duration::from_secs(limit_s)
    }
}

/// Unix time in milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the lab's cluster lives in real time"
)]
pub(crate) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Unix time in seconds.
pub(crate) fn wall_s() -> u64 {
    wall_ms() / 1_000
}

/// The time as Kubernetes writes it: `2026-01-31T12:00:00Z`.
pub(crate) fn now_utc() -> String {
    wiab_steps::time::utc(wall_ms())
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "the lab waits for real machines")]
pub(crate) fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A variable of the environment, if set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the lab is a program of its own, started by hand"
)]
pub(crate) fn env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The other program of this package that was built with this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let own = fs_err::canonicalize("/proc/self/exe")?;
    let path = own.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(LabError::Unsuitable(format!(
        "{} is not there; build it: cargo build -p wiab-lab",
        path.display()
    )))
}

/// Polls `look` every 100 ms until it answers, for at most `limit_s` seconds.
pub(crate) fn wait_for<T>(
    what: &str,
    limit_s: u64,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let watch = Watch::start();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        check_interrupt()?;
        if watch.over(limit_s) {
            return Err(LabError::TimedOut {
                what: what.to_owned(),
                limit_s,
                detail: String::new(),
            });
        }
        sleep_ms(100);
    }
}

/// Makes SIGINT, SIGTERM and SIGHUP end the running command instead of the lab, so that the lab can clean up.
pub(crate) fn catch_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut int, mut term, mut hup) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hup.recv() => {} }
                INTERRUPTED.store(true, Ordering::SeqCst);
            }
        });
    });
    Ok(())
}

/// Runs `work` with interrupts ignored.
pub(crate) fn cleaning<T>(work: impl FnOnce() -> T) -> T {
    let outer = CLEANING.swap(true, Ordering::SeqCst);
    let result = work();
    CLEANING.store(outer, Ordering::SeqCst);
    result
}

/// Fails when the user has asked to stop, unless the lab is cleaning up.
pub(crate) fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) && !CLEANING.load(Ordering::SeqCst) {
        return Err(LabError::Interrupted);
    }
    Ok(())
}
