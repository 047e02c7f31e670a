//! The rules, from the facts.

use super::{Chain, EGRESS, FILTER, INGRESS, NAT, Part, Rule, Set, Table, Traffic};

/// Ports of the ingress controller on every node.
pub(crate) const NODE_PORTS: [(u16, u16, &str); 2] = [
    (80, 31_772, "HTTP ingress LB"),
    (443, 31_773, "HTTPS ingress LB"),
];

/// Port of TURN.
const TURN: &str = "3478";

/// Entries in the log per minute.
const LOGGED_PER_MINUTE: u32 = 6;

/// Filter chains decide after those of others at the usual priority 0: what somebody else drops stays dropped.
const FILTER_PRIORITY: i64 = 10;
/// Before docker's -100: ports 80 and 443 belong to the nodes.
const DNAT_PRIORITY: i64 = -110;
/// After docker's 100, which masquerades its own subnets, and after the hairpin rule's 99.
const SNAT_PRIORITY: i64 = 110;

/// Errors that other hosts report, and echo; without the third path MTU discovery fails.
const ICMP: [&str; 4] = [
    "destination-unreachable",
    "echo-request",
    "parameter-problem",
    "time-exceeded",
];

/// The same for IPv6, and what an interface needs to keep its address and its neighbours.
const ICMPV6: [&str; 9] = [
    "destination-unreachable",
    "echo-request",
    "mld-listener-query",
    "nd-neighbor-advert",
    "nd-neighbor-solicit",
    "nd-router-advert",
    "packet-too-big",
    "parameter-problem",
    "time-exceeded",
];

fn ports(list: &[u16]) -> Vec<String> {
    let mut list = list.to_vec();
    list.sort_unstable();
    list.dedup();
    list.iter().map(u16::to_string).collect()
}

fn iif(name: &str) -> Part {
    Part::is("iifname", [name])
}

fn oif(name: &str) -> Part {
    Part::is("oifname", [name])
}

fn state(names: &[&str]) -> Part {
    Part::is("ct state", names.iter().copied())
}

impl Traffic {
    fn rule(&self, parts: Vec<Part>, what: &str) -> Rule {
        let comment = [self.comment.as_str(), what].join(" ");
        Rule {
            parts,
            comment: comment.trim().to_owned(),
        }
    }

    /// Matches, then a counter and a verdict.
    fn counted(&self, mut parts: Vec<Part>, verdict: Part, what: &str) -> Rule {
        parts.extend([Part::Counter, verdict]);
        self.rule(parts, what)
    }

    fn accept(&self, parts: Vec<Part>, what: &str) -> Rule {
        self.counted(parts, Part::Accept, what)
    }

    /// The end of a chain: what nothing allowed.
    fn refuse(&self) -> Vec<Rule> {
        let log = self.log.then(|| {
            let parts = vec![Part::Limit(LOGGED_PER_MINUTE), Part::Log("wiab drop: ")];
            self.rule(parts, "log some of what is dropped")
        });
        log.into_iter()
            .chain([self.counted(Vec::new(), Part::Drop, "drop the rest")])
            .collect()
    }

    /// Interfaces by which the VMs leave.
    fn egress(&self, wan: &str) -> Set {
        Set {
            name: EGRESS,
            elements: if self.private {
                Vec::new()
            } else {
                vec![wan.to_owned()]
            },
        }
    }

    pub(super) fn filter(&self, wan: &str) -> Table {
        let base = |name, rules| Chain {
            name,
            hook: Some(("filter", name, FILTER_PRIORITY)),
            rules,
        };
        Table {
            family: FILTER.0,
            name: FILTER.1,
            sets: vec![self.egress(wan)],
            chains: vec![
                base("input", self.input(wan)),
                base("forward", self.forward(wan)),
            ],
        }
    }

    /// Only what comes in from outside is decided: loopback, VMs, docker's bridges, VPNs and further networks are not ours.
    fn input(&self, wan: &str) -> Vec<Rule> {
        let elsewhere = Part::Match("iifname", true, vec![wan.to_owned()]);
        let one = |key, value: &str| Part::is(key, [value]);
        let mut rules = vec![
            self.accept(vec![elsewhere], "not from outside"),
            self.accept(
                vec![state(&["established", "related"])],
                "answers from outside",
            ),
            self.accept(vec![Part::is("icmp type", ICMP)], "ICMP"),
            self.accept(vec![Part::is("icmpv6 type", ICMPV6)], "ICMPv6"),
            self.accept(
                vec![one("udp sport", "67"), one("udp dport", "68")],
                "DHCP answers",
            ),
            self.accept(
                vec![one("udp sport", "547"), one("udp dport", "546")],
                "DHCPv6 answers",
            ),
            self.counted(vec![state(&["invalid"])], Part::Drop, "drop invalid"),
            self.counted(
                vec![Part::NotSyn, state(&["new"])],
                Part::Drop,
                "drop half-open",
            ),
            self.accept(
                vec![Part::is("tcp dport", ports(&self.ssh_ports))],
                "SSH incoming",
            ),
        ];
        if !self.open_tcp.is_empty() {
            let dport = Part::is("tcp dport", ports(&self.open_tcp));
            rules.push(self.accept(vec![dport], "TCP of this host"));
        }
        if !self.keep_udp.is_empty() {
            let dport = Part::is("udp dport", ports(&self.keep_udp));
            rules.push(self.accept(vec![dport], "UDP of this host"));
        }
        rules.extend(self.refuse());
        rules
    }

