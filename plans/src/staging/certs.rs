//! Certificates: the way of the self-check before it is needed, waiting, keeping what was issued, and a look from outside.

use std::net::Ipv4Addr;

use wiab_engine::id::StepId;
use wiab_steps::kind::{Handle, Input};
use wiab_steps::kinds::certs::KubeNode;
use wiab_steps::kinds::certs::calling_checked::CallingChecked;
use wiab_steps::kinds::certs::cert_ready::CertReady;
use wiab_steps::kinds::certs::cert_rehearsed::CertRehearsed;
use wiab_steps::kinds::certs::cert_restored::CertRestored;
use wiab_steps::kinds::certs::cert_saved::CertSaved;
use wiab_steps::kinds::certs::cure::{CurePolicy, Cures, HairpinCure};
use wiab_steps::kinds::certs::hairpin_needed::{Certificates, HairpinNeeded};
use wiab_steps::kinds::certs::hairpin_rpfilter::HairpinRpfilter;
use wiab_steps::kinds::certs::https_answers::HttpsAnswers;
use wiab_steps::kinds::certs::looks::Ground;
use wiab_steps::kinds::certs::turn_listens::TurnListens;
use wiab_steps::kinds::nft_egress::NftEgress;
use wiab_steps::kinds::nft_hairpin_removed::NftHairpinRemoved;
use wiab_steps::kinds::nft_traffic::NftTraffic;
use wiab_steps::kinds::tool::Toolbox;
use wiab_steps::release::Chart;

use crate::machines::{Machine, Role};
use crate::settings::{Cure, HairpinAfter, HairpinPolicy};

use super::charts::Charts;
use super::{After, Anchor, NAMES, Staging};

/// The step that rehearses.
const REHEARSAL: &str = "cert.rehearse";
/// How long the ingress controller may take to answer on all nodes, in milliseconds.
const INGRESS_MS: u64 = 5 * 60_000;

/// What the certificates need.
pub(super) struct CertGround<'a> {
    /// Where kubectl runs.
    pub(super) toolbox: &'a Toolbox,
    /// The charts.
    pub(super) charts: &'a Charts,
    /// After this the firewall is up.
    pub(super) firewall: Option<Anchor>,
    /// The public interface, as the firewall's check found it.
    pub(super) wan: Option<Input<String>>,
}

