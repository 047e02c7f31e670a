//! `wiab rollback`: takes back a run, a part of it, or all runs of the installation.

use std::collections::BTreeMap;

use wiab_engine::event::{Cause, Event, RunResumed, UnwindBegan};
use wiab_engine::id::StepId;
use wiab_engine::installation::{Fate, Installation, Run, preview};
use wiab_engine::outcome::Outcome;
use wiab_engine::runner::Runner;
use wiab_engine::state::{Direction, StepState};
use wiab_journal::Journal;

use crate::app::App;
use crate::cli::RollbackArgs;
use crate::config::Config;
use crate::dirs::Dirs;
use crate::drive::{self, Drive};
use crate::exit::Code;
use crate::machine::Machine;
use crate::problem::Problem;
use crate::screen::rollback as screen;
use crate::store::{self, Store};

/// Rolls back.
pub(crate) fn run(app: &App, args: &RollbackArgs) -> Result<Code, Problem> {
    let config = app.config(&[])?;
    let dirs = app.dirs(&config)?;
    if args.plan {
        let store = Store::must_open(app, &dirs)?;
        let targets = targets(app, &store.own, args)?;
        if is_done(&targets, args) {
            return Ok(already(app, &targets));
        }
        show(app, &targets, true, args)?;
        app.printer.note(&format!(
            "Next:  wiab rollback{}{}",
            wanted(args),
            app.suffix()
        ));
        return Ok(Code::Ok);
    }
    let (journal, runs) = super::open_existing(app, &dirs)?.ok_or_else(|| store::no_runs(app))?;
    let targets = targets(app, &runs, args)?;
    app.printer.json_version();
    if is_done(&targets, args) {
        let code = already(app, &targets);
        app.printer.json_exit(code);
        return Ok(code);
    }
    let losing = show(app, &targets, false, args)?;
    if args.wipe_data && losing > 0 {
        let host = &config.machine();
        let what = format!("{losing} of these undos lose data");
        app.prompt(args.yes, args.confirm.as_deref())
            .typed(&app.printer, host, &what)?;
    } else if !app
        .prompt(args.yes, None)
        .yes(&app.printer, "Take this back?")?
    {
        app.printer.important("Nothing was changed.");
        return Ok(Code::Ok);
    }
    let runtime = drive::runtime()?;
    let code = runtime.block_on(all(app, &config, &dirs, (&journal, &runs), &targets, args))?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    journal
        .close()
        .map_err(|error| store::problem(&error, &app.suffix()))?;
    app.printer.json_exit(code);
    Ok(code)
}

fn wanted(args: &RollbackArgs) -> String {
    let mut text = String::new();
    if let Some(run) = &args.run {
        text.extend([" ", run]);
    }
    if args.all {
        text.push_str(" --all");
    }
    if let Some(step) = &args.to {
        text.extend([" --to ", step]);
    }
    if args.wipe_data {
        text.push_str(" --wipe-data");
    }
    text
}

/// A run to take back, and the step to keep.
struct Target<'a> {
    run: &'a Run,
    keep_to: Option<StepId>,
}

/// Whether anything of a run stands, effects that an earlier rollback left included.
fn has_something(run: &Run) -> bool {
    run.state.has_standing()
        || run
            .state
            .steps()
            .any(|(_, record)| matches!(record.state, StepState::Left { .. }))
}

/// Whether a rollback of the run was begun and not brought to its end.
fn is_underway(run: &Run) -> bool {
    matches!(run.state.direction, Direction::Unwinding { .. }) && run.state.is_resumable()
}

/// Whether every run was taken back already, as far as it is asked for now: trying again after a crash must succeed.
fn is_done(targets: &[Target<'_>], args: &RollbackArgs) -> bool {
    targets.iter().all(|target| {
        target.run.state.ended == Some(Outcome::RolledBack)
            && !preview(&target.run.state, target.keep_to.as_ref())
                .iter()
                .any(|line| match line.fate {
                    Fate::Undo => true,
                    Fate::UndoLosesData => args.wipe_data,
                    Fate::CannotUndo | Fate::Skipped | Fate::Adopted | Fate::Nothing => false,
                })
    })
}

fn already(app: &App, targets: &[Target<'_>]) -> Code {
    if targets.is_empty() {
        app.printer.line("everything is already rolled back");
    }
    for target in targets {
        let run = target.run;
        app.printer
            .line(&format!("run {} is already rolled back", run.id.short()));
        if has_something(run) {
            app.printer.note(&format!(
                "What it left in place:  wiab status {}{}",
                run.id.short(),
                app.suffix()
            ));
        }
    }
    Code::Ok
}

/// The runs to take back, newest first; none when everything is taken back already.
fn targets<'a>(
    app: &App,
    runs: &'a Installation,
    args: &RollbackArgs,
) -> Result<Vec<Target<'a>>, Problem> {
    if args.all {
        let standing: Vec<Target<'_>> = runs
            .runs()
            .iter()
            .rev()
            .filter(|run| has_something(run) || is_underway(run))
            .map(|run| Target { run, keep_to: None })
            .collect();
        let back = |run: &Run| run.state.ended == Some(Outcome::RolledBack);
        if standing.is_empty() && !runs.runs().iter().any(back) {
            return Err(nothing(
                app,
                "no run of this installation has left anything",
            ));
        }
        return Ok(standing);
    }
    let run = match &args.run {
        Some(text) => store::find(app, runs, text)?,
        None => match runs
            .runs()
            .iter()
            .rev()
            .find(|run| has_something(run) || is_underway(run))
        {
            Some(run) => run,
            None => store::find(app, runs, "latest")?,
        },
    };
    let back = is_underway(run) || run.state.ended == Some(Outcome::RolledBack);
    if !has_something(run) && !back {
        return Err(nothing(
            app,
            &format!("run {} has left nothing that stands", run.id.short()),
        ));
    }
    let newer = runs.standing_after(run.id);
    if !newer.is_empty() {
        let ids: Vec<String> = newer.iter().map(|run| run.id.short()).collect();
        return Err(Problem::new(
            Code::Failure,
            format!(
                "newer runs stand on run {}: {}",
                run.id.short(),
                ids.join(", ")
            ),
        )
        .hint("take those back first, newest first")
        .hint(format!(
            "or everything:  wiab rollback --all{}",
            app.suffix()
        )));
    }
    let keep_to = keep_to(app, run, args)?;
    Ok(vec![Target { run, keep_to }])
}

