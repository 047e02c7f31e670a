//! The helper on the machine, as wiab sees it: requests go out as frames over one channel, answers come back by number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::frame::{Decoder, encode};
use crate::host::local::pause;

/// The helper's program.
const PROGRAM: &str = include_str!("helper.pl");

/// Most requests that wait to be sent.
const QUEUE_MAX: usize = 256;

/// Most bytes that are sent as one piece.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// Most bytes kept of what comes on standard error.
const COMPLAINT_BYTES_MAX: usize = 4 << 10;

/// How often the helper hears of wiab, in milliseconds; after 90 seconds of silence it ends.
const PING_MS: u64 = 20_000;

/// What the helper says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// Whether it runs as root.
    pub(super) root: bool,
    /// The user's home directory.
    pub(super) home: String,
    /// Its process id and start time, which tell it from all others.
    pub(super) pid: String,
    pub(super) start: String,
}

/// One answer: its letter and fields.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) letter: u8,
    pub(super) fields: Vec<Vec<u8>>,
}

impl Answer {
    /// A field as text.
    pub(super) fn text(&self, at: usize) -> String {
        let field = self.fields.get(at).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(field).into_owned()
    }

    /// A field as a number; 0 if it is none.
    pub(super) fn number(&self, at: usize) -> u64 {
        self.text(at).parse().unwrap_or_default()
    }
}

/// Why a request was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The connection is gone.
    Gone,
    /// It is longer than a frame may be.
    TooLong,
}

/// Why there is no helper: what was heard instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Silent {
    /// Exit code of what was started, if it ended by itself.
    pub(super) code: Option<u32>,
    /// What it said on standard error.
    pub(super) said: String,
}

impl Silent {
    fn hear(&mut self, bytes: &[u8]) {
        if self.said.len() < COMPLAINT_BYTES_MAX {
            self.said.push_str(&String::from_utf8_lossy(bytes));
        }
    }
}

type Waiting = BTreeMap<u64, mpsc::UnboundedSender<Answer>>;

/// Who waits for answers; `None` when no more will come.
type Desk = Arc<Mutex<Option<Waiting>>>;

/// A running helper.
#[derive(Debug)]
pub(super) struct Helper {
    /// What it said about itself.
    pub(super) hello: Hello,
    desk: Desk,
    queue: mpsc::Sender<Vec<u8>>,
    last: AtomicU64,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Helper {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        close(&self.desk);
    }
}

/// A request that was sent. Dropping it ends what it started.
#[derive(Debug)]
pub(super) struct Pending {
    id: u64,
    answers: mpsc::UnboundedReceiver<Answer>,
    desk: Desk,
    queue: mpsc::Sender<Vec<u8>>,
    done: bool,
}

/// What sudo is told to ask with.
const PROMPT: &str = "wiab-sudo-password:";

/// What is said when the program may come.
const READY: &[u8] = b"\nwiab-ready\n";

/// How a helper is started.
#[derive(Debug, Clone, Copy)]
pub(super) enum Opening<'a> {
    /// As the user who logs in.
    User,
    /// As root, through a sudo that asks for nothing.
    Root,
    /// As root, through a sudo that asks for a password.
    Password(&'a SecretString),
}

impl Opening<'_> {
    /// What the login shell is given: a word that reads the helper's program, whole, from standard input.
    fn command(self) -> String {
        let length = PROGRAM.len();
        let perl = format!(
            "perl -e '$|=1;print\"\\nwiab-ready\\n\";$n={length};$b=\"\";while($n>length$b){{sysread(STDIN,$b,$n-length$b,length$b)||exit 96}}eval$b;die$@if$@'"
        );
        match self {
            Self::User => format!("exec {perl}"),
            Self::Root => format!("exec sudo -n -- {perl}"),
            Self::Password(_) => format!("exec sudo -S -p {PROMPT} -- {perl}"),
        }
    }
}

