//! Decisions as tables: a plan, what happened, what must come next.

use super::{Command, InFlight, decide};
use crate::event::{
    Cause, Event, Interrupted, Limits, OnEdited, OnFailure, OperatorDecided, Parked, PlanRevised,
    RetryPlanned, RunEnded, RunOpened, RunResumed, StepCaptured, StepFailed, StepReconciled,
    StepStarted, StepSucceeded, UndoFailed, UndoSkipped, UndoStarted, UndoSucceeded, UnwindBegan,
    Verdict,
};
use crate::id::{Lane, StepId};
use crate::outcome::{Before, Failure, How, Outcome, Probe, Receipt, UndoClass};
use crate::plan::{Plan, RetryPolicy, StepSpec};
use crate::state::RunState;

pub(super) fn id(name: &str) -> StepId {
    StepId::new(name).unwrap()
}

/// `"b<a lane=l undo=d"`: step b after a, in lane l, with a destructive undo.
fn step(text: &str) -> StepSpec {
    let mut words = text.split(' ');
    let mut head = words.next().unwrap().split('<');
    let name = head.next().unwrap();
    let mut spec = StepSpec {
        id: id(name),
        kind: "test/1".to_owned(),
        summary: String::new(),
        undo_summary: String::new(),
        after: head.map(id).collect(),
        lanes: Vec::new(),
        undo: UndoClass::Reversible,
        idempotent: true,
        retry: RetryPolicy::NEVER,
        timeout_ms: 1,
        usual_ms: 1,
        inputs: format!("{{\"of\":\"{name}\"}}"),
    };
    for word in words {
        match word.split_once('=').unwrap() {
            ("lane", lane) => spec.lanes.push(Lane::new(lane)),
            ("undo", "d") => {
                spec.undo = UndoClass::Destructive {
                    what: "data".to_owned(),
                }
            }
            ("undo", "i") => {
                spec.undo = UndoClass::Irreversible {
                    why: "gone".to_owned(),
                }
            }
            ("undo", "n") => spec.undo = UndoClass::NothingToUndo,
            ("tries", count) => {
                spec.retry = RetryPolicy {
                    attempts_max: count.parse().unwrap(),
                    delay_first_ms: 1,
                    delay_max_ms: 1,
                };
            }
            ("idempotent", "no") => spec.idempotent = false,
            ("usual", ms) => spec.usual_ms = ms.parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }
    spec
}

fn plan(steps: &[&str]) -> Plan {
    Plan {
        name: "test".to_owned(),
        steps: steps.iter().map(|text| step(text)).collect(),
    }
}

pub(super) struct Case {
    pub(super) state: RunState,
    pub(super) in_flight: InFlight,
}

pub(super) fn case(width: u32, steps: &[&str]) -> Case {
    with_limits(
        Limits {
            width,
            on_failure: OnFailure::Keep,
            fail_fast: false,
        },
        steps,
    )
}

fn with_limits(limits: Limits, steps: &[&str]) -> Case {
    let opened = RunOpened {
        plan: plan(steps),
        limits,
        host: String::new(),
        tool: String::new(),
        command_line: String::new(),
    };
    Case {
        state: RunState::open(&opened),
        in_flight: InFlight::default(),
    }
}

impl Case {
    pub(super) fn then(mut self, event: impl Into<Event>) -> Self {
        self.state.apply(&event.into()).unwrap();
        self
    }

    pub(super) fn started(self, name: &str) -> Self {
        let attempt = self.state.record(&id(name)).unwrap().attempts + 1;
        self.then(StepStarted {
            step: id(name),
            attempt,
        })
    }

    fn captured(self, name: &str) -> Self {
        let event = StepCaptured {
            step: id(name),
            attempt: 1,
            before: Before::Image("{}".to_owned()),
            found: Probe::Absent,
        };
        self.then(event)
    }

    pub(super) fn done(self, name: &str) -> Self {
        self.started(name).captured(name).ended(name, How::Changed)
    }

    fn ended(self, name: &str, how: How) -> Self {
        self.then(StepSucceeded {
            step: id(name),
            attempt: 1,
            how,
            receipt: Receipt::default(),
            evidence: None,
            took_ms: 1,
        })
    }

    fn failed(self, name: &str, failure: Failure) -> Self {
        self.then(StepFailed {
            step: id(name),
            attempt: 1,
            failure,
            evidence: None,
            took_ms: 1,
        })
    }

    pub(super) fn resumed(self) -> Self {
        self.then(RunResumed {
            tool: String::new(),
            command_line: String::new(),
        })
    }

    pub(super) fn unwinding(self, wipe_data: bool) -> Self {
        self.then(UnwindBegan {
            cause: Cause::Operator,
            keep_to: None,
            wipe_data,
        })
    }

    pub(super) fn undone(self, name: &str) -> Self {
        self.then(UndoStarted {
            step: id(name),
            attempt: 1,
        })
        .then(UndoSucceeded {
            step: id(name),
            attempt: 1,
            evidence: None,
            took_ms: 1,
        })
    }

    /// The decisions as words: `start a#1`, `undo b#1`, `end Completed`.
    #[track_caller]
    pub(super) fn next(self, expected: &[&str]) -> Self {
        let words: Vec<String> = decide(&self.state, &self.in_flight)
            .iter()
            .map(|c| self.word(c))
            .collect();
        assert_eq!(words, expected);
        self
    }

    fn word(&self, command: &Command) -> String {
        let name = |at: &usize| self.state.spec(*at).unwrap().id.to_string();
        match command {
            Command::Reconcile { step, attempt } => format!("look {}#{attempt}", name(step)),
            Command::Settle { step, attempt, .. } => format!("settle {}#{attempt}", name(step)),
            Command::Start { step, attempt } => format!("start {}#{attempt}", name(step)),
            Command::Reattach { step, attempt } => format!("reattach {}#{attempt}", name(step)),
            Command::PlanRetry { step, attempt, .. } => format!("retry {}#{attempt}", name(step)),
            Command::Wait { step, delay_ms } => format!("wait {} {delay_ms}", name(step)),
            Command::Undo { step, attempt } => format!("undo {}#{attempt}", name(step)),
            Command::LeaveStanding { step, .. } => format!("leave {}", name(step)),
            Command::Park { step, .. } => format!("park {}", name(step)),
            Command::BeginUnwind { .. } => "unwind".to_owned(),
            Command::End { outcome } => format!("end {outcome:?}"),
        }
    }
}

#[test]
fn steps_start_when_their_dependencies_are_done_and_the_most_urgent_first() {
    case(2, &["a", "b<a", "slow usual=100", "c<b"])
        .next(&["start slow#1", "start a#1"])
        .started("slow")
        .started("a")
        .next(&[])
        .ended("a", How::Changed)
        .next(&["start b#1"])
        .done("b")
        .ended("slow", How::Adopted)
        .done("c")
        .next(&["end Completed"]);
}

#[test]
fn a_lane_is_held_by_one_step_at_a_time() {
    case(8, &["a lane=apt", "b lane=apt", "c"])
        .next(&["start a#1", "start c#1"])
        .started("a")
        .started("c")
        .next(&[])
        .ended("a", How::Changed)
        .next(&["start b#1"]);
}

#[test]
fn independent_branches_finish_after_a_failure_unless_told_otherwise() {
    let failed = |limits| {
        with_limits(limits, &["a", "b<a", "c"])
            .started("a")
            .failed("a", Failure::dirty("x"))
    };
    let keep = Limits {
        width: 1,
        on_failure: OnFailure::Keep,
        fail_fast: false,
    };
    failed(keep)
        .next(&["start c#1"])
        .done("c")
        .next(&["end FailedKept"]);
    failed(Limits {
        fail_fast: true,
        ..keep
    })
    .next(&["end FailedKept"]);
    failed(Limits {
        on_failure: OnFailure::Rollback,
        ..keep
    })
    .next(&["unwind"]);
}

#[test]
fn retries_have_a_budget_and_a_resume_gives_a_new_one() {
    let mut case = case(1, &["a tries=2"])
        .started("a")
        .failed("a", Failure::clean("x").retry())
        .next(&["retry a#2"])
        .then(RetryPlanned {
            step: id("a"),
            attempt: 2,
            delay_ms: 7,
        })
        .next(&["wait a 7"]);
    case.in_flight.waiting.insert(0);
    let mut case = case.next(&[]);
    case.in_flight = InFlight {
        rested: [0].into(),
        ..InFlight::default()
    };
    let mut case = case
        .next(&["start a#2"])
        .started("a")
        .failed("a", Failure::clean("x").retry());
    case.in_flight = InFlight::default();
    case.next(&["end FailedKept"])
        .then(RunEnded {
            outcome: Outcome::FailedKept,
        })
        .resumed()
        .next(&["start a#3"]);
}

#[test]
fn an_attempt_without_outcome_is_looked_at_before_it_is_touched() {
    let look = |found: Probe, name: &'static str| {
        case(1, &["a", "b idempotent=no"])
            .ended_if(name == "b")
            .started(name)
            .resumed()
            .then(StepReconciled {
                step: id(name),
                attempt: 1,
                found,
            })
    };
    case(1, &["a"]).started("a").resumed().next(&["look a#1"]);
    look(Probe::Satisfied(Receipt::default()), "a").next(&["settle a#1", "start b#1"]);
    look(Probe::Absent, "a").next(&["start a#2"]);
    look(Probe::Running, "a").next(&["reattach a#1"]);
    look(Probe::Unknown { why: String::new() }, "a").next(&["start a#2"]);
    look(Probe::Unknown { why: String::new() }, "b")
        .next(&["park b"])
        .then(Parked {
            step: id("b"),
            why: String::new(),
        })
        .next(&["end Parked"]);
}

