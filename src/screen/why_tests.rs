//! The short form of a failure's story is one screen, whatever happened.

use wiab_engine::event::{
    Diagnosed, Event, Evidence, EvidenceTaken, Recorded, StepFailed, StepStarted, Suspect,
};
use wiab_engine::id::RunId;
use wiab_engine::outcome::Failure;
use wiab_engine::state::RunState;

use super::why::{About, Story, Texts, View};
use super::why_lines::LINES_MAX;
use crate::screen::status::tests::{opened, plan, sid};
use crate::ui::style::Style;

fn told(events: Vec<Event>) -> Vec<Recorded> {
    let numbered = events.into_iter().zip(1..);
    numbered
        .map(|(event, seq)| Recorded {
            seq,
            run: RunId([7; 16]),
            time_ms: seq * 1_000,
            actor: "op@box 1".to_owned(),
            event,
        })
        .collect()
}

/// Events of a step that saw, concluded and failed at length.
fn trouble(step: &str) -> Vec<Event> {
    let long = "a very long sentence that goes on ".repeat(20);
    let texts = || vec![long.clone(); 8];
    let (step, attempt) = (sid(step), 1);
    let started = StepStarted {
        step: step.clone(),
        attempt,
    };
    let taken = |number: u8| EvidenceTaken {
        step: step.clone(),
        attempt,
        topic: format!("topic{number}"),
        summary: long.clone(),
        body: Evidence {
            hash: [number; 32],
            bytes: 1,
        },
    };
    let suspect = |cause: &str| Suspect {
        cause: cause.to_owned(),
        meaning: long.clone(),
        facts_for: texts(),
        facts_against: texts(),
        step: None,
        cure: long.clone(),
    };
    let diagnosed = Diagnosed {
        step: step.clone(),
        attempt,
        ranking: vec![suspect("one"), suspect("two")],
        unknown: texts(),
        chosen: Some("one".to_owned()),
    };
    let failed = StepFailed {
        step: step.clone(),
        attempt,
        failure: Failure::dirty(&*long).hint(&*long),
        evidence: None,
        took_ms: 1,
    };
    let mut events = vec![started.into()];
    events.extend((0..9).map(|number| Event::from(taken(number))));
    events.extend([diagnosed.into(), failed.into()]);
    events
}

#[test]
fn however_much_there_is_to_tell_it_is_one_screen() {
    let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for steps in [1, 2, 3, 20] {
        let mut events: Vec<Event> = vec![opened(plan(&names)).into()];
        for name in names.iter().take(steps) {
            events.extend(trouble(name));
        }
        let state = RunState::replay(&events).unwrap();
        let events = told(events);
        let run = RunId([7; 16]);
        let story = Story::of(run, &state, &events, &About::Everything, &|_| true);
        assert_eq!(story.tales.len(), steps);
        for (width, suffix) in [(100, None), (40, Some(""))] {
            let view = View {
                full: false,
                width,
                suffix,
            };
            let lines = story.lines(Style::PLAIN, &Texts::new(), &view);
            assert!(lines.len() <= LINES_MAX, "{steps} steps: {lines:#?}");
            let shown = lines.join("\n");
            for part in ["s0 failed:", "cause", "cure"] {
                assert!(shown.contains(part), "{part}: {shown}");
            }
            let tale = lines.iter().skip(1);
            let wide = tale.filter(|line| !line.starts_with("Next:") && !line.contains("go on"));
            for line in wide {
                assert!(line.chars().count() <= width, "{line}");
            }
        }
    }
}
