//! `wiab apply --resume`: the rest of a run, in this process.

use wiab_engine::event::{Cause, Event, OnEdited, PlanRevised, RunResumed};
use wiab_engine::installation::{Installation, Run};
use wiab_engine::plan::{Plan, triage};
use wiab_engine::runner::Runner;
use wiab_engine::select::Selection;
use wiab_engine::state::Direction;
use wiab_journal::Journal;

use crate::app::App;
use crate::cli::IfChanged;
use crate::config::Config;
use crate::dirs::Dirs;
use crate::drive::{self, Drive};
use crate::exit::Code;
use crate::machine::Machine;
use crate::problem::Problem;
use crate::{screen, store};

/// The area of a rotation's own steps.
const ROTATION: &str = "rot";

/// What resuming needs.
pub(crate) struct Resume<'a> {
    /// The process.
    pub(crate) app: &'a App,
    /// The configuration as it is now.
    pub(crate) config: &'a Config,
    /// The directories.
    pub(crate) dirs: &'a Dirs,
    /// The open journal.
    pub(crate) journal: &'a Journal,
    /// All runs.
    pub(crate) runs: &'a Installation,
}

impl Resume<'_> {
    fn host(&self) -> String {
        self.config.machine()
    }

    /// The rest of a run.
    pub(crate) async fn go(
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
        machine.reach().await?;
        let back = matches!(
            &run.state.direction,
            Direction::Unwinding {
                cause: Cause::Operator,
                ..
            }
        );
        let state = run.state.clone();
        let owed = drive::owed(self.runs);
        let id = run.id;
        let drive = Drive {
            app,
            dirs: self.dirs,
            machine: &machine,
            journal: self.journal,
            run: id,
            usual_ms: drive::usual(state.plan(), self.runs),
            wanted_rollback: back,
        };
        let (_, code) = drive
            .go(|world| Ok(Runner::resume(id, state, events, world)?.owed(owed)))
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
        let selection = Selection::of(run.state.plan());
        // The steps of a rotation come from the command that began it, not from the configuration.
        if selection.only.iter().any(|word| word == ROTATION) {
            return Ok(None);
        }
        let fresh = &super::select::part(&selection, fresh)?;
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