impl Case {
    fn ended_if(self, first: bool) -> Self {
        if first { self.done("a") } else { self }
    }
}

#[test]
fn rollback_takes_dependents_back_first_and_leaves_adopted_steps() {
    case(8, &["a", "b<a", "c<a", "d"])
        .done("a")
        .done("b")
        .started("c")
        .ended("c", How::Adopted)
        .started("d")
        .failed("d", Failure::dirty("half"))
        .unwinding(true)
        .next(&["undo b#1", "undo d#1"])
        .undone("b")
        .undone("d")
        .next(&["undo a#1"])
        .undone("a")
        .next(&["end RolledBack"]);
}

#[test]
fn unconfirmed_data_stays_with_all_it_stands_on() {
    let rows = || {
        case(
            8,
            &[
                "net",
                "image",
                "disk<image undo=d",
                "domain<disk<net",
                "ready<domain undo=n",
                "note<net undo=i",
            ],
        )
        .done("net")
        .done("image")
        .done("disk")
        .done("domain")
        .done("ready")
        .done("note")
    };
    rows()
        .unwinding(false)
        .next(&["undo domain#1", "leave note"])
        .undone("domain")
        .then(UndoSkipped {
            step: id("note"),
            why: String::new(),
        })
        .next(&["undo net#1", "leave disk"])
        .then(UndoSkipped {
            step: id("disk"),
            why: String::new(),
        })
        .next(&["undo net#1", "leave image"])
        .then(UndoSkipped {
            step: id("image"),
            why: String::new(),
        })
        .undone("net")
        .next(&["end RolledBack"])
        .then(RunEnded {
            outcome: Outcome::RolledBack,
        })
        // A second rollback, now confirmed, takes the rest.
        .unwinding(true)
        .next(&["undo disk#1", "leave note"]);
    rows()
        .unwinding(true)
        .next(&["undo domain#1", "leave note"])
        .undone("domain")
        .next(&["undo net#1", "undo disk#1", "leave note"]);
}

