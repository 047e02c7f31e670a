//! From trouble to its causes: the evidence is gathered and told to the journal, and becomes the failure that people read.

use serde_json::Value;
use wiab_engine::book::Diagnosis;
use wiab_engine::event::Suspect;
use wiab_engine::outcome::Failure;

use super::super::tool::Toolbox;
use super::looks::{Evidence, Ground, Scene, gather, measure};
use super::watch::Trouble;
use crate::certs::{
    Cause, Diagnosis as Known, Findings, Ranked, Ranking, Standing, rank, stories, until,
};
use crate::host::shell::Shell;

/// Where and for what certificates are asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) sh: Shell<'a>,
    pub(super) toolbox: &'a Toolbox,
    /// Without it only the chain itself is looked at.
    pub(super) ground: Option<&'a Ground>,
    pub(super) host_ip: &'a str,
    /// The issuer's name.
    pub(super) issuer: &'a str,
    /// What was measured before: the reason of `hairpin.needed/1`.
    pub(super) way: Option<&'a str>,
}

impl Case<'_> {
    /// Gathers the evidence, tells it to the journal, and ranks the causes.
    pub(super) async fn diagnose(&self, trouble: &Trouble) -> Result<Ranking, Failure> {
        let (mut findings, evidence) = match self.ground {
            Some(ground) => {
                let scene = Scene {
                    sh: self.sh,
                    toolbox: self.toolbox,
                    ground,
                    host_ip: self.host_ip,
                    names: trouble.look.names.clone(),
                    list: &trouble.list,
                    certificates: vec![&trouble.certificate],
                };
                gather(&scene).await
            }
            None => (self.told(trouble), Vec::new()),
        };
        findings.complain(&trouble.look.name, &trouble.complaint, "chain");
        let ranking = rank(&findings);
        self.tell(&evidence, &ranking).await?;
        Ok(ranking)
    }

    /// What the chain alone says.
    fn told(&self, trouble: &Trouble) -> Findings {
        let mut findings = Findings {
            host_ip: self.host_ip.to_owned(),
            ..Findings::default()
        };
        for story in stories(&trouble.list, &trouble.certificate) {
            if story.complains {
                findings.complain(&story.name, &story.said, story.place);
            }
        }
        findings
    }

    async fn tell(&self, evidence: &[Evidence], ranking: &Ranking) -> Result<(), Failure> {
        let cx = self.sh.cx;
        for one in evidence {
            cx.take_evidence(&one.topic, &one.summary, &one.body)
                .await?;
        }
        let suspects = ranking.causes.iter().map(|ranked| Suspect {
            cause: ranked.cause.code().to_owned(),
            meaning: format!("{} ({})", ranked.meaning, ranked.standing.name()),
            facts_for: ranked.facts_for.clone(),
            facts_against: ranked.facts_against.clone(),
            step: Some(ranked.step.to_owned()),
            cure: ranked.cure.clone(),
        });
        let unseen = ranking.unseen.iter();
        let unseen = unseen.map(|what| format!("could not be seen: {what}"));
        let diagnosis = Diagnosis {
            ranking: suspects.collect(),
            unknown: ranking.unknown.iter().cloned().chain(unseen).collect(),
            chosen: ranking.first().map(|first| first.cause.code().to_owned()),
        };
        Ok(cx.diagnosed(&diagnosis).await?)
    }

    /// Whether packets show that a cause is gone; what they show, either way.
    pub(super) async fn verify(&self, cause: Cause) -> Result<String, String> {
        let Some(ground) = self.ground else {
            return Err("nothing can be measured here".to_owned());
        };
        let list = Value::Null;
        let scene = Scene {
            sh: self.sh,
            toolbox: self.toolbox,
            ground,
            host_ip: self.host_ip,
            names: Vec::new(),
            list: &list,
            certificates: Vec::new(),
        };
        measure(&scene, cause).await
    }

    /// The failure that trouble amounts to.
    pub(super) fn failure(&self, trouble: &Trouble, ranking: &Ranking) -> Failure {
        let Some(first) = ranking.first() else {
            return unknown(trouble, ranking);
        };
        let about = about(trouble, first);
        let mut why = format!("certificate {about} is not issued: {}", first.meaning);
        if first.cause == Cause::RateLimited
            && let Some((text, _)) = until(&trouble.complaint)
        {
            why = format!("{why}, until {text}");
        }
        if first.standing != Standing::Said
            && let Some(fact) = first.facts_for.last()
        {
            why = format!("{why}; {fact}");
        }
        if first.cause == Cause::Hairpin
            && let Some(way) = self.way
        {
            why = format!("{why}; measured before: {way}");
        }
        let others = ranking.causes.iter().skip(1);
        let others =
            others.filter(|one| one.standing != Standing::Doubted && one.cause != Cause::Backoff);
        for other in others.take(2) {
            why = format!("{why}; besides: {} (step {})", other.meaning, other.step);
        }
        if !trouble.complaint.is_empty() {
            why = format!("{why}. cert-manager says: {}", trouble.complaint);
        }
        Failure::clean(why)
            .hint(format!(
                "{} (step {})",
                self.cure(trouble, first),
                first.step
            ))
            .code(&format!("cert.{}", first.cause.code()))
    }

    /// What to do, with the name that the trouble is about.
    fn cure(&self, trouble: &Trouble, first: &Ranked) -> String {
        let name = match trouble.look.name.as_str() {
            "" => &trouble.certificate,
            name => name,
        };
        if first.cure.contains("the name") {
            return Known::of(first.cause).cure(name, self.host_ip);
        }
        first.cure.clone()
    }
}

fn about(trouble: &Trouble, first: &Ranked) -> String {
    let certificate = &trouble.certificate;
    // The name of a challenge that complains of something else would mislead.
    let same = trouble
        .found
        .is_none_or(|found| found.cause() == first.cause || first.standing == Standing::Proved);
    match trouble.look.name.as_str() {
        "" => certificate.clone(),
        _ if !same => certificate.clone(),
        name => format!("{certificate} ({name})"),
    }
}

/// Nothing that is known fits.
fn unknown(trouble: &Trouble, ranking: &Ranking) -> Failure {
    let certificate = &trouble.certificate;
    let said = match trouble.complaint.as_str() {
        "" => format!("nothing happens ({})", trouble.look.stage),
        complaint => complaint.to_owned(),
    };
    let mut why = format!("certificate {certificate} is not issued: {said}");
    for doubted in ranking.causes.iter().take(2) {
        let facts = doubted.facts_against.join("; ");
        why = format!(
            "{why}; it looks like this: {}, but {facts}",
            doubted.meaning
        );
    }
    Failure::clean(why)
        .hint(
            "the cause is not known; `wiab journal log` shows everything that was seen; when it is removed: `wiab apply --resume`",
        )
        .code("cert.unknown")
}
