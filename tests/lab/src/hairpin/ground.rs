//! The machine of the hairpin test: three nodes on the bridge, each with sshd and a web server, and wiab's firewall.

use std::collections::BTreeMap;

use wiab_steps::kind::Input;
use wiab_steps::kinds::docker_user::DockerUser;
use wiab_steps::kinds::login::Login;
use wiab_steps::kinds::nft_hairpin::NftHairpin;
use wiab_steps::kinds::nft_traffic::NftTraffic;
use wiab_steps::traffic::Traffic;

use crate::cmd::{Cmd, Done};
use crate::error::{LabError, Result};
use crate::inside::MACHINE_IP;
use crate::machine::Machine;
use crate::step;
use crate::sys;

/// Where the nodes' keys are.
const KEYS: &str = "/root/nodes";
/// The bridge of the VMs.
const BRIDGE: &str = "virbr0";
/// Makes the kernel show bridged frames to nftables.
const BRIDGE_NF: &str = "net.bridge.bridge-nf-call-iptables";
/// The port of the ingress controller on every node.
const NODE_PORT: u16 = 31_772;
/// How many nodes.
pub(crate) const NODES: usize = 3;
/// How long a connection may take, in seconds: less than the first repetition of a lost packet.
const ONCE_S: &str = "0.9";

/// Makes the nodes; needs `nodes`, `keys`, `lab` (this program) and `serve` (what it does on them) in the environment.
const NODES_SCRIPT: &str = "set -e
virsh -q net-destroy default 2>/dev/null || :
ip link add virbr0 type bridge stp_state 0
ip addr add 192.168.122.1/24 dev virbr0
ip link set virbr0 up
sysctl -qw net.ipv4.ip_forward=1
mkdir -p -m 700 \"$keys\" /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f \"$keys/id\"
cp \"$keys/id.pub\" /root/.ssh/authorized_keys
for i in $(seq \"$nodes\"); do
  ip netns add \"kubenode$i\"
  ip link add \"vnet$i\" type veth peer name eth0 netns \"kubenode$i\"
  ip link set \"vnet$i\" master virbr0 up
  ip -n \"kubenode$i\" link set lo up
  ip -n \"kubenode$i\" addr add \"192.168.122.2$i/24\" dev eth0
  ip -n \"kubenode$i\" link set eth0 up
  ip -n \"kubenode$i\" route add default via 192.168.122.1
  ssh-keygen -q -t ed25519 -N '' -f \"$keys/host$i\"
  printf '192.168.122.2%s %s\\n' \"$i\" \"$(cut -d ' ' -f 1,2 \"$keys/host$i.pub\")\" >> \"$keys/known_hosts\"
  ip netns exec \"kubenode$i\" /usr/sbin/sshd -h \"$keys/host$i\" -o PidFile=none -o UsePAM=no -o PermitRootLogin=prohibit-password
  setsid ip netns exec \"kubenode$i\" \"$lab\" $serve \"kubenode$i\" > /var/log/kubenode$i.log 2>&1 < /dev/null &
done
";

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// From the node with this number, from 1.
    From(usize),
    /// None came.
    Lost,
}

/// The machine with its nodes.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) machine: &'a Machine,
}

/// Address of the node with this number, from 1.
pub(crate) fn node_ip(number: usize) -> String {
    format!("192.168.122.2{number}")
}

/// The nodes' numbers.
pub(crate) fn numbers() -> std::ops::RangeInclusive<usize> {
    1..=NODES
}

impl<'a> Ground<'a> {
    /// Nodes that tell who they are.
    pub(crate) fn with_web(machine: &'a Machine) -> Result<Self> {
        let ground = Self::build(machine, "web")?;
        for number in numbers() {
            let url = format!("http://{}:{NODE_PORT}/", node_ip(number));
            let curl = machine.cmd(["curl", "-s", "-m", "2", "-o", "/dev/null", &url]);
            sys::wait_for("the nodes' web servers", 20, || {
                Ok(curl.succeeds()?.then_some(()))
            })?;
        }
        Ok(ground)
    }

    /// Nodes of the cluster outside.
    pub(crate) fn with_agents(machine: &'a Machine) -> Result<Self> {
        Self::build(machine, "agent")
    }

    fn build(machine: &'a Machine, serve: &str) -> Result<Self> {
        let script = format!(
            "export nodes={NODES} keys={KEYS} lab={} serve={serve}\n{NODES_SCRIPT}",
            step::SELF
        );
        machine.sh(&script).run()?;
        Ok(Self { machine })
    }

    /// Gives wiab's user the keys of the nodes and kubectl's configuration, where an installation in `deploy` has them.
    pub(crate) fn lend_keys(&self, deploy: &str, admin: &str) -> Result<()> {
        let script = format!(
            "set -e
artifacts={deploy}/ansible/inventory/offline/artifacts
mkdir -p -m 700 {deploy}/ssh {deploy}/.wiab \"$artifacts\"
cat > \"$artifacts/admin.conf\"
cp {KEYS}/id {deploy}/ssh/id_ed25519
cp {KEYS}/id.pub {deploy}/ssh/id_ed25519.pub
cp {KEYS}/known_hosts {deploy}/ssh/known_hosts
chmod 600 \"$artifacts/admin.conf\"
chown -R demo:demo {deploy}"
        );
        self.machine.sh(&script).stdin(admin).run()
    }

