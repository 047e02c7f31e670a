//! Delays between attempts. The only user of `backoff`, and for its arithmetic alone (docs/adr/0004).

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use crate::id::{RunId, StepId};
use crate::plan::RetryPolicy;

/// Jitter, in percent of the delay to either side.
const JITTER_PERCENT: u64 = 20;

/// The delay before the attempt that follows `tries` failed ones, in milliseconds.
///
/// It doubles from `delay_first_ms` up to `delay_max_ms`; the jitter is derived from the run, the step and the attempt, so
/// that the same history chooses the same delay.
pub fn delay_ms(policy: &RetryPolicy, run: RunId, step: &StepId, tries: u32) -> u64 {
    let mut backoff: ExponentialBackoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(policy.delay_first_ms))
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_interval(Duration::from_millis(
            policy.delay_max_ms.max(policy.delay_first_ms),
        ))
        // Its default is 15 minutes, less than one of our steps may take.
        .with_max_elapsed_time(None)
        .build();
    // `build` starts the clock of the interval; the first answer is the initial interval.
    let mut delay = Duration::ZERO;
    for _ in 0..tries.clamp(1, 64) {
        delay = backoff.next_backoff().unwrap_or(delay);
    }
    let base = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let spread = base.saturating_mul(2 * JITTER_PERCENT) / 100;
    let low = base.saturating_sub(spread / 2);
    low.saturating_add(draw(run, step, tries) % spread.max(1))
}

fn draw(run: RunId, step: &StepId, tries: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&run.0)
        .update(step.as_str().as_bytes())
        .update(&tries.to_le_bytes());
    let hash = hasher.finalize();
    hash.as_bytes()
        .iter()
        .take(8)
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_are_the_same_for_the_same_history() {
        let policy = RetryPolicy {
            attempts_max: 9,
            delay_first_ms: 1_000,
            delay_max_ms: 30_000,
        };
        let run = RunId([7; 16]);
        let step = StepId::new("net.wirebox").unwrap();
        let delays: Vec<u64> = (1..9)
            .map(|tries| delay_ms(&policy, run, &step, tries))
            .collect();
        for (delay, base) in delays.iter().zip([1, 2, 4, 8, 16, 30, 30, 30]) {
            let base = base * 1_000;
            assert!(
                (base * 8 / 10..=base * 12 / 10).contains(delay),
                "{delay} is not near {base}"
            );
        }
        assert_eq!(delays[3], delay_ms(&policy, run, &step, 4));
    }
}
