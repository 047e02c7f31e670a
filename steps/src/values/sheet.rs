//! A chart's values while they are computed.

use serde_json::Value;

use super::{Inputs, RenderError};
use crate::release::{Chart, Release};
use crate::yaml::{Document, Why, YamlError, YamlPath};

/// The domain that templates use as a placeholder.
const PLACEHOLDER: &str = "example.com";

pub(super) struct Sheet<'a> {
    pub(super) chart: Chart,
    pub(super) document: Document,
    pub(super) inputs: &'a Inputs,
    pub(super) release: &'a Release,
}

impl Sheet<'_> {
    fn path(&self, text: &str) -> Result<YamlPath, YamlError> {
        text.parse().map_err(|_| {
            let why = Why::Unsupported("paths of this form");
            self.document.error(&YamlPath::root().key(text), why)
        })
    }

    /// The value at a path.
    pub(super) fn get(&self, path: &str) -> Result<Option<Value>, YamlError> {
        Ok(self.document.get(&self.path(path)?))
    }

    /// Sets a value that the template has room for: the path must exist.
    pub(super) fn fill(&mut self, path: &str, value: impl Into<Value>) -> Result<(), YamlError> {
        let path = self.path(path)?;
        self.document.need(&path)?;
        self.document.set(&path, &value.into()).map(drop)
    }

    /// Sets a value whether the template has the path or not.
    pub(super) fn force(&mut self, path: &str, value: impl Into<Value>) -> Result<(), YamlError> {
        let path = self.path(path)?;
        self.document.set(&path, &value.into()).map(drop)
    }

    /// Removes a key.
    pub(super) fn drop(&mut self, path: &str) -> Result<(), YamlError> {
        let path = self.path(path)?;
        self.document.remove(&path).map(drop)
    }

    /// Puts the domain into every value that holds the placeholder. `known` are those that must.
    pub(super) fn domain(&mut self, known: &[&str]) -> Result<(), YamlError> {
        let domain = self.inputs.domain.as_str();
        for path in known {
            let path = self.path(path)?;
            let value = self.document.need(&path)?;
            if value.as_str().and_then(|text| swap(text, domain)).is_none() {
                let why = Why::Shape {
                    expected: format!("a text with `{PLACEHOLDER}`"),
                    found: format!("`{value}`"),
                };
                return Err(self.document.error(&path, why));
            }
        }
        self.document
            .replace_scalars(&YamlPath::root(), |_, text| swap(text, domain))
            .map(drop)
    }

    /// An input that this chart cannot do without.
    pub(super) fn needs(&self, what: &'static str) -> RenderError {
        RenderError::Needs {
            chart: self.chart,
            what,
        }
    }
}

/// The text with the domain in place of the placeholder, wherever that is a whole host name or the end of one.
pub(super) fn swap(text: &str, domain: &str) -> Option<String> {
    let in_name = |one: char| one.is_ascii_alphanumeric() || one == '-';
    let mut out = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(PLACEHOLDER) {
        let (head, tail) = rest.split_at(at);
        let after = tail.strip_prefix(PLACEHOLDER).unwrap_or_default();
        let before = head.chars().next_back().or(out.chars().next_back());
        let continues = after
            .strip_prefix('.')
            .unwrap_or(after)
            .starts_with(in_name);
        let whole = !before.is_some_and(in_name) && !continues;
        out.push_str(head);
        out.push_str(if whole { domain } else { PLACEHOLDER });
        found |= whole;
        rest = after;
    }
    out.push_str(rest);
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_swapped() {
        for (text, swapped) in [
            ("example.com", Some("b.example.org")),
            (
                "https://account.example.com/d/?key=${key}",
                Some("https://account.b.example.org/d/?key=${key}"),
            ),
            (
                "https://*.example.com, wss://*.example.com",
                Some("https://*.b.example.org, wss://*.b.example.org"),
            ),
            (
                "email:support@example.com",
                Some("email:support@b.example.org"),
            ),
            (
                "https://sftd.example.com:443",
                Some("https://sftd.b.example.org:443"),
            ),
            ("notexample.com", None),
            ("my-example.com", None),
            ("example.com.au", None),
            ("example.community", None),
            ("at example.com.", Some("at b.example.org.")),
            ("exampleXcom", None),
        ] {
            assert_eq!(swap(text, "b.example.org").as_deref(), swapped, "{text}");
        }
    }
}
