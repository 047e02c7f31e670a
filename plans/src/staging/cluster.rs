//! The cluster: the release's playbooks as steps, in parallel where their machines allow it, and the checks after them.

use wiab_engine::id::StepId;
use wiab_steps::kind::{Handle, Input};
use wiab_steps::kinds::ansible_playbook::AnsiblePlaybook;
use wiab_steps::kinds::cluster_verified::ClusterVerified;
use wiab_steps::kinds::data_verified::{DataService, DataVerified};
use wiab_steps::kinds::images_seeded::ImagesSeeded;
use wiab_steps::kinds::plays::images::ImageSet;
use wiab_steps::kinds::plays::{Play, Role, Site, SiteHost};
use wiab_steps::kinds::postgresql_password::PostgresqlPassword;
use wiab_steps::kinds::postgresql_secrets::PostgresqlSecrets;
use wiab_steps::kinds::secrets_rotated::SecretsRotated;
use wiab_steps::kinds::tool::Toolbox;
use wiab_steps::kinds::tool_image::ToolImage;
use wiab_steps::secrets::{Kubectl, Name};

use crate::machines;

use super::{After, Staging};

/// How long the cluster and the data services may take to become whole, in milliseconds.
const VERIFY_MS: u64 = 5 * 60_000;

/// What the cluster needs from the steps before it.
pub(super) struct ClusterGround<'a> {
    /// The unpacked release.
    pub(super) tree: Input<String>,
    /// Its tool image.
    pub(super) tools: &'a Handle<ToolImage>,
    /// Options of the `deb` line of its package repository.
    pub(super) apt_options: Input<String>,
    /// Path of the sealed secrets.
    pub(super) sealed: Input<String>,
    /// Inventory, its check, the release's check, the group variables and the secrets that playbooks read.
    pub(super) after: After<'a>,
}

/// What is built on the cluster.
pub(super) struct Cluster {
    /// The API can be used.
    pub(super) verified: Handle<ClusterVerified>,
    /// The charts' images are on every node.
    pub(super) images: Vec<Handle<ImagesSeeded>>,
    /// The data services are whole.
    pub(super) data: Vec<Handle<DataVerified>>,
}

