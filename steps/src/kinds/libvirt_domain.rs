//! `libvirt.domain/1`: a VM as libvirt knows it, not yet running.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::virsh::{answers, domain_autostart, domain_state, domain_xml, read, virsh};
use super::xml::Node;
use super::{Act, bound, known};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Out};

/// Namespace of our mark inside a domain's metadata.
const NAMESPACE: &str = "urn:wiab:domain:1";

/// How the VM is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtType {
    /// With hardware support.
    Kvm,
    /// Emulated, for hosts without KVM: slow.
    Qemu,
}

impl VirtType {
    /// The word of libvirt and of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Qemu => "qemu",
        }
    }
}

/// A VM: q35, one virtio disk, a seed CD, one virtio network card, a serial console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibvirtDomain {
    /// Its name.
    pub name: String,
    /// Name of the installation, written into the domain's metadata.
    pub installation: String,
    /// Hardware support or emulation.
    pub virt_type: VirtType,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Path of the disk.
    pub disk: Input<String>,
    /// Path of the cloud-init seed.
    pub seed: Input<String>,
    /// Libvirt network.
    pub network: String,
    /// MAC address, lower case.
    pub mac: String,
    /// Size of the emulator's code cache in MiB, for `qemu` only.
    #[serde(default)]
    pub tb_cache_mib: Option<u32>,
}

/// The domain as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    xml: String,
    autostart: bool,
}

fn disk(device: &str, driver: &str, file: &str, target: (&str, &str)) -> Node {
    Node::new("disk")
        .set("type", "file")
        .set("device", device)
        .child(Node::new("driver").set("name", "qemu").set("type", driver))
        .child(Node::new("source").set("file", file))
        .child(
            Node::new("target")
                .set("dev", target.0)
                .set("bus", target.1),
        )
}

/// Memory in KiB as libvirt prints it.
fn memory_kib(xml: &Node) -> Option<u64> {
    let node = xml.at(&["memory"])?;
    let amount: u64 = node.text.parse().ok()?;
    Some(match node.attr("unit").unwrap_or("KiB") {
        "MiB" => amount << 10,
        "GiB" => amount << 20,
        "b" | "bytes" => amount >> 10,
        _ => amount,
    })
}

/// File of the first disk of that device type.
fn source_of<'a>(xml: &'a Node, device: &str) -> &'a str {
    xml.at(&["devices"])
        .and_then(|devices| {
            devices
                .all("disk")
                .find(|disk| disk.attr("device") == Some(device))
        })
        .map(|disk| disk.attr_at(&["source"], "file"))
        .unwrap_or_default()
}

fn owner(xml: &Node) -> Option<&str> {
    xml.at(&["metadata"])?
        .children
        .iter()
        .find(|mark| {
            mark.attrs
                .iter()
                .any(|(name, value)| name.starts_with("xmlns") && value == NAMESPACE)
        })?
        .attr("installation")
}

impl LibvirtDomain {
    /// Output: the name.
    pub const NAME_OUT: Out<Self> = Out::new("name");

    fn ours(&self, xml: &Node) -> bool {
        owner(xml) == Some(&self.installation)
    }

    fn features(&self) -> Node {
        let features = Node::new("features")
            .child(Node::new("acpi"))
            .child(Node::new("apic"));
        match (self.virt_type, self.tb_cache_mib) {
            (VirtType::Qemu, Some(size)) => {
                let cache = Node::new("tb-cache")
                    .set("unit", "MiB")
                    .text(size.to_string());
                features.child(Node::new("tcg").child(cache))
            }
            _ => features,
        }
    }

    fn devices(&self, system: &str, seed: &str) -> Node {
        let nic = Node::new("interface")
            .set("type", "network")
            .child(Node::new("mac").set("address", &*self.mac))
            .child(Node::new("source").set("network", &*self.network))
            .child(Node::new("model").set("type", "virtio"));
        let serial = Node::new("serial")
            .set("type", "pty")
            .child(Node::new("target").set("port", "0"));
        let console = Node::new("console")
            .set("type", "pty")
            .child(Node::new("target").set("type", "serial").set("port", "0"));
        let rng = Node::new("rng").set("model", "virtio").child(
            Node::new("backend")
                .set("model", "random")
                .text("/dev/urandom"),
        );
        Node::new("devices")
            .child(disk("disk", "qcow2", system, ("vda", "virtio")))
            .child(disk("cdrom", "raw", seed, ("sda", "sata")).child(Node::new("readonly")))
            .child(nic)
            .child(serial)
            .child(console)
            .child(rng)
    }

