//! The answering side: an acceptor thread, one thread per client, all bounded.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Answer, Ask, BEAT_SECONDS, LINE_BYTES_MAX, Overview, socket_path};
use crate::error::JournalError;
use crate::journal::Journal;

/// Most clients at once; more are turned away.
const CLIENTS_MAX: usize = 16;
/// Most progress lines kept for a follower that is behind; older ones are dropped.
const PROGRESS_LINES_MAX: usize = 256;
/// Longest progress line, in bytes; longer ones are dropped.
const PROGRESS_BYTES_MAX: usize = 16 << 10;
/// A client that does not read for this long is dropped.
const WRITE_SECONDS_MAX: u64 = 2;
/// A client must have asked within this time.
const ASK_SECONDS_MAX: u64 = 5;

/// Answers status questions.
type Status = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Serves live reads until it is dropped.
pub struct Server {
    hub: Arc<Hub>,
    path: PathBuf,
    /// The socket's file as it was made.
    identity: Option<(u64, u64)>,
    /// A second handle of what the acceptor listens on.
    listener: UnixListener,
    acceptor: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What the server's threads share.
struct Hub {
    journal: Journal,
    status: Status,
    ending: AtomicBool,
    clients: AtomicUsize,
    progress: Mutex<Lines>,
    // Keeps the directory handle that a long socket path goes through.
    _dir: std::fs::File,
}

/// The last progress lines, numbered.
#[derive(Default)]
struct Lines {
    lines: VecDeque<String>,
    /// Number of the first kept line.
    first: u64,
}

impl Server {
    /// Starts serving on `<dir>/live.sock`. Only the holder of the journal may: a socket file found there is stale.
    pub fn start(journal: &Journal, dir: &Path, status: Status) -> Result<Self, JournalError> {
        let held = std::fs::File::open(dir).map_err(|error| JournalError::io(dir, error))?;
        let path = socket_path(dir, &held);
        let fail = |error| JournalError::io(&path, error);
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path).map_err(fail)?;
        // The state directory is the owner's alone; this is for one that was given away.
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
        let hub = Arc::new(Hub {
            journal: journal.clone(),
            status,
            ending: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            progress: Mutex::new(Lines::default()),
            _dir: held,
        });
        let shared = Arc::clone(&hub);
        let second = listener.try_clone().map_err(fail)?;
        let acceptor = std::thread::Builder::new()
            .name("journal-live".to_owned())
            .spawn(move || accept(&listener, &shared))
            .map_err(fail)?;
        Ok(Self {
            hub,
            identity: identity(&path),
            path,
            listener: second,
            acceptor: Some(acceptor),
        })
    }

    /// Sends one line to all followers. Lossy: never blocks, and who is behind loses the oldest lines.
    pub fn progress(&self, line: &str) {
        if line.len() > PROGRESS_BYTES_MAX {
            return;
        }
        {
            let mut lines = self
                .hub
                .progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if lines.lines.len() >= PROGRESS_LINES_MAX {
                lines.lines.pop_front();
                lines.first += 1;
            }
            lines.lines.push_back(line.to_owned());
        }
        self.hub.journal.shared().pulse.beat();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hub.ending.store(true, Ordering::SeqCst);
        self.hub.journal.shared().pulse.beat();
        // Wakes the acceptor whatever became of the socket's name.
        if let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            tracing::debug!(%error, "the live socket could not be shut down");
        }
        if self
            .acceptor
            .take()
            .is_some_and(|acceptor| acceptor.join().is_err())
        {
            tracing::error!("the live server panicked");
        }
        // A file that took the name is not ours to remove.
        if identity(&self.path).is_some_and(|found| Some(found) == self.identity)
            && let Err(error) = fs_err::remove_file(&self.path)
        {
            tracing::debug!(%error, "the live socket could not be removed");
        }
    }
}

/// Device and number of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs_err::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

