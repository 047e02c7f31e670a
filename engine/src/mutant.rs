//! Planted mistakes for the simulator: each must make it fail. Outside the crate's own tests all are off.

/// A mistake that an engine of this sort could contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// After a crash the before-image is captured afresh from a half-changed host.
    RecapturesOnResume,
    /// A failed step is not taken back, whatever it left.
    FailedStepNotUndone,
    /// A step is taken back while steps that stand on it are still there.
    UndoBeforeDependents,
    /// After a crash an unfinished step is run again without a look.
    NoProbeOnResume,
    /// A step that was found as wanted is taken back.
    AdoptedStepUndone,
    /// A step is told that an obligation is durable before it is.
    OwesBeforeDurable,
    /// After a crash a step that is as wanted is settled although it still owes something.
    ForgetsObligations,
}

#[cfg(not(test))]
pub(crate) const fn on(_mutant: Mutant) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn on(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Turns one mistake on for this thread.
#[cfg(test)]
pub(crate) fn plant(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}
