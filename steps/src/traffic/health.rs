//! The health check of the nodes: a script for a timer of systemd, from the facts.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::wanted::NODE_PORTS;
use super::{INGRESS, NAT, Traffic, TrafficError};
use crate::host::quote;

/// First lines of the script, by which wiab knows it as its own.
pub(crate) const HEALTH_HEADER: &str = "#!/bin/sh\n# Written by wiab.\n";

/// Looks at the live chain and asks every node, then writes the chain anew if its nodes are not those that answer. Any answer
/// of HTTP counts: for an unknown name it is 404. A node without the controller's pod does not answer at all, since the
/// controller's service serves local pods only.
const LOOK: &str = r#"# Web traffic goes to the nodes whose ingress controller answers; to all of them while none does.
set -u
# Without the firewall there is nothing to balance.
now=$(nft list chain TABLE CHAIN 2>/dev/null) || exit 0
is='' want='' all=''
for node in NODES; do
	all="$all $node"
	case $now in *" $node"[!0-9.]*) is="$is $node" ;; esac
	if curl -s -o /dev/null --noproxy '*' --connect-timeout 2 --max-time 4 --retry 1 --retry-connrefused --retry-delay 1 "http://$node:PORT/"; then
		want="$want $node"
	fi
done
[ -n "$want" ] || want=$all
[ "$is" != "$want" ] || exit 0
# As words: addresses hold no blanks and no patterns.
set -- $want
to=$1
if [ $# -gt 1 ]; then
	map='' at=0
	for node in "$@"; do
		map="$map${map:+, }$at : $node"
		at=$((at + 1))
	done
	to="numgen random mod $# map { $map }"
fi
"#;

impl Traffic {
    /// The script that keeps the chain `ingress` to the nodes that answer. It changes nothing else, and that in one
    /// transaction.
    pub fn health_script(&self) -> Result<String, TrafficError> {
        self.check(&self.bridge)?;
        let mut nodes = Vec::new();
        for text in &self.nodes {
            let address = text
                .parse::<Ipv4Addr>()
                .map_err(|_| TrafficError::Address { text: text.clone() })?;
            nodes.push(address.to_string());
        }
        let table = [NAT.0, NAT.1].join(" ");
        let (_, http, _) = NODE_PORTS[0];
        let look = LOOK
            .replace("TABLE", &table)
            .replace("CHAIN", INGRESS)
            .replace("NODES", &nodes.join(" "))
            .replace("PORT", &http.to_string());
        let mut script = HEALTH_HEADER.to_owned() + &look;
        let mut rules = String::new();
        for ((from, port, _), rule) in NODE_PORTS.iter().zip(self.ingress_rules(&self.nodes)) {
            // The comment is the operator's text: quoted here, and not read again where the variable stands.
            let value = quote(&[rule.comment]);
            let _ = writeln!(script, "comment_{from}={value}");
            let _ = writeln!(
                rules,
                "add rule {table} {INGRESS} tcp dport {from} counter dnat to $to:{port} comment \"$comment_{from}\""
            );
        }
        let _ = write!(
            script,
            "nft -f - <<END || exit 1\nflush chain {table} {INGRESS}\n{rules}END\n\
             # The digit is the level of the message.\necho \"<5>web traffic goes to$want\"\n"
        );
        Ok(script)
    }

    /// Which nodes get web traffic, as `nft -j list table ip wiab_nat` shows it; `None` if its chain is not one of wiab's.
    pub fn balanced(&self, nat: &serde_json::Value) -> Option<Vec<String>> {
        super::listed(nat).balanced(self)
    }

    /// A script that sends web traffic to these nodes.
    pub(crate) fn balance(&self, nodes: &[String]) -> String {
        let chain = [NAT.0, NAT.1, INGRESS].join(" ");
        let rules = self.ingress_rules(nodes);
        let rules = rules
            .iter()
            .map(|rule| ["add rule ", &chain, " ", &rule.text(), "\n"].concat());
        rules.fold(format!("flush chain {chain}\n"), |all, rule| all + &rule)
    }
}
