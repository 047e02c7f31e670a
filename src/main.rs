//! The command line of wiab: the only code that prints, reads the environment and ends the process.

mod app;
mod cli;
mod clock;
mod cmd;
mod config;
mod crash;
mod debug_log;
mod dirs;
mod drive;
mod exit;
mod leased;
mod machine;
mod owed;
mod problem;
mod remote;
mod run_display;
mod saved;
mod screen;
mod setup;
mod signals;
mod store;
mod ui;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::app::App;
use crate::cli::Cli;
use crate::config::env::Environment;
use crate::exit::Code;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let app = match App::new(cli.global, Environment::of_process()) {
        Ok(app) => app,
        Err(problem) => {
            let _gone = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("{}\n", problem.lines().join("\n")).as_bytes(),
            );
            return ExitCode::from(problem.code.number());
        }
    };
    crash::install();
    let command = AssertUnwindSafe(|| cmd::run(&app, &cli.command));
    let code = match catch_unwind(command) {
        Ok(Ok(code)) => code,
        Ok(Err(problem)) => {
            app.printer.problem(&problem);
            problem.code
        }
        // The hook has written the report and said so.
        Err(_) => Code::Bug,
    };
    ExitCode::from(written(&app, code).number())
}

/// A result that could not be written is none; the outcome of a run that did not succeed says more, though.
fn written(app: &App, code: Code) -> Code {
    match app.printer.output_problem() {
        Some(problem) if matches!(code, Code::Ok | Code::Changes) => {
            app.printer.problem(&problem);
            problem.code
        }
        Some(_) | None => code,
    }
}

/// What clap has to say: help and version on stdout with 0, mistakes on stderr with 64 instead of clap's 2.
fn usage(error: &clap::Error) -> ExitCode {
    let code = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Code::Ok,
        _ => Code::Usage,
    };
    let code = match error.print() {
        Err(failed) if code == Code::Ok && failed.kind() != std::io::ErrorKind::BrokenPipe => {
            Code::JournalIo
        }
        Err(_) | Ok(()) => code,
    };
    ExitCode::from(code.number())
}
