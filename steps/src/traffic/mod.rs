//! The host's firewall and load balancing: what is wanted, as a pure function of a few facts, and how it is compared.
//!
//! Two tables of wiab's own hold everything: `inet wiab` filters, `ip wiab_nat` translates. Nothing of anybody else (docker,
//! libvirt, fail2ban, the administrator's own `inet filter`) is listed, changed or flushed. Only what concerns the public
//! interface or the bridge of the VMs is decided here; all other packets pass as if the tables were not there.

mod health;
mod listing;
mod model;
mod wanted;

pub(crate) use health::HEALTH_HEADER;
pub(crate) use listing::{COMMENT as IPTABLES_COMMENT, listed};
pub(crate) use model::{Chain, Part, Rule, Set, Table};
pub(crate) use wanted::NODE_PORTS;

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Family and name of the table that filters.
pub(crate) const FILTER: (&str, &str) = ("inet", "wiab");
/// Family and name of the table that translates.
pub(crate) const NAT: (&str, &str) = ("ip", "wiab_nat");
/// The set of interfaces by which the VMs may leave; in both tables.
pub(crate) const EGRESS: &str = "egress";
/// The chain of `ip wiab_nat` that spreads web traffic over the nodes.
pub(crate) const INGRESS: &str = "ingress";

/// Longest name of a network interface, in bytes.
const INTERFACE_BYTES_MAX: usize = 15;
/// Longest comment that nft accepts, in bytes, less what wiab adds to it.
const COMMENT_BYTES_MAX: usize = 80;
/// Most nodes that are balanced over.
const NODES_MAX: usize = 64;

/// What the rules depend on besides the public interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// The bridge of the VMs.
    pub bridge: String,
    /// Their subnet: `192.168.122.0/24`.
    pub subnet: String,
    /// Addresses of the kubernetes nodes.
    pub nodes: Vec<String>,
    /// Address of the node with the TURN server.
    pub calling: String,
    /// Ports on which sshd is reached from outside.
    pub ssh_ports: Vec<u16>,
    /// Further TCP ports of the host that stay reachable from outside.
    pub open_tcp: Vec<u16>,
    /// UDP ports of the host that stay its own and reachable, also inside the calling range.
    pub keep_udp: Vec<u16>,
    /// First UDP port of calls.
    pub udp_first: u16,
    /// Last UDP port of calls.
    pub udp_last: u16,
    /// Whether the VMs may not reach the outside at all.
    pub private: bool,
    /// Whether dropped packets are logged, a few per minute.
    pub log: bool,
    /// Begins the comment of every rule.
    pub comment: String,
}

/// Why no rules can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// A name that the kernel does not give to interfaces, or that nft would read as something else.
    #[error("`{name}` cannot be the name of a network interface")]
    Interface {
        /// The name.
        name: String,
    },
    /// Not an IPv4 address.
    #[error("`{text}` is not an IPv4 address")]
    Address {
        /// What was given.
        text: String,
    },
    /// Not a subnet.
    #[error("`{text}` is not a subnet such as 192.168.122.0/24")]
    Subnet {
        /// What was given.
        text: String,
    },
    /// No or too many nodes.
    #[error("{count} nodes cannot be balanced over")]
    Nodes {
        /// How many.
        count: usize,
    },
    /// No port for ssh: the operator would be locked out.
    #[error("no ssh port is left open")]
    NoSsh,
    /// The port 0, or a range that ends before it begins.
    #[error("the ports {first} to {last} are not a range")]
    Ports {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// A comment that nft cannot hold.
    #[error(
        "the comment has more than {COMMENT_BYTES_MAX} bytes, or a quote, a backslash or a control character"
    )]
    Comment,
}

/// A name that the kernel accepts and that cannot leave its quotes in a rule.
///
/// Backslash and quote are possible for the kernel, but nobody has them; `*` would be a wildcard, a leading `@` a set.
pub(crate) fn interface(name: &str) -> Result<&str, TrafficError> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\\' | '*' | '%' | '$');
    let good = (1..=INTERFACE_BYTES_MAX).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with(['@', '-'])
        && !matches!(name, "." | "..");
    if good {
        Ok(name)
    } else {
        Err(TrafficError::Interface {
            name: name.to_owned(),
        })
    }
}

