//! The agents that have called: which nodes are there, and questions to them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::agent::{Answer, Ask, Hello, PORT, tell};
use crate::error::{LabError, Result};
use crate::say::say;

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A line to one agent; one question at a time.
#[derive(Debug)]
struct Line {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl Line {
    fn ask(&mut self, ask: &Ask) -> Result<Answer> {
        tell(&mut self.to, ask)?;
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(LabError::check("the agent has gone"));
        }
        serde_json::from_str(&line).map_err(not_understood)
    }
}

fn not_understood(source: serde_json::Error) -> LabError {
    LabError::Json {
        what: "the talk of agent and hub".to_owned(),
        source,
    }
}

/// The lines of each node.
type Lines = BTreeMap<String, Vec<Arc<Mutex<Line>>>>;

/// All agents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agents(Arc<Mutex<Lines>>);

impl Agents {
    /// Waits for agents, in a thread of its own.
    pub(crate) fn listen(&self, address: IpAddr) -> Result<()> {
        let listener = TcpListener::bind((address, PORT))?;
        let all = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = all.welcome(stream) {
                    say(&format!("hub: an agent was not understood: {error}"));
                }
            }
        });
        Ok(())
    }

    fn welcome(&self, stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let to = stream.try_clone()?;
        let mut from = BufReader::new(stream);
        let mut line = String::new();
        from.read_line(&mut line)?;
        let hello: Hello = serde_json::from_str(&line).map_err(not_understood)?;
        say(&format!("hub: {} ({}) has called", hello.node, hello.ip));
        let mut lines = self.lines();
        let own = lines.entry(hello.node).or_default();
        own.push(Arc::new(Mutex::new(Line { to, from })));
        Ok(())
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes that are there.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let lines = self.lines();
        let there = lines.iter().filter(|(_, own)| !own.is_empty());
        there.map(|(node, _)| node.clone()).collect()
    }

    /// Says something on every line that is free, so that a line that is broken is noticed, and one that is not stays. One
    /// that is broken takes the others with it: a node that is there calls again at once.
    pub(crate) fn keep(&self, node: &str, ask: &Ask) {
        let own = self.lines().get(node).cloned().unwrap_or_default();
        for line in own {
            let broken = line.try_lock().is_ok_and(|mut line| line.ask(ask).is_err());
            if broken {
                self.give_up(node);
                break;
            }
        }
    }

    /// The other end notices at once, and calls again.
    fn give_up(&self, node: &str) {
        let own = self.lines().remove(node).unwrap_or_default();
        for line in own {
            if let Ok(line) = line.try_lock() {
                drop(line.to.shutdown(std::net::Shutdown::Both));
            }
        }
    }

    /// Asks a node, on a line that is free. A line that fails is given up: the agent calls again.
    pub(crate) fn ask(&self, node: &str, ask: &Ask) -> Result<Answer> {
        let own = self.lines().get(node).cloned().unwrap_or_default();
        let free = own.iter().find_map(|line| line.try_lock().ok());
        let mut held = match (free, own.first()) {
            (Some(free), _) => free,
            (None, Some(first)) => first.lock().unwrap_or_else(PoisonError::into_inner),
            (None, None) => return Err(LabError::check(format!("{node} is not there"))),
        };
        let answer = held.ask(ask);
        drop(held);
        if answer.is_err() {
            self.give_up(node);
        }
        answer
    }
}
