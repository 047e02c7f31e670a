//! A world of cells that steps act on, with kill points, faults and a record of every breach of the engine's promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::event::{Event, Evidence};
use crate::id::StepId;
use crate::outcome::{Before, Failure, Probe, Receipt};
use crate::plan::StepSpec;
use crate::ports::{BoxFuture, Busy, Clock, LogError, RunLog, Step, StepCx, Steps};

/// How a simulated step behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Looks at each part before touching it.
    Careful,
    /// Has a probe, but its effect does not look: running it twice shows.
    Blind,
    /// Has no probe: runs as a detached job that survives the engine.
    Job,
}

/// What goes wrong at one attempt of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Fails before anything happens.
    Clean,
    /// Fails after the first part.
    Dirty,
    /// Everything happens, but nobody learns of it.
    Unknown,
    /// Panics after the first part.
    Panic,
}

/// One step's piece of the world.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) sort: Sort,
    /// Whether there is nothing to take back: like a wait for something, it matters only while the run goes on.
    pub(super) lasting: bool,
    /// Something temporary that it needs on the way and owes until it is gone: whether that is there now.
    pub(super) scaffold: Option<bool>,
    /// How many parts the effect has.
    pub(super) parts: u32,
    /// What stood here before the first run; `None` is nothing.
    pub(super) original: Option<u32>,
    /// What stands here now, when it is not ours.
    pub(super) foreign: Option<u32>,
    /// How often each part was done since the last undo.
    pub(super) done: Vec<u32>,
    /// Whether the world was as wanted before the first run.
    pub(super) adopted: bool,
    /// Steps that must be there while this one is applied or stands.
    pub(super) needs: Vec<StepId>,
    /// Attempt → fault; attempts not named succeed.
    pub(super) faults: BTreeMap<u32, Fault>,
    /// Undo attempts that fail.
    pub(super) undo_faults: BTreeSet<u32>,
}

impl Cell {
    pub(super) fn complete(&self) -> bool {
        self.adopted || self.done.iter().all(|count| *count > 0)
    }

    fn empty(&self) -> bool {
        self.done.iter().all(|count| *count == 0)
    }

    /// What a stranger sees.
    pub(super) fn face(&self) -> (bool, bool, Option<u32>) {
        (self.complete(), self.empty(), self.foreign)
    }
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) cells: BTreeMap<StepId, Cell>,
    /// Jobs that ran, by step and attempt; `false` while unfinished.
    jobs: BTreeMap<(StepId, u32), bool>,
    pub(super) breaches: Vec<String>,
    /// The durable events.
    pub(super) journal: Vec<Event>,
    /// Kill points passed so far.
    pub(super) points: u64,
    /// Where the power goes off.
    pub(super) kill_at: Option<u64>,
    pub(super) dead: bool,
    /// How many events of a batch survive when the power goes off in the middle of an append.
    torn: usize,
}

/// The world; shared by the steps, the log and the test.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) inner: Arc<Mutex<Inner>>,
    pub(super) off: Arc<Notify>,
}

impl World {
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap())
    }

    /// A place where the power may go off; then nothing after it ever happens.
    async fn point(&self) {
        let dead = self.with(|inner| {
            inner.points += 1;
            if inner.kill_at == Some(inner.points) {
                inner.dead = true;
            }
            inner.dead
        });
        if dead {
            self.off.notify_one();
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }
}

#[derive(Debug)]
struct CellStep {
    world: World,
    id: StepId,
}

impl CellStep {
    fn cell<T>(&self, act: impl FnOnce(&mut Cell) -> T) -> T {
        self.world
            .with(|inner| act(inner.cells.get_mut(&self.id).unwrap()))
    }

    fn breach(&self, what: &str) {
        self.world
            .with(|inner| inner.breaches.push(format!("{}: {what}", self.id)));
    }

    fn do_part(&self, part: usize) {
        self.cell(|cell| {
            cell.done[part] += 1;
            cell.foreign = None;
        });
    }

    /// Puts up the scaffold, does the work, takes it down: announced before, settled after.
    async fn with_scaffold(&self, cx: &StepCx, fault: Option<Fault>) -> Result<(), Failure> {
        if fault == Some(Fault::Clean) {
            return Err(Failure::clean("planned").retry());
        }
        cx.open_obligation(self.id.as_str(), "a scaffold", "take it down")
            .await?;
        if !self.world.owed_durably(&self.id) {
            self.breach("about to put up a scaffold that the journal does not know");
        }
        self.world.point().await;
        self.cell(|cell| cell.scaffold = Some(true));
        self.world.point().await;
        self.effect(true, fault).await?;
        self.take_down(cx, "done").await
    }