    /// The definition; `uuid` is that of the domain it replaces.
    fn xml(&self, system: &str, seed: &str, uuid: Option<&str>) -> String {
        let mark = Node::new("wiab:domain")
            .set("xmlns:wiab", NAMESPACE)
            .set("installation", &*self.installation);
        let machine = Node::new("type")
            .set("arch", "x86_64")
            .set("machine", "q35")
            .text("hvm");
        let mut domain = Node::new("domain")
            .set("type", self.virt_type.as_str())
            .child(Node::new("name").text(&*self.name));
        if let Some(uuid) = uuid {
            domain = domain.child(Node::new("uuid").text(uuid));
        }
        domain = domain
            .child(Node::new("metadata").child(mark))
            .child(
                Node::new("memory")
                    .set("unit", "MiB")
                    .text(self.memory_mib.to_string()),
            )
            .child(Node::new("vcpu").text(self.vcpus.to_string()))
            .child(
                Node::new("os")
                    .child(machine)
                    .child(Node::new("boot").set("dev", "hd")),
            )
            .child(self.features());
        if self.virt_type == VirtType::Kvm {
            domain = domain.child(Node::new("cpu").set("mode", "host-passthrough"));
        }
        domain
            .child(Node::new("clock").set("offset", "utc"))
            .child(self.devices(system, seed))
            .render()
    }

    /// What differs, as `- found` / `+ wanted` lines.
    fn diff(&self, xml: &Node) -> Option<String> {
        let path = |input: &Input<String>| input.get().cloned().unwrap_or_default();
        let memory = memory_kib(xml).unwrap_or_default().to_string();
        let vcpus = xml.at(&["vcpu"]).map(|node| node.text.clone());
        let nic: &[&str] = &["devices", "interface"];
        let mac = xml
            .attr_at(&[nic, &["mac"]].concat(), "address")
            .to_lowercase();
        let parts = [
            (
                "type",
                xml.attr("type").unwrap_or_default().to_owned(),
                self.virt_type.as_str().to_owned(),
            ),
            ("memory (KiB)", memory, (self.memory_mib << 10).to_string()),
            ("vcpu", vcpus.unwrap_or_default(), self.vcpus.to_string()),
            ("disk", source_of(xml, "disk").to_owned(), path(&self.disk)),
            ("seed", source_of(xml, "cdrom").to_owned(), path(&self.seed)),
            ("mac", mac, self.mac.clone()),
            (
                "network",
                xml.attr_at(&[nic, &["source"]].concat(), "network")
                    .to_owned(),
                self.network.clone(),
            ),
        ];
        let lines: Vec<String> = parts
            .iter()
            .filter(|(_, found, wanted)| found != wanted)
            .map(|(name, found, wanted)| format!("- {name} {found}\n+ {name} {wanted}"))
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!("{} vCPU, {} MiB", self.vcpus, self.memory_mib))
            .with("name", &*self.name)
    }

    fn foreign(&self, diff: &str) -> Failure {
        Failure::clean(format!(
            "a domain `{}` exists that this installation did not define:\n{diff}",
            self.name
        ))
        .ask()
        .hint(format!(
            "look at `sudo virsh dumpxml {0}`; rename it (`sudo virsh domrename {0} {0}-old`) or leave this VM out with `only`, then decide `retry`",
            self.name
        ))
    }

    async fn define(&self, sh: Shell<'_>, xml: &str) -> Result<(), Failure> {
        let define = virsh(&["define", "/dev/stdin"]).stdin(xml);
        sh.ok(&define).await.map(drop)
    }

    async fn autostart(&self, sh: Shell<'_>, wanted: bool) -> Result<(), Failure> {
        if domain_autostart(sh, &self.name).await? == wanted {
            return Ok(());
        }
        let mut arguments = vec!["autostart", &self.name];
        if !wanted {
            arguments.push("--disable");
        }
        sh.ok(&virsh(&arguments)).await.map(drop)
    }
}

impl Kind for LibvirtDomain {
    const NAME: &'static str = "libvirt.domain/1";
    const ABOUT: About = About {
        purpose: "A VM with fixed MAC address that starts with the host.",
        probe: "Looks for the exact name; compares type, memory, processors, disk, seed and network card structurally.",
        effect: "Defines and autostarts it, marked as ours; never redefines somebody else's domain.",
        undo: "Undefines it (refused while it runs), or restores the captured definition; disks are other steps' business.",
    };

