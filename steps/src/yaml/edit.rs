//! Where bytes change when a value changes.

use std::ops::Range;

use serde_json::{Map, Value};

use super::error::Why;
use super::node::{Data, Entry, Node};
use super::path::{Seg, YamlPath};
use super::scalar::Style;
use super::write;

/// Bytes of the text and what stands there instead.
#[derive(Debug)]
pub(super) struct Splice {
    at: Range<usize>,
    text: String,
}

fn splice(at: Range<usize>, text: impl Into<String>) -> Splice {
    Splice {
        at,
        text: text.into(),
    }
}

/// Makes changes that do not overlap.
pub(super) fn apply(text: &str, mut splices: Vec<Splice>) -> String {
    splices.sort_by_key(|splice| splice.at.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for splice in splices {
        out.push_str(text.get(done..splice.at.start).unwrap_or_default());
        out.push_str(&splice.text);
        done = splice.at.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The end of the line that holds byte `at`, without its line break.
fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let line = rest.split('\n').next().unwrap_or_default();
    at + line.trim_end_matches('\r').len()
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at)
        .and_then(|head| head.rfind('\n'))
        .map_or(0, |found| found + 1)
}

/// Lines of a block, to be put behind the end of a line.
fn behind_line(text: &str, lines: &str) -> String {
    let newline = newline(text);
    format!("{newline}{}", lines.strip_suffix(newline).unwrap_or(lines))
}

/// `{a: {b: value}}` for the missing keys `a`, `b`.
pub(super) fn nest(rest: &[Seg], value: &Value) -> Result<Value, Why> {
    rest.iter()
        .rev()
        .try_fold(value.clone(), |value, seg| match seg {
            Seg::Key(key) => Ok(Value::Object(Map::from_iter([(key.clone(), value)]))),
            Seg::Index(_) => Err(Why::Missing),
        })
}

/// The first content of a document that has none.
pub(super) fn first(text: &str, path: &YamlPath, value: &Value) -> Result<Vec<Splice>, Why> {
    let nested = nest(&path.0, value)?;
    let newline = newline(text);
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        newline
    };
    let end = text.len()..text.len();
    let body = if write::is_inline(&nested) {
        format!("{}{newline}", write::inline(&nested, Style::Empty, false))
    } else {
        write::block(&nested, 0, newline)
    };
    Ok(vec![splice(end, format!("{gap}{body}"))])
}

/// New keys at the end of a mapping, before the comments that follow it.
pub(super) fn append(text: &str, node: &Node, nested: &Value) -> Result<Vec<Splice>, Why> {
    let (Data::Map { entries, flow }, Value::Object(new)) = (&node.data, nested) else {
        return Err(Why::Shape {
            expected: "a mapping on the way".to_owned(),
            found: node.shape().to_owned(),
        });
    };
    if *flow {
        let inside = write::inline(nested, Style::Empty, true);
        let inside = inside
            .strip_prefix('{')
            .and_then(|inside| inside.strip_suffix('}'))
            .unwrap_or_default();
        let comma = if entries.is_empty() { "" } else { ", " };
        let closing = node.end - 1;
        return Ok(vec![splice(closing..closing, format!("{comma}{inside}"))]);
    }
    let column = entries.first().map_or(0, |entry| entry.column);
    let newline = newline(text);
    let lines: String = new
        .iter()
        .map(|(key, value)| write::entry(key, value, column, newline))
        .collect();
    let at = line_end(text, node.end);
    Ok(vec![splice(at..at, behind_line(text, &lines))])
}

/// Where a node hangs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place<'a> {
    /// The key that holds it, if one does.
    pub(super) entry: Option<&'a Entry>,
    /// Whether it stands inside brackets.
    pub(super) flow: bool,
}

/// Another value in place of a node.
pub(super) fn replace(
    text: &str,
    node: &Node,
    place: Place<'_>,
    value: &Value,
) -> Result<Vec<Splice>, Why> {
    let one_line = place.flow || write::is_inline(value);
    let style = match &node.data {
        Data::Scalar {
            style: style @ (Style::Plain | Style::Single | Style::Double),
            ..
        } if one_line => *style,
        Data::List { flow: true, .. } | Data::Map { flow: true, .. } => Style::Empty,
        Data::Scalar { .. } | Data::List { .. } | Data::Map { .. } => {
            return place.entry.map_or(
                Err(Why::Unsupported("changes of whole list items")),
                |entry| Ok(below_key(text, entry, place.flow, value)),
            );
        }
    };
    let flow = place.flow || !write::is_inline(value);
    let new = write::inline(value, style, flow);
    Ok(vec![splice(node.start..node.end, new)])
}