impl Staging<'_> {
    /// Steps that must be there before the first order goes to the authority; they are written after the charts that wait for
    /// them.
    pub(super) fn before_issuance(&mut self) -> Vec<StepId> {
        let settings = self.settings;
        let mut ids = Vec::new();
        if settings.hairpin.policy == HairpinPolicy::Auto {
            ids.extend(["hp.probe", "hp.rpfilter", "hp.snat"]);
        }
        if settings.hairpin.policy == HairpinPolicy::Add {
            ids.extend(["hp.rpfilter", "hp.snat"]);
        }
        if settings.traffic.enabled {
            ids.push("fw.health");
            if settings.charts.wants(Chart::IngressNginxController) {
                ids.push("fw.verify");
            }
            if self.has_egress() {
                ids.push("egress.open");
            }
        }
        if settings.certs.save {
            ids.push("cert.restore");
        }
        if self.rehearses() {
            ids.push(REHEARSAL);
        }
        ids.into_iter().map(|id| self.plan.later(id)).collect()
    }

    /// Whether the certificates are rehearsed.
    fn rehearses(&self) -> bool {
        let charts = &self.settings.charts;
        self.settings.certs.rehearse && charts.wants(Chart::NginxIngressServices)
    }

    /// Whether the way out is opened for the time of issuance.
    pub(super) fn has_egress(&self) -> bool {
        let traffic = &self.settings.traffic;
        traffic.enabled
            && traffic.private_deployment
            && self.settings.hairpin.policy == HairpinPolicy::Auto
    }

    fn kube_nodes(&self) -> Vec<KubeNode> {
        let nodes = self
            .machines
            .iter()
            .filter(|machine| machine.role == Role::Kube);
        nodes.map(node).collect()
    }

    /// The certificates and the steps that ask for them.
    fn certificates(&self, charts: &Charts) -> Vec<(String, StepId)> {
        let names = format!("{}-csr", self.settings.domain.replace('.', "-"));
        let ingress = charts.ingress.clone().map(|step| (names, step));
        let sftd = charts.sftd.clone().map(|step| ("sftd".to_owned(), step));
        ingress.into_iter().chain(sftd).collect()
    }

    pub(super) fn certs(&mut self, ground: &CertGround<'_>) {
        let probe = self.hairpin_probe(ground);
        self.restored(ground);
        self.rehearsed(ground, probe.as_ref());
        let ready = self.issued(ground, probe.as_ref());
        self.after_issuance(ground, &ready);
        self.answers(&ready, probe.as_ref());
        self.calling(ground, &ready);
    }

    fn hairpin_probe(&mut self, ground: &CertGround<'_>) -> Option<Handle<HairpinNeeded>> {
        if self.settings.hairpin.policy != HairpinPolicy::Auto {
            return None;
        }
        let names = self.certificates(ground.charts).into_iter();
        let probe = HairpinNeeded {
            host_ip: self.settings.host_ip.clone(),
            nodes: self.kube_nodes(),
            login: self.login(),
            rule: self.hairpin_rule(None),
            certificates: Some(Certificates {
                toolbox: ground.toolbox.clone(),
                names: names.map(|(name, _)| name).collect(),
                then_remove: self.settings.hairpin.after == HairpinAfter::Remove,
            }),
            deadline_ms: INGRESS_MS,
        };
        let controller = ground.charts.controller.clone().map(Anchor);
        let mut after: After<'_> = Vec::new();
        after.extend(controller.as_ref().map(|step| step as &dyn AsRef<StepId>));
        after.extend(
            ground
                .firewall
                .as_ref()
                .map(|step| step as &dyn AsRef<StepId>),
        );
        let probe = self.plan.add("hp.probe", &after, &probe);
        let needed = probe.output(&HairpinNeeded::NEEDED);
        let filter = HairpinRpfilter {
            sysctl: self.hairpin_filter(),
            needed: needed.clone(),
        };
        self.plan.add("hp.rpfilter", &[], &filter);
        let rule = self.hairpin_rule(Some(needed));
        self.plan.add("hp.snat", &[], &rule);
        if let (true, Some(wan)) = (self.has_egress(), &ground.wan) {
            let egress = NftEgress {
                wan: wan.clone(),
                open: true,
                needed: Some(probe.output(&HairpinNeeded::WAITING)),
            };
            self.plan.add("egress.open", &after, &egress);
        }
        Some(probe)
    }

    fn saved_path(&self) -> String {
        self.in_deploy(".wiab/tls.json")
    }

    fn restored(&mut self, ground: &CertGround<'_>) {
        if !self.settings.certs.save {
            return;
        }
        let restored = CertRestored {
            toolbox: ground.toolbox.clone(),
            path: self.saved_path(),
            domain: self.settings.domain.clone(),
        };
        // The account's key belongs into the namespace of cert-manager, which its release brings.
        let manager = ground.charts.cert_manager.clone().map(Anchor);
        let after: After<'_> = manager
            .iter()
            .map(|step| step as &dyn AsRef<StepId>)
            .collect();
        self.plan.add("cert.restore", &after, &restored);
    }

    /// After everything that the first order in earnest comes after.
    fn rehearsed(&mut self, ground: &CertGround<'_>, probe: Option<&Handle<HairpinNeeded>>) {
        if !self.rehearses() {
            return;
        }
        let names = NAMES
            .iter()
            .filter(|name| self.settings.charts.calling || **name != "sftd");
        let names = names.map(|name| format!("{name}.{}", self.settings.domain));
        let certificates = self.certificates(ground.charts).into_iter();
        let rehearsed = CertRehearsed {
            toolbox: ground.toolbox.clone(),
            names: names.collect(),
            email: self.settings.cert_email.clone(),
            certificates: certificates.map(|(name, _)| name).collect(),
            host_ip: self.settings.host_ip.clone(),
            way: probe.map(|probe| probe.output(&HairpinNeeded::REASON)),
            ground: self.looked_at(),
            cures: self.cures(ground),
            deadline_ms: self.settings.certs.wait_timeout_s.saturating_mul(1_000),
        };
        let before = self.before_issuance().into_iter();
        let mut after: Vec<Anchor> = before
            .filter(|id| id.as_str() != REHEARSAL)
            .map(Anchor)
            .collect();
        let charts = [&ground.charts.controller, &ground.charts.cert_manager];
        after.extend(charts.into_iter().flatten().cloned().map(Anchor));
        let after: After<'_> = after
            .iter()
            .map(|step| step as &dyn AsRef<StepId>)
            .collect();
        self.plan.add(REHEARSAL, &after, &rehearsed);
    }

    /// What is looked at when a certificate does not come.
    fn looked_at(&self) -> Ground {
        Ground {
            domain: self.settings.domain.clone(),
            nodes: self.kube_nodes(),
            login: self.login(),
            rule: self.hairpin_rule(None),
            resolvers: self.settings.preflight.resolvers.clone(),
        }
    }

    /// What may be done about trouble.
    fn cures(&self, ground: &CertGround<'_>) -> Option<Cures> {
        let settings = self.settings;
        let policy = match settings.certs.cure {
            Cure::Auto => CurePolicy::Auto,
            Cure::Ask => CurePolicy::Ask,
            Cure::Never => return None,
        };
        let keep = match settings.hairpin.policy {
            HairpinPolicy::Auto | HairpinPolicy::Add => {
                Some(settings.hairpin.after == HairpinAfter::Keep)
            }
            // Nobody asked for the rule: it is there for the time of issuance only.
            HairpinPolicy::Off => Some(false),
            HairpinPolicy::Remove => None,
        };
        let wan = ground.wan.as_ref();
        let private = settings.traffic.private_deployment;
        let egress = wan.filter(|_| private).map(|wan| NftEgress {
            wan: wan.clone(),
            open: true,
            needed: None,
        });
        let firewall = wan.zip(settings.rules()).map(|(wan, traffic)| NftTraffic {
            wan: wan.clone(),
            traffic,
            deadman_s: settings.traffic.deadman_s,
        });
        Some(Cures {
            policy,
            hairpin: keep.map(|keep| HairpinCure {
                rule: self.hairpin_rule(None),
                keep,
            }),
            egress,
            firewall,
        })
    }

    fn issued(
        &mut self,
        ground: &CertGround<'_>,
        probe: Option<&Handle<HairpinNeeded>>,
    ) -> Vec<Handle<CertReady>> {
        let mut ready: Vec<Handle<CertReady>> = Vec::new();
        for (name, release) in self.certificates(ground.charts) {
            let short = if name == "sftd" { "sftd" } else { "web" };
            let cert = CertReady {
                toolbox: ground.toolbox.clone(),
                certificate: name,
                host_ip: self.settings.host_ip.clone(),
                way: probe.map(|probe| probe.output(&HairpinNeeded::REASON)),
                ground: Some(self.looked_at()),
                cures: self.cures(ground),
                deadline_ms: self.settings.certs.wait_timeout_s.saturating_mul(1_000),
            };
            let release = Anchor(release);
            let mut after: After<'_> = vec![&release];
            // What one of them cures, the next one finds; and undo goes the other way round.
            if let Some(before) = ready.last().filter(|_| cert.cures.is_some()) {
                after.push(before);
            }
            let handle = self.plan.add(&format!("cert.wait:{short}"), &after, &cert);
            ready.push(handle);
        }
        ready
    }

    fn after_issuance(&mut self, ground: &CertGround<'_>, ready: &[Handle<CertReady>]) {
        let after: After<'_> = ready
            .iter()
            .map(|handle| handle as &dyn AsRef<StepId>)
            .collect();
        if self.settings.certs.save && !ready.is_empty() {
            let saved = CertSaved {
                toolbox: ground.toolbox.clone(),
                path: self.saved_path(),
                domain: self.settings.domain.clone(),
                not_after: ready
                    .iter()
                    .map(|handle| handle.output(&CertReady::NOT_AFTER))
                    .collect(),
                keep: self.settings.certs.keep,
            };
            self.plan.add("cert.save", &after, &saved);
        }
        let hairpin = &self.settings.hairpin;
        if hairpin.after == HairpinAfter::Remove && hairpin.policy == HairpinPolicy::Auto {
            self.plan.add("hp.removed", &after, &NftHairpinRemoved {});
        }
        if let (true, Some(wan)) = (self.has_egress(), &ground.wan) {
            let egress = NftEgress {
                wan: wan.clone(),
                open: false,
                needed: None,
            };
            self.plan.add("egress.close", &after, &egress);
        }
    }

    fn answers(&mut self, ready: &[Handle<CertReady>], probe: Option<&Handle<HairpinNeeded>>) {
        let Ok(host_ip) = self.settings.host_ip.parse::<Ipv4Addr>() else {
            return;
        };
        let after: After<'_> = ready
            .iter()
            .map(|handle| handle as &dyn AsRef<StepId>)
            .collect();
        for name in NAMES {
            if name == "sftd" && !self.settings.charts.calling {
                continue;
            }
            let answers = HttpsAnswers {
                name: format!("{name}.{}", self.settings.domain),
                host_ip,
                nodes: self.kube_nodes(),
                login: self.login(),
                way: probe.map(|probe| probe.output(&HairpinNeeded::NEEDED)),
                staging: self.settings.certs.staging,
            };
            self.plan
                .add(&format!("e2e.https:{name}"), &after, &answers);
        }
    }

    fn calling(&mut self, ground: &CertGround<'_>, ready: &[Handle<CertReady>]) {
        if !self.settings.charts.calling {
            return;
        }
        let Some(machine) = self.settings.calling_node() else {
            return;
        };
        let mut after: After<'_> = ready
            .iter()
            .map(|handle| handle as &dyn AsRef<StepId>)
            .collect();
        let coturn = ground.charts.coturn.clone().map(Anchor);
        after.extend(coturn.as_ref().map(|step| step as &dyn AsRef<StepId>));
        let listens = TurnListens {
            node: node(&machine),
            login: self.login(),
        };
        self.plan.add("e2e.turn", &after, &listens);
        let checked = CallingChecked {
            toolbox: ground.toolbox.clone(),
            node: node(&machine),
            host_ip: self.settings.host_ip.clone(),
        };
        self.plan.add("e2e.calling", &after, &checked);
    }
}

fn node(machine: &Machine) -> KubeNode {
    KubeNode {
        name: machine.name.clone(),
        ip: Input::Value(machine.ip.clone()),
    }
}
