//! What can be wrong with a YAML file, said with file, line, path and release.

use std::fmt;

use super::path::YamlPath;

/// Where a text comes from, for messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Path of the file.
    pub file: String,
    /// Name of the release it belongs to; `None` for files of the operator.
    pub release: Option<String>,
}

impl Origin {
    /// A file of the operator.
    pub fn file(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            release: None,
        }
    }

    /// A file of a release.
    pub fn of_release(file: impl Into<String>, release: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            release: Some(release.into()),
        }
    }
}

/// A file that cannot be read or changed as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// The file and its release.
    pub origin: Box<Origin>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// The place inside the document.
    pub path: Option<YamlPath>,
    /// What is wrong.
    pub why: Why,
}

impl std::error::Error for YamlError {}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(path) = &self.path {
            write!(f, ", `{path}`")?;
        }
        if let Some(release) = &self.origin.release {
            write!(f, " (of {release})")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not YAML.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// Larger or deeper than any file of a release.
    #[error("more than {limit} {what}")]
    TooLarge {
        /// The bound.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// YAML that no file of a release uses: anchors, tags, several documents, complex keys.
    #[error("{0} are not supported here")]
    Unsupported(&'static str),
    /// A key stands twice in one mapping.
    #[error("the key `{0}` stands here twice")]
    Duplicate(String),
    /// The path is not there.
    #[error("not there, though every known release has it")]
    Missing,
    /// Something of another shape is there.
    #[error("expected {expected}, found {found}")]
    Shape {
        /// What was expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A scalar that YAML 1.1 and 1.2 understand differently.
    #[error(
        "`{0}` means different things to different readers; write it in quotes, or as true, false or a decimal number"
    )]
    Ambiguous(String),
    /// The changed text would not read back as intended; nothing was changed.
    #[error("the change would not read back as intended")]
    Unfaithful,
}
