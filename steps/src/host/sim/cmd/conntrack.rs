//! `conntrack -D -g ADDRESS`: the kernel forgets translated connections.

use serde::{Deserialize, Serialize};

use super::super::state::{Draft, Entity};
use super::{Call, QUICK_MS, Reply};

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
