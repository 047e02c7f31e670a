//! What wiab's own probe says in each situation, and whether packets flow once its advice is followed.

use wiab_steps::kind::Input;
use wiab_steps::kinds::certs::KubeNode;
use wiab_steps::kinds::certs::hairpin_needed::HairpinNeeded;
use wiab_steps::kinds::nft_hairpin::NftHairpin;

use super::ground::{Answer, Ground, NODES, node_ip, numbers, together};
use crate::cmd::Cmd;
use crate::error::{LabError, Result, ensure};
use crate::inside::MACHINE_IP;
use crate::say::{say, took};
use crate::step;
use crate::sys::Watch;

/// Connections of each node when the share of lost ones is measured.
const TRIES: usize = 10;

/// How often is looked before something counts as wrong.
const LOOKS: usize = 3;

/// A situation: what the probe must say, and how many of all connections must get through.
struct Case {
    bridge_nf: u8,
    /// Number of nodes that web traffic is led to.
    nodes: usize,
    needed: &'static str,
    /// What the reason must name.
    says: &'static [&'static str],
    through: Through,
}

/// How many connections get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    None,
    Some,
    All,
}

const CASES: [Case; 4] = [
    Case {
        bridge_nf: 0,
        nodes: NODES,
        needed: "yes",
        says: &["do not come back", "kubenode1, kubenode2, kubenode3"],
        through: Through::None,
    },
    Case {
        bridge_nf: 0,
        nodes: 1,
        needed: "yes",
        says: &["do not come back"],
        through: Through::None,
    },
    Case {
        bridge_nf: 1,
        nodes: NODES,
        needed: "no",
        says: &[
            "bridge-nf-call-iptables = 1",
            "led back to the node",
            "never meet the rule",
        ],
        through: Through::Some,
    },
    Case {
        bridge_nf: 1,
        nodes: 1,
        needed: "elsewhere",
        says: &["bridge-nf-call-iptables=0", "from kubenode1 to"],
        through: Through::Some,
    },
];

/// Proves each situation.
pub(super) fn prove(ground: &Ground<'_>) -> Result<()> {
    ground.firewall()?;
    let values = ground.bridge_values()?;
    for case in CASES.iter().filter(|case| values.contains(&case.bridge_nf)) {
        let watch = Watch::start();
        ground.set_bridge_nf(case.bridge_nf)?;
        ground.lead_to(numbers().take(case.nodes))?;
        case.prove(ground)?;
        took(
            &format!(
                "hairpin: bridge-nf={} and {} node(s): as it should be",
                case.bridge_nf, case.nodes
            ),
            watch,
        );
    }
    Ok(())
}

fn probe() -> HairpinNeeded {
    let node = |number| KubeNode {
        name: format!("kubenode{number}"),
        ip: Input::Value(node_ip(number)),
    };
    HairpinNeeded {
        host_ip: MACHINE_IP.to_owned(),
        nodes: numbers().map(node).collect(),
        login: Ground::login(),
        rule: Ground::rule(),
        certificates: None,
        deadline_ms: 20_000,
    }
}

/// The probe's answer and its reason.
fn measured(ground: &Ground<'_>) -> Result<(String, String)> {
    let told = step::apply(ground.machine, &probe())?;
    let outputs = &told.receipt()?.outputs;
    let output = |name: &str| outputs.get(name).cloned().unwrap_or_default();
    let found = (output("needed"), output("reason"));
    say(&format!("hairpin: the probe says {}: {}", found.0, found.1));
    Ok(found)
}

/// How many connections get through.
fn through(ground: &Ground<'_>) -> Result<Through> {
    let (mut answered, mut lost) = (0, 0);
    for number in numbers() {
        let cmds: Vec<Cmd> = (0..TRIES).map(|_| ground.by_node(number)).collect();
        for answer in together(&cmds)? {
            match answer {
                Answer::From(_) => answered += 1,
                Answer::Lost => lost += 1,
            }
        }
    }
    say(&format!(
        "hairpin: {answered} connections of {} got through",
        answered + lost
    ));
    Ok(match (answered, lost) {
        (0, _) => Through::None,
        (_, 0) => Through::All,
        _ => Through::Some,
    })
}

impl Case {
    fn prove(&self, ground: &Ground<'_>) -> Result<()> {
        let (needed, reason) = measured(ground)?;
        ensure(needed == self.needed, || format!("not {}", self.needed))?;
        for text in self.says {
            ensure(reason.contains(text), || {
                format!("the reason does not name {text:?}")
            })?;
        }
        self.flows(ground, self.through, "before")?;
        if needed == "yes" {
            return self.cured(ground);
        }
        // The step looks at the answer and leaves the rule away.
        let rule = NftHairpin {
            needed: Some(Input::Value(needed)),
            ..Ground::rule()
        };
        step::apply(ground.machine, &rule)?.receipt()?;
        let there = ground
            .machine
            .cmd(["nft", "list", "table", "ip", "wiab_hairpin"]);
        ensure(!there.succeeds()?, || {
            "the rule was added in vain".to_owned()
        })?;
        // And by hand it changes nothing.
        let told = step::apply(ground.machine, &Ground::rule())?;
        self.flows(ground, self.through, "with the rule")?;
        step::undo(ground.machine, &Ground::rule(), &told)?;
        self.advised(ground)
    }

    /// With bridge-nf: what the probe advises helps, as packets show.
    fn advised(&self, ground: &Ground<'_>) -> Result<()> {
        ground.set_bridge_nf(0)?;
        let (needed, _) = measured(ground)?;
        ensure(needed == "yes", || "the rule must be of use now".to_owned())?;
        self.cured(ground)
    }

    fn cured(&self, ground: &Ground<'_>) -> Result<()> {
        let rule = NftHairpin {
            needed: Some(Input::Value("yes".to_owned())),
            ..Ground::rule()
        };
        let told = step::apply(ground.machine, &rule)?;
        told.receipt()?;
        self.flows(ground, Through::All, "with the rule")?;
        let (needed, reason) = measured(ground)?;
        ensure(needed == "yes" && reason.contains("by the rule"), || {
            "the probe does not see that the rule is what helps".to_owned()
        })?;
        step::undo(ground.machine, &rule, &told)?;
        self.flows(ground, Through::None, "after the rule was taken back")
    }

    fn flows(&self, ground: &Ground<'_>, wanted: Through, when: &str) -> Result<()> {
        let mut found = through(ground)?;
        for _ in 1..LOOKS {
            if found == wanted {
                return Ok(());
            }
            // A busy machine may answer too late.
            found = through(ground)?;
        }
        if found == wanted {
            return Ok(());
        }
        Err(LabError::check(format!(
            "bridge-nf={} and {} node(s), {when}: {found:?} got through, not {wanted:?}",
            self.bridge_nf, self.nodes
        )))
    }
}
