//! The configuration: layers with a fixed precedence, each value with its origin.

pub(crate) mod diag;
pub(crate) mod env;
pub(crate) mod file;
pub(crate) mod overlays;
pub(crate) mod schema;
pub(crate) mod steps;
pub(crate) mod value;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use wiab_steps::host::ssh::Parts;

use crate::config::diag::Source;
use crate::config::env::Environment;
use crate::config::schema::{KEYS, Key};
use crate::config::steps::RawStep;
use crate::config::value::Value;
use crate::exit::Code;
use crate::problem::Problem;

/// Largest configuration file, in bytes; 10,000 steps take about 2 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Variables that start with `WIAB_` and are no configuration keys.
pub(crate) const OTHER_VARIABLES: [(&str, &str); 4] = [
    ("WIAB_CONFIG", "the configuration file, like --config"),
    (
        "WIAB_STATE_DIR",
        "where journal and runs are kept, like --state-dir",
    ),
    ("WIAB_PROGRESS", "how progress is shown, like --progress"),
    (
        "WIAB_LOG",
        "what the debug log in the run's directory holds: a tracing filter",
    ),
];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag(String),
    /// A variable of the environment.
    Variable(String),
    /// A file, the line, and the place of the value.
    File(String, usize, Range<usize>),
    /// The built-in default.
    Default,
    /// What the simulated machine is called.
    Simulated,
}

impl Origin {
    /// How near to the command it is; the nearer wins.
    fn nearness(&self) -> u8 {
        match self {
            Self::Flag(_) => 3,
            Self::Variable(_) => 2,
            Self::File(..) => 1,
            Self::Default | Self::Simulated => 0,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::File(name, line, _) => write!(f, "{name}:{line}"),
            Self::Default => f.write_str("default"),
            Self::Simulated => f.write_str("the simulated machine"),
        }
    }
}

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Values of flags: path, text, the flag's name.
    pub(crate) flags: Vec<(String, String, String)>,
    /// The system-wide file; tests replace it.
    pub(crate) system_file: Option<PathBuf>,
}

/// The merged configuration.
#[derive(Debug, Default)]
pub(crate) struct Config {
    values: BTreeMap<String, (Value, Origin)>,
    /// Site-specific steps.
    pub(crate) steps: Vec<RawStep>,
    /// The operator's values, by name.
    pub(crate) overlays: BTreeMap<String, String>,
    /// The file that holds the steps.
    pub(crate) source: Source,
    /// Remarks that are no errors.
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Reads all layers. Every mistake of a file is reported at once.
    pub(crate) fn load(asked: &Asked, env: &Environment) -> Result<Self, Problem> {
        let mut config = Self::default();
        for key in KEYS {
            if let Some(value) = key.default.and_then(|text| key.kind.of_text(text)) {
                config
                    .values
                    .insert(key.path.to_owned(), (value, Origin::Default));
            }
        }
        for path in [asked.system_file.clone(), crate::dirs::user_config(env)]
            .into_iter()
            .flatten()
        {
            config.layer(&path, false)?;
        }
        let explicit = asked
            .file
            .clone()
            .or_else(|| env.get("WIAB_CONFIG").map(PathBuf::from));
        let project = explicit
            .clone()
            .unwrap_or_else(|| PathBuf::from("wiab.toml"));
        let found = config.layer(&project, true)?;
        config.overlays = overlays::beside(&project)?;
        config.variables(env)?;
        config.flags(&asked.flags)?;
        config.taken_apart();
        if !found {
            config.without_file(explicit.as_deref())?;
        }
        config.simulated();
        Ok(config)
    }

    fn layer(&mut self, path: &Path, project: bool) -> Result<bool, Problem> {
        let Some(text) = read_file(path)? else {
            return Ok(false);
        };
        let source = Source {
            name: path.display().to_string(),
            text,
        };
        let content = file::read(&source.text, project);
        if !content.diags.is_empty() {
            return Err(source.problem(Code::BadConfig, content.diags));
        }
        for (path, value, span) in content.settings {
            let (line, _) = source.place(span.start);
            let origin = Origin::File(source.name.clone(), line, span);
            self.values.insert(path, (value, origin));
        }
        if project {
            self.steps = content.steps;
            self.source = source;
        }
        Ok(true)
    }

    fn variables(&mut self, env: &Environment) -> Result<(), Problem> {
        for (name, text) in env.with_prefix("WIAB_") {
            if OTHER_VARIABLES.iter().any(|(known, _)| *known == name) {
                continue;
            }
            match KEYS
                .iter()
                .find(|key| key.variable().as_deref() == Some(name))
            {
                Some(key) => {
                    let value = of_text(key, key.path, text, name)?;
                    let origin = Origin::Variable(name.to_owned());
                    self.values.insert(key.path.to_owned(), (value, origin));
                }
                None => self
                    .warnings
                    .push(format!("the variable {name} is not known and was ignored")),
            }
        }
        Ok(())
    }

