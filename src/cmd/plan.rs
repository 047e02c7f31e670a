//! `wiab plan`: what would be done; changes nothing.

use wiab_engine::id::StepId;
use wiab_engine::plan::Plan;
use wiab_engine::survey::Survey;

use crate::app::App;
use crate::cli::PlanArgs;
use crate::config::Config;
use crate::exit::Code;
use crate::machine::Machine;
use crate::problem::Problem;
use crate::saved::SavedPlan;
use crate::screen::diff as diff_screen;
use crate::screen::journal::History;
use crate::screen::plan as screen_plan;
use crate::setup;
use crate::store::Store;
use crate::ui::printer::Level;

/// Shows the plan.
pub(crate) fn run(app: &App, args: &PlanArgs) -> Result<Code, Problem> {
    let config = app.config(&[])?;
    let plan = setup::part(&config, &args.select.selection())?;
    let diff = args
        .diff
        .as_deref()
        .map(|text| find_step(&plan, text))
        .transpose()?;
    let (survey, history) = look(app, &config, &plan)?;
    if let Some(step) = diff.and_then(|id| plan.step(&id)) {
        let finding = survey.findings.get(&step.id);
        app.printer
            .lines(&diff_screen::diff(app.printer.out_style(), step, finding));
        app.printer.json(&serde_json::json!({
            "type": "diff", "schema": crate::ui::printer::JSON_SCHEMA, "step": step.id, "finding": finding,
        }));
        return Ok(Code::Ok);
    }
    let host = config.machine();
    let changes = show(app, &plan, &survey, &host, &history, false);
    if let Some(out) = &args.out {
        if let Some(problem) = super::select::unready(app, &plan, &survey) {
            return Err(problem);
        }
        SavedPlan::new(config.text("name"), &host, plan, survey).write(out)?;
        app.printer.note(&format!(
            "Saved to {file}.  To do exactly this:  wiab apply {file}{}",
            app.suffix(),
            file = out.display()
        ));
    } else if let Some(problem) = super::select::unready(app, &plan, &survey) {
        app.printer.warn(&problem.cause);
        for remedy in &problem.remedy {
            app.printer.note(remedy);
        }
    } else if changes {
        app.printer
            .note(&format!("Next:  wiab apply{}", app.suffix()));
    } else {
        app.printer.note("Nothing to do: everything is as wanted.");
    }
    Ok(if args.exit_code && changes {
        Code::Changes
    } else {
        Code::Ok
    })
}

/// Shows a plan that another command has made.
pub(crate) fn only_show(app: &App, config: &Config, plan: &Plan) -> Result<Code, Problem> {
    let (survey, history) = look(app, config, plan)?;
    show(app, plan, &survey, &config.machine(), &history, false);
    match super::select::unready(app, plan, &survey) {
        Some(problem) => Err(problem),
        None => Ok(Code::Ok),
    }
}

/// What the host and earlier runs say about a plan.
fn look(app: &App, config: &Config, plan: &Plan) -> Result<(Survey, History), Problem> {
    let dirs = app.dirs(config)?;
    let machine = Machine::open(app, config, &dirs)?;
    // The reader holds the journal's lock; it goes away before the host is looked at.
    let history = Store::open(app, &dirs)?
        .map(|store| History::of(plan, &store.own))
        .unwrap_or_default();
    let survey = machine.look(plan)?;
    Ok((survey, history))
}

/// Prints the plan screen, when `quiet` only its JSON; answers whether anything would be done.
pub(crate) fn show(
    app: &App,
    plan: &Plan,
    survey: &Survey,
    host: &str,
    history: &History,
    quiet: bool,
) -> bool {
    let view = screen_plan::PlanView {
        plan,
        survey,
        host,
        usual_ms: &history.usual_ms,
        ours: &history.ours,
        all: app.printer.level() >= Level::Verbose,
        width: app.width_if_known(),
    };
    if app.printer.wants_json() {
        app.printer.json(&screen_plan::json(&view));
    }
    if !quiet {
        app.printer
            .lines(&screen_plan::lines(app.printer.out_style(), &view));
    }
    view.counts().any()
}

fn find_step(plan: &Plan, text: &str) -> Result<StepId, Problem> {
    let known = StepId::new(text).ok().filter(|id| plan.step(id).is_some());
    known.ok_or_else(|| {
        let ids = plan.steps.iter().map(|step| step.id.as_str());
        let hint = wiab_engine::text::nearest(text, ids).map_or_else(
            || "`wiab graph` lists the steps".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Problem::new(Code::Usage, format!("the plan has no step `{text}`")).hint(hint)
    })
}
