//! Every event kind as released: its bytes never change, and are readable for ever.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wiab_engine::codec;
use wiab_engine::event::{
    Cause, CureEnded, CureOutcome, CureTried, Diagnosed, Event, Evidence, EvidenceTaken,
    Interrupted, Limits, ObligationOpened, ObligationSettled, OnEdited, OnFailure, OperatorDecided,
    Parked, PlanRevised, RetryPlanned, RunEnded, RunOpened, RunResumed, StepCaptured, StepFailed,
    StepReconciled, StepStarted, StepSucceeded, Suspect, UndoFailed, UndoSkipped, UndoStarted,
    UndoSucceeded, UnwindBegan, Verdict,
};
use wiab_engine::id::{Lane, StepId};
use wiab_engine::outcome::{Before, Failure, How, Outcome, Probe, Receipt, UndoClass};
use wiab_engine::plan::{Plan, RetryPolicy, StepSpec};
use wiab_engine::text::hex;

/// One line per kind: number, name, body in hexadecimal. Lines are only ever added.
const RELEASED: &str = include_str!("fixtures/events-v1.txt");

fn step() -> StepId {
    StepId::new("net.wirebox").unwrap()
}

fn plan() -> Plan {
    let spec = StepSpec {
        id: step(),
        kind: "libvirt.network/1".to_owned(),
        summary: "create".to_owned(),
        undo_summary: "remove".to_owned(),
        after: vec![StepId::new("host.packages").unwrap()],
        lanes: vec![Lane::new("libvirt")],
        undo: UndoClass::Destructive {
            what: "data".to_owned(),
        },
        idempotent: true,
        retry: RetryPolicy::SHORT,
        timeout_ms: 60_000,
        usual_ms: 1_000,
        inputs: "{\"name\":\"wirebox\"}".to_owned(),
    };
    Plan {
        name: "wiab-staging".to_owned(),
        steps: vec![spec],
    }
}

fn samples() -> Vec<Event> {
    let mut samples = of_the_run();
    samples.extend(of_steps());
    samples.extend(of_rollback());
    samples.extend(of_accounts());
    samples.sort_by_key(Event::kind);
    samples
}

fn of_the_run() -> Vec<Event> {
    let limits = Limits {
        width: 8,
        on_failure: OnFailure::Rollback,
        fail_fast: true,
    };
    let tool = "0.1.0".to_owned();
    let opened = RunOpened {
        plan: plan(),
        limits,
        host: "sim".to_owned(),
        tool: tool.clone(),
        command_line: "wiab apply".to_owned(),
    };
    vec![
        opened.into(),
        RunResumed {
            tool,
            command_line: "wiab apply --resume".to_owned(),
        }
        .into(),
        PlanRevised {
            plan: plan(),
            on_edited: OnEdited::Adopt,
        }
        .into(),
        Parked {
            step: step(),
            why: "decide".to_owned(),
        }
        .into(),
        OperatorDecided {
            step: Some(step()),
            verdict: Verdict::Accept,
            note: "checked".to_owned(),
        }
        .into(),
        Interrupted {
            stage: 1,
            by: "SIGINT".to_owned(),
        }
        .into(),
        RunEnded {
            outcome: Outcome::Parked,
        }
        .into(),
    ]
}

fn failure() -> Failure {
    Failure::dirty("no route")
        .retry()
        .hint("plug it in")
        .code("WB2101")
}

fn of_steps() -> Vec<Event> {
    let step = step();
    let evidence = Some(Evidence {
        hash: [7; 32],
        bytes: 300,
    });
    let receipt = Receipt::note("done").with("iface", "enp1s0");
    let captured = StepCaptured {
        step: step.clone(),
        attempt: 2,
        before: Before::Image("{}".to_owned()),
        found: Probe::Drifted {
            diff: "- a\n+ b".to_owned(),
        },
    };
    let succeeded = StepSucceeded {
        step: step.clone(),
        attempt: 2,
        how: How::Changed,
        receipt: receipt.clone(),
        evidence,
        took_ms: 41_000,
    };
    vec![
        StepStarted {
            step: step.clone(),
            attempt: 2,
        }
        .into(),
        captured.into(),
        succeeded.into(),
        StepFailed {
            step: step.clone(),
            attempt: 2,
            failure: failure(),
            evidence,
            took_ms: 9,
        }
        .into(),
        RetryPlanned {
            step: step.clone(),
            attempt: 3,
            delay_ms: 1_234,
        }
        .into(),
        StepReconciled {
            step,
            attempt: 2,
            found: Probe::Satisfied(receipt),
        }
        .into(),
    ]
}

