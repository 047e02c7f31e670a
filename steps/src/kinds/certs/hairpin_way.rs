//! What packets say about the way from the VMs to the public address, and what would help.

use wiab_engine::outcome::Failure;

use super::{Reached, reached};

/// Makes the kernel show bridged frames to nftables.
pub(super) const BRIDGE_NF: &str = "net.bridge.bridge-nf-call-iptables";

/// The answer `yes`: the rule is what makes it work, or would.
pub(crate) const YES: &str = "yes";
/// The answer `no`: it works without the rule.
pub(super) const NO: &str = "no";
/// The answer `elsewhere`: it does not work, and the rule would not change that.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// A curl that opens twelve connections at once and gives each up before its first packet would be repeated: each is led to
/// one node by chance, and its loss shows. Output: status and exit code of each.
///
/// One that waits would hide it: a packet that is lost because it is led back to its sender is repeated a second later, and
/// the repetition is led anew. Twelve are enough: that none of three nodes draws itself in twelve is rarer than once in a
/// million times.
const BURST: [&str; 17] = [
    "curl",
    "-s",
    // Transfers side by side show their progress otherwise, even with -s.
    "--no-progress-meter",
    "-Z",
    "--parallel-immediate",
    "--parallel-max",
    "12",
    "-o",
    "/dev/null",
    "-H",
    "Connection: close",
    "--connect-timeout",
    "0.9",
    "-w",
    "%{http_code} %{exitcode}\n",
    "--noproxy",
    "*",
];

/// The command line that tries the public address.
pub(super) fn burst(host_ip: &str) -> Vec<String> {
    let url = format!("http://{host_ip}/?[1-12]");
    let argv = BURST.iter().map(|word| (*word).to_owned());
    argv.chain([url]).collect()
}

/// How the connections of one node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    name: String,
    arrived: usize,
    lost: usize,
}

impl Tried {
    /// Reads the output of [`burst`]. `Ok(None)`: nothing listens at that address.
    pub(super) fn read(name: &str, output: &str) -> Result<Option<Self>, Failure> {
        let mut tried = Self {
            name: name.to_owned(),
            arrived: 0,
            lost: 0,
        };
        for line in output.lines() {
            let code = line.split(' ').nth(1).and_then(|word| word.parse().ok());
            match code.map_or(Reached::Unknown(-1), reached) {
                Reached::Yes => tried.arrived += 1,
                Reached::Lost => tried.lost += 1,
                Reached::Refused => return Ok(None),
                Reached::Unknown(_) => {
                    return Err(Failure::clean(format!(
                        "curl on {name} did not try to connect: {line}"
                    )));
                }
            }
        }
        if tried.arrived + tried.lost == 0 {
            return Err(Failure::clean(format!("curl on {name} says nothing")));
        }
        Ok(Some(tried))
    }

    /// Whether some, but not all, packets were lost.
    pub(super) fn partly(&self) -> bool {
        self.arrived > 0 && self.lost > 0
    }

    /// The same after a second look in which nothing was lost: the machine was only slow.
    pub(super) fn only_slow(&mut self) {
        self.arrived += self.lost;
        self.lost = 0;
    }
}

/// Everything that the answer depends on.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    /// The public address.
    pub(super) host_ip: &'a str,
    /// What each node found.
    pub(super) nodes: &'a [Tried],
    /// Whether the host itself has the public address.
    pub(super) local: bool,
    /// Whether bridged frames pass nftables.
    pub(super) bridged: bool,
    /// Whether the rule is there.
    pub(super) ruled: bool,
}

fn names(nodes: &[&Tried]) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    names.join(", ")
}

