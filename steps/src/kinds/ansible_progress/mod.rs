//! What ansible prints, read line by line: where it is, how each machine fares, and why it failed. Pure.
//!
//! It reads ansible's default output, not its JSON one: that says everything at the end, and an operator watches this.

mod failure;

use std::collections::BTreeMap;

use serde_json::Value;

/// Most failed tasks, machines and characters that are kept.
const FAILED_MAX: usize = 8;
const HOSTS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 120;
const EXCERPT_CHARS_MAX: usize = 600;
/// Longest line that is looked into, in bytes; a longer one is cut.
const LINE_BYTES_MAX: usize = 256 << 10;

/// How a machine fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    ok: u64,
    changed: u64,
    unreachable: u64,
    failed: u64,
}

/// A task that failed on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failed {
    task: String,
    host: String,
    msg: String,
    unreachable: bool,
}

/// What has been read so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    play: String,
    task: String,
    tasks: u64,
    hosts: BTreeMap<String, Counts>,
    failed: Vec<Failed>,
    error: Option<String>,
    in_recap: bool,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Another play or task has begun: `play › task`.
    Stage(String),
    /// Nothing that a screen needs.
    Nothing,
}

/// A name in a heading: `PLAY [name] ***`; names may hold brackets.
fn heading<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(word)?.trim_start().strip_prefix('[')?;
    let end = rest.rfind("] *").or_else(|| rest.rfind(']'))?;
    rest.get(..end)
}

/// At most that many characters, without control characters.
fn short(text: &str, most: usize) -> String {
    let mut kept: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect();
    if text.chars().nth(most).is_some() {
        kept.push('…');
    }
    kept.trim().to_owned()
}

/// A line without what colours it.
fn plain(line: &str) -> String {
    let mut end = line.len().min(LINE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let mut text = String::with_capacity(end);
    let mut chars = line.get(..end).unwrap_or_default().chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else if c != '\r' {
            text.push(c);
        }
    }
    text
}

impl Progress {
    /// Reads a line.
    pub(crate) fn line(&mut self, line: &str) -> Heard {
        let line = plain(line);
        let line = line.trim_end();
        if line.starts_with("PLAY RECAP") {
            self.in_recap = true;
        } else if let Some(name) = heading(line, "PLAY") {
            self.play = short(name, NAME_CHARS_MAX);
            self.task = String::new();
            return Heard::Stage(self.play.clone());
        } else if let Some(name) = ["TASK", "RUNNING HANDLER", "HANDLER"]
            .iter()
            .find_map(|word| heading(line, word))
        {
            self.task = short(name, NAME_CHARS_MAX);
            self.tasks = self.tasks.saturating_add(1);
            return Heard::Stage(format!("{} › {}", self.play, self.task));
        } else if self.in_recap {
            self.recap(line);
        } else if line.trim() == "...ignoring" {
            self.ignored();
        } else if let Some(text) = line.strip_prefix("ERROR! ") {
            self.error
                .get_or_insert_with(|| short(text, EXCERPT_CHARS_MAX));
        } else {
            self.result(line);
        }
        Heard::Nothing
    }

    /// Number of tasks begun.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks
    }

    fn count(&mut self, host: &str) -> Option<&mut Counts> {
        let host = short(host, NAME_CHARS_MAX);
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(&host) {
            return None;
        }
        Some(self.hosts.entry(host).or_default())
    }

    /// `ok: [host]`, `fatal: [host -> other]: FAILED! => {…}` and the like.
    fn result(&mut self, line: &str) {
        let Some((word, rest)) = line.split_once(": [") else {
            return;
        };
        let Some((host, rest)) = rest.split_once(']') else {
            return;
        };
        let host = host.split(" -> ").next().unwrap_or(host);
        // Items of a loop have a line each, and count once at most: the recap has the last word.
        match word {
            "ok" => self
                .count(host)
                .into_iter()
                .for_each(|counts| counts.ok += 1),
            "changed" => self.count(host).into_iter().for_each(|counts| {
                counts.ok += 1;
                counts.changed += 1;
            }),
            "fatal" | "failed" => self.failure_on(host, rest),
            _ => {}
        }
    }

    fn failure_on(&mut self, host: &str, rest: &str) {
        let unreachable = rest.contains("UNREACHABLE!");
        if let Some(counts) = self.count(host) {
            if unreachable {
                counts.unreachable += 1;
            } else {
                counts.failed += 1;
            }
        }
        if self.failed.len() < FAILED_MAX {
            self.failed.push(Failed {
                task: self.task.clone(),
                host: short(host, NAME_CHARS_MAX),
                msg: excerpt(rest.split_once("=> ").map_or(rest, |(_, answer)| answer)),
                unreachable,
            });
        }
    }

    /// The failures of the present task do not count.
    fn ignored(&mut self) {
        if let Some(failed) = self.failed.pop()
            && let Some(counts) = self.hosts.get_mut(&failed.host)
        {
            counts.failed = counts.failed.saturating_sub(1);
        }
    }

    /// `host : ok=1 changed=0 unreachable=0 failed=0 …`
    fn recap(&mut self, line: &str) {
        let Some((host, rest)) = line.split_once(" :") else {
            return;
        };
        let number = |key: &str| {
            let mut words = rest.split_whitespace();
            let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let counts = Counts {
            ok: number("ok").unwrap_or_default(),
            changed: number("changed").unwrap_or_default(),
            unreachable: number("unreachable").unwrap_or_default(),
            failed: number("failed").unwrap_or_default(),
        };
        if number("ok").is_some()
            && let Some(kept) = self.count(host.trim())
        {
            *kept = counts;
        }
    }

    /// One line about all machines: `3 machines, 120 ok, 41 changed`.
    pub(crate) fn note(&self) -> String {
        let sum =
            |of: fn(&Counts) -> u64| self.hosts.values().map(of).fold(0_u64, u64::saturating_add);
        format!(
            "{} machines, {} ok, {} changed",
            self.hosts.len(),
            sum(|counts| counts.ok),
            sum(|counts| counts.changed)
        )
    }
}

/// The telling part of a module's answer.
fn excerpt(answer: &str) -> String {
    let Ok(Value::Object(answer)) = serde_json::from_str::<Value>(answer.trim()) else {
        return short(answer, EXCERPT_CHARS_MAX);
    };
    let text = |key: &str| {
        let text = answer.get(key).and_then(Value::as_str).unwrap_or_default();
        text.trim()
    };
    let last = |text: &str| {
        let line = text.lines().rfind(|line| !line.trim().is_empty());
        line.unwrap_or_default().trim().to_owned()
    };
    let mut parts = vec![text("msg").to_owned()];
    for key in ["stderr", "module_stderr", "stdout"] {
        let said = last(text(key));
        if !said.is_empty() && !parts.iter().any(|part| part.contains(&said)) {
            parts.push(said);
            break;
        }
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() {
        return "the module gave no reason".to_owned();
    }
    short(&parts.join(": "), EXCERPT_CHARS_MAX)
}

#[cfg(test)]
mod tests;
