//! From configuration to plan.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use wiab_engine::id::StepId;
use wiab_engine::plan::{Plan, PlanError};
use wiab_engine::select::Selection;
use wiab_plans::{CommandLine, Duration, Rotation, Settings, SiteStep, StagingError};
use wiab_steps::kind::BuildError;

use crate::cmd::select;
use crate::config::diag::Diag;
use crate::config::steps::RawStep;
use crate::config::{Config, Origin, schema};
use crate::exit::Code;
use crate::problem::Problem;

/// The whole plan that the configuration describes, checked; [`part`] answers what is wanted of it.
pub(crate) fn plan(config: &Config) -> Result<Plan, Problem> {
    of(config, &settings(config)?)
}

/// What the configuration and the command line want of the plan.
pub(crate) fn part(config: &Config, asked: &Selection) -> Result<Plan, Problem> {
    let settings = settings(config)?;
    let whole = of(config, &settings)?;
    let own = Selection {
        only: own_words(settings.plan.words(), &whole),
        ..Selection::default()
    };
    if own.is_all() {
        return select::part(asked, &whole);
    }
    let mut selection = asked.clone();
    if asked.only.is_empty() {
        selection.only = own.only;
    } else {
        // What is asked for must lie in the configured part.
        let inner = select::part(&own, &whole)?;
        select::part(asked, &inner)?;
    }
    select::part(&selection, &whole)
}

/// Which of a plan's areas the installation has: settings leave some out. Without any, the first one is missed by name.
fn own_words(words: &[&str], whole: &Plan) -> Vec<String> {
    let there = words.iter().filter(|word| Selection::knows(whole, word));
    let there: Vec<String> = there.map(|word| (*word).to_owned()).collect();
    if there.is_empty() {
        return words.iter().map(|word| (*word).to_owned()).collect();
    }
    there
}

/// The plan that gives secrets new values.
pub(crate) fn rotation(config: &Config, rotation: Rotation) -> Result<Plan, Problem> {
    let settings = Settings {
        rotation: Some(rotation),
        ..settings(config)?
    };
    let words = Rotation::WORDS.iter();
    let selection = Selection {
        only: words.map(|word| (*word).to_owned()).collect(),
        ..Selection::default()
    };
    select::part(&selection, &of(config, &settings)?)
}

fn of(config: &Config, settings: &Settings) -> Result<Plan, Problem> {
    let mut plan = wiab_plans::wiab_staging(settings).map_err(|error| match error {
        StagingError::Settings(problems) => unfit(config, &problems),
        StagingError::Build(error) => wrong(config, &error),
    })?;
    let summaries: BTreeMap<&StepId, &String> = config
        .steps
        .iter()
        .filter_map(|step| Some((&step.id, step.summary.as_ref()?)))
        .collect();
    for spec in &mut plan.steps {
        if let Some(summary) = summaries.get(&spec.id) {
            spec.summary.clone_from(summary);
        }
    }
    Ok(plan)
}

/// Where the installation's secrets lie on the machine.
pub(crate) fn sealed_path(config: &Config) -> Result<String, Problem> {
    Ok(settings(config)?.sealed_path())
}

fn settings(config: &Config) -> Result<Settings, Problem> {
    let mut document = Map::new();
    for (path, value, _) in config.all() {
        let Some(key) = schema::find(path).filter(|key| !key.setting.is_empty()) else {
            continue;
        };
        put(&mut document, &key.setting_of(path), value.json());
    }
    let mut settings: Settings =
        serde_json::from_value(Value::Object(document)).map_err(|error| {
            Problem::from_error(Code::BadConfig, "the configuration does not fit", &error)
        })?;
    settings.overlays.clone_from(&config.overlays);
    settings.steps = config.steps.iter().map(site_step).collect();
    Ok(settings)
}