    fn flags(&mut self, flags: &[(String, String, String)]) -> Result<(), Problem> {
        for (path, text, flag) in flags {
            let Some(key) = schema::find(path) else {
                let near = wiab_engine::text::nearest(path, KEYS.iter().map(|key| key.path));
                return Err(
                    Problem::new(Code::Usage, format!("unknown key `{path}` in {flag}")).hint(
                        near.map_or_else(
                            || "`wiab config show` lists all keys".to_owned(),
                            |near| format!("did you mean `{near}`?"),
                        ),
                    ),
                );
            };
            let value = of_text(key, path, text, flag).map_err(|problem| Problem {
                code: Code::Usage,
                ..problem
            })?;
            self.values
                .insert(path.clone(), (value, Origin::Flag(flag.clone())));
        }
        Ok(())
    }

    /// `ssh://user@address:port` is a short way to say four things; what it does not say may stand elsewhere, and what was
    /// said nearer wins.
    fn taken_apart(&mut self) {
        let Some((Value::Text(text), origin)) = self.values.get("host").cloned() else {
            return;
        };
        let Some(parts) = text
            .strip_prefix("ssh://")
            .and_then(|text| Parts::of(text).ok())
        else {
            return;
        };
        let address = Value::Text(parts.address.to_owned());
        let all = [
            ("ssh.address", Some(address)),
            (
                "ssh.user",
                parts.user.map(|user| Value::Text(user.to_owned())),
            ),
            (
                "ssh.port",
                parts.port.map(|port| Value::Integer(port.into())),
            ),
            ("host", Some(Value::Text("ssh".to_owned()))),
        ];
        for (path, value) in all {
            let Some(value) = value else { continue };
            let nearer = self
                .values
                .get(path)
                .is_some_and(|(_, other)| other.nearness() > origin.nearness());
            if !nearer {
                self.values.insert(path.to_owned(), (value, origin.clone()));
            }
        }
    }

    /// The machine to act on, as people and the journal call it: `local`, `sim`, `ssh://user@address:port`.
    pub(crate) fn machine(&self) -> String {
        match self.text("host") {
            "ssh" => crate::remote::target(self)
                .map_or_else(|_| "ssh".to_owned(), |end| format!("ssh://{end}")),
            host => host.to_owned(),
        }
    }

    /// The simulated machine knows what only an operator can tell of a real one.
    fn simulated(&mut self) {
        if self.text("host") != "sim" {
            return;
        }
        for (path, text) in wiab_plans::REHEARSAL {
            self.values
                .entry(path.to_owned())
                .or_insert_with(|| (Value::Text(text.to_owned()), Origin::Simulated));
        }
    }

    /// Without a project file only the simulated host has something to go by: the defaults.
    fn without_file(&self, explicit: Option<&Path>) -> Result<(), Problem> {
        if let Some(path) = explicit {
            return Err(Problem::new(
                Code::BadConfig,
                format!("{} does not exist", path.display()),
            )
            .hint("check the path given with --config or WIAB_CONFIG"));
        }
        if self.text("host") == "sim" {
            return Ok(());
        }
        Err(
            Problem::new(Code::BadConfig, "there is no wiab.toml in this directory")
                .hint("wiab init              writes a commented one")
                .hint(
                    "wiab plan --host sim   tries everything on a simulated machine, without one",
                ),
        )
    }

    /// Every value that is set, in the order of the schema: path, value, origin.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Value, &Origin)> {
        KEYS.iter().flat_map(move |key| {
            self.values
                .iter()
                .filter(move |(path, _)| schema::find(path) == Some(key))
                .map(|(path, (value, origin))| (path.as_str(), value, origin))
        })
    }

    /// A text; empty if the key is none.
    pub(crate) fn text(&self, path: &str) -> &str {
        match self.values.get(path) {
            Some((Value::Text(text), _)) => text,
            _ => "",
        }
    }

    /// A list of texts; empty if the key is none.
    pub(crate) fn list(&self, path: &str) -> &[String] {
        match self.values.get(path) {
            Some((Value::List(items), _)) => items,
            _ => &[],
        }
    }

    /// A yes or no.
    pub(crate) fn flag(&self, path: &str) -> bool {
        matches!(self.values.get(path), Some((Value::Bool(true), _)))
    }

    /// A whole number.
    pub(crate) fn integer(&self, path: &str) -> i64 {
        match self.values.get(path) {
            Some((Value::Integer(number), _)) => *number,
            _ => 0,
        }
    }

    /// A number; `None` for `max`.
    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        match self.values.get(path) {
            Some((Value::Number(number), _)) => Some(*number),
            _ => None,
        }
    }
}

fn of_text(key: &Key, path: &str, text: &str, place: &str) -> Result<Value, Problem> {
    key.kind.of_text(text).ok_or_else(|| {
        Problem::new(
            Code::BadConfig,
            format!("{place}: `{path}` must be {}", key.kind.describe()),
        )
        .hint(format!("for example: {}", key.sample))
    })
}

fn read_file(path: &Path) -> Result<Option<String>, Problem> {
    let cannot = |error: &std::io::Error| {
        Problem::new(
            Code::BadConfig,
            format!("{} cannot be read: {error}", path.display()),
        )
        .hint("make it a readable text file in UTF-8")
    };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(&error)),
    };
    if meta.len() > FILE_BYTES_MAX {
        return Err(Problem::new(
            Code::BadConfig,
            format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display()),
        )
        .hint("split the installation"));
    }
    let bytes = fs_err::File::open(path)
        .and_then(|mut file| {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes)?;
            Ok(bytes)
        })
        .map_err(|error| cannot(&error))?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| cannot(&std::io::Error::other(error.utf8_error())))
}

#[cfg(test)]
mod tests;
