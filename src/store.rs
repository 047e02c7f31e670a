//! Reading the journal: whoever holds it, and even when it is damaged.

use wiab_engine::event::Recorded;
use wiab_engine::id::{RunId, StepId};
use wiab_engine::installation::{Installation, Run};
use wiab_engine::state::RunState;
use wiab_journal::{Frame, JournalError, Options, Reader, Source};

use crate::app::App;
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::owed;
use crate::problem::{Problem, chain};
use crate::screen::status::RunView;

/// The journal, opened for reading and folded.
#[derive(Debug)]
pub(crate) struct Store {
    reader: Reader,
    /// This installation's own runs.
    pub(crate) own: Installation,
    /// Runs of other installations, imported for reading.
    imported: Installation,
    /// The run that a process works on now.
    pub(crate) active: Option<RunId>,
}

impl Store {
    /// Opens the journal; `None` if there is none yet. Tells what is owed.
    pub(crate) fn open(app: &App, dirs: &Dirs) -> Result<Option<Self>, Problem> {
        let store = Self::quietly(app, dirs)?;
        if let Some(store) = &store {
            owed::tell(app, &store.own);
        }
        Ok(store)
    }

    /// The same for a command that tells what is owed itself.
    pub(crate) fn quietly(app: &App, dirs: &Dirs) -> Result<Option<Self>, Problem> {
        let dir = dirs.journal();
        let reader = match Reader::open(&dir, options(app)) {
            Ok(reader) => reader,
            Err(JournalError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(problem(&error, &app.suffix())),
        };
        let mut own = Installation::default();
        for frame in reader.frames(1) {
            let frame = frame.map_err(|error| problem(&error, &app.suffix()))?;
            fold(&mut own, &frame)?;
        }
        let mut imported = Installation::default();
        for summary in reader.runs().iter().filter(|summary| summary.imported) {
            let frames = reader
                .run_frames(&summary.run)
                .map_err(|error| problem(&error, &app.suffix()))?;
            frames
                .iter()
                .try_for_each(|frame| fold(&mut imported, frame))?;
        }
        let active = active(&reader, &dir);
        if let Source::Copy { why } = reader.source() {
            app.printer.warn(&format!(
                "the journal's database was not read ({why}); this comes from its plain copies"
            ));
        }
        Ok(Some(Self {
            reader,
            own,
            imported,
            active,
        }))
    }

    /// The same, or the answer that there are no runs.
    pub(crate) fn must_open(app: &App, dirs: &Dirs) -> Result<Self, Problem> {
        Self::open(app, dirs)?.ok_or_else(|| no_runs(app))
    }

    /// The underlying reader.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// All runs, own ones first.
    pub(crate) fn views(&self) -> Vec<RunView<'_>> {
        let runs = self.own.runs().iter().chain(self.imported.runs());
        runs.map(|run| self.view(run)).collect()
    }

    /// A run as screens want it.
    pub(crate) fn view<'a>(&self, run: &'a Run) -> RunView<'a> {
        RunView {
            run,
            running: self.active == Some(run.id),
        }
    }

    /// The run that `text` means, imported ones included.
    pub(crate) fn find(&self, app: &App, text: &str) -> Result<&Run, Problem> {
        match find(app, &self.own, text) {
            Ok(run) => Ok(run),
            Err(problem) => find(app, &self.imported, text).map_err(|_| problem),
        }
    }

    /// The events of a run.
    pub(crate) fn events(&self, app: &App, run: RunId) -> Result<Vec<Recorded>, Problem> {
        let frames = self
            .reader
            .run_frames(&run.0)
            .map_err(|error| problem(&error, &app.suffix()))?;
        frames
            .iter()
            .filter_map(|frame| recorded(frame).transpose())
            .collect()
    }

    /// The captured output of a hash.
    pub(crate) fn output(&self, app: &App, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, Problem> {
        self.reader
            .blobs()
            .get(hash)
            .map_err(|error| problem(&error, &app.suffix()))
    }
}

/// The run of `text` in a fold: `latest`, or the shortest unique prefix of its id.
pub(crate) fn find<'a>(app: &App, runs: &'a Installation, text: &str) -> Result<&'a Run, Problem> {
    if runs.runs().is_empty() {
        return Err(no_runs(app));
    }
    if text == "latest" {
        return runs.runs().last().ok_or_else(|| no_runs(app));
    }
    let text = text.to_ascii_lowercase();
    let list = format!("wiab journal list{}", app.suffix());
    match runs.matching(&text).as_slice() {
        [one] => Ok(one),
        [] => Err(
            Problem::new(Code::Failure, format!("no run begins with `{text}`"))
                .hint(format!("{list}   shows all runs")),
        ),
        many => {
            let ids: Vec<String> = many.iter().take(8).map(|run| run.id.short()).collect();
            Err(Problem::new(
                Code::Failure,
                format!("`{text}` means several runs: {}", ids.join(", ")),
            )
            .hint("type more digits"))
        }
    }
}