fn accept(listener: &UnixListener, hub: &Arc<Hub>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        if hub.ending.load(Ordering::SeqCst) {
            break;
        }
        threads.retain(|thread| !thread.is_finished());
        let Ok(stream) = stream else { continue };
        if hub.clients.load(Ordering::SeqCst) >= CLIENTS_MAX {
            let mut stream = stream;
            let busy = Answer::Error("too many clients; try again later".to_owned());
            if let Err(error) = send(&mut stream, &busy) {
                tracing::debug!(%error, "a client left");
            }
            continue;
        }
        hub.clients.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(hub);
        let spawned = std::thread::Builder::new()
            .name("journal-client".to_owned())
            .spawn(move || {
                if let Err(error) = serve(stream, &shared) {
                    tracing::debug!(%error, "a client left");
                }
                shared.clients.fetch_sub(1, Ordering::SeqCst);
            });
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(_) => {
                hub.clients.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the live server panicked");
        }
    }
}

fn send(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn serve(mut stream: UnixStream, hub: &Hub) -> io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_secs(WRITE_SECONDS_MAX)))?;
    stream.set_read_timeout(Some(Duration::from_secs(ASK_SECONDS_MAX)))?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?)
        .take(LINE_BYTES_MAX.min(4096))
        .read_line(&mut line)?;
    let ask = match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => ask,
        Err(error) => {
            return send(
                &mut stream,
                &Answer::Error(format!("the request is unreadable: {error}")),
            );
        }
    };
    match ask {
        Ask::Status => send(&mut stream, &Answer::Status((hub.status)())),
        Ask::Overview => send(
            &mut stream,
            &Answer::Overview(Overview {
                installation: hub.journal.installation(),
                head: hub.journal.head(),
                runs: hub.journal.runs(),
            }),
        ),
        Ask::Frames { from } => {
            send_frames(&mut stream, hub, from)?;
            send(&mut stream, &Answer::End)
        }
        Ask::Follow { from } => follow(&mut stream, hub, from),
    }
}

/// Sends the durable frames from `from` on; returns the next number.
fn send_frames(stream: &mut UnixStream, hub: &Hub, from: u64) -> io::Result<u64> {
    let mut next = from;
    if hub.journal.head().seq < from {
        return Ok(next);
    }
    for frame in hub.journal.frames(from) {
        match frame {
            Ok(frame) => {
                send(stream, &Answer::Frame(BASE64.encode(frame.encode())))?;
                next = frame.seq + 1;
            }
            Err(error) => {
                send(stream, &Answer::Error(error.chain()))?;
                return Err(io::Error::other(error.chain()));
            }
        }
    }
    Ok(next)
}

fn follow(stream: &mut UnixStream, hub: &Hub, from: u64) -> io::Result<()> {
    let mut next = from;
    let mut next_line = 0;
    let pulse = &hub.journal.shared().pulse;
    loop {
        // Taken before looking, so that nothing that comes while we look is slept through.
        let seen = pulse.count();
        let ending = hub.ending.load(Ordering::SeqCst);
        let sent_from = next;
        next = send_frames(stream, hub, next)?;
        let lines = take_lines(hub, &mut next_line);
        for line in &lines {
            send(stream, &Answer::Progress(line.clone()))?;
        }
        if ending {
            return send(stream, &Answer::End);
        }
        if next == sent_from
            && lines.is_empty()
            && pulse.after(seen, Duration::from_secs(BEAT_SECONDS)) == seen
        {
            send(stream, &Answer::Beat)?;
        }
    }
}

/// The progress lines from `next` on; a follower starts with those that are kept.
fn take_lines(hub: &Hub, next: &mut u64) -> Vec<String> {
    let lines = hub.progress.lock().unwrap_or_else(PoisonError::into_inner);
    let skip = usize::try_from(next.saturating_sub(lines.first)).unwrap_or(usize::MAX);
    *next = lines.first + u64::try_from(lines.lines.len()).unwrap_or(0);
    lines.lines.iter().skip(skip).cloned().collect()
}
