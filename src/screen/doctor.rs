//! What the checks before an installation found: each check, each finding with its remedy.

use serde_json::{Value, json};
use wiab_engine::id::StepId;
use wiab_engine::outcome::Probe;
use wiab_engine::plan::Plan;
use wiab_engine::survey::{Finding, Survey};
use wiab_plans::PREFLIGHT;
use wiab_steps::kinds::preflight::{Finding as Found, Report, Severity};

use crate::screen::{count, pad};
use crate::ui::printer::JSON_SCHEMA;
use crate::ui::style::{Mark, Style, harmless};

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    id: StepId,
    note: String,
    found: Vec<Found>,
}

/// Everything that the checks found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings(Vec<Check>);

fn error(why: &str, remedy: &str) -> Found {
    Found {
        severity: Severity::Error,
        what: "unchecked".to_owned(),
        why: why.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn check(id: &StepId, finding: Option<&Finding>) -> Check {
    let (note, found) = match finding {
        Some(Finding::Seen(probe)) => {
            let note = match probe {
                Probe::Satisfied(receipt) => receipt.note.clone().unwrap_or_default(),
                Probe::Absent
                | Probe::Drifted { .. }
                | Probe::Partial { .. }
                | Probe::Unknown { .. }
                | Probe::Running => String::new(),
            };
            let found = Report::seen(probe);
            let unreadable = || vec![error("the check gave no answer", "run it again")];
            (note, found.unwrap_or_else(unreadable))
        }
        Some(Finding::Blind(failure)) => {
            let hint = failure.hint.as_deref().unwrap_or("run it again");
            (String::new(), vec![error(&failure.why, hint)])
        }
        Some(Finding::AfterApply { needs }) => {
            (String::new(), vec![error(needs, "run wiab doctor alone")])
        }
        None => (
            String::new(),
            vec![error("it was not looked at", "run it again")],
        ),
    };
    Check {
        id: id.clone(),
        note,
        found,
    }
}

impl Findings {
    /// Those of a plan's checks.
    pub(crate) fn of(plan: &Plan, survey: &Survey) -> Self {
        let checks = plan.steps.iter().map(|step| &step.id);
        let checks = checks.filter(|id| id.area() == PREFLIGHT);
        Self(
            checks
                .map(|id| check(id, survey.findings.get(id)))
                .collect(),
        )
    }

    fn number(&self, severity: Severity) -> usize {
        let all = self.0.iter().flat_map(|check| &check.found);
        all.filter(|found| found.severity == severity).count()
    }

    /// How many stop the installation.
    pub(crate) fn errors(&self) -> usize {
        self.number(Severity::Error)
    }

    /// Every check, errors first within each, then what it comes to.
    pub(crate) fn lines(&self, style: Style) -> Vec<String> {
        let widest = self.0.iter().map(|check| check.id.as_str().len()).max();
        let mut lines = Vec::new();
        for check in &self.0 {
            let bad = check.found.iter().map(|found| found.severity).min();
            let mark = bad.map_or(Mark::Ok, mark_of);
            let id = pad(check.id.as_str(), widest.unwrap_or(0));
            let line = format!("{} {id}  {}", style.glyph(mark), harmless(&check.note));
            lines.push(line.trim_end().to_owned());
            lines.extend(check.found.iter().flat_map(|found| told(style, found)));
        }
        lines.push(format!(
            "{}: {}, {}",
            count(self.0.len(), "check"),
            count(self.errors(), "error"),
            count(self.number(Severity::Warning), "warning"),
        ));
        lines
    }

    /// The errors alone, for a plan that is refused.
    pub(crate) fn refusal(&self) -> Vec<String> {
        let all = self.0.iter().flat_map(|check| &check.found);
        all.filter(|found| found.severity == Severity::Error)
            .flat_map(|found| {
                let what = format!("  {}: {}", found.what, found.why);
                [what, format!("    remedy: {}", found.remedy)]
            })
            .collect()
    }

    /// The document of `doctor --json`.
    pub(crate) fn json(&self) -> Value {
        let checks = self.0.iter().map(|check| {
            let found = check.found.iter().map(|found| {
                let severity = match found.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                };
                json!({"severity": severity, "what": found.what, "why": found.why, "remedy": found.remedy})
            });
            json!({"id": check.id.as_str(), "note": check.note, "findings": found.collect::<Vec<_>>()})
        });
        json!({
            "type": "doctor",
            "schema": JSON_SCHEMA,
            "errors": self.errors(),
            "warnings": self.number(Severity::Warning),
            "checks": checks.collect::<Vec<_>>(),
        })
    }
}

fn mark_of(severity: Severity) -> Mark {
    match severity {
        Severity::Error => Mark::Failed,
        Severity::Warning => Mark::Unsure,
    }
}

fn told(style: Style, found: &Found) -> [String; 2] {
    let what = style.bold(&harmless(&found.what));
    [
        format!(
            "    {} {what}: {}",
            style.glyph(mark_of(found.severity)),
            harmless(&found.why)
        ),
        format!("      remedy: {}", harmless(&found.remedy)),
    ]
}
