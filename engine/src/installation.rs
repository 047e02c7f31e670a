//! All runs of one installation, folded: which run made what, and how long things take here.

use std::collections::BTreeMap;

use crate::event::{Event, Recorded};
use crate::id::{RunId, StepId};
use crate::outcome::{How, UndoClass};
use crate::plan::StepSpec;
use crate::state::{Illegal, Owed, RunState, StepRecord, StepState};

/// Most durations kept per step.
const DURATIONS_MAX: usize = 5;

/// One run and when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The run.
    pub id: RunId,
    /// Its state.
    pub state: RunState,
    /// When it began, Unix milliseconds.
    pub began_ms: u64,
    /// When its last event was written.
    pub last_ms: u64,
    /// How its last process was called.
    pub command_line: String,
    /// Who wrote its last event.
    pub actor: String,
    /// Its events.
    pub events: u64,
}

/// The fold of the whole journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installation {
    runs: Vec<Run>,
    durations_ms: BTreeMap<StepId, Vec<u64>>,
    owed: BTreeMap<String, OpenObligation>,
}

/// What is owed, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenObligation {
    /// The run that opened it.
    pub run: RunId,
    /// When it was opened first, Unix milliseconds.
    pub since_ms: u64,
    /// What it is.
    pub owed: Owed,
}

/// A journal that cannot be folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} of run {run} does not fit what came before it")]
pub struct FoldError {
    /// Position in the journal.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// Why.
    #[source]
    pub source: Illegal,
}

impl Installation {
    /// Folds one event of any run.
    pub fn apply(&mut self, recorded: &Recorded) -> Result<(), FoldError> {
        let wrap = |source| FoldError {
            seq: recorded.seq,
            run: recorded.run,
            source,
        };
        self.note_duration(&recorded.event);
        self.note_obligation(recorded);
        // Events of a run come in long stretches, and the newest run is the likeliest.
        if let Some(run) = self
            .runs
            .iter_mut()
            .rev()
            .find(|run| run.id == recorded.run)
        {
            run.state.apply(&recorded.event).map_err(wrap)?;
            run.last_ms = recorded.time_ms;
            run.actor.clone_from(&recorded.actor);
            run.events += 1;
            if let Event::RunResumed(resumed) = &recorded.event {
                run.command_line.clone_from(&resumed.command_line);
            }
            return Ok(());
        }
        let Event::RunOpened(opened) = &recorded.event else {
            return Err(wrap(Illegal::Opening {
                found: recorded.event.name(),
            }));
        };
        self.runs.push(Run {
            id: recorded.run,
            state: RunState::open(opened),
            began_ms: recorded.time_ms,
            last_ms: recorded.time_ms,
            command_line: opened.command_line.clone(),
            actor: recorded.actor.clone(),
            events: 1,
        });
        Ok(())
    }

    fn note_duration(&mut self, event: &Event) {
        let Event::StepSucceeded(done) = event else {
            return;
        };
        if done.how == How::Changed && done.took_ms > 0 {
            let list = self.durations_ms.entry(done.step.clone()).or_default();
            list.push(done.took_ms);
            if list.len() > DURATIONS_MAX {
                list.remove(0);
            }
        }
    }

    fn note_obligation(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::ObligationOpened(opened) => {
                let entry = self
                    .owed
                    .entry(opened.id.clone())
                    .or_insert_with(|| OpenObligation {
                        run: recorded.run,
                        since_ms: recorded.time_ms,
                        owed: opened.into(),
                    });
                entry.run = recorded.run;
                entry.owed = opened.into();
            }
            Event::ObligationSettled(settled) => drop(self.owed.remove(&settled.id)),
            _ => {}
        }
    }

    /// What is owed on this host over all runs, by id: opened in one run, it may be settled in another.
    pub fn owed(&self) -> impl Iterator<Item = &OpenObligation> {
        self.owed.values()
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// A run by id.
    pub fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// The runs whose displayed id begins with `prefix`.
    pub fn matching(&self, prefix: &str) -> Vec<&Run> {
        self.runs
            .iter()
            .filter(|run| run.id.display().starts_with(prefix))
            .collect()
    }

    /// The newest run that can be resumed, unless a newer run superseded it by completing.
    pub fn resumable(&self) -> Option<&Run> {
        self.runs.last().filter(|run| run.state.is_resumable())
    }

    /// The newest run through which wiab made `step` as it is, if that still stands: it is ours.
    pub fn maker(&self, step: &StepId) -> Option<&Run> {
        self.runs.iter().rev().find(|run| {
            run.state
                .record(step)
                .is_some_and(|record| record.touched && !matches!(record.state, StepState::Undone))
        })
    }

    /// Runs newer than `id` whose effects still stand: they must be taken back first.
    pub fn standing_after(&self, id: RunId) -> Vec<&Run> {
        let newer = self.runs.iter().rev().take_while(|run| run.id != id);
        let mut runs: Vec<&Run> = newer.filter(|run| run.state.has_standing()).collect();
        runs.reverse();
        runs
    }

    /// Median duration of the step's last successes here, in milliseconds.
    pub fn usual_ms(&self, step: &StepId) -> Option<u64> {
        let mut list = self.durations_ms.get(step)?.clone();
        list.sort_unstable();
        list.get(list.len() / 2).copied()
    }
}

/// What rollback would do about one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoLine<'a> {
    /// The step.
    pub spec: &'a StepSpec,
    /// What is known about it, the captured before-image included.
    pub record: &'a StepRecord,
    /// What would happen.
    pub fate: Fate,
}

/// What rollback does about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is taken back.
    Undo,
    /// It is taken back, and data is lost.
    UndoLosesData,
    /// It stays: there is no way back.
    CannotUndo,
    /// It was skipped by decision: its effect, if any, is left alone.
    Skipped,
    /// It was found as wanted and is left alone.
    Adopted,
    /// It left nothing to take back.
    Nothing,
}

/// What taking back a run (or what came after `keep_to`) would do, in the order of undo: latest first.
pub fn preview<'a>(state: &'a RunState, keep_to: Option<&StepId>) -> Vec<UndoLine<'a>> {
    let keep_until = keep_to
        .and_then(|step| state.record(step))
        .map_or(0, |record| record.done_at);
    let mut lines: Vec<UndoLine<'a>> = state
        .steps()
        .filter(|(_, record)| record.state != StepState::Pending || record.touched)
        .filter(|(_, record)| keep_until == 0 || record.done_at == 0 || record.done_at > keep_until)
        .map(|(spec, record)| UndoLine {
            spec,
            record,
            fate: fate(spec, record),
        })
        .collect();
    lines.sort_by_key(|line| {
        std::cmp::Reverse(if line.record.done_at == 0 {
            u64::MAX
        } else {
            line.record.done_at
        })
    });
    lines
}

fn fate(spec: &StepSpec, record: &StepRecord) -> Fate {
    if matches!(record.state, StepState::Succeeded { how: How::Adopted }) {
        return Fate::Adopted;
    }
    if record.state == StepState::Skipped {
        return Fate::Skipped;
    }
    // What an earlier rollback left is tried again; what was accepted counts only if this run touched it.
    let nothing = !record.touched && !record.is_doubtful();
    if nothing || record.state == StepState::Undone {
        return Fate::Nothing;
    }
    match spec.undo {
        UndoClass::Reversible => Fate::Undo,
        UndoClass::Destructive { .. } => Fate::UndoLosesData,
        UndoClass::Irreversible { .. } => Fate::CannotUndo,
        UndoClass::NothingToUndo if record.owes > 0 => Fate::Undo,
        UndoClass::NothingToUndo => Fate::Nothing,
    }
}
