//! The commands, one file each.

pub(crate) mod config;
pub(crate) mod help;
pub(crate) mod init;

use clap::CommandFactory;

use crate::app::App;
use crate::cli::{Cli, Command, UtilCommand};
use crate::exit::Code;
use crate::problem::Problem;

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
        _ => Ok(Code::Ok),
    }
}
