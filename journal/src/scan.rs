//! Following the two hash chains over stored frames, in parts that can be checked in parallel.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::catalog::{Catalog, RunState, RunSummary};
use crate::codec;
use crate::error::JournalError;
use crate::frame::{FrameError, View, ZERO_HASH};
use crate::own::{self, JournalCreated, NO_RUN, Recovered, RunImported};
use crate::types::{Hash, RunKey};

/// Names a run in messages.
pub(crate) type Namer = fn(&RunKey) -> String;

/// The state after a stretch of frames.
#[derive(Debug)]
pub(crate) struct Part {
    namer: Namer,
    pub(crate) frames: u64,
    first: Option<(u64, Hash)>,
    last: Option<(u64, Hash)>,
    order: Vec<RunKey>,
    runs: HashMap<RunKey, RunState>,
    /// Missing stretches, first and last number.
    gaps: Vec<(u64, u64)>,
    /// Missing stretches that a `Recovered` event admits.
    admitted: Vec<(u64, u64)>,
    imported: Vec<RunImported>,
    installation: Option<[u8; 16]>,
}

impl Part {
    pub(crate) fn new(namer: Namer) -> Self {
        Self {
            namer,
            frames: 0,
            first: None,
            last: None,
            order: Vec::new(),
            runs: HashMap::new(),
            gaps: Vec::new(),
            admitted: Vec::new(),
            imported: Vec::new(),
            installation: None,
        }
    }

    /// Takes the next frame's bytes; `key_seq` is the number under which it was found.
    pub(crate) fn push(&mut self, key_seq: u64, bytes: &[u8]) -> Result<(), JournalError> {
        let view = View::parse(bytes).map_err(|error| refuse(key_seq, &error))?;
        view.intact().map_err(|error| refuse(key_seq, &error))?;
        self.push_view(key_seq, &view)
    }

    /// As [`Part::push`], for a frame whose own hash is checked.
    pub(crate) fn push_view(&mut self, key_seq: u64, view: &View<'_>) -> Result<(), JournalError> {
        if view.seq != key_seq {
            return self.corrupt(key_seq, view, &format!("it says it is event {}", view.seq));
        }
        match self.last {
            Some((seq, _)) if view.seq <= seq => {
                return self.corrupt(key_seq, view, &format!("it comes after event {seq}"));
            }
            Some((seq, _)) if view.seq != seq + 1 => self.gaps.push((seq + 1, view.seq - 1)),
            Some((_, hash)) if view.prev != hash => {
                return self.corrupt(key_seq, view, "it does not continue the event before it");
            }
            Some(_) => {}
            None => self.first = Some((view.seq, view.prev)),
        }
        self.last = Some((view.seq, view.hash));
        self.frames += 1;
        self.follow_run(view)?;
        if view.run == NO_RUN {
            self.take_own(view)
        } else {
            Ok(())
        }
    }

