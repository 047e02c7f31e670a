//! A host together with the attempt that uses it: commands go to the transcript, host errors become failures.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use wiab_engine::outcome::{Failure, Residue};
use wiab_engine::ports::{StepCx, Tick};

use super::quote::quote;
use super::{Cmd, Host, HostError, JobId, JobState, Meta, OUTPUT_BYTES_MAX, Output, Stat};

/// Most bytes of each stream of one command in the transcript, half from its beginning, half from its end.
const STREAM_BYTES_MAX: usize = 32 << 10;

/// Most lines of a command's last words in a failure.
const LAST_LINES: usize = 3;

/// What came of a command that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InTime {
    /// It ended.
    Ended(Output),
    /// It did not end within this many milliseconds.
    No {
        /// Its limit.
        after_ms: u64,
    },
    /// Its program is not installed.
    NoProgram,
}

/// The host as one attempt of a step sees it.
#[derive(Debug, Clone, Copy)]
pub struct Shell<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// The attempt.
    pub cx: &'a StepCx,
}

impl<'a> Shell<'a> {
    /// Joins them.
    pub fn new(host: &'a dyn Host, cx: &'a StepCx) -> Self {
        Self { host, cx }
    }

    /// Runs a command; any exit code is an answer.
    pub async fn run(&self, cmd: &Cmd) -> Result<Output, Failure> {
        self.attempt(cmd).await.map_err(|(failure, _)| failure)
    }

    /// Runs a command that must end with 0.
    pub async fn ok(&self, cmd: &Cmd) -> Result<Output, Failure> {
        let output = self.run(cmd).await?;
        if output.ok() {
            return Ok(output);
        }
        Err(exit_failure(cmd, &output))
    }

    /// Runs a looking command; `None` when the program is not installed.
    pub async fn probe(&self, cmd: &Cmd) -> Result<Option<Output>, Failure> {
        match self.attempt(cmd).await {
            Ok(output) => Ok(Some(output)),
            Err((_, HostError::NoProgram { .. })) => Ok(None),
            Err((failure, _)) => Err(failure),
        }
    }

    /// The same for who waits: no end in time is an answer, too.
    pub async fn in_time(&self, cmd: &Cmd) -> Result<InTime, Failure> {
        match self.attempt(cmd).await {
            Ok(output) => Ok(InTime::Ended(output)),
            Err((_, HostError::NoProgram { .. })) => Ok(InTime::NoProgram),
            Err((_, HostError::TimedOut { after_ms })) => Ok(InTime::No { after_ms }),
            Err((failure, _)) => Err(failure),
        }
    }

    async fn attempt(&self, cmd: &Cmd) -> Result<Output, (Failure, HostError)> {
        let fresh = self.is_fresh();
        let begun_ms = self.cx.clock.mono_ms();
        let line = |text: &str| self.cx.progress.tick(Tick::Line(text.to_owned()));
        let done = self.host.run(cmd, &self.cx.cancel, &line).await;
        self.record(cmd, begun_ms, done.as_ref(), b"");
        done.map_err(|error| (failure(&error, fresh), error))
    }

    /// Runs a looking command whose standard output holds secrets: that output enters neither the transcript nor the
    /// progress stream. `None` when the program is not installed.
    pub async fn secret(&self, cmd: &Cmd) -> Result<Option<Output>, Failure> {
        let (fresh, begun_ms) = (self.is_fresh(), self.cx.clock.mono_ms());
        let done = self.host.run(cmd, &self.cx.cancel, &|_| {}).await;
        let shown = done.as_ref().map(|output| Output {
            code: output.code,
            stdout: b"(withheld: it holds secrets)\n".to_vec(),
            stderr: output.stderr.clone(),
        });
        self.record(cmd, begun_ms, shown.as_ref().map_err(|error| *error), b"");
        match done {
            Ok(output) => Ok(Some(output)),
            Err(HostError::NoProgram { .. }) => Ok(None),
            Err(error) => Err(failure(&error, fresh)),
        }
    }

    /// Reads a file; its content does not enter the transcript.
    pub async fn read(&self, path: &str, root: bool) -> Result<Option<Vec<u8>>, Failure> {
        let fresh = self.is_fresh();
        let done = self.host.read(path, root).await;
        done.map_err(|error| failure(&error, fresh))
    }

