//! What every command holds: the environment, the streams, the questions, the configuration.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::{Global, ProgressMode};
use crate::config::env::Environment;
use crate::config::{Asked, Config};
use crate::dirs::{Dirs, Where};
use crate::exit::Code;
use crate::problem::Problem;
use crate::run_display::Mode;
use crate::ui::printer::{Level, Options, Printer};
use crate::ui::prompt::Prompt;

/// The process, as commands see it.
#[derive(Debug)]
pub(crate) struct App {
    /// The environment.
    pub(crate) env: Environment,
    /// The streams.
    pub(crate) printer: Arc<Printer>,
    /// The global options.
    pub(crate) global: Global,
    /// The command line as the journal keeps it.
    pub(crate) command_line: String,
}

impl App {
    /// Opens the streams.
    pub(crate) fn new(global: Global, env: Environment) -> Result<Self, Problem> {
        let json_into = global
            .json_into
            .as_ref()
            .map(fs_err::File::create)
            .transpose()
            .map_err(|error| {
                Problem::from_error(Code::Usage, "--json-into cannot be written", &error)
                    .hint("choose a file in a writable directory")
            })?;
        let level = match (global.quiet, global.verbose) {
            (0, 0) => Level::Normal,
            (0, _) => Level::Verbose,
            (1, _) => Level::Quiet,
            _ => Level::Silent,
        };
        let options = Options {
            level,
            json: global.json || global.progress == Some(ProgressMode::Json),
            json_into,
            color: global.color,
        };
        Ok(Self {
            printer: Arc::new(Printer::new(options, &env)),
            command_line: command_line(std::env::args()),
            env,
            global,
        })
    }

    /// The questions a command may ask.
    pub(crate) fn prompt(&self, yes: bool, confirm: Option<&str>) -> Prompt {
        Prompt {
            yes,
            no_input: self.global.no_input,
            confirm: confirm.map(str::to_owned),
        }
    }

    /// Reads the configuration. `flags` are values that the command's own options set: path, text, flag.
    pub(crate) fn config(&self, flags: &[(&str, String, &str)]) -> Result<Config, Problem> {
        let config = Config::load(&self.asked(flags)?, &self.env)?;
        for warning in &config.warnings {
            self.printer.warn(warning);
        }
        Ok(config)
    }

    fn asked(&self, flags: &[(&str, String, &str)]) -> Result<Asked, Problem> {
        let mut all = Vec::new();
        for set in &self.global.sets {
            let Some((path, text)) = set.split_once('=') else {
                return Err(Problem::new(Code::Usage, format!("--set {set} has no `=`"))
                    .hint("write --set KEY=VALUE, such as --set run.width=2"));
            };
            all.push((path.to_owned(), text.to_owned(), "--set".to_owned()));
        }
        if let Some(host) = &self.global.host {
            all.push(("host".to_owned(), host.clone(), "--host".to_owned()));
        }
        if self.global.strict {
            all.push((
                "ssh.strict".to_owned(),
                "true".to_owned(),
                "--strict".to_owned(),
            ));
        }
        for (path, text, flag) in flags {
            all.push(((*path).to_owned(), text.clone(), (*flag).to_owned()));
        }
        Ok(Asked {
            file: self.global.config.clone(),
            flags: all,
            system_file: Some(PathBuf::from("/etc/wiab/config.toml")),
        })
    }

    /// The directories of the configured installation.
    pub(crate) fn dirs(&self, config: &Config) -> Result<Dirs, Problem> {
        let dirs = Dirs::find(Where {
            flag: self.global.state_dir.as_deref(),
            env: &self.env,
            root: rustix::process::geteuid().is_root(),
            host: &config.machine(),
            installation: config.text("name"),
        })?;
        crate::crash::locate(&dirs.crash(), &self.command_line);
        Ok(dirs)
    }

    /// Who writes into the journal: `user@machine` and process id.
    pub(crate) fn actor() -> String {
        format!("{} {}", Self::owner(), std::process::id())
    }

    /// `user@machine`.
    pub(crate) fn owner() -> String {
        // The account that acts, not what the environment calls it.
        let user = wiab_journal::login_name();
        let machine = rustix::system::uname();
        format!("{user}@{}", machine.nodename().to_string_lossy())
    }

    /// How a run is shown.
    pub(crate) fn mode(&self) -> Mode {
        let wanted = self.global.progress.unwrap_or_else(|| {
            self.env
                .get("WIAB_PROGRESS")
                .and_then(|text| <ProgressMode as clap::ValueEnum>::from_str(text, true).ok())
                .unwrap_or(ProgressMode::Auto)
        });
        if self.printer.is_json() {
            return Mode::Json;
        }
        if self.printer.level() < Level::Normal {
            return Mode::None;
        }
        match wanted {
            ProgressMode::Tty => Mode::Tty,
            ProgressMode::Plain => Mode::Plain,
            ProgressMode::Json => Mode::Json,
            ProgressMode::None => Mode::None,
            ProgressMode::Auto => {
                let live = std::io::stderr().is_terminal()
                    && self.env.get("CI").is_none()
                    && self.env.get("TERM") != Some("dumb")
                    && self.global.verbose == 0;
                if live { Mode::Tty } else { Mode::Plain }
            }
        }
    }

    /// Width of the terminal, in characters.
    pub(crate) fn width(&self) -> usize {
        let columns = self.env.get("COLUMNS").and_then(|text| text.parse().ok());
        columns
            .or_else(|| {
                let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
                Some(usize::from(size.ws_col)).filter(|width| *width > 0)
            })
            .unwrap_or(100)
    }

    /// The width that a plain text should keep to; `None` when stdout is a pipe or file and nothing says otherwise.
    pub(crate) fn width_if_known(&self) -> Option<usize> {
        let wanted = self.env.get("COLUMNS").is_some() || std::io::stdout().is_terminal();
        wanted.then(|| self.width())
    }

    /// The options that must be repeated so that a suggested command means the same installation.
    pub(crate) fn suffix(&self) -> String {
        let mut text = String::new();
        let path = |path: &PathBuf| path.display().to_string();
        let options = [
            ("--host", self.global.host.clone()),
            ("--config", self.global.config.as_ref().map(path)),
            ("--state-dir", self.global.state_dir.as_ref().map(path)),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                text.push(' ');
                text.push_str(name);
                text.push(' ');
                text.push_str(&value);
            }
        }
        if self.global.strict {
            text.push_str(" --strict");
        }
        for set in &self.global.sets {
            text.push_str(" --set ");
            text.push_str(set);
        }
        text
    }
}

/// The arguments in one line. wiab takes no secret on its command line; the length is bounded all the same.
fn command_line(args: impl Iterator<Item = String>) -> String {
    let line: Vec<String> = std::iter::once("wiab".to_owned())
        .chain(args.skip(1))
        .collect();
    line.join(" ").chars().take(2_000).collect()
}
