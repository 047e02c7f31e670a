//! The documentation follows the tree: code map, terms, exit codes, configuration keys, decisions, links.

use std::collections::BTreeSet;
use std::path::Path;

use super::tree::{File, files, none, packages, read, root, rust};

/// Enums whose variants people meet, and which the glossary therefore explains.
const EXPLAINED: &[(&str, &str)] = &[
    ("engine/src/outcome.rs", "Probe"),
    ("engine/src/outcome.rs", "Residue"),
    ("engine/src/outcome.rs", "How"),
    ("engine/src/outcome.rs", "UndoClass"),
    ("engine/src/outcome.rs", "Outcome"),
    ("engine/src/event.rs", "Verdict"),
    ("engine/src/event.rs", "OnEdited"),
    ("engine/src/plan.rs", "Change"),
];

fn markdown() -> Vec<File> {
    files().into_iter().filter(File::is_markdown).collect()
}

/// The variants of an enum, read from its source.
fn variants(path: &str, name: &str) -> Vec<String> {
    let text = read(path);
    let start = text
        .find(&format!("enum {name} {{"))
        .unwrap_or_else(|| panic!("{path}: no enum {name}"));
    let body = text[start..].split("\n}").next().unwrap();
    body.lines()
        .skip(1)
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| {
            line.chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect()
        })
        .collect()
}

