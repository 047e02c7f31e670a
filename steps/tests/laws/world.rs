//! A simulated machine with the catalogue on it, and the calls of the engine.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use wiab_engine::book::{Book, Notebook};
use wiab_engine::event::Event;
use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::{Before, Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::{RetryPolicy, StepSpec};
use wiab_engine::ports::{Step, StepCx, Steps as _};
use wiab_engine::state::Owed;
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::Host;
use wiab_steps::host::sim::{Machine, SimHost, SimOptions, Tap};
use wiab_steps::kind::Kind;

/// A machine, and everything that was said about it.
pub(crate) struct World {
    pub(crate) host: Arc<SimHost>,
    pub(crate) said: Arc<Mutex<Vec<String>>>,
    /// What its steps have given account of.
    pub(crate) notes: Arc<Notebook>,
}

impl World {
    pub(crate) fn new(machine: Machine) -> Self {
        Self::tapped(machine, None)
    }

    pub(crate) fn tapped(machine: Machine, tap: Option<Arc<dyn Tap>>) -> Self {
        let options = SimOptions {
            tap,
            ..SimOptions::default()
        };
        Self {
            host: SimHost::in_memory(machine, options),
            said: Arc::default(),
            notes: Arc::default(),
        }
    }

    pub(crate) fn state(&self) -> Value {
        self.host.canonical_state()
    }

    pub(crate) fn step(&self, kind: &str, inputs: &Value) -> Bound<'_> {
        let host: Arc<dyn Host> = self.host.clone();
        let spec = spec(kind, inputs);
        let step = Catalogue::new(host).build(&spec, inputs.clone()).unwrap();
        Bound { step, world: self }
    }

    pub(crate) fn bind<K: Kind>(&self, kind: &K) -> Bound<'_> {
        self.step(K::NAME, &serde_json::to_value(kind).unwrap())
    }

    /// Applies a step as the engine would, for worlds in the making.
    pub(crate) async fn done<K: Kind>(&self, kind: &K) -> Receipt {
        let step = self.bind(kind);
        let before = step.capture().await.unwrap();
        step.apply(1, false, &before).await.unwrap()
    }

    pub(crate) async fn text_of(&self, path: &str) -> Option<String> {
        let bytes = self.host.read(path, true).await.unwrap();
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

fn spec(kind: &str, inputs: &Value) -> StepSpec {
    StepSpec {
        id: StepId::new("law.step").unwrap(),
        kind: kind.to_owned(),
        summary: String::new(),
        undo_summary: String::new(),
        after: Vec::new(),
        lanes: Vec::new(),
        undo: UndoClass::Reversible,
        idempotent: true,
        retry: RetryPolicy::NEVER,
        timeout_ms: 1,
        usual_ms: 1,
        inputs: inputs.to_string(),
    }
}

/// What is open after these events.
fn owed(events: &[Event]) -> Vec<Owed> {
    let mut open: Vec<Owed> = Vec::new();
    for event in events {
        match event {
            Event::ObligationOpened(opened) => open.push(Owed {
                id: opened.id.clone(),
                step: opened.step.clone(),
                what: opened.what.clone(),
                settle: opened.settle.clone(),
            }),
            Event::ObligationSettled(settled) => open.retain(|owed| owed.id != settled.id),
            _ => {}
        }
    }
    open
}

/// A step on a world.
pub(crate) struct Bound<'a> {
    step: Arc<dyn Step>,
    world: &'a World,
}

impl Bound<'_> {
    fn cx(&self, attempt: u32, forward_attempt: u32, resumed: bool) -> StepCx {
        let step = StepId::new("law.step").unwrap();
        let clock = Arc::new(self.world.host.clock());
        StepCx {
            attempt,
            forward_attempt,
            resumed,
            book: Book::new(self.world.notes.clone(), owed(&self.world.notes.events())),
            ..StepCx::new(RunId([7; 16]), step, clock)
        }
    }

    fn hear(&self, cx: &StepCx, said: String) {
        let mut all = self.world.said.lock().unwrap();
        all.push(said);
        let transcript = cx.evidence.bytes().unwrap_or_default();
        all.push(String::from_utf8_lossy(&transcript).into_owned());
    }

    pub(crate) async fn probe(&self, resumed: bool) -> Result<Probe, Failure> {
        let cx = self.cx(1, 1, resumed);
        let found = self.step.probe(&cx).await;
        self.hear(&cx, format!("{found:?}"));
        found
    }

    pub(crate) async fn capture(&self) -> Result<Before, Failure> {
        let cx = self.cx(1, 1, false);
        let before = self.step.capture(&cx).await;
        self.hear(&cx, format!("{before:?}"));
        before
    }

    pub(crate) async fn apply(
        &self,
        attempt: u32,
        resumed: bool,
        before: &Before,
    ) -> Result<Receipt, Failure> {
        let cx = self.cx(attempt, attempt, resumed);
        let receipt = self.step.apply(&cx, before).await;
        self.hear(&cx, format!("{receipt:?}"));
        receipt
    }

    /// Applies, and asks to stop after a while.
    pub(crate) async fn apply_stopped(
        &self,
        after_ms: u64,
        before: &Before,
    ) -> Result<Receipt, Failure> {
        let cx = self.cx(1, 1, false);
        // Both work: time stands still while one of them does.
        let (step, operator) = (cx.clock.busy(), cx.clock.busy());
        let (receipt, ()) = tokio::join!(self.step.apply(&cx, before), async {
            cx.clock.sleep(after_ms).await;
            cx.cancel.cancel();
        });
        drop((step, operator));
        self.hear(&cx, format!("{receipt:?}"));
        receipt
    }

    pub(crate) async fn undo(&self, attempt: u32, before: &Before) -> Result<(), Failure> {
        let cx = self.cx(attempt, 3, false);
        let done = self.step.undo(&cx, before).await;
        self.hear(&cx, format!("{done:?}"));
        done
    }
}

/// Asserts that two machines are equal, naming what differs.
pub(crate) fn same(found: &Value, wanted: &Value, when: &str) {
    if found == wanted {
        return;
    }
    let (found, wanted) = (found.as_object().unwrap(), wanted.as_object().unwrap());
    let mut lines = Vec::new();
    for (key, value) in wanted {
        match found.get(key) {
            None => lines.push(format!("missing {key}: {value}")),
            Some(other) if other != value => {
                lines.push(format!("{key}:\n  found  {other}\n  wanted {value}"));
            }
            Some(_) => {}
        }
    }
    for (key, value) in found {
        if !wanted.contains_key(key) {
            lines.push(format!("unexpected {key}: {value}"));
        }
    }
    panic!("{when}: the machine differs:\n{}", lines.join("\n"));
}
