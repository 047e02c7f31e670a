//! Comparing machines: everything but time, jobs and handles.

use serde_json::{Map, Value};

use super::acme::{Issuance, Issued};
use super::cmd::Flows;
use super::container::Container;
use super::entity::{Domain, Inside, Job, KubeObject, Table};
use super::inside::LOG;
use super::kube;
use super::state::{Change, Entity, Machine};

impl Machine {
    /// The machine as JSON, without what differs between two machines that are equal: the clock, records of detached
    /// jobs, handles of rules, times of starts, what VMs only count.
    pub fn canonical_state(&self) -> Value {
        let prefix = |kind: &str| format!("{kind}:");
        let (jobs, tables, domains) =
            (prefix(Job::KIND), prefix(Table::KIND), prefix(Domain::KIND));
        let (flows, insides) = (prefix(Flows::KIND), prefix(Inside::KIND));
        let counted = |key: &str| {
            let inside = key.strip_prefix(&insides);
            inside.is_some_and(|name| {
                name.split_once('/')
                    .is_some_and(|(_, what)| what.starts_with(LOG))
            })
        };
        let objects = prefix(KubeObject::KIND);
        let (issuances, issued) = (prefix(Issuance::KIND), prefix(Issued::KIND));
        let mut state = Map::new();
        for (key, value) in &self.state {
            if let Some(name) = key.strip_prefix(&objects) {
                state.extend(kube::canonical(self, name));
                continue;
            }
            // Progress, and what the authority remembers of a machine that is gone.
            if key.starts_with(&issuances) || key.starts_with(&issued) {
                continue;
            }
            // Connections come and go by themselves.
            let value = if key.starts_with(&jobs) || key.starts_with(&flows) || counted(key) {
                continue;
            } else if let Some(name) = key.strip_prefix(&tables) {
                self.get::<Table>(name)
                    .map_or(Value::Null, |table| rules(&table))
            } else if let Some(name) = key.strip_prefix(&domains) {
                self.get::<Domain>(name)
                    .map_or(Value::Null, |domain| machine(&domain, self.now_ms))
            } else if let Some(name) = key.strip_prefix(&format!("{}:", Container::KIND)) {
                match self.get::<Container>(name) {
                    Some(container) if container.is_there() => container.cmd.argv.into(),
                    _ => continue,
                }
            } else {
                value.clone()
            };
            state.insert(key.clone(), value);
        }
        Value::Object(state)
    }

    /// BLAKE3 of [`Machine::canonical_state`], in hexadecimal.
    pub fn digest(&self) -> String {
        let text = self.canonical_state().to_string();
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// The changes that lead from this machine to another one.
    pub(crate) fn changes_to(&self, other: &Self) -> Vec<Change> {
        let set = other
            .state
            .iter()
            .filter(|(key, value)| self.state.get(*key) != Some(value))
            .map(|(key, value)| Change(key.clone(), Some(value.clone())));
        let gone = self
            .state
            .keys()
            .filter(|key| !other.state.contains_key(*key))
            .map(|key| Change(key.clone(), None));
        set.chain(gone).collect()
    }
}

fn rules(table: &Table) -> Value {
    let chains = table.chains.iter().map(|(name, chain)| {
        let rules: Vec<&str> = chain.rules.iter().map(|rule| rule.text.as_str()).collect();
        (
            name.clone(),
            serde_json::json!({"hook": chain.hook, "rules": rules}),
        )
    });
    let mut all: Map<String, Value> = chains.collect();
    for (name, elements) in &table.sets {
        all.insert(format!("set {name}"), serde_json::json!(elements));
    }
    Value::Object(all)
}

fn machine(domain: &Domain, now_ms: u64) -> Value {
    serde_json::json!({
        "xml": domain.xml,
        "autostart": domain.autostart,
        "running": domain.running_since(now_ms).is_some(),
    })
}
