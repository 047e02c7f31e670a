//! `wiab journal why`: the story of a failure, from the journal or an exported run alone.

use std::path::Path;

use wiab_engine::event::Recorded;
use wiab_engine::id::RunId;
use wiab_engine::state::RunState;
use wiab_engine::text::hex;

use super::verify;
use crate::app::App;
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::problem::Problem;
use crate::screen::count;
use crate::screen::why::{About, Story, Texts, View};
use crate::store::{self, Store};

/// Widest line of the short form, in characters.
const WIDTH_MAX: usize = 100;
/// Narrowest line, in characters.
const WIDTH_MIN: usize = 40;

/// What is asked, by the words of the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// A step, `certs`, or everything.
    pub(crate) what: Option<&'a str>,
    /// The run, as `find` takes it.
    pub(crate) run: &'a str,
    /// With everything.
    pub(crate) full: bool,
}

impl<'a> Question<'a> {
    /// A question.
    pub(crate) fn new(what: Option<&'a str>, run: &'a str, full: bool) -> Self {
        Self { what, run, full }
    }
}

/// Whether the run is an exported file.
pub(crate) fn as_file(run: &str) -> Option<&Path> {
    let path = Path::new(run);
    path.is_file().then_some(path)
}

/// Tells it from the journal of this installation.
pub(crate) fn journal(app: &App, dirs: &Dirs, question: Question<'_>) -> Result<Code, Problem> {
    let store = Store::must_open(app, dirs)?;
    let run = store.find(app, question.run)?;
    let events = store.events(app, run.id)?;
    let own = store.own.run(run.id).is_some();
    let owed: Vec<&str> = store.own.owed().map(|open| open.owed.id.as_str()).collect();
    let still_owed = |id: &str| !own || owed.contains(&id);
    let about = about(&run.state, question.what)?;
    let told = Story::of(run.id, &run.state, &events, &about, &still_owed);
    let mut texts = Texts::new();
    for evidence in told.bodies(question.full) {
        if let Some(bytes) = store.output(app, &evidence.hash)? {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            texts.insert(evidence.hash, text);
        }
    }
    let suffix = app.suffix();
    show(
        app,
        &told,
        &texts,
        question.full,
        own.then_some(suffix.as_str()),
    );
    Ok(Code::Ok)
}

/// Tells it from an exported run: no configuration, no host, no journal.
pub(crate) fn file(app: &App, path: &Path, question: Question<'_>) -> Result<Code, Problem> {
    let bundle = verify::read(app, path)?;
    let events: Vec<Recorded> = bundle
        .frames
        .iter()
        .filter_map(|frame| store::recorded(frame).transpose())
        .collect::<Result<_, _>>()?;
    let state =
        RunState::replay(events.iter().map(|recorded| &recorded.event)).map_err(|error| {
            Problem::from_error(Code::JournalIo, "the run cannot be replayed", &error)
        })?;
    let about = about(&state, question.what)?;
    let mut story = Story::of(RunId(bundle.run), &state, &events, &about, &|_| true);
    if let Some(last) = bundle.frames.last() {
        story.origin = Some(format!(
            "from {}: {}, chain whole\nhead {}",
            path.display(),
            count(bundle.frames.len(), "event"),
            hex(&last.hash)
        ));
    }
    let wanted: Vec<[u8; 32]> = story.bodies(question.full).iter().map(|e| e.hash).collect();
    let texts: Texts = bundle
        .blobs
        .iter()
        .map(|bytes| (*blake3::hash(bytes).as_bytes(), bytes))
        .filter(|(hash, _)| wanted.contains(hash))
        .map(|(hash, bytes)| (hash, String::from_utf8_lossy(bytes).into_owned()))
        .collect();
    show(app, &story, &texts, question.full, None);
    Ok(Code::Ok)
}

fn about(state: &RunState, what: Option<&str>) -> Result<About, Problem> {
    match what {
        None => Ok(About::Everything),
        Some("certs") => Ok(About::Certificates),
        Some(text) => store::find_step(state, text).map(About::Step).map_err(|problem| {
            problem.hint("`wiab journal why` without a step tells of everything that failed; `certs` of the certificates")
        }),
    }
}

fn show(app: &App, story: &Story<'_>, texts: &Texts, full: bool, suffix: Option<&str>) {
    app.printer.json(&story.json(texts));
    let view = View {
        full,
        width: app
            .width_if_known()
            .unwrap_or(WIDTH_MAX)
            .clamp(WIDTH_MIN, WIDTH_MAX),
        suffix,
    };
    for line in story.lines(app.printer.out_style(), texts, &view) {
        app.printer.line(&line);
        if app.printer.is_broken() {
            return;
        }
    }
}
