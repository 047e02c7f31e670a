//! Hints name steps and keys that exist: every such name in a text of the sources is held against the plans and the
//! configuration's documentation.

use std::collections::BTreeSet;
use std::path::Path;

use wiab_plans::{Hairpin, HairpinPolicy, Rotation, Settings, wiab_staging};

use crate::shape::existing;

/// Keys without their section, where the text says it in words.
const SECTIONLESS: [&str; 5] = ["remove_default", "calling_node", "bridge", "prefix", "mtu"];

/// The steps of every plan that there is, also without what comes after `:`, and the areas.
fn known_steps() -> BTreeSet<String> {
    let plain = Settings::rehearsal();
    let mut private = plain.clone();
    private.traffic.private_deployment = true;
    private.host.dist_upgrade = true;
    private.vms.pool = "/home/demo/pool".to_owned();
    let removed = Settings {
        hairpin: Hairpin {
            policy: HairpinPolicy::Remove,
            ..Hairpin::default()
        },
        ..plain.clone()
    };
    let rotation = Settings {
        rotation: Some(Rotation {
            label: "x".to_owned(),
            secrets: vec!["zrest".to_owned(), "postgresql_wire".to_owned()],
        }),
        ..plain.clone()
    };
    let mut known = BTreeSet::new();
    for settings in [plain, private, removed, rotation, existing()] {
        for step in wiab_staging(&settings).unwrap().steps {
            let id = step.id.to_string();
            let head = id.split(':').next().unwrap();
            known.insert(head.split('.').next().unwrap().to_owned());
            known.insert(head.to_owned());
            known.insert(id);
        }
    }
    known
}

/// The keys of `docs/configuration.md`, and its sections.
fn known_keys() -> BTreeSet<String> {
    let text = fs_err::read_to_string(format!(
        "{}/../docs/configuration.md",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let keys = rows.filter_map(|row| Some(row.split_once('`')?.0));
    let mut known = BTreeSet::new();
    for key in keys {
        known.insert(key.to_owned());
        known.extend(
            key.split_once('.')
                .map(|(section, _)| format!("[{section}]")),
        );
    }
    known
}

/// The lines of a file's program text: without comments, and without its tests.
fn program(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    // A text that goes on in the next line is one text.
    lines.fold(String::new(), |all, line| match all.strip_suffix('\\') {
        Some(begun) => begun.to_owned() + line.trim_start(),
        None => all + "\n" + line,
    })
}

fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            // What the simulated machine says is said by others.
            if !name.ends_with("/sim") {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && !name.ends_with("/tests.rs") {
            found.push((name, program(&fs_err::read_to_string(&path).unwrap())));
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for dir in ["../steps/src", "src", "../src"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut found);
    }
    found
}

/// The word at the beginning of a text, of letters, digits and `more`.
fn word<'a>(text: &'a str, more: &str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !more.contains(c));
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// What follows each occurrence of `mark`.
fn following<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(mark)
        .map(move |(at, _)| &text[at + mark.len()..])
}

/// Step ids that a text names.
fn steps_in(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for mark in [
        "(step ", "(step `", "step `", "step: \"", "--only ", "--skip ", "--until ",
    ] {
        for rest in following(text, mark) {
            let id = word(rest, ".-:").trim_end_matches(['.', ':', '-']);
            let marked = mark.starts_with("--");
            let placeholder = rest
                .get(id.len()..)
                .is_some_and(|rest| rest.starts_with([':', '{', '.']));
            let id = if placeholder {
                id.split(':').next().unwrap_or(id)
            } else {
                id
            };
            let cut = placeholder && !id.contains('.') && !marked;
            // `--only STEP`, `--until and`: words about the option itself.
            let option = marked && !id.contains('.') && (id.is_empty() || text_about(id));
            if !option && !cut && (marked || id.contains('.')) {
                named.push(id.to_owned());
            }
        }
    }
    named
}

/// Words that follow an option's name in a sentence.
fn text_about(id: &str) -> bool {
    id.chars().all(|c| c.is_ascii_uppercase()) || ["and", "cannot", "or", "with"].contains(&id)
}

/// Keys that a text tells to set: `[section] key = …`, `` `section.key = …` ``, `` set `key …` ``.
fn keys_in(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for rest in following(text, "[") {
        let section = word(rest, "_");
        let Some(after) = rest
            .get(section.len()..)
            .and_then(|rest| rest.strip_prefix("] "))
        else {
            continue;
        };
        let key = word(after, "_");
        let lower = section
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if lower
            && after
                .get(key.len()..)
                .is_some_and(|rest| rest.starts_with(" = "))
        {
            named.push(format!("{section}.{key}"));
        }
    }
    for rest in following(text, "`") {
        let key = word(rest, "_.");
        let set = rest
            .get(key.len()..)
            .is_some_and(|rest| rest.starts_with(" = "));
        if set && key.contains('.') {
            named.push(key.to_owned());
        }
    }
    for rest in following(text, "set `") {
        let key = word(rest, "_.");
        if !key.is_empty() && !SECTIONLESS.contains(&key) {
            named.push(key.to_owned());
        }
    }
    named
}

#[test]
fn every_step_that_a_text_names_is_in_a_plan() {
    let (known, mut named) = (known_steps(), 0);
    for (file, text) in all_sources() {
        for id in steps_in(&text) {
            named += 1;
            assert!(known.contains(&id), "{file}: there is no step `{id}`");
        }
    }
    assert!(named > 50, "only {named} were found");
}

#[test]
fn every_key_that_a_text_names_is_one_of_the_configuration() {
    let (known, mut named) = (known_keys(), 0);
    for (file, text) in all_sources() {
        for key in keys_in(&text) {
            named += 1;
            assert!(known.contains(&key), "{file}: there is no key `{key}`");
        }
    }
    assert!(named > 10, "only {named} were found");
}

#[test]
fn names_are_found_in_texts() {
    let text = "look (step fw.apply), step `rmq.dns`, `wiab plan --only k8s.seed-helm` or `--only art`; set `domain`";
    assert_eq!(
        steps_in(text),
        ["fw.apply", "rmq.dns", "k8s.seed-helm", "art"]
    );
    let text = "set `[certs] staging = true`, `vms.pool = \"/x\"`, or set `domain` to yours";
    assert_eq!(keys_in(text), ["certs.staging", "vms.pool", "domain"]);
    assert_eq!(program("a \\\n   b\n// c\n#[cfg(test)]\nd"), "\na b");
}
