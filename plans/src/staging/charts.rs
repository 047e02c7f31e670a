//! The charts: their values, one release each, in the order of what they really need.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use wiab_engine::id::StepId;
use wiab_steps::kind::{Handle, Input, PlanBuilder};
use wiab_steps::kinds::cert_manager_ready::CertManagerReady;
use wiab_steps::kinds::chart_values::{CallingServices, ChartValues};
use wiab_steps::kinds::helm_release::HelmRelease;
use wiab_steps::kinds::kube_annotated::KubeAnnotated;
use wiab_steps::kinds::kube_namespace::KubeNamespace;
use wiab_steps::kinds::tool::Toolbox;
use wiab_steps::release::Chart;
use wiab_steps::secrets::Name;
use wiab_steps::values::{DomainName, Email, NodeName};

use crate::machines::Role;
use crate::settings::{ChartSettings, Settings};

/// The namespace of cert-manager.
const CERT_MANAGER: &str = "cert-manager-ns";
/// How long one of the charts with a few pods may take, in milliseconds; the others take the setting.
const SHORT_MS: u64 = 300_000;

/// What the charts need from the steps before them.
#[derive(Debug, Clone)]
pub struct ChartNeeds {
    /// Where helm and kubectl run.
    pub tools: Toolbox,
    /// How the operator calls the artifact, for messages.
    pub artifact: String,
    /// The step that made `.wiab/values` in the deploy directory.
    pub values_dir: StepId,
    /// The last step after which the cluster can be used.
    pub cluster: StepId,
    /// The steps that put the charts' images onto the nodes.
    pub images: Vec<StepId>,
    /// The steps after which the databases can be used, passwords included.
    pub data: Vec<StepId>,
    /// Values files with secrets, by chart.
    pub secrets: Vec<(Chart, Input<String>)>,
    /// The steps after which a certificate authority can reach the installation, and the installation itself: before them
    /// the first attempt would fail, and the next one comes an hour later.
    pub traffic: Vec<StepId>,
}

/// The releases that later steps wait for.
#[derive(Debug, Default)]
pub struct Charts {
    /// Every release.
    pub all: Vec<Handle<HelmRelease>>,
    /// The names of the installation and their certificate; `None` when skipped.
    pub ingress: Option<StepId>,
    /// The conference server and its certificate; `None` when skipped.
    pub sftd: Option<StepId>,
    /// The ingress controller; `None` when skipped.
    pub controller: Option<StepId>,
    /// The step after which cert-manager can be used; `None` when skipped.
    pub cert_manager: Option<StepId>,
    /// The TURN server; `None` when skipped.
    pub coturn: Option<StepId>,
}

/// Checked settings of the charts.
struct Checked {
    domain: DomainName,
    cert_email: Email,
    host_ip: Ipv4Addr,
    calling: Option<(NodeName, Ipv4Addr)>,
    data_nodes: Vec<Input<Ipv4Addr>>,
}

/// Adds the charts to a plan. Settings that are not complete add nothing; their check names what is missing.
pub fn charts(plan: &mut PlanBuilder, settings: &Settings, needs: &ChartNeeds) -> Charts {
    match checked(settings) {
        Some(checked) => Adding {
            plan,
            settings: &settings.charts,
            overlays: &settings.overlays,
            acme_test: settings.certs.staging,
            deploy: settings.deploy_dir(),
            needs,
            checked,
            new_password: settings.rotates(Name::PostgresqlWire),
            made: Vec::new(),
        }
        .build(),
        None => Charts::default(),
    }
}

fn checked(settings: &Settings) -> Option<Checked> {
    let machines = settings.machines();
    let calling = if settings.charts.calling {
        let node = settings.calling_node()?;
        Some((node.name.parse().ok()?, node.ip.parse().ok()?))
    } else {
        None
    };
    let data = machines.iter().filter(|machine| machine.role == Role::Data);
    let data_nodes = data.filter_map(|machine| machine.ip.parse().ok().map(Input::Value));
    Some(Checked {
        domain: settings.domain.parse().ok()?,
        cert_email: settings.cert_email.parse().ok()?,
        host_ip: settings.host_ip.parse().ok()?,
        calling,
        data_nodes: data_nodes.collect(),
    })
}