#[test]
fn an_undo_that_keeps_failing_parks_the_run_until_somebody_decides() {
    let fail = |case: Case, attempt| {
        case.then(UndoStarted {
            step: id("a"),
            attempt,
        })
        .then(UndoFailed {
            step: id("a"),
            attempt,
            failure: Failure::dirty("busy").retry(),
            evidence: None,
            took_ms: 1,
        })
    };
    let mut case = case(1, &["a"]).done("a").unwinding(true);
    for attempt in 1..3 {
        case = fail(case, attempt)
            .next(&[&format!("retry a#{}", attempt + 1)])
            .then(RetryPlanned {
                step: id("a"),
                attempt: attempt + 1,
                delay_ms: 1,
            });
        case.in_flight.rested.insert(0);
        case = case.next(&[&format!("undo a#{}", attempt + 1)]);
        case.in_flight = InFlight::default();
    }
    let parked = || {
        fail(
            Case {
                state: case.state.clone(),
                in_flight: InFlight::default(),
            },
            3,
        )
        .next(&["park a"])
        .then(Parked {
            step: id("a"),
            why: String::new(),
        })
        .next(&["end Parked"])
        .then(RunEnded {
            outcome: Outcome::Parked,
        })
    };
    let decide = |verdict| {
        let decided = OperatorDecided {
            step: Some(id("a")),
            verdict,
            note: String::new(),
        };
        parked().then(decided).resumed()
    };
    parked().resumed().next(&["end Parked"]);
    decide(Verdict::RetryUndo).next(&["undo a#1"]);
    decide(Verdict::Accept).next(&["end RolledBack"]);
    decide(Verdict::Skip).next(&["end RolledBack"]);
    assert!(!decide_abandon(parked()).state.is_resumable());
}

