//! Ctrl-C and its relatives: say something at once, stop gently, then firmly, then now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wiab_engine::runner::Stop;

use crate::exit::Code;
use crate::run_display::Display;
use crate::ui::printer::Printer;

/// Which signal asked first; decides between exit codes 130 and 143.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<AtomicU8>);

impl Asked {
    /// The exit code of an interrupted run.
    pub(crate) fn code(&self) -> Code {
        match self.0.load(Ordering::SeqCst) {
            2 => Code::Terminated,
            _ => Code::Interrupted,
        }
    }

    fn first(&self, by: &str) {
        let which = if by == "SIGTERM" { 2 } else { 1 };
        // Only the first one counts.
        let _already = self
            .0
            .compare_exchange(0, which, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Listens until the process ends, and sends stops to the runner. Returns what was asked.
pub(crate) fn listen(
    display: Arc<Display>,
    printer: Arc<Printer>,
    resume: String,
    sender: mpsc::Sender<Stop>,
) -> std::io::Result<Asked> {
    let asked = Asked::default();
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    let seen = asked.clone();
    tokio::spawn(async move {
        let mut stage = 0_u8;
        loop {
            let by = tokio::select! {
                Some(()) = interrupts.recv() => "SIGINT",
                Some(()) = terminations.recv() => "SIGTERM",
                Some(()) = hangups.recv() => {
                    // The terminal is gone; the run goes on, and its log is in the run's directory.
                    tracing::info!("SIGHUP: going on without the terminal");
                    printer.hang_up();
                    continue;
                }
                else => return,
            };
            stage += 1;
            seen.first(by);
            let stop = match stage {
                1 => {
                    display.say(&first_words(&display.running(), &resume));
                    Stop::Finish { by: by.to_owned() }
                }
                2 => {
                    display.say("Stopping the running steps now. What they left is looked at on resume. Ctrl-C again: exit at once.");
                    Stop::Kill { by: by.to_owned() }
                }
                _ => leave(&display, &resume, &seen),
            };
            if sender.send(stop).await.is_err() {
                return;
            }
        }
    });
    Ok(asked)
}

fn first_words(running: &[String], resume: &str) -> String {
    let waiting = match running {
        [] => "Nothing is running.".to_owned(),
        [one] => format!("Waiting for {one}."),
        [one, two] => format!("Waiting for {one} and {two}."),
        [one, two, rest @ ..] => format!("Waiting for {one}, {two} and {} more.", rest.len()),
    };
    format!(
        "Stopping: nothing new starts. {waiting} Ctrl-C again: stop now. Resume later either way: {resume}"
    )
}

fn leave(display: &Display, resume: &str, asked: &Asked) -> ! {
    display.finish();
    display.say(&format!(
        "Left at once; the journal is safe. Resume: {resume}"
    ));
    #[expect(
        clippy::exit,
        clippy::disallowed_methods,
        reason = "the operator asked three times; waiting for anything would break that promise"
    )]
    std::process::exit(i32::from(asked.code().number()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_answer_names_what_is_waited_for() {
        let steps = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            super::first_words(&steps, "wiab apply --resume"),
            "Stopping: nothing new starts. Waiting for a, b and 1 more. Ctrl-C again: stop now. \
             Resume later either way: wiab apply --resume"
        );
    }
}
