//! `wiab doctor`: the checks before an installation alone; changes nothing.

use wiab_engine::plan::Plan;
use wiab_engine::select::Selection;
use wiab_engine::survey::Survey;
use wiab_plans::PREFLIGHT;

use crate::app::App;
use crate::exit::Code;
use crate::machine::Machine;
use crate::problem::Problem;
use crate::screen::doctor::Findings;
use crate::setup;
use crate::store::Store;

/// Looks, and tells everything that it found.
pub(crate) fn run(app: &App) -> Result<Code, Problem> {
    let config = app.config(&[])?;
    let dirs = app.dirs(&config)?;
    // What earlier runs owe is told; a journal that cannot be read is no matter of this command.
    drop(Store::open(app, &dirs));
    let checks = Selection {
        only: vec![PREFLIGHT.to_owned()],
        ..Selection::default()
    };
    let plan = checks.apply(&setup::plan(&config)?).map_err(|_| {
        Problem::new(Code::BadPlan, "this plan has no checks")
            .hint("plan = \"wiab-staging\" in wiab.toml has")
    })?;
    let machine = Machine::open(app, &config, &dirs)?;
    let survey = machine.look(&plan)?;
    let findings = Findings::of(&plan, &survey);
    app.printer.json(&findings.json());
    app.printer.lines(&findings.lines(app.printer.out_style()));
    if findings.errors() > 0 {
        app.printer.note(&format!(
            "Next:  mend what is marked, then  wiab doctor{}",
            app.suffix()
        ));
        return Ok(Code::Preflight);
    }
    app.printer
        .note(&format!("Next:  wiab plan{}", app.suffix()));
    Ok(Code::Ok)
}

/// Refuses a plan that the machine cannot take, before anything is changed.
pub(crate) fn refuse(app: &App, plan: &Plan, survey: &Survey) -> Result<(), Problem> {
    let findings = Findings::of(plan, survey);
    if findings.errors() == 0 {
        return Ok(());
    }
    let suffix = app.suffix();
    Err(
        Problem::new(Code::Preflight, "the machine cannot take this plan")
            .detail(findings.refusal())
            .hint(format!(
                "wiab doctor{suffix}   looks again; nothing was changed"
            )),
    )
}
