//! `[[step]]`: site-specific steps, with the places of everything that can be wrong in them.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wiab_engine::id::StepId;

use crate::config::diag::Diag;
use crate::ui::time;

/// The keys of a `[[step]]`: name, type, meaning.
pub(crate) const STEP_KEYS: [(&str, &str, &str); 10] = [
    (
        "id",
        "text",
        "unique name; 1 to 96 of a-z, A-Z, 0-9, `.`, `:`, `-`, `_`",
    ),
    (
        "after",
        "list of texts",
        "steps that must be as wanted first; built-in ones can be named, too",
    ),
    (
        "run",
        "text or list",
        "the command that does it: a list is program and arguments, a text is for `sh -c`",
    ),
    (
        "probe",
        "text or list",
        "a command that changes nothing: code 0 means the step is as wanted, 1 that it is not",
    ),
    (
        "undo",
        "text or list",
        "the command that takes it back; without it the step is irreversible",
    ),
    (
        "timeout",
        "duration",
        "longest time of one attempt; default \"10m\"",
    ),
    (
        "idempotent",
        "true or false",
        "whether `run` may simply be run again after a crash; default false",
    ),
    (
        "root",
        "true or false",
        "whether its commands need root; default false",
    ),
    (
        "lanes",
        "list of texts",
        "resources that it shares with other steps: of those that name one, only one runs at a time",
    ),
    (
        "summary",
        "text",
        "what the plan screen says; default is the command",
    ),
];

/// A command as an argument vector.
pub(crate) type Argv = Vec<String>;

/// A site-specific step as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawStep {
    /// The id and its place.
    pub(crate) id: StepId,
    /// Place of the id.
    pub(crate) id_span: Range<usize>,
    /// Steps before it, each with its place.
    pub(crate) after: Vec<(StepId, Range<usize>)>,
    /// The command.
    pub(crate) run: Argv,
    /// The probe.
    pub(crate) probe: Option<Argv>,
    /// The undo.
    pub(crate) undo: Option<Argv>,
    /// Longest attempt, in milliseconds.
    pub(crate) timeout_ms: Option<u64>,
    /// Whether it may be run again.
    pub(crate) idempotent: bool,
    /// Whether its commands need root.
    pub(crate) root: bool,
    /// Resources that it shares with other steps.
    pub(crate) lanes: Vec<String>,
    /// For the plan screen.
    pub(crate) summary: Option<String>,
}

struct Reader<'a> {
    diags: &'a mut Vec<Diag>,
}

/// Reads one `[[step]]`. Mistakes go into `diags`; `None` if there were any in what cannot be left out.
pub(crate) fn read(
    table: &DeTable<'_>,
    whole: &Range<usize>,
    diags: &mut Vec<Diag>,
) -> Option<RawStep> {
    let before = diags.len();
    for key in table.keys() {
        let name: &str = key.get_ref();
        if !STEP_KEYS.iter().any(|(known, ..)| *known == name) {
            let remedy =
                wiab_engine::text::nearest(name, STEP_KEYS.iter().map(|(known, ..)| *known))
                    .map_or_else(
                        || format!("a [[step]] has {}", known_names()),
                        |near| format!("did you mean `{near}`?"),
                    );
            diags.push(Diag::new(
                key.span(),
                format!("unknown key `{name}` in [[step]]"),
                remedy,
            ));
        }
    }
    let mut reader = Reader { diags };
    let id = reader.id(table, whole);
    let run = match table.get("run") {
        Some(value) => reader.argv("run", value),
        None => reader.missing(whole, "run", "add run = [\"program\", \"argument\"]"),
    };
    let step = RawStep {
        after: reader.after(table.get("after")),
        probe: table.get("probe").and_then(|v| reader.argv("probe", v)),
        undo: table.get("undo").and_then(|v| reader.argv("undo", v)),
        timeout_ms: table.get("timeout").and_then(|v| reader.timeout(v)),
        idempotent: table
            .get("idempotent")
            .and_then(|v| reader.flag("idempotent", v))
            .unwrap_or(false),
        root: table
            .get("root")
            .and_then(|v| reader.flag("root", v))
            .unwrap_or(false),
        lanes: table
            .get("lanes")
            .and_then(|v| reader.texts("lanes", v))
            .unwrap_or_default(),
        summary: table.get("summary").and_then(|v| reader.text("summary", v)),
        id_span: table.get("id").map_or_else(|| whole.clone(), Spanned::span),
        id: id?,
        run: run?,
    };
    (diags.len() == before).then_some(step)
}

