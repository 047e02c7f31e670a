//! The commands, one file each.

pub(crate) mod apply;
pub(crate) mod certs;
pub(crate) mod config;
pub(crate) mod decide;
pub(crate) mod doctor;
pub(crate) mod graph;
pub(crate) mod help;
pub(crate) mod init;
pub(crate) mod journal;
pub(crate) mod plan;
pub(crate) mod resume;
pub(crate) mod rollback;
pub(crate) mod secrets;
pub(crate) mod select;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod why;

use clap::CommandFactory;
use wiab_engine::installation::Installation;
use wiab_journal::Journal;

use crate::app::App;
use crate::cli::{Cli, Command, UtilCommand};
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::problem::Problem;
use crate::{owed, store};

/// Runs a command.
pub(crate) fn run(app: &App, command: &Command) -> Result<Code, Problem> {
    match command {
        Command::Init => init::run(app),
        Command::Config(args) => config::run(app, args),
        Command::Help { topic } => help::run(app, topic.as_deref()),
        Command::Util(UtilCommand::Completion { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "wiab", &mut script);
            app.printer.raw(&script);
            Ok(Code::Ok)
        }
        Command::Status(args) => status::run(app, args),
        Command::Decide(args) => decide::run(app, args),
        Command::Journal(command) => journal::run(app, command),
        Command::Plan(args) => plan::run(app, args),
        Command::Apply(args) => apply::run(app, args),
        Command::Rollback(args) => rollback::run(app, args),
        Command::Certs(args) => certs::run(app, args),
        Command::Doctor => doctor::run(app),
        Command::Graph(args) => graph::run(app, args),
        Command::Secrets(command) => secrets::run(app, command),
    }
}

/// An open journal and what it says.
pub(crate) type Opened = (Journal, Installation);

/// Opens the journal for writing, and folds it; makes one when there is none.
pub(crate) fn open_journal(app: &App, dirs: &Dirs) -> Result<Opened, Problem> {
    dirs.prepare()?;
    let journal = Journal::open(&dirs.journal(), store::options(app))
        .map_err(|error| store::problem(&error, &app.suffix()))?;
    let mut runs = Installation::default();
    for frame in journal.frames(1) {
        let frame = frame.map_err(|error| store::problem(&error, &app.suffix()))?;
        store::fold(&mut runs, &frame)?;
    }
    owed::tell(app, &runs);
    Ok((journal, runs))
}

/// The same, but `None` when there is none: a command that is refused must not leave one behind.
pub(crate) fn open_existing(app: &App, dirs: &Dirs) -> Result<Option<Opened>, Problem> {
    match dirs.journal().try_exists() {
        Ok(false) => Ok(None),
        Ok(true) | Err(_) => open_journal(app, dirs).map(Some),
    }
}
