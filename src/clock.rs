//! This machine's time, for everything that is not a run on a host.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds.
pub(crate) fn wall_ms() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the binary's own clock: crash reports and run ids"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
