//! The result as a Markdown table on standard output.

use std::io::Write;

/// Prints rows as they come and counts broken promises.
#[derive(Debug)]
pub(crate) struct Report {
    out: std::io::Stdout,
    missed: usize,
}

impl Report {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let report = Self {
            out: std::io::stdout(),
            missed: 0,
        };
        report.say(&format!(
            "wiab {} on {cores} cores, {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH
        ));
        report
    }

    pub(crate) fn part(&self, name: &str, about: &str) {
        self.say(&format!(
            "\n{name}: {about}\n\n| what | measured | promise |\n|---|---|---|"
        ));
    }

    /// A figure without a promise.
    pub(crate) fn line(&self, what: &str, value: impl AsRef<str>) {
        self.say(&format!("| {what} | {} | |", value.as_ref()));
    }

    /// Something to compare with that is not there.
    pub(crate) fn missing(&self, what: &str, why: &str) {
        self.say(&format!("| {what} | not measured: {why} | |"));
    }

    /// A promise with an upper limit.
    pub(crate) fn at_most(
        &mut self,
        what: &str,
        value: impl AsRef<str>,
        figure: f64,
        limit: f64,
        unit: &str,
    ) {
        self.promise(
            what,
            value.as_ref(),
            figure,
            limit,
            unit,
            figure <= limit,
            "at most",
        );
    }

    /// A promise with a lower limit.
    pub(crate) fn at_least(
        &mut self,
        what: &str,
        value: impl AsRef<str>,
        figure: f64,
        limit: f64,
        unit: &str,
    ) {
        self.promise(
            what,
            value.as_ref(),
            figure,
            limit,
            unit,
            figure >= limit,
            "at least",
        );
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one row of one table, private to it"
    )]
    fn promise(
        &mut self,
        what: &str,
        value: &str,
        figure: f64,
        limit: f64,
        unit: &str,
        kept: bool,
        bound: &str,
    ) {
        let digits = if limit < 100.0 { 2 } else { 0 };
        let comma = if value.is_empty() { "" } else { ", " };
        let word = if kept { "kept" } else { "MISSED" };
        self.missed += usize::from(!kept);
        self.say(&format!(
            "| {what} | {value}{comma}{figure:.digits$} {unit} | {bound} {limit} {unit}: {word} |"
        ));
    }

    pub(crate) fn missed(&self) -> usize {
        self.missed
    }

    fn say(&self, text: &str) {
        // A reader that has gone away needs no table.
        let _gone = writeln!(&self.out, "{text}");
    }
}