/// The step of `text` in a plan.
pub(crate) fn find_step(state: &RunState, text: &str) -> Result<StepId, Problem> {
    let ids = || state.plan().steps.iter().map(|step| step.id.as_str());
    let found = StepId::new(text)
        .ok()
        .filter(|id| state.record(id).is_some());
    found.ok_or_else(|| {
        let hint = wiab_engine::text::nearest(text, ids()).map_or_else(
            || "`wiab status` lists the steps".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Problem::new(Code::Failure, format!("the plan has no step `{text}`")).hint(hint)
    })
}

/// The answer when there is no run at all.
pub(crate) fn no_runs(app: &App) -> Problem {
    Problem::new(Code::Failure, "there are no runs yet")
        .hint(format!("wiab apply{}   begins one", app.suffix()))
}

/// How the journal is opened by this process.
pub(crate) fn options(app: &App) -> Options {
    let mut options = Options::new(std::sync::Arc::new(wiab_engine::record::EventRender));
    options.command.clone_from(&app.command_line);
    options
}

fn active(reader: &Reader, dir: &std::path::Path) -> Option<RunId> {
    if *reader.source() != Source::Live {
        return None;
    }
    let client = wiab_journal::live::Client::connect(dir).ok()??;
    let status = client.status().ok()?;
    RunId::parse(status.get("run")?.as_str()?).ok()
}

/// Folds a frame; the journal's own events are no run's.
pub(crate) fn fold(runs: &mut Installation, frame: &Frame) -> Result<(), Problem> {
    let Some(recorded) = recorded(frame)? else {
        return Ok(());
    };
    runs.apply(&recorded).map_err(|error| {
        Problem::from_error(Code::JournalIo, "the journal contradicts itself", &error)
            .hint("wiab journal verify   says where")
    })
}

/// A frame as an event; `None` for the journal's own.
pub(crate) fn recorded(frame: &Frame) -> Result<Option<Recorded>, Problem> {
    wiab_engine::record::recorded(frame).map_err(|error| {
        Problem::from_error(
            Code::JournalIo,
            &format!("event {} cannot be read", frame.seq),
            &error,
        )
        .hint("use the version of wiab that wrote it, or  wiab journal verify")
    })
}

/// A journal error as the operator sees it: one cause, one remedy.
pub(crate) fn problem(error: &JournalError, suffix: &str) -> Problem {
    match error {
        JournalError::Locked { holder } => {
            Problem::new(Code::Locked, format!("another wiab works on this installation: {holder}"))
                .hint(format!("wiab status --follow{suffix}   watches it"))
        }
        JournalError::Newer { found, known } => Problem::new(
            Code::JournalIo,
            format!("the journal has format version {found}; this wiab reads versions up to {known}"),
        )
        .hint("use the newer wiab that wrote it; nothing was changed"),
        JournalError::Corrupt { seq, what } => Problem::new(
            Code::JournalIo,
            format!("the journal is damaged at event {seq}: {what}"),
        )
        .hint(format!("wiab journal recover{suffix}   rebuilds it from its plain copies; the damaged one is kept")),
        JournalError::NoSpace { .. } => Problem::new(Code::JournalIo, chain(error))
            .hint("make room, or choose another disk with --state-dir"),
        JournalError::Unwritable { .. } | JournalError::NotADirectory { .. } => {
            Problem::new(Code::JournalIo, chain(error))
                .hint("make it a writable directory, or choose another one with --state-dir")
        }
        JournalError::Bundle { .. } => Problem::new(Code::Failure, chain(error))
            .hint("export the run again and copy the file as it is"),
        JournalError::RunExists { .. }
        | JournalError::AlreadyImported { .. }
        | JournalError::NoSuchRun { .. } => Problem::new(Code::Failure, chain(error))
            .hint(format!("wiab journal list{suffix}   shows all runs")),
        _ => Problem::new(Code::JournalIo, chain(error))
            .hint(format!("wiab journal verify{suffix}   says what can be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_journal_error_has_a_code_a_cause_and_a_remedy() {
        let newer = JournalError::Newer { found: 9, known: 1 };
        assert_eq!(
            problem(&newer, "").lines(),
            [
                "error: the journal has format version 9; this wiab reads versions up to 1",
                "hint: use the newer wiab that wrote it; nothing was changed",
            ]
        );
        let corrupt = JournalError::Corrupt {
            seq: 7,
            what: "its hash differs".to_owned(),
        };
        let path = std::path::PathBuf::from("/s");
        let full = JournalError::NoSpace {
            path: path.clone(),
            free_bytes: 1,
            need_bytes: 2,
        };
        let locked = JournalError::Locked {
            holder: wiab_journal::Holder::default(),
        };
        let cases = [
            (newer, Code::JournalIo),
            (corrupt, Code::JournalIo),
            (full, Code::JournalIo),
            (JournalError::NotADirectory { path }, Code::JournalIo),
            (JournalError::Closed, Code::JournalIo),
            (locked, Code::Locked),
            (JournalError::NoSuchRun { run: "a".into() }, Code::Failure),
        ];
        for (error, code) in cases {
            let problem = problem(&error, " --host sim");
            assert_eq!(problem.code, code, "{error}");
            assert_eq!(problem.remedy.len(), 1, "{error}");
        }
    }
}