    /// wiab's way to log in to the nodes.
    pub(crate) fn login() -> Login {
        Login {
            user: "root".to_owned(),
            key_path: format!("{KEYS}/id"),
            known_hosts: format!("{KEYS}/known_hosts"),
            accounts: BTreeMap::new(),
        }
    }

    /// wiab's firewall, with web traffic led to these nodes.
    fn traffic(nodes: impl Iterator<Item = usize>) -> Traffic {
        Traffic {
            bridge: BRIDGE.to_owned(),
            subnet: "192.168.122.0/24".to_owned(),
            nodes: nodes.map(node_ip).collect(),
            calling: node_ip(NODES),
            ssh_ports: vec![22],
            open_tcp: Vec::new(),
            keep_udp: Vec::new(),
            udp_first: 32_768,
            udp_last: 65_535,
            private: false,
            log: false,
            comment: "wiab-stag".to_owned(),
        }
    }

    /// Puts the firewall in place, as the installation does.
    pub(crate) fn firewall(&self) -> Result<()> {
        let firewall = NftTraffic {
            wan: Input::Value("eth0".to_owned()),
            traffic: Self::traffic(numbers()),
            deadman_s: 60,
        };
        step::apply(self.machine, &firewall)?.receipt()?;
        let docker = DockerUser {
            bridge: BRIDGE.to_owned(),
        };
        step::apply(self.machine, &docker)?.receipt().map(drop)
    }

    /// wiab's hairpin rule.
    pub(crate) fn rule() -> NftHairpin {
        NftHairpin {
            bridge: BRIDGE.to_owned(),
            subnet: "192.168.122.0/24".to_owned(),
            needed: None,
        }
    }

    /// Loads wiab's rules so that web traffic goes to these nodes only, as the health check would.
    pub(crate) fn lead_to(&self, nodes: impl Iterator<Item = usize>) -> Result<()> {
        let script = Self::traffic(nodes)
            .script("eth0")
            .map_err(|error| LabError::check(error.to_string()))?;
        self.machine
            .cmd(["nft", "-f", "-"])
            .stdin(script.into_bytes())
            .run()
    }

    /// Whether the kernel can show bridged frames to nftables.
    pub(crate) fn has_bridge_nf(&self) -> Result<bool> {
        self.machine.cmd(["sysctl", "-n", BRIDGE_NF]).succeeds()
    }

    /// The values of `bridge-nf-call-iptables` that can be tried here.
    pub(crate) fn bridge_values(&self) -> Result<Vec<u8>> {
        Ok(if self.has_bridge_nf()? {
            vec![0, 1]
        } else {
            vec![0]
        })
    }

    pub(crate) fn set_bridge_nf(&self, value: u8) -> Result<()> {
        if !self.has_bridge_nf()? {
            return Ok(());
        }
        self.machine
            .cmd(["sysctl", "-qw", &format!("{BRIDGE_NF}={value}")])
            .run()
    }

    pub(crate) fn set_rp_filter(&self, value: u8) -> Result<()> {
        let settings =
            ["all", BRIDGE, "eth0"].map(|name| format!("net.ipv4.conf.{name}.rp_filter={value}"));
        self.machine.cmd(["sysctl", "-qw"]).args(settings).run()
    }

    /// One connection from a node to the public address, given up before a lost packet is repeated.
    pub(crate) fn by_node(&self, number: usize) -> Cmd {
        let node = format!("kubenode{number}");
        let cmd = self.machine.cmd(["ip", "netns", "exec", &node]);
        cmd.args(once()).arg(format!("http://{MACHINE_IP}/"))
    }

    /// The same from outside.
    pub(crate) fn by_outside(&self) -> Cmd {
        self.machine
            .outside(once())
            .arg(format!("http://{MACHINE_IP}/"))
    }
}

fn once() -> [&'static str; 6] {
    ["curl", "-s", "--noproxy", "*", "-m", ONCE_S]
}

/// What such a connection brought.
fn answer(done: &Done) -> Result<Answer> {
    if done.status.code() == Some(28) {
        return Ok(Answer::Lost);
    }
    let number = done
        .stdout
        .strip_prefix("kubenode")
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    number.map(Answer::From).ok_or_else(|| {
        LabError::check(format!(
            "a connection ended with {}: {:?} {}",
            done.status, done.stdout, done.stderr
        ))
    })
}

/// What connections bring that are tried at the same time.
pub(crate) fn together(cmds: &[Cmd]) -> Result<Vec<Answer>> {
    let done: Vec<Result<Done>> = std::thread::scope(|scope| {
        let running: Vec<_> = cmds.iter().map(|cmd| scope.spawn(|| cmd.done())).collect();
        running
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    done.into_iter().map(|done| answer(&done?)).collect()
}
