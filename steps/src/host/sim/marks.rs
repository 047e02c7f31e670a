//! Moments at which the machine looks different without a change: a guest boots, a requested shutdown is done.
//!
//! Once such a moment has been seen it must not lie in the future again, so the clock is stored when one has passed.

use std::collections::BTreeMap;

use serde::Deserialize as _;

use super::Inner;
use super::cmd;
use super::entity::Domain;
use super::state::{Change, Entity as _, Machine};

/// Most virtual milliseconds that may pass unrecorded: no more than that is lost with a killed process.
const UNRECORDED_MS_MAX: u64 = 1_000;

/// The moments of every domain.
#[derive(Debug, Default)]
pub(super) struct Marks(BTreeMap<String, Vec<u64>>);

impl Marks {
    /// Those of a machine.
    pub(super) fn of(machine: &Machine) -> Self {
        let domains = machine.list::<Domain>().into_iter();
        Self(
            domains
                .map(|(name, domain)| (name.clone(), cmd::moments(&name, &domain)))
                .collect(),
        )
    }

    /// Follows changes of the machine.
    pub(super) fn follow(&mut self, changes: &[Change]) {
        for Change(key, value) in changes {
            let Some(name) = key
                .strip_prefix(Domain::KIND)
                .and_then(|rest| rest.strip_prefix(':'))
            else {
                continue;
            };
            let domain = value
                .as_ref()
                .and_then(|value| Domain::deserialize(value).ok());
            match domain {
                Some(domain) => {
                    let moments = cmd::moments(name, &domain);
                    drop(self.0.insert(name.to_owned(), moments));
                }
                None => drop(self.0.remove(name)),
            }
        }
    }

    /// Whether one of them lies after `from_ms` and not after `to_ms`.
    fn passed(&self, from_ms: u64, to_ms: u64) -> bool {
        let mut all = self.0.values().flatten();
        all.any(|moment_ms| (from_ms + 1..=to_ms).contains(moment_ms))
    }
}

impl Inner {
    /// Stores the clock if what is seen now must not be unseen by a killed process.
    pub(super) fn keep_time(&mut self) {
        let (stored_ms, now_ms) = (self.stored_ms, self.machine.now_ms);
        if now_ms <= stored_ms {
            return;
        }
        if now_ms - stored_ms >= UNRECORDED_MS_MAX || self.marks.passed(stored_ms, now_ms) {
            self.note_time();
        }
    }
}
