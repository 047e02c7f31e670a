//! Decisions on the way back after a crash or a decision, as tables.

use super::tests::{case, id};
use crate::event::{
    OperatorDecided, Parked, RunEnded, StepReconciled, UndoFailed, UndoStarted, Verdict,
};
use crate::outcome::{Failure, Outcome, Probe};

#[test]
fn rollback_looks_for_a_job_that_the_journal_knows_no_effect_of() {
    let killed = || case(2, &["a", "b"]).done("a").started("b");
    let alone = case(1, &["b"]).started("b");
    assert!(
        alone.state.has_standing(),
        "an attempt without outcome may stand"
    );
    let look = |found: Probe| {
        let found = StepReconciled {
            step: id("b"),
            attempt: 1,
            found,
        };
        killed()
            .resumed()
            .unwinding(true)
            .next(&["undo a#1", "look b#1"])
            .then(found)
    };
    look(Probe::Running).next(&["undo a#1", "undo b#1"]);
    look(Probe::Absent)
        .next(&["undo a#1"])
        .undone("a")
        .next(&["end RolledBack"]);
}

#[test]
fn a_skipped_undo_is_not_asked_about_again() {
    let failed = UndoFailed {
        step: id("a"),
        attempt: 1,
        failure: Failure::dirty("no"),
        evidence: None,
        took_ms: 1,
    };
    case(1, &["a"])
        .done("a")
        .unwinding(true)
        .then(UndoStarted {
            step: id("a"),
            attempt: 1,
        })
        .then(failed)
        .next(&["park a"])
        .then(Parked {
            step: id("a"),
            why: String::new(),
        })
        .then(RunEnded {
            outcome: Outcome::Parked,
        })
        .then(OperatorDecided {
            step: Some(id("a")),
            verdict: Verdict::Skip,
            note: "x".to_owned(),
        })
        .resumed()
        .unwinding(true)
        .next(&["end RolledBack"]);
}

#[test]
fn what_has_nothing_to_undo_still_orders_what_stands_around_it() {
    let run = case(4, &["a", "b<a undo=n", "c<b undo=n", "d<c"])
        .done("a")
        .done("b")
        .done("c")
        .done("d")
        .unwinding(true);
    run.next(&["undo d#1"]).undone("d").next(&["undo a#1"]);
}