impl Helper {
    /// Starts a helper in a new session. Unless a password is waited for, the program follows the command at once.
    pub(super) async fn start(channel: Channel<Msg>, opening: Opening<'_>) -> Result<Self, Silent> {
        let (mut reads, writes) = channel.split();
        let nobody = |error: russh::Error| Silent {
            code: None,
            said: error.to_string(),
        };
        writes
            .exec(false, opening.command())
            .await
            .map_err(nobody)?;
        match opening {
            Opening::User | Opening::Root => {}
            Opening::Password(password) => answer(&mut reads, &writes, password).await?,
        }
        let program = PROGRAM.as_bytes().to_vec();
        writes.data_bytes(program).await.map_err(nobody)?;
        let mut decoder = Decoder::default();
        let hello = greet(&mut reads, &mut decoder).await?;
        Ok(Self::run(reads, writes, decoder, hello))
    }

    fn run(
        reads: ChannelReadHalf,
        writes: ChannelWriteHalf<Msg>,
        decoder: Decoder,
        hello: Hello,
    ) -> Self {
        let desk: Desk = Arc::new(Mutex::new(Some(Waiting::new())));
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let tasks = vec![
            tokio::spawn(listen(reads, decoder, Arc::clone(&desk))),
            tokio::spawn(speak(writes, requests, Arc::clone(&desk))),
        ];
        Self {
            hello,
            desk,
            queue,
            last: AtomicU64::new(0),
            tasks,
        }
    }

    /// Whether answers may still come.
    pub(super) fn lives(&self) -> bool {
        self.desk
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Sends a request. After an error nothing was sent.
    pub(super) async fn send(&self, fields: &[&[u8]]) -> Result<Pending, Unsent> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let number = id.to_string();
        let whole: Vec<&[u8]> = [number.as_bytes()]
            .into_iter()
            .chain(fields.iter().copied())
            .collect();
        let frame = encode(&whole).ok_or(Unsent::TooLong)?;
        let room = self.queue.reserve().await.map_err(|_| Unsent::Gone)?;
        let (sender, answers) = mpsc::unbounded_channel();
        {
            let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
            desk.as_mut().ok_or(Unsent::Gone)?.insert(id, sender);
        }
        room.send(frame);
        Ok(Pending {
            id,
            answers,
            desk: Arc::clone(&self.desk),
            queue: self.queue.clone(),
            done: false,
        })
    }
}

impl Pending {
    /// The next answer; `None` when the connection is gone. The last one is no output.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        let answer = self.answers.recv().await?;
        self.done |= !matches!(answer.letter, b'o' | b'e');
        Some(answer)
    }

    /// Asks that what this request started is ended: TERM, some time, KILL. Its last answer still comes.
    pub(super) async fn kill(&self, grace_ms: u64) {
        if let Some(frame) = kill_frame(self.id, grace_ms) {
            // When the connection is gone the helper does it by itself.
            let _ = self.queue.send(frame).await;
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(desk) = self
            .desk
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            desk.remove(&self.id);
        }
        if let Some(frame) = kill_frame(self.id, 0).filter(|_| !self.done) {
            // With a full queue the time limit, which the helper knows, ends it.
            let _ = self.queue.try_send(frame);
        }
    }
}

fn kill_frame(id: u64, grace_ms: u64) -> Option<Vec<u8>> {
    let (id, grace) = (id.to_string(), grace_ms.to_string());
    encode(&[b"0", b"kill", id.as_bytes(), grace.as_bytes()])
}

/// Gives sudo the password, once, when it asks, and waits until it has let the helper in. A second question means that it
/// was wrong: then nothing more is said, so that no further attempt counts against the account.
async fn answer(
    reads: &mut ChannelReadHalf,
    writes: &ChannelWriteHalf<Msg>,
    password: &SecretString,
) -> Result<(), Silent> {
    let (mut asked, mut heard, mut silent) = (0, Vec::new(), Silent::default());
    while let Some(message) = reads.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                heard.extend_from_slice(&data);
                if heard.windows(READY.len()).any(|window| window == READY) {
                    return Ok(());
                }
            }
            ChannelMsg::ExtendedData { data, .. } => silent.hear(&data),
            ChannelMsg::ExitStatus { exit_status } => silent.code = Some(exit_status),
            _ => {}
        }
        let questions = silent.said.matches(PROMPT).count();
        if questions > asked && asked == 0 {
            let line = zeroize::Zeroizing::new(format!("{}\n", password.expose_secret()));
            let sent = writes.data_bytes(line.as_bytes().to_vec()).await;
            sent.map_err(|error| Silent {
                code: None,
                said: error.to_string(),
            })?;
        } else if questions > asked {
            // Whether it ends well or badly does not matter any more.
            let _ = writes.close().await;
            "the password is wrong".clone_into(&mut silent.said);
            return Err(silent);
        }
        asked = questions;
    }
    Err(Silent {
        said: silent.said.replace(PROMPT, "").trim().to_owned(),
        ..silent
    })
}

