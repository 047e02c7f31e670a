//! `inventory/2`: the ansible inventory, made from the release's own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::whole_file::{Old, diff, restore};
use super::{Act, bound, known, whole_file};
use crate::host::shell::Shell;
use crate::host::{Host, Meta};
use crate::kind::{About, Input, Kind, Out};
use crate::values::inventory::{self, Hosts, Role, TEMPLATE};
use crate::values::{NodeName, RenderError};
use crate::yaml::{Document, Origin, YamlPath};

/// How the file begins, by which it is known as ours; the rest of the line tells whether somebody changed it since.
const MARK: &str = "# Written by wiab, content ";
/// What follows the mark's line.
const ADVICE: &str =
    "# Changes here are not kept. Put your own settings into values.d/inventory.yaml.\n";
/// Largest overlay, in bytes.
const OVERLAY_BYTES_MAX: usize = 256 << 10;
const OVERLAY: &str = "values.d/inventory.yaml";

/// The inventory: template of the release, what wiab knows, the operator's overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// Path; its directory must exist.
    pub path: String,
    /// The unpacked release.
    pub tree: Input<String>,
    /// The user that ansible logs in as.
    pub user: String,
    /// Path of the private key, relative to the deploy directory.
    pub key_file: String,
    /// Path of the file with the host keys, relative to the deploy directory.
    pub known_hosts: String,
    /// The hosts; the first data node is the primary of the databases.
    pub hosts: Vec<InventoryHost>,
    /// MTU of the hosts, where it may be another than 1500.
    #[serde(default)]
    pub mtu: Option<Input<String>>,
    /// Text of the operator's `values.d/inventory.yaml`. Not for secrets.
    #[serde(default)]
    pub overlay: Option<String>,
}

/// The file as it was. One that wiab did not write stays, so that nothing of it is kept: it may hold passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    old: Option<Old>,
    foreign: bool,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryHost {
    /// Its name.
    pub name: NodeName,
    /// What it is for.
    pub role: Role,
    /// Its address.
    pub ip: Input<String>,
    /// Name of its network interface.
    pub iface: Input<String>,
    /// Its user, where that is not the usual one.
    #[serde(default)]
    pub user: Option<String>,
    /// Its port of ssh, where that is not the usual one.
    #[serde(default)]
    pub port: Option<u16>,
}

impl Inventory {
    /// Output: the path.
    pub const PATH: Out<Self> = Out::new("path");

    /// The interface of the data services; all data nodes must agree on its name. Empty without data nodes.
    fn interface(&self) -> Result<String, Failure> {
        let mut names = Vec::new();
        for host in self.hosts.iter().filter(|host| host.role == Role::Data) {
            names.push(known(&host.iface, "iface")?.as_str());
        }
        names.dedup();
        match names.as_slice() {
            [] => Ok(String::new()),
            [one] => Ok((*one).to_owned()),
            names => Err(Failure::clean(format!(
                "the data nodes name their network interfaces differently: {}",
                names.join(", ")
            ))
            .hint("give all data nodes the same machine type and network card, or rename the interfaces")),
        }
    }

    fn inputs(&self) -> Result<Hosts, Failure> {
        let mut hosts = Vec::new();
        for host in &self.hosts {
            let ip = known(&host.ip, "ip")?;
            hosts.push(inventory::InventoryHost {
                name: host.name.clone(),
                role: host.role,
                ip: ip.parse::<Ipv4Addr>().map_err(|_| {
                    Failure::clean(format!("`{ip}` of {} is not an IPv4 address", host.name))
                })?,
                user: host.user.clone(),
                port: host.port,
            });
        }
        let mtu = match &self.mtu {
            None => 1_500,
            Some(mtu) => {
                let mtu = known(mtu, "mtu")?;
                mtu.parse()
                    .map_err(|_| Failure::clean(format!("`{mtu}` is not an MTU")))?
            }
        };
        Ok(Hosts {
            hosts,
            interface: self.interface()?,
            key_file: self.key_file.clone(),
            user: Some(self.user.clone()),
            ssh_args: Some(format!(
                "-o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -o ControlMaster=auto -o ControlPersist=60s",
                self.known_hosts
            )),
            mtu,
        })
    }

    fn overlay(&self) -> Result<Option<Document>, Failure> {
        let Some(text) = self.overlay.as_deref() else {
            return Ok(None);
        };
        if text.len() > OVERLAY_BYTES_MAX {
            return Err(Failure::clean(format!(
                "{OVERLAY} has more than {OVERLAY_BYTES_MAX} bytes"
            )));
        }
        Document::parse(text, Origin::file(OVERLAY))
            .map(Some)
            .map_err(|error| refused(&RenderError::from(error)))
    }

    async fn wanted(&self, sh: Shell<'_>) -> Result<(Vec<u8>, Vec<YamlPath>), Failure> {
        let hosts = self.inputs()?;
        let tree = known(&self.tree, "tree")?;
        let file = format!("{tree}/{TEMPLATE}");
        let template = sh.read(&file, false).await?.ok_or_else(|| {
            Failure::clean(format!("{file} is missing"))
                .hint("unpack the artifact again (`art.unpack`): it is incomplete")
        })?;
        let template = String::from_utf8(template)
            .map_err(|_| Failure::clean(format!("{file} is not a text file")))?;
        let overlay = self.overlay()?;
        let (text, changed) = inventory::render(&template, &hosts, tree, overlay.as_ref())
            .map_err(|error| refused(&error))?;
        Ok((sealed(&text), changed))
    }

