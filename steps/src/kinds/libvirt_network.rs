//! `libvirt.network/1`: the network of the VMs, with a fixed address for each.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::virsh::{
    Network, answers, attached, net_define, net_flags, net_remove, network, read, virsh,
};
use super::xml::Node;
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Out};

/// A libvirt network without libvirt's own firewall rules (forward mode `open`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibvirtNetwork {
    /// Its name.
    pub name: String,
    /// Its bridge.
    pub bridge: String,
    /// The host's address on it.
    pub address: String,
    /// Its netmask.
    pub netmask: String,
    /// First address handed out.
    pub range_start: String,
    /// Last address handed out.
    pub range_end: String,
    /// Fixed addresses.
    pub reservations: Vec<Reservation>,
}

/// A fixed address of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// MAC address, lower case.
    pub mac: String,
    /// Host name.
    pub name: String,
    /// IPv4 address.
    pub ip: String,
}

impl Reservation {
    fn node(&self) -> Node {
        Node::new("host")
            .set("mac", &*self.mac)
            .set("name", &*self.name)
            .set("ip", &*self.ip)
    }

    fn of(node: &Node) -> Self {
        let attr = |name: &str| node.attr(name).unwrap_or_default().to_owned();
        Self {
            mac: attr("mac").to_lowercase(),
            name: attr("name"),
            ip: attr("ip"),
        }
    }

    fn clashes(&self, other: &Self) -> bool {
        self != other && (self.mac == other.mac || self.name == other.name || self.ip == other.ip)
    }
}

/// The network as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    reservations: Vec<Reservation>,
    active: bool,
    autostart: bool,
}

fn reservations(xml: &Node) -> Vec<Reservation> {
    xml.at(&["ip", "dhcp"])
        .map(|dhcp| dhcp.all("host").map(Reservation::of).collect())
        .unwrap_or_default()
}

impl LibvirtNetwork {
    /// Output: the bridge.
    pub const BRIDGE: Out<Self> = Out::new("bridge");

    fn xml(&self) -> String {
        let range = Node::new("range")
            .set("start", &*self.range_start)
            .set("end", &*self.range_end);
        let mut dhcp = Node::new("dhcp").child(range);
        for reservation in &self.reservations {
            dhcp = dhcp.child(reservation.node());
        }
        let bridge = Node::new("bridge")
            .set("name", &*self.bridge)
            .set("stp", "on")
            .set("delay", "0");
        Node::new("network")
            .child(Node::new("name").text(&*self.name))
            .child(Node::new("forward").set("mode", "open"))
            .child(bridge)
            .child(
                Node::new("ip")
                    .set("address", &*self.address)
                    .set("netmask", &*self.netmask)
                    .child(dhcp),
            )
            .render()
    }

    /// What cannot be changed without taking the network down, as `- found` / `+ wanted` lines.
    fn core_diff(&self, xml: &Node) -> Vec<String> {
        let parts: [(&[&str], &str, &str); 6] = [
            (&["forward"], "mode", "open"),
            (&["bridge"], "name", &self.bridge),
            (&["ip"], "address", &self.address),
            (&["ip"], "netmask", &self.netmask),
            (&["ip", "dhcp", "range"], "start", &self.range_start),
            (&["ip", "dhcp", "range"], "end", &self.range_end),
        ];
        parts
            .iter()
            .map(|(path, attr, wanted)| (path, attr, xml.attr_at(path, attr), wanted))
            .filter(|(.., found, wanted)| found != *wanted)
            .map(|(path, attr, found, wanted)| {
                let place = path.join(".");
                format!("- {place}.{attr} {found}\n+ {place}.{attr} {wanted}")
            })
            .collect()
    }

    /// Reservations in the way, and those that are missing. Others' reservations stay.
    fn reservation_steps(&self, found: &[Reservation]) -> (Vec<Reservation>, Vec<Reservation>) {
        let in_the_way = found
            .iter()
            .filter(|old| self.reservations.iter().any(|new| new.clashes(old)))
            .cloned()
            .collect();
        let missing = self
            .reservations
            .iter()
            .filter(|new| !found.contains(new))
            .cloned()
            .collect();
        (in_the_way, missing)
    }

    async fn update(
        &self,
        sh: Shell<'_>,
        verb: &str,
        reservation: &Reservation,
        active: bool,
    ) -> Result<(), Failure> {
        let host = reservation.node().line();
        let mut arguments = vec![
            "net-update",
            &self.name,
            verb,
            "ip-dhcp-host",
            &host,
            "--config",
        ];
        if active {
            arguments.push("--live");
        }
        sh.ok(&virsh(&arguments)).await.map(drop)
    }

