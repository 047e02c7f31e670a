//! Why a step failed, told from the journal alone: what was tried and seen, which cause and why, what is open, what cures it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wiab_engine::codec;
use wiab_engine::event::{Diagnosed, Event, Evidence, Recorded, Suspect};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::Failure;
use wiab_engine::plan::StepSpec;
use wiab_engine::state::{Owed, RunState, StepRecord, StepState};
use wiab_engine::text::hex;

use super::why_lines;
use crate::screen::{event, journal, outcome_word};
use crate::ui::printer::JSON_SCHEMA;
use crate::ui::style::Style;
use crate::ui::time;

/// Areas of the steps that certificates depend on.
const CERT_AREAS: [&str; 4] = ["cert", "hp", "egress", "e2e"];

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// Every step that had trouble.
    Everything,
    /// The same, of the certificates' areas.
    Certificates,
    /// One step, whatever became of it.
    Step(StepId),
}

/// An obligation that its run left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// What it is.
    pub(crate) owed: Owed,
    /// When it was opened, Unix milliseconds.
    pub(crate) since_ms: u64,
    /// Whether a later run of the same journal has settled it.
    pub(crate) settled_later: bool,
}

/// A run, as far as somebody asks why.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    /// The run.
    pub(crate) run: RunId,
    /// Its state at the end of what is known.
    pub(crate) state: &'a RunState,
    /// When it began and when its last event was written, Unix milliseconds.
    pub(crate) span_ms: (u64, u64),
    /// The steps, in the order of their first event.
    pub(crate) tales: Vec<Tale<'a>>,
    /// What it left open.
    pub(crate) open: Vec<Open>,
    /// Where it comes from and what was verified, for an exported run.
    pub(crate) origin: Option<String>,
}

/// One step's part.
#[derive(Debug)]
pub(crate) struct Tale<'a> {
    /// The step.
    pub(crate) spec: &'a StepSpec,
    /// How it stands.
    pub(crate) record: &'a StepRecord,
    /// Its events, in order.
    pub(crate) events: Vec<&'a Recorded>,
}

impl<'a> Story<'a> {
    /// Picks what is asked about out of a run's events.
    pub(crate) fn of(
        run: RunId,
        state: &'a RunState,
        events: &'a [Recorded],
        about: &About,
        still_owed: &dyn Fn(&str) -> bool,
    ) -> Self {
        let mut order: Vec<&StepId> = Vec::new();
        let mut told: BTreeMap<&StepId, Vec<&Recorded>> = BTreeMap::new();
        for recorded in events {
            let step = event::line(&recorded.event).step;
            let step = step.as_deref().and_then(|step| StepId::new(step).ok());
            let spec = step.and_then(|step| state.plan().step(&step));
            let Some(id) = spec.map(|spec| &spec.id) else {
                continue;
            };
            let list = told.entry(id).or_default();
            if list.is_empty() {
                order.push(id);
            }
            list.push(recorded);
        }
        let wanted = |id: &StepId, events: &[&Recorded]| match about {
            About::Step(step) => step == id,
            About::Everything => is_trouble(events),
            About::Certificates => CERT_AREAS.contains(&id.area()) && is_trouble(events),
        };
        let tales = order
            .into_iter()
            .filter_map(|id| {
                let events = told.remove(id)?;
                Some(Tale {
                    spec: state.plan().step(id)?,
                    record: state.record(id)?,
                    events,
                })
            })
            .filter(|tale| wanted(&tale.spec.id, &tale.events))
            .collect();
        let time = |recorded: Option<&Recorded>| recorded.map_or(0, |recorded| recorded.time_ms);
        Self {
            run,
            state,
            span_ms: (time(events.first()), time(events.last())),
            tales,
            open: open(state, events, still_owed),
            origin: None,
        }
    }

    /// The captured texts that are shown: all of them, or only what the failed commands said last.
    pub(crate) fn bodies(&self, full: bool) -> Vec<Evidence> {
        let of_tale = |tale: &Tale<'_>| -> Vec<Evidence> {
            let all = tale.events.iter();
            if full {
                return all.filter_map(|r| journal::evidence(&r.event)).collect();
            }
            tale.last_failure()
                .and_then(|recorded| journal::evidence(&recorded.event))
                .into_iter()
                .collect()
        };
        self.tales.iter().flat_map(of_tale).collect()
    }

    /// The screen: at most [`why_lines::LINES_MAX`] lines, or with `full` everything.
    pub(crate) fn lines(&self, style: Style, texts: &Texts, view: &View<'_>) -> Vec<String> {
        if view.full {
            why_lines::full(style, self, texts, view)
        } else {
            why_lines::brief(style, self, texts, view)
        }
    }

    /// The same as JSON; events with all their fields, and the captured texts that were asked for.
    pub(crate) fn json(&self, texts: &Texts) -> Value {
        json!({
            "type": "why",
            "schema": JSON_SCHEMA,
            "run": self.run.display(),
            "host": self.state.host,
            "plan": self.state.plan().name,
            "outcome": outcome_word(self.state.ended, false),
            "began": time::rfc3339(self.span_ms.0),
            "last": time::rfc3339(self.span_ms.1),
            "origin": self.origin,
            "steps": self.tales.iter().map(|tale| tale.json(texts)).collect::<Vec<_>>(),
            "open": self.open.iter().map(|open| json!({
                "id": open.owed.id,
                "step": open.owed.step.as_str(),
                "what": open.owed.what,
                "settle": open.owed.settle,
                "since": time::rfc3339(open.since_ms),
                "settled_later": open.settled_later,
            })).collect::<Vec<_>>(),
        })
    }
}

