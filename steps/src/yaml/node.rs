//! The tree of a document, each node with its bytes in the text.

use serde_json::{Map, Value};

use super::path::{Seg, YamlPath};
use super::scalar::{self, Style};

/// A value in the text.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) data: Data,
    /// First byte. For block collections and block scalars: of the first content.
    pub(super) start: usize,
    /// Byte after the last one of content. For a block scalar: without its last line break.
    pub(super) end: usize,
    /// Line, from 1.
    pub(super) line: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Data {
    Scalar { text: String, style: Style },
    List { items: Vec<Node>, flow: bool },
    Map { entries: Vec<Entry>, flow: bool },
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    /// First byte of the key.
    pub(super) start: usize,
    /// Column of the key, from 0.
    pub(super) column: usize,
    /// Byte after the colon.
    pub(super) colon_end: usize,
    pub(super) value: Node,
}

impl Node {
    /// The meaning.
    pub(super) fn value(&self) -> Value {
        match &self.data {
            Data::Scalar {
                text,
                style: Style::Plain | Style::Empty,
            } => scalar::resolve(text),
            Data::Scalar { text, .. } => Value::String(text.clone()),
            Data::List { items, .. } => items.iter().map(Self::value).collect(),
            Data::Map { entries, .. } => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, style: Style::Plain | Style::Empty } if scalar::resolve(text).is_null())
    }

    /// For messages.
    pub(super) fn shape(&self) -> &'static str {
        match &self.data {
            Data::Scalar { .. } if self.is_null() => "nothing",
            Data::Scalar { .. } => "a scalar",
            Data::List { .. } => "a list",
            Data::Map { .. } => "a mapping",
        }
    }

    /// Whether it is written in brackets.
    pub(super) fn is_flow(&self) -> bool {
        match &self.data {
            Data::List { flow, .. } | Data::Map { flow, .. } => *flow,
            Data::Scalar { .. } => false,
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Map { entries, .. } => entries.iter().find(|entry| entry.key == key),
            Data::List { .. } | Data::Scalar { .. } => None,
        }
    }

    /// The node at one step further.
    pub(super) fn child(&self, seg: &Seg) -> Option<&Self> {
        match (seg, &self.data) {
            (Seg::Key(key), _) => self.entry(key).map(|entry| &entry.value),
            (Seg::Index(index), Data::List { items, .. }) => items.get(*index),
            (Seg::Index(_), Data::Scalar { .. } | Data::Map { .. }) => None,
        }
    }

    /// Calls `look` for every scalar below.
    pub(super) fn scalars<'a>(
        &'a self,
        at: &YamlPath,
        look: &mut dyn FnMut(&YamlPath, &'a Self, &'a str, Style),
    ) {
        match &self.data {
            Data::Scalar { text, style } => look(at, self, text, *style),
            Data::List { items, .. } => {
                for (index, item) in items.iter().enumerate() {
                    item.scalars(&at.index(index), look);
                }
            }
            Data::Map { entries, .. } => {
                for entry in entries {
                    entry.value.scalars(&at.key(&entry.key), look);
                }
            }
        }
    }
}
