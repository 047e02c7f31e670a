//! The agent on a Kubernetes node: leads the node's ports to the cluster outside, and asks web servers from the node, by real
//! packets, when the hub wants to know. Part of both programs of the package.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the hub waits for agents.
pub(crate) const PORT: u16 = 7_000;
/// Lines to the hub: a question that takes its time holds one.
const LINES: usize = 8;
/// How long a connection to the hub may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Pause before the hub is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a listener looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(20);
/// Silence after which the hub is taken for gone: it says something more often.
const SILENCE: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Tells which images the node has; `None` on a node without a container engine.
pub(crate) type Images = fn() -> Option<Vec<String>>;

/// Who calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The node's name.
    pub(crate) node: String,
    /// Its address.
    pub(crate) ip: IpAddr,
}

/// What the hub asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// To lead these ports of the node, and no others, to these ports of the hub.
    Listen(BTreeMap<u16, u16>),
    /// To ask a web server.
    Get {
        /// Its address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// The host that is named.
        host: String,
        /// What is asked for.
        path: String,
        /// How long all of it may take.
        timeout_ms: u64,
    },
    /// Which images the node has.
    Images,
}

/// What the agent answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It is so.
    Done,
    /// Status and beginning of the body.
    Page(u16, String),
    /// Why nothing came, in the words of Go's library.
    Failed(String),
    /// The images; `None` on a node without a container engine.
    Images(Option<Vec<String>>),
}

/// Serves until it is killed, on several lines to the hub.
pub(crate) fn run(node: &str, hub: IpAddr, images: Images) {
    let ports = Arc::new(Mutex::new(Ports {
        hub,
        open: BTreeMap::new(),
    }));
    let line = |_| {
        let (node, ports) = (node.to_owned(), ports.clone());
        std::thread::spawn(move || calls(&node, hub, &ports, images))
    };
    let lines: Vec<_> = (0..LINES).map(line).collect();
    for line in lines {
        // A line never ends.
        drop(line.join());
    }
}

fn held(ports: &Mutex<Ports>) -> std::sync::MutexGuard<'_, Ports> {
    ports.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls the hub again whenever it has gone.
fn calls(node: &str, hub: IpAddr, ports: &Mutex<Ports>, images: Images) {
    loop {
        // Whether it could not be reached or went away makes no difference.
        drop(serve(node, hub, ports, images));
        // What leads nowhere is refused; a hub that is still there says anew what is wanted.
        drop(held(ports).set(&BTreeMap::new()));
        std::thread::park_timeout(RETRY);
    }
}

fn serve(node: &str, hub: IpAddr, ports: &Mutex<Ports>, images: Images) -> std::io::Result<()> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(hub, PORT), CONNECT)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let hello = Hello {
        node: node.to_owned(),
        ip: stream.local_addr()?.ip(),
    };
    let mut to = stream.try_clone()?;
    tell(&mut to, &hello)?;
    for line in BufReader::new(stream).lines() {
        let ask: Ask = serde_json::from_str(&line?)?;
        let answer = match ask {
            Ask::Listen(wanted) => {
                held(ports).set(&wanted)?;
                Answer::Done
            }
            Ask::Get {
                address,
                port,
                host,
                path,
                timeout_ms,
            } => get(SocketAddr::new(address, port), &host, &path, timeout_ms),
            Ask::Images => Answer::Images(images()),
        };
        tell(&mut to, &answer)?;
    }
    Ok(())
}

/// Says one thing, on a line.
pub(crate) fn tell(to: &mut impl Write, what: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// The ports that are led on.
#[derive(Debug)]
struct Ports {
    hub: IpAddr,
    open: BTreeMap<(u16, u16), Arc<AtomicBool>>,
}

impl Ports {
    /// Opens what is wanted and closes everything else.
    fn set(&mut self, wanted: &BTreeMap<u16, u16>) -> std::io::Result<()> {
        self.open.retain(|(local, remote), stop| {
            let stays = wanted.get(local) == Some(remote);
            stop.store(!stays, Ordering::SeqCst);
            stays
        });
        for (local, remote) in wanted {
            if self.open.contains_key(&(*local, *remote)) {
                continue;
            }
            let listener = TcpListener::bind(("0.0.0.0", *local))?;
            listener.set_nonblocking(true)?;
            let stop = Arc::new(AtomicBool::new(false));
            let (to, stopped) = (SocketAddr::new(self.hub, *remote), stop.clone());
            std::thread::spawn(move || accept(&listener, to, &stopped));
            self.open.insert((*local, *remote), stop);
        }
        Ok(())
    }
}

fn accept(listener: &TcpListener, to: SocketAddr, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            // A connection that breaks is for its two ends to notice.
            Ok((stream, _)) => drop(std::thread::spawn(move || lead(&stream, to).is_ok())),
            Err(_) => std::thread::park_timeout(POLL),
        }
    }
}

fn lead(stream: &TcpStream, to: SocketAddr) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let far = TcpStream::connect_timeout(&to, CONNECT)?;
    let (mut from, mut back) = (stream.try_clone()?, far.try_clone()?);
    let back = std::thread::spawn(move || pour(&mut back, &mut from));
    pour(&mut stream.try_clone()?, &mut far.try_clone()?);
    // The thread has ended when both directions have.
    drop(back.join());
    Ok(())
}

/// Copies until one side has nothing more to say, and tells the other one.
fn pour(from: &mut TcpStream, to: &mut TcpStream) {
    let ended = std::io::copy(from, to).and_then(|_| to.shutdown(Shutdown::Write));
    if ended.is_err() {
        // Broken in the middle: neither side waits on.
        drop(to.shutdown(Shutdown::Both));
        drop(from.shutdown(Shutdown::Both));
    }
}

/// Asks a web server by a connection of its own.
fn get(to: SocketAddr, host: &str, path: &str, timeout_ms: u64) -> Answer {
    let limit = Duration::from_millis(timeout_ms.max(1));
    let outcome = TcpStream::connect_timeout(&to, limit)
        .map_err(|error| dial(to, &error))
        .and_then(|mut stream| {
            page(&mut stream, host, path, limit).map_err(|error| received(to, &error))
        });
    outcome.unwrap_or_else(Answer::Failed)
}

fn page(
    stream: &mut TcpStream,
    host: &str,
    path: &str,
    limit: Duration,
) -> std::io::Result<Answer> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: cert-manager-challenges/v1.16.3 (linux/amd64)\r\nConnection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(Answer::Page(status.unwrap_or(0), body.to_owned()))
}

const LATE: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";

fn dial(to: SocketAddr, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    let what = match error.kind() {
        TimedOut => return LATE.to_owned(),
        ConnectionRefused => "connect: connection refused".to_owned(),
        HostUnreachable => "connect: no route to host".to_owned(),
        NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {to}: {what}")
}

fn received(to: SocketAddr, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
    match error.kind() {
        TimedOut | WouldBlock => LATE.to_owned(),
        UnexpectedEof => "EOF".to_owned(),
        ConnectionReset => format!("read tcp {to}: read: connection reset by peer"),
        _ => error.to_string(),
    }
}
