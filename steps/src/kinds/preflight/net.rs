//! `preflight.net/1`: addresses that clash, ports that are taken, the interface to the internet.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::Failure;

use super::ipv4::Range;
use super::sockets::{Socket, listening};
use super::{Check, Report};
use crate::host::Cmd;
use crate::host::shell::Shell;
use crate::kind::{About, Out};

/// Addresses of pods and services of the cluster.
const CLUSTER: &str = "10.233.0.0/17";
/// Addresses of docker's own network.
const DOCKER: &str = "172.17.0.0/16";
/// Docker's bridge.
const DOCKER_BRIDGE: &str = "docker0";
/// What Wire's clients connect to.
const PORTS: [(&str, u16); 4] = [("tcp", 80), ("tcp", 443), ("tcp", 3478), ("udp", 3478)];

/// The networks that an installation uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightNet {
    /// Bridge of the VMs' network.
    pub bridge: String,
    /// The host's address on it.
    pub address: String,
    /// The VMs' network: `192.168.122.0/24`.
    pub subnet: String,
    /// Address that the names point to.
    pub host_ip: String,
}

/// A range of addresses that leads somewhere, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    range: Range,
    device: String,
    /// An address that must stay reachable over it.
    needed: Option<Ipv4Addr>,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The addresses of interfaces: device, address, range.
fn addresses(json: &Value) -> Vec<(String, Ipv4Addr, Range)> {
    let mut all = Vec::new();
    for device in json.as_array().into_iter().flatten() {
        let infos = device.get("addr_info").and_then(Value::as_array);
        for info in infos.into_iter().flatten() {
            let address = text(info, "local").parse::<Ipv4Addr>().ok();
            let prefix = info.get("prefixlen").and_then(Value::as_u64);
            let prefix = prefix.and_then(|prefix| u8::try_from(prefix).ok());
            if let (Some(address), Some(prefix)) = (address, prefix)
                && let Some(range) = Range::of(address, prefix)
            {
                all.push((text(device, "ifname").to_owned(), address, range));
            }
        }
    }
    all
}

/// Routes other than the default one.
fn ways(json: &Value) -> Vec<Way> {
    let routes = json.as_array().into_iter().flatten();
    let way = |route: &Value| {
        Some(Way {
            range: Range::parse(text(route, "dst"))?,
            device: text(route, "dev").to_owned(),
            needed: text(route, "gateway").parse().ok(),
        })
    };
    routes.filter_map(way).collect()
}

/// The device of the default route of lowest metric, and its gateway.
fn default_route(json: &Value) -> Option<(String, Option<Ipv4Addr>)> {
    let routes = json.as_array()?.iter();
    let route = routes
        .filter(|route| text(route, "dst") == "default")
        .min_by_key(|route| route.get("metric").and_then(Value::as_u64).unwrap_or(0))?;
    Some((
        text(route, "dev").to_owned(),
        text(route, "gateway").parse().ok(),
    ))
}

async fn ip(sh: Shell<'_>, what: &str) -> Result<Value, Failure> {
    let output = sh.ok(&Cmd::new(["ip", "-j", what])).await?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Failure::clean(format!(
            "the answer of `ip -j {what}` cannot be read: {error}"
        ))
    })
}

impl PreflightNet {
    /// Output: the interface that leads to the internet.
    pub const WAN: Out<Self> = Out::new("wan");
    /// Output: its first address.
    pub const WAN_ADDRESS: Out<Self> = Out::new("wan_address");
    /// Output: `true` if the public address is on an interface of the machine, `false` behind a router with NAT.
    pub const PUBLIC_IS_LOCAL: Out<Self> = Out::new("public_is_local");

    fn clashes(&self, ways: &[Way], report: &mut Report) {
        for (name, text, own) in [
            ("subnet", self.subnet.as_str(), self.bridge.as_str()),
            ("subnet-cluster", CLUSTER, ""),
            ("subnet-docker", DOCKER, DOCKER_BRIDGE),
        ] {
            let Some(range) = Range::parse(text) else {
                continue;
            };
            for way in ways {
                if !way.range.meets(range) || way.device == own {
                    continue;
                }
                clash(name, range, way, report);
            }
        }
    }

    fn ports(&self, sockets: &[Socket], own: bool, report: &mut Report) {
        for (protocol, port) in PORTS {
            let taken = sockets.iter().find(|socket| {
                socket.port == port && socket.protocol == protocol && !socket.is_local()
            });
            if let Some(socket) = taken {
                let whose = socket.whose();
                report.error(
                    &format!("port-{port}-{protocol}"),
                    format!("{whose} listens on {protocol} port {port}, which belongs to Wire: nobody outside would reach it any more"),
                    format!("stop and disable {whose}, or give it another port: sudo ss -lntup 'sport = {port}' shows it"),
                );
            }
        }
        let names = sockets.iter().find(|socket| {
            let taken = socket.everywhere() || socket.address == self.address;
            // Libvirt's own server answers on the bridge's address.
            let libvirts = own && socket.process == "dnsmasq" && socket.address == self.address;
            socket.port == 53 && taken && !libvirts
        });
        match names {
            Some(socket) if socket.process == "dnsmasq" && socket.everywhere() => report.warn(
                "port-53",
                "the service dnsmasq listens on port 53 of every address, which the VMs' network needs",
                "nothing: step host.dnsmasq-off stops it, and rollback starts it again",
            ),
            Some(socket) => report.error(
                "port-53",
                format!(
                    "{} listens on port 53 of {}, which the VMs' network needs",
                    socket.whose(),
                    socket.address
                ),
                format!("bind it to other addresses than {}, or stop it", self.address),
            ),
            None => {}
        }
    }

