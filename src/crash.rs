//! A panic leaves a report in the state directory and one paragraph on the screen. Nothing is sent anywhere.

use std::backtrace::Backtrace;
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::ui::time;

/// Most events kept for the report.
const EVENTS_MAX: usize = 50;

static CONTEXT: Mutex<Context> = Mutex::new(Context {
    dir: None,
    command_line: String::new(),
    run: String::new(),
    events: VecDeque::new(),
});

struct Context {
    dir: Option<PathBuf>,
    command_line: String,
    run: String,
    events: VecDeque<String>,
}

fn with<T>(change: impl FnOnce(&mut Context) -> T) -> T {
    change(&mut CONTEXT.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Says where reports go and how wiab was called.
pub(crate) fn locate(dir: &Path, command_line: &str) {
    with(|context| {
        context.dir = Some(dir.to_path_buf());
        command_line.clone_into(&mut context.command_line);
    });
}

/// Says which run is under way.
pub(crate) fn run(run: &str) {
    with(|context| run.clone_into(&mut context.run));
}

/// Remembers an event.
pub(crate) fn note(event: &str) {
    with(|context| {
        if context.events.len() >= EVENTS_MAX {
            context.events.pop_front();
        }
        context.events.push_back(event.to_owned());
    });
}

/// Installs the hook.
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|info| {
        let now_ms = crate::clock::wall_ms();
        let what = info.to_string();
        let report = report(&what, now_ms, &Backtrace::force_capture().to_string());
        let place = with(|context| context.dir.clone())
            .unwrap_or_else(|| std::env::temp_dir().join("wiab-crash"));
        let path = place.join(format!("{now_ms}-{}.txt", std::process::id()));
        let written = fs_err::create_dir_all(&place).and_then(|()| fs_err::write(&path, report));
        let place = match written {
            Ok(()) => format!("A report is in {}.", path.display()),
            Err(error) => format!("No report could be written: {error}."),
        };
        // Nobody is left to tell when stderr is gone.
        let _gone = writeln!(
            std::io::stderr(),
            "wiab: a bug: {what}\n{place} It stays on this machine. The journal is safe; `wiab apply --resume` goes on."
        );
    }));
}

fn report(what: &str, now_ms: u64, backtrace: &str) -> String {
    with(|context| {
        let events: Vec<String> = context.events.iter().cloned().collect();
        format!(
            "wiab {}\n{}\ncommand: {}\nrun: {}\n\n{what}\n\nlast events:\n{}\n\nbacktrace:\n{backtrace}\n",
            env!("CARGO_PKG_VERSION"),
            time::rfc3339(now_ms),
            context.command_line,
            context.run,
            events.join("\n"),
        )
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_report_names_version_command_run_and_the_last_events() {
        super::locate(std::path::Path::new("/nowhere"), "wiab apply");
        super::run("abc");
        for number in 0..60 {
            super::note(&format!("event {number}."));
        }
        let text = super::report("it broke", 0, "frames");
        for part in [
            "wiab 0",
            "command: wiab apply",
            "run: abc",
            "it broke",
            "event 59.",
            "frames",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("event 9."), "{text}");
    }
}
