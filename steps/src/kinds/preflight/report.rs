//! What a check found: all of it at once, each finding with its remedy; as text that can be read back.

use std::collections::BTreeMap;

use wiab_engine::outcome::{Failure, Probe, Receipt};

/// Output of a passed check that holds its warnings, as [`Report::text`] writes them.
const WARNINGS: &str = "warnings";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The installation cannot begin.
    Error,
    /// It can, with a consequence.
    Warning,
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, a short stable word: `memory`, `port-80`.
    pub what: String,
    /// What was found, in one sentence.
    pub why: String,
    /// What to do about it: a command or a change.
    pub remedy: String,
}

/// Everything that one check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
    /// What passed, in one line.
    pub note: String,
    /// Facts that later steps use.
    pub facts: BTreeMap<String, String>,
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Report {
    /// A report that says so when nothing is wrong.
    pub fn new(note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..Self::default()
        }
    }

    /// Adds what stops the installation.
    pub fn error(&mut self, what: &str, why: impl AsRef<str>, remedy: impl AsRef<str>) {
        self.add(Severity::Error, what, why.as_ref(), remedy.as_ref());
    }

    /// Adds what has a consequence.
    pub fn warn(&mut self, what: &str, why: impl AsRef<str>, remedy: impl AsRef<str>) {
        self.add(Severity::Warning, what, why.as_ref(), remedy.as_ref());
    }

    fn add(&mut self, severity: Severity, what: &str, why: &str, remedy: &str) {
        self.findings.push(Finding {
            severity,
            what: one_line(what).replace(": ", " "),
            why: one_line(why),
            remedy: one_line(remedy),
        });
    }

    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// The findings that stop the installation.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.of(Severity::Error)
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(move |finding| finding.severity == severity)
    }

    /// Two lines for each finding, errors as a difference: `- what: why` and `+ remedy`.
    pub fn text(&self) -> String {
        let lines = self.findings.iter().map(|finding| {
            let (found, wanted) = match finding.severity {
                Severity::Error => ("-", "+"),
                Severity::Warning => ("!", " "),
            };
            let Finding {
                what, why, remedy, ..
            } = finding;
            format!("{found} {what}: {why}\n{wanted} {remedy}\n")
        });
        lines.collect()
    }

    /// Reads [`Report::text`] back.
    fn findings_of(text: &str) -> Vec<Finding> {
        let mut lines = text.lines();
        let mut findings = Vec::new();
        while let (Some(found), Some(wanted)) = (lines.next(), lines.next()) {
            let severity = match found.bytes().next() {
                Some(b'-') => Severity::Error,
                _ => Severity::Warning,
            };
            let (what, why) = found
                .get(2..)
                .and_then(|text| text.split_once(": "))
                .unwrap_or(("", found));
            findings.push(Finding {
                severity,
                what: what.to_owned(),
                why: why.to_owned(),
                remedy: wanted.get(2..).unwrap_or_default().to_owned(),
            });
        }
        findings
    }

    /// The findings behind a probe's answer; `None` if no check answered so.
    pub fn seen(probe: &Probe) -> Option<Vec<Finding>> {
        match probe {
            Probe::Satisfied(receipt) => {
                let warnings = receipt.outputs.get(WARNINGS);
                Some(warnings.map_or_else(Vec::new, |text| Self::findings_of(text)))
            }
            Probe::Drifted { diff } => Some(Self::findings_of(diff)),
            Probe::Absent | Probe::Partial { .. } | Probe::Unknown { .. } | Probe::Running => None,
        }
    }

    /// As a probe answers: satisfied without errors.
    pub(super) fn probe(&self) -> Probe {
        if self.errors().next().is_some() {
            return Probe::Drifted { diff: self.text() };
        }
        Probe::Satisfied(self.receipt())
    }

    /// Facts, warnings and a note.
    pub(super) fn receipt(&self) -> Receipt {
        let warned: Vec<&str> = self
            .of(Severity::Warning)
            .map(|finding| finding.what.as_str())
            .collect();
        let mut receipt = match warned.as_slice() {
            [] => Receipt::note(self.note.clone()),
            names => Receipt::note(format!("{}; warned of {}", self.note, names.join(", "))),
        };
        receipt.outputs.clone_from(&self.facts);
        if warned.is_empty() {
            return receipt;
        }
        receipt.with(WARNINGS, self.text())
    }

    /// All errors in one failure; `None` without any.
    pub(super) fn failure(&self) -> Option<Failure> {
        let errors: Vec<&Finding> = self.errors().collect();
        let first = errors.first()?;
        let lines = |of: fn(&Finding) -> &str| -> String {
            let all = errors
                .iter()
                .map(|finding| format!("{}: {}", finding.what, of(finding)));
            all.collect::<Vec<String>>().join("\n")
        };
        Some(
            Failure::clean(lines(|finding| &finding.why))
                .hint(lines(|finding| &finding.remedy))
                .code(&format!("preflight.{}", first.what)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_survive_their_text() {
        let mut report = Report::new("fine");
        report.warn("cpus", "29 for\n 8: too many", "take more");
        assert_eq!(Report::seen(&report.probe()), Some(report.findings.clone()));
        assert_eq!(report.failure(), None);
        report.error("memory", "12 GiB are missing", "add memory: 12 GiB");
        report.error("a: b", "", "");
        assert_eq!(Report::seen(&report.probe()), Some(report.findings.clone()));
        assert_eq!(report.findings[0].why, "29 for 8: too many");
        let failure = report.failure().unwrap();
        assert_eq!(failure.why, "memory: 12 GiB are missing\na b: ");
        assert_eq!(failure.code, "preflight.memory");
    }
}