impl Staging<'_> {
    fn site(&self, ground: &ClusterGround<'_>) -> Site {
        let hosts = self.machines.iter().map(|machine| SiteHost {
            name: machine.name.clone(),
            ip: machine.ip.clone(),
            role: match machine.role {
                machines::Role::Asset => Role::Assethost,
                machines::Role::Kube => Role::Kubenode,
                machines::Role::Data => Role::Datanode,
            },
        });
        Site {
            toolbox: Toolbox {
                image: ground.tools.output(&ToolImage::IMAGE),
                tree: ground.tree.clone(),
                deploy: self.deploy.clone(),
            },
            login: self.login(),
            hosts: hosts.collect(),
        }
    }

    fn play(
        &mut self,
        id: &str,
        after: &[&dyn AsRef<StepId>],
        site: &Site,
        play: Play,
    ) -> Handle<AnsiblePlaybook> {
        let playbook = AnsiblePlaybook {
            play,
            site: site.clone(),
            vars: Vec::new(),
            apt_options: None,
        };
        self.plan.add(id, after, &playbook)
    }

    /// The images of one set on every Kubernetes node.
    fn images(
        &mut self,
        name: &str,
        after: &[&dyn AsRef<StepId>],
        site: &Site,
        set: ImageSet,
    ) -> Vec<Handle<ImagesSeeded>> {
        let nodes = site.hosts.iter().filter(|host| host.role == Role::Kubenode);
        let nodes: Vec<String> = nodes.map(|host| host.name.clone()).collect();
        nodes
            .into_iter()
            .map(|node| {
                let id = format!("k8s.{name}:{node}");
                let images = ImagesSeeded {
                    site: site.clone(),
                    node,
                    set,
                    acmesolver: self.settings.kubernetes.acmesolver,
                };
                self.plan.add(&id, after, &images)
            })
            .collect()
    }

    fn whole(
        &mut self,
        after: &Handle<AnsiblePlaybook>,
        site: &Site,
        service: DataService,
    ) -> Handle<DataVerified> {
        let verified = DataVerified {
            site: site.clone(),
            service,
            deadline_ms: VERIFY_MS,
        };
        let id = format!("data.verify:{}", service.name().to_lowercase());
        self.plan.add(&id, &[after], &verified)
    }

    /// A new password of PostgreSQL's: first the database, then the cluster's secret. Whoever comes after this can log in with
    /// the new one only.
    pub(super) fn rotated_password(
        &mut self,
        ground: &ClusterGround<'_>,
        rotated: &Handle<SecretsRotated>,
    ) -> Option<StepId> {
        if !self.settings.rotates(Name::PostgresqlWire) {
            return None;
        }
        let site = self.site(ground);
        let kubectl = Kubectl::Toolbox(site.toolbox.clone());
        let (sealed, before) = (
            rotated.output(&SecretsRotated::PATH),
            rotated.output(&SecretsRotated::BEFORE),
        );
        let password = PostgresqlPassword {
            site,
            sealed: sealed.clone(),
            before: before.clone(),
        };
        let password = self.plan.add("rot.pg-password", &[], &password);
        let secrets = PostgresqlSecrets {
            kubectl,
            sealed,
            rotated_from: Some(before),
        };
        let secrets = self.plan.add("rot.pg-secrets", &[&password], &secrets);
        Some(secrets.id().clone())
    }

    /// Two halves that share no machine: Kubernetes' nodes, and the data nodes, whose playbooks take turns at their package
    /// manager and hide behind the installation of Kubernetes. Only PostgreSQL's playbook needs both: it looks for its
    /// passwords in the cluster.
    pub(super) fn cluster(&mut self, ground: &ClusterGround<'_>) -> Cluster {
        let site = self.site(ground);
        let sources = AnsiblePlaybook {
            play: Play::OfflineSources,
            site: site.clone(),
            vars: Vec::new(),
            apt_options: Some(ground.apt_options.clone()),
        };
        let sources = self.plan.add("ast.sources", &ground.after, &sources);
        let engine = self.play("k8s.engine", &[&sources], &site, Play::KubeEngine);
        let system = self.images("seed-system", &[&engine], &site, ImageSet::System);
        let images = self.images("seed-helm", &[&engine], &site, ImageSet::Helm);
        let seeded: After<'_> = system
            .iter()
            .map(|handle| handle as &dyn AsRef<StepId>)
            .collect();
        let install = self.play("k8s.install", &seeded, &site, Play::Kubernetes);
        let verify = ClusterVerified {
            site: site.clone(),
            deadline_ms: VERIFY_MS,
        };
        let verified = self.plan.add("k8s.verify", &[&install], &verify);

        let time = self.play("dn.ntp", &[&sources], &site, Play::SyncTime);
        let cassandra = self.play("cas.install", &[&time], &site, Play::Cassandra);
        let elastic = self.play("es.install", &[&time], &site, Play::Elasticsearch);
        let minio = self.play("minio.install", &[&time], &site, Play::Minio);
        let names = self.play("rmq.dns", &[&sources], &site, Play::RabbitmqDns);
        let rabbit = self.play("rmq.install", &[&names, &time], &site, Play::Rabbitmq);
        let secrets = PostgresqlSecrets {
            kubectl: Kubectl::Toolbox(site.toolbox.clone()),
            sealed: ground.sealed.clone(),
            rotated_from: None,
        };
        let secrets = self.plan.add("pg.secrets", &[&verified], &secrets);
        let postgres = self.play("pg.cluster", &[&secrets, &time], &site, Play::Postgresql);
        let data = [
            (&cassandra, DataService::Cassandra),
            (&elastic, DataService::Elasticsearch),
            (&minio, DataService::Minio),
            (&postgres, DataService::Postgresql),
            (&rabbit, DataService::Rabbitmq),
        ];
        let data = data.map(|(after, service)| self.whole(after, &site, service));
        Cluster {
            verified,
            images,
            data: data.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wiab_engine::plan::{Plan, StepSpec};

    use super::*;
    use crate::settings::Settings;

    const MINUTE_MS: u64 = 60_000;

    fn plan() -> Plan {
        let settings = Settings::default();
        let mut staging = Staging::new(&settings);
        let tree = Input::Value("/srv/release".to_owned());
        let tools = staging
            .plan
            .add("img.wsd", &[], &ToolImage { tree: tree.clone() });
        let ground = ClusterGround {
            tree,
            tools: &tools,
            apt_options: Input::Value(String::new()),
            sealed: Input::Value("/srv/sealed".to_owned()),
            after: vec![&tools],
        };
        let cluster = staging.cluster(&ground);
        assert_eq!((cluster.images.len(), cluster.data.len()), (3, 5));
        assert_eq!(staging.site(&ground).hosts.len(), 7);
        assert_eq!(cluster.verified.id().as_str(), "k8s.verify");
        staging.plan.finish().unwrap()
    }

    fn step<'a>(plan: &'a Plan, id: &str) -> &'a StepSpec {
        plan.steps
            .iter()
            .find(|step| step.id.as_str() == id)
            .unwrap()
    }

    fn comes_after(plan: &Plan, id: &str, earlier: &str) -> bool {
        let after = &step(plan, id).after;
        after
            .iter()
            .any(|one| one.as_str() == earlier || comes_after(plan, one.as_str(), earlier))
    }

    #[test]
    fn the_order_is_that_of_what_really_depends_on_what() {
        let plan = plan();
        for (id, earlier) in [
            ("k8s.engine", "ast.sources"),
            ("k8s.install", "k8s.seed-system:kubenode3"),
            ("cas.install", "dn.ntp"),
            ("rmq.install", "rmq.dns"),
            ("pg.secrets", "k8s.verify"),
            ("pg.cluster", "pg.secrets"),
            ("data.verify:postgresql", "pg.cluster"),
        ] {
            assert!(comes_after(&plan, id, earlier), "{id} after {earlier}");
        }
        for (id, other) in [
            ("k8s.install", "k8s.seed-helm:kubenode1"),
            ("k8s.engine", "dn.ntp"),
            ("cas.install", "k8s.engine"),
            ("rmq.install", "k8s.install"),
        ] {
            assert!(!comes_after(&plan, id, other), "{id} beside {other}");
        }
    }

    #[test]
    fn the_data_nodes_hide_behind_the_installation_of_kubernetes() {
        let plan = plan();
        let usual = |id: &str| step(&plan, id).usual_ms;
        let kube = usual("k8s.engine") + usual("k8s.seed-system:kubenode1") + usual("k8s.install");
        let mut lanes: BTreeMap<String, u64> = BTreeMap::new();
        for step in plan
            .steps
            .iter()
            .filter(|step| step.id.as_str() != "pg.cluster")
        {
            for lane in &step.lanes {
                *lanes.entry(lane.0.clone()).or_default() += step.usual_ms;
            }
        }
        assert!(lanes["dn-apt"] < kube, "{lanes:?}");
        assert!(kube > 25 * MINUTE_MS);
    }
}
