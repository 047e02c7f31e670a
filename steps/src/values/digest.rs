//! The identity of a chart's installation: unchanged digest, nothing to do.

use std::fmt;

use serde_json::Value;

use crate::release::Chart;

/// A BLAKE3 hash over chart, version, values and secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wiab_engine::text::hex(&self.0))
    }
}

/// Hashes by meaning: layout, comments and the order of keys do not count. `secrets` is whatever identifies the sealed
/// secrets of the chart; empty without.
pub fn digest(chart: Chart, version: Option<&str>, values: &Value, secrets: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(chart.name().as_bytes());
    part(version.unwrap_or_default().as_bytes());
    part(sorted(values).to_string().as_bytes());
    part(secrets);
    Digest(*hasher.finalize().as_bytes())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let of = |chart, version, values: Value, secrets: &[u8]| {
            digest(chart, version, &values, secrets)
        };
        let one = of(Chart::Sftd, Some("1"), json!({"a": 1, "b": [1, 2]}), b"s");
        assert_eq!(
            one,
            of(Chart::Sftd, Some("1"), json!({"b": [1, 2], "a": 1}), b"s")
        );
        for other in [
            of(Chart::Coturn, Some("1"), json!({"a": 1, "b": [1, 2]}), b"s"),
            of(Chart::Sftd, None, json!({"a": 1, "b": [1, 2]}), b"s"),
            of(Chart::Sftd, Some("1"), json!({"a": "1", "b": [1, 2]}), b"s"),
            of(Chart::Sftd, Some("1"), json!({"a": 1, "b": [2, 1]}), b"s"),
            of(Chart::Sftd, Some("1"), json!({"a": 1, "b": [1, 2]}), b""),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(one.to_string().len(), 64);
    }
}
