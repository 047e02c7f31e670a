//! What a release shall be: chart version and values, and how they differ from what helm has.

use serde_json::{Map, Value};
use wiab_engine::outcome::Failure;

use super::super::known;
use super::super::tool::STATE;
use super::HelmRelease;
use super::state::History;
use crate::host::shell::Shell;
use crate::kind::Input;

/// Most paths that a difference names.
const PATHS_MAX: usize = 8;

/// A values file on the host and inside the container.
pub(super) struct ValuesFile {
    pub(super) outside: String,
    pub(super) inside: String,
}

/// What is wanted.
pub(super) struct Wanted {
    /// Name and version of the chart: `wire-server-5.23.0`.
    pub(super) chart: String,
    pub(super) values: Value,
}

impl HelmRelease {
    /// The values files, in the order in which they are laid over each other.
    pub(super) fn files(&self) -> Result<Vec<ValuesFile>, Failure> {
        let all = self.values.iter().chain(&self.secrets);
        all.map(|path: &Input<String>| {
            let outside = known(path, "values")?.clone();
            let Some(rest) = outside.strip_prefix(&format!("{}/", self.tools.deploy)) else {
                return Err(Failure::clean(format!(
                    "{outside} is not below {}: the tool container does not see it",
                    self.tools.deploy
                )));
            };
            let inside = format!("{STATE}/{rest}");
            Ok(ValuesFile { outside, inside })
        })
        .collect()
    }

    /// Reads what is wanted from the release and the values files.
    pub(super) async fn wanted(&self, sh: Shell<'_>) -> Result<Wanted, Failure> {
        let tree = known(&self.tools.tree, "tree")?;
        let path = format!("{tree}/{}", self.chart.description());
        let description = self.read_yaml(sh, &path).await?;
        let Some(version) = description.get("version").and_then(Value::as_str) else {
            return Err(Failure::clean(format!("{path} names no version")));
        };
        let mut values = Value::Object(Map::new());
        for file in self.files()? {
            let layer = self.read_yaml(sh, &file.outside).await?;
            if !layer.is_null() {
                lay(&mut values, layer);
            }
        }
        Ok(Wanted {
            chart: format!("{}-{version}", self.chart),
            values,
        })
    }

    async fn read_yaml(&self, sh: Shell<'_>, path: &str) -> Result<Value, Failure> {
        let Some(bytes) = sh.read(path, true).await? else {
            return Err(Failure::clean(format!("{path} is missing"))
                .code("helm.input")
                .hint(format!(
                    "run the step that writes it again: wiab apply --until helm.{}",
                    self.chart
                )));
        };
        let text = String::from_utf8_lossy(&bytes);
        let empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(empty) {
            return Ok(Value::Null);
        }
        // The parser's own message may quote the file.
        serde_saphyr::from_str(&text)
            .map_err(|_| Failure::clean(format!("{path} is not YAML")).code("helm.input"))
    }
}

/// Lays values over others as helm does: mappings are merged, everything else replaces.
fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

impl Wanted {
    /// Where helm's release differs; `None` if it does not. Names paths, never values: those may be secrets.
    pub(super) fn diff(&self, history: &History, found: &Value) -> Option<String> {
        let mut lines = Vec::new();
        let chart = history.chart();
        if chart != self.chart {
            lines.push(format!("- chart {chart}"));
            lines.push(format!("+ chart {}", self.chart));
        }
        let mut paths = Vec::new();
        differ(&self.values, found, "", &mut paths);
        let more = paths.len().saturating_sub(PATHS_MAX);
        paths.truncate(PATHS_MAX);
        lines.extend(paths.into_iter().map(|path| format!("+ value {path}")));
        if more > 0 {
            lines.push(format!("+ {more} more values"));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// Collects the paths at which two values differ. Numbers count by what they are: helm writes some in another form.
fn differ(one: &Value, other: &Value, at: &str, paths: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let below = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                let part = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differ(&part(one), &part(other), &below, paths);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differ(one, other, &format!("{at}.{index}"), paths);
            }
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        (one, other) if one == other => {}
        _ => paths.push(at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn layers_merge_as_in_helm_and_differences_are_paths() {
        let mut values = json!({"a": {"b": 1, "c": [1, 2]}, "d": "x"});
        lay(&mut values, json!({"a": {"c": [3]}, "d": null}));
        assert_eq!(values, json!({"a": {"b": 1, "c": [3]}, "d": null}));
        let mut paths = Vec::new();
        differ(
            &values,
            &json!({"a": {"b": 1.0, "c": [4], "e": true}}),
            "",
            &mut paths,
        );
        assert_eq!(paths, ["a.c.0", "a.e"]);
    }
}
