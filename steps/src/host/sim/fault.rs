//! Faults on demand: which operation fails, and how.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::hooks::Phase;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The command does nothing and exits with this code and standard error. A file operation fails with that text.
    Fail {
        /// Exit code.
        code: i32,
        /// Standard error.
        stderr: String,
    },
    /// It never ends by itself.
    Hang,
    /// The host cannot be reached; nothing happens.
    LostBefore,
    /// The effect happens, then the connection breaks.
    LostAfter,
    /// It is killed half-way: a part of its effect stays, and it exits with 137.
    Half,
    /// The file system is full: a part of the effect stays and the command fails with the system's text.
    DiskFull,
    /// It takes longer by this many milliseconds.
    Slow {
        /// Additional time.
        ms: u64,
    },
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Glob (`*`, `?`) over the operation: the command's words joined by blanks, or `file-read PATH`, `file-write PATH`,
    /// `file-stat PATH`, `file-remove PATH`. A detached job matches by its command.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The first matching operation that is hit, from 1.
    #[serde(default = "first")]
    pub occurrence: u64,
    /// How many in a row are hit; `None` is all from there on.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// What goes wrong.
    #[serde(rename = "do")]
    pub action: Action,
}

fn first() -> u64 {
    1
}

// The shape that serde's `default` wants for this field.
#[expect(clippy::unnecessary_wraps, reason = "default of an optional field")]
fn once() -> Option<u64> {
    Some(1)
}

impl Fault {
    /// Hits the first operation that matches.
    pub fn once(pattern: &str, action: Action) -> Self {
        Self::nth(pattern, 1, action)
    }

    /// Hits the operation that matches for the `occurrence`-th time.
    pub fn nth(pattern: &str, occurrence: u64, action: Action) -> Self {
        Self {
            pattern: pattern.to_owned(),
            occurrence,
            times: Some(1),
            action,
        }
    }

    /// Hits every operation that matches.
    pub fn always(pattern: &str, action: Action) -> Self {
        Self {
            times: None,
            ..Self::nth(pattern, 1, action)
        }
    }
}

/// `faults.json` in the machine's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The faults; the first that matches wins.
    pub faults: Vec<Fault>,
    /// Kills the whole process with SIGKILL: at the operation of this number when `phase` is given, else at the point of
    /// this index.
    pub kill_at: Option<u64>,
    /// Where in the operation. An operation without that phase is killed at its next one.
    pub phase: Option<Phase>,
}

/// Faults with their counters.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    faults: Mutex<(Vec<Fault>, BTreeMap<usize, u64>)>,
}

impl Armed {
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self {
            faults: Mutex::new((faults, BTreeMap::new())),
        }
    }

    /// Adds a fault.
    pub(crate) fn arm(&self, fault: Fault) {
        let mut guard = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0.push(fault);
    }

    /// Forgets all faults.
    pub(crate) fn clear(&self) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = (Vec::new(), BTreeMap::new());
    }

    /// The fault that hits this operation, if any; counts it.
    pub(crate) fn hit(&self, what: impl FnOnce() -> String) -> Option<Action> {
        let mut guard = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (faults, counts) = &mut *guard;
        if faults.is_empty() {
            return None;
        }
        let what = what();
        let mut hit = None;
        for (index, fault) in faults.iter().enumerate() {
            if !glob(&fault.pattern, &what) {
                continue;
            }
            let count = counts.entry(index).or_default();
            *count += 1;
            let end = fault
                .times
                .map_or(u64::MAX, |times| fault.occurrence.saturating_add(times));
            if *count >= fault.occurrence && *count < end && hit.is_none() {
                hit = Some(fault.action.clone());
            }
        }
        hit
    }
}

/// Whether `text` matches a pattern of `*` and `?`.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("apt-get install*", "apt-get install -y curl", true),
            ("*curl", "apt-get install -y curl", true),
            ("virsh ?et-start *", "virsh net-start wirebox", true),
            ("virsh", "virsh list", false),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} / {text}");
        }
    }

    #[test]
    fn occurrences_are_counted() {
        let armed = Armed::new(vec![Fault::nth("touch *", 2, Action::Hang)]);
        let hits: Vec<bool> = (0..4)
            .map(|_| armed.hit(|| "touch x".to_owned()).is_some())
            .collect();
        assert_eq!(hits, [false, true, false, false]);
    }

    #[test]
    fn the_file_format() {
        let faults: Faults = serde_json::from_str(
            r#"{"faults":[{"match":"curl*","do":{"fail":{"code":22,"stderr":"403"}}},{"match":"true","occurrence":3,"times":null,"do":"hang"}],"kill_at":4,"phase":"halfway"}"#,
        )
        .unwrap();
        assert_eq!(faults.faults.len(), 2);
        assert_eq!(faults.phase, Some(Phase::Halfway));
        assert!(serde_json::from_str::<Faults>(r#"{"kil_at":1}"#).is_err());
    }
}
