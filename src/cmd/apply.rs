//! `wiab apply`: a new run, a saved plan, or the rest of a run.

use wiab_engine::event::{Event, Limits, OnEdited, OnFailure, PlanRevised, RunOpened, RunResumed};
use wiab_engine::id::RunId;
use wiab_engine::installation::{Installation, Run};
use wiab_engine::plan::{Plan, triage};
use wiab_engine::runner::Runner;
use wiab_engine::state::Direction;
use wiab_engine::survey::Survey;
use wiab_journal::Journal;

use crate::app::App;
use crate::cli::{ApplyArgs, IfChanged, OnFailureArg};
use crate::config::Config;
use crate::dirs::Dirs;
use crate::drive::{self, Drive};
use crate::exit::Code;
use crate::machine::Machine;
use crate::problem::Problem;
use crate::saved::SavedPlan;
use crate::screen::{self, journal, plan as screen_plan};
use crate::{setup, store};

/// Applies.
pub(crate) fn run(app: &App, args: &ApplyArgs) -> Result<Code, Problem> {
    let mut flags = flags(args);
    let saved = args.plan_file.as_deref().map(SavedPlan::read).transpose()?;
    if let Some(saved) = &saved {
        flags.push(("host", saved.host.clone(), "the saved plan"));
        flags.push(("name", saved.installation.clone(), "the saved plan"));
    }
    let config = app.config(&flags)?;
    let plan = match &saved {
        Some(saved) => saved.plan.clone(),
        None => setup::plan(&config)?,
    };
    let dirs = app.dirs(&config)?;
    crate::crash::locate(&dirs.crash(), &app.command_line);
    app.printer.json_version();
    let (journal, runs) = super::open_journal(app, &dirs)?;
    let job = Job {
        app,
        config: &config,
        dirs: &dirs,
        journal: &journal,
        runs: &runs,
    };
    let runtime = drive::runtime()?;
    let code = match &args.resume {
        Some(run) => runtime.block_on(job.resume(run, args.if_changed, &plan)),
        None => runtime.block_on(job.fresh(args.yes, plan, saved.map(|saved| saved.survey))),
    }?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    journal
        .close()
        .map_err(|error| store::problem(&error, &app.suffix()))?;
    app.printer.json_exit(code);
    Ok(code)
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
    journal: &'a Journal,
    runs: &'a Installation,
}

