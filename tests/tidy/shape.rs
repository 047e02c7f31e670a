//! The shape of source files: a purpose first, a bounded length, nothing left for later, no silenced lint.

use super::tree::{has_word, none, rust};

/// Longest source file, in lines.
const LINES_MAX: usize = 500;

/// Longest file of scenarios: they are data, read one at a time.
const SCENARIO_LINES_MAX: usize = 600;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[
    ("src/config/schema.rs", "one table: every configuration key"),
    (
        "steps/src/host/sim/cmd/domain.rs",
        "every verb on one libvirt object, which share how its XML is read and written",
    ),
];

/// What marks unfinished work; written in two halves so that this file does not match itself.
const UNFINISHED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[", "ignore"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("HA", "CK"),
];

#[test]
fn every_file_says_its_purpose_first() {
    let breaches: Vec<String> = rust()
        .iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path.clone())
        .collect();
    none(
        "the first line of a source file is `//! ` and its purpose",
        &breaches,
    );
}

#[test]
fn files_have_a_bounded_length() {
    let mut breaches = Vec::new();
    for file in rust() {
        let lines = file.text.lines().count();
        let scenarios = file.path.contains("/tests/") || file.path.ends_with("/tests.rs");
        let limit = if scenarios {
            SCENARIO_LINES_MAX
        } else {
            LINES_MAX
        };
        let excused = LONGER
            .iter()
            .any(|(path, reason)| *path == file.path && !reason.is_empty());
        if lines > limit && !excused {
            breaches.push(format!("{}: {lines} lines", file.path));
        }
        if lines <= limit && excused {
            breaches.push(format!("{}: no exception needed", file.path));
        }
    }
    none("files have a bounded length", &breaches);
}

#[test]
fn nothing_is_left_for_later() {
    let mut breaches = Vec::new();
    for file in rust() {
        for (at, line) in file.lines() {
            for mark in UNFINISHED.iter().filter(|mark| line.contains(*mark)) {
                let is_word = !mark.chars().all(char::is_alphabetic) || has_word(line, mark);
                if is_word {
                    breaches.push(format!("{}:{at}: {}", file.path, line.trim()));
                }
            }
        }
    }
    none("no stubs, no ignored tests, no notes to self", &breaches);
}

#[test]
fn lints_are_silenced_with_a_reason_and_only_where_they_fire() {
    let mut breaches = Vec::new();
    for file in rust() {
        for opening in [concat!("#[", "allow("), concat!("#![", "allow(")] {
            for (at, _) in file.code().filter(|(_, line)| line.contains(opening)) {
                breaches.push(format!(
                    "{}:{at}: use `expect`, which ends with its cause",
                    file.path
                ));
            }
        }
        for opening in [concat!("#[", "expect("), concat!("#![", "expect(")] {
            for (at, rest) in file
                .text
                .match_indices(opening)
                .map(|(at, _)| (at, &file.text[at..]))
            {
                let attribute = rest.split(")]").next().unwrap_or(rest);
                if !attribute.contains("reason =") {
                    let line = file.text[..at].lines().count() + 1;
                    breaches.push(format!("{}:{line}: no reason", file.path));
                }
            }
        }
    }
    none("silenced lints", &breaches);
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let breaches: Vec<String> = super::tree::packages()
        .into_iter()
        .filter(|(_, manifest)| {
            let lints = manifest
                .get("lints")
                .and_then(|lints| lints.get("workspace"));
            lints.and_then(toml::Value::as_bool) != Some(true)
        })
        .map(|(dir, _)| format!("{dir}/Cargo.toml"))
        .collect();
    none("`[lints] workspace = true`", &breaches);
}
