//! The asking side: one connection per question.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Answer, Ask, BEAT_SECONDS, LINE_BYTES_MAX, Overview, socket_path};
use crate::error::JournalError;
use crate::types::Frame;

/// A server that says nothing for this long is taken for dead.
const SILENCE_SECONDS_MAX: u64 = 6 * BEAT_SECONDS;

/// One thing a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveItem {
    /// A durable event.
    Frame(Frame),
    /// A progress line; some may be missing.
    Progress(String),
    /// The holder is done.
    End,
}

/// Asks the process that holds the journal.
#[derive(Debug, Clone)]
pub struct Client {
    dir: PathBuf,
}

fn failed(what: impl Into<String>) -> JournalError {
    JournalError::Live { what: what.into() }
}

impl Client {
    /// Looks for a serving process; `None` when nobody listens there, also when a killed one left its socket.
    pub fn connect(dir: &Path) -> Result<Option<Self>, JournalError> {
        let client = Self {
            dir: dir.to_owned(),
        };
        match client.open() {
            Ok(_) => Ok(Some(client)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(JournalError::io(&dir.join("live.sock"), error)),
        }
    }

    fn open(&self) -> io::Result<UnixStream> {
        let held = std::fs::File::open(&self.dir)?;
        let stream = UnixStream::connect(socket_path(&self.dir, &held))?;
        stream.set_read_timeout(Some(Duration::from_secs(SILENCE_SECONDS_MAX)))?;
        stream.set_write_timeout(Some(Duration::from_secs(BEAT_SECONDS)))?;
        Ok(stream)
    }

    /// Asks and hands each answer to `take` until it returns `false`.
    fn ask(
        &self,
        ask: &Ask,
        take: &mut dyn FnMut(Answer) -> Result<bool, JournalError>,
    ) -> Result<(), JournalError> {
        let mut stream = self.open().map_err(|error| failed(error.to_string()))?;
        let mut line = serde_json::to_vec(ask).map_err(|error| failed(error.to_string()))?;
        line.push(b'\n');
        stream
            .write_all(&line)
            .map_err(|error| failed(error.to_string()))?;
        let mut lines = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            let read = (&mut lines)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line);
            if read.map_err(|error| failed(error.to_string()))? == 0 {
                return Err(failed("the holder of the journal ended"));
            }
            match serde_json::from_slice(&line).map_err(|error| failed(error.to_string()))? {
                Answer::Error(what) => return Err(failed(what)),
                Answer::Beat => {}
                answer => {
                    if !take(answer)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What the holder says about itself.
    pub fn status(&self) -> Result<serde_json::Value, JournalError> {
        let mut status = serde_json::Value::Null;
        self.ask(&Ask::Status, &mut |answer| match answer {
            Answer::Status(value) => {
                status = value;
                Ok(false)
            }
            other => Err(unexpected(&other)),
        })?;
        Ok(status)
    }

    /// Head and runs.
    pub(crate) fn overview(&self) -> Result<Overview, JournalError> {
        let mut overview = None;
        self.ask(&Ask::Overview, &mut |answer| match answer {
            Answer::Overview(value) => {
                overview = Some(value);
                Ok(false)
            }
            other => Err(unexpected(&other)),
        })?;
        overview.ok_or_else(|| failed("no overview came"))
    }

    /// The durable events from `from` on, each checked against its own hash.
    pub fn frames(&self, from: u64) -> Result<Vec<Frame>, JournalError> {
        let mut frames = Vec::new();
        self.ask(&Ask::Frames { from }, &mut |answer| match answer {
            Answer::Frame(text) => {
                frames.push(decode(&text)?);
                Ok(true)
            }
            Answer::End => Ok(false),
            other => Err(unexpected(&other)),
        })?;
        Ok(frames)
    }

    /// Hands events from `from` on and progress to `take`, as they come, until it returns `false` or the holder ends.
    pub fn follow(
        &self,
        from: u64,
        take: &mut dyn FnMut(LiveItem) -> bool,
    ) -> Result<(), JournalError> {
        self.ask(&Ask::Follow { from }, &mut |answer| match answer {
            Answer::Frame(text) => Ok(take(LiveItem::Frame(decode(&text)?))),
            Answer::Progress(line) => Ok(take(LiveItem::Progress(line))),
            Answer::End => {
                take(LiveItem::End);
                Ok(false)
            }
            other => Err(unexpected(&other)),
        })
    }
}

fn unexpected(answer: &Answer) -> JournalError {
    failed(format!("an unexpected answer came: {answer:?}"))
}

fn decode(text: &str) -> Result<Frame, JournalError> {
    let bytes = BASE64
        .decode(text)
        .map_err(|error| failed(error.to_string()))?;
    Ok(Frame::decode(&bytes)?)
}
