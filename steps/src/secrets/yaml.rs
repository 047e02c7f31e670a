//! YAML as lists of paths: what a found file says, and how a rendered one is written.

use std::collections::BTreeMap;

use serde_json::Value;
use zeroize::Zeroizing;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The file cannot be read as YAML. Holds nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum YamlError {
    /// It is too large.
    #[error("larger than {FILE_BYTES_MAX} bytes")]
    Large,
    /// It is not text.
    #[error("not UTF-8 text")]
    NotText,
    /// It is not YAML.
    #[error("not YAML (line {line})")]
    Syntax {
        /// The line, from 1; 0 if unknown.
        line: u64,
    },
}

/// The leaves of a document by path: `a.b.0`. An empty document has none.
pub(crate) fn leaves(bytes: &[u8]) -> Result<BTreeMap<String, Value>, YamlError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(YamlError::Large);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| YamlError::NotText)?;
    let mut found = BTreeMap::new();
    if text.lines().all(is_empty) {
        return Ok(found);
    }
    // The parser's own message may quote the file.
    let document: Value = serde_saphyr::from_str(text).map_err(|error| YamlError::Syntax {
        line: error.location().map_or(0, |location| location.line()),
    })?;
    collect(&document, String::new(), &mut found);
    Ok(found)
}

fn is_empty(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "---"
}

fn collect(value: &Value, path: String, found: &mut BTreeMap<String, Value>) {
    let below = |key: &str| {
        if path.is_empty() {
            return key.to_owned();
        }
        format!("{path}.{key}")
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                collect(value, below(&key.replace('.', "\\.")), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                collect(value, below(&index.to_string()), found);
            }
        }
        leaf => {
            found.insert(path, leaf.clone());
        }
    }
}

/// A value to write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leaf<'a> {
    /// A text.
    Text(&'a str),
    /// A list of one text.
    List(&'a str),
}

/// Appends a mapping. Paths with a common beginning stand together.
pub(crate) fn write(text: &mut Zeroizing<String>, leaves: &[(&str, Leaf<'_>)]) {
    let mut before: Vec<&str> = Vec::new();
    for (path, leaf) in leaves {
        let keys: Vec<&str> = path.split('.').collect();
        let common = keys.iter().zip(&before).take_while(|(a, b)| a == b).count();
        for (depth, key) in keys.iter().enumerate().skip(common) {
            indent(text, depth);
            text.push_str(key);
            text.push(':');
            if depth + 1 < keys.len() {
                text.push('\n');
            }
        }
        match leaf {
            Leaf::Text(value) => {
                text.push(' ');
                scalar(text, value, keys.len());
            }
            Leaf::List(value) => {
                text.push('\n');
                indent(text, keys.len());
                text.push_str("- ");
                scalar(text, value, keys.len() + 1);
            }
        }
        before = keys;
    }
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

fn scalar(text: &mut String, value: &str, depth: usize) {
    if value.contains('\n') {
        text.push_str(if value.ends_with('\n') { "|\n" } else { "|-\n" });
        for line in value.lines() {
            indent(text, depth);
            text.push_str(line);
            text.push('\n');
        }
        return;
    }
    text.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push_str("\"\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let values = [
            ("a.b", Leaf::Text("p\"l\\a'i#n: {x}")),
            ("a.c.d", Leaf::Text("one\ntwo\n")),
            ("a.c.e", Leaf::Text("one: \"x\"\ntwo")),
            ("f", Leaf::List("123")),
        ];
        let mut text = Zeroizing::new(String::new());
        write(&mut text, &values);
        assert_eq!(
            *text,
            "a:\n  b: \"p\\\"l\\\\a'i#n: {x}\"\n  c:\n    d: |\n      one\n      two\n    e: |-\n      one: \"x\"\n      two\nf:\n  - \"123\"\n"
        );
        let found = leaves(text.as_bytes()).unwrap();
        let of = |path: &str| found[path].as_str().unwrap().to_owned();
        assert_eq!(of("a.b"), "p\"l\\a'i#n: {x}");
        assert_eq!(of("a.c.d"), "one\ntwo\n");
        assert_eq!(of("a.c.e"), "one: \"x\"\ntwo");
        assert_eq!(of("f.0"), "123");
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn what_is_no_yaml_says_where_and_not_what() {
        let error = leaves(b"a: 1\nb: [canary\n").unwrap_err();
        assert!(
            matches!(error, YamlError::Syntax { line: 2.. }),
            "{error:?}"
        );
        assert_eq!(leaves(b"a: \xff"), Err(YamlError::NotText));
        assert!(leaves(b"# nothing\n\n---\n").unwrap().is_empty());
        assert_eq!(
            leaves(&vec![b' '; FILE_BYTES_MAX + 1]),
            Err(YamlError::Large)
        );
    }
}
