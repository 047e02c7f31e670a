//! Paths into a YAML document: `brig.config.externalUrls.nginz`, `contacts[0].email`, `"kubernetes.io/hostname"`.

use std::fmt;
use std::str::FromStr;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seg {
    /// A key of a mapping.
    Key(String),
    /// A position in a list, from 0.
    Index(usize),
}

/// A path from the root of a document; empty for the root itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct YamlPath(pub Vec<Seg>);

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path")]
pub struct PathError(String);

impl YamlPath {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// This path and one key more.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Seg::Key(key.to_owned()))
    }

    /// This path and one position more.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Seg::Index(index))
    }

    fn with(&self, seg: Seg) -> Self {
        let mut segs = self.0.clone();
        segs.push(seg);
        Self(segs)
    }
}

impl FromStr for YamlPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let bad = || PathError(text.to_owned());
        let mut segs = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let (index, after) = after.split_once(']').ok_or_else(bad)?;
                segs.push(Seg::Index(index.parse().map_err(|_| bad())?));
                rest = after;
            } else {
                let after = match (segs.is_empty(), rest.strip_prefix('.')) {
                    (true, None) => rest,
                    (false, Some(after)) => after,
                    (true, Some(_)) | (false, None) => return Err(bad()),
                };
                let (key, after) = key_of(after).ok_or_else(bad)?;
                segs.push(Seg::Key(key.to_owned()));
                rest = after;
            }
        }
        Ok(Self(segs))
    }
}

fn key_of(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"');
    }
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (key, rest) = text.split_at_checked(end)?;
    (!key.is_empty()).then_some((key, rest))
}

impl fmt::Display for YamlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the whole document");
        }
        for (at, seg) in self.0.iter().enumerate() {
            match seg {
                Seg::Index(index) => write!(f, "[{index}]")?,
                Seg::Key(key) => {
                    let dot = if at == 0 { "" } else { "." };
                    let plain = !key.is_empty() && !key.contains(['.', '[', '"']);
                    let quote = if plain { "" } else { "\"" };
                    write!(f, "{dot}{quote}{key}{quote}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_back_as_they_are_shown() {
        for text in [
            "a",
            "a.b-c.d_e",
            "contacts[0].email",
            "m[1][2]",
            "nodeSelector.\"kubernetes.io/hostname\"",
            "[3].x",
        ] {
            assert_eq!(text.parse::<YamlPath>().unwrap().to_string(), text);
        }
        for text in [".", "a.", "a..b", "a[x]", "a[1", "a[0]b", ".a", "\"a"] {
            assert!(text.parse::<YamlPath>().is_err(), "{text}");
        }
        assert_eq!(YamlPath::root().key("a").index(1).to_string(), "a[1]");
        assert_eq!(YamlPath::root().to_string(), "the whole document");
    }
}
