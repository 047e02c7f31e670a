//! Identifiers of runs, steps and lanes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest accepted step id, in bytes.
pub const STEP_ID_BYTES_MAX: usize = 96;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty, too long, or holds a character outside the alphabet.
    #[error(
        "`{text}` is not a step id: use 1 to {STEP_ID_BYTES_MAX} of a-z, A-Z, 0-9, `.`, `:`, `-`, `_`, starting with a letter or digit"
    )]
    Step {
        /// The rejected text.
        text: String,
    },
    /// The text is not a run id.
    #[error("`{text}` is not a run id")]
    Run {
        /// The rejected text.
        text: String,
    },
}

/// The name of a step, unique within its plan and stable across runs: `vm.disk:kubenode1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StepId(Arc<str>);

impl StepId {
    /// Checks `text` against the alphabet of step ids.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let head = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte));
        if head && rest && text.len() <= STEP_ID_BYTES_MAX {
            return Ok(Self(Arc::from(text)));
        }
        Err(IdError::Step {
            text: text.to_owned(),
        })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first dot, by which screens group steps: `vm`.
    pub fn area(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepId({})", self.0)
    }
}

/// A run: one `apply` and everything that belongs to it. A UUID of version 7, so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub [u8; 16]);

impl RunId {
    /// Reads the 32 hexadecimal digits of [`RunId::display`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let uuid = uuid::Uuid::try_parse(text).map_err(|_| IdError::Run {
            text: text.to_owned(),
        })?;
        let mut bytes = *uuid.as_bytes();
        bytes.rotate_left(8);
        Ok(Self(bytes))
    }

    /// The id that people type: hexadecimal, random digits first so that a short prefix tells runs apart.
    ///
    /// A UUID v7 starts with its time; runs of the same hour would share a long prefix, so the
    /// display order is rotated: the last 8 bytes, then the first 8.
    pub fn display(&self) -> String {
        let mut bytes = self.0;
        bytes.rotate_left(8);
        crate::text::hex(&bytes)
    }

    /// The first 8 digits of [`RunId::display`].
    pub fn short(&self) -> String {
        self.display().chars().take(8).collect()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({})", self.short())
    }
}

/// A resource that serialises the steps that use it: `host-apt`, `libvirt`, `dn-apt:datanode1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lane(pub String);

impl Lane {
    /// Names a lane.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}