    fn receipt(&self, changed: &[YamlPath]) -> Receipt {
        let note = format!("{} values differ from the release's", changed.len());
        Receipt::note(note).with("path", &*self.path)
    }

    /// A file that wiab wrote and somebody changed, or that somebody else wrote, is never lost.
    fn edited(&self, found: &[u8], wanted: &[u8]) -> Failure {
        let lines = hidden(&diff(wanted, found));
        Failure::clean(format!(
            "{} was edited by hand, or was not written by wiab; `+` is what only it has:\n{lines}",
            self.path
        ))
        .ask()
        .hint(format!(
            "put what you want to keep into {OVERLAY}, which is merged last and kept for ever; then mv {0} {0}.old, and decide `retry`",
            self.path
        ))
    }
}

/// The lines without what may be a secret: ansible takes passwords from inventories.
fn hidden(lines: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some((key, _))
            if ["pass", "secret", "token"]
                .iter()
                .any(|sign| key.contains(sign)) =>
        {
            format!("{key}: (hidden)")
        }
        _ => line.to_owned(),
    };
    lines.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The text under a line that tells whether it was changed.
fn sealed(text: &str) -> Vec<u8> {
    let body = format!("{ADVICE}{text}");
    format!("{MARK}{}\n{body}", blake3::hash(body.as_bytes()).to_hex()).into_bytes()
}

/// Whether a file is as some run of wiab wrote it.
fn untouched(found: &[u8]) -> bool {
    let text = String::from_utf8_lossy(found);
    text.strip_prefix(MARK)
        .and_then(|rest| rest.split_once('\n'))
        .is_some_and(|(hash, body)| blake3::hash(body.as_bytes()).to_hex().as_str() == hash)
}

fn refused(error: &RenderError) -> Failure {
    let hint = match error {
        RenderError::Yaml(error) if error.origin.release.is_none() => {
            "correct the file and run again"
        }
        RenderError::Yaml(_)
        | RenderError::NoTemplate { .. }
        | RenderError::Needs { .. }
        | RenderError::Placeholders { .. } => {
            "compare the machines of the settings with the release's inventory; an unknown release needs a newer wiab"
        }
    };
    Failure::clean(error.to_string()).hint(hint)
}

impl Kind for Inventory {
    const NAME: &'static str = "inventory/2";
    const ABOUT: About = About {
        purpose: "Ansible knows the hosts, their addresses, roles, interfaces and host keys.",
        probe: "Renders the release's inventory with what the hosts reported and the operator's overlay; compares the file.",
        effect: "Writes the file; one that was edited by hand is never replaced, its differences are shown.",
        undo: "Restores or removes the file.",
    };

    fn summary(&self) -> String {
        let overlay = if self.overlay.is_some() {
            " and your overlay"
        } else {
            ""
        };
        format!(
            "write inventory of {} hosts{overlay} to {}",
            self.hosts.len(),
            self.path
        )
    }

    fn undo_summary(&self) -> String {
        format!("restore or remove {}", self.path)
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for Inventory {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        // While the artifact is not unpacked, or a host is not known, there is nothing to compare with.
        let Ok((wanted, changed)) = self.wanted(sh).await else {
            return Ok(Probe::Absent);
        };
        Ok(match sh.read(&self.path, false).await? {
            None => Probe::Absent,
            Some(found) if found == wanted => Probe::Satisfied(self.receipt(&changed)),
            Some(found) => Probe::Drifted {
                diff: hidden(&diff(&found, &wanted)),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let found = sh.read(&self.path, false).await?;
        let foreign = found.is_some_and(|found| !untouched(&found));
        let old = if foreign {
            None
        } else {
            whole_file::capture(sh, &self.path, false).await?
        };
        Ok(Image { old, foreign })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let (wanted, changed) = self.wanted(sh).await?;
        let found = sh.read(&self.path, false).await?;
        if found.as_ref() == Some(&wanted) {
            return Ok(self.receipt(&changed));
        }
        if let Some(found) = found.filter(|found| !untouched(found)) {
            return Err(self.edited(&found, &wanted));
        }
        sh.write(&self.path, &wanted, &Meta::user(0o644)).await?;
        Ok(self.receipt(&changed))
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        match sh.read(&self.path, false).await? {
            Some(found) if !untouched(&found) && image.foreign => Ok(()),
            Some(found) if !untouched(&found) => Err(Failure::clean(format!(
                "{} was changed after wiab wrote it; it is left as it is",
                self.path
            ))
            .ask()
            .hint(format!(
                "remove or keep {} by hand, then decide `accept`",
                self.path
            ))),
            Some(_) | None => restore(sh, &self.path, image.old.as_ref(), false).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_told_from_one_as_written() {
        let file = sealed("all: {}\n");
        assert!(untouched(&file));
        let text = String::from_utf8(file).unwrap();
        assert!(!untouched(text.replace("all", "hosts").as_bytes()));
        assert!(!untouched(b"all: {}\n") && !untouched(b""));
    }
}
