//! All nine node pairs under all settings of the kernel, with and without the rule.

use std::fmt::Write as _;

use super::ground::{Answer, Ground, numbers, together};
use crate::cmd::Cmd;
use crate::error::{Result, ensure};
use crate::say::{say, took};
use crate::step;
use crate::sys::Watch;

/// How often is looked before something counts as wrong.
const LOOKS: usize = 3;

/// Whether a connection from node `from`, led to node `to`, gets an answer.
///
/// Without the rule the answer takes the short way over the bridge, past the translation; a node that gets its own packet
/// back drops it. The rule makes every answer come back through the host. With bridge-nf the kernel translates on the bridge
/// itself, so that answers of others find back by themselves, but a frame never leaves by the port where it came in; the
/// rule's chain is not met then.
fn expected(bridge_nf: u8, rule: bool, from: usize, to: usize) -> bool {
    match bridge_nf {
        0 => rule,
        _ => from != to,
    }
}

/// Measures the whole table and holds it against what is known.
pub(super) fn prove(ground: &Ground<'_>) -> Result<()> {
    let watch = Watch::start();
    for bridge_nf in ground.bridge_values()? {
        ground.set_bridge_nf(bridge_nf)?;
        for rule in [false, true] {
            let told = rule.then(|| step::apply(ground.machine, &Ground::rule()));
            let told = told.transpose()?;
            for rp_filter in [0, 1, 2] {
                ground.set_rp_filter(rp_filter)?;
                row(ground, bridge_nf, rule, rp_filter)?;
            }
            if let Some(told) = told {
                told.receipt()?;
                step::undo(ground.machine, &Ground::rule(), &told)?;
            }
        }
    }
    took("hairpin: the whole table is as it should be", watch);
    Ok(())
}

fn row(ground: &Ground<'_>, bridge_nf: u8, rule: bool, rp_filter: u8) -> Result<()> {
    let setting = format!("bridge-nf={bridge_nf} rule={rule} rp_filter={rp_filter}");
    let mut seen = String::new();
    for to in numbers() {
        ground.lead_to([to].into_iter())?;
        let works = |from| expected(bridge_nf, rule, from, to);
        // The last one is the outside.
        let wanted: Vec<Answer> = numbers()
            .map(works)
            .chain([true])
            .map(|works| {
                if works {
                    Answer::From(to)
                } else {
                    Answer::Lost
                }
            })
            .collect();
        let found = settled(ground, &wanted)?;
        ensure(found == wanted, || {
            format!(
                "{setting}: led to kubenode{to}, from the nodes and from outside: {found:?}, not {wanted:?}"
            )
        })?;
        for from in numbers() {
            let sign = if works(from) { "ok" } else { "lost" };
            let _ = write!(seen, " {from}>{to} {sign}");
        }
    }
    say(&format!("hairpin: {setting}:{seen}; from outside all ok"));
    Ok(())
}

/// What connections bring. A busy machine may answer too late: what the rules let through comes the next time, and what they
/// lose is lost each time.
fn settled(ground: &Ground<'_>, wanted: &[Answer]) -> Result<Vec<Answer>> {
    let mut cmds: Vec<Cmd> = numbers().map(|from| ground.by_node(from)).collect();
    cmds.push(ground.by_outside());
    let mut found = Vec::new();
    for _ in 0..LOOKS {
        found = together(&cmds)?;
        if found == wanted {
            break;
        }
    }
    Ok(found)
}
