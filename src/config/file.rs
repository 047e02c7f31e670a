//! One configuration file: text in; settings with their places, steps and mistakes out.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::diag::Diag;
use crate::config::schema::{self, KEYS, Key};
use crate::config::steps::{self, RawStep};
use crate::config::value::Value;

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct FileContent {
    /// Settings with their places.
    pub(crate) settings: Vec<(String, Value, Range<usize>)>,
    /// Site-specific steps, in order.
    pub(crate) steps: Vec<RawStep>,
    /// Every mistake.
    pub(crate) diags: Vec<Diag>,
}

/// Reads the text of a file. `with_steps` says whether it may hold `[[step]]`.
pub(crate) fn read(text: &str, with_steps: bool) -> FileContent {
    let mut content = FileContent::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // Only the first: what the parser reports after it is often a consequence.
        content.diags.extend(errors.iter().take(1).map(|error| {
            Diag::new(
                error.span().unwrap_or(0..0),
                format!("this is not TOML: {}", error.message().replace('\n', ", ")),
                "correct this line; `wiab init` in another directory writes an example",
            )
        }));
        return content;
    }
    content.table("", table.get_ref(), with_steps);
    content.repeated_steps();
    content
}

impl FileContent {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>, with_steps: bool) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let path = if prefix.is_empty() {
                name.to_owned()
            } else {
                format!("{prefix}.{name}")
            };
            if path == "step" {
                self.steps_of(value, with_steps);
            } else if let Some(known) = schema::find(&path) {
                self.setting(&path, known, value);
            } else if schema::is_section(&path) {
                self.section(&path, value, with_steps);
            } else {
                self.diags.push(unknown(prefix, &path, key.span()));
            }
        }
    }

    fn setting(&mut self, path: &str, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        match key.kind.of_toml(value.get_ref()) {
            Some(accepted) => self
                .settings
                .push((path.to_owned(), accepted, value.span())),
            None => self.diags.push(Diag::new(
                value.span(),
                format!("`{path}` must be {}", key.kind.describe()),
                format!("for example: {} = {}", key.leaf(), key.example()),
            )),
        }
    }

    fn section(&mut self, path: &str, value: &Spanned<DeValue<'_>>, with_steps: bool) {
        match value.get_ref().as_table() {
            Some(table) => self.table(path, table, with_steps),
            None => self.diags.push(Diag::new(
                value.span(),
                format!("`{path}` is a section, not a value"),
                format!("write [{path}] on a line of its own and its keys below"),
            )),
        }
    }

    fn steps_of(&mut self, value: &Spanned<DeValue<'_>>, with_steps: bool) {
        let tables: Option<Vec<_>> = value.get_ref().as_array().and_then(|items| {
            items
                .iter()
                .map(|item| Some((item.get_ref().as_table()?, item.span())))
                .collect()
        });
        match tables {
            Some(tables) if with_steps => {
                for (table, span) in tables {
                    self.steps
                        .extend(steps::read(table, &span, &mut self.diags));
                }
            }
            Some(_) => self.diags.push(Diag::new(
                value.span(),
                "[[step]] belongs into wiab.toml, where one installation is described",
                "move it there",
            )),
            None => self.diags.push(Diag::new(
                value.span(),
                "`step` is a list of tables",
                "write [[step]] on a line of its own and its keys below",
            )),
        }
    }

    fn repeated_steps(&mut self) {
        let mut seen = std::collections::BTreeSet::new();
        for step in &self.steps {
            if !seen.insert(&step.id) {
                self.diags.push(Diag::new(
                    step.id_span.clone(),
                    format!("two steps have the id `{}`", step.id),
                    "give one of them another id",
                ));
            }
        }
    }
}

fn unknown(prefix: &str, path: &str, span: Range<usize>) -> Diag {
    let near = wiab_engine::text::nearest(
        path,
        KEYS.iter()
            .map(|key| key.path)
            .chain(schema::sections())
            .chain(["step"]),
    );
    let remedy = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if prefix.is_empty() => format!("known are {}", schema::names_in("")),
        None => format!("[{prefix}] knows {}", schema::names_in(prefix)),
    };
    Diag::new(span, format!("unknown key `{path}`"), remedy)
}
