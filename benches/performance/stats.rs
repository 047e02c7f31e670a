//! Medians, and whole numbers as real ones.

/// The middle of the samples; 0 when there is none.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

/// A count as a real number; exact far beyond anything that is counted here.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay below 2^52, where nothing is lost"
)]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}