/// What a release comes after besides cluster, images and its values.
fn after_charts(chart: Chart) -> &'static [Chart] {
    match chart {
        Chart::WireServer => &[
            Chart::CassandraExternal,
            Chart::ElasticsearchExternal,
            Chart::MinioExternal,
            Chart::RabbitmqExternal,
            Chart::PostgresqlExternal,
            Chart::FakeAws,
            Chart::Smtp,
            Chart::DemoSmtp,
            Chart::DatabasesEphemeral,
        ],
        Chart::Reaper => &[Chart::DatabasesEphemeral, Chart::WireServer],
        Chart::NginxIngressServices => &[Chart::IngressNginxController, Chart::CertManager],
        Chart::Sftd => &[Chart::IngressNginxController, Chart::NginxIngressServices],
        Chart::CassandraExternal
        | Chart::ElasticsearchExternal
        | Chart::MinioExternal
        | Chart::RabbitmqExternal
        | Chart::PostgresqlExternal
        | Chart::DatabasesEphemeral
        | Chart::FakeAws
        | Chart::Smtp
        | Chart::DemoSmtp
        | Chart::Webapp
        | Chart::AccountPages
        | Chart::TeamSettings
        | Chart::SmallstepAccomp
        | Chart::IngressNginxController
        | Chart::CertManager
        | Chart::Coturn => &[],
    }
}

/// How long a release usually takes, in milliseconds, and whether it has many pods.
fn pace(chart: Chart) -> (u64, bool) {
    match chart {
        Chart::WireServer => (420_000, true),
        Chart::CassandraExternal
        | Chart::ElasticsearchExternal
        | Chart::MinioExternal
        | Chart::RabbitmqExternal
        | Chart::PostgresqlExternal => (3_000, true),
        Chart::NginxIngressServices => (5_000, true),
        Chart::Reaper => (10_000, true),
        Chart::DatabasesEphemeral | Chart::FakeAws | Chart::Smtp | Chart::DemoSmtp => {
            (40_000, true)
        }
        Chart::Webapp | Chart::AccountPages | Chart::TeamSettings | Chart::SmallstepAccomp => {
            (30_000, true)
        }
        Chart::IngressNginxController => (45_000, true),
        Chart::CertManager => (60_000, false),
        Chart::Sftd => (30_000, false),
        Chart::Coturn => (20_000, false),
    }
}

/// The charts in an order in which each comes after those that it needs.
const ORDER: [Chart; 20] = [
    Chart::CassandraExternal,
    Chart::ElasticsearchExternal,
    Chart::MinioExternal,
    Chart::RabbitmqExternal,
    Chart::PostgresqlExternal,
    Chart::FakeAws,
    Chart::Smtp,
    Chart::DemoSmtp,
    Chart::DatabasesEphemeral,
    Chart::Webapp,
    Chart::AccountPages,
    Chart::TeamSettings,
    Chart::SmallstepAccomp,
    Chart::IngressNginxController,
    Chart::CertManager,
    Chart::WireServer,
    Chart::Reaper,
    Chart::NginxIngressServices,
    Chart::Sftd,
    Chart::Coturn,
];

impl ChartSettings {
    /// Whether a chart is installed.
    pub fn wants(&self, chart: Chart) -> bool {
        let calling = self.calling;
        let asked = match chart {
            Chart::Smtp | Chart::DemoSmtp => self.smtp == chart.name(),
            Chart::SmallstepAccomp => self.smallstep_accomp,
            Chart::Sftd | Chart::Coturn => calling,
            _ => true,
        };
        asked && !self.skip.iter().any(|name| name == chart.name())
    }
}

struct Adding<'a> {
    plan: &'a mut PlanBuilder,
    settings: &'a ChartSettings,
    overlays: &'a BTreeMap<String, String>,
    acme_test: bool,
    deploy: String,
    needs: &'a ChartNeeds,
    checked: Checked,
    /// Whether PostgreSQL gets a new password right before.
    new_password: bool,
    /// The step after which what a chart brings can be used.
    made: Vec<(Chart, StepId)>,
}