fn known_names() -> String {
    STEP_KEYS
        .iter()
        .map(|(name, ..)| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

impl Reader<'_> {
    fn missing<T>(&mut self, whole: &Range<usize>, name: &str, remedy: &str) -> Option<T> {
        self.diags.push(Diag::new(
            whole.clone(),
            format!("this [[step]] has no `{name}`"),
            remedy,
        ));
        None
    }

    fn wrong<T>(&mut self, name: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> Option<T> {
        self.diags.push(Diag::new(
            value.span(),
            format!("`{name}` of a step must be {wanted}"),
            format!("write it as {wanted}"),
        ));
        None
    }

    fn id(&mut self, table: &DeTable<'_>, whole: &Range<usize>) -> Option<StepId> {
        let Some(value) = table.get("id") else {
            return self.missing(whole, "id", "add id = \"site.name\"");
        };
        self.step_id("id", value).map(|(id, _)| id)
    }

    fn step_id(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<(StepId, Range<usize>)> {
        let Some(text) = value.get_ref().as_str() else {
            return self.wrong(name, value, "a text in quotes");
        };
        match StepId::new(text) {
            Ok(id) => Some((id, value.span())),
            Err(error) => {
                self.diags.push(Diag::new(
                    value.span(),
                    error.to_string(),
                    "choose another name, such as \"site.motd\"",
                ));
                None
            }
        }
    }

    fn after(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> Vec<(StepId, Range<usize>)> {
        let Some(value) = value else {
            return Vec::new();
        };
        match value.get_ref().as_array() {
            Some(items) => items
                .iter()
                .filter_map(|item| self.step_id("after", item))
                .collect(),
            None => self
                .wrong::<()>(
                    "after",
                    value,
                    "a list of step ids, such as [\"net.wirebox\"]",
                )
                .map_or_else(Vec::new, |()| Vec::new()),
        }
    }

    fn argv(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Argv> {
        const WANTED: &str = "a list such as [\"program\", \"argument\"], or a text for the shell";
        if let Some(script) = value
            .get_ref()
            .as_str()
            .filter(|text| !text.trim().is_empty())
        {
            return Some(vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()]);
        }
        let words: Option<Argv> = value.get_ref().as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect()
        });
        match words {
            Some(words) if words.first().is_some_and(|word| !word.is_empty()) => Some(words),
            _ => self.wrong(name, value, WANTED),
        }
    }

    fn texts(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<String>> {
        let texts: Option<Vec<String>> = value.get_ref().as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect()
        });
        texts.or_else(|| self.wrong(name, value, "a list of texts"))
    }

    fn timeout(&mut self, value: &Spanned<DeValue<'_>>) -> Option<u64> {
        value
            .get_ref()
            .as_str()
            .and_then(time::parse_ms)
            .filter(|ms| *ms > 0)
            .or_else(|| {
                self.wrong(
                    "timeout",
                    value,
                    "a duration with its unit, such as \"90s\" or \"1h 30m\"",
                )
            })
    }

    fn flag(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<bool> {
        value
            .get_ref()
            .as_bool()
            .or_else(|| self.wrong(name, value, "true or false"))
    }

    fn text(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        value
            .get_ref()
            .as_str()
            .map(str::to_owned)
            .or_else(|| self.wrong(name, value, "a text in quotes"))
    }
}