    async fn change(
        &self,
        sh: Shell<'_>,
        (delete, add): (Vec<Reservation>, Vec<Reservation>),
        active: bool,
    ) -> Result<(), Failure> {
        for reservation in &delete {
            self.update(sh, "delete", reservation, active).await?;
        }
        for reservation in &add {
            self.update(sh, "add", reservation, active).await?;
        }
        Ok(())
    }

    fn foreign(&self, differences: &[String]) -> Failure {
        Failure::clean(format!(
            "a network `{}` of other content exists:\n{}",
            self.name,
            differences.join("\n")
        ))
        .ask()
        .hint(format!(
            "look at `sudo virsh net-dumpxml {0}`; remove it, or choose another `name` in [network], then decide `retry`",
            self.name
        ))
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("{} reservations", self.reservations.len()))
            .with("bridge", &*self.bridge)
    }

    fn judge(&self, found: &Network) -> Result<Probe, Failure> {
        let xml = read(&found.xml, &self.name)?;
        let mut differences = self.core_diff(&xml);
        let (in_the_way, missing) = self.reservation_steps(&reservations(&xml));
        differences.extend(in_the_way.iter().map(|r| format!("- {}", r.node().line())));
        differences.extend(missing.iter().map(|r| format!("+ {}", r.node().line())));
        if !differences.is_empty() {
            return Ok(Probe::Drifted {
                diff: differences.join("\n"),
            });
        }
        Ok(match (found.active, found.autostart) {
            (true, true) => Probe::Satisfied(self.receipt()),
            (active, _) => Probe::Partial {
                what: format!(
                    "defined, {}",
                    if active {
                        "not started with the host"
                    } else {
                        "not active"
                    }
                ),
            },
        })
    }
}

impl Kind for LibvirtNetwork {
    const NAME: &'static str = "libvirt.network/1";
    const ABOUT: About = About {
        purpose: "A network of the VMs' own, where every VM keeps its address.",
        probe: "Compares bridge, addresses, range and reservations structurally; asks whether it is active and autostarted.",
        effect: "Defines, starts and autostarts it; repairs reservations in place; never replaces a network of other content.",
        undo: "Stops and undefines it (refused while domains use it), or restores reservations and flags.",
    };

    fn summary(&self) -> String {
        format!(
            "create libvirt network `{}` on {} ({}), {} reservations",
            self.name,
            self.bridge,
            self.address,
            self.reservations.len()
        )
    }

    fn undo_summary(&self) -> String {
        "stop and undefine it".to_owned()
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

impl Act for LibvirtNetwork {
    type Image = Option<Image>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if !answers(sh).await? {
            return Ok(Probe::Absent);
        }
        match network(sh, &self.name).await? {
            None => Ok(Probe::Absent),
            Some(found) => self.judge(&found),
        }
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Image>, Failure> {
        let Some(found) = network(sh, &self.name).await? else {
            return Ok(None);
        };
        Ok(Some(Image {
            reservations: reservations(&read(&found.xml, &self.name)?),
            active: found.active,
            autostart: found.autostart,
        }))
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Image>) -> Result<Receipt, Failure> {
        match network(sh, &self.name).await? {
            None => net_define(sh, &self.xml()).await?,
            Some(found) => {
                let xml = read(&found.xml, &self.name)?;
                let differences = self.core_diff(&xml);
                if !differences.is_empty() {
                    return Err(self.foreign(&differences));
                }
                let steps = self.reservation_steps(&reservations(&xml));
                self.change(sh, steps, found.active).await?;
            }
        }
        net_flags(sh, &self.name, true, true).await?;
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, image: &Option<Image>) -> Result<(), Failure> {
        let Some(found) = network(sh, &self.name).await? else {
            return Ok(());
        };
        let xml = read(&found.xml, &self.name)?;
        let Some(image) = image else {
            if !self.core_diff(&xml).is_empty() {
                // Not what this step defines: somebody else's of the same name.
                return Ok(());
            }
            let users = attached(sh, &self.name, &self.bridge).await?;
            if !users.is_empty() {
                return Err(Failure::clean(format!(
                    "network `{}` is used by {}",
                    self.name,
                    users.join(", ")
                ))
                .ask()
                .hint("move or remove these domains, then decide `retry-undo`"));
            }
            return net_remove(sh, &self.name).await;
        };
        let now = reservations(&xml);
        let ours = |r: &&Reservation| self.reservations.contains(r);
        let delete: Vec<_> = now
            .iter()
            .filter(ours)
            .filter(|r| !image.reservations.contains(r))
            .cloned()
            .collect();
        let kept: Vec<_> = now.iter().filter(|r| !delete.contains(r)).collect();
        let clash = |old: &&Reservation| {
            !kept
                .iter()
                .any(|other| *other == *old || other.clashes(old))
        };
        let add: Vec<_> = image.reservations.iter().filter(clash).cloned().collect();
        self.change(sh, (delete, add), found.active).await?;
        net_flags(sh, &self.name, image.active, image.autostart).await
    }
}
