//! A YAML document that is read by path and changed without touching anything else.

use serde_json::Value;

use super::edit::{self, Place, Splice};
use super::error::{Origin, Why, YamlError};
use super::node::Node;
use super::path::{Seg, YamlPath};
use super::read;
use super::scalar::{self, Style};

/// A document: its text, and the tree of it.
///
/// Every change is read back before it is accepted: exactly the wanted path has the wanted value, all others are as they were.
#[derive(Debug, Clone)]
pub struct Document {
    origin: Origin,
    text: String,
    root: Option<Node>,
}

impl Document {
    /// Reads a document. Anchors, tags, several documents in one text, and double keys are refused.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, YamlError> {
        match read::read(text) {
            Ok(root) => Ok(Self {
                origin,
                text: text.to_owned(),
                root,
            }),
            Err(refused) => Err(YamlError {
                origin: Box::new(origin),
                line: Some(refused.line),
                path: refused.path,
                why: refused.why,
            }),
        }
    }

    /// The text, changes included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole meaning; null for a document of comments only.
    pub fn value(&self) -> Value {
        self.root.as_ref().map_or(Value::Null, Node::value)
    }

    /// The meaning of one place; `None` if it is not there.
    pub fn get(&self, path: &YamlPath) -> Option<Value> {
        self.at(path).map(Node::value)
    }

    /// Like [`Document::get`], for what must be there.
    pub fn need(&self, path: &YamlPath) -> Result<Value, YamlError> {
        self.get(path).ok_or_else(|| self.error(path, Why::Missing))
    }

    fn at(&self, path: &YamlPath) -> Option<&Node> {
        let root = self.root.as_ref()?;
        path.0.iter().try_fold(root, |node, seg| node.child(seg))
    }

    /// An error about a place in this document, with the line of the nearest place that exists.
    pub fn error(&self, path: &YamlPath, why: Why) -> YamlError {
        let mut node = self.root.as_ref();
        for seg in &path.0 {
            node = node.and_then(|node| node.child(seg)).or(node);
        }
        YamlError {
            origin: Box::new(self.origin.clone()),
            line: node.map(|node| node.line),
            path: Some(path.clone()),
            why,
        }
    }

    /// The first scalar that readers of YAML 1.1 and 1.2 understand differently, as an error.
    pub fn refuse_ambiguous(&self) -> Result<(), YamlError> {
        let mut found = None;
        self.each(&YamlPath::root(), &mut |path, _, text, style| {
            if style == Style::Plain && scalar::ambiguous(text) && found.is_none() {
                found = Some((path.clone(), text.to_owned()));
            }
        });
        match found {
            Some((path, text)) => Err(self.error(&path, Why::Ambiguous(text))),
            None => Ok(()),
        }
    }

    /// Every text scalar below a place, with its path.
    pub fn texts(&self, under: &YamlPath) -> Vec<(YamlPath, String)> {
        let mut texts = Vec::new();
        self.each(under, &mut |path, _, text, style| {
            let plain = matches!(style, Style::Plain | Style::Empty);
            if !plain || scalar::resolve(text).is_string() {
                texts.push((path.clone(), text.to_owned()));
            }
        });
        texts
    }

    fn each<'a>(
        &'a self,
        under: &YamlPath,
        look: &mut dyn FnMut(&YamlPath, &'a Node, &'a str, Style),
    ) {
        if let Some(node) = self.at(under) {
            node.scalars(under, look);
        }
    }

    /// Sets a value: a scalar in the style of the one it replaces, or a whole collection. Missing mappings on the way are
    /// added. Answers whether anything changed.
    pub fn set(&mut self, path: &YamlPath, value: &Value) -> Result<bool, YamlError> {
        if self.get(path).as_ref() == Some(value) {
            return Ok(false);
        }
        let splices = self
            .splices(path, value)
            .map_err(|why| self.error(path, why))?;
        let mut wanted = self.value();
        edit::put(&mut wanted, path, Some(value));
        self.accept(path, splices, &wanted)?;
        Ok(true)
    }

    fn splices(&self, path: &YamlPath, value: &Value) -> Result<Vec<Splice>, Why> {
        let Some(root) = &self.root else {
            return edit::first(&self.text, path, value);
        };
        if root.is_null() && !path.0.is_empty() {
            return edit::first(&self.text, path, value);
        }
        let mut node = root;
        let mut place = Place::default();
        for (depth, seg) in path.0.iter().enumerate() {
            let Some(child) = node.child(seg) else {
                let (at, rest) = path.0.split_at(depth);
                return self.splices_beyond(node, at, rest, value);
            };
            place = Place {
                entry: match seg {
                    Seg::Key(key) => node.entry(key),
                    Seg::Index(_) => None,
                },
                flow: place.flow || node.is_flow(),
            };
            node = child;
        }
        edit::replace(&self.text, node, place, value)
    }

    /// The place itself is missing: `rest` is added below `node`.
    fn splices_beyond(
        &self,
        node: &Node,
        at: &[Seg],
        rest: &[Seg],
        value: &Value,
    ) -> Result<Vec<Splice>, Why> {
        let nested = edit::nest(rest, value)?;
        if node.is_null() {
            let parent = YamlPath(at.to_vec());
            return self.splices(&parent, &nested);
        }
        edit::append(&self.text, node, &nested)
    }

    /// Removes a key with its value and its lines; the comment lines above it stay. Answers whether it was there.
    pub fn remove(&mut self, path: &YamlPath) -> Result<bool, YamlError> {
        let Some((Seg::Key(key), parent)) = path.0.split_last() else {
            return Err(self.error(path, Why::Unsupported("removals from lists")));
        };
        let parent = YamlPath(parent.to_vec());
        let Some((node, entry)) = self
            .at(&parent)
            .and_then(|node| node.entry(key).map(|entry| (node, entry)))
        else {
            return Ok(false);
        };
        let splices = edit::remove(&self.text, node, entry).map_err(|why| self.error(path, why))?;
        let mut wanted = self.value();
        edit::put(&mut wanted, path, None);
        self.accept(path, splices, &wanted)?;
        Ok(true)
    }

    /// Rewrites the text scalars below a place for which `change` has an answer. Answers their paths.
    pub fn replace_scalars(
        &mut self,
        under: &YamlPath,
        change: impl Fn(&YamlPath, &str) -> Option<String>,
    ) -> Result<Vec<YamlPath>, YamlError> {
        let mut paths = Vec::new();
        for (path, text) in self.texts(under) {
            if let Some(new) = change(&path, &text).filter(|new| *new != text) {
                self.set(&path, &Value::String(new))?;
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Makes the changes if the result means what is wanted.
    fn accept(
        &mut self,
        path: &YamlPath,
        splices: Vec<Splice>,
        wanted: &Value,
    ) -> Result<(), YamlError> {
        let text = edit::apply(&self.text, splices);
        match read::read(&text) {
            Ok(root) if root.as_ref().map_or(Value::Null, Node::value) == *wanted => {
                self.text = text;
                self.root = root;
                Ok(())
            }
            Ok(_) | Err(_) => Err(self.error(path, Why::Unfaithful)),
        }
    }
}
