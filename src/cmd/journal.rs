//! `wiab journal`: list, log, show, verify, export, import, recover.

use std::path::Path;

use serde_json::{Value, json};
use wiab_engine::state::RunState;
use wiab_journal::{Journal, bundle, recover};

use super::{verify, why};
use crate::app::App;
use crate::cli::JournalCommand;
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::problem::Problem;
use crate::screen::{event, journal, status};
use crate::store::{self, Store};
use crate::ui::printer::JSON_SCHEMA;
use crate::ui::style::harmless;

/// Runs a verb.
pub(crate) fn run(app: &App, command: &JournalCommand) -> Result<Code, Problem> {
    if let JournalCommand::Verify {
        file: Some(path),
        head,
    } = command
    {
        return verify::file(app, path, head.as_deref());
    }
    if let JournalCommand::Why { what, run, full } = command
        && let Some(path) = why::as_file(run)
    {
        return why::file(app, path, why::Question::new(what.as_deref(), run, *full));
    }
    let config = app.config(&[])?;
    let dirs = app.dirs(&config)?;
    match command {
        JournalCommand::List => list(app, &dirs),
        JournalCommand::Log { run, step } => log(app, &dirs, run, step.as_deref()),
        JournalCommand::Show { run, at, follow } => show(app, &dirs, run, *at, *follow),
        JournalCommand::Verify { head, .. } => verify::journal(app, &dirs, head.as_deref()),
        JournalCommand::Why { what, run, full } => {
            let question = why::Question::new(what.as_deref(), run, *full);
            why::journal(app, &dirs, question)
        }
        JournalCommand::Export { run, out } => export(app, &dirs, run, out),
        JournalCommand::Import { file } => import(app, &dirs, file),
        JournalCommand::Recover => rebuild(app, &dirs),
    }
}

fn list(app: &App, dirs: &Dirs) -> Result<Code, Problem> {
    let store = Store::open(app, dirs)?;
    let views = store.as_ref().map(Store::views).unwrap_or_default();
    let runs: Vec<Value> = views.iter().rev().map(status::summary).collect();
    app.printer
        .json(&json!({"type": "runs", "schema": JSON_SCHEMA, "runs": runs}));
    app.printer
        .lines(&journal::list(app.printer.out_style(), &views));
    Ok(Code::Ok)
}

fn log(app: &App, dirs: &Dirs, run: &str, step: Option<&str>) -> Result<Code, Problem> {
    let store = Store::must_open(app, dirs)?;
    let run = store.find(app, run)?;
    let mut events = store.events(app, run.id)?;
    let Some(step) = step else {
        let all: Vec<Value> = events.iter().map(event::json).collect();
        app.printer
            .json(&json!({"type": "events", "schema": JSON_SCHEMA, "events": all}));
        app.printer
            .lines(&journal::log(app.printer.out_style(), &events));
        return Ok(Code::Ok);
    };
    let step = store::find_step(&run.state, step)?;
    events.retain(|recorded| journal::is_about(&recorded.event, &step));
    let mut documents = Vec::new();
    for recorded in &events {
        let line = event::line(&recorded.event);
        app.printer.line(&event::plain(
            app.printer.out_style(),
            recorded.time_ms,
            &line,
        ));
        let mut document = event::json(recorded);
        if let Some(evidence) = journal::evidence(&recorded.event) {
            let bytes = store.output(app, &evidence.hash)?;
            let text = bytes.as_deref().map(String::from_utf8_lossy);
            if let Some(map) = document.as_object_mut() {
                map.insert("output".to_owned(), json!(text));
            }
            match &bytes {
                Some(bytes) => app.printer.lines(&journal::output(bytes)),
                None => app
                    .printer
                    .warn("its captured output is not in this journal"),
            }
        }
        documents.push(document);
        if app.printer.is_broken() {
            break;
        }
    }
    app.printer
        .json(&json!({"type": "events", "schema": JSON_SCHEMA, "events": documents}));
    Ok(Code::Ok)
}

