//! `libvirt.network-removed/1`: libvirt's stock network must make room.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::virsh::{answers, attached, net_define, net_flags, net_remove, network, read};
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind};

/// A libvirt network that must not exist, since it holds the bridge and subnet of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibvirtNetworkRemoved {
    /// Its name: `default`.
    pub name: String,
}

/// The network as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    xml: String,
    active: bool,
    autostart: bool,
}

impl Kind for LibvirtNetworkRemoved {
    const NAME: &'static str = "libvirt.network-removed/1";
    const ABOUT: About = About {
        purpose: "Libvirt's stock network uses the bridge and subnet that the VMs need.",
        probe: "Looks for the exact name among all networks.",
        effect: "Stops and undefines it; refuses while any domain has an interface on it.",
        undo: "Defines it from the captured XML, with its active and autostart state.",
    };

    fn summary(&self) -> String {
        format!("remove libvirt network `{}`", self.name)
    }

    fn undo_summary(&self) -> String {
        "define and start it again from its saved XML".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("libvirt")]
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for LibvirtNetworkRemoved {
    type Image = Option<Image>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if !answers(sh).await? {
            return Ok(Probe::Absent);
        }
        Ok(match network(sh, &self.name).await? {
            None => Probe::Satisfied(Receipt::note(format!("no network `{}`", self.name))),
            Some(_) => Probe::Absent,
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Image>, Failure> {
        let found = network(sh, &self.name).await?;
        Ok(found.map(|network| Image {
            xml: network.xml,
            active: network.active,
            autostart: network.autostart,
        }))
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Image>) -> Result<Receipt, Failure> {
        let done = Receipt::note(format!("network `{}` removed", self.name));
        let Some(found) = network(sh, &self.name).await? else {
            return Ok(done);
        };
        let xml = read(&found.xml, &self.name)?;
        let users = attached(sh, &self.name, xml.attr_at(&["bridge"], "name")).await?;
        if !users.is_empty() {
            return Err(Failure::clean(format!(
                "network `{}` is used by {}",
                self.name,
                users.join(", ")
            ))
            .ask()
            .hint(
                "move these domains to another network or remove them (`sudo virsh domiflist NAME`), then decide `retry`; \
                 or choose another bridge and subnet in [network] and set `remove_default = false`",
            ));
        }
        net_remove(sh, &self.name).await?;
        Ok(done)
    }

    async fn undo(&self, sh: Shell<'_>, image: &Option<Image>) -> Result<(), Failure> {
        let Some(image) = image else {
            return Ok(());
        };
        if network(sh, &self.name).await?.is_none() {
            net_define(sh, &image.xml).await?;
        }
        net_flags(sh, &self.name, image.active, image.autostart).await
    }
}
