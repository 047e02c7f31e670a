//! `wiab status`: where a run stands, also while another process works on it.

use wiab_engine::event::Recorded;
use wiab_engine::id::RunId;
use wiab_journal::JournalError;
use wiab_journal::live::{Client, LiveItem};

use crate::app::App;
use crate::cli::StatusArgs;
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::owed;
use crate::problem::Problem;
use crate::screen::{self, event, failure, status};
use crate::store::{self, Store};
use crate::ui::style::harmless;

/// Shows the run.
pub(crate) fn run(app: &App, args: &StatusArgs) -> Result<Code, Problem> {
    let config = app.config(&[])?;
    let dirs = app.dirs(&config)?;
    let store = Store::quietly(app, &dirs)?.ok_or_else(|| store::no_runs(app))?;
    owed::remember(app, &store.own);
    let run = store.find(app, args.run.as_deref().unwrap_or("latest"))?;
    let view = store.view(run);
    if args.follow && view.running {
        let id = run.id;
        // From the beginning: what has happened so far comes first.
        follow(app, &dirs, id, 1, &[])?;
        return Ok(Code::Ok);
    }
    app.printer.json(&status::json(&view));
    app.printer
        .lines(&status::lines(app.printer.out_style(), &view));
    app.printer
        .lines(&screen::owed::list(app.printer.out_style(), &store.own));
    if !view.running {
        let cx = failure::Context {
            run: run.id,
            suffix: &app.suffix(),
        };
        for line in failure::block(app.printer.err_style(), &run.state, cx) {
            app.printer.note(&line);
        }
    }
    Ok(Code::Ok)
}

/// Prints the events of a run, and its progress, from another process, until that one is done. `past` only goes into
/// the JSON stream.
pub(crate) fn follow(
    app: &App,
    dirs: &Dirs,
    run: RunId,
    from: u64,
    past: &[Recorded],
) -> Result<(), Problem> {
    let client =
        Client::connect(&dirs.journal()).map_err(|error| store::problem(&error, &app.suffix()))?;
    let Some(client) = client else {
        return Ok(());
    };
    app.printer.json_version();
    for recorded in past {
        app.printer.json(&event::json(recorded));
    }
    let mut broken = None;
    let result = client.follow(from, &mut |item| match item {
        LiveItem::Frame(frame) if frame.run == run.0 => match store::recorded(&frame) {
            Ok(Some(recorded)) => {
                app.printer.json(&event::json(&recorded));
                let line = event::line(&recorded.event);
                app.printer.line(&event::plain(
                    app.printer.out_style(),
                    recorded.time_ms,
                    &line,
                ));
                !app.printer.is_broken()
            }
            Ok(None) => true,
            Err(problem) => {
                broken = Some(problem);
                false
            }
        },
        LiveItem::Progress(text) => {
            app.printer.note(&harmless(&text));
            true
        }
        LiveItem::Frame(_) => true,
        LiveItem::End => false,
    });
    match (broken, result) {
        (Some(problem), _) => Err(problem),
        (None, Ok(())) => Ok(()),
        (None, Err(JournalError::Live { what })) => {
            app.printer
                .note(&format!("nothing more to follow: {}", harmless(&what)));
            Ok(())
        }
        (None, Err(error)) => Err(store::problem(&error, &app.suffix())),
    }
}