    /// Whether the host itself asks the dnsmasq that would be stopped.
    async fn resolver(
        sockets: &[Socket],
        sh: Shell<'_>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let dnsmasq = sockets
            .iter()
            .any(|socket| socket.process == "dnsmasq" && socket.port == 53 && socket.everywhere());
        if !dnsmasq {
            return Ok(());
        }
        let bytes = sh
            .read("/etc/resolv.conf", false)
            .await?
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let servers = text
            .lines()
            .filter_map(|line| line.strip_prefix("nameserver"));
        let servers: Vec<&str> = servers.map(str::trim).collect();
        if !servers.is_empty() && servers.iter().all(|server| *server == "127.0.0.1") {
            report.error(
                "resolver",
                "the machine asks its own dnsmasq for names, which must stop: it would find no name any more",
                "enter other name servers in /etc/resolv.conf (or: sudo systemctl enable --now systemd-resolved) first",
            );
        }
        Ok(())
    }

    fn public(&self, addresses: &[(String, Ipv4Addr, Range)], wan: &str, report: &mut Report) {
        let local = addresses
            .iter()
            .any(|(_, address, _)| address.to_string() == self.host_ip);
        let own = addresses.iter().find(|(device, ..)| device == wan);
        let own = own.map_or_else(String::new, |(_, address, _)| address.to_string());
        if !local {
            report.warn(
                "public-address",
                format!("{} is on no interface: the machine is behind a router with NAT", self.host_ip),
                format!("the router must forward tcp 80, 443, 3478 and udp 3478, 32768-65535 to {own}; calls fail without the udp ports"),
            );
        }
        report.fact(Self::WAN.name(), wan);
        report.fact(Self::WAN_ADDRESS.name(), own);
        report.fact(Self::PUBLIC_IS_LOCAL.name(), local.to_string());
    }
}

/// The more specific range wins: a wider one only loses the addresses that it shares.
fn clash(name: &str, range: Range, way: &Way, report: &mut Report) {
    let device = &way.device;
    let loses = way.needed.is_some_and(|address| range.holds(address));
    if way.range.is_wider(range) && !loses {
        report.warn(
            name,
            format!("{device} leads to {}, which contains {range}: those addresses will not be reached over it any more", way.range),
            "nothing, if nobody there is needed",
        );
        return;
    }
    let remedy = match name {
        "subnet" => "choose another network: network.address, range_start, range_end",
        "subnet-docker" => "set \"bip\" in /etc/docker/daemon.json to another network",
        _ => "renumber that network: the cluster's pods and services have these addresses",
    };
    report.error(
        name,
        format!("{device} leads to {}, which overlaps {range}", way.range),
        remedy,
    );
}

impl Check for PreflightNet {
    const NAME: &'static str = "preflight.net/1";
    const ABOUT: About = About {
        purpose: "No network of the installation takes over addresses or ports that somebody uses.",
        probe: "Reads addresses, routes and listening sockets; the installation's own bridges are not clashes.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check routes and ports for {}", self.subnet)
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let (links, routes) = (ip(sh, "addr").await?, ip(sh, "route").await?);
        let addresses = addresses(&links);
        let own = addresses.iter().any(|(device, address, _)| {
            *device == self.bridge && address.to_string() == self.address
        });
        let mut report = Report::default();
        let mut all = ways(&routes);
        let seen = all.clone();
        let more = addresses.iter().map(|(device, address, range)| Way {
            range: *range,
            device: device.clone(),
            needed: Some(*address),
        });
        // An address whose route is listed would be told twice.
        all.extend(more.filter(|way| {
            !seen
                .iter()
                .any(|other| other.range == way.range && other.device == way.device)
        }));
        match default_route(&routes) {
            None => report.error(
                "wan",
                "there is no default route: neither clients nor certificate authorities are reached",
                "configure a gateway, for example in /etc/netplan, and run: sudo netplan apply",
            ),
            Some((wan, gateway)) => {
                report.note = format!("internet over {wan}");
                if let (Some(gateway), Some(range)) = (gateway, Range::parse(&self.subnet))
                    && range.holds(gateway)
                    && wan != self.bridge
                {
                    report.error(
                        "gateway",
                        format!("the gateway {gateway} is in {}, the VMs' network", self.subnet),
                        "choose another network: network.address, range_start, range_end",
                    );
                }
                self.public(&addresses, &wan, &mut report);
            }
        }
        self.clashes(&all, &mut report);
        match listening(sh).await? {
            None => report.warn(
                "ports",
                "not checked: `ss` is not installed",
                "sudo apt-get install iproute2",
            ),
            Some(sockets) => {
                self.ports(&sockets, own, &mut report);
                Self::resolver(&sockets, sh, &mut report).await?;
            }
        }
        Ok(report)
    }
}
