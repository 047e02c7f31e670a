//! Running a command to its end.

use wiab_engine::ports::Cancel;

use super::SshHost;
use super::helper::{Answer, Pending, Unsent};
use crate::host::capture::Capture;
use crate::host::local::pause;
use crate::host::{Cmd, HostError, LineSink, Output};

/// How often a request is sent again because the connection was gone before.
pub(super) const SENDS_MAX: usize = 5;

/// How much longer than asked for the helper lets a command run: it is the last resort when nobody can tell it to stop.
const SLACK_MS: u64 = 30_000;

/// How long the end of a killed command may take to be heard, beyond the time between TERM and KILL.
const END_MS: u64 = 10_000;

/// "No such file or directory", as Linux counts.
const ENOENT: u64 = 2;

/// Both streams of a command.
#[derive(Debug, Default)]
struct Streams {
    stdout: Capture,
    stderr: Capture,
}

impl Streams {
    /// Takes an answer; the command's output if it was the last one.
    fn take(
        &mut self,
        cmd: &Cmd,
        answer: &Answer,
        line: LineSink<'_>,
    ) -> Option<Result<Output, HostError>> {
        let field = |at: usize| answer.fields.get(at).map(Vec::as_slice).unwrap_or_default();
        match answer.letter {
            b'o' => self.stdout.push(field(0), line),
            b'e' => self.stderr.push(field(0), line),
            b'x' => {
                for (capture, at) in [(&mut self.stdout, 1), (&mut self.stderr, 3)] {
                    let dropped = answer.number(at);
                    if dropped > 0 {
                        capture.flush(line);
                        capture.skip(dropped);
                    }
                    capture.push(field(at + 1), line);
                    capture.flush(line);
                }
                return Some(Ok(Output {
                    code: answer.text(0).parse().unwrap_or(255),
                    stdout: std::mem::take(&mut self.stdout).into_bytes(),
                    stderr: std::mem::take(&mut self.stderr).into_bytes(),
                }));
            }
            _ => return Some(Err(not_started(cmd, answer))),
        }
        None
    }
}

fn not_started(cmd: &Cmd, answer: &Answer) -> HostError {
    let program = cmd.argv.first().cloned().unwrap_or_default();
    if answer.number(0) == ENOENT {
        return HostError::NoProgram { program };
    }
    HostError::Denied {
        why: format!("`{program}` cannot be started: {}", answer.text(1)),
    }
}

pub(super) fn lost() -> HostError {
    HostError::LostMidway {
        why: "the connection to the machine was cut".to_owned(),
    }
}

impl SshHost {
    pub(super) async fn execute(
        &self,
        cmd: &Cmd,
        cancel: &Cancel,
        line: LineSink<'_>,
    ) -> Result<Output, HostError> {
        if cancel.is_cancelled() {
            return Err(HostError::Cancelled);
        }
        if cmd.argv.is_empty() {
            return Err(HostError::NoProgram {
                program: String::new(),
            });
        }
        let mut pending = tokio::select! {
            sent = self.send(cmd) => sent?,
            // Nothing was started; a request that was just sent is ended when it is dropped.
            () = cancel.cancelled() => return Err(HostError::Cancelled),
        };
        let mut streams = Streams::default();
        let limit = pause(cmd.timeout_ms);
        tokio::pin!(limit);
        let end = loop {
            let answer = tokio::select! {
                answer = pending.next() => answer.ok_or_else(lost)?,
                () = cancel.cancelled() => break HostError::Cancelled,
                () = &mut limit => break HostError::TimedOut { after_ms: cmd.timeout_ms },
            };
            if let Some(done) = streams.take(cmd, &answer, line) {
                return done;
            }
        };
        pending.kill(self.grace_ms).await;
        let drained = async {
            while let Some(answer) = pending.next().await {
                if streams.take(cmd, &answer, line).is_some() {
                    return;
                }
            }
        };
        tokio::select! {
            () = drained => {}
            () = pause(self.grace_ms + END_MS) => {}
        }
        Err(end)
    }

    /// Sends a command to the helper that may run it; a connection that was lost before is made again.
    async fn send(&self, cmd: &Cmd) -> Result<Pending, HostError> {
        let limit = cmd.timeout_ms.saturating_add(SLACK_MS).to_string();
        let variables = [("LC_ALL", "C"), ("LANGUAGE", "C")];
        let own = cmd
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let variables: Vec<(&str, &str)> = variables.into_iter().chain(own).collect();
        let count = variables.len().to_string();
        let has_input = if cmd.stdin.is_some() { "1" } else { "0" };
        let mut fields: Vec<&[u8]> = vec![
            b"run",
            limit.as_bytes(),
            has_input.as_bytes(),
            cmd.stdin.as_deref().unwrap_or_default(),
            count.as_bytes(),
        ];
        for (name, value) in &variables {
            fields.extend([name.as_bytes(), value.as_bytes()]);
        }
        fields.extend(cmd.argv.iter().map(String::as_bytes));
        for _ in 0..SENDS_MAX {
            match self.helper(cmd.root).await?.send(&fields).await {
                Ok(pending) => {
                    self.links.requested();
                    return Ok(pending);
                }
                Err(Unsent::Gone) => {}
                Err(Unsent::TooLong) => {
                    return Err(HostError::Denied {
                        why: "the command's input is too long for one request".to_owned(),
                    });
                }
            }
        }
        Err(HostError::Unreachable {
            why: "the connection is lost again and again".to_owned(),
        })
    }
}
