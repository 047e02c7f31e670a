//! The hairpin with real packets: which of the nine node pairs get through, what wiab's own probe makes of it, and whether
//! its rule cures what it says it cures.

pub(crate) mod ground;
mod matrix;
mod verdicts;

use crate::cache::Cache;
use crate::error::Result;
use crate::machine::Machine;
use crate::say::say;
use crate::scenario::Scenario;
use crate::step;

use self::ground::Ground;

/// Proves it on a machine whose nodes are network namespaces on the VMs' bridge: real packets without VMs.
/// With `keep`, a machine on which it failed stays.
pub(crate) fn run(cache: &Cache, keep: bool) -> Result<()> {
    Scenario {
        name: "hairpin",
        cache,
        binds: &[step::share()?],
        keep,
    }
    .prove(prove)
}

fn prove(machine: &Machine) -> Result<()> {
    let ground = Ground::with_web(machine)?;
    verdicts::prove(&ground)?;
    matrix::prove(&ground)?;
    if !ground.has_bridge_nf()? {
        say(
            "hairpin: NOT TRIED, this machine does not have it: net.bridge.bridge-nf-call-iptables (the kernel's module \
             br_netfilter), and with it the half of the table in which bridged packets pass nftables",
        );
    }
    Ok(())
}
