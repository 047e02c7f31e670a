//! The controller's log: which lines complain, about which name, and what they mean. Bounded, however long the log is.

use super::cause::Cause;
use super::classify::classify;

/// Most different complaints that are kept.
const HEARD_MAX: usize = 48;
/// Most bytes of a line that are kept.
const SAMPLE_BYTES_MAX: usize = 600;

/// A complaint of the log, as often as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What it means; `None` if that is not known.
    pub cause: Option<Cause>,
    /// The domain name that it is about; empty if it is about none.
    pub name: String,
    /// The line that was heard last.
    pub line: String,
    /// How often.
    pub count: u64,
}

/// Reads a log, line by line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogScan {
    /// What was heard, in the order of its first occurrence.
    pub heard: Vec<Heard>,
    /// Lines in all.
    pub lines: u64,
    /// Complaints that found no room.
    pub dropped: u64,
}

/// What complains, and does not mean anything: two controllers wrote at once, and one of them tries again.
const NOISE: [&str; 3] = [
    "the object has been modified",
    "Operation cannot be fulfilled",
    "leader election",
];

/// Whether a line complains: klog marks it by its first letter, JSON lines by their level or an error.
fn complains(line: &str) -> bool {
    let marked =
        line.starts_with(['E', 'W', 'F']) && line.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    let loud = marked
        || line.contains("err=")
        || line.contains("\"error\"")
        || line.contains("\"err\"")
        || line.contains("Backing off")
        || line.contains("failed");
    loud && !NOISE.iter().any(|noise| line.contains(noise))
}

/// The value that follows a key: `dnsName="a"`, `"dnsName"="a"`, `"dnsName":"a"`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(key)?;
    let rest = rest.trim_start_matches(['"', '=', ':', ' ']);
    let end = rest.find(['"', ' ', ',']).unwrap_or(rest.len());
    rest.get(..end).filter(|value| !value.is_empty())
}

/// The domain name that a line is about.
fn name(line: &str) -> &str {
    value(line, "dnsName")
        .or_else(|| {
            let (before, _) = line.split_once("/.well-known/acme-challenge/")?;
            before.rsplit_once("://").map(|(_, host)| host)
        })
        .filter(|name| name.contains('.') && name.len() <= 253)
        .unwrap_or_default()
}

fn sample(line: &str) -> String {
    let mut end = line.len().min(SAMPLE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or_default().to_owned()
}

impl LogScan {
    /// Reads a whole log.
    pub fn of(text: &str) -> Self {
        let mut scan = Self::default();
        text.lines().for_each(|line| scan.line(line));
        scan
    }

    /// Takes the next line.
    pub fn line(&mut self, line: &str) {
        self.lines += 1;
        let line = line.trim();
        if !complains(line) {
            return;
        }
        let (cause, name) = (classify(line).map(|found| found.cause()), name(line));
        let room = self.heard.len() < HEARD_MAX;
        let known = self
            .heard
            .iter_mut()
            .find(|heard| heard.cause == cause && heard.name == name);
        match known {
            Some(heard) => {
                heard.count += 1;
                heard.line = sample(line);
            }
            None if room => self.heard.push(Heard {
                cause,
                name: sample(name),
                line: sample(line),
                count: 1,
            }),
            None => self.dropped += 1,
        }
    }

    /// The complaints as text: how often, and the last line of each.
    pub fn text(&self) -> String {
        let lines = self
            .heard
            .iter()
            .map(|heard| format!("{}x {}\n", heard.count, heard.line));
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_every_form() {
        for line in [
            "E0101 00:00:00.000000 1 sync.go:208] \"propagation check failed\" err=\"EOF\" dnsName=\"a.example.org\" type=\"HTTP-01\"",
            "E0101 00:00:00.000000 1 sync.go:190] cert-manager/challenges \"msg\"=\"propagation check failed\" \"error\"=\"EOF\" \"dnsName\"=\"a.example.org\"",
            "{\"ts\":1,\"msg\":\"propagation check failed\",\"err\":\"EOF\",\"dnsName\":\"a.example.org\"}",
            "E0101 00:00:00.000000 1 c.go:1] failed to perform self check GET request 'http://a.example.org/.well-known/acme-challenge/t': EOF",
        ] {
            assert_eq!(name(line), "a.example.org", "{line}");
        }
        assert_eq!(name("dnsName=\"\" x"), "");
    }

    #[test]
    fn only_complaints_are_kept_and_the_same_one_once() {
        let mut log = String::new();
        for at in 0..200 {
            log.push_str("I0101 00:00:00.000000 1 controller.go:1] syncing\n");
            let line = format!(
                "E0101 00:00:{at:02}.000000 1 sync.go:208] \"propagation check failed\" err=\"wrong status code '404', expected '200'\" dnsName=\"n{}.example.org\"\n",
                at % 100
            );
            log.push_str(&line);
        }
        log.push_str("E0101 00:00:00.000000 1 c.go:1] Operation cannot be fulfilled on orders: the object has been modified\n");
        let scan = LogScan::of(&log);
        assert_eq!((scan.lines, scan.heard.len()), (401, HEARD_MAX));
        assert!(
            scan.heard
                .iter()
                .all(|heard| heard.cause == Some(Cause::NotFound) && heard.count == 2)
        );
        assert_eq!(scan.dropped, 2 * (100 - HEARD_MAX as u64));
        assert!(scan.text().starts_with("2x E0101"));
    }
}
