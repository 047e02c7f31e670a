//! The machines of an installation, asked about themselves over ssh: one connection each, all at the same time.

mod facts;
mod judge;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::at_once::all;
use super::login::{Login, SSH_FAILED, SSH_PORT};
use crate::host::Output;
use crate::host::shell::{InTime, Shell};
use crate::values::inventory::Role;

pub(super) use facts::Facts;
pub(super) use judge::{Finding, Verdict, failure, further_interfaces, judge};

/// What a machine tells about itself. Its arguments are the `address:port` that it tries to reach.
const LOOK: &str = include_str!("look.sh");
/// Name of the script on the machine; the simulated one knows it by that.
const LOOK_NAME: &str = "wiab-facts";
/// Port of the assethost's content server.
pub(super) const CONTENT_PORT: u16 = 8080;

/// A machine of the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetHost {
    /// Its name; its host name must be this.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its address.
    pub ip: String,
    /// The interface of its services; without it, the one with the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// A machine, and how it answered.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) host: &'a FleetHost,
    pub(super) answer: Answer,
}

/// How a machine answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// With its facts.
    Facts(Box<Facts>),
    /// Not at all: what ssh said.
    Silent(String),
}

/// Asks all machines at once.
pub(super) async fn look<'a>(
    sh: Shell<'_>,
    login: &Login,
    hosts: &'a [FleetHost],
) -> Result<Vec<Seen<'a>>, Failure> {
    let questions = hosts.iter().map(|host| ask(sh, login, host, hosts));
    let mut seen = Vec::new();
    for (host, answer) in hosts.iter().zip(all(sh, questions.collect()).await) {
        let answer = answer?;
        seen.push(Seen { host, answer });
    }
    Ok(seen)
}

async fn ask(
    sh: Shell<'_>,
    login: &Login,
    host: &FleetHost,
    hosts: &[FleetHost],
) -> Result<Answer, Failure> {
    let peers: Vec<String> = peers(login, host, hosts);
    let mut remote = vec!["sh", "-c", LOOK, LOOK_NAME];
    remote.extend(peers.iter().map(String::as_str));
    let begun_ms = sh.cx.clock.wall_ms();
    let output = match sh.in_time(&login.cmd(&host.ip, &remote)).await? {
        InTime::Ended(output) => output,
        InTime::No { after_ms } => {
            let said = format!("no answer within {} s", after_ms / 1_000);
            return Ok(Answer::Silent(said));
        }
        InTime::NoProgram => return Ok(Answer::Silent("`ssh` is not installed".to_owned())),
    };
    let ended_ms = sh.cx.clock.wall_ms();
    if output.code == SSH_FAILED {
        return Ok(Answer::Silent(last_line(&output)));
    }
    if !output.ok() {
        let why = last_line(&output);
        return Err(Failure::dirty(format!("{} cannot be asked: {why}", host.name)).retry());
    }
    let facts = Facts::read(&output.text(), begun_ms, ended_ms);
    Ok(Answer::Facts(Box::new(facts)))
}

/// What a machine must reach: ssh of every other one, and the assethost's content server.
fn peers(login: &Login, host: &FleetHost, hosts: &[FleetHost]) -> Vec<String> {
    let others = hosts.iter().filter(|other| other.name != host.name);
    let mut peers = Vec::new();
    for other in others {
        peers.push(format!("{}:{}", other.ip, port(login, &other.ip)));
        if other.role == Role::Asset {
            peers.push(format!("{}:{CONTENT_PORT}", other.ip));
        }
    }
    peers
}

/// The port of ssh at an address.
pub(super) fn port(login: &Login, ip: &str) -> u16 {
    login
        .accounts
        .get(ip)
        .map_or(SSH_PORT, |account| account.port)
}

pub(super) fn last_line(output: &Output) -> String {
    let said = output.error_text();
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("ssh gave no reason").trim().to_owned()
}
