//! `cert.ready/1`: waits for a certificate, tells early and by name why it does not come, and asks for another attempt after a
//! cure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::tool::Toolbox;
use super::super::{Act, bound};
use super::cure::{self, Cures, Image};
use super::follow::{self, Wanted, follow};
use super::looks::Ground;
use super::verdict::Case;
use super::watch::{list, valid};
use crate::certs::{ISSUER, Ready, look};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Out, Pace};

/// A certificate that shall be issued and valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertReady {
    /// Where kubectl runs.
    pub toolbox: Toolbox,
    /// Name of the Certificate: `wire-example-org-csr`, `sftd`.
    pub certificate: String,
    /// The public address of the host.
    pub host_ip: String,
    /// What was found out about the way from the VMs to it: output of `hairpin.needed/1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Input<String>>,
    /// What can be looked at in case of trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground: Option<Ground>,
    /// What may be done about trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cures: Option<Cures>,
    /// How long it may take, in milliseconds.
    pub deadline_ms: u64,
}

fn receipt(ready: &Ready) -> Receipt {
    Receipt::note(format!("valid until {}", ready.not_after))
        .with(CertReady::NOT_AFTER.name(), &*ready.not_after)
        .with(CertReady::ISSUER.name(), ISSUER)
}

impl CertReady {
    /// Output: until when it is valid.
    pub const NOT_AFTER: Out<Self> = Out::new("not_after");
    /// Output: who issues it.
    pub const ISSUER: Out<Self> = Out::new("issuer");

    fn case<'a>(&'a self, sh: Shell<'a>) -> Case<'a> {
        Case {
            sh,
            toolbox: &self.toolbox,
            ground: self.ground.as_ref(),
            host_ip: &self.host_ip,
            issuer: ISSUER,
            way: self.way.as_ref().and_then(Input::get).map(String::as_str),
        }
    }
}

impl Kind for CertReady {
    const NAME: &'static str = "cert.ready/1";
    const ABOUT: About = About {
        purpose: "The installation has a certificate, or the operator knows within a minute why not, and what to do.",
        probe: "Asks once for Certificate, CertificateRequest, Order, Challenges and issuer: ready, and not expired.",
        effect: "Follows the chain every few seconds until the deadline. At the first trouble that stays it gathers the evidence and \
                 names the causes, with what speaks for and against each. After a failed issuance it asks cert-manager for \
                 another attempt at once. Where the settings let it, it first does what a step of the plan would do against a \
                 cause that measurement shows, verifies it with packets, and takes back what was temporary.",
        undo: "Removes what a cure has put on the host, and brings the rules back to what they were.",
    };

    fn summary(&self) -> String {
        format!("wait for the certificate {}", self.certificate)
    }

    fn undo_summary(&self) -> String {
        match self.cures {
            Some(_) => "bring back the rules that were there before cures",
            None => "nothing to undo",
        }
        .to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        match self.cures {
            Some(_) => UndoClass::Reversible,
            None => UndoClass::NothingToUndo,
        }
    }

    fn lanes(&self) -> Vec<Lane> {
        cure::lanes(self.cures.as_ref())
    }

    fn pace(&self) -> Pace {
        follow::pace(self.deadline_ms)
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CertReady {
    /// What was there before any cure; `None` where nothing may be done.
    type Image = Option<Image>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if self.toolbox.image.get().is_none() || self.toolbox.tree.get().is_none() {
            return Ok(Probe::Absent);
        }
        let Ok(list) = list(sh, &self.toolbox).await? else {
            return Ok(Probe::Absent);
        };
        let look = look(&list, &self.certificate);
        Ok(match valid(&look, sh.cx.clock.wall_ms()) {
            Some(ready) => Probe::Satisfied(receipt(ready)),
            None if look.there => Probe::Partial {
                what: look.complaint.unwrap_or(look.stage),
            },
            None => Probe::Absent,
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Image>, Failure> {
        match &self.cures {
            Some(cures) => cures.capture(sh).await.map(Some),
            None => Ok(None),
        }
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Image>) -> Result<Receipt, Failure> {
        let wanted = Wanted {
            names: vec![&self.certificate],
            deadline_ms: self.deadline_ms,
        };
        let ready = follow(self.case(sh), wanted, self.cures.as_ref()).await?;
        let ready = ready.first().map(receipt);
        ready.ok_or_else(|| Failure::clean("no certificate was asked for"))
    }

    async fn undo(&self, sh: Shell<'_>, before: &Option<Image>) -> Result<(), Failure> {
        match (&self.cures, before) {
            (Some(cures), Some(image)) => cures.undo(sh, image).await,
            (Some(cures), None) => cures.settle(sh, "taken back with the step").await,
            (None, _) => Ok(()),
        }
    }
}