/// Captured texts by their hash.
pub(crate) type Texts = BTreeMap<[u8; 32], String>;

/// How the story is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// With everything, the captured texts included.
    pub(crate) full: bool,
    /// Most characters in a line.
    pub(crate) width: usize,
    /// Options that repeat which installation is meant; `None` where the run is only read.
    pub(crate) suffix: Option<&'a str>,
}

/// Whether anything happened that somebody may ask about.
fn is_trouble(events: &[&Recorded]) -> bool {
    events.iter().any(|recorded| {
        matches!(
            recorded.event,
            Event::StepFailed(_)
                | Event::UndoFailed(_)
                | Event::Diagnosed(_)
                | Event::CureTried(_)
                | Event::ObligationOpened(_)
                | Event::Parked(_)
        )
    })
}

fn open(state: &RunState, events: &[Recorded], still_owed: &dyn Fn(&str) -> bool) -> Vec<Open> {
    let since = |id: &str| {
        let opened = events.iter().rev().find(|recorded| {
            matches!(&recorded.event, Event::ObligationOpened(opened) if opened.id == id)
        });
        opened.map_or(0, |recorded| recorded.time_ms)
    };
    state
        .owed()
        .map(|owed| Open {
            since_ms: since(&owed.id),
            settled_later: !still_owed(&owed.id),
            owed: owed.clone(),
        })
        .collect()
}

impl Tale<'_> {
    /// Its last failed attempt, or undo.
    pub(crate) fn last_failure(&self) -> Option<&Recorded> {
        let failed = |recorded: &&&Recorded| {
            matches!(recorded.event, Event::StepFailed(_) | Event::UndoFailed(_))
        };
        self.events.iter().rev().find(failed).copied()
    }

    /// The failure that it stands at now.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.record.state {
            StepState::Failed { failure, .. } | StepState::UndoFailed { failure, .. } => {
                Some(failure)
            }
            _ => None,
        }
    }

    /// Failed attempts, undos included.
    pub(crate) fn failures(&self) -> usize {
        let failed = |recorded: &&&Recorded| {
            matches!(recorded.event, Event::StepFailed(_) | Event::UndoFailed(_))
        };
        self.events.iter().filter(failed).count()
    }

    /// What it concluded last.
    pub(crate) fn diagnosis(&self) -> Option<&Diagnosed> {
        self.record.diagnosis.as_deref()
    }

    /// What would cure it: of the chosen cause, else the failure's own hint. `None` when it is done.
    pub(crate) fn cure(&self) -> Option<String> {
        if self.record.state.is_done() {
            return None;
        }
        let hint = self.failure().and_then(|failure| failure.hint.clone());
        let chosen = self.diagnosis().and_then(chosen);
        match chosen {
            Some(suspect) if !suspect.cure.is_empty() => Some(match &suspect.step {
                Some(step) => format!("{} (step {step})", suspect.cure),
                None => suspect.cure.clone(),
            }),
            _ => hint,
        }
    }

    fn json(&self, texts: &Texts) -> Value {
        let events: Vec<Value> = self
            .events
            .iter()
            .map(|recorded| {
                let mut told = json!({
                    "time": time::rfc3339(recorded.time_ms),
                    "seq": recorded.seq,
                    "event": recorded.event.name(),
                    "body": codec::to_json(&recorded.event),
                });
                let evidence = journal::evidence(&recorded.event);
                if let (Some(evidence), Some(map)) = (evidence, told.as_object_mut()) {
                    let output = json!({
                        "hash": hex(&evidence.hash),
                        "bytes": evidence.bytes,
                        "text": texts.get(&evidence.hash),
                    });
                    map.insert("output".to_owned(), output);
                }
                told
            })
            .collect();
        json!({
            "step": self.spec.id.as_str(),
            "summary": self.spec.summary,
            "state": self.record.state.word(),
            "attempts": self.record.attempts,
            "failures": self.failures(),
            "why": self.failure().map(|failure| &failure.why),
            "code": self.failure().map(|failure| &failure.code),
            "cause": self.diagnosis().and_then(chosen).map(|suspect| &suspect.cause),
            "diagnosis": self.diagnosis().map(|told| json!({
                "ranking": told.ranking, "unknown": told.unknown, "chosen": told.chosen,
            })),
            "cure": self.cure(),
            "events": events,
        })
    }
}

/// The cause that a diagnosis acts on.
pub(crate) fn chosen(told: &Diagnosed) -> Option<&Suspect> {
    let chosen = told.chosen.as_deref()?;
    told.ranking.iter().find(|suspect| suspect.cause == chosen)
}
