//! The exit codes of `wiab`: a short, stable list. `wiab help exit-codes` prints it.

use wiab_engine::outcome::Outcome;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Done.
    Ok,
    /// Any other expected error.
    Failure,
    /// `plan --exit-code`: something would change.
    Changes,
    /// The command line is wrong.
    Usage,
    /// The plan is wrong, stale, or differs from the one that is resumed.
    BadPlan,
    /// The host cannot be reached.
    Unreachable,
    /// A broken invariant; a crash report was written.
    Bug,
    /// The journal or the state directory cannot be read or written.
    JournalIo,
    /// Another run holds the installation.
    Locked,
    /// A permission is missing on the host.
    Denied,
    /// The configuration is missing or wrong.
    BadConfig,
    /// A step failed and everything was taken back.
    RolledBack,
    /// A step failed; what stands is kept.
    FailedKept,
    /// A human must decide.
    Parked,
    /// Reality differs from the journal.
    Drift,
    /// The host cannot take the plan.
    Preflight,
    /// Stopped by Ctrl-C.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

/// Every code, in order of its number.
pub(crate) const ALL: [Code; 18] = [
    Code::Ok,
    Code::Failure,
    Code::Changes,
    Code::Usage,
    Code::BadPlan,
    Code::Unreachable,
    Code::Bug,
    Code::JournalIo,
    Code::Locked,
    Code::Denied,
    Code::BadConfig,
    Code::RolledBack,
    Code::FailedKept,
    Code::Parked,
    Code::Drift,
    Code::Preflight,
    Code::Interrupted,
    Code::Terminated,
];

impl Code {
    /// The number that the shell sees.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Changes => 2,
            Self::Usage => 64,
            Self::BadPlan => 65,
            Self::Unreachable => 69,
            Self::Bug => 70,
            Self::JournalIo => 74,
            Self::Locked => 75,
            Self::Denied => 77,
            Self::BadConfig => 78,
            Self::RolledBack => 100,
            Self::FailedKept => 101,
            Self::Parked => 102,
            Self::Drift => 103,
            Self::Preflight => 104,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The stable name, used in JSON output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failure",
            Self::Changes => "changes",
            Self::Usage => "usage",
            Self::BadPlan => "bad-plan",
            Self::Unreachable => "unreachable",
            Self::Bug => "bug",
            Self::JournalIo => "journal-io",
            Self::Locked => "locked",
            Self::Denied => "denied",
            Self::BadConfig => "bad-config",
            Self::RolledBack => "rolled-back",
            Self::FailedKept => "failed-kept",
            Self::Parked => "parked",
            Self::Drift => "drift",
            Self::Preflight => "preflight",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// What it means, in one line.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; with `plan --exit-code`: nothing to change",
            Self::Failure => "any other expected error",
            Self::Changes => "only `plan --exit-code`: something would change",
            Self::Usage => "the command line is wrong, or a confirmation is missing",
            Self::BadPlan => "the plan is wrong, stale, or differs from the run to resume",
            Self::Unreachable => "the host cannot be reached",
            Self::Bug => "a bug in wiab; a crash report was written",
            Self::JournalIo => {
                "the journal or the state directory cannot be read or written, or stdout cannot"
            }
            Self::Locked => "another run holds this installation",
            Self::Denied => "a permission is missing on the host",
            Self::BadConfig => "the configuration is missing or wrong",
            Self::RolledBack => "a step failed and everything was taken back",
            Self::FailedKept => "a step failed; what stands is kept and can be resumed",
            Self::Parked => "a human must decide: `wiab decide`",
            Self::Drift => "reality differs from the journal, or the journal from its copy",
            Self::Preflight => "the host cannot take this plan",
            Self::Interrupted => "stopped by Ctrl-C; can be resumed",
            Self::Terminated => "stopped by SIGTERM; can be resumed",
        }
    }

    /// The code of a run's end. `wanted_rollback` tells a rollback that was asked for from one after a failure.
    pub(crate) fn of(outcome: Outcome, wanted_rollback: bool) -> Self {
        match outcome {
            Outcome::Completed => Self::Ok,
            Outcome::FailedKept => Self::FailedKept,
            Outcome::RolledBack if wanted_rollback => Self::Ok,
            Outcome::RolledBack => Self::RolledBack,
            Outcome::Parked => Self::Parked,
            Outcome::Interrupted => Self::Interrupted,
            Outcome::Abandoned => Self::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_ascending() {
        for pair in ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number());
            assert_ne!(pair[0].name(), pair[1].name());
        }
    }
}