/// Another value for a key whose value is nothing, a block, or shall become one.
fn below_key(text: &str, entry: &Entry, flow: bool, value: &Value) -> Vec<Splice> {
    let (colon, node) = (entry.colon_end, &entry.value);
    let one_line = flow || write::is_inline(value);
    let (beside, below) = if one_line {
        let inline = write::inline(value, Style::Empty, flow);
        (format!(" {inline}"), String::new())
    } else {
        let lines = write::block(value, entry.column + 2, newline(text));
        (String::new(), behind_line(text, &lines))
    };
    match &node.data {
        Data::Scalar {
            style: Style::Block,
            ..
        } => {
            let header = text.get(colon..line_end(text, colon)).unwrap_or_default();
            let comment = header.find(" #").and_then(|at| header.get(at..));
            let new = format!("{beside}{}{below}", comment.unwrap_or_default());
            vec![splice(colon..node.end, new)]
        }
        Data::Scalar { .. } => {
            let mut splices = vec![splice(colon..node.end, beside)];
            if !below.is_empty() {
                let end = line_end(text, node.end);
                splices.push(splice(end..end, below));
            }
            splices
        }
        Data::List { .. } | Data::Map { .. } => {
            let body = after_comments(text, line_end(text, colon));
            vec![
                splice(colon..colon, beside),
                splice(body..line_end(text, node.end), below),
            ]
        }
    }
}

/// The end of the last of the lines after `at` that hold nothing or a comment.
fn after_comments(text: &str, at: usize) -> usize {
    let mut end = at;
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let Some(next) = rest.find('\n').map(|found| end + found + 1) else {
            return end;
        };
        let next_end = line_end(text, next);
        let line = text.get(next..next_end).unwrap_or_default().trim_start();
        if next_end == text.len() || !(line.is_empty() || line.starts_with('#')) {
            return end;
        }
        end = next_end;
    }
}

/// A key and its value, with their lines.
pub(super) fn remove(text: &str, node: &Node, entry: &Entry) -> Result<Vec<Splice>, Why> {
    let mut start = line_start(text, entry.start);
    let alone = text
        .get(start..entry.start)
        .is_some_and(|before| before.trim().is_empty());
    let Data::Map {
        entries,
        flow: false,
    } = &node.data
    else {
        return Err(Why::Unsupported("removals inside brackets"));
    };
    if !alone || entries.len() < 2 {
        return Err(Why::Unsupported("removals that leave nothing"));
    }
    let mut end = line_end(text, entry.value.end);
    match text.get(end..).and_then(|rest| rest.find('\n')) {
        Some(found) => end += found + 1,
        None => start = start.saturating_sub(newline(text).len()),
    }
    Ok(vec![splice(start..end, "")])
}

/// The same change in the meaning.
pub(super) fn put(root: &mut Value, path: &YamlPath, value: Option<&Value>) {
    let Some((last, parents)) = path.0.split_last() else {
        *root = value.cloned().unwrap_or_default();
        return;
    };
    let mut at = root;
    for seg in parents {
        let next = step(at, seg);
        let Some(next) = next else { return };
        at = next;
    }
    match (value, last) {
        (Some(value), seg) => {
            if let Some(place) = step(at, seg) {
                place.clone_from(value);
            }
        }
        (None, Seg::Key(key)) => {
            if let Value::Object(entries) = at {
                entries.shift_remove(key);
            }
        }
        (None, Seg::Index(_)) => {}
    }
}

fn step<'a>(at: &'a mut Value, seg: &Seg) -> Option<&'a mut Value> {
    if at.is_null() && matches!(seg, Seg::Key(_)) {
        *at = Value::Object(Map::new());
    }
    match (at, seg) {
        (Value::Object(entries), Seg::Key(key)) => {
            Some(entries.entry(key.clone()).or_insert(Value::Null))
        }
        (Value::Array(items), Seg::Index(index)) => items.get_mut(*index),
        (_, _) => None,
    }
}
