//! What is owed on this host: told by every command, until it is settled.

use serde_json::{Value, json};
use wiab_engine::installation::{Installation, OpenObligation};

use crate::app::App;
use crate::screen::owed;
use crate::ui::time;

/// Tells what is open, a line each, beside the result; and remembers it for the command's JSON.
pub(crate) fn tell(app: &App, runs: &Installation) {
    if remember(app, runs) {
        for open in runs.owed() {
            app.printer
                .important(&owed::line(app.printer.err_style(), open));
        }
    }
}

/// Only remembers it for the command's JSON. Answers whether it is news in this command.
pub(crate) fn remember(app: &App, runs: &Installation) -> bool {
    let open: Vec<Value> = runs.owed().map(as_json).collect();
    app.printer.owed(open)
}

fn as_json(open: &OpenObligation) -> Value {
    json!({
        "id": open.owed.id,
        "what": open.owed.what,
        "settle": open.owed.settle,
        "step": open.owed.step.as_str(),
        "run": open.run.display(),
        "since": time::rfc3339(open.since_ms),
    })
}