impl Job<'_> {
    fn host(&self) -> String {
        self.config.text("host").to_owned()
    }

    /// A new run. With `approved`, what the host looked like when the plan was saved.
    async fn fresh(
        &self,
        yes: bool,
        plan: Plan,
        approved: Option<Survey>,
    ) -> Result<Code, Problem> {
        let app = self.app;
        let machine = Machine::open(app, self.config, self.dirs)?;
        let survey = machine.surveyor(None).survey(&plan).await;
        let usual_ms = journal::usual(&plan, self.runs);
        if let Some(approved) = &approved {
            refuse_stale(app, approved, &survey)?;
        }
        let changes = super::plan::show(app, &plan, &survey, &self.host(), &usual_ms);
        if !changes {
            app.printer
                .note("Nothing to do: everything is as wanted. No run was begun.");
            return Ok(Code::Ok);
        }
        if let Some(open) = self.runs.resumable() {
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
        let drive = self.drive(&machine, run, &opened.plan, false);
        let (_, code) = drive
            .go(|world| Ok(Runner::fresh(run, opened, world)))
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

    fn drive<'b>(&'b self, machine: &'b Machine, run: RunId, plan: &Plan, back: bool) -> Drive<'b> {
        Drive {
            app: self.app,
            dirs: self.dirs,
            machine,
            journal: self.journal,
            run,
            usual_ms: plan
                .steps
                .iter()
                .map(|step| {
                    let learned = self.runs.usual_ms(&step.id);
                    (step.id.clone(), learned.unwrap_or(step.usual_ms))
                })
                .collect(),
            wanted_rollback: back,
        }
    }

    /// The rest of a run.
    async fn resume(
        &self,
        text: &str,
        if_changed: IfChanged,
        fresh: &Plan,
    ) -> Result<Code, Problem> {
        let app = self.app;
        let run = store::find(app, self.runs, text).map_err(|problem| Problem {
            cause: format!("nothing to resume: {}", problem.cause),
            ..problem
        })?;
        if !run.state.is_resumable() {
            return Err(self.nothing_to_resume(run));
        }
        if run.state.host != self.host() {
            return Err(Problem::new(
                Code::BadPlan,
                format!(
                    "run {} is on host {}, not {}",
                    run.id.short(),
                    run.state.host,
                    self.host()
                ),
            )
            .hint(format!(
                "wiab apply --resume {} --host {}",
                run.id.short(),
                run.state.host
            )));
        }
        let mut events: Vec<Event> = vec![
            RunResumed {
                tool: env!("CARGO_PKG_VERSION").to_owned(),
                command_line: app.command_line.clone(),
            }
            .into(),
        ];
        events.extend(self.revision(run, if_changed, fresh)?);
        let machine = Machine::open(app, self.config, self.dirs)?;
        let back = matches!(
            &run.state.direction,
            Direction::Unwinding {
                cause: wiab_engine::event::Cause::Operator,
                ..
            }
        );
        let state = run.state.clone();
        let id = run.id;
        let drive = self.drive(&machine, id, &state.plan().clone(), back);
        let (_, code) = drive
            .go(|world| Runner::resume(id, state, events, world))
            .await?;
        Ok(code)
    }

    fn nothing_to_resume(&self, run: &Run) -> Problem {
        let words = screen::outcome_words(run.state.ended, false);
        let suffix = self.app.suffix();
        Problem::new(
            Code::Failure,
            format!("nothing to resume: run {} is {words}", run.id.short()),
        )
        .hint(format!("wiab apply{suffix}          begins a new run"))
        .hint(format!("wiab journal list{suffix}   shows all runs"))
    }

    /// The event that changes the plan of a run that is resumed, if the configuration has changed and that is allowed.
    fn revision(
        &self,
        run: &Run,
        if_changed: IfChanged,
        fresh: &Plan,
    ) -> Result<Option<Event>, Problem> {
        if run.state.direction != Direction::Forward {
            return Ok(None);
        }
        // Steps that an earlier revision retired are kept at the end, only to be taken back.
        let stored = Plan {
            name: run.state.plan().name.clone(),
            steps: run
                .state
                .steps()
                .filter(|(_, record)| !record.retired)
                .map(|(spec, _)| spec.clone())
                .collect(),
        };
        if stored.digest() == fresh.digest() {
            return Ok(None);
        }
        let changes = triage(&stored, fresh);
        let on_edited = match if_changed {
            IfChanged::Stop => {
                let mut problem = Problem::new(
                    Code::BadPlan,
                    format!(
                        "the configuration has changed since run {} began",
                        run.id.short()
                    ),
                )
                .detail(screen::triage::table(&changes, &run.state));
                problem.remedy = screen::triage::ways(run.id, &self.app.suffix());
                return Err(problem);
            }
            IfChanged::Redo => OnEdited::Redo,
            IfChanged::Adopt => OnEdited::Adopt,
        };
        for line in screen::triage::table(&changes, &run.state) {
            self.app.printer.note(&line);
        }
        Ok(Some(
            PlanRevised {
                plan: fresh.clone(),
                on_edited,
            }
            .into(),
        ))
    }
}

fn refuse_stale(app: &App, approved: &Survey, now: &Survey) -> Result<(), Problem> {
    if approved.digest() == now.digest() {
        return Ok(());
    }
    Err(Problem::new(
        Code::BadPlan,
        "the saved plan is stale: the host has changed since",
    )
    .detail(screen_plan::stale(approved, now))
    .hint(format!(
        "wiab plan --out FILE{}   makes a new one; nothing was changed",
        app.suffix()
    )))
}
