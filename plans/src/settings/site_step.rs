//! The section `[[step]]`: a command of this site.

use serde::{Deserialize, Serialize};

/// `[[step]]`: a command of this site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteStep {
    /// Its id: `site.backup`.
    pub id: String,
    /// Ids of the steps that it comes after.
    #[serde(default)]
    pub after: Vec<String>,
    /// What is run.
    pub run: CommandLine,
    /// Exit code 0 says that nothing is to be done.
    #[serde(default)]
    pub probe: Option<CommandLine>,
    /// Takes the effect back.
    #[serde(default)]
    pub undo: Option<CommandLine>,
    /// Longest duration; ten minutes without it.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Whether the commands need root.
    #[serde(default)]
    pub root: bool,
    /// Whether an interrupted command may simply be run again.
    #[serde(default)]
    pub idempotent: bool,
    /// Resources that it shares with other steps.
    #[serde(default)]
    pub lanes: Vec<String>,
}

/// A command: a list is run as it stands, a text by `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CommandLine {
    /// Program and arguments.
    Argv(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

impl CommandLine {
    /// Program and arguments.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Argv(argv) => argv.clone(),
            Self::Shell(line) => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
        }
    }
}

/// A duration: a number of seconds, or a text such as `90s`, `10m`, `2h`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Duration {
    /// Seconds.
    Seconds(u64),
    /// A number and a unit.
    Text(String),
}

impl Duration {
    /// In milliseconds; `None` when the text is not a duration, or it is zero or above a week.
    pub fn ms(&self) -> Option<u64> {
        let (number, unit_ms) = match self {
            Self::Seconds(seconds) => (*seconds, 1_000),
            Self::Text(text) => {
                let at = text.find(|c: char| !c.is_ascii_digit())?;
                let (number, unit) = text.split_at_checked(at)?;
                let unit_ms = match unit.trim() {
                    "ms" => 1,
                    "s" => 1_000,
                    "m" | "min" => 60_000,
                    "h" => 3_600_000,
                    _ => return None,
                };
                (number.parse().ok()?, unit_ms)
            }
        };
        let ms = number.checked_mul(unit_ms)?;
        (1..=7 * 24 * 3_600_000).contains(&ms).then_some(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_bound() {
        let text = |text: &str| Duration::Text(text.to_owned()).ms();
        assert_eq!(Duration::Seconds(90).ms(), Some(90_000));
        assert_eq!(text("90s"), Some(90_000));
        assert_eq!(text("10m"), Some(600_000));
        assert_eq!(text("250ms"), Some(250));
        for bad in ["", "10", "m", "10 parsecs", "0s", "999999999999h", "-1s"] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }
}
