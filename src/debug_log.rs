//! The debug log of a run: always written into the run's directory, whatever the screen shows.

use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};

use crate::app::App;
use crate::exit::Code;
use crate::problem::Problem;

/// What is logged unless `WIAB_LOG` says otherwise.
const FILTER: &str = "debug,sled=warn";
/// From so many `-v` on the log is shown on stderr, too.
const VERBOSE_SHOWN: u8 = 2;

/// Begins the log in `dir`; a second call in one process goes on with the first file.
pub(crate) fn start(app: &App, dir: &Path) -> Result<(), Problem> {
    let wanted = app.env.get("WIAB_LOG").unwrap_or(FILTER);
    let filter = EnvFilter::try_new(wanted).map_err(|error| {
        Problem::new(Code::Usage, format!("WIAB_LOG is no filter: {error}"))
            .hint("for example: WIAB_LOG=debug or WIAB_LOG=wiab_engine=trace,info")
    })?;
    let file = fs_err::create_dir_all(dir)
        .and_then(|()| {
            fs_err::OpenOptions::new()
                .create(true)
                .append(true)
                .open(dir.join("debug.log"))
        })
        .map_err(|error| {
            Problem::from_error(Code::JournalIo, "the debug log cannot be written", &error)
                .hint("make room, or choose another state directory with --state-dir")
        })?;
    let file = Mutex::new(file);
    let writer = if app.global.verbose >= VERBOSE_SHOWN {
        BoxMakeWriter::new(file.and(std::io::stderr))
    } else {
        BoxMakeWriter::new(file)
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!(dir = %dir.display(), "the log goes on here");
    }
    Ok(())
}