    /// Writes a file atomically; its content does not enter the transcript.
    pub async fn write(&self, path: &str, bytes: &[u8], meta: &Meta) -> Result<(), Failure> {
        let fresh = self.is_fresh();
        let done = self.host.write(path, bytes, meta).await;
        let text = format!(
            "write {path} ({} bytes, mode {:04o})",
            bytes.len(),
            meta.mode
        );
        self.note(&text, done.as_ref().err());
        done.map_err(|error| failure(&error, fresh))
    }

    /// Removes a file or an empty directory; `false` if nothing was there.
    pub async fn remove(&self, path: &str, root: bool) -> Result<bool, Failure> {
        let fresh = self.is_fresh();
        let done = self.host.remove(path, root).await;
        self.note(&format!("remove {path}"), done.as_ref().err());
        done.map_err(|error| failure(&error, fresh))
    }

    /// What stands at a path.
    pub async fn stat(&self, path: &str) -> Result<Option<Stat>, Failure> {
        let fresh = self.is_fresh();
        let done = self.host.stat(path).await;
        done.map_err(|error| failure(&error, fresh))
    }

    /// Where this attempt's job of that label stands.
    pub async fn job_state(&self, label: &str) -> Result<JobState, Failure> {
        let fresh = self.is_fresh();
        let done = self.host.job_state(&self.job_id(label)).await;
        done.map_err(|error| failure(&error, fresh))
    }

    /// Starts this attempt's job of that label, or attaches to it, and follows it to its end. Any exit code is an answer.
    pub async fn job(&self, label: &str, cmd: &Cmd) -> Result<Output, Failure> {
        let (id, fresh) = (self.job_id(label), self.is_fresh());
        let begun_ms = self.cx.clock.mono_ms();
        let said = Mutex::new(Vec::new());
        let line = |text: &str| {
            keep(&said, text);
            self.cx.progress.tick(Tick::Line(text.to_owned()));
        };
        if let Err(error) = self.host.job_start(&id, cmd).await {
            self.record(cmd, begun_ms, Err(&error), b"");
            return Err(failure(&error, fresh));
        }
        let wait = self
            .host
            .job_wait(&id, 0, cmd.timeout_ms, &self.cx.cancel, &line);
        let done = wait.await;
        let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.record(cmd, begun_ms, done.as_ref(), &said);
        // The job has run: whatever became of it, the host may have changed.
        done.map_err(|error| failure(&error, false))
    }

    /// Forgets this attempt's job of that label, which must have ended.
    pub async fn job_forget(&self, label: &str) -> Result<(), Failure> {
        let done = self.host.job_forget(&self.job_id(label)).await;
        done.map_err(|error| failure(&error, false))
    }

    fn job_id(&self, label: &str) -> JobId {
        JobId::new(self.cx.run, &self.cx.step, self.cx.attempt, label)
    }

    /// Whether this attempt cannot have changed anything yet.
    fn is_fresh(&self) -> bool {
        !self.cx.resumed && self.cx.evidence.is_empty()
    }

    /// Writes a command to the transcript: never its input or environment, which may hold secrets. `said` is what is known
    /// of its output when it did not end by itself.
    pub(super) fn record(
        &self,
        cmd: &Cmd,
        begun_ms: u64,
        done: Result<&Output, &HostError>,
        said: &[u8],
    ) {
        let took_ms = self.cx.clock.mono_ms().saturating_sub(begun_ms);
        let root = if cmd.root { "# " } else { "$ " };
        let mut text = format!("{root}{}\n", quote(&cmd.argv));
        match done {
            Ok(output) => {
                for stream in [&output.stdout, &output.stderr] {
                    text.push_str(&bounded(stream));
                }
                let _ = writeln!(text, "[exit {}, {took_ms} ms]", output.code);
            }
            Err(error) => {
                text.push_str(&bounded(said));
                let _ = writeln!(text, "[{error}, {took_ms} ms]");
            }
        }
        self.cx.evidence.push(&text);
    }

    fn note(&self, what: &str, error: Option<&HostError>) {
        let end = error.map_or_else(|| "[ok]".to_owned(), |error| format!("[{error}]"));
        self.cx.evidence.push(&format!("$ {what}\n{end}\n"));
    }
}

