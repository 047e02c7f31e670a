//! What was seen around a certificate, in a form that can be judged. What is not here was not seen.

use std::fmt;

use super::cause::Cause;
use super::classify::classify;

/// Most complaints that are kept.
const COMPLAINTS_MAX: usize = 64;
/// Most bytes of one complaint.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// Something that cert-manager, Kubernetes or the authority complains about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The domain name that it is about; empty if it is about none.
    pub name: String,
    /// Its words.
    pub text: String,
    /// Where it stands: `challenge`, `order`, `log`.
    pub place: &'static str,
    /// What it means; `None` if that is not known.
    pub cause: Option<Cause>,
}

/// How a try to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Something answered.
    Answered,
    /// Nothing listens.
    Refused,
    /// No packet came back.
    Lost,
    /// The name was not found, or something else went wrong before a packet was sent.
    NotTried,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::NotTried => "not tried",
        })
    }
}

/// A try to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Who tried: `kubenode1`, `this machine`.
    pub from: String,
    /// Whom it met, as far as that is known: a node; else empty.
    pub to: String,
    /// How it ended.
    pub end: End,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Who was asked for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// The name server of the cluster.
    Cluster,
    /// That of the machine.
    Machine,
    /// A public one.
    Public(String),
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the cluster's name server"),
            Self::Machine => f.write_str("this machine's name server"),
            Self::Public(server) => write!(f, "{server}"),
        }
    }
}

/// What a name server says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who says it.
    pub view: View,
    /// The name.
    pub name: String,
    /// Its IPv4 addresses.
    pub a: Vec<String>,
    /// Its IPv6 addresses.
    pub aaaa: Vec<String>,
    /// Its CAA records, or the nearest above it: `0 issue "letsencrypt.org"`.
    pub caa: Vec<String>,
}

/// Everything that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The public address of the installation.
    pub host_ip: String,
    /// What was complained about.
    pub complaints: Vec<Complaint>,
    /// The interface that has the public address; `Some(None)` when no interface of this machine has it.
    pub owner: Option<Option<String>>,
    /// Whether frames on a bridge pass through the rules of IP: `bridge-nf-call-iptables`.
    pub bridged: Option<bool>,
    /// Whether this machine forwards packets.
    pub forwards: Option<bool>,
    /// Whether the hairpin rule is in force.
    pub snat: Option<bool>,
    /// Whether packets for port 80 are forwarded to the nodes.
    pub dnat: Option<bool>,
    /// Packets from outside that were forwarded so, since the rules were loaded.
    pub arrived: Option<u64>,
    /// Chains of others that drop forwarded packets by policy.
    pub droppers: Vec<String>,
    /// Tries from the nodes to the public address.
    pub ways: Vec<Way>,
    /// Flows that the kernel remembers, from node to node through the public address.
    pub flows: Vec<Way>,
    /// Tries from this machine to the ingress controller on the nodes.
    pub ingress: Vec<Way>,
    /// A try from this machine to the public address, which counts as one from outside where it is a router's.
    pub outside: Option<End>,
    /// Tries to reach the authority, from nodes and from this machine.
    pub egress: Vec<Way>,
    /// What name servers say.
    pub answers: Vec<Answer>,
    /// Name servers that do not answer.
    pub silent: Vec<(View, String)>,
    /// Nodes, and whether they have the solver's image.
    pub images: Vec<(String, bool)>,
    /// Pods that matter, and why they are not ready: `cert-manager-7d9`, `CrashLoopBackOff: …`.
    pub sick: Vec<(Part, String, String)>,
    /// Parts whose pods were looked at, and how many of them are ready.
    pub parts: Vec<(Part, usize)>,
    /// Topics that could not be seen, and why.
    pub unseen: Vec<(String, String)>,
}

/// A part of the cluster that issuance needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// cert-manager's controller and webhook.
    Manager,
    /// The ingress controller.
    Ingress,
    /// The name service.
    Dns,
    /// The pods that answer challenges.
    Solver,
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl Findings {
    /// Notes a complaint, once.
    pub fn complain(&mut self, name: &str, text: &str, place: &'static str) {
        let known = |one: &Complaint| one.name == name && one.text == text;
        if text.is_empty()
            || self.complaints.len() >= COMPLAINTS_MAX
            || self.complaints.iter().any(known)
        {
            return;
        }
        self.complaints.push(Complaint {
            name: name.to_owned(),
            text: cut(text),
            place,
            cause: classify(text).map(|found| found.cause()),
        });
    }

    /// Takes what another look has seen.
    pub fn take(&mut self, other: Self) {
        let room = COMPLAINTS_MAX.saturating_sub(self.complaints.len());
        self.complaints
            .extend(other.complaints.into_iter().take(room));
        self.owner = other.owner.or(self.owner.take());
        self.bridged = other.bridged.or(self.bridged);
        self.forwards = other.forwards.or(self.forwards);
        self.snat = other.snat.or(self.snat);
        self.dnat = other.dnat.or(self.dnat);
        self.arrived = other.arrived.or(self.arrived);
        self.outside = other.outside.or(self.outside);
        self.droppers.extend(other.droppers);
        self.ways.extend(other.ways);
        self.flows.extend(other.flows);
        self.ingress.extend(other.ingress);
        self.egress.extend(other.egress);
        self.answers.extend(other.answers);
        self.silent.extend(other.silent);
        self.images.extend(other.images);
        self.sick.extend(other.sick);
        self.parts.extend(other.parts);
        self.unseen.extend(other.unseen);
    }

    /// Whether the public address belongs to this machine; `None` when that was not seen.
    pub fn owned(&self) -> Option<bool> {
        self.owner.as_ref().map(Option::is_some)
    }

    /// The names that are complained about with that cause.
    pub fn names_of(&self, cause: Cause) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .complaints
            .iter()
            .filter(|one| one.cause == Some(cause) && !one.name.is_empty())
            .map(|one| one.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
