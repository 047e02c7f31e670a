//! `wiab decide`: an operator's decision about a step, as an event with its author.

use serde_json::json;
use wiab_engine::event::{Event, OperatorDecided, Verdict};
use wiab_engine::installation::Run;
use wiab_engine::state::{Direction, StepState};
use wiab_journal::{Batch, Entry, Journal};

use crate::app::App;
use crate::cli::DecideArgs;
use crate::exit::Code;
use crate::problem::Problem;
use crate::screen::event;
use crate::store;
use crate::ui::printer::JSON_SCHEMA;

/// Records the decision.
pub(crate) fn run(app: &App, args: &DecideArgs) -> Result<Code, Problem> {
    let config = app.config(&[])?;
    let dirs = app.dirs(&config)?;
    if args.note.trim().is_empty() {
        return Err(Problem::new(Code::Usage, "--note is empty")
            .hint("say why, in your own words: it is kept in the journal"));
    }
    let verdict = verdict(args);
    let (journal, runs) = super::open_existing(app, &dirs)?.ok_or_else(|| store::no_runs(app))?;
    let run = store::find(app, &runs, &args.run)?;
    let step = match (&args.step, verdict) {
        (_, Verdict::Abandon) | (None, _) => None,
        (Some(step), _) => Some(store::find_step(&run.state, step)?),
    };
    let decided = OperatorDecided {
        step,
        verdict,
        note: args.note.clone(),
    };
    fits(app, run, &decided)?;
    let mut after = run.state.clone();
    let event = Event::from(decided);
    after.apply(&event).map_err(|error| {
        Problem::from_error(Code::Failure, "this cannot be decided now", &error).hint(format!(
            "wiab status {}{}",
            run.id.short(),
            app.suffix()
        ))
    })?;
    append(app, &journal, run, &event)?;
    let line = event::line(&event);
    app.printer.json(&json!({
        "type": "decision", "schema": JSON_SCHEMA, "run": run.id.display(), "step": line.step, "verdict": event::verdict(verdict),
    }));
    app.printer.line(&format!(
        "run {}: {}{}",
        run.id.short(),
        line.step
            .map_or_else(String::new, |step| format!("{step} ")),
        line.text
    ));
    let next = match (&after.direction, verdict) {
        (_, Verdict::Abandon) => "apply".to_owned(),
        (Direction::Unwinding { .. }, _) => format!("rollback {}", run.id.short()),
        (Direction::Forward, _) => format!("apply --resume {}", run.id.short()),
    };
    app.printer
        .note(&format!("Next:  wiab {next}{}", app.suffix()));
    Ok(Code::Ok)
}

fn verdict(args: &DecideArgs) -> Verdict {
    if args.retry {
        Verdict::Retry
    } else if args.retry_undo {
        Verdict::RetryUndo
    } else if args.accept {
        Verdict::Accept
    } else if args.skip {
        Verdict::Skip
    } else {
        Verdict::Abandon
    }
}

/// A decision must have something to decide: finished steps are left to rollback.
fn fits(app: &App, run: &Run, decided: &OperatorDecided) -> Result<(), Problem> {
    let refuse = |why: String| {
        Err(Problem::new(Code::Failure, why).hint(format!(
            "wiab status {}{}   shows what waits for a decision",
            run.id.short(),
            app.suffix()
        )))
    };
    let Some(step) = &decided.step else {
        if run.state.is_resumable() {
            return Ok(());
        }
        return refuse(format!(
            "run {} is finished; there is nothing to give up",
            run.id.short()
        ));
    };
    let Some(record) = run.state.record(step) else {
        return refuse(format!("the plan has no step `{step}`"));
    };
    let undo = matches!(
        record.state,
        StepState::UndoFailed { .. }
            | StepState::UndoUnsettled { .. }
            | StepState::UndoBackoff { .. }
            | StepState::Undoing { .. }
    );
    let open = undo
        || matches!(
            record.state,
            StepState::Failed { .. }
                | StepState::Unsettled { .. }
                | StepState::Reconciled { .. }
                | StepState::Running { .. }
                | StepState::Backoff { .. }
        );
    match decided.verdict {
        _ if !open => refuse(format!(
            "step `{step}` is {}; it needs no decision",
            record.state.word()
        )),
        Verdict::RetryUndo if !undo => refuse(format!("no undo of step `{step}` has failed")),
        Verdict::Retry if undo => refuse(format!(
            "the undo of step `{step}` failed: decide with --retry-undo, --accept or --skip"
        )),
        _ => Ok(()),
    }
}

fn append(app: &App, journal: &Journal, run: &Run, event: &Event) -> Result<(), Problem> {
    let body = wiab_engine::codec::encode(event)
        .map_err(|error| Problem::from_error(Code::Bug, "the decision cannot be stored", &error))?;
    let batch = Batch {
        run: run.id.0,
        time_ms: crate::clock::wall_ms(),
        actor: App::actor(),
        entries: vec![Entry {
            kind: event.kind(),
            body,
        }],
    };
    journal
        .append(batch)
        .map(|_| ())
        .map_err(|error| store::problem(&error, &app.suffix()))
}
