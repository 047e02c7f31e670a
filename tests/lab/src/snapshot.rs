//! The state of the machine as text in sections, to be compared with an earlier one.

use crate::error::{LabError, Result};
use crate::machine::Machine;
use crate::outer::without_counters;

const SCRIPT: &str = include_str!("../machine/snapshot.sh");
/// Most differing lines that are shown of one section.
const SHOWN: usize = 40;

/// What the machine was like at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    sections: Vec<(String, String)>,
}

impl Snapshot {
    /// Looks at the machine. Files below `state` (inside the machine) do not count.
    pub(crate) fn take(machine: &Machine, state: &str) -> Result<Self> {
        let script = format!("STATE={state}\n{SCRIPT}");
        let text = machine.sh(&script).limit_s(300).output()?;
        let mut snapshot = Self::parse(&text);
        for (name, body) in &mut snapshot.sections {
            if name == "firewall" {
                *body = without_counters(body);
            }
        }
        Ok(snapshot)
    }

    fn parse(text: &str) -> Self {
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("== ") {
                sections.push((name.to_owned(), String::new()));
            } else if let Some((_, body)) = sections.last_mut() {
                body.push_str(line);
                body.push('\n');
            }
        }
        Self { sections }
    }

    /// One section.
    pub(crate) fn section(&self, name: &str) -> &str {
        self.sections
            .iter()
            .find(|(other, _)| other == name)
            .map_or("", |(_, body)| body)
    }

    /// Fails with the differences unless the machine is as `before`; `when` says at what point.
    pub(crate) fn same_as(&self, before: &Self, when: &str) -> Result<()> {
        let mut text = String::new();
        for (name, now) in &self.sections {
            let was = before.section(name);
            if now != was {
                text.push_str(&format_difference(name, was, now));
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        Err(LabError::check(format!(
            "{when}, the machine differs:{text}"
        )))
    }
}

fn format_difference(name: &str, was: &str, now: &str) -> String {
    let only_in = |one: &str, other: &str, mark: char| -> Vec<String> {
        let other: std::collections::HashSet<&str> = other.lines().collect();
        one.lines()
            .filter(|line| !other.contains(line))
            .map(|line| format!("\n    {mark} {line}"))
            .collect()
    };
    let mut lines = only_in(was, now, '-');
    lines.extend(only_in(now, was, '+'));
    if lines.is_empty() {
        lines.push("\n    (the same lines in another order or number)".to_owned());
    }
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("\n    … and {more} more"));
    }
    format!("\n  {name}:{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_differs() {
        let a = Snapshot::parse("== x\n1\n2\n== y\nsame\n");
        let b = Snapshot::parse("== x\n2\n3\n== y\nsame\n");
        assert_eq!(a.section("y"), "same\n");
        assert!(a.same_as(&a, "now").is_ok());
        let text = b.same_as(&a, "after rollback").unwrap_err().to_string();
        assert_eq!(
            text,
            "check failed: after rollback, the machine differs:\n  x:\n    - 1\n    + 3"
        );
    }
}