    async fn take_down(&self, cx: &StepCx, how: &str) -> Result<(), Failure> {
        if cx.owes().is_empty() {
            return Ok(());
        }
        self.world.point().await;
        self.cell(|cell| cell.scaffold = Some(false));
        self.world.point().await;
        Ok(cx.settle_obligation(self.id.as_str(), how).await?)
    }

    async fn effect(&self, look: bool, fault: Option<Fault>) -> Result<(), Failure> {
        let parts = self.cell(|cell| cell.parts) as usize;
        if fault == Some(Fault::Clean) {
            return Err(Failure::clean("planned").retry());
        }
        for part in 0..parts {
            self.world.point().await;
            if look && self.cell(|cell| cell.done[part] > 0) {
                continue;
            }
            self.do_part(part);
            self.world.point().await;
            match fault {
                Some(Fault::Dirty) => return Err(Failure::dirty("planned").retry()),
                Some(Fault::Panic) => panic!("planned"),
                Some(Fault::Clean | Fault::Unknown) | None => {}
            }
        }
        if fault == Some(Fault::Unknown) {
            return Err(Failure::unknown("planned").retry());
        }
        Ok(())
    }

    async fn perform(&self, cx: &StepCx) -> Result<Receipt, Failure> {
        let absent: Vec<StepId> = self.world.with(|inner| {
            let needs = inner.cells[&self.id].needs.clone();
            needs
                .into_iter()
                .filter(|need| !inner.cells[need].complete())
                .collect()
        });
        if !absent.is_empty() {
            self.breach(&format!("applied without {absent:?}"));
        }
        let (sort, fault) = self.cell(|cell| (cell.sort, cell.faults.get(&cx.attempt).copied()));
        match sort {
            Sort::Careful if self.cell(|cell| cell.scaffold.is_some()) => {
                cx.take_evidence("cell", "as found", "parts").await?;
                self.with_scaffold(cx, fault).await?;
            }
            Sort::Careful => self.effect(true, fault).await?,
            Sort::Blind => {
                if self.cell(|cell| cell.complete()) {
                    self.breach("blind effect repeated on a finished step");
                }
                self.effect(false, fault).await?;
            }
            Sort::Job => self.job(cx, fault).await?,
        }
        Ok(Receipt::default().with("value", self.id.as_str()))
    }

    /// A detached job: once started it ends, whatever becomes of the engine.
    async fn job(&self, cx: &StepCx, fault: Option<Fault>) -> Result<(), Failure> {
        self.world.point().await;
        let key = (self.id.clone(), cx.attempt);
        let begun = self.world.with(|inner| inner.jobs.contains_key(&key));
        if !begun {
            if fault == Some(Fault::Clean) {
                return Err(Failure::clean("planned").retry());
            }
            if self.cell(|cell| cell.complete() && !cell.adopted) {
                self.breach("job repeated on a finished step");
            }
            let parts = self.cell(|cell| cell.parts) as usize;
            (0..parts).for_each(|part| self.do_part(part));
            self.world.with(|inner| inner.jobs.insert(key, true));
        }
        self.world.point().await;
        Ok(())
    }
}

impl Step for CellStep {
    fn probe<'a>(&'a self, cx: &'a StepCx) -> BoxFuture<'a, Result<Probe, Failure>> {
        Box::pin(async move {
            self.world.point().await;
            let cell = self.cell(|cell| cell.clone());
            if cell.sort == Sort::Job {
                let begun = self
                    .world
                    .with(|inner| inner.jobs.contains_key(&(self.id.clone(), cx.attempt)));
                return Ok(match (cx.resumed, begun) {
                    (true, true) => Probe::Running,
                    (true, false) => Probe::Absent,
                    (false, _) => Probe::Unknown {
                        why: "no probe".to_owned(),
                    },
                });
            }
            Ok(if cell.complete() {
                Probe::Satisfied(Receipt::default().with("value", self.id.as_str()))
            } else if cell.empty() {
                match cell.foreign {
                    Some(_) => Probe::Drifted {
                        diff: "foreign".to_owned(),
                    },
                    None => Probe::Absent,
                }
            } else {
                Probe::Partial {
                    what: "some parts".to_owned(),
                }
            })
        })
    }

    fn capture<'a>(&'a self, _cx: &'a StepCx) -> BoxFuture<'a, Result<Before, Failure>> {
        Box::pin(async move {
            self.world.point().await;
            let (foreign, empty) = self.cell(|cell| (cell.foreign, cell.empty()));
            // A half-done effect looks like nothing that stood here before.
            let seen = if empty { foreign } else { Some(u32::MAX) };
            Ok(Before::Image(serde_json::to_string(&seen).unwrap()))
        })
    }

