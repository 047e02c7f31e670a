//! Questions: asked only when somebody can answer, and never guessed.

use std::io::{self, BufRead, IsTerminal};

use crate::exit::Code;
use crate::problem::Problem;
use crate::ui::printer::Printer;

/// What the command line says about questions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prompt {
    /// `--yes`.
    pub(crate) yes: bool,
    /// `--no-input`.
    pub(crate) no_input: bool,
    /// `--confirm HOST`.
    pub(crate) confirm: Option<String>,
}

impl Prompt {
    fn can_ask(&self) -> bool {
        !self.no_input && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks y/N. `Ok(false)` is a no.
    pub(crate) fn yes(&self, printer: &Printer, question: &str) -> Result<bool, Problem> {
        if self.yes {
            return Ok(true);
        }
        if !self.can_ask() {
            return Err(Problem::new(
                Code::Usage,
                format!(
                    "`{question}` cannot be asked: this is not a terminal, or --no-input is set"
                ),
            )
            .hint("add --yes to answer yes"));
        }
        printer.err_raw(&format!("{question} [y/N] "));
        let answer = read_line()?;
        Ok(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }

    /// Asks for the host's name: for what cannot be taken back. `--yes` is not enough.
    pub(crate) fn typed(&self, printer: &Printer, host: &str, what: &str) -> Result<(), Problem> {
        if let Some(given) = &self.confirm {
            if given == host {
                return Ok(());
            }
            return Err(Problem::new(
                Code::Usage,
                format!("--confirm names `{given}`, but the host is `{host}`"),
            )
            .hint(format!("to go on: --confirm {host}")));
        }
        if !self.can_ask() {
            return Err(
                Problem::new(Code::Usage, format!("{what} needs a confirmation"))
                    .hint(format!("add --confirm {host}")),
            );
        }
        printer.err_raw(&format!("{what}. Type the host's name ({host}) to go on: "));
        if read_line()?.trim() == host {
            return Ok(());
        }
        Err(Problem::new(
            Code::Usage,
            "not confirmed; nothing was changed",
        ))
    }
}

fn read_line() -> Result<String, Problem> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Problem::from_error(Code::Failure, "the answer cannot be read", &error))?;
    Ok(line)
}