/// The step of `--to`, which must have been done once.
fn keep_to(app: &App, run: &Run, args: &RollbackArgs) -> Result<Option<StepId>, Problem> {
    let keep_to = args
        .to
        .as_deref()
        .map(|text| store::find_step(&run.state, text))
        .transpose()?;
    if let Some(step) = &keep_to {
        let done = run
            .state
            .record(step)
            .is_some_and(|record| record.done_at > 0);
        if !done {
            return Err(Problem::new(
                Code::Failure,
                format!("step `{step}` was never done; there is no point in time to go back to"),
            )
            .hint(format!("wiab status {}{}", run.id.short(), app.suffix())));
        }
    }
    Ok(keep_to)
}

fn nothing(app: &App, why: &str) -> Problem {
    Problem::new(Code::Failure, format!("nothing to take back: {why}")).hint(format!(
        "wiab journal list{}   shows all runs",
        app.suffix()
    ))
}

/// Prints what would happen; answers how many undos lose data.
fn show(
    app: &App,
    targets: &[Target<'_>],
    images: bool,
    args: &RollbackArgs,
) -> Result<usize, Problem> {
    let mut losing = 0;
    let mut acting = 0;
    for target in targets {
        let lines = preview(&target.run.state, target.keep_to.as_ref());
        let count = |fate: Fate| lines.iter().filter(|line| line.fate == fate).count();
        losing += count(Fate::UndoLosesData);
        acting += count(Fate::Undo);
        if app.printer.wants_json() {
            app.printer
                .json(&screen::json(target.run, &lines, args.wipe_data));
        }
        let style = app.printer.out_style();
        app.printer.lines(&screen::lines(
            style,
            target.run,
            &lines,
            args.wipe_data,
            images,
        ));
    }
    if targets.iter().any(|target| is_underway(target.run)) {
        // Nothing may be left to undo, but the run must still be brought to its end.
        return Ok(losing);
    }
    if acting == 0 && losing == 0 {
        return Err(nothing(app, "nothing in that range has an undo"));
    }
    if acting == 0 && !args.wipe_data {
        return Err(
            Problem::new(Code::Failure, "nothing to take back without losing data")
                .hint("add --wipe-data to take back what holds data, too"),
        );
    }
    Ok(losing)
}

async fn all(
    app: &App,
    config: &Config,
    dirs: &Dirs,
    (journal, runs): (&Journal, &Installation),
    targets: &[Target<'_>],
    args: &RollbackArgs,
) -> Result<Code, Problem> {
    let machine = Machine::open(app, config, dirs)?;
    machine.reach().await?;
    let mut last = Code::Ok;
    for target in targets {
        if target.run.state.host != config.machine() {
            return Err(Problem::new(
                Code::BadPlan,
                format!(
                    "run {} is on host {}",
                    target.run.id.short(),
                    target.run.state.host
                ),
            )
            .hint(format!("add --host {}", target.run.state.host)));
        }
        let events: Vec<Event> = vec![
            RunResumed {
                tool: env!("CARGO_PKG_VERSION").to_owned(),
                command_line: app.command_line.clone(),
            }
            .into(),
            UnwindBegan {
                cause: Cause::Operator,
                keep_to: target.keep_to.clone(),
                wipe_data: args.wipe_data,
            }
            .into(),
        ];
        let state = target.run.state.clone();
        let owed = drive::owed(runs);
        let id = target.run.id;
        let drive = Drive {
            app,
            dirs,
            machine: &machine,
            journal,
            run: id,
            usual_ms: BTreeMap::new(),
            wanted_rollback: true,
        };
        let (_, code) = drive
            .go(|world| Ok(Runner::resume(id, state, events, world)?.owed(owed)))
            .await?;
        last = code;
        if code != Code::Ok {
            break;
        }
    }
    Ok(last)
}
