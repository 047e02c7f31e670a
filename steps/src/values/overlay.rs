//! The operator's layer: mappings are merged, everything else replaces.

use serde_json::Value;

use crate::yaml::{Document, Why, YamlError, YamlPath};

/// Lays an overlay over a document. Lists are replaced as a whole; null stands for null, by which helm drops a chart's
/// default. Scalars that readers understand differently are refused, so that helm sees what wiab saw.
pub fn merge(document: &mut Document, overlay: &Document) -> Result<(), YamlError> {
    overlay.refuse_ambiguous()?;
    let value = overlay.value();
    match &value {
        Value::Null => Ok(()),
        Value::Object(_) => lay(document, &YamlPath::root(), &value),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let why = Why::Shape {
                expected: "a mapping".to_owned(),
                found: "something else".to_owned(),
            };
            Err(overlay.error(&YamlPath::root(), why))
        }
    }
}

fn lay(document: &mut Document, at: &YamlPath, value: &Value) -> Result<(), YamlError> {
    match (value, document.get(at)) {
        (Value::Object(entries), Some(Value::Object(_))) => entries
            .iter()
            .try_for_each(|(key, value)| lay(document, &at.key(key), value)),
        (Value::Object(entries), None | Some(Value::Null)) if at.0.is_empty() => entries
            .iter()
            .try_for_each(|(key, value)| lay(document, &at.key(key), value)),
        _ => document.set(at, value).map(drop),
    }
}
