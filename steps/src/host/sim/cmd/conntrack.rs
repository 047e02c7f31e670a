//! `conntrack -D -g ADDRESS`: the kernel forgets translated connections. `conntrack -L`: those of the self-checks.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::super::state::{Draft, Entity};
use super::super::way::{self, Way};
use super::{Call, QUICK_MS, Reply};

/// An entry stands for the first packet alone, not for its repetition a second later.
const FIRST_PACKET_MS: u64 = 0;

/// Connections that are translated to an address, which is the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flows {
    pub(crate) count: u64,
}

impl Entity for Flows {
    const KIND: &'static str = "flows";
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    if !call.root {
        return call.complain(
            1,
            "Operation failed: sorry, you must be root or get CAP_NET_ADMIN",
        );
    }
    if let [
        "-L",
        "-p",
        "tcp",
        "--orig-dst",
        public,
        "--orig-port-dst",
        "80",
    ] = call.args.as_slice()
    {
        return list(draft, public);
    }
    let ["-D", "-g" | "--dst-nat", address] = call.args.as_slice() else {
        return call.complain(2, "only `conntrack -D -g ADDRESS` is simulated");
    };
    let count = draft.get::<Flows>(address).map_or(0, |flows| flows.count);
    draft.del::<Flows>(address);
    let said =
        format!("conntrack v1.4.6 (conntrack-tools): {count} flow entries have been deleted.\n");
    Reply {
        // As the real one: nothing to delete is an error.
        code: i32::from(count == 0),
        stderr: said.into_bytes(),
        ..Reply::default()
    }
    .took(QUICK_MS)
}

/// What the latest tries of the nodes left: one to each target that the rules may choose.
fn list(draft: &Draft<'_>, public: &str) -> Reply {
    let (nodes, mut text, mut count) = (way::addresses(draft), String::new(), 0);
    for from in &nodes {
        for nth in 0..nodes.len() {
            let Some(to) = way::target_of(draft, from, public, nth) else {
                continue;
            };
            let answered = matches!(
                way::from_vm(draft, from, (public, 80), nth, FIRST_PACKET_MS),
                Way::Arrives { .. }
            );
            let (state, mark) = if answered {
                ("TIME_WAIT", "[ASSURED] ")
            } else {
                ("SYN_SENT", "[UNREPLIED] ")
            };
            let sport = 40_000 + nth;
            let _ = writeln!(
                text,
                "tcp      6 55 {state} src={from} dst={public} sport={sport} dport=80 {mark}src={to} dst={from} sport=31772 dport={sport} mark=0 use=1"
            );
            count += 1;
        }
    }
    Reply {
        stderr: format!(
            "conntrack v1.4.6 (conntrack-tools): {count} flow entries have been shown.\n"
        )
        .into_bytes(),
        ..Reply::ok(text)
    }
    .took(QUICK_MS)
}
