//! `wiab certs`: the certificates on the host, when they are renewed, and whether that would work; changes nothing.

use std::sync::Arc;

use serde_json::Value;
use wiab_engine::id::{RunId, StepId};
use wiab_engine::inputs;
use wiab_engine::outcome::Probe;
use wiab_engine::plan::{Plan, StepSpec};
use wiab_engine::ports::StepCx;
use wiab_engine::select::Selection;
use wiab_engine::survey::{Finding, Survey};
use wiab_steps::kind::Kind;
use wiab_steps::kinds::certs::cert_ready::CertReady;
use wiab_steps::kinds::certs::renewal::outlook;

use crate::app::App;
use crate::cli::CertsArgs;
use crate::exit::Code;
use crate::machine::Machine;
use crate::problem::Problem;
use crate::screen::certs as screen;
use crate::store::Store;
use crate::{drive, setup};

/// Widest line, in characters, when nothing says otherwise.
const WIDTH: usize = 100;

/// Looks, and shows what it found.
pub(crate) fn run(app: &App, args: &CertsArgs) -> Result<Code, Problem> {
    let config = app.config(&[])?;
    let dirs = app.dirs(&config)?;
    // What earlier runs owe is told; a journal that cannot be read is no matter of this command.
    drop(Store::open(app, &dirs));
    let part = part(&setup::plan(&config)?)?;
    let machine = Machine::open(app, &config, &dirs)?;
    let runtime = drive::runtime()?;
    let survey = runtime.block_on(machine.surveyor(None).survey(&part));
    let Some(wanted) = wanted(&part, &survey)? else {
        let suffix = app.suffix();
        return Err(Problem::new(
            Code::Failure,
            "there is no cluster on this machine yet that could have certificates",
        )
        .hint(format!("wiab apply{suffix}   installs it")));
    };
    let cx = looking(&machine)?;
    let busy = machine.clock.busy();
    let found = runtime.block_on(outlook(&wanted, machine.host.as_ref(), &cx));
    drop(busy);
    let found = found.map_err(|failure| {
        let problem = Problem::new(Code::Failure, failure.why);
        match failure.hint {
            Some(hint) => problem.hint(hint),
            None => problem.hint(format!("wiab plan{}   says what is missing", app.suffix())),
        }
    })?;
    let policy = screen::Policy {
        policy: config.text("hairpin.policy"),
        after: config.text("hairpin.after"),
    };
    app.printer.json(&screen::json(&found, policy));
    let width = app.width_if_known().unwrap_or(WIDTH);
    app.printer.lines(&screen::lines(
        app.printer.out_style(),
        &found,
        policy,
        width,
    ));
    Ok(if args.exit_code && !found.is_well() {
        Code::Failure
    } else {
        Code::Ok
    })
}

/// The steps that wait for certificates, without what only a run needs, and the steps whose outputs they use.
fn part(plan: &Plan) -> Result<Plan, Problem> {
    let mut plan = plan.clone();
    let mut only = Vec::new();
    for spec in plan
        .steps
        .iter_mut()
        .filter(|spec| spec.kind == CertReady::NAME)
    {
        only.push(spec.id.to_string());
        let document = serde_json::from_str(&spec.inputs);
        if let Ok(Value::Object(mut document)) = document {
            document.remove("way");
            document.remove("cures");
            spec.inputs = Value::Object(document).to_string();
        }
    }
    let none = || {
        Problem::new(Code::Failure, "the plan asks for no certificates")
            .hint("plan = \"wiab-staging\" with the chart nginx-ingress-services does")
    };
    if only.is_empty() {
        return Err(none());
    }
    let selection = Selection {
        only,
        ..Selection::default()
    };
    selection.apply(&plan).map_err(|_| none())
}

/// The steps with all that they need to know; `None` while something of it is not there.
fn wanted(part: &Plan, survey: &Survey) -> Result<Option<Vec<CertReady>>, Problem> {
    let lookup = |from: &StepId, name: &str| match survey.findings.get(from) {
        Some(Finding::Seen(Probe::Satisfied(receipt))) => receipt.outputs.get(name).cloned(),
        _ => None,
    };
    let mut wanted = Vec::new();
    for spec in part
        .steps
        .iter()
        .filter(|spec| spec.kind == CertReady::NAME)
    {
        let Ok(inputs) = inputs::resolve(spec, &lookup) else {
            return Ok(None);
        };
        wanted.push(step(spec, inputs)?);
    }
    Ok(Some(wanted))
}

fn step(spec: &StepSpec, inputs: Value) -> Result<CertReady, Problem> {
    serde_json::from_value(inputs).map_err(|error| {
        Problem::from_error(
            Code::Bug,
            &format!("step {} cannot be read", spec.id),
            &error,
        )
    })
}

/// What a look may use that belongs to no run.
fn looking(machine: &Machine) -> Result<StepCx, Problem> {
    let step = StepId::new("certs")
        .map_err(|error| Problem::from_error(Code::Bug, "a constant id", &error))?;
    Ok(StepCx::new(
        RunId([0; 16]),
        step,
        Arc::clone(&machine.clock),
    ))
}