fn decide_abandon(case: Case) -> Case {
    case.then(OperatorDecided {
        step: None,
        verdict: Verdict::Abandon,
        note: String::new(),
    })
    .next(&[])
}

#[test]
fn a_stop_starts_nothing_new_and_ends_when_the_running_steps_have() {
    let mut case = case(2, &["a", "b<a", "c"]).started("a").then(Interrupted {
        stage: 1,
        by: "SIGINT".to_owned(),
    });
    case.in_flight.busy.insert(0);
    let mut case = case.next(&[]).ended("a", How::Changed);
    case.in_flight = InFlight::default();
    case.next(&["end Interrupted"])
        .then(RunEnded {
            outcome: Outcome::Interrupted,
        })
        .resumed()
        .next(&["start b#1", "start c#1"]);
}

#[test]
fn rollback_to_a_step_takes_back_what_was_done_after_it() {
    case(1, &["a", "b<a", "c"])
        .done("a")
        .done("c")
        .done("b")
        .then(UnwindBegan {
            cause: Cause::Operator,
            keep_to: Some(id("c")),
            wipe_data: true,
        })
        .next(&["undo b#1"])
        .undone("b")
        .next(&["end RolledBack"]);
}

#[test]
fn a_changed_plan_redoes_edited_steps_and_keeps_gone_ones_for_rollback() {
    let revised = |on_edited| {
        let mut new = plan(&["a", "b<a", "new<b"]);
        new.steps[1].inputs = "{\"of\":\"something else\"}".to_owned();
        case(1, &["a", "b<a", "gone<a"])
            .done("a")
            .done("b")
            .done("gone")
            .resumed()
            .then(PlanRevised {
                plan: new,
                on_edited,
            })
    };
    revised(OnEdited::Adopt).next(&["start new#1"]);
    revised(OnEdited::Redo)
        .next(&["start b#2"])
        .done_again("b")
        .done("new")
        .next(&["end Completed"])
        .unwinding(true)
        .next(&["undo new#1"]);
    let rolled = revised(OnEdited::Adopt).unwinding(true);
    let words: Vec<String> = decide(&rolled.state, &rolled.in_flight)
        .iter()
        .map(|c| rolled.word(c))
        .collect();
    assert_eq!(words, ["undo b#1"]);
    rolled.undone("b").next(&["undo gone#1"]);
}

impl Case {
    fn done_again(self, name: &str) -> Self {
        self.started(name).ended(name, How::Changed)
    }
}

#[test]
fn an_operator_may_accept_skip_or_retry_a_failed_step() {
    let failed = || {
        case(1, &["a", "b<a"])
            .started("a")
            .failed("a", Failure::unknown("?").ask())
            .next(&["park a"])
            .then(Parked {
                step: id("a"),
                why: String::new(),
            })
            .then(RunEnded {
                outcome: Outcome::Parked,
            })
    };
    let decide = |verdict| {
        failed()
            .then(OperatorDecided {
                step: Some(id("a")),
                verdict,
                note: String::new(),
            })
            .resumed()
    };
    failed().resumed().next(&["end Parked"]);
    decide(Verdict::Accept).next(&["start b#1"]);
    decide(Verdict::Skip).next(&["start b#1"]);
    decide(Verdict::Retry).next(&["start a#2"]);
    // A refusal that left nothing behind may simply be asked again.
    case(1, &["a"])
        .started("a")
        .failed("a", Failure::clean("a foreign network").ask())
        .then(Parked {
            step: id("a"),
            why: String::new(),
        })
        .then(RunEnded {
            outcome: Outcome::Parked,
        })
        .resumed()
        .next(&["start a#2"]);
}
