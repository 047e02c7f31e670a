//! An error as the operator sees it: one cause, one remedy, one exit code.

use serde_json::{Value, json};

use crate::exit::Code;
use crate::ui::style::harmless;

/// What went wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The exit code.
    pub(crate) code: Code,
    /// The cause in one sentence, lower case.
    pub(crate) cause: String,
    /// Lines below it, shown as they are: a place in a file, a difference.
    pub(crate) detail: Vec<String>,
    /// What to do, one command or sentence per line.
    pub(crate) remedy: Vec<String>,
}

impl Problem {
    /// A problem without detail and remedy.
    pub(crate) fn new(code: Code, cause: impl Into<String>) -> Self {
        Self {
            code,
            cause: cause.into(),
            detail: Vec::new(),
            remedy: Vec::new(),
        }
    }

    /// The problem that an error is, with all its sources.
    pub(crate) fn from_error(code: Code, what: &str, error: &dyn std::error::Error) -> Self {
        Self::new(code, format!("{what}: {}", chain(error)))
    }

    /// Adds a line of remedy.
    #[must_use]
    pub(crate) fn hint(mut self, line: impl Into<String>) -> Self {
        self.remedy.push(line.into());
        self
    }

    /// Adds lines of detail.
    #[must_use]
    pub(crate) fn detail(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(lines);
        self
    }

    /// The lines for the terminal, without colour.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("error: {}", harmless(&self.cause))];
        lines.extend(self.detail.iter().map(|line| harmless(line)));
        for (index, line) in self.remedy.iter().enumerate() {
            let lead = if index == 0 { "hint: " } else { "      " };
            lines.push(format!("{lead}{}", harmless(line)));
        }
        lines
    }

    /// The same as JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "type": "error",
            "message": self.cause,
            "detail": self.detail,
            "hint": self.remedy,
            "exit": {"code": self.code.number(), "name": self.code.name()},
        })
    }
}

/// An error and its sources in one line: `cannot open: permission denied`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
