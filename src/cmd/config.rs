//! `wiab config show`: every value, and where it comes from.

use serde_json::json;

use crate::app::App;
use crate::cli::ConfigCommand;
use crate::exit::Code;
use crate::problem::Problem;
use crate::ui::printer::JSON_SCHEMA;

/// Shows the configuration.
pub(crate) fn run(app: &App, command: &ConfigCommand) -> Result<Code, Problem> {
    let ConfigCommand::Show { origin } = command;
    let config = app.config(&[])?;
    let values: Vec<_> = config
        .all()
        .map(|(path, value, origin)| {
            json!({"key": path, "value": value.json(), "origin": origin.to_string()})
        })
        .collect();
    app.printer.json(&json!({
        "type": "config",
        "schema": JSON_SCHEMA,
        "values": values,
        "steps": config.steps.len(),
    }));
    let width = config
        .all()
        .map(|(path, value, _)| path.len() + value.to_string().len())
        .max()
        .unwrap_or(0)
        .min(60)
        + 3;
    for (path, value, from) in config.all() {
        let assignment = format!("{path} = {value}");
        if *origin {
            let from = app.printer.out_style().faint(&format!("# {from}"));
            app.printer.line(&format!("{assignment:width$}  {from}"));
        } else {
            app.printer.line(&assignment);
        }
    }
    if !config.steps.is_empty() {
        app.printer.line(&format!(
            "# and {} [[step]] of {}",
            config.steps.len(),
            config.source.name
        ));
    }
    Ok(Code::Ok)
}
