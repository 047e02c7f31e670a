//! What wiab has written down, read from the plain copies beside its journal.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Result;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Its number in the journal.
    pub(super) seq: u64,
    /// Its kind and what it is about.
    pub(super) name: String,
}

/// The files with the events of all runs.
fn files(state: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![state.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs_err::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| name == "events.jsonl") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn seq(line: &str) -> Option<u64> {
    let digits = line.strip_prefix("{\"seq\":")?.split(',').next()?;
    digits.parse().ok()
}

fn event(line: &str, seq: u64) -> Option<Event> {
    // The last line may be half written.
    let json: Value = serde_json::from_str(line).ok()?;
    let kind = json.get("kind")?.as_str()?;
    let body = json.get("body");
    let about = ["id", "cause", "step"].iter().find_map(|key| {
        let value = body?.get(*key)?;
        value.as_str()
    });
    Some(Event {
        seq,
        name: format!("{kind} {}", about.unwrap_or_default()),
    })
}

/// All events after the one of this number, in their order.
pub(super) fn since(state: &Path, base: u64) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    for file in files(state)? {
        let bytes = fs_err::read(&file).unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some(seq) = seq(line).filter(|seq| *seq > base) {
                found.extend(event(line, seq));
            }
        }
    }
    found.sort_by_key(|event| event.seq);
    found.dedup();
    Ok(found)
}

/// The number of the last event.
pub(super) fn last(state: &Path) -> Result<u64> {
    Ok(since(state, 0)?.last().map_or(0, |event| event.seq))
}

/// The obligations that these events leave open.
pub(super) fn open(events: &[Event]) -> Vec<&str> {
    let mut open = Vec::new();
    for event in events {
        match event.name.split_once(' ') {
            Some(("ObligationOpened", id)) if !open.contains(&id) => open.push(id),
            Some(("ObligationSettled", id)) => open.retain(|known| *known != id),
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_by_what_they_are_about() {
        let line =
            |kind: &str, body: &str| format!("{{\"seq\":7,\"kind\":\"{kind}\",\"body\":{body}}}");
        let opened = line("ObligationOpened", r#"{"step":"s","id":"rule"}"#);
        let read = event(&opened, seq(&opened).unwrap()).unwrap();
        assert_eq!((read.seq, read.name.as_str()), (7, "ObligationOpened rule"));
        assert_eq!(open(std::slice::from_ref(&read)), ["rule"]);
        let settled = event(&line("ObligationSettled", r#"{"step":"s","id":"rule"}"#), 8).unwrap();
        assert!(open(&[read, settled]).is_empty());
        assert_eq!(event("{\"seq\":9,\"ki", 9), None);
    }
}
