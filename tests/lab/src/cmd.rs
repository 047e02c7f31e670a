//! Commands: the lab's only door to other programs. Each has a time limit and ends when the lab is interrupted, except while
//! it cleans up.

use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::error::{LabError, Result};
use crate::sys::{Watch, check_interrupt, sleep_ms};

/// Longest output of a failed command that is shown, in bytes.
const SHOWN_OUTPUT: usize = 4000;
/// How often a running command is looked at, in milliseconds.
const POLL_MS: u64 = 20;
/// A command to run.
#[derive(Debug)]
pub(crate) struct Cmd {
    argv: Vec<String>,
    /// How many words at the start only say where it runs; texts leave them out.
    hidden: usize,
    stdin: Option<Vec<u8>>,
    env: Vec<(String, String)>,
    dir: Option<PathBuf>,
    limit_s: u64,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Done {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output, bytes that are not UTF-8 replaced.
    pub(crate) stdout: String,
    /// Its standard error, likewise.
    pub(crate) stderr: String,
}

impl Cmd {
    /// A command line; the first word is looked up in PATH. The time limit is 120 s unless [`Cmd::limit_s`] sets another.
    pub(crate) fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self {
            argv,
            hidden: 0,
            stdin: None,
            env: Vec::new(),
            dir: None,
            limit_s: 120,
        }
    }

    /// A command line that runs with mounts and processes of its own: none of them outlives it.
    pub(crate) fn isolated() -> Self {
        Self::new([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
        ])
        .args(["--kill-child=KILL", "--mount-proc", "--"])
    }

    /// What stands so far only says where the command runs: errors leave it out.
    pub(crate) fn hide_prefix(mut self) -> Self {
        self.hidden = self.argv.len();
        self
    }

    /// One more argument.
    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// More arguments.
    pub(crate) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// What it reads from standard input (else nothing).
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// A variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its working directory.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Its time limit in seconds.
    pub(crate) fn limit_s(mut self, limit_s: u64) -> Self {
        self.limit_s = limit_s;
        self
    }

    /// Becomes it, with this program's own input and output; returns only when that fails.
    pub(crate) fn become_it(&self) -> LabError {
        become_program(&self.argv, ("TERM", "xterm"))
    }

    /// The command line as text.
    pub(crate) fn line(&self) -> String {
        self.argv.get(self.hidden..).unwrap_or_default().join(" ")
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the lab drives the real tools of the outer machine"
    )]
    fn command(&self) -> Command {
        let mut words = self.argv.iter();
        let mut command = Command::new(words.next().map_or("true", String::as_str));
        command.args(words).process_group(0).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn start(&self, mut command: Command) -> Result<Child> {
        command.spawn().map_err(|source| LabError::Start {
            program: self.argv.first().cloned().unwrap_or_default(),
            source,
        })
    }

    /// Starts it in the background with its output in the file `log`. The caller ends it.
    pub(crate) fn spawn_logged(&self, log: &Path) -> Result<Child> {
        let out = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)?;
        let mut command = self.command();
        command.stdout(Stdio::from(out.file().try_clone()?));
        command.stderr(Stdio::from(out.into_parts().0));
        self.start(command)
    }

    /// Runs it with its output going where the lab's own output goes; returns its exit code (128 + signal when killed).
    pub(crate) fn stream(&self) -> Result<i32> {
        let mut child = self.start(self.command())?;
        let status = self.watch(&mut child)?;
        Ok(status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// Runs it and returns what it left, however it ended.
    pub(crate) fn done(&self) -> Result<Done> {
        check_interrupt()?;
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.stdin.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = self.start(command)?;
        let input = child.stdin.take().zip(self.stdin.clone());
        let feeder = std::thread::spawn(move || {
            // A command that does not read all of its input is no error of ours.
            input.map(|(mut pipe, bytes)| pipe.write_all(&bytes).is_ok())
        });
        let stdout = child.stdout.take().map(reader);
        let stderr = child.stderr.take().map(reader);
        let status = self.watch(&mut child)?;
        let _ = feeder.join();
        Ok(Done {
            status,
            stdout: text_of(stdout),
            stderr: text_of(stderr),
        })
    }

    /// Runs it and returns its standard output; a failure is an error that shows the end of its output.
    pub(crate) fn output(&self) -> Result<String> {
        let done = self.done()?;
        if done.status.success() {
            return Ok(done.stdout);
        }
        let mut shown = format!("{}{}", done.stdout, done.stderr);
        let mut from = shown.len().saturating_sub(SHOWN_OUTPUT);
        while !shown.is_char_boundary(from) {
            from += 1;
        }
        shown.drain(..from);
        let output = shown.lines().flat_map(|line| ["\n    ", line]).collect();
        Err(LabError::Failed {
            command: self.line(),
            how: done.status.to_string(),
            output,
        })
    }

    /// Runs it; a failure is an error.
    pub(crate) fn run(&self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs it; whether it succeeded.
    pub(crate) fn succeeds(&self) -> Result<bool> {
        Ok(self.done()?.status.success())
    }

    fn watch(&self, child: &mut Child) -> Result<ExitStatus> {
        let watch = Watch::start();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let stop = check_interrupt().and_then(|()| {
                if watch.over(self.limit_s) {
                    return Err(LabError::TimedOut {
                        what: format!("`{}`", self.line()),
                        limit_s: self.limit_s,
                        detail: String::new(),
                    });
                }
                Ok(())
            });
            if let Err(error) = stop {
                kill_group(child);
                child.wait()?;
                return Err(error);
            }
            sleep_ms(POLL_MS);
        }
    }
}

/// Kills the process group that `child` leads.
pub(crate) fn kill_group(child: &Child) {
    if let Some(group) = group_of(child) {
        // It may have ended meanwhile; that is as good.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Kills the process group that `child` leads and waits until none of it is left, not even unburied.
pub(crate) fn kill_group_to_its_end(child: &mut Child) -> Result<()> {
    kill_group(child);
    let group = group_of(child);
    child.wait()?;
    crate::sys::wait_for("the end of the killed processes", 20, || {
        let left = group.is_some_and(|id| rustix::process::test_kill_process_group(id).is_ok());
        Ok((!left).then_some(()))
    })
}

fn group_of(child: &Child) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(child.id()).ok()?)
}

fn reader(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the capture; the exit status still tells how the command went.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn text_of(thread: Option<std::thread::JoinHandle<Vec<u8>>>) -> String {
    let bytes = thread
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Replaces this process by `argv`; returns only when that fails.
#[expect(
    clippy::disallowed_methods,
    reason = "the inner half of the lab becomes the container manager"
)]
pub(crate) fn become_program(argv: &[String], env: (&str, &str)) -> LabError {
    let mut words = argv.iter();
    let program = words.next().cloned().unwrap_or_default();
    let source = Command::new(&program).args(words).env(env.0, env.1).exec();
    LabError::Start { program, source }
}
