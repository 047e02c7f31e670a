//! What the lab tells its user: one line per thing that happens, on standard error.

use std::io::Write as _;

use crate::sys::Watch;

/// Says one line.
pub(crate) fn say(line: &str) {
    // Nobody left to read it is no reason to stop.
    let _ = writeln!(std::io::stderr().lock(), "lab: {line}");
}

/// Says that something was done and how long it took.
pub(crate) fn took(what: &str, watch: Watch) {
    say(&format!("{what} ({:.1} s)", watch.secs()));
}
