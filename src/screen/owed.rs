//! What is owed on the host, as one line, and with how it is settled.

use wiab_engine::installation::{Installation, OpenObligation};

use crate::ui::style::{Mark, Style, harmless};
use crate::ui::time;

/// One line beside any result.
pub(crate) fn line(style: Style, open: &OpenObligation) -> String {
    format!(
        "{} {} (by {} of run {}, {}); `wiab status` says how to settle it",
        style.marked(Mark::Parked, "owed:"),
        harmless(&open.owed.what),
        open.owed.step,
        open.run.short(),
        time::date(open.since_ms),
    )
}

/// Everything that is owed, with how it is settled; empty when nothing is.
pub(crate) fn list(style: Style, runs: &Installation) -> Vec<String> {
    let mut lines = Vec::new();
    for open in runs.owed() {
        let title = format!("owed: {}", harmless(&open.owed.what));
        lines.push(format!(
            "{} {}",
            style.glyph(Mark::Parked),
            style.bold(&title)
        ));
        lines.push(format!("    id       {}", harmless(&open.owed.id)));
        lines.push(format!(
            "    since    {}, by {} of run {}",
            time::date(open.since_ms),
            open.owed.step,
            open.run.short()
        ));
        lines.push(format!("    settle   {}", harmless(&open.owed.settle)));
    }
    lines
}
