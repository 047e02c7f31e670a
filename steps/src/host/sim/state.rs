//! The machine's state: one JSON value per entity, and drafts of changes to it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A kind of thing that the machine consists of.
pub(crate) trait Entity: Serialize + DeserializeOwned {
    /// The key's prefix.
    const KIND: &'static str;
}

fn key_of<E: Entity>(name: &str) -> String {
    format!("{}:{name}", E::KIND)
}

/// One entity set or removed (`None`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change(pub(crate) String, pub(crate) Option<Value>);

/// A simulated machine at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Unix time of its birth, in milliseconds.
    pub(crate) epoch_ms: u64,
    /// Virtual milliseconds since then.
    pub(crate) now_ms: u64,
    /// Everything else.
    pub(crate) state: BTreeMap<String, Value>,
    /// Counts changes; not part of the state.
    #[serde(skip)]
    pub(crate) version: u64,
}

impl Machine {
    /// Applies changes.
    pub(crate) fn commit(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        self.version += 1;
        for Change(key, value) in changes {
            match value {
                Some(value) => drop(self.state.insert(key.clone(), value.clone())),
                None => drop(self.state.remove(key)),
            }
        }
    }

    /// The entity of that name.
    pub(crate) fn get<E: Entity>(&self, name: &str) -> Option<E> {
        E::deserialize(self.state.get(&key_of::<E>(name))?).ok()
    }

    /// Sets an entity while a machine is being made up.
    pub(crate) fn put<E: Entity>(&mut self, name: &str, entity: &E) {
        let mut draft = Draft::new(self);
        draft.put(name, entity);
        let changes = draft.finish().0;
        self.commit(&changes);
    }

    /// Changes the machine by hand, as somebody else than wiab would.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Draft<'_>)) {
        let mut draft = Draft::new(self);
        change(&mut draft);
        let changes = draft.finish().0;
        self.commit(&changes);
    }

    /// All entities of a kind, by name.
    pub(crate) fn list<E: Entity>(&self) -> Vec<(String, E)> {
        Draft::new(self).list()
    }
}

/// Which part of a command's life a draft is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From its start to its end, or only its start: what [`Draft::mark_begun`] marks is there from then on.
    Whole,
    /// The end of a detached job, whose beginning is in the state already.
    End,
}

/// Changes in the making: reads see them, the machine does not yet.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    base: &'a Machine,
    stage: Stage,
    changes: Vec<Change>,
    half: Option<Vec<Change>>,
    begun: Vec<Change>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a Machine) -> Self {
        Self {
            base,
            stage: Stage::Whole,
            changes: Vec::new(),
            half: None,
            begun: Vec::new(),
        }
    }

    /// A draft of a detached job's end.
    pub(crate) fn ending(base: &'a Machine) -> Self {
        Self {
            stage: Stage::End,
            ..Self::new(base)
        }
    }

    /// Which part of the command this is.
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// What has changed so far is there as soon as the command runs as a detached job, and stays if it is killed.
    pub(crate) fn mark_begun(&mut self) {
        self.begun.clone_from(&self.changes);
        self.mark_half();
    }

    /// What [`Draft::mark_begun`] marked.
    pub(crate) fn begun(self) -> Vec<Change> {
        self.begun
    }

    /// The state without the changes in the making.
    pub(crate) fn base(&self) -> &'a Machine {
        self.base
    }

    /// Virtual time.
    pub(crate) fn now_ms(&self) -> u64 {
        self.base.now_ms
    }

    /// Unix time.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.base.epoch_ms + self.base.now_ms
    }

    fn raw(&self, key: &str) -> Option<&Value> {
        let pending = self.changes.iter().rev().find(|change| change.0 == key);
        match pending {
            Some(change) => change.1.as_ref(),
            None => self.base.state.get(key),
        }
    }

    pub(crate) fn get<E: Entity>(&self, name: &str) -> Option<E> {
        E::deserialize(self.raw(&key_of::<E>(name))?).ok()
    }

    pub(crate) fn has<E: Entity>(&self, name: &str) -> bool {
        self.raw(&key_of::<E>(name)).is_some()
    }

    /// Sets an entity; nothing happens if it is so already.
    pub(crate) fn put<E: Entity>(&mut self, name: &str, entity: &E) {
        let key = key_of::<E>(name);
        let value = serde_json::to_value(entity).unwrap_or(Value::Null);
        if self.raw(&key) != Some(&value) {
            self.changes.push(Change(key, Some(value)));
        }
    }

    /// Removes an entity, if it is there.
    pub(crate) fn del<E: Entity>(&mut self, name: &str) {
        let key = key_of::<E>(name);
        if self.raw(&key).is_some() {
            self.changes.push(Change(key, None));
        }
    }

    /// All entities of a kind, by name.
    pub(crate) fn list<E: Entity>(&self) -> Vec<(String, E)> {
        self.names::<E>("")
            .into_iter()
            .filter_map(|name| self.get::<E>(&name).map(|entity| (name, entity)))
            .collect()
    }

    /// Names of all entities of a kind that start with `prefix`.
    pub(crate) fn names<E: Entity>(&self, prefix: &str) -> Vec<String> {
        let (kind, start) = (format!("{}:", E::KIND), key_of::<E>(prefix));
        let known = self
            .base
            .state
            .range(start.clone()..)
            .take_while(|(key, _)| key.starts_with(&start))
            .map(|(key, _)| key.clone());
        let mut keys: std::collections::BTreeSet<String> = known.collect();
        for Change(key, value) in &self.changes {
            match value {
                Some(_) if key.starts_with(&start) => drop(keys.insert(key.clone())),
                None => drop(keys.remove(key)),
                Some(_) => {}
            }
        }
        keys.into_iter()
            .map(|key| key.strip_prefix(&kind).unwrap_or_default().to_owned())
            .collect()
    }

    /// Takes changes that were made beside it.
    pub(crate) fn absorb(&mut self, changes: Vec<Change>) {
        self.changes.extend(changes);
    }

    /// The same with what an interrupted command leaves of them.
    pub(crate) fn absorb_with_half(&mut self, changes: Vec<Change>, half: Option<Vec<Change>>) {
        self.half = half.map(|half| [self.changes.clone(), half].concat());
        self.changes.extend(changes);
    }

    /// What has changed so far is what an interrupted command leaves. The last call counts.
    pub(crate) fn mark_half(&mut self) {
        self.half = Some(self.changes.clone());
    }

    /// A half-way state that is not on the way to the whole one: `change` is left behind only by an interrupted command.
    pub(crate) fn half_only(&mut self, change: impl FnOnce(&mut Self)) {
        let kept = self.changes.len();
        change(self);
        self.half = Some(self.changes.clone());
        self.changes.truncate(kept);
    }

    /// The changes, and those of an interrupted command if it can be interrupted in the middle.
    pub(crate) fn finish(self) -> (Vec<Change>, Option<Vec<Change>>) {
        let half = self.half.filter(|half| !half.is_empty());
        (self.changes, half)
    }
}