impl Seen<'_> {
    /// Whether the rule is needed, and why, in one sentence.
    pub(super) fn judge(&self) -> (&'static str, String) {
        let shut: Vec<&Tried> = self.nodes.iter().filter(|node| node.arrived == 0).collect();
        let partly: Vec<&Tried> = self.nodes.iter().filter(|node| node.partly()).collect();
        match (shut.is_empty(), partly.is_empty()) {
            (true, true) => self.open(),
            (true, false) if self.local && self.bridged => self.led_back(&partly),
            (true, false) => self.shut(&partly, "some "),
            (false, _) => self.shut(&shut, ""),
        }
    }

    fn open(&self) -> (&'static str, String) {
        let ip = self.host_ip;
        match (self.local, self.bridged) {
            (true, false) if self.ruled => {
                (YES, format!("the VMs reach {ip} by the rule that is there"))
            }
            (true, false) => (NO, format!("the VMs reach {ip} without a rule")),
            (true, true) => (
                NO,
                format!(
                    "the VMs reach {ip}; with {BRIDGE_NF} = 1 packets are translated on the bridge and never meet the rule"
                ),
            ),
            (false, _) => (
                NO,
                format!("the VMs reach {ip} by the router in front of the host"),
            ),
        }
    }

    /// Who tries again gets through, which the self-check does.
    fn led_back(&self, nodes: &[&Tried]) -> (&'static str, String) {
        let ip = self.host_ip;
        let counts: Vec<String> = nodes
            .iter()
            .map(|node| {
                format!(
                    "{} {} of {}",
                    node.name,
                    node.lost,
                    node.arrived + node.lost
                )
            })
            .collect();
        let reason = format!(
            "the VMs reach {ip}, but not always at once (first packets lost: {}): with {BRIDGE_NF} = 1 a connection that is led back to the node it comes from waits a second for its repetition, and packets never meet the rule; to be rid of that, {}",
            counts.join(", "),
            unbridge()
        );
        (NO, reason)
    }

    fn shut(&self, nodes: &[&Tried], some: &str) -> (&'static str, String) {
        let (ip, names) = (self.host_ip, names(nodes));
        match (self.local, self.bridged) {
            (true, false) if self.ruled => (
                ELSEWHERE,
                format!(
                    "{some}packets from {names} to {ip} are lost although the rule is there: something else drops them (`sudo nft list ruleset` shows who)"
                ),
            ),
            (true, false) => (
                YES,
                format!("{some}packets from {names} to {ip} do not come back"),
            ),
            (true, true) => (
                ELSEWHERE,
                format!(
                    "packets from {names} to {ip} are lost, and with {BRIDGE_NF} = 1 they never meet the rule: {}",
                    unbridge()
                ),
            ),
            (false, _) => (
                ELSEWHERE,
                format!(
                    "{some}packets from {names} to {ip} do not come back, and {ip} is no address of this host: the router in front must lead it back in (NAT loopback), or the name server of the VMs must give the names an inner address"
                ),
            ),
        }
    }
}

fn unbridge() -> String {
    format!(
        "set it to 0 (`sysctl -w {BRIDGE_NF}=0`, and in /etc/sysctl.d), then run `wiab apply`, which adds the rule"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(name: &str, arrived: usize, lost: usize) -> Tried {
        let lines = ["404 0\n".repeat(arrived), "000 28\n".repeat(lost)].concat();
        Tried::read(name, &lines).unwrap().unwrap()
    }

    #[test]
    fn every_situation_has_its_answer() {
        let all = [tried("a", 12, 0), tried("b", 12, 0)];
        let none = [tried("a", 0, 12), tried("b", 0, 12)];
        let some = [tried("a", 9, 3), tried("b", 7, 5)];
        let one = [tried("a", 0, 12), tried("b", 12, 0)];
        for (nodes, local, bridged, ruled, needed, says) in [
            (&all, true, false, false, NO, "without a rule"),
            (&all, true, false, true, YES, "by the rule"),
            (&all, true, true, true, NO, "never meet the rule"),
            (&all, false, false, false, NO, "router"),
            (
                &none,
                true,
                false,
                false,
                YES,
                "a, b to 192.0.2.1 do not come back",
            ),
            (
                &none,
                true,
                false,
                true,
                ELSEWHERE,
                "although the rule is there",
            ),
            (&one, true, true, false, ELSEWHERE, "iptables=0"),
            (&none, false, false, true, ELSEWHERE, "NAT loopback"),
            (&some, true, true, false, NO, "a 3 of 12, b 5 of 12"),
            (&some, true, false, false, YES, "some packets from a, b"),
            (&some, false, true, false, ELSEWHERE, "NAT loopback"),
        ] {
            let seen = Seen {
                host_ip: "192.0.2.1",
                nodes,
                local,
                bridged,
                ruled,
            };
            let (found, reason) = seen.judge();
            assert_eq!(found, needed, "{seen:?}: {reason}");
            assert!(reason.contains(says), "{seen:?}: {reason}");
        }
    }

    #[test]
    fn reads_what_curl_says_and_nothing_else() {
        assert_eq!(Tried::read("a", "000 7\n404 0\n").unwrap(), None);
        for output in ["", "curl: unknown option\n", "000 2\n"] {
            let failure = Tried::read("a", output).unwrap_err();
            assert!(failure.why.contains("curl on a"), "{failure:?}");
        }
    }
}