    fn apply<'a>(
        &'a self,
        cx: &'a StepCx,
        _: &'a Before,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.perform(cx))
    }

    fn undo<'a>(
        &'a self,
        cx: &'a StepCx,
        before: &'a Before,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.world.point().await;
            if self.cell(|cell| cell.adopted) {
                self.breach("an adopted step was taken back");
            }
            let standing: Vec<StepId> = self.world.with(|inner| {
                let ours = |cell: &Cell| !cell.adopted && !cell.lasting && !cell.empty();
                inner
                    .cells
                    .iter()
                    .filter(|(_, cell)| cell.needs.contains(&self.id) && ours(cell))
                    .map(|(id, _)| id.clone())
                    .collect()
            });
            if !standing.is_empty() {
                self.breach(&format!("taken back while {standing:?} stand on it"));
            }
            self.take_down(cx, "taken back").await?;
            let fails = self.cell(|cell| cell.undo_faults.contains(&cx.attempt));
            let value: Option<u32> = match before {
                Before::Image(text) => serde_json::from_str(text).unwrap(),
                Before::Nothing => self.cell(|cell| cell.original),
            };
            let parts = self.cell(|cell| cell.parts) as usize;
            for part in (0..parts).rev() {
                self.cell(|cell| cell.done[part] = 0);
                self.world.point().await;
                if fails {
                    return Err(Failure::dirty("planned undo failure").retry());
                }
            }
            self.cell(|cell| cell.foreign = value);
            self.world.point().await;
            Ok(())
        })
    }
}

impl Steps for World {
    fn build(&self, spec: &StepSpec, inputs: serde_json::Value) -> Result<Arc<dyn Step>, String> {
        // References must have been replaced by what the named step left.
        for input in inputs.as_array().into_iter().flatten() {
            if !input.is_string() {
                return Err(format!("unreplaced reference {input}"));
            }
        }
        Ok(Arc::new(CellStep {
            world: self.clone(),
            id: spec.id.clone(),
        }))
    }
}

impl RunLog for World {
    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let before = self.with(|inner| inner.journal.len());
            // Either nothing, a part, or all of the batch survives a power cut at this point.
            let next = self.with(|inner| inner.kill_at.is_some_and(|at| at == inner.points + 1));
            if next {
                self.with(|inner| {
                    let keep = inner.torn % (events.len() + 1);
                    inner.journal.extend(events.iter().take(keep).cloned());
                });
            }
            self.point().await;
            self.with(|inner| {
                inner.journal.truncate(before);
                inner.journal.extend(events);
            });
            self.point().await;
            Ok(())
        })
    }

    fn store(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Evidence, LogError>> {
        let evidence = Evidence {
            hash: *blake3::hash(&bytes).as_bytes(),
            bytes: bytes.len() as u64,
        };
        Box::pin(async move { Ok(evidence) })
    }
}

impl World {
    /// Whether the durable journal knows that the step owes something.
    fn owed_durably(&self, id: &StepId) -> bool {
        self.with(|inner| owed(&inner.journal, id))
    }

    /// Scaffolds that stand although the durable journal does not know of them.
    pub(super) fn unannounced(&self) -> Vec<StepId> {
        self.with(|inner| {
            let standing = inner
                .cells
                .iter()
                .filter(|(_, cell)| cell.scaffold == Some(true));
            let unknown = standing.filter(|(id, _)| !owed(&inner.journal, id));
            unknown.map(|(id, _)| id.clone()).collect()
        })
    }

    pub(super) fn breach(&self, what: String) {
        self.with(|inner| inner.breaches.push(what));
    }

    pub(super) fn tear(&self, torn: usize) {
        self.with(|inner| inner.torn = torn);
    }
}

fn owed(journal: &[Event], id: &StepId) -> bool {
    let last = journal.iter().rev().find_map(|event| match event {
        Event::ObligationOpened(e) if e.step == *id => Some(true),
        Event::ObligationSettled(e) if e.step == *id => Some(false),
        _ => None,
    });
    last.unwrap_or(false)
}

/// Time in which every wait is over at once and no limit is ever reached.
#[derive(Debug)]
pub(super) struct NoTime;

impl Clock for NoTime {
    fn wall_ms(&self) -> u64 {
        0
    }
    fn mono_ms(&self) -> u64 {
        0
    }
    fn sleep(&self, _ms: u64) -> BoxFuture<'_, ()> {
        Box::pin(tokio::task::yield_now())
    }
    fn alarm(&self, _ms: u64) -> BoxFuture<'_, Busy> {
        Box::pin(std::future::pending())
    }
    fn busy(&self) -> Busy {
        Busy::default()
    }
}
