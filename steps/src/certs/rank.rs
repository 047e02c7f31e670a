//! Which causes the evidence speaks for, and which against: an order, no probabilities.

use super::cause::Cause;
use super::classify::Diagnosis;
use super::findings::Findings;
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
    cause == said || (said == Cause::Hairpin && LOST.contains(&cause))
}

fn said(findings: &Findings, cause: Cause) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for one in &findings.complaints {
        if one.cause.is_some_and(|said| explains(cause, said)) {
            let about = match one.name.as_str() {
                "" => String::new(),
                name => format!(" of {name}"),
            };
            let text = format!("the {}{about} says: {}", one.place, brief(&one.text));
            if !all.contains(&text) {
                all.push(text);
            }
        }
    }
    all.truncate(3);
    all
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
                facts_for.push(fact);
            }
            Says::Against => facts_against.push(fact),
        }
    }
    // Of those that explain a lost packet, the topology has to choose one; the rule's own is meant when nothing is known.
    let meant = cause == Cause::Hairpin || !LOST.contains(&cause) || chosen || shown;
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
        (None, Some(name)) if LOST.contains(&cause) => name,
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

    /// As text: one block for each cause.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for ranked in &self.causes {
            let (code, standing) = (ranked.cause.code(), ranked.standing.name());
            text += &format!("{code} ({standing}): {}\n", ranked.meaning);
            for fact in &ranked.facts_for {
                text += &format!("  + {fact}\n");
            }
            for fact in &ranked.facts_against {
                text += &format!("  - {fact}\n");
            }
            text += &format!("  step {}: {}\n", ranked.step, ranked.cure);
        }
        for one in &self.unknown {
            text += &format!("unknown: {one}\n");
        }
        for one in &self.unseen {
            text += &format!("could not be seen: {one}\n");
        }
        text
    }
}