/// `NothingToUndo` as `nothing to undo`.
fn spoken(variant: &str) -> String {
    let mut text = String::new();
    for c in variant.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[test]
fn the_code_map_names_every_package_and_module() {
    let map = read("docs/ARCHITECTURE.md");
    let mut wanted = BTreeSet::new();
    for (dir, _) in packages() {
        let sources = if dir.is_empty() {
            "src".to_owned()
        } else {
            format!("{dir}/src")
        };
        wanted.insert(if dir.is_empty() {
            "src".to_owned()
        } else {
            dir
        });
        for file in rust() {
            let Some(inner) = file.path.strip_prefix(&format!("{sources}/")) else {
                continue;
            };
            match inner.rsplit_once('/') {
                Some((folder, _)) => wanted.insert(format!("{sources}/{folder}")),
                None if matches!(inner, "lib.rs" | "main.rs") => false,
                None => wanted.insert(format!("{sources}/{inner}")),
            };
        }
    }
    let breaches: Vec<String> = wanted
        .into_iter()
        .filter(|name| !map.contains(&format!("`{name}`")) && !map.contains(&format!("`{name}/`")))
        .collect();
    none("named in the code map of docs/ARCHITECTURE.md", &breaches);
}

#[test]
fn the_code_map_names_nothing_that_is_gone() {
    let map = read("docs/ARCHITECTURE.md");
    let breaches: Vec<&str> = map
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            name.contains('/') && name.contains("src") && !name.contains([' ', '*', '…', '<'])
        })
        .filter(|name| !root().join(name).exists())
        .collect();
    none(
        "paths in docs/ARCHITECTURE.md exist",
        &breaches
            .into_iter()
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn the_glossary_explains_the_words_of_the_code() {
    let glossary = read("docs/GLOSSARY.md").to_lowercase();
    let mut breaches = Vec::new();
    for (path, name) in EXPLAINED {
        let variants = variants(path, name);
        assert!(variants.len() >= 2, "{path}: {name} was not read");
        for variant in variants.iter().map(|variant| spoken(variant)) {
            if !glossary.contains(&variant) {
                breaches.push(format!("{name}: {variant}"));
            }
        }
    }
    none("explained in docs/GLOSSARY.md", &breaches);
}

#[test]
fn glossary_entries_are_in_alphabetical_order() {
    let glossary = read("docs/GLOSSARY.md");
    let terms: Vec<String> = glossary
        .lines()
        .filter_map(|line| line.strip_prefix("**")?.split("**").next())
        .map(str::to_lowercase)
        .collect();
    assert!(terms.len() > 20, "the terms were not read");
    let mut sorted = terms.clone();
    sorted.sort();
    assert_eq!(terms, sorted);
}

#[test]
fn every_exit_code_is_documented() {
    let (document, source) = (read("docs/exit-codes.md"), read("src/exit.rs"));
    let function = |name: &str| {
        let start = source.find(&format!("fn {name}(self)")).unwrap();
        source[start..].split("\n    }").next().unwrap().to_owned()
    };
    let arms = |text: &str| -> Vec<(String, String)> {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => "))
            .map(|(code, value)| (code.to_owned(), value.trim_matches([',', '"']).to_owned()))
            .collect()
    };
    let (numbers, names) = (arms(&function("number")), arms(&function("name")));
    assert!(
        numbers.len() > 10 && numbers.len() == names.len(),
        "the codes were not read"
    );
    let mut breaches = Vec::new();
    for ((code, number), (_, name)) in numbers.iter().zip(&names) {
        if !document.contains(&format!("| {number} | `{name}` |")) {
            breaches.push(format!("{code}: | {number} | `{name}` | …"));
        }
    }
    none("rows of docs/exit-codes.md", &breaches);
}

#[test]
fn every_configuration_key_is_documented() {
    let (document, source) = (read("docs/configuration.md"), read("src/config/schema.rs"));
    let keys: Vec<String> = source
        .split("    key(\n")
        .skip(1)
        .filter_map(|rest| rest.split('"').nth(1))
        .map(|key| key.replace('*', "NAME"))
        .collect();
    assert!(keys.len() > 5, "the keys were not read");
    let breaches: Vec<String> = keys
        .into_iter()
        .filter(|key| !document.contains(&format!("`{key}`")))
        .collect();
    none("keys in docs/configuration.md", &breaches);
}

#[test]
fn decisions_have_all_their_parts() {
    let mut breaches = Vec::new();
    let mut numbers = BTreeSet::new();
    let map = read("docs/ARCHITECTURE.md");
    for file in markdown() {
        let Some(name) = file.path.strip_prefix("docs/adr/") else {
            continue;
        };
        for part in [
            "## Context",
            "## Decision",
            "## Consequences",
            "## Exit trigger",
        ] {
            if !file.text.contains(&format!("\n{part}\n")) {
                breaches.push(format!("{}: {part}", file.path));
            }
        }
        if !numbers.insert(name.split('-').next().unwrap().to_owned()) {
            breaches.push(format!("{}: its number is taken", file.path));
        }
        if !map.contains(&format!("](adr/{name})")) {
            breaches.push(format!(
                "{}: docs/ARCHITECTURE.md does not list it",
                file.path
            ));
        }
    }
    assert!(numbers.len() > 3, "the decisions were not found");
    none("decisions in docs/adr", &breaches);
}

#[test]
fn links_lead_somewhere() {
    let mut breaches = Vec::new();
    for file in markdown() {
        let here = root().join(&file.path);
        let here = here.parent().unwrap();
        for (at, line) in file.lines() {
            for target in line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                let path = target.split('#').next().unwrap_or(target);
                if !path.is_empty() && !path.contains("://") && !here.join(path).exists() {
                    breaches.push(format!("{}:{at}: {target}", file.path));
                }
            }
        }
    }
    none("relative links in the documentation", &breaches);
}

#[test]
fn sources_refer_to_documents_that_exist() {
    let documents: Vec<String> = markdown().into_iter().map(|file| file.path).collect();
    let mut breaches = Vec::new();
    for file in files().iter().filter(|file| {
        Path::new(&file.path)
            .extension()
            .is_some_and(|e| e == "rs" || e == "toml")
    }) {
        for (at, line) in file.lines() {
            for (start, _) in line.match_indices("docs/") {
                let rest = &line[start..];
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && !"/-_.".contains(c))
                    .unwrap_or(rest.len());
                let name = rest[..end].trim_end_matches('.');
                let placeholder = name.ends_with('/') || name == "docs/adr";
                if !placeholder && !documents.iter().any(|document| document.starts_with(name)) {
                    breaches.push(format!("{}:{at}: {name}", file.path));
                }
            }
        }
    }
    none("documents that sources name", &breaches);
}

#[test]
fn the_readme_begins_with_two_commands() {
    let readme = read("README.md");
    let first = readme.split("```").nth(1).unwrap();
    let commands: Vec<&str> = first
        .lines()
        .skip(1)
        .filter_map(|line| line.split('#').next())
        .map(str::trim)
        .collect();
    assert_eq!(
        commands,
        ["cargo run --release -- apply --host sim --yes", "./test"]
    );
}
