//! `hairpin.rpfilter/1`: the reverse path filter does not stand in the way of the hairpin rule.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::sysctl::{Image, Sysctl};
use super::super::{Act, bound};
use super::hairpin_way::YES;
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind};

/// A kernel setting that only matters where the hairpin rule is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HairpinRpfilter {
    /// The setting.
    pub sysctl: Sysctl,
    /// Whether the rule is needed: output of `hairpin.needed/1`.
    pub needed: Input<String>,
}

impl HairpinRpfilter {
    fn idle(&self) -> bool {
        self.needed.get().is_some_and(|needed| needed != YES)
    }
}

impl Kind for HairpinRpfilter {
    const NAME: &'static str = "hairpin.rpfilter/1";
    const ABOUT: About = About {
        purpose: "Where the hairpin rule is needed, the reverse path filter is loose or off on the VMs' bridge.",
        probe: "Satisfied where the rule is not needed; else as `sysctl/1`, with values that are good enough.",
        effect: "As `sysctl/1`.",
        undo: "As `sysctl/1`.",
    };

    fn summary(&self) -> String {
        format!("{}, if the hairpin rule is needed", self.sysctl.summary())
    }

    fn undo_summary(&self) -> String {
        self.sysctl.undo_summary()
    }

    fn undo_class(&self) -> UndoClass {
        self.sysctl.undo_class()
    }

    fn lanes(&self) -> Vec<Lane> {
        self.sysctl.lanes()
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for HairpinRpfilter {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if self.idle() {
            return Ok(Probe::Satisfied(Receipt::note("the rule is not needed")));
        }
        Act::probe(&self.sysctl, sh).await
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        Act::capture(&self.sysctl, sh).await
    }

    async fn apply(&self, sh: Shell<'_>, image: &Image) -> Result<Receipt, Failure> {
        if self.idle() {
            return Ok(Receipt::note("the rule is not needed"));
        }
        Act::apply(&self.sysctl, sh, image).await
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        Act::undo(&self.sysctl, sh, image).await
    }
}
