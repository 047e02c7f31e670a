//! The files of the repository, and how a broken rule is reported.

use std::path::{Path, PathBuf};

/// A text file.
pub(super) struct File {
    /// Relative to the repository, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// Lines with their number, from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().zip(1..).map(|(line, at)| (at, line))
    }

    /// Lines that are code: no comment lines, and nothing after ` // `.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter_map(|(at, line)| {
            let code = line.split(" // ").next().unwrap_or(line);
            (!line.trim_start().starts_with("//")).then_some((at, code))
        })
    }

    pub(super) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|ext| ext == "rs")
    }

    pub(super) fn is_markdown(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|ext| ext == "md")
    }
}

pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the tree, in order of path; build output, version control and editor directories left out.
pub(super) fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs_err::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().unwrap();
            let hidden = name.starts_with('.') && !matches!(name.as_str(), ".ci" | ".gitignore");
            if hidden || (dir == root && name.starts_with("target")) {
                continue;
            }
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(fs_err::read(entry.path()).unwrap())
            {
                let path = entry.path();
                let path = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "the tree was not found");
    found
}

pub(super) fn rust() -> Vec<File> {
    files().into_iter().filter(File::is_rust).collect()
}

pub(super) fn read(path: &str) -> String {
    fs_err::read_to_string(root().join(path)).unwrap()
}

/// The packages of the workspace: directory (empty for the root) and parsed manifest.
pub(super) fn packages() -> Vec<(String, toml::Table)> {
    let manifest = |dir: &str| -> toml::Table {
        let path = if dir.is_empty() {
            "Cargo.toml".to_owned()
        } else {
            format!("{dir}/Cargo.toml")
        };
        read(&path).parse().unwrap()
    };
    let top = manifest("");
    let members = top["workspace"]["members"].as_array().unwrap().clone();
    let dirs = members
        .iter()
        .map(|member| member.as_str().unwrap().to_owned());
    let mut all: Vec<_> = dirs.map(|dir| (dir.clone(), manifest(&dir))).collect();
    all.push((String::new(), top));
    all
}

/// Passes when no breach of the rule was found.
pub(super) fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// Whether `word` stands in `text` as a whole identifier.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}
