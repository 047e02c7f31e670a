//! Randomness as a parameter: the operating system's on real hosts, a fixed stream in simulation and tests.

use std::fmt;

/// The source gave no randomness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no randomness from the operating system: {why}")]
pub struct EntropyError {
    /// The system's reason.
    pub why: String,
}

/// A source of random bytes.
pub trait Entropy: Send + fmt::Debug {
    /// Fills `bytes`, all of them.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The operating system's generator on the machine where wiab runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|error| EntropyError {
            why: error.to_string(),
        })
    }
}

/// A stream that is the same for the same seed. Never for a real machine.
pub struct SeededEntropy(blake3::OutputReader);

impl SeededEntropy {
    /// The stream of `seed`.
    pub fn new(seed: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("wiab 2026-01-01 simulated entropy");
        hasher.update(seed.as_bytes());
        Self(hasher.finalize_xof())
    }
}

impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededEntropy")
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_and_the_system_does_not_repeat_itself() {
        let draw = |entropy: &mut dyn Entropy| {
            let mut bytes = [0; 32];
            entropy.fill(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(
            draw(&mut SeededEntropy::new("a")),
            draw(&mut SeededEntropy::new("a"))
        );
        assert_ne!(
            draw(&mut SeededEntropy::new("a")),
            draw(&mut SeededEntropy::new("b"))
        );
        let mut stream = SeededEntropy::new("a");
        assert_ne!(draw(&mut stream), draw(&mut stream));
        assert_ne!(draw(&mut OsEntropy), draw(&mut OsEntropy));
    }
}
