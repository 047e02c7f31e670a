//! Every configuration key: type, default, meaning, example. Validation, `config show`, `init` and the test of
//! `docs/configuration.md` all read this table.

use crate::config::value::Kind;

/// One key.
#[derive(Debug, PartialEq)]
pub(crate) struct Key {
    /// The dotted path: `vms.scale`.
    pub(crate) path: &'static str,
    /// What it accepts.
    pub(crate) kind: Kind,
    /// The default, as on the command line; `None` means that it must be set.
    pub(crate) default: Option<&'static str>,
    /// What the simulated host uses when nothing is configured, and `init` writes.
    pub(crate) sample: &'static str,
    /// One line of meaning.
    pub(crate) about: &'static str,
}

impl Key {
    /// The name without its section.
    pub(crate) fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The section; empty for top-level keys.
    pub(crate) fn section(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!(
            "WIAB_{}",
            self.path.replace(['.', '-'], "_").to_ascii_uppercase()
        )
    }

    /// An example value in TOML.
    pub(crate) fn example(&self) -> String {
        self.kind
            .of_text(self.sample)
            .map_or_else(String::new, |value| value.to_string())
    }
}

/// The key of that path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether keys live below this path.
pub(crate) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// All sections, each once.
pub(crate) fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    KEYS.iter().filter_map(move |key| {
        let section = key.section();
        let new = section != last && !section.is_empty();
        last = section;
        new.then_some(section)
    })
}

/// The keys of a section, for an error text.
pub(crate) fn names_in(section: &str) -> String {
    let mut names: Vec<String> = KEYS
        .iter()
        .filter(|key| key.section() == section)
        .map(|key| format!("`{}`", key.leaf()))
        .collect();
    if section.is_empty() {
        names.extend(sections().map(|name| format!("[{name}]")));
        names.push("[[step]]".to_owned());
    }
    names.join(", ")
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    sample: &'static str,
    about: &'static str,
) -> Key {
    Key {
        path,
        kind,
        default,
        sample,
        about,
    }
}

/// All keys, by section.
pub(crate) const KEYS: &[Key] = &[
    key(
        "name",
        Kind::Name,
        Some("wiab-staging"),
        "wiab-staging",
        "the installation's name; its journal is kept under it",
    ),
    key(
        "host",
        Kind::Choice(&["local", "sim"]),
        Some("local"),
        "local",
        "the machine to act on: this one, or a simulated one",
    ),
    key(
        "domain",
        Kind::Text,
        None,
        "example.com",
        "the domain under which Wire is reached",
    ),
    key(
        "run.width",
        Kind::Integer(1, 256),
        Some("8"),
        "8",
        "most steps in flight at once",
    ),
    key(
        "run.on_failure",
        Kind::Choice(&["keep", "rollback"]),
        Some("keep"),
        "keep",
        "what a step's final failure leads to",
    ),
    key(
        "run.fail_fast",
        Kind::Bool,
        Some("false"),
        "false",
        "whether the first failure stops independent branches, too",
    ),
    key(
        "sim.speed",
        Kind::Speed,
        Some("20"),
        "20",
        "how much faster than real the simulated machine's time passes, or \"max\"",
    ),
];