/// Waits for the helper's first words.
async fn greet(reads: &mut ChannelReadHalf, decoder: &mut Decoder) -> Result<Hello, Silent> {
    let mut silent = Silent::default();
    while let Some(message) = reads.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                decoder.push(&data);
                match decoder.frame() {
                    Ok(Some(fields)) => return Ok(hello(&fields)),
                    Ok(None) => {}
                    Err(error) => {
                        silent.said = error.to_string();
                        return Err(silent);
                    }
                }
            }
            ChannelMsg::ExtendedData { data, .. } => silent.hear(&data),
            // EOF can come before the exit status: the end is when the channel closes.
            ChannelMsg::ExitStatus { exit_status } => silent.code = Some(exit_status),
            ChannelMsg::Failure => silent.said.push_str("the server does not run commands"),
            _ => {}
        }
    }
    silent.said = silent.said.trim().to_owned();
    Err(silent)
}

fn hello(fields: &[Vec<u8>]) -> Hello {
    let text = |at: usize| {
        let field = fields.get(at).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(field).into_owned()
    };
    Hello {
        root: text(2) == "0",
        home: text(3),
        pid: text(4),
        start: text(5),
    }
}

/// Hands answers to those who wait for them, until the channel is closed.
async fn listen(mut reads: ChannelReadHalf, mut decoder: Decoder, desk: Desk) {
    while let Some(message) = reads.wait().await {
        match message {
            ChannelMsg::Data { data } => decoder.push(&data),
            ChannelMsg::ExtendedData { data, .. } => {
                tracing::warn!(said = %String::from_utf8_lossy(&data).trim_end(), "the helper complains");
                continue;
            }
            _ => continue,
        }
        loop {
            match decoder.frame() {
                Ok(Some(fields)) => hand(&desk, fields),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the helper's words are garbled");
                    close(&desk);
                    return;
                }
            }
        }
    }
    close(&desk);
}

fn close(desk: &Desk) {
    *desk.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn hand(desk: &Desk, mut fields: Vec<Vec<u8>>) {
    if fields.len() < 2 {
        return;
    }
    let rest = fields.split_off(2);
    let number = |field: &Vec<u8>| String::from_utf8_lossy(field).parse::<u64>().ok();
    let Some(id) = fields.first().and_then(number) else {
        return;
    };
    let letter = fields.get(1).and_then(|field| field.first()).copied();
    let answer = Answer {
        letter: letter.unwrap_or_default(),
        fields: rest,
    };
    let last = !matches!(answer.letter, b'o' | b'e');
    let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(waiting) = desk.as_mut() else {
        return;
    };
    if let Some(sender) = waiting.get(&id) {
        // Who asked may have gone.
        let _ = sender.send(answer);
    }
    if last {
        waiting.remove(&id);
    }
}

/// Sends what is asked, several requests in one piece when they wait, and a sign of life now and then.
async fn speak(writes: ChannelWriteHalf<Msg>, mut requests: mpsc::Receiver<Vec<u8>>, desk: Desk) {
    let ping = encode(&[b"0", b"ping"]).unwrap_or_default();
    loop {
        let mut piece = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => return,
            },
            () = pause(PING_MS) => ping.clone(),
        };
        while piece.len() < PIECE_BYTES_MAX {
            match requests.try_recv() {
                Ok(more) => piece.extend(more),
                Err(_) => break,
            }
        }
        if writes.data_bytes(piece).await.is_err() {
            close(&desk);
            return;
        }
    }
}
