//! Running a command to its end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin};
use wiab_engine::ports::Cancel;

use super::super::capture::Capture;
use super::super::{Cmd, HostError, LineSink, Output};
use super::LocalHost;
use super::clock::pause;
use super::process::{Target, signal};

/// How long output may still come after a command's end, from children that keep its pipes open.
pub(super) const PIPE_GRACE_MS: u64 = 1_000;

/// Kills a process group when the command's future is dropped.
struct Guard {
    group: Option<i32>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            signal(&Target::Group(group), Signal::KILL);
        }
    }
}

/// What ended the wait.
enum End {
    Exited(Output),
    TimedOut,
    Cancelled,
}

impl LocalHost {
    /// The command with everything that comes before it: `sudo`, group, locale, path.
    fn prepare(&self, cmd: &Cmd) -> Result<tokio::process::Command, HostError> {
        let Some((program, args)) = cmd.argv.split_first() else {
            return Err(HostError::NoProgram {
                program: String::new(),
            });
        };
        let sudo = cmd.root && !self.is_root;
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the host that runs commands"
        )]
        let mut command = tokio::process::Command::new(if sudo { "sudo" } else { program });
        if sudo {
            let names: Vec<&str> = cmd.env.keys().map(String::as_str).collect();
            command.arg("-n");
            if !names.is_empty() {
                command.arg(format!("--preserve-env={}", names.join(",")));
            }
            command.arg("--").arg(program);
        }
        command
            .args(args)
            .env("PATH", &self.path)
            .env("LC_ALL", "C")
            .env("LANGUAGE", "C")
            .envs(&cmd.env)
            .process_group(0)
            .kill_on_drop(true)
            .stdin(if cmd.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    pub(super) async fn execute(
        &self,
        cmd: &Cmd,
        cancel: &Cancel,
        line: LineSink<'_>,
        pipe_grace_ms: u64,
    ) -> Result<Output, HostError> {
        if cancel.is_cancelled() {
            return Err(HostError::Cancelled);
        }
        let mut child = self
            .prepare(cmd)?
            .spawn()
            .map_err(|error| not_started(cmd, &error, self))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let mut guard = Guard { group };
        let end = {
            let whole = follow(&mut child, cmd, line, pipe_grace_ms);
            tokio::select! {
                output = whole => End::Exited(output.map_err(|error| HostError::LostMidway { why: error.to_string() })?),
                () = cancel.cancelled() => End::Cancelled,
                () = pause(cmd.timeout_ms) => End::TimedOut,
            }
        };
        let output = match end {
            End::Exited(output) => output,
            End::TimedOut | End::Cancelled => {
                self.kill_group(&mut child, group).await;
                guard.group = None;
                return Err(match end {
                    End::TimedOut => HostError::TimedOut {
                        after_ms: cmd.timeout_ms,
                    },
                    _ => HostError::Cancelled,
                });
            }
        };
        guard.group = None;
        if cmd.root && !self.is_root {
            judge_sudo(cmd, output)
        } else {
            Ok(output)
        }
    }

    /// TERM, some time, KILL.
    async fn kill_group(&self, child: &mut Child, group: Option<i32>) {
        let Some(group) = group else {
            return;
        };
        self.send(&Target::Group(group), Signal::TERM).await;
        let ended = tokio::select! {
            _ = child.wait() => true,
            () = pause(self.grace_ms) => false,
        };
        // Members that outlive the leader get the last word too.
        self.send(&Target::Group(group), Signal::KILL).await;
        if !ended {
            let _ = child.wait().await;
        }
    }

    /// Sends a signal, through sudo to what only root may signal.
    pub(super) async fn send(&self, target: &Target, kind: Signal) {
        let refused = signal(target, kind);
        if refused.is_empty() || self.is_root {
            return;
        }
        let name = if kind == Signal::KILL {
            "-KILL"
        } else {
            "-TERM"
        };
        let words = ["kill", name, "--"].map(str::to_owned);
        let kill = Cmd::new(words.into_iter().chain(refused))
            .root()
            .timeout_ms(10_000);
        // Best effort: what cannot be killed shows in its state.
        let _ = Box::pin(self.execute(&kill, &Cancel::default(), &|_| {}, PIPE_GRACE_MS)).await;
    }
}

fn not_started(cmd: &Cmd, error: &std::io::Error, host: &LocalHost) -> HostError {
    let program = cmd.argv.first().cloned().unwrap_or_default();
    let sudo = cmd.root && !host.is_root;
    match error.kind() {
        std::io::ErrorKind::NotFound if sudo => HostError::Denied {
            why: "sudo is not installed".to_owned(),
        },
        std::io::ErrorKind::NotFound => HostError::NoProgram { program },
        _ => HostError::Denied {
            why: format!("`{program}` cannot be started: {error}"),
        },
    }
}

/// sudo's own complaints are not the command's.
fn judge_sudo(cmd: &Cmd, output: Output) -> Result<Output, HostError> {
    let text = output.error_text();
    if output.code != 1 || !text.starts_with("sudo: ") {
        return Ok(output);
    }
    if text.ends_with(": command not found") {
        return Err(HostError::NoProgram {
            program: cmd.argv.first().cloned().unwrap_or_default(),
        });
    }
    Err(HostError::Denied { why: text })
}

/// Feeds and drains a child until it has ended.
async fn follow(
    child: &mut Child,
    cmd: &Cmd,
    line: LineSink<'_>,
    pipe_grace_ms: u64,
) -> std::io::Result<Output> {
    let (mut stdout, mut stderr) = (Capture::default(), Capture::default());
    let input = feed(child.stdin.take(), cmd.stdin.as_deref().unwrap_or_default());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let status = {
        let drained = async {
            tokio::join!(
                input,
                drain(out, &mut stdout, line),
                drain(err, &mut stderr, line)
            );
        };
        tokio::pin!(drained);
        let mut done = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                () = &mut drained, if !done => done = true,
            }
        };
        if !done {
            tokio::select! {
                () = &mut drained => {}
                () = pause(pipe_grace_ms) => {}
            }
        }
        status
    };
    stdout.flush(line);
    stderr.flush(line);
    Ok(Output {
        code: code_of(status),
        stdout: stdout.into_bytes(),
        stderr: stderr.into_bytes(),
    })
}

fn code_of(status: ExitStatus) -> i32 {
    let signal = || status.signal().map_or(255, |signal| 128 + signal);
    status.code().unwrap_or_else(signal)
}

async fn feed(stdin: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut stdin) = stdin {
        // A command that does not read its input is free to do so.
        let _ = stdin.write_all(bytes).await;
        let _ = stdin.shutdown().await;
    }
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>, capture: &mut Capture, line: LineSink<'_>) {
    let Some(mut pipe) = pipe else {
        return;
    };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        capture.push(buffer.get(..count).unwrap_or_default(), line);
    }
}
