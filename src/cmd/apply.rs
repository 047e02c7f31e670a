//! `wiab apply`: a new run, a saved plan, or the rest of a run.

use wiab_engine::event::{Limits, OnFailure, RunOpened};
use wiab_engine::id::RunId;
use wiab_engine::installation::Installation;
use wiab_engine::plan::Plan;
use wiab_engine::runner::Runner;
use wiab_engine::state::StepState;
use wiab_engine::survey::Survey;

use crate::app::App;
use crate::cli::{ApplyArgs, OnFailureArg};
use crate::cmd::Opened;
use crate::cmd::resume::Resume;
use crate::config::Config;
use crate::dirs::Dirs;
use crate::drive::{self, Drive};
use crate::exit::Code;
use crate::machine::Machine;
use crate::problem::Problem;
use crate::saved::SavedPlan;
use crate::screen::diff;
use crate::screen::journal::History;
use crate::ui::printer::Level;
use crate::{setup, store};

/// Applies.
pub(crate) fn run(app: &App, args: &ApplyArgs) -> Result<Code, Problem> {
    if args.plan_file.is_some() {
        args.select.refuse_with("a saved plan")?;
    }
    if args.resume.is_some() {
        args.select.refuse_with("--resume")?;
    }
    let mut flags = flags(args);
    let saved = args.plan_file.as_deref().map(SavedPlan::read).transpose()?;
    if let Some(saved) = &saved {
        // The file names the host; a --host that says otherwise is refused below.
        if app.global.host.is_none() {
            flags.push(("host", saved.host.clone(), "the saved plan"));
        }
    }
    let config = app.config(&flags)?;
    if let Some(saved) = &saved {
        saved.belongs(config.text("name"), &config.machine())?;
    }
    let plan = match &saved {
        Some(saved) => saved.plan.clone(),
        None if args.resume.is_some() => setup::plan(&config)?,
        None => setup::part(&config, &args.select.selection())?,
    };
    let dirs = app.dirs(&config)?;
    app.printer.json_version();
    let opened = super::open_existing(app, &dirs)?;
    let job = Job {
        app,
        config: &config,
        dirs: &dirs,
    };
    let runtime = drive::runtime()?;
    let code = match (&args.resume, opened) {
        (Some(run), Some(opened)) => {
            let (journal, runs) = &opened;
            let resume = Resume {
                app,
                config: &config,
                dirs: &dirs,
                journal,
                runs,
            };
            runtime.block_on(resume.go(run, args.if_changed, &plan))
        }
        (Some(_), None) => Err(nothing_at_all(app)),
        (None, opened) => {
            if let Some((_, runs)) = opened.as_ref().filter(|_| !args.new_run) {
                refuse_unsettled(app, runs)?;
            }
            let approved = saved.map(|saved| saved.survey);
            runtime.block_on(job.fresh(opened, args.yes, plan, approved))
        }
    }?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    app.printer.json_exit(code);
    Ok(code)
}

/// Begins a run of a plan that another command has made.
pub(crate) fn begin(app: &App, config: &Config, plan: Plan, yes: bool) -> Result<Code, Problem> {
    let dirs = app.dirs(config)?;
    app.printer.json_version();
    let opened = super::open_existing(app, &dirs)?;
    if let Some((_, runs)) = &opened {
        refuse_unsettled(app, runs)?;
    }
    let job = Job {
        app,
        config,
        dirs: &dirs,
    };
    let runtime = drive::runtime()?;
    let code = runtime.block_on(job.fresh(opened, yes, plan, None))?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    app.printer.json_exit(code);
    Ok(code)
}

fn nothing_at_all(app: &App) -> Problem {
    let problem = store::no_runs(app);
    Problem {
        cause: format!("nothing to resume: {}", problem.cause),
        ..problem
    }
}

fn flags(args: &ApplyArgs) -> Vec<(&'static str, String, &'static str)> {
    let mut flags = Vec::new();
    if let Some(width) = args.width {
        flags.push(("run.width", width.to_string(), "--width"));
    }
    if let Some(on_failure) = args.on_failure {
        let word = match on_failure {
            OnFailureArg::Keep => "keep",
            OnFailureArg::Rollback => "rollback",
        };
        flags.push(("run.on_failure", word.to_owned(), "--on-failure"));
    }
    if args.fail_fast {
        flags.push(("run.fail_fast", "true".to_owned(), "--fail-fast"));
    }
    flags
}

/// What all ways of applying need.
struct Job<'a> {
    app: &'a App,
    config: &'a Config,
    dirs: &'a Dirs,
}