    fn follow_run(&mut self, view: &View<'_>) -> Result<(), JournalError> {
        let state = match self.runs.entry(view.run) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.order.push(view.run);
                entry.insert(first_of_run(view));
                return Ok(());
            }
        };
        let follows =
            view.run_seq == state.last_run_seq + 1 && view.run_prev == state.summary.last_hash;
        let jumps = view.run_seq > state.last_run_seq
            && gap_between(&self.gaps, state.summary.last_seq, view.seq);
        if !follows && !jumps {
            let before = state.last_run_seq;
            let what = format!("it does not continue event {before} of its run");
            return self.corrupt(view.seq, view, &what);
        }
        state.summary.last_seq = view.seq;
        state.summary.last_ms = view.time_ms;
        state.summary.last_hash = view.hash;
        state.summary.frames += 1;
        state.last_run_seq = view.run_seq;
        Ok(())
    }

    /// Reads the journal's own events: they are few.
    fn take_own(&mut self, view: &View<'_>) -> Result<(), JournalError> {
        let taken = match view.kind {
            own::JOURNAL_CREATED => codec::decode::<JournalCreated>(view.body)
                .map(|body| self.installation = Some(body.installation)),
            own::RECOVERED => {
                codec::decode::<Recovered>(view.body).map(|body| self.admitted.extend(body.missing))
            }
            own::RUN_IMPORTED => {
                codec::decode::<RunImported>(view.body).map(|body| self.imported.push(body))
            }
            _ => Ok(()),
        };
        taken.or_else(|error| {
            self.corrupt(view.seq, view, &format!("its body is unreadable: {error}"))
        })
    }

    fn corrupt<T>(&self, seq: u64, view: &View<'_>, what: &str) -> Result<T, JournalError> {
        let what = format!("run {}: {what}", (self.namer)(&view.run));
        Err(JournalError::Corrupt { seq, what })
    }

    /// Appends the part that follows this one.
    pub(crate) fn join(mut self, next: Self) -> Result<Self, JournalError> {
        let (Some((last_seq, last_hash)), Some((first_seq, first_prev))) = (self.last, next.first)
        else {
            return Ok(if self.last.is_none() { next } else { self });
        };
        if first_seq != last_seq + 1 {
            self.gaps.push((last_seq + 1, first_seq.saturating_sub(1)));
        } else if first_prev != last_hash {
            let what = "it does not continue the event before it".to_owned();
            return Err(JournalError::Corrupt {
                seq: first_seq,
                what,
            });
        }
        self.gaps.extend(next.gaps);
        self.last = next.last;
        self.frames += next.frames;
        self.admitted.extend(next.admitted);
        self.imported.extend(next.imported);
        self.installation = self.installation.or(next.installation);
        let mut runs = next.runs;
        for run in next.order {
            if let Some(state) = runs.remove(&run) {
                self.join_run(run, state)?;
            }
        }
        Ok(self)
    }

    fn join_run(&mut self, run: RunKey, next: RunState) -> Result<(), JournalError> {
        let Some(state) = self.runs.get_mut(&run) else {
            self.order.push(run);
            self.runs.insert(run, next);
            return Ok(());
        };
        let seq = next.summary.first_seq;
        let follows = next.first_run_seq == state.last_run_seq + 1
            && next.first_prev == state.summary.last_hash;
        let jumps = next.first_run_seq > state.last_run_seq
            && gap_between(&self.gaps, state.summary.last_seq, seq);
        if !follows && !jumps {
            let name = (self.namer)(&run);
            let what = format!(
                "run {name}: it does not continue event {} of its run",
                state.last_run_seq
            );
            return Err(JournalError::Corrupt { seq, what });
        }
        state.summary.last_seq = next.summary.last_seq;
        state.summary.last_ms = next.summary.last_ms;
        state.summary.last_hash = next.summary.last_hash;
        state.summary.frames += next.summary.frames;
        state.last_run_seq = next.last_run_seq;
        Ok(())
    }

    /// The checks that need the whole journal: it begins at its beginning and every gap is admitted.
    pub(crate) fn finish(mut self) -> Result<Catalog, JournalError> {
        if let Some((first, prev)) = self.first {
            if first != 1 {
                self.gaps.insert(0, (1, first - 1));
            } else if prev != ZERO_HASH {
                let what = "the first event names an event before it".to_owned();
                return Err(JournalError::Corrupt { seq: 1, what });
            }
        }
        if let Some((from, to)) = self.gaps.iter().find(|gap| !self.admitted.contains(gap)) {
            let what = format!("events {from} to {to} are missing");
            return Err(JournalError::Corrupt { seq: *from, what });
        }
        for run in &self.order {
            let Some(state) = self.runs.get(run) else {
                continue;
            };
            let whole = state.first_run_seq == 1 && state.first_prev == ZERO_HASH;
            if !whole && !gap_between(&self.gaps, 0, state.summary.first_seq) {
                let seq = state.summary.first_seq;
                let what = format!("run {}: its beginning is missing", (self.namer)(run));
                return Err(JournalError::Corrupt { seq, what });
            }
        }
        let (head_seq, head_hash) = self.last.unwrap_or_default();
        Ok(Catalog {
            head_seq,
            head_hash,
            order: self.order,
            runs: self.runs,
            imported: self.imported,
            installation: self.installation.unwrap_or_default(),
        })
    }
}

/// An unreadable frame as a journal error; a newer version is not damage.
pub(crate) fn refuse(seq: u64, error: &FrameError) -> JournalError {
    match error {
        FrameError::Newer { found, known } => JournalError::Newer {
            found: *found,
            known: *known,
        },
        other => JournalError::Corrupt {
            seq,
            what: other.to_string(),
        },
    }
}

/// Whether a missing stretch lies between two events.
fn gap_between(gaps: &[(u64, u64)], after: u64, before: u64) -> bool {
    gaps.iter().any(|(from, to)| *from > after && *to < before)
}

fn first_of_run(view: &View<'_>) -> RunState {
    RunState {
        summary: RunSummary {
            run: view.run,
            first_seq: view.seq,
            last_seq: view.seq,
            frames: 1,
            first_ms: view.time_ms,
            last_ms: view.time_ms,
            last_hash: view.hash,
            imported: false,
        },
        first_run_seq: view.run_seq,
        first_prev: view.run_prev,
        last_run_seq: view.run_seq,
    }
}