impl Adding<'_> {
    fn build(mut self) -> Charts {
        let mut charts = Charts::default();
        let annotated = self.annotated();
        for chart in ORDER {
            if !self.settings.wants(chart) {
                continue;
            }
            let release = self.release(chart, annotated.as_ref());
            let id = release.id().clone();
            match chart {
                Chart::NginxIngressServices => charts.ingress = Some(id.clone()),
                Chart::Sftd => charts.sftd = Some(id.clone()),
                Chart::IngressNginxController => charts.controller = Some(id.clone()),
                Chart::Coturn => charts.coturn = Some(id.clone()),
                _ => {}
            }
            let usable = match chart {
                Chart::CertManager => self.webhook(&release),
                _ => id,
            };
            if chart == Chart::CertManager {
                charts.cert_manager = Some(usable.clone());
            }
            self.made.push((chart, usable));
            charts.all.push(release);
        }
        charts
    }

    fn values(&mut self, chart: Chart) -> Handle<ChartValues> {
        let checked = &self.checked;
        let values = ChartValues {
            chart,
            tree: self.needs.tools.tree.clone(),
            deploy: self.deploy.clone(),
            artifact: self.needs.artifact.clone(),
            domain: checked.domain.clone(),
            host_ip: Input::Value(checked.host_ip),
            cert_email: checked.cert_email.clone(),
            acme_test: self.acme_test,
            calling: checked.calling.as_ref().map(|(node, ip)| CallingServices {
                node: node.clone(),
                ip: Input::Value(*ip),
            }),
            data_nodes: checked.data_nodes.clone(),
            overlay: self.overlays.get(chart.name()).cloned(),
        };
        let id = format!("helm.values:{chart}");
        self.plan.add(&id, &[&Id(&self.needs.values_dir)], &values)
    }

    fn release(&mut self, chart: Chart, annotated: Option<&StepId>) -> Handle<HelmRelease> {
        let values = self.values(chart);
        let namespace = (chart == Chart::CertManager).then(|| self.namespace());
        let (usual_ms, many) = pace(chart);
        let secrets = self.needs.secrets.iter().filter(|(of, _)| *of == chart);
        let release = HelmRelease {
            chart,
            namespace: namespace
                .as_ref()
                .map_or("default", |_| CERT_MANAGER)
                .to_owned(),
            tools: self.needs.tools.clone(),
            values: vec![values.output(&ChartValues::PATH)],
            secrets: secrets.map(|(_, path)| path.clone()).collect(),
            timeout_ms: if many {
                self.settings.timeout_s.saturating_mul(1_000)
            } else {
                SHORT_MS
            },
            usual_ms,
            back_unwaited: chart == Chart::WireServer && self.new_password,
        };
        let mut after: Vec<StepId> = vec![self.needs.cluster.clone()];
        after.extend(self.needs.images.iter().cloned());
        after.extend(namespace);
        let made = self
            .made
            .iter()
            .filter(|(of, _)| after_charts(chart).contains(of));
        after.extend(made.map(|(_, id)| id.clone()));
        match chart {
            Chart::WireServer => after.extend(self.needs.data.iter().cloned()),
            Chart::NginxIngressServices => after.extend(self.needs.traffic.iter().cloned()),
            Chart::Sftd => {
                after.extend(self.needs.traffic.iter().cloned());
                after.extend(annotated.cloned());
            }
            Chart::Coturn => after.extend(annotated.cloned()),
            _ => {}
        }
        let ids: Vec<Id<'_>> = after.iter().map(Id).collect();
        let after: Vec<&dyn AsRef<StepId>> =
            ids.iter().map(|id| id as &dyn AsRef<StepId>).collect();
        self.plan.add(&format!("helm.{chart}"), &after, &release)
    }

    fn namespace(&mut self) -> StepId {
        let namespace = KubeNamespace {
            name: CERT_MANAGER.to_owned(),
            tools: self.needs.tools.clone(),
        };
        let after = [&Id(&self.needs.cluster) as &dyn AsRef<StepId>];
        self.plan
            .add("ns.cert-manager", &after, &namespace)
            .id()
            .clone()
    }

    fn webhook(&mut self, release: &Handle<HelmRelease>) -> StepId {
        let tools = self.needs.tools.clone();
        let ready = CertManagerReady { tools };
        self.plan
            .add("cm.webhook-ready", &[release], &ready)
            .id()
            .clone()
    }

    /// The public address on the node of the calling services.
    fn annotated(&mut self) -> Option<StepId> {
        let (node, ip) = self.checked.calling.clone()?;
        let annotated = KubeAnnotated {
            tools: self.needs.tools.clone(),
            node,
            ip: Input::Value(ip),
            name: "wire.com/external-ip".to_owned(),
            value: Input::Value(self.checked.host_ip),
            reader: Chart::Sftd.name().to_owned(),
        };
        let after = [&Id(&self.needs.cluster) as &dyn AsRef<StepId>];
        Some(
            self.plan
                .add("node.annotate", &after, &annotated)
                .id()
                .clone(),
        )
    }
}

/// A step id where a handle is wanted.
struct Id<'a>(&'a StepId);

impl AsRef<StepId> for Id<'_> {
    fn as_ref(&self) -> &StepId {
        self.0
    }
}
