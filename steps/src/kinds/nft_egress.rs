//! `nft.egress/1`: a way out for the VMs of a private installation, while certificates are issued.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::nft::{listing, load};
use super::{Act, bound, known};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind};
use crate::traffic::{EGRESS, FILTER, NAT, interface, listed};

/// By which the way out is known, also to people who look at the rules.
const COMMENT: &str = "wire-masquerade-for-letsencrypt";

/// The public interface is among those by which the VMs may leave; or, `open` false, no interface is that this step added.
///
/// Loading the rules again closes it, so it comes after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NftEgress {
    /// The public interface.
    pub wan: Input<String>,
    /// Whether the way out is open, or closed again.
    pub open: bool,
}

/// How the interface is in the two sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// In how many.
    count: usize,
    /// With which comment; empty without one.
    comment: String,
}

impl NftEgress {
    async fn count(&self, sh: Shell<'_>) -> Result<Option<usize>, Failure> {
        Ok(self.found(sh).await?.map(|found| found.count))
    }

    fn wan(&self) -> Result<&str, Failure> {
        let wan = known(&self.wan, "wan")?;
        interface(wan).map_err(|error| Failure::clean(error.to_string()))
    }

    /// How the interface is in the two tables; `None` when one of them is missing.
    async fn found(&self, sh: Shell<'_>) -> Result<Option<Found>, Failure> {
        let mut found = Found::default();
        for (family, name) in [FILTER, NAT] {
            let Some(json) = listing(sh, &["table", family, name]).await? else {
                return Ok(None);
            };
            let table = listed(&json);
            let Some(set) = table.sets.get(EGRESS) else {
                return Ok(None);
            };
            if let Some(comment) = set.get(self.wan()?) {
                found.count += 1;
                found.comment.clone_from(comment);
            }
        }
        Ok(Some(found))
    }

    /// Opens or closes both tables in one transaction.
    async fn turn(&self, sh: Shell<'_>, open: bool, comment: &str) -> Result<(), Failure> {
        let wan = self.wan()?;
        let mut script = String::new();
        for (family, name) in [FILTER, NAT] {
            let set = [family, " ", name, " ", EGRESS].concat();
            // What is deleted must be there; adding what is there changes nothing.
            let said = match comment {
                "" => String::new(),
                text => [" comment \"", text, "\""].concat(),
            };
            script += &["add element ", &set, " { \"", wan, "\"", &said, " }\n"].concat();
            if !open {
                script += &["delete element ", &set, " { \"", wan, "\" }\n"].concat();
            }
        }
        load(sh, &script).await
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(if self.open {
            "the VMs may reach the outside"
        } else {
            "the VMs may not reach the outside"
        })
    }
}

impl Kind for NftEgress {
    const NAME: &'static str = "nft.egress/1";
    const ABOUT: About = About {
        purpose: "A private installation reaches the certificate authority as long as that is needed, and no longer.",
        probe: "Looks for the public interface in the sets of interfaces by which the VMs may leave.",
        effect: "Adds it to both sets, or removes it from both, in one transaction.",
        undo: "Brings the sets back to what they were.",
    };

    fn summary(&self) -> String {
        let verb = if self.open { "open" } else { "close" };
        format!("{verb} the VMs' way out")
    }

    fn undo_summary(&self) -> String {
        "bring the way out back to what it was".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("host-net")]
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for NftEgress {
    /// How the interface was there; `None` without tables.
    type Image = Option<Found>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        Ok(match (self.count(sh).await?, self.open) {
            (Some(2), true) | (Some(0) | None, false) => Probe::Satisfied(self.receipt()),
            (Some(0) | None, true) | (Some(2), false) => Probe::Absent,
            (Some(_), _) => Probe::Partial {
                what: "only one of the two tables has the way out".to_owned(),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Found>, Failure> {
        self.found(sh).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Found>) -> Result<Receipt, Failure> {
        match (self.count(sh).await?, self.open) {
            (None, true) => Err(Failure::clean("the rules of the firewall are not loaded")
                .hint("run `wiab apply --only fw.apply`, then `wiab apply --resume`")),
            (Some(2), true) | (Some(0) | None, false) => Ok(self.receipt()),
            (Some(_), open) => {
                self.turn(sh, open, COMMENT).await?;
                Ok(self.receipt())
            }
        }
    }

    async fn undo(&self, sh: Shell<'_>, before: &Option<Found>) -> Result<(), Failure> {
        let Some(now) = self.found(sh).await? else {
            return Ok(());
        };
        let old = before.as_ref().filter(|found| found.count > 0);
        if now.count == if old.is_some() { 2 } else { 0 } {
            return Ok(());
        }
        let comment = old.map_or(COMMENT, |found| found.comment.as_str());
        self.turn(sh, old.is_some(), comment).await
    }
}
