//! The facts of the tests, and the situations of the kinds.

use tokio::sync::OnceCell;
use wiab_steps::host::sim::Machine;
use wiab_steps::kind::Input;
use wiab_steps::kinds::docker_user::DockerUser;
use wiab_steps::kinds::nft_check::NftCheck;
use wiab_steps::kinds::nft_egress::NftEgress;
use wiab_steps::kinds::nft_health::NftHealth;
use wiab_steps::kinds::nft_traffic::NftTraffic;
use wiab_steps::kinds::traffic_verified::TrafficVerified;
use wiab_steps::release::Chart;
use wiab_steps::traffic::Traffic;

use crate::laws::charts::{NODE_PORT, release, with_charts, with_values};
use crate::laws::cluster;
use crate::laws::scenarios::{Scenario, scenario};
use crate::laws::world::World;

/// The defaults.
pub(crate) fn traffic() -> Traffic {
    Traffic {
        bridge: "virbr0".to_owned(),
        subnet: "192.168.122.0/24".to_owned(),
        nodes: ["21", "22", "23"]
            .map(|end| format!("192.168.122.{end}"))
            .to_vec(),
        calling: "192.168.122.23".to_owned(),
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

pub(crate) fn firewall(traffic: Traffic) -> NftTraffic {
    NftTraffic {
        wan: Input::Value("eth0".to_owned()),
        traffic,
        deadman_s: 120,
    }
}

/// The script of the health check.
pub(crate) const HEALTH: &str = "/usr/local/sbin/wiab-ingress";

pub(crate) fn health(traffic: Traffic) -> NftHealth {
    NftHealth { traffic }
}

/// A host with nft.
pub(crate) fn host() -> Machine {
    Machine::fresh().with_packages(&["nftables", "conntrack", "curl"])
}

/// Rules of docker and of an administrator, which nobody may touch.
pub(crate) const FOREIGN: &str = "\
table ip nat {
chain DOCKER {
iifname \"docker0\" return
}
chain PREROUTING {
type nat hook prerouting priority -100; policy accept;
fib daddr type local counter jump DOCKER
}
}
table ip filter {
chain DOCKER-USER {
return
}
chain FORWARD {
type filter hook forward priority 0; policy drop;
jump DOCKER-USER
}
}
table inet f2b {
chain input {
type filter hook input priority -1; policy accept;
ip saddr 198.51.100.66 drop
}
}
";

/// Two nodes with the ingress controller ready on them, and a VM that may ask.
pub(crate) async fn with_ingress() -> Machine {
    static BUILT: OnceCell<Machine> = OnceCell::const_new();
    let built = BUILT.get_or_init(|| async {
        let machine = with_charts(cluster::small().await)
            .with_packages(&["nftables", "conntrack", "curl", "iptables"])
            .with_sysctl("net.ipv4.ip_forward", "1");
        let chart = Chart::IngressNginxController;
        let world = World::new(with_values(machine, chart, NODE_PORT));
        world.done(&release(chart)).await;
        world.host.machine()
    });
    built.await.clone()
}

/// The rules for a machine of [`with_ingress`].
pub(crate) fn two() -> Traffic {
    let mut two = traffic();
    two.nodes.truncate(2);
    "192.168.122.22".clone_into(&mut two.calling);
    two
}

/// The outside, as the VMs need it.
pub(crate) const OUTSIDE: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Traffic on a machine of [`with_ingress`] is asked for from its asset host.
pub(crate) fn verified() -> TrafficVerified {
    TrafficVerified {
        wan: Input::Value("eth0".to_owned()),
        traffic: two(),
        login: cluster::site(2).login,
        vm: "assethost".to_owned(),
        ip: "192.168.122.10".to_owned(),
        outside: Some(OUTSIDE.to_owned()),
        deadline_ms: 60_000,
    }
}

/// The same machine with its rules loaded.
pub(crate) async fn with_traffic() -> Machine {
    let rules = two().script("eth0").unwrap();
    with_ingress().await.with_nft(&rules)
}

pub(crate) async fn scenarios() -> Vec<Scenario> {
    let bare = host();
    let docker = bare.clone().with_nft(FOREIGN);
    let mut other = traffic();
    other.nodes.pop();
    "192.168.122.99".clone_into(&mut other.calling);
    let old = docker
        .clone()
        .with_nft(&other.script("eth0").unwrap())
        .with_file(
            "/etc/nftables-wiab.conf",
            "# Written by wiab.\ntable inet wiab {\n}\n",
            0o644,
            "root:root",
        )
        .with_flows("192.168.122.99", 7);
    let of =
        |name, machine: &Machine, traffic| scenario("traffic", name, machine, &firewall(traffic));
    let hard = Traffic {
        ssh_ports: vec![22, 2222],
        open_tcp: vec![9090],
        keep_udp: vec![51_820],
        private: true,
        log: true,
        ..traffic()
    };
    let check = NftCheck {
        wan: None,
        traffic: traffic(),
    };
    let private = Traffic {
        private: true,
        ..traffic()
    };
    let closed = bare.clone().with_nft(&private.script("eth0").unwrap());
    let open = bare.clone().with_nft(&traffic().script("eth0").unwrap());
    let egress = |name, machine: &Machine, open| {
        let wan = Input::Value("eth0".to_owned());
        scenario(
            "traffic",
            name,
            machine,
            &NftEgress {
                wan,
                open,
                needed: None,
            },
        )
    };
    let ours = docker.clone().with_nft(&traffic().script("eth0").unwrap());
    let older = ours.clone().with_file(
        HEALTH,
        "#!/bin/sh\n# Written by wiab.\nexit 0\n",
        0o755,
        "root:root",
    );
    let health = |name, machine: &Machine| scenario("traffic", name, machine, &health(traffic()));
    let user = DockerUser {
        bridge: "virbr0".to_owned(),
    };
    let iptables = docker.clone().with_packages(&["iptables"]);
    vec![
        health("health check of the nodes", &ours),
        health("health check without rules", &bare),
        health("health check over an older one", &older),
        egress("way out opened", &closed, true),
        egress("way out closed", &open, false),
        scenario("traffic", "docker lets the VMs pass", &iptables, &user),
        Scenario {
            only_looks: true,
            ..scenario("traffic", "firewall looked at", &docker, &check)
        },
        Scenario {
            only_looks: true,
            ..scenario(
                "traffic",
                "traffic verified",
                &with_traffic().await,
                &verified(),
            )
        },
        of("firewall on a bare host", &bare, traffic()),
        of("firewall beside others", &docker, traffic()),
        of("firewall over an older one", &old, traffic()),
        of("firewall with every option", &bare, hard),
    ]
}
