//! Which paths of two documents differ in meaning.

use serde_json::Value;

use super::document::Document;
use super::path::YamlPath;

/// The leaves that differ, in order. A list whose length changed counts as one leaf, and so does whatever exists on one
/// side only, down to its own leaves for mappings.
pub fn changed_paths(before: &Document, after: &Document) -> Vec<YamlPath> {
    let mut out = Vec::new();
    differ(
        &YamlPath::root(),
        Some(&before.value()),
        Some(&after.value()),
        &mut out,
    );
    out
}

fn differ(at: &YamlPath, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<YamlPath>) {
    if before == after {
        return;
    }
    let empty = serde_json::Map::new();
    let entries = |value: Option<&Value>| match value {
        Some(Value::Object(entries)) => Some(entries.clone()),
        // At the root, or where a mapping appears or vanishes, its leaves are what changed.
        None | Some(Value::Null) => Some(empty.clone()),
        Some(_) => None,
    };
    let a_map = |value: Option<&Value>| matches!(value, Some(Value::Object(entries)) if !entries.is_empty());
    match (before, after) {
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differ(&at.index(index), Some(old), Some(new), out);
            }
        }
        _ if a_map(before) || a_map(after) => match (entries(before), entries(after)) {
            (Some(old), Some(new)) => {
                for (key, value) in &old {
                    differ(&at.key(key), Some(value), new.get(key), out);
                }
                for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                    differ(&at.key(key), None, Some(value), out);
                }
            }
            (Some(_) | None, None) | (None, Some(_)) => out.push(at.clone()),
        },
        _ => out.push(at.clone()),
    }
}