    fn summary(&self) -> String {
        format!(
            "define VM {} ({} vCPU, {} MiB, {})",
            self.name,
            self.vcpus,
            self.memory_mib,
            self.virt_type.as_str()
        )
    }

    fn undo_summary(&self) -> String {
        "undefine it".to_owned()
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

impl Act for LibvirtDomain {
    type Image = Option<Image>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if !answers(sh).await? {
            return Ok(Probe::Absent);
        }
        let Some(found) = domain_xml(sh, &self.name).await? else {
            return Ok(Probe::Absent);
        };
        if let Some(diff) = self.diff(&read(&found, &self.name)?) {
            return Ok(Probe::Drifted { diff });
        }
        Ok(if domain_autostart(sh, &self.name).await? {
            Probe::Satisfied(self.receipt())
        } else {
            Probe::Partial {
                what: "defined, but not started with the host".to_owned(),
            }
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Image>, Failure> {
        let Some(xml) = domain_xml(sh, &self.name).await? else {
            return Ok(None);
        };
        let autostart = domain_autostart(sh, &self.name).await?;
        Ok(Some(Image { xml, autostart }))
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Image>) -> Result<Receipt, Failure> {
        let (system, seed) = (known(&self.disk, "disk")?, known(&self.seed, "seed")?);
        match domain_xml(sh, &self.name).await? {
            None => self.define(sh, &self.xml(system, seed, None)).await?,
            Some(found) => {
                let found = read(&found, &self.name)?;
                let diff = self.diff(&found);
                if !self.ours(&found) {
                    return Err(self.foreign(diff.as_deref().unwrap_or("+ start with the host")));
                }
                if diff.is_some() {
                    let uuid = found.at(&["uuid"]).map(|node| node.text.as_str());
                    self.define(sh, &self.xml(system, seed, uuid)).await?;
                }
            }
        }
        self.autostart(sh, true).await?;
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, image: &Option<Image>) -> Result<(), Failure> {
        let Some(found) = domain_xml(sh, &self.name).await? else {
            return match image {
                None => Ok(()),
                Some(image) => {
                    self.define(sh, &image.xml).await?;
                    self.autostart(sh, image.autostart).await
                }
            };
        };
        if !self.ours(&read(&found, &self.name)?) {
            return Ok(());
        }
        if let Some(image) = image {
            if image.xml != found {
                self.define(sh, &image.xml).await?;
            }
            return self.autostart(sh, image.autostart).await;
        }
        let state = domain_state(sh, &self.name).await?;
        if state != "shut off" {
            return Err(Failure::clean(format!("domain `{}` is {state}", self.name))
                .ask()
                .hint(format!(
                    "sudo virsh shutdown {}, then decide `retry-undo`",
                    self.name
                )));
        }
        sh.ok(&virsh(&["undefine", &self.name])).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::xml::parse;
    use super::*;

    fn domain() -> LibvirtDomain {
        LibvirtDomain {
            name: "kubenode1".to_owned(),
            installation: "wiab".to_owned(),
            virt_type: VirtType::Qemu,
            vcpus: 5,
            memory_mib: 9216,
            disk: Input::Value("/p/kubenode1.qcow2".to_owned()),
            seed: Input::Value("/p/kubenode1-seed.iso".to_owned()),
            network: "wirebox".to_owned(),
            mac: "52:54:00:57:00:21".to_owned(),
            tb_cache_mib: Some(64),
        }
    }

    #[test]
    fn the_definition_is_as_wanted_and_ours_and_every_difference_is_named() {
        let domain = domain();
        let text = domain.xml("/p/kubenode1.qcow2", "/p/kubenode1-seed.iso", None);
        let xml = parse(&text).unwrap();
        assert!(domain.ours(&xml));
        assert_eq!(domain.diff(&xml), None);
        let printed = text.replace("<memory unit='MiB'>9216<", "<memory unit='KiB'>9437184<");
        assert_eq!(domain.diff(&parse(&printed).unwrap()), None);
        for (from, to, name) in [
            ("type='qemu'", "type='kvm'", "type"),
            (">9216<", ">4096<", "memory"),
            (">5<", ">4<", "vcpu"),
            ("/p/kubenode1.qcow2", "/p/other.qcow2", "disk"),
            ("57:00:21", "57:00:22", "mac"),
            ("'wirebox'", "'default'", "network"),
        ] {
            let other = parse(&text.replace(from, to)).unwrap();
            assert!(domain.diff(&other).unwrap().contains(name), "{name}");
        }
        let foreign = text.replace("installation='wiab'", "installation='other'");
        assert!(!domain.ours(&parse(&foreign).unwrap()));
    }
}
