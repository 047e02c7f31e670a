//! Cures: what a step of the plan would do against a cause is done while the certificate is waited for, announced before,
//! verified with packets, and taken back where it is meant for the time of issuance only.

use serde::{Deserialize, Serialize};
use wiab_engine::event::CureOutcome;
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Residue};

use super::super::nft_egress::{Found, NftEgress};
use super::super::nft_hairpin::NftHairpin;
use super::super::nft_traffic::{self, NftTraffic};
use super::super::{Act, nft};
use super::verdict::Case;
use super::watch::Trouble;
use crate::certs::{Cause, Ranked, Ranking, Standing};
use crate::host::shell::Shell;
use crate::traffic::{EGRESS, FILTER, NAT};

/// The hairpin rule is there for the time of issuance.
const HAIRPIN_OWED: &str = "cert.hairpin-rule";
/// The way out is open for the time of issuance.
const EGRESS_OWED: &str = "cert.egress";
/// How questions to the operator begin; the cause follows.
const ASKED: &str = "cert.ask-";

/// Who decides about cures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CurePolicy {
    /// What is shown by measurement is cured.
    #[default]
    Auto,
    /// The operator is asked before.
    Ask,
}

/// What may be done against which causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cures {
    /// Who decides.
    pub policy: CurePolicy,
    /// The rule against a missing way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<HairpinCure>,
    /// The way out for nodes that do not reach the authority or the solver's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<NftEgress>,
    /// The rules that forward port 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<NftTraffic>,
}

/// What a step with cures shares with others: the host's rules.
pub(super) fn lanes(cures: Option<&Cures>) -> Vec<Lane> {
    cures.map(|_| Lane::new("host-net")).into_iter().collect()
}

/// The hairpin rule, and how long it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HairpinCure {
    /// The rule.
    pub rule: NftHairpin,
    /// Whether it stays for renewal.
    pub keep: bool,
}

/// What was there before any cure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The hairpin rule's table.
    hairpin: Option<String>,
    /// The way out.
    egress: Option<Found>,
    /// The rules that forward.
    firewall: Option<nft_traffic::Image>,
}

/// What is done against a cause.
#[derive(Debug, Clone, Copy)]
enum Remedy<'a> {
    Hairpin(&'a HairpinCure),
    Egress(&'a NftEgress),
    Firewall(&'a NftTraffic),
}

impl Remedy<'_> {
    fn what(self) -> &'static str {
        match self {
            Self::Hairpin(HairpinCure { keep: true, .. }) => "add the hairpin rule",
            Self::Hairpin(_) => "add the hairpin rule until the certificate is issued",
            Self::Egress(_) => "let the VMs out until the certificate is issued",
            Self::Firewall(_) => "load the rules that forward port 80 again",
        }
    }

    /// The step of the plan that does the same.
    fn by(self) -> &'static str {
        match self {
            Self::Hairpin(_) => "hp.snat",
            Self::Egress(_) => "egress.open",
            Self::Firewall(_) => "fw.apply",
        }
    }
}