impl Job<'_> {
    fn host(&self) -> String {
        self.config.machine()
    }

    /// A new run. With `approved`, what the host looked like when the plan was saved.
    async fn fresh(
        &self,
        opened: Option<Opened>,
        yes: bool,
        plan: Plan,
        approved: Option<Survey>,
    ) -> Result<Code, Problem> {
        let app = self.app;
        let machine = Machine::open(app, self.config, self.dirs)?;
        machine.reach().await?;
        let survey = machine.surveyor(None).survey(&plan).await;
        let (journal, runs) = match opened {
            Some((journal, runs)) => (Some(journal), runs),
            None => (None, Installation::default()),
        };
        let history = History::of(&plan, &runs);
        if let Some(approved) = &approved {
            refuse_stale(app, approved, &survey)?;
        }
        super::doctor::refuse(app, &plan, &survey)?;
        // With -q the plan is shown only where it is needed for the question below.
        let quiet = app.printer.level() < Level::Normal && (yes || approved.is_some());
        let changes = super::plan::show(app, &plan, &survey, &self.host(), &history, quiet);
        if !changes {
            app.printer
                .note("Nothing to do: everything is as wanted. No run was begun.");
            return Ok(Code::Ok);
        }
        if let Some(problem) = super::select::unready(app, &plan, &survey) {
            return Err(problem);
        }
        if let Some(open) = runs.resumable() {
            app.printer.warn(&format!(
                "run {run} was not finished; to go on with it instead:  wiab apply --resume {run}{}",
                app.suffix(),
                run = open.id.short()
            ));
        }
        if approved.is_none()
            && !app
                .prompt(yes, None)
                .yes(&app.printer, "Apply this plan?")?
        {
            app.printer.important("Nothing was changed.");
            return Ok(Code::Ok);
        }
        let run = RunId(uuid::Uuid::now_v7().into_bytes());
        let opened = RunOpened {
            limits: self.limits(),
            host: self.host(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            command_line: app.command_line.clone(),
            plan,
        };
        let journal = match journal {
            Some(journal) => journal,
            None => super::open_journal(app, self.dirs)?.0,
        };
        let owed = drive::owed(&runs);
        let drive = Drive {
            app,
            dirs: self.dirs,
            machine: &machine,
            journal: &journal,
            run,
            usual_ms: drive::usual(&opened.plan, &runs),
            wanted_rollback: false,
        };
        let (_, code) = drive
            .go(|world| Ok(Runner::fresh(run, opened, world).owed(owed)))
            .await?;
        Ok(code)
    }

    fn limits(&self) -> Limits {
        Limits {
            width: u32::try_from(self.config.integer("run.width")).unwrap_or(1),
            on_failure: match self.config.text("run.on_failure") {
                "rollback" => OnFailure::Rollback,
                _ => OnFailure::Keep,
            },
            fail_fast: self.config.flag("run.fail_fast"),
        }
    }
}

/// A run that was killed in the middle of a step must be settled first: its command may have half happened, and a new
/// run would take whatever it finds for the state before.
fn refuse_unsettled(app: &App, runs: &Installation) -> Result<(), Problem> {
    let Some(run) = runs.resumable() else {
        return Ok(());
    };
    let unsettled = run.state.steps().find(|(_, record)| {
        matches!(
            record.state,
            StepState::Running { .. }
                | StepState::Unsettled { .. }
                | StepState::Reconciled { .. }
                | StepState::Undoing { .. }
                | StepState::UndoUnsettled { .. }
        )
    });
    let Some((spec, _)) = unsettled else {
        return Ok(());
    };
    let (run, suffix) = (run.id.short(), app.suffix());
    Err(Problem::new(
        Code::Failure,
        format!("run {run} broke off in the middle of step `{}`", spec.id),
    )
    .hint(format!(
        "go on with it:   wiab apply --resume {run}{suffix}"
    ))
    .hint(format!("take it back:    wiab rollback {run}{suffix}"))
    .hint(format!(
        "leave it so:     wiab apply --new-run{suffix}   begins a new run all the same"
    )))
}

fn refuse_stale(app: &App, approved: &Survey, now: &Survey) -> Result<(), Problem> {
    if approved.digest() == now.digest() {
        return Ok(());
    }
    Err(Problem::new(
        Code::BadPlan,
        "the saved plan is stale: the host has changed since",
    )
    .detail(diff::stale(approved, now))
    .hint(format!(
        "wiab plan --out FILE{}   makes a new one; nothing was changed",
        app.suffix()
    )))
}
