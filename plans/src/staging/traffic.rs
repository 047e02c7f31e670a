//! Traffic: the hairpin rule.

use wiab_steps::kinds::nft_hairpin::NftHairpin;
use wiab_steps::kinds::nft_hairpin_removed::NftHairpinRemoved;
use wiab_steps::kinds::sysctl::{Setting, Sysctl};

use crate::settings::HairpinPolicy;

use super::{Ground, Staging, after};

impl Staging<'_> {
    pub(super) fn hairpin(&mut self, ground: &Ground) {
        let network = &self.settings.network;
        let packages = ground.packages.as_ref();
        match self.settings.hairpin.policy {
            HairpinPolicy::Off => {}
            HairpinPolicy::Remove => {
                let removed = NftHairpinRemoved {};
                self.plan.add("hp.removed", &after(packages, &[]), &removed);
            }
            HairpinPolicy::Add => {
                let filter = Sysctl {
                    file: "/etc/sysctl.d/60-wiab-hairpin.conf".to_owned(),
                    settings: vec![Setting {
                        key: format!("net.ipv4.conf.{}.rp_filter", network.bridge),
                        value: "2".to_owned(),
                        fine: vec!["0".to_owned(), "2".to_owned()],
                        max_with: Some("net.ipv4.conf.all.rp_filter".to_owned()),
                    }],
                };
                self.plan.add("hp.rpfilter", &[&ground.network], &filter);
                let hairpin = NftHairpin {
                    bridge: network.bridge.clone(),
                    subnet: self
                        .settings
                        .net()
                        .map(crate::ipv4::Net::cidr)
                        .unwrap_or_default(),
                    needed: None,
                };
                self.plan
                    .add("hp.snat", &after(packages, &[&ground.network]), &hairpin);
            }
        }
    }
}
