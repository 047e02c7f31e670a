//! References between steps: `{"$output": ["step.id", "name"]}` inside a step's inputs.

use serde_json::Value;

use crate::id::StepId;
use crate::plan::StepSpec;

/// Why a step's inputs are not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The stored document is not JSON.
    #[error("inputs of step `{step}` are not a JSON document")]
    Malformed {
        /// The step.
        step: StepId,
    },
    /// The step referred to has not left that output (yet).
    #[error("step `{step}` needs `{output}` of `{from}`, which is not known yet")]
    Missing {
        /// The step.
        step: StepId,
        /// The step referred to.
        from: StepId,
        /// The output.
        output: String,
    },
}

fn reference(value: &Value) -> Option<(StepId, &str)> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    match map.get("$output")?.as_array()?.as_slice() {
        [step, name] => Some((StepId::new(step.as_str()?).ok()?, name.as_str()?)),
        _ => None,
    }
}

/// Calls `found` for every reference in `value`.
pub fn references(value: &Value, found: &mut dyn FnMut(&StepId, &str)) {
    if let Some((step, name)) = reference(value) {
        found(&step, name);
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(map) => map.values().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The inputs of `spec` with every reference replaced by the output that `lookup` knows.
pub fn resolve(
    spec: &StepSpec,
    lookup: &dyn Fn(&StepId, &str) -> Option<String>,
) -> Result<Value, InputError> {
    let mut inputs: Value =
        serde_json::from_str(&spec.inputs).map_err(|_| InputError::Malformed {
            step: spec.id.clone(),
        })?;
    replace(&mut inputs, spec, lookup)?;
    Ok(inputs)
}

fn replace(
    value: &mut Value,
    spec: &StepSpec,
    lookup: &dyn Fn(&StepId, &str) -> Option<String>,
) -> Result<(), InputError> {
    if let Some((from, name)) = reference(value) {
        let Some(output) = lookup(&from, name) else {
            return Err(InputError::Missing {
                step: spec.id.clone(),
                from,
                output: name.to_owned(),
            });
        };
        *value = Value::String(output);
        return Ok(());
    }
    match value {
        Value::Array(items) => items
            .iter_mut()
            .try_for_each(|item| replace(item, spec, lookup)),
        Value::Object(map) => map
            .values_mut()
            .try_for_each(|item| replace(item, spec, lookup)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