    /// Only what enters or leaves the VMs' bridge is decided. Bridged frames pass here, too, where
    /// `net.bridge.bridge-nf-call-iptables` is 1.
    fn forward(&self, wan: &str) -> Vec<Rule> {
        let bridge = self.bridge.as_str();
        let not = |key| Part::Match(key, true, vec![bridge.to_owned()]);
        let dnat = Part::is("ct status", ["dnat"]);
        let out = format!("@{EGRESS}");
        let mut rules = vec![
            self.accept(
                vec![not("iifname"), not("oifname")],
                "not to or from the VMs",
            ),
            self.accept(
                vec![state(&["established", "related"])],
                "answers to and from the VMs",
            ),
            self.counted(vec![state(&["invalid"])], Part::Drop, "drop invalid"),
            self.accept(vec![iif(bridge), oif(bridge)], "allow traffic between VMs"),
            self.accept(
                vec![iif(bridge), oif(&out)],
                "allow internet for internal VMs",
            ),
            self.accept(
                vec![iif(wan), oif(bridge), dnat],
                "allow DNAT forward from outside",
            ),
            self.accept(vec![iif("docker0"), oif(bridge)], "containers to VMs"),
        ];
        rules.extend(self.refuse());
        rules
    }

    pub(super) fn nat(&self, wan: &str) -> Table {
        let public = vec![
            Part::is("iifname", [wan, &self.bridge]),
            Part::is("fib daddr type", ["local"]),
            Part::Jump("public"),
        ];
        let out = vec![
            Part::is("ip saddr", [self.subnet.as_str()]),
            oif(&format!("@{EGRESS}")),
        ];
        let chain = |name, hook, rules| Chain { name, hook, rules };
        Table {
            family: NAT.0,
            name: NAT.1,
            sets: vec![self.egress(wan)],
            chains: vec![
                chain(INGRESS, None, self.ingress_rules(&self.nodes)),
                chain("public", None, self.public()),
                chain(
                    "prerouting",
                    Some(("nat", "prerouting", DNAT_PRIORITY)),
                    vec![self.rule(public, "to a public address of this host")],
                ),
                chain(
                    "postrouting",
                    Some(("nat", "postrouting", SNAT_PRIORITY)),
                    vec![self.counted(out, Part::Masquerade, "masquerade outgoing traffic")],
                ),
            ],
        }
    }

    /// Web traffic goes to one of the nodes by chance, or to the only one.
    pub(super) fn ingress_rules(&self, nodes: &[String]) -> Vec<Rule> {
        let to = |port| match nodes {
            [node] => Part::Dnat(node.clone(), Some(port)),
            nodes => Part::Spread(nodes.to_vec(), port),
        };
        let rule = |(from, port, what): (u16, u16, &str)| {
            let dport = Part::is("tcp dport", [from.to_string()]);
            self.counted(vec![dport], to(port), what)
        };
        NODE_PORTS.map(rule).to_vec()
    }

    /// What is asked of the public address. The host's own UDP ports are left out.
    fn public(&self) -> Vec<Rule> {
        let calling = || Part::Dnat(self.calling.clone(), None);
        let mut rules = vec![
            self.rule(vec![Part::Jump(INGRESS)], "web"),
            self.counted(
                vec![Part::is("tcp dport", [TURN])],
                calling(),
                "COTURN control TCP",
            ),
            self.counted(
                vec![Part::is("udp dport", [TURN])],
                calling(),
                "COTURN control UDP",
            ),
        ];
        let ranges = self.call_ranges();
        if !ranges.is_empty() {
            let spelled = ranges.iter().map(|(first, last)| {
                if first == last {
                    first.to_string()
                } else {
                    format!("{first}-{last}")
                }
            });
            let dport = Part::is("udp dport", spelled);
            rules.push(self.counted(vec![dport], calling(), "Calling UDP range"));
        }
        rules
    }
}