impl Cures {
    /// What helps against a cause here.
    fn remedy(&self, cause: Cause) -> Option<Remedy<'_>> {
        match cause {
            Cause::Hairpin => self.hairpin.as_ref().map(Remedy::Hairpin),
            Cause::Egress | Cause::SolverDown => self.egress.as_ref().map(Remedy::Egress),
            Cause::NotForwarded => self.firewall.as_ref().map(Remedy::Firewall),
            _ => None,
        }
    }

    /// The best founded cause that something of this helps against and that was not tried. Only what measurement shows is
    /// acted on.
    fn chosen<'a>(
        &'a self,
        ranking: &'a Ranking,
        tried: &[Cause],
    ) -> Option<(&'a Ranked, Remedy<'a>)> {
        let mut proved = ranking
            .causes
            .iter()
            .filter(|ranked| ranked.standing == Standing::Proved && !tried.contains(&ranked.cause));
        proved.find_map(|ranked| Some((ranked, self.remedy(ranked.cause)?)))
    }

    /// Records what cures may change.
    pub(super) async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let mut image = Image::default();
        let owed = |id: &str| sh.cx.owed().iter().any(|owed| owed.id == id);
        if let Some(hairpin) = &self.hairpin
            && !owed(HAIRPIN_OWED)
        {
            image.hairpin = Act::capture(&hairpin.rule, sh).await?;
        }
        if let Some(egress) = &self.egress
            && !owed(EGRESS_OWED)
            && egress.wan.get().is_some()
        {
            image.egress = Act::capture(egress, sh).await?;
        }
        if let Some(firewall) = &self.firewall
            && firewall.wan.get().is_some()
        {
            image.firewall = Some(Act::capture(firewall, sh).await?);
        }
        Ok(image)
    }

    /// Brings back what was there.
    pub(super) async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        self.settle(sh, "taken back with the step").await?;
        if let (Some(firewall), Some(before)) = (&self.firewall, &image.firewall) {
            Act::undo(firewall, sh, before).await?;
        }
        if let Some(egress) = &self.egress
            && egress.wan.get().is_some()
        {
            Act::undo(egress, sh, &image.egress).await?;
        }
        if let Some(hairpin) = &self.hairpin {
            Act::undo(&hairpin.rule, sh, &image.hairpin).await?;
        }
        Ok(())
    }

    /// Removes what was temporary, of this attempt or of one that was interrupted, and says so when it is gone.
    pub(super) async fn settle(&self, sh: Shell<'_>, how: &str) -> Result<(), Failure> {
        for owed in sh.cx.owes() {
            match owed.id.as_str() {
                HAIRPIN_OWED => nft::drop_table(sh).await?,
                EGRESS_OWED => {
                    if let Some(egress) = &self.egress {
                        close(sh, egress).await?;
                    }
                }
                id if id.starts_with(ASKED) => {}
                _ => continue,
            }
            sh.cx.settle_obligation(&owed.id, how).await?;
        }
        Ok(())
    }
}

/// How people close the way out.
fn by_hand(egress: &NftEgress) -> String {
    let wan = egress.wan.get().map_or("WAN", String::as_str);
    let one = |(family, table): (&str, &str)| {
        format!("sudo nft 'delete element {family} {table} {EGRESS} {{ \"{wan}\" }}'")
    };
    [FILTER, NAT].map(one).join("; ")
}

async fn close(sh: Shell<'_>, egress: &NftEgress) -> Result<(), Failure> {
    let closed = NftEgress {
        open: false,
        needed: None,
        ..egress.clone()
    };
    Act::apply(&closed, sh, &None).await.map(drop)
}

/// What came of trouble.
#[derive(Debug)]
pub(super) enum Cured {
    /// Something was done, and packets show that it helped.
    Yes,
    /// Nothing here helps: the trouble is the failure.
    No,
    /// Something would help, and did not, or must not: the failure.
    Failed(Failure),
}

/// One attempt's cures.
#[derive(Debug)]
pub(super) struct Healer<'a> {
    cures: &'a Cures,
    case: Case<'a>,
    tried: Vec<Cause>,
}

impl<'a> Healer<'a> {
    pub(super) fn new(cures: &'a Cures, case: Case<'a>) -> Self {
        let tried = Vec::new();
        Self { cures, case, tried }
    }

    /// Whether anything was done to the host.
    pub(super) fn has_acted(&self) -> bool {
        !self.tried.is_empty() || self.case.sh.cx.resumed
    }

    /// Does what helps, if anything does.
    pub(super) async fn heal(
        &mut self,
        trouble: &Trouble,
        ranking: &Ranking,
    ) -> Result<Cured, Failure> {
        let Some((ranked, remedy)) = self.cures.chosen(ranking, &self.tried) else {
            return Ok(Cured::No);
        };
        let (cx, cause) = (self.case.sh.cx, ranked.cause.code());
        if self.cures.policy == CurePolicy::Ask && !self.permitted(cause) {
            let failure = self.question(trouble, ranking, cause, remedy).await?;
            return Ok(Cured::Failed(failure));
        }
        self.tried.push(ranked.cause);
        cx.cure_tried(cause, remedy.what(), Some(remedy.by()))
            .await?;
        if self.cures.policy == CurePolicy::Ask {
            let how = "the operator decided `retry`";
            cx.settle_obligation(&format!("{ASKED}{cause}"), how)
                .await?;
        }
        if let Err(failure) = self.done(remedy).await {
            cx.cure_ended(cause, CureOutcome::Failed, &failure.why)
                .await?;
            return Ok(Cured::Failed(failure));
        }
        let verified = self.case.verify(ranked.cause).await;
        let (outcome, seen) = match &verified {
            Ok(seen) => (CureOutcome::Worked, seen),
            Err(seen) => (CureOutcome::WithoutEffect, seen),
        };
        cx.cure_ended(cause, outcome, seen).await?;
        if let Err(seen) = verified {
            let failure = self.case.failure(trouble, ranking);
            return Ok(Cured::Failed(Failure {
                residue: Residue::Dirty,
                why: format!(
                    "{}. wiab did this: {}; it did not help: {seen}",
                    failure.why,
                    remedy.what()
                ),
                ..failure
            }));
        }
        self.nudge(ranked.cause).await?;
        Ok(Cured::Yes)
    }