fn show(app: &App, dirs: &Dirs, run: &str, at: Option<u64>, follow: bool) -> Result<Code, Problem> {
    let store = Store::must_open(app, dirs)?;
    let run = store.find(app, run)?;
    let events = store.events(app, run.id)?;
    if let Some(at) = at {
        let until: Vec<_> = events
            .iter()
            .filter(|recorded| recorded.seq <= at)
            .collect();
        let Some(last) = until.last() else {
            return Err(Problem::new(
                Code::Failure,
                format!("run {} has no event up to number {at}", run.id.short()),
            )
            .hint(format!(
                "its first event is number {}",
                events.first().map_or(0, |e| e.seq)
            )));
        };
        let state =
            RunState::replay(until.iter().map(|recorded| &recorded.event)).map_err(|error| {
                Problem::from_error(Code::JournalIo, "the run cannot be replayed", &error)
            })?;
        let mut then = run.clone();
        then.last_ms = last.time_ms;
        then.events = until.len() as u64;
        then.state = state;
        let view = status::RunView {
            run: &then,
            running: false,
        };
        app.printer.json(&status::json(&view));
        app.printer
            .lines(&status::lines(app.printer.out_style(), &view));
        return Ok(Code::Ok);
    }
    let running = store.active == Some(run.id);
    if !(follow && running) {
        let all: Vec<Value> = events.iter().map(event::json).collect();
        app.printer
            .json(&json!({"type": "events", "schema": JSON_SCHEMA, "events": all}));
    }
    for recorded in &events {
        app.printer
            .lines(&journal::show(app.printer.out_style(), recorded));
        if app.printer.is_broken() {
            return Ok(Code::Ok);
        }
    }
    if follow && running {
        let from = store.reader().head().seq + 1;
        super::status::follow(app, dirs, run.id, from, &events)?;
    }
    Ok(Code::Ok)
}

fn export(app: &App, dirs: &Dirs, run: &str, out: &Path) -> Result<Code, Problem> {
    let store = Store::must_open(app, dirs)?;
    let run = store.find(app, run)?;
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(out)
        .map_err(|error| {
            Problem::from_error(Code::Failure, "the file cannot be created", &error)
                .hint("choose a new name in a writable directory")
        })?;
    let done = bundle::export(store.reader(), &run.id.0, &mut file)
        .map_err(|error| store::problem(&error, &app.suffix()))?;
    file.sync_all().map_err(|error| {
        Problem::from_error(Code::Failure, "the file cannot be written", &error)
    })?;
    app.printer.json(&json!({
        "type": "export", "schema": JSON_SCHEMA, "run": run.id.display(), "file": out.display().to_string(),
        "events": done.frames, "outputs": done.blobs, "bytes": done.bytes,
    }));
    app.printer.line(&format!(
        "run {} with {} events and {} captured outputs is in {} ({} bytes)",
        run.id.short(),
        done.frames,
        done.blobs,
        out.display(),
        done.bytes
    ));
    app.printer.note(&format!(
        "Next:  wiab journal import {}   on another machine",
        out.display()
    ));
    Ok(Code::Ok)
}

fn import(app: &App, dirs: &Dirs, file: &Path) -> Result<Code, Problem> {
    let mut input = fs_err::File::open(file)
        .map_err(|error| Problem::from_error(Code::Failure, "the file cannot be read", &error))?;
    dirs.prepare()?;
    let wrap = |error| store::problem(&error, &app.suffix());
    let journal = Journal::open(&dirs.journal(), store::options(app)).map_err(wrap)?;
    let done = bundle::import(&journal, &mut input).map_err(wrap)?;
    journal.close().map_err(wrap)?;
    let run = wiab_engine::id::RunId(done.run.run);
    app.printer.json(&json!({
        "type": "import", "schema": JSON_SCHEMA, "run": run.display(), "events": done.run.frames, "outputs": done.blobs,
    }));
    app.printer.line(&format!(
        "run {} with {} events is here now, for reading",
        run.short(),
        done.run.frames
    ));
    app.printer.note(&format!(
        "Next:  wiab journal log {}{}",
        run.short(),
        app.suffix()
    ));
    Ok(Code::Ok)
}

fn rebuild(app: &App, dirs: &Dirs) -> Result<Code, Problem> {
    let wrap = |error| store::problem(&error, &app.suffix());
    let report = recover::recover(&dirs.journal(), store::options(app)).map_err(wrap)?;
    // Opening verifies what was rebuilt, and brings the copies up to date.
    let journal = Journal::open(&dirs.journal(), store::options(app)).map_err(wrap)?;
    journal.close().map_err(wrap)?;
    app.printer.json(&json!({
        "type": "recover", "schema": JSON_SCHEMA, "events": report.frames, "missing": report.missing,
        "damaged_lines": report.damaged_lines, "kept": report.kept,
    }));
    app.printer.line(&format!(
        "the database was rebuilt with {} events",
        report.frames
    ));
    for (first, last) in &report.missing {
        app.printer
            .line(&format!("  events {first} to {last} are in no copy"));
    }
    for line in &report.damaged_lines {
        app.printer.line(&format!("  left out: {}", harmless(line)));
    }
    if let Some(kept) = &report.kept {
        app.printer
            .line(&format!("the damaged one is kept in {}", kept.display()));
    }
    app.printer
        .note(&format!("Next:  wiab journal verify{}", app.suffix()));
    Ok(Code::Ok)
}
