//! Traffic: the firewall and the hairpin rule.

use wiab_steps::kind::{Handle, Input};
use wiab_steps::kinds::docker_user::DockerUser;
use wiab_steps::kinds::nft_check::NftCheck;
use wiab_steps::kinds::nft_hairpin::NftHairpin;
use wiab_steps::kinds::nft_hairpin_removed::NftHairpinRemoved;
use wiab_steps::kinds::nft_traffic::NftTraffic;
use wiab_steps::kinds::sysctl::{Setting, Sysctl};

use crate::settings::HairpinPolicy;

use super::{Anchor, Ground, Staging, after};

/// The firewall, as later steps use it.
pub(super) struct Firewall {
    /// The public interface.
    pub(super) wan: Input<String>,
    /// After this it is up.
    pub(super) applied: Handle<NftTraffic>,
}

impl Staging<'_> {
    /// Late enough that the addresses of the nodes are those of the inventory, before anything asks for a certificate.
    pub(super) fn firewall(&mut self, ground: &Ground, inventory: &Anchor) -> Option<Firewall> {
        let traffic = self.settings.rules()?;
        let check = NftCheck {
            wan: self.settings.traffic.wan.clone(),
            traffic: traffic.clone(),
        };
        let packages = ground.packages.as_ref();
        let check = self.plan.add(
            "fw.check",
            &after(packages, &[&ground.network, inventory]),
            &check,
        );
        let firewall = NftTraffic {
            wan: check.output(&NftCheck::WAN),
            traffic,
            deadman_s: self.settings.traffic.deadman_s,
        };
        let docker = DockerUser {
            bridge: self.settings.network.bridge.clone(),
        };
        self.plan.add("fw.docker-user", &[&check], &docker);
        let applied = self.plan.add("fw.apply", &[], &firewall);
        Some(Firewall {
            wan: check.output(&NftCheck::WAN),
            applied,
        })
    }

    /// The rule that leads packets of VMs for the public address back through the host.
    pub(super) fn hairpin_rule(&self, needed: Option<Input<String>>) -> NftHairpin {
        let net = self.settings.net();
        NftHairpin {
            bridge: self.settings.network.bridge.clone(),
            subnet: net.map(crate::ipv4::Net::cidr).unwrap_or_default(),
            needed,
        }
    }

    /// What the kernel must not check on the bridge.
    pub(super) fn hairpin_filter(&self) -> Sysctl {
        Sysctl {
            file: "/etc/sysctl.d/60-wiab-hairpin.conf".to_owned(),
            settings: vec![Setting {
                key: format!("net.ipv4.conf.{}.rp_filter", self.settings.network.bridge),
                value: "2".to_owned(),
                fine: vec!["0".to_owned(), "2".to_owned()],
                max_with: Some("net.ipv4.conf.all.rp_filter".to_owned()),
            }],
        }
    }

    pub(super) fn hairpin(&mut self, ground: &Ground) {
        let packages = ground.packages.as_ref();
        match self.settings.hairpin.policy {
            // Measured where there is something to measure with: see the certificates.
            HairpinPolicy::Auto | HairpinPolicy::Off => {}
            HairpinPolicy::Remove => {
                let removed = NftHairpinRemoved {};
                self.plan.add("hp.removed", &after(packages, &[]), &removed);
            }
            HairpinPolicy::Add => {
                let filter = self.hairpin_filter();
                self.plan.add("hp.rpfilter", &[&ground.network], &filter);
                let rule = self.hairpin_rule(None);
                self.plan
                    .add("hp.snat", &after(packages, &[&ground.network]), &rule);
            }
        }
    }
}