    /// Whether the operator was asked and has let the step go on.
    fn permitted(&self, cause: &str) -> bool {
        let cx = self.case.sh.cx;
        let id = format!("{ASKED}{cause}");
        !cx.resumed && cx.attempt > 1 && cx.owes().iter().any(|owed| owed.id == id)
    }

    async fn question(
        &self,
        trouble: &Trouble,
        ranking: &Ranking,
        cause: &str,
        remedy: Remedy<'_>,
    ) -> Result<Failure, Failure> {
        let cx = self.case.sh.cx;
        let (what, step) = (remedy.what(), cx.step.as_str());
        let retry = format!("wiab decide RUN {step} --retry --note \"…\"");
        cx.open_obligation(
            &format!("{ASKED}{cause}"),
            &format!("a question: shall wiab {what}?"),
            &retry,
        )
        .await?;
        let failure = self.case.failure(trouble, ranking);
        let hint = failure.hint.clone().unwrap_or_default();
        Ok(failure
            .ask()
            .hint(format!(
                "shall wiab {what}? If so: {retry}; or by hand: {hint}"
            ))
            .code(&format!("cert.ask.{cause}")))
    }

    /// Announces what is temporary, and does it.
    async fn done(&self, remedy: Remedy<'_>) -> Result<(), Failure> {
        let sh = self.case.sh;
        match remedy {
            Remedy::Hairpin(hairpin) => {
                let there = !matches!(Act::probe(&hairpin.rule, sh).await?, Probe::Absent);
                if !hairpin.keep && !there {
                    let what = format!(
                        "the hairpin rule on {}, for the time of issuance",
                        hairpin.rule.bridge
                    );
                    let settle = format!("sudo nft delete table ip {}", nft::TABLE);
                    sh.cx.open_obligation(HAIRPIN_OWED, &what, &settle).await?;
                }
                Act::apply(&hairpin.rule, sh, &None).await.map(drop)
            }
            Remedy::Egress(egress) => {
                if !matches!(Act::probe(egress, sh).await?, Probe::Satisfied(_)) {
                    let what = "the VMs' way out, for the time of issuance";
                    let settle = by_hand(egress);
                    sh.cx.open_obligation(EGRESS_OWED, what, &settle).await?;
                }
                Act::apply(egress, sh, &None).await.map(drop)
            }
            Remedy::Firewall(firewall) => {
                let before = Act::capture(firewall, sh).await?;
                Act::apply(firewall, sh, &before).await.map(drop)
            }
        }
    }

    /// Lets cert-manager and the cluster notice at once what they would try again only after minutes.
    async fn nudge(&self, cause: Cause) -> Result<(), Failure> {
        let (sh, toolbox) = (self.case.sh, self.case.toolbox);
        let run = async |args: &[&str]| -> Result<(), Failure> {
            sh.ok(&toolbox.kubectl(args)?).await.map(drop)
        };
        match cause {
            Cause::Egress => {
                // Any change of the issuer makes the controller look at it; the mark goes at once.
                let issuer = [
                    "annotate",
                    "clusterissuers.cert-manager.io",
                    self.case.issuer,
                ];
                run(&[&issuer[..], &["wiab/looked-at=again", "--overwrite"]].concat()).await?;
                run(&[&issuer[..], &["wiab/looked-at-"]].concat()).await
            }
            Cause::SolverDown => {
                let label = "acme.cert-manager.io/http01-solver=true";
                run(&["delete", "pods", "-n", crate::certs::NAMESPACE, "-l", label]).await
            }
            _ => Ok(()),
        }
    }
}