fn put(document: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(document.insert(path.to_owned(), value)),
        Some((head, rest)) => {
            let inner = document
                .entry(head)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

fn site_step(step: &RawStep) -> SiteStep {
    let line = |argv: &Vec<String>| CommandLine::Argv(argv.clone());
    SiteStep {
        id: step.id.to_string(),
        after: step.after.iter().map(|(id, _)| id.to_string()).collect(),
        run: line(&step.run),
        probe: step.probe.as_ref().map(line),
        undo: step.undo.as_ref().map(line),
        timeout: step.timeout_ms.map(|ms| Duration::Text(format!("{ms}ms"))),
        root: step.root,
        idempotent: step.idempotent,
        lanes: step.lanes.clone(),
    }
}

/// Values that are well-formed but make no plan: all at once, each at its place.
fn unfit(config: &Config, problems: &[wiab_plans::Problem]) -> Problem {
    let mut diags = Vec::new();
    let mut others = Vec::new();
    for problem in problems {
        let set = config.all().find(|(path, ..)| {
            schema::find(path).is_some_and(|key| key.setting_of(path) == problem.key)
        });
        let step = problem
            .key
            .strip_prefix("step[")
            .and_then(|rest| rest.split(']').next()?.parse::<usize>().ok())
            .and_then(|at| config.steps.get(at));
        match (set, step) {
            (Some((path, _, Origin::File(name, _, span))), _) if *name == config.source.name => {
                let cause = format!("`{path}`: {}", problem.what);
                diags.push(Diag::new(span.clone(), cause, &*problem.remedy));
            }
            (Some((path, _, origin)), _) => others.push(format!(
                "`{path}` ({origin}): {}; {}",
                problem.what, problem.remedy
            )),
            (None, Some(step)) => diags.push(Diag::new(
                step.id_span.clone(),
                problem.what.clone(),
                &*problem.remedy,
            )),
            (None, None) => others.push(problem.to_string()),
        }
    }
    if diags.is_empty() {
        let mut others = others.into_iter();
        let cause = others.next().unwrap_or_default();
        return Problem::new(Code::BadConfig, cause)
            .detail(others.map(|other| format!("error: {other}")))
            .hint("wiab config show --origin   says where each value comes from");
    }
    config
        .source
        .problem(Code::BadConfig, diags)
        .detail(others.into_iter().map(|other| format!("error: {other}")))
}

/// A plan error, at its place in the file where a site-specific step is the cause.
fn wrong(config: &Config, error: &BuildError) -> Problem {
    let plain = || Problem::from_error(Code::BadPlan, "the plan is wrong", error);
    let BuildError::Plan(error) = error else {
        return plain();
    };
    let find = |id: &StepId| config.steps.iter().find(|step| step.id == *id);
    let diag = match error {
        PlanError::Duplicate { id } => find(id).map(|step| {
            Diag::new(
                step.id_span.clone(),
                format!("the plan has a step `{id}` already"),
                "give this one another id",
            )
        }),
        PlanError::Dangling {
            step,
            missing,
            near,
        } => find(step).and_then(|step| {
            let (_, span) = step.after.iter().find(|(id, _)| id == missing)?;
            let remedy = near.as_ref().map_or_else(
                || "`wiab graph` lists the steps that can be named".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Some(Diag::new(
                span.clone(),
                format!(
                    "step `{}` comes after `{missing}`, which is not in the plan",
                    step.id
                ),
                remedy,
            ))
        }),
        PlanError::Cycle { cycle } => cycle.iter().find_map(find).map(|step| {
            let names: Vec<&str> = cycle.iter().map(StepId::as_str).collect();
            Diag::new(
                step.id_span.clone(),
                format!("these steps wait for each other: {}", names.join(" → ")),
                "remove one of them from an `after`",
            )
        }),
        PlanError::TooMany { .. } => None,
    };
    diag.map_or_else(plain, |diag| {
        config.source.problem(Code::BadPlan, vec![diag])
    })
}
