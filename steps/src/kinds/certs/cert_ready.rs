//! `cert.ready/1`: waits for a certificate, tells early and by name why it does not come, and asks for another attempt after a
//! cure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::tool::Toolbox;
use super::super::{Act, bound, only_looked};
use super::looks::Ground;
use super::verdict::Case;
use super::watch::{News, Watch, list, valid};
use crate::certs::{ISSUER, NAMESPACE, Ready, look};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Out, Pace};

/// How long trouble without a known cause is waited out after its evidence was taken, in milliseconds.
const HOPE_MS: u64 = 300_000;

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

    /// Follows it to its end.
    async fn wait(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        let mut watch = Watch::new(sh, &self.toolbox, vec![&self.certificate], self.deadline_ms);
        let case = Case {
            sh,
            toolbox: &self.toolbox,
            ground: self.ground.as_ref(),
            host_ip: &self.host_ip,
            way: self.way.as_ref().and_then(Input::get).map(String::as_str),
        };
        let mut last: Option<Failure> = None;
        loop {
            match watch.next().await? {
                News::Ready(ready) => {
                    let ready = ready.first().map(receipt);
                    return ready.ok_or_else(|| Failure::clean("no certificate was asked for"));
                }
                News::Trouble(trouble) => {
                    let ranking = case.diagnose(&trouble).await?;
                    let failure = case.failure(&trouble, &ranking);
                    if ranking.first().is_some() || trouble.look.failed.is_some() {
                        return Err(failure);
                    }
                    // What is not known may still go away by itself.
                    watch.hope(HOPE_MS);
                    last = Some(failure);
                }
                News::Late => return Err(last.unwrap_or_else(|| self.late(watch.said()))),
            }
        }
    }

    fn late(&self, last: &str) -> Failure {
        let seconds = self.deadline_ms / 1_000;
        Failure::clean(format!(
            "certificate {} was not issued within {seconds} s: {last}",
            self.certificate
        ))
        .hint(format!(
            "look at `kubectl describe certificate,order,challenge -n {NAMESPACE}`; then `wiab apply --resume`"
        ))
        .code("cert.late")
    }
}

impl Kind for CertReady {
    const NAME: &'static str = "cert.ready/1";
    const ABOUT: About = About {
        purpose: "The installation has a certificate, or the operator knows within a minute why not, and what to do.",
        probe: "Asks once for Certificate, CertificateRequest, Order, Challenges and issuer: ready, and not expired.",
        effect: "Follows the chain every few seconds until the deadline. At the first trouble that stays it gathers the evidence and \
                 names the causes, with what speaks for and against each. After a failed issuance it asks cert-manager for \
                 another attempt at once.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("wait for the certificate {}", self.certificate)
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            timeout_ms: self.deadline_ms.saturating_add(120_000),
            usual_ms: 90_000,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CertReady {
    type Image = ();

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

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        // Asking for another attempt is no state that anybody could restore.
        self.wait(sh).await.map_err(only_looked)
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}
