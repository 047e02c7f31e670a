//! Traffic: the firewall and the hairpin rule.

use wiab_engine::id::StepId;
use wiab_steps::kind::{Handle, Input};
use wiab_steps::kinds::docker_user::DockerUser;
use wiab_steps::kinds::nft_check::NftCheck;
use wiab_steps::kinds::nft_hairpin::NftHairpin;
use wiab_steps::kinds::nft_hairpin_removed::NftHairpinRemoved;
use wiab_steps::kinds::nft_health::NftHealth;
use wiab_steps::kinds::nft_traffic::NftTraffic;
use wiab_steps::kinds::sysctl::{Setting, Sysctl};
use wiab_steps::kinds::traffic_verified::TrafficVerified;
use wiab_steps::traffic::Traffic;

use crate::machines::{Machine, Role};
use crate::settings::HairpinPolicy;

use super::{Anchor, Ground, Staging, after};

/// What the VMs must reach outside: where their certificates come from.
const OUTSIDE: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Longest wait for the nodes to answer once the ingress controller is installed, in milliseconds.
const ANSWER_MS: u64 = 180_000;

/// The firewall, for the steps that need it.
pub(super) struct Firewall {
    /// After this it is up, and balances over the nodes that answer.
    pub(super) health: Handle<NftHealth>,
    /// The public interface.
    pub(super) wan: Input<String>,
    traffic: Traffic,
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
        let health = NftHealth {
            traffic: traffic.clone(),
        };
        let firewall = NftTraffic {
            wan: check.output(&NftCheck::WAN),
            traffic: traffic.clone(),
            deadman_s: self.settings.traffic.deadman_s,
        };
        let applied = self.plan.add("fw.apply", &[], &firewall);
        let health = self.plan.add("fw.health", &[&applied], &health);
        Some(Firewall {
            health,
            wan: check.output(&NftCheck::WAN),
            traffic,
        })
    }

    /// Where bridged packets pass docker's filter, it drops even what VMs send each other: whoever asks them whether they
    /// reach each other comes after this.
    pub(super) fn docker_user(&mut self, ground: &Ground) -> Option<Anchor> {
        self.settings.rules()?;
        let docker = DockerUser {
            bridge: self.settings.network.bridge.clone(),
        };
        let packages = ground.packages.as_ref();
        let user = self.plan.add(
            "fw.docker-user",
            &after(packages, &[&ground.network]),
            &docker,
        );
        Some(Anchor(user.id().clone()))
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

    /// After the ingress controller: before it nothing answers, so without it there is nothing to verify.
    pub(super) fn traffic_verified(
        &mut self,
        firewall: Option<&Firewall>,
        controller: Option<StepId>,
    ) -> Option<Handle<TrafficVerified>> {
        let (firewall, controller) = (firewall?, Anchor(controller?));
        // A node would not show whether others reach a node.
        let beside = |machine: &&Machine| machine.role != Role::Kube;
        let asker = self.machines.iter().find(beside)?;
        let verified = TrafficVerified {
            wan: firewall.wan.clone(),
            traffic: firewall.traffic.clone(),
            login: self.login(),
            vm: asker.name.clone(),
            ip: asker.ip.clone(),
            outside: Some(OUTSIDE.to_owned()),
            deadline_ms: ANSWER_MS,
        };
        let after: [&dyn AsRef<StepId>; 2] = [&firewall.health, &controller];
        Some(self.plan.add("fw.verify", &after, &verified))
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
