//! The physical machine is restarted: what comes back is what was told to.

use super::cmd;
use super::entity::{Domain, Network, Unit};
use super::state::Machine;

impl Machine {
    /// The same after a restart: units, networks and domains that start with the machine run again, others do not.
    #[must_use]
    pub fn restarted(mut self) -> Self {
        self.edit(|draft| {
            for (name, unit) in draft.list::<Unit>() {
                let active = unit.enabled;
                draft.put(&name, &Unit { active, ..unit });
            }
            for (name, mut network) in draft.list::<Network>() {
                network.active = false;
                draft.put(&name, &network);
            }
            for (name, mut domain) in draft.list::<Domain>() {
                (domain.started_ms, domain.stops_ms) = (None, None);
                draft.put(&name, &domain);
            }
            for (name, network) in draft.list::<Network>() {
                if network.autostart {
                    // One whose bridge is taken stays down, as with libvirt.
                    let _ = cmd::start_network(draft, &name);
                }
            }
            for (name, domain) in draft.list::<Domain>() {
                if domain.autostart {
                    let _ = cmd::start_domain(draft, &name);
                }
            }
        });
        self
    }

    /// The same with a domain that does not start with the machine.
    #[must_use]
    pub fn without_autostart(mut self, name: &str) -> Self {
        if let Some(mut domain) = self.get::<Domain>(name) {
            domain.autostart = false;
            self.put(name, &domain);
        }
        self
    }
}
