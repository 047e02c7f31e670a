//! Which causes the evidence speaks for, and which against: an order, no probabilities.

use super::cause::Cause;
use super::classify::Diagnosis;
use super::findings::{Complaint, Findings};
use super::proofs::{PROOFS, Says};

/// How a cause stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is complained about, and what was measured shows it.
    Proved,
    /// It is complained about, and nothing speaks against it.
    Said,
    /// Nobody complains about it yet, but what was measured shows it.
    Seen,
    /// It is complained about, but what was measured speaks against it.
    Doubted,
}

impl Standing {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Said => "said",
            Self::Seen => "seen",
            Self::Doubted => "doubted",
        }
    }
}

/// A cause with its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    /// What it is.
    pub cause: Cause,
    /// How it stands.
    pub standing: Standing,
    /// What it means.
    pub meaning: String,
    /// What speaks for it.
    pub facts_for: Vec<String>,
    /// What speaks against it.
    pub facts_against: Vec<String>,
    /// The step that cures it or looks at it.
    pub step: &'static str,
    /// What to do.
    pub cure: String,
}

/// All causes that something speaks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranking {
    /// From the best founded to the least.
    pub causes: Vec<Ranked>,
    /// Complaints that mean nothing that is known, in their own words.
    pub unknown: Vec<String>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

/// Those that a lost packet of the self-check may have; which of them it is follows from the topology.
const LOST: [Cause; 4] = [
    Cause::Hairpin,
    Cause::BridgedHairpin,
    Cause::RouterLoopback,
    Cause::Filtered,
];

/// Complaints that a cause explains.
fn explains(cause: Cause, said: Cause) -> bool {
    cause == said
        || (said == Cause::Hairpin && LOST.contains(&cause))
        || (said == Cause::Refused && cause == Cause::NotForwarded)
}

/// What is complained about with a cause: one line for each wording, with the names.
fn said(findings: &Findings, cause: Cause) -> Vec<String> {
    let mut all: Vec<(&str, String, Vec<&str>)> = Vec::new();
    let fits = |one: &&Complaint| one.cause.is_some_and(|said| explains(cause, said));
    for one in findings.complaints.iter().filter(fits) {
        let text = root(&one.text);
        let name = one.name.as_str();
        // The log repeats what the objects say.
        let told = all.iter().any(|(_, known, names)| {
            text.contains(known.as_str()) && (name.is_empty() || names.contains(&name))
        });
        if told {
            continue;
        }
        match all
            .iter_mut()
            .find(|(place, known, _)| *place == one.place && *known == text)
        {
            Some((_, _, names)) => names.push(name),
            None => all.push((one.place, text, vec![name])),
        }
    }
    let lines = all
        .into_iter()
        .take(3)
        .map(|(place, text, names)| match names.as_slice() {
            [] | [""] => format!("the {place} says: {text}"),
            [name] => format!("the {place} of {name} says: {text}"),
            [name, rest @ ..] => {
                format!("the {place} of {name} and of {} more: {text}", rest.len())
            }
        });
    lines.collect()
}

/// What Go's library says at the end of a complaint about an address, without the address; or the complaint.
fn root(text: &str) -> String {
    let text = text.replace("\\\"", "\"");
    let text = text
        .split_once("\" logger=")
        .map_or(text.as_str(), |(text, _)| text);
    let text = text.rsplit_once("err=\"").map_or(text, |(_, text)| text);
    let parts = text.rsplit_once("/.well-known/acme-challenge/");
    let end = parts.and_then(|(_, rest)| rest.split_once(": ").map(|(_, end)| end));
    // The authority tells the address, too, and its words are the whole.
    match end.filter(|_| text.contains("Get ")) {
        Some(end) => brief(end),
        None => brief(text),
    }
}

/// The end of a text, where its root is.
fn brief(text: &str) -> String {
    const BYTES_MAX: usize = 240;
    let mut from = text.len().saturating_sub(BYTES_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let mark = if from > 0 { "…" } else { "" };
    format!("{mark}{}", text.get(from..).unwrap_or_default())
}

fn judge(findings: &Findings, cause: Cause) -> Option<Ranked> {
    let mut facts_for = said(findings, cause);
    let spoken = !facts_for.is_empty();
    let mut facts_against = Vec::new();
    let (mut shown, mut chosen) = (false, false);
    for proof in PROOFS.iter().filter(|proof| proof.cause == cause) {
        let Some(fact) = (proof.look)(findings) else {
            continue;
        };
        match proof.says {
            Says::Shows => {
                shown = true;
                facts_for.push(fact);
            }
            Says::Fits => {
                chosen = true;
                // What shows it has said as much.
                if !shown {
                    facts_for.push(fact);
                }
            }
            Says::Against => facts_against.push(fact),
        }
    }
    // Of those that explain a lost packet, the topology has to choose one; the rule's own is meant when nothing is known.
    let special = LOST.contains(&cause) || cause == Cause::NotForwarded;
    let meant = cause == Cause::Hairpin || !special || chosen || shown;
    let standing = match (spoken && meant, shown, facts_against.is_empty()) {
        (true, _, false) | (false, true, false) => Standing::Doubted,
        (true, true, true) => Standing::Proved,
        (true, false, true) => Standing::Said,
        (false, true, true) => Standing::Seen,
        (false, false, _) => return None,
    };
    let found = Diagnosis::of(cause);
    let names = findings.names_of(cause);
    let lost = findings.names_of(Cause::Hairpin);
    let name = match (names.first(), lost.first()) {
        (Some(name), _) => name,
        (None, Some(name)) if special => name,
        (None, _) => "the name",
    };
    Some(Ranked {
        cause,
        standing,
        meaning: found.meaning(&findings.host_ip),
        facts_for,
        facts_against,
        step: found.step(),
        cure: found.cure(name, &findings.host_ip),
    })
}

/// Ranks every cause that something speaks for.
pub fn rank(findings: &Findings) -> Ranking {
    let mut causes: Vec<Ranked> = Cause::ALL
        .iter()
        .filter_map(|cause| judge(findings, *cause))
        .collect();
    causes.sort_by_key(|ranked| (ranked.standing, ranked.cause));
    let unknown = findings
        .complaints
        .iter()
        .filter(|one| one.cause.is_none())
        .map(|one| brief(&one.text))
        .take(8)
        .collect();
    let unseen = findings
        .unseen
        .iter()
        .map(|(topic, why)| format!("{topic}: {why}"))
        .collect();
    Ranking {
        causes,
        unknown,
        unseen,
    }
}

impl Ranking {
    /// The best founded cause; none when everything that is complained about is unknown or doubted.
    pub fn first(&self) -> Option<&Ranked> {
        self.causes
            .first()
            .filter(|ranked| ranked.standing != Standing::Doubted)
    }
}