fn of_rollback() -> Vec<Event> {
    let step = step();
    let began = UnwindBegan {
        cause: Cause::StepFailed(step.clone()),
        keep_to: Some(step.clone()),
        wipe_data: true,
    };
    let failed = UndoFailed {
        step: step.clone(),
        attempt: 1,
        failure: failure(),
        evidence: None,
        took_ms: 5,
    };
    vec![
        began.into(),
        UndoStarted {
            step: step.clone(),
            attempt: 1,
        }
        .into(),
        UndoSucceeded {
            step: step.clone(),
            attempt: 1,
            evidence: None,
            took_ms: 5,
        }
        .into(),
        failed.into(),
        UndoSkipped {
            step,
            why: "holds data".to_owned(),
        }
        .into(),
    ]
}

fn of_accounts() -> Vec<Event> {
    let step = StepId::new("cert.wait").unwrap();
    let body = Evidence {
        hash: [9; 32],
        bytes: 4_096,
    };
    let taken = EvidenceTaken {
        step: step.clone(),
        attempt: 1,
        topic: "challenge".to_owned(),
        summary: "pending".to_owned(),
        body,
    };
    let suspect = Suspect {
        cause: "hairpin".to_owned(),
        meaning: "packets do not come back".to_owned(),
        facts_for: vec!["time-out".to_owned()],
        facts_against: vec!["none".to_owned(), "at all".to_owned()],
        step: Some("hairpin.add".to_owned()),
        cure: "add the rule".to_owned(),
    };
    let diagnosed = Diagnosed {
        step: step.clone(),
        attempt: 1,
        ranking: vec![suspect],
        unknown: vec!["a strange line".to_owned()],
        chosen: Some("hairpin".to_owned()),
    };
    let tried = CureTried {
        step: step.clone(),
        attempt: 1,
        cause: "hairpin".to_owned(),
        what: "insert the rule".to_owned(),
        by: Some("hairpin.add".to_owned()),
    };
    let ended = CureEnded {
        step: step.clone(),
        attempt: 1,
        cause: "hairpin".to_owned(),
        outcome: CureOutcome::WithoutEffect,
        seen: "still no answer".to_owned(),
    };
    let opened = ObligationOpened {
        step: step.clone(),
        attempt: 1,
        id: "nat.hairpin".to_owned(),
        what: "a temporary rule".to_owned(),
        settle: "delete it".to_owned(),
    };
    let settled = ObligationSettled {
        step,
        attempt: 2,
        id: "nat.hairpin".to_owned(),
        how: "deleted".to_owned(),
    };
    vec![
        taken.into(),
        diagnosed.into(),
        tried.into(),
        ended.into(),
        opened.into(),
        settled.into(),
    ]
}

fn released() -> BTreeMap<u16, Vec<u8>> {
    let bytes = |text: &str| {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    RELEASED
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].parse().unwrap(), bytes(words[2]))
        })
        .collect()
}

#[test]
fn every_kind_is_written_and_read_as_released() {
    let released = released();
    let mut lines = String::new();
    for event in samples() {
        let body = codec::encode(&event).unwrap();
        writeln!(lines, "{} {} {}", event.kind(), event.name(), hex(&body)).unwrap();
        assert_eq!(codec::decode(event.kind(), &body).unwrap(), event);
        if let Some(stored) = released.get(&event.kind()) {
            assert_eq!(
                codec::decode(event.kind(), stored).unwrap(),
                event,
                "{}",
                event.name()
            );
        }
    }
    assert_eq!(
        lines, RELEASED,
        "a kind is missing from, or differs from, the released fixtures"
    );
}

#[test]
fn damaged_and_foreign_bodies_are_refused() {
    let body = codec::encode(&Event::from(StepStarted {
        step: step(),
        attempt: 2,
    }))
    .unwrap();
    let mut longer = body.clone();
    longer.push(0);
    assert!(codec::decode(19, &longer).is_err(), "trailing bytes");
    assert!(
        codec::decode(19, &body[..body.len() - 1]).is_err(),
        "a cut body"
    );
    assert!(
        codec::decode(999, &body)
            .unwrap_err()
            .to_string()
            .contains("unknown to this version")
    );
    // A hostile length must not be believed.
    assert!(codec::decode(19, &[253, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
}
