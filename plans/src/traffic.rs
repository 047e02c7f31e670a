//! `[traffic]`: what the firewall depends on, its defaults and its validation.

use serde::{Deserialize, Serialize};
use wiab_steps::traffic::{Traffic, TrafficError};

use crate::check::Problems;
use crate::machines::{Machine, Role};
use crate::settings::{Provider, Settings};

/// Shortest and longest time after which the old rules come back, in seconds.
const DEADMAN_S: std::ops::RangeInclusive<u64> = 30..=3_600;

/// `[traffic]`: the host's firewall and load balancing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrafficSettings {
    /// Whether wiab sets the rules.
    pub enabled: bool,
    /// The public interface; without it, that of the default route.
    pub wan: Option<String>,
    /// Ports on which sshd is reached from outside.
    pub ssh_ports: Vec<u16>,
    /// Further TCP ports of the host that stay reachable from outside.
    pub open_tcp: Vec<u16>,
    /// UDP ports that stay the host's own and reachable, also inside the calling range.
    pub keep_udp: Vec<u16>,
    /// First UDP port of calls.
    pub udp_first: u16,
    /// Last UDP port of calls.
    pub udp_last: u16,
    /// The VM that calls go to; without it, the last kubernetes node.
    pub calling_node: Option<String>,
    /// Whether the VMs may not reach the outside at all.
    pub private_deployment: bool,
    /// Whether dropped packets are logged, a few per minute.
    pub log: bool,
    /// After how many seconds the old rules come back if wiab does not live on.
    pub deadman_s: u64,
    /// Begins the comment of every rule.
    pub comment: String,
}

impl Default for TrafficSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            wan: None,
            ssh_ports: vec![22],
            open_tcp: Vec::new(),
            keep_udp: Vec::new(),
            udp_first: 32_768,
            udp_last: 65_535,
            calling_node: None,
            private_deployment: false,
            log: false,
            deadman_s: 120,
            comment: "wiab-stag".to_owned(),
        }
    }
}

impl Settings {
    /// The kubernetes node that runs the TURN server and the calls; `None` when no node is asked for.
    pub fn calling_node(&self) -> Option<Machine> {
        let mut nodes = self.machines();
        nodes.retain(|machine| machine.role == Role::Kube);
        match &self.traffic.calling_node {
            Some(name) => nodes.into_iter().find(|machine| machine.name == *name),
            None => nodes.pop(),
        }
    }

    /// What the rules depend on; `None` when wiab does not set them, or there is no node to send anything to.
    pub fn rules(&self) -> Option<Traffic> {
        let traffic = &self.traffic;
        if !traffic.enabled {
            return None;
        }
        let calling = self.calling_node()?.ip;
        let nodes = self.machines().into_iter();
        let nodes = nodes.filter(|machine| machine.role == Role::Kube);
        Some(Traffic {
            bridge: self.network.bridge.clone(),
            subnet: self.net()?.cidr(),
            nodes: nodes.map(|machine| machine.ip).collect(),
            calling,
            ssh_ports: traffic.ssh_ports.clone(),
            open_tcp: traffic.open_tcp.clone(),
            keep_udp: traffic.keep_udp.clone(),
            udp_first: traffic.udp_first,
            udp_last: traffic.udp_last,
            private: traffic.private_deployment,
            log: traffic.log,
            comment: traffic.comment.clone(),
        })
    }

    pub(crate) fn check_traffic(&self, problems: &mut Problems) {
        let traffic = &self.traffic;
        problems.check(
            DEADMAN_S.contains(&traffic.deadman_s),
            "traffic.deadman_s",
            &traffic.deadman_s.to_string(),
            "use 30 to 3600 seconds",
        );
        if let Some(name) = &traffic.calling_node
            && self.calling_node().is_none()
        {
            problems.check(
                false,
                "traffic.calling_node",
                name,
                "use one of the kubernetes nodes that are asked for: kubenode3",
            );
        }
        let Some(rules) = self.rules() else {
            return;
        };
        if self.vms.provider == Provider::Existing
            && let Some(net) = self.net()
            && let Some(stray) = self.machines().into_iter().find(|machine| {
                let ip = machine.ip.parse::<std::net::Ipv4Addr>();
                ip.is_ok_and(|ip| !net.holds(ip))
            })
        {
            problems.add(
                "network.address",
                format!(
                    "{} has {}, but the firewall lets out only {}",
                    stray.name,
                    stray.ip,
                    net.cidr()
                ),
                "set network.address and network.prefix to the network of your VMs, or traffic.enabled to false",
            );
        }
        if rules
            .nodes
            .iter()
            .any(|node| node.parse::<std::net::Ipv4Addr>().is_err())
        {
            // Said of the VM itself.
            return;
        }
        let wan = traffic.wan.as_deref().unwrap_or("eth0");
        let Err(error) = rules.check(wan) else {
            return;
        };
        let (key, remedy) = match &error {
            TrafficError::Interface { name } if name == wan => {
                ("traffic.wan", "use a name that `ip link` shows: eth0")
            }
            TrafficError::NoSsh => (
                "traffic.ssh_ports",
                "name the port of sshd, or nobody can log in again: [22]",
            ),
            TrafficError::Ports { .. } => (
                "traffic.udp_first",
                "use ports from 1 to 65535, and a range that ends after it begins",
            ),
            TrafficError::Comment => ("traffic.comment", "use a short plain text: wiab-stag"),
            // Said of the network and the VMs themselves.
            TrafficError::Interface { .. }
            | TrafficError::Subnet { .. }
            | TrafficError::Address { .. }
            | TrafficError::Nodes { .. } => return,
        };
        problems.add(key, error.to_string(), remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(change: impl FnOnce(&mut Settings)) -> Vec<String> {
        let mut settings = Settings::rehearsal();
        change(&mut settings);
        let problems = settings.problems();
        problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn each_mistake_is_said_at_its_key() {
        let none: Vec<String> = Vec::new();
        assert_eq!(keys(|_| {}), none);
        let set = |change: fn(&mut TrafficSettings)| keys(|settings| change(&mut settings.traffic));
        assert_eq!(set(|all| all.deadman_s = 5), ["traffic.deadman_s"]);
        assert_eq!(set(|all| all.ssh_ports.clear()), ["traffic.ssh_ports"]);
        assert_eq!(set(|all| all.udp_last = 1), ["traffic.udp_first"]);
        assert_eq!(set(|all| all.open_tcp = vec![0]), ["traffic.udp_first"]);
        assert_eq!(
            set(|all| all.comment = "a\"b".to_owned()),
            ["traffic.comment"]
        );
        let wan = set(|all| all.wan = Some("eth0; drop".to_owned()));
        assert_eq!(wan, ["traffic.wan"]);
        let calling = set(|all| all.calling_node = Some("datanode1".to_owned()));
        assert_eq!(calling, ["traffic.calling_node"]);
    }

    #[test]
    fn calls_go_to_the_last_node_unless_told_otherwise() {
        let mut settings = Settings::rehearsal();
        assert_eq!(settings.rules().unwrap().calling, "192.168.122.23");
        settings.traffic.calling_node = Some("kubenode1".to_owned());
        assert_eq!(settings.rules().unwrap().calling, "192.168.122.21");
        settings.traffic.calling_node = None;
        settings.vms.only = vec!["assethost".to_owned()];
        assert_eq!(settings.rules(), None);
    }
}
