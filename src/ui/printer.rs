//! The two streams: data to stdout, everything else to stderr; quiet when the reader has gone.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};

use crate::config::env::Environment;
use crate::exit::Code;
use crate::problem::Problem;
use crate::ui::style::{ColorChoice, Style, harmless};

/// Version of the JSON output: a new minor only adds, a new major changes.
pub(crate) const JSON_SCHEMA: &str = "1.0";

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing: `-qq`.
    Silent,
    /// Errors and results: `-q`.
    Quiet,
    /// The usual.
    Normal,
    /// Also the commands that run: `-v`.
    Verbose,
}

/// What the printer is told by the command line.
#[derive(Debug)]
pub(crate) struct Options {
    /// How much is said.
    pub(crate) level: Level,
    /// JSON on stdout instead of text.
    pub(crate) json: bool,
    /// JSON into this file beside the text.
    pub(crate) json_into: Option<fs_err::File>,
    /// When to colour.
    pub(crate) color: ColorChoice,
}

/// Writes to the terminal. Shared by reference; every method may be called from any thread.
#[derive(Debug)]
pub(crate) struct Printer {
    level: Level,
    json: bool,
    json_into: Option<Mutex<fs_err::File>>,
    out: Style,
    err: Style,
    broken: AtomicBool,
    failed: OnceLock<String>,
    redirected: AtomicBool,
    owed: Mutex<Vec<Value>>,
}

impl Printer {
    /// The printer for this process.
    pub(crate) fn new(options: Options, env: &Environment) -> Self {
        Self {
            level: options.level,
            json: options.json,
            json_into: options.json_into.map(Mutex::new),
            out: Style::of(options.color, env, io::stdout().is_terminal()),
            err: Style::of(options.color, env, io::stderr().is_terminal()),
            broken: AtomicBool::new(false),
            failed: OnceLock::new(),
            redirected: AtomicBool::new(false),
            owed: Mutex::new(Vec::new()),
        }
    }

    /// Whether stdout carries JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether anything wants JSON.
    pub(crate) fn wants_json(&self) -> bool {
        self.json || self.json_into.is_some()
    }

    /// How much is said.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// The style of stdout.
    pub(crate) fn out_style(&self) -> Style {
        self.out
    }

    /// The style of stderr.
    pub(crate) fn err_style(&self) -> Style {
        self.err
    }

    /// Whether the reader of stdout has gone; long outputs stop then.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Stops writing to stderr (the terminal has hung up).
    pub(crate) fn hang_up(&self) {
        self.redirected.store(true, Ordering::Relaxed);
    }

    /// Why stdout could not be written, once everything is said; `None` also when its reader has gone.
    pub(crate) fn output_problem(&self) -> Option<Problem> {
        if !self.is_broken() {
            self.note_broken(&io::stdout().lock().flush());
        }
        let why = self.failed.get()?;
        let cause = format!("the output cannot be written: {why}");
        Some(
            Problem::new(Code::JournalIo, cause)
                .hint("make room where stdout goes, then ask again"),
        )
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: &str) {
        if self.level > Level::Silent && !self.json {
            self.write_out(&self.out.fit(text));
        }
    }

    /// Lines of the result.
    pub(crate) fn lines<'a>(&self, lines: impl IntoIterator<Item = &'a String>) {
        for line in lines {
            self.line(line);
        }
    }

    /// Raw bytes of the result: captured output, a completion script.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        if self.level > Level::Silent && !self.is_broken() {
            self.note_broken(&io::stdout().lock().write_all(bytes));
        }
    }

    /// Progress and remarks.
    pub(crate) fn note(&self, text: &str) {
        if self.level >= Level::Normal {
            self.write_err(text);
        }
    }

    /// What must be seen even with `-q`.
    pub(crate) fn important(&self, text: &str) {
        if self.level >= Level::Quiet {
            self.write_err(text);
        }
    }

    /// A warning.
    pub(crate) fn warn(&self, text: &str) {
        self.important(&format!(
            "{} {}",
            self.err.marked(crate::ui::style::Mark::Changed, "warning:"),
            harmless(text)
        ));
    }

    /// What every JSON document from now on says to be owed. Answers whether that is news.
    pub(crate) fn owed(&self, open: Vec<Value>) -> bool {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *owed != open;
        *owed = open;
        news
    }

    /// Whether anything is known to be owed.
    pub(crate) fn owes(&self) -> bool {
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        !owed.is_empty()
    }

    /// A JSON document or line.
    pub(crate) fn json(&self, value: &Value) {
        if !self.wants_json() {
            return;
        }
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = std::borrow::Cow::Borrowed(value);
        let is_event = value.get("type").is_some_and(|kind| kind == "event");
        if !owed.is_empty() && !is_event && value.is_object() {
            let map = told.to_mut().as_object_mut();
            map.map(|map| map.insert("owed".to_owned(), Value::Array(owed.clone())));
        }
        drop(owed);
        self.document(&told);
    }

    fn document(&self, value: &Value) {
        if self.json && self.level > Level::Silent {
            self.write_out(&value.to_string());
        }
        if let Some(file) = &self.json_into {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = writeln!(file, "{value}") {
                self.important(&format!("warning: --json-into: {error}"));
            }
        }
    }

    /// The first line of a JSON stream.
    pub(crate) fn json_version(&self) {
        self.json(&json!({
            "type": "version",
            "wiab": env!("CARGO_PKG_VERSION"),
            "schema": JSON_SCHEMA,
        }));
    }

    /// The last line of a JSON stream.
    pub(crate) fn json_exit(&self, code: Code) {
        self.json(&json!({
            "type": "exit",
            "exit": {"code": code.number(), "name": code.name()},
        }));
    }

    /// An error with its remedy; the last thing that is printed.
    pub(crate) fn problem(&self, problem: &Problem) {
        self.json(&problem.json());
        if self.level == Level::Silent {
            return;
        }
        for line in problem.lines() {
            let lead = ["error:", "hint:"]
                .into_iter()
                .find(|lead| line.starts_with(lead));
            match lead {
                Some(lead) => {
                    let mark = match lead {
                        "error:" => crate::ui::style::Mark::Failed,
                        _ => crate::ui::style::Mark::Running,
                    };
                    let rest = line.get(lead.len()..).unwrap_or_default();
                    self.write_err(&format!("{}{rest}", self.err.marked(mark, lead)));
                }
                None => self.write_err(&line),
            }
        }
    }

    fn write_out(&self, text: &str) {
        if !self.is_broken() {
            self.note_broken(&writeln!(io::stdout().lock(), "{text}"));
        }
    }

    fn write_err(&self, text: &str) {
        if !self.redirected.load(Ordering::Relaxed) {
            // Nobody is left to tell when stderr itself is gone.
            let _gone = writeln!(io::stderr().lock(), "{}", self.err.fit(text));
        }
    }

    /// Text for the live block, as it is.
    pub(crate) fn err_raw(&self, text: &str) {
        if !self.redirected.load(Ordering::Relaxed) {
            let mut err = io::stderr().lock();
            let _gone = err.write_all(text.as_bytes()).and_then(|()| err.flush());
        }
    }

    fn note_broken(&self, result: &io::Result<()>) {
        if let Err(error) = result {
            self.broken.store(true, Ordering::Relaxed);
            // A reader that has seen enough is no error.
            if error.kind() != io::ErrorKind::BrokenPipe {
                let _first = self.failed.set(error.to_string());
            }
        }
    }
}