/// Keeps a line of a job; of very much, what came first and last.
pub(super) fn keep(said: &Mutex<Vec<u8>>, text: &str) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    said.extend_from_slice(text.as_bytes());
    said.push(b'\n');
    if said.len() > OUTPUT_BYTES_MAX {
        let end = said.len().saturating_sub(STREAM_BYTES_MAX);
        said.drain(STREAM_BYTES_MAX..end);
    }
}

/// Head and tail of a stream, ending with a newline.
fn bounded(stream: &[u8]) -> String {
    if stream.is_empty() {
        return String::new();
    }
    let half = STREAM_BYTES_MAX / 2;
    let mut text = match stream.len().checked_sub(STREAM_BYTES_MAX) {
        None | Some(0) => String::from_utf8_lossy(stream).into_owned(),
        Some(dropped) => {
            let (head, rest) = stream.split_at(half);
            let tail = rest.get(dropped..).unwrap_or_default();
            format!(
                "{}\n… {dropped} bytes left out …\n{}",
                String::from_utf8_lossy(head),
                String::from_utf8_lossy(tail)
            )
        }
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A command that ended badly: its last words, and whether waiting may help.
fn exit_failure(cmd: &Cmd, output: &Output) -> Failure {
    let program = cmd.argv.first().map_or("", String::as_str);
    let said = match output.error_text() {
        text if text.is_empty() => output.text(),
        text => text,
    };
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(LAST_LINES)..)
        .unwrap_or_default();
    let why = match last {
        [] => format!("`{program}` ended with code {}", output.code),
        last => format!(
            "`{program}` ended with code {}: {}",
            output.code,
            last.join(" / ")
        ),
    };
    let failure = Failure::dirty(why);
    if is_apt_lock(&said) {
        return failure
            .retry()
            .hint("another package manager holds the lock; wait for it or stop it");
    }
    failure
}

fn is_apt_lock(text: &str) -> bool {
    [
        "Could not get lock",
        "Unable to lock directory",
        "is held by process",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

/// A host's error as a failure. `fresh` says that the attempt cannot have changed anything before.
pub(super) fn failure(error: &HostError, fresh: bool) -> Failure {
    let failure = Failure {
        residue: if fresh {
            Residue::Clean
        } else {
            Residue::Dirty
        },
        ..Failure::clean(error.to_string())
    };
    match error {
        HostError::NoProgram { program } => {
            failure.hint(format!("install the package that brings `{program}`"))
        }
        HostError::Denied { .. } => {
            failure.hint("give the user passwordless sudo, or run wiab as root")
        }
        HostError::Barred { remedy, code, .. } => failure.hint(remedy.clone()).code(code),
        HostError::Unreachable { .. } => failure.retry(),
        // An atomic write that failed has left the old file, at most a temporary one beside it.
        HostError::File { .. } => Failure {
            residue: Residue::Dirty,
            ..failure
        },
        HostError::TimedOut { .. } | HostError::LostMidway { .. } => {
            Failure::unknown(error.to_string()).retry()
        }
        HostError::Cancelled => Failure::unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wiab_engine::id::{RunId, StepId};
    use wiab_engine::outcome::RetryAdvice;
    use wiab_engine::ports::ProgressSink;

    use super::super::sim::{Action, Fault, Machine, SimHost, SimOptions};
    use super::*;

    #[derive(Debug, Default)]
    struct Sink(Mutex<Vec<Tick>>);

    impl ProgressSink for Sink {
        fn tick(&self, _: &StepId, tick: Tick) {
            self.0.lock().unwrap().push(tick);
        }
    }

    fn cx(host: &SimHost, sink: &Arc<Sink>) -> StepCx {
        let step = StepId::new("a.b").unwrap();
        let mut cx = StepCx::new(RunId([3; 16]), step, Arc::new(host.clock()));
        cx.progress.sink = Some(sink.clone());
        cx
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn commands_are_recorded_without_their_secrets() {
        block(async {
            let host = SimHost::in_memory(Machine::fresh(), SimOptions::default());
            let sink = Arc::new(Sink::default());
            let cx = cx(&host, &sink);
            let shell = Shell::new(&*host, &cx);
            let cat = Cmd::new(["cat", "-"])
                .stdin("line 1\n")
                .env("TOKEN", "hunter2");
            shell.ok(&cat).await.unwrap();
            shell
                .write("/tmp/a b", b"hunter2", &Meta::user(0o600))
                .await
                .unwrap();
            shell.remove("/tmp/a b", false).await.unwrap();
            let failure = shell
                .ok(&Cmd::new(["cat", "it's gone"]).root())
                .await
                .unwrap_err();
            assert_eq!(failure.residue, Residue::Dirty);
            assert!(
                failure.why.contains("No such file or directory"),
                "{failure:?}"
            );
            let text = String::from_utf8(cx.evidence.bytes().unwrap()).unwrap();
            assert_eq!(
                text,
                "$ cat -\nline 1\n[exit 0, 2 ms]\n$ write /tmp/a b (7 bytes, mode 0600)\n[ok]\n$ remove /tmp/a b\n[ok]\n\
                 # cat 'it'\\''s gone'\ncat: it's gone: No such file or directory\n[exit 1, 2 ms]\n"
            );
            let first = sink.0.lock().unwrap().first().cloned();
            assert_eq!(first, Some(Tick::Line("line 1".to_owned())));
        });
    }

    #[test]
    fn host_errors_become_failures_with_their_residue() {
        block(async {
            let lost = Action::LostAfter;
            for (action, residue, advice) in [
                (Action::LostBefore, Residue::Clean, RetryAdvice::Retry),
                (lost, Residue::Unknown, RetryAdvice::Retry),
                (Action::Hang, Residue::Unknown, RetryAdvice::Retry),
            ] {
                let host = SimHost::in_memory(Machine::fresh(), SimOptions::default());
                host.arm(Fault::once("touch*", action.clone()));
                let sink = Arc::new(Sink::default());
                let cx = cx(&host, &sink);
                let shell = Shell::new(&*host, &cx);
                let failure = shell.run(&Cmd::new(["touch", "/tmp/x"])).await.unwrap_err();
                assert_eq!(
                    (failure.residue, failure.advice),
                    (residue, advice),
                    "{action:?}"
                );
                // Later in the attempt nobody can say that nothing was changed.
                host.arm(Fault::once("touch*", Action::LostBefore));
                let again = shell.run(&Cmd::new(["touch", "/tmp/x"])).await.unwrap_err();
                assert_eq!(again.residue, Residue::Dirty);
            }
            let host = SimHost::in_memory(Machine::fresh(), SimOptions::default());
            let sink = Arc::new(Sink::default());
            let cx = cx(&host, &sink);
            let shell = Shell::new(&*host, &cx);
            let virsh = Cmd::new(["virsh", "list"]).root();
            assert_eq!(shell.probe(&virsh).await.unwrap(), None);
            let lock = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)";
            let stderr = lock.to_owned();
            host.arm(Fault::once("apt-get*", Action::Fail { code: 100, stderr }));
            let failure = shell
                .ok(&Cmd::new(["apt-get", "install", "-y", "acl"]).root())
                .await
                .unwrap_err();
            assert_eq!(failure.advice, RetryAdvice::Retry);
            assert!(failure.hint.is_some());
        });
    }

    #[test]
    fn a_job_is_attached_to_again() {
        block(async {
            let host = SimHost::in_memory(Machine::fresh(), SimOptions::default());
            let sink = Arc::new(Sink::default());
            let cx = cx(&host, &sink);
            let shell = Shell::new(&*host, &cx);
            let cmd = Cmd::new(["sh", "-c", "echo x > /tmp/x; echo done"]);
            let first = shell.job("run", &cmd).await.unwrap();
            host.meddle(|machine| machine.without_file("/tmp/x"))
                .unwrap();
            assert_eq!(shell.job("run", &cmd).await.unwrap(), first);
            assert_eq!(shell.job_state("run").await.unwrap(), JobState::Exited(0));
            assert_eq!(shell.stat("/tmp/x").await.unwrap(), None);
            shell.job_forget("run").await.unwrap();
            assert_eq!(shell.job_state("run").await.unwrap(), JobState::Absent);
        });
    }
}
