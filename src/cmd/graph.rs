//! `wiab graph`: the plan as a picture, by itself or coloured by a run.

use wiab_engine::plan::Plan;
use wiab_engine::state::RunState;

use crate::app::App;
use crate::cli::{GraphArgs, GraphForm};
use crate::exit::Code;
use crate::problem::Problem;
use crate::screen::graph;
use crate::setup;
use crate::store::Store;

/// Draws it.
pub(crate) fn run(app: &App, args: &GraphArgs) -> Result<Code, Problem> {
    let config = app.config(&[])?;
    match &args.state {
        None => draw(
            app,
            &setup::part(&config, &args.select.selection())?,
            None,
            args.form,
        ),
        Some(run) => {
            args.select.refuse_with("--state")?;
            let store = Store::must_open(app, &app.dirs(&config)?)?;
            let state = &store.find(app, run)?.state;
            draw(app, state.plan(), Some(state), args.form);
        }
    }
    Ok(Code::Ok)
}

fn draw(app: &App, plan: &Plan, state: Option<&RunState>, form: GraphForm) {
    let lines = match form {
        GraphForm::Dot => graph::dot(plan, state),
        GraphForm::Mermaid => graph::mermaid(plan, state),
        GraphForm::Ascii => graph::ascii(app.printer.out_style(), plan, state),
    };
    if app.printer.wants_json() {
        app.printer.json(&serde_json::json!({
            "type": "graph",
            "schema": crate::ui::printer::JSON_SCHEMA,
            "steps": plan.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(),
            "edges": wiab_engine::graph::reduced_edges(plan),
        }));
    }
    app.printer.lines(&lines);
}
