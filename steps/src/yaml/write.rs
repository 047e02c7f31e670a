//! Values as YAML text.

use std::fmt::Write as _;

use serde_json::Value;

use super::scalar::{self, Style};

/// Whether a value is written on one line: a scalar or an empty collection.
pub(super) fn is_inline(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// A value on one line, scalars in the style of their predecessor.
pub(super) fn inline(value: &Value, style: Style, flow: bool) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| inline(item, Style::Empty, true))
                .collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| {
                    format!(
                        "{}: {}",
                        scalar::key(key),
                        inline(value, Style::Empty, true)
                    )
                })
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        scalar => scalar::write(scalar, style, flow),
    }
}

/// The lines of a non-empty collection, each ended by `newline`, at a column.
pub(super) fn block(value: &Value, column: usize, newline: &str) -> String {
    let mut out = String::new();
    lines(value, column, newline, &mut out);
    out
}

fn lines(value: &Value, column: usize, newline: &str, out: &mut String) {
    let pad = " ".repeat(column);
    match value {
        Value::Array(items) => {
            for item in items {
                if is_inline(item) {
                    let _ = write!(out, "{pad}- {}{newline}", inline(item, Style::Empty, false));
                } else {
                    // The first line of the nested block shares its line with the dash.
                    let nested = block(item, column + 2, newline);
                    let _ = write!(out, "{pad}- {}", nested.trim_start_matches(' '));
                }
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                out.push_str(&entry(key, value, column, newline));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(out, "{pad}{}{newline}", inline(value, Style::Empty, false));
        }
    }
}

/// The lines of a key with its value, each ended by `newline`.
pub(super) fn entry(key: &str, value: &Value, column: usize, newline: &str) -> String {
    let pad = " ".repeat(column);
    let key = scalar::key(key);
    if is_inline(value) {
        return format!(
            "{pad}{key}: {}{newline}",
            inline(value, Style::Empty, false)
        );
    }
    format!("{pad}{key}:{newline}{}", block(value, column + 2, newline))
}