fn address(text: &str) -> Result<Ipv4Addr, TrafficError> {
    text.parse().map_err(|_| TrafficError::Address {
        text: text.to_owned(),
    })
}

impl Traffic {
    /// Checks everything that enters a rule.
    pub fn check(&self, wan: &str) -> Result<(), TrafficError> {
        for name in [wan, &self.bridge] {
            interface(name)?;
        }
        let subnet = self.subnet.split_once('/');
        let good = subnet.is_some_and(|(base, bits)| {
            base.parse::<Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 32)
        });
        if !good {
            return Err(TrafficError::Subnet {
                text: self.subnet.clone(),
            });
        }
        for text in self.nodes.iter().chain([&self.calling]) {
            address(text)?;
        }
        if !(1..=NODES_MAX).contains(&self.nodes.len()) {
            return Err(TrafficError::Nodes {
                count: self.nodes.len(),
            });
        }
        if self.ssh_ports.is_empty() {
            return Err(TrafficError::NoSsh);
        }
        let ports = [&self.ssh_ports, &self.open_tcp, &self.keep_udp];
        let zero = ports.iter().any(|ports| ports.contains(&0)) || self.udp_first == 0;
        if zero || self.udp_first > self.udp_last {
            return Err(TrafficError::Ports {
                first: self.udp_first,
                last: self.udp_last,
            });
        }
        let plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
        if self.comment.len() > COMMENT_BYTES_MAX || !self.comment.chars().all(plain) {
            return Err(TrafficError::Comment);
        }
        Ok(())
    }

    /// The two tables.
    pub(crate) fn tables(&self, wan: &str) -> Result<[Table; 2], TrafficError> {
        self.check(wan)?;
        Ok([self.filter(wan), self.nat(wan)])
    }

    /// A script that puts the tables in place of whatever stood under their names, as one transaction.
    pub fn script(&self, wan: &str) -> Result<String, TrafficError> {
        let tables = self.tables(wan)?;
        Ok(replacing(&tables.each_ref().map(Table::text).concat()))
    }

    /// How live tables, as `nft -j list table` shows them, differ from those wanted: lines `- found` and `+ wanted`. `None`
    /// if neither table is there.
    ///
    /// Which of the nodes get web traffic is the matter of the health check, and a private installation's temporary way out
    /// is that of its own step.
    pub fn differences(
        &self,
        wan: &str,
        found: [Option<&Value>; 2],
    ) -> Result<Option<Vec<String>>, TrafficError> {
        let wanted = self.tables(wan)?;
        if found.iter().all(Option::is_none) {
            return Ok(None);
        }
        let lines = found
            .iter()
            .zip(&wanted)
            .flat_map(|(found, wanted)| match found {
                Some(json) => listed(json).differences(wanted, self),
                None => vec![format!("+ table {} {}", wanted.family, wanted.name)],
            });
        Ok(Some(lines.collect()))
    }

    /// The ports of calls that are not the host's own, as ranges.
    pub(crate) fn call_ranges(&self) -> Vec<(u16, u16)> {
        let mut kept = self.keep_udp.clone();
        kept.retain(|port| (self.udp_first..=self.udp_last).contains(port));
        kept.sort_unstable();
        kept.dedup();
        let (mut ranges, mut first) = (Vec::new(), u32::from(self.udp_first));
        let last = u32::from(self.udp_last);
        for port in kept.into_iter().map(u32::from).chain([last + 1]) {
            if port > first {
                ranges.push((first, port - 1));
            }
            first = port + 1;
        }
        let narrow = |port: u32| u16::try_from(port).unwrap_or(u16::MAX);
        ranges
            .into_iter()
            .map(|(first, last)| (narrow(first), narrow(last)))
            .collect()
    }
}

/// A script that removes both tables, whether or not they exist, and then does what `text` says.
pub(crate) fn replacing(text: &str) -> String {
    let mut script = String::new();
    for (family, name) in [FILTER, NAT] {
        // A table must exist to be deleted; adding one that exists changes nothing.
        for verb in ["add", "delete"] {
            script.push_str(&[verb, " table ", family, " ", name, "\n"].concat());
        }
    }
    script + text
}
