//! Situations of charts: a cluster with the release's charts, installed, older, or left in the middle.

use wiab_steps::host::Host;
use wiab_steps::host::sim::{ClusterPreset, Machine};
use wiab_steps::kind::Input;
use wiab_steps::kinds::cert_manager_ready::CertManagerReady;
use wiab_steps::kinds::helm_release::HelmRelease;
use wiab_steps::kinds::kube_annotated::KubeAnnotated;
use wiab_steps::kinds::kube_namespace::KubeNamespace;
use wiab_steps::kinds::tool::Toolbox;
use wiab_steps::release::Chart;

use super::scenarios::{DEPLOY, Scenario, scenario};
use super::world::World;

const TREE: &str = "/home/demo/deploy.d/1";
const IMAGE: &str = "quay.io/wire/wire-server-deploy:1";
pub(crate) const PASSWORD: &str = "a-password-of-postgresql";

pub(crate) fn toolbox() -> Toolbox {
    Toolbox {
        image: Input::Value(IMAGE.to_owned()),
        tree: Input::Value(TREE.to_owned()),
        deploy: DEPLOY.to_owned(),
    }
}

/// A cluster with docker and the charts, without any release.
pub(crate) fn cluster() -> Machine {
    with_charts(Machine::fresh())
}

/// The same machine with a cluster and the charts.
pub(crate) fn with_charts(machine: Machine) -> Machine {
    machine.with_cluster(&ClusterPreset {
        image: IMAGE.to_owned(),
        deploy: DEPLOY.to_owned(),
        tree: TREE.to_owned(),
        version: "5.23.0".to_owned(),
        password: PASSWORD.to_owned(),
    })
}

fn values_path(chart: Chart) -> String {
    format!("{DEPLOY}/.wiab/values/{chart}.yaml")
}

fn secrets_path(chart: Chart) -> String {
    format!("{DEPLOY}/.wiab/values/{chart}.secrets.yaml")
}

/// The same machine with values of a chart.
pub(crate) fn with_values(machine: Machine, chart: Chart, text: &str) -> Machine {
    machine.with_file(&values_path(chart), text, 0o600, "demo:demo")
}

/// The same machine with secrets of wire-server.
pub(crate) fn with_secrets(machine: Machine, password: &str) -> Machine {
    let text = format!(
        "brig:\n  secrets:\n    pgPassword: {password}\n    rabbitmq: {{username: guest, password: guest}}\n\
         galley:\n  secrets:\n    pgPassword: {password}\n    rabbitmq: {{username: guest, password: guest}}\n\
         cannon:\n  secrets:\n    rabbitmq: {{username: guest, password: guest}}\n"
    );
    machine.with_file(&secrets_path(Chart::WireServer), &text, 0o600, "demo:demo")
}

/// The release of a chart with its values file; wire-server with its secrets, too.
pub(crate) fn release(chart: Chart) -> HelmRelease {
    let secrets = (chart == Chart::WireServer).then(|| Input::Value(secrets_path(chart)));
    HelmRelease {
        chart,
        namespace: "default".to_owned(),
        tools: toolbox(),
        values: vec![Input::Value(values_path(chart))],
        secrets: secrets.into_iter().collect(),
        timeout_ms: 900_000,
        usual_ms: 30_000,
        back_unwaited: false,
    }
}

const EXTERNAL: &str =
    "IPs: [192.168.122.31, 192.168.122.32]\nRWIPs: [192.168.122.31]\nROIPs: [192.168.122.32]\n";

/// A cluster with everything that wire-server needs, and its values.
pub(crate) async fn before_wire_server() -> Machine {
    let mut machine = cluster();
    let needed = [
        Chart::CassandraExternal,
        Chart::ElasticsearchExternal,
        Chart::MinioExternal,
        Chart::RabbitmqExternal,
        Chart::PostgresqlExternal,
        Chart::FakeAws,
        Chart::DatabasesEphemeral,
    ];
    for chart in needed {
        machine = with_values(machine, chart, EXTERNAL);
    }
    let machine = with_values(
        machine,
        Chart::WireServer,
        "# none\ntags:\n  proxy: false\n",
    );
    let world = World::new(with_secrets(machine, PASSWORD));
    for chart in needed {
        world.done(&release(chart)).await;
    }
    world.host.machine()
}

/// The same machine after an installation that was killed in the middle.
pub(crate) async fn left_pending(machine: Machine, release: &HelmRelease) -> Machine {
    use wiab_engine::id::{RunId, StepId};
    use wiab_engine::ports::{Cancel, Clock as _};
    use wiab_steps::host::{Cmd, JobId};
    let world = World::new(machine);
    let words = format!(
        "docker run --rm --init -i -v {TREE}:/wire-server-deploy:ro \
         -v {DEPLOY}/ansible/inventory/offline:/wire-server-deploy/ansible/inventory/offline -v {DEPLOY}:/wiab {IMAGE} \
         helm upgrade --install {0} /wire-server-deploy/charts/{0} -n default --wait -f /wiab/.wiab/values/{0}.yaml",
        release.chart
    );
    let id = JobId::new(RunId([1; 16]), &StepId::new("by.hand").unwrap(), 1, "run");
    let cmd = Cmd::new(words.split_whitespace())
        .root()
        .timeout_ms(900_000);
    world.host.job_start(&id, &cmd).await.unwrap();
    world.host.clock().sleep(10_000).await;
    let cancel = Cancel::default();
    cancel.cancel();
    world
        .host
        .job_wait(&id, 0, 0, &cancel, &|_| {})
        .await
        .unwrap_err();
    world.host.job_forget(&id).await.unwrap();
    world.host.machine()
}

/// The address that sftd tells its callers.
pub(crate) fn annotated(value: &str) -> KubeAnnotated {
    KubeAnnotated {
        tools: toolbox(),
        node: "kubenode3".parse().unwrap(),
        ip: Input::Value("192.168.122.23".parse().unwrap()),
        name: "wire.com/external-ip".to_owned(),
        value: Input::Value(value.parse().unwrap()),
        reader: "sftd".to_owned(),
    }
}

pub(crate) const NODE_PORT: &str =
    "ingress-nginx:\n  controller:\n    service:\n      type: NodePort\n";

/// The ingress controller, and cert-manager just installed.
pub(crate) async fn with_cert_manager() -> Machine {
    let machine = with_values(cluster(), Chart::IngressNginxController, NODE_PORT);
    let world = World::new(with_values(
        machine,
        Chart::CertManager,
        "crds: {enabled: true}\n",
    ));
    world.done(&release(Chart::IngressNginxController)).await;
    world.done(&release(Chart::CertManager)).await;
    world.host.machine()
}

/// Sftd on an annotated node.
pub(crate) async fn with_sftd() -> Machine {
    let values = "joinCall: {image: {repository: docker.io/bitnamilegacy/nginx, tag: 5.23.0}}\n";
    let world = World::new(with_values(with_cert_manager().await, Chart::Sftd, values));
    world.done(&CertManagerReady { tools: toolbox() }).await;
    world.done(&annotated("203.0.113.7")).await;
    world.done(&release(Chart::Sftd)).await;
    world.host.machine()
}

pub(crate) async fn all() -> Vec<Scenario> {
    let webapp = release(Chart::Webapp);
    let new = "config:\n  externalUrls: {appHost: webapp.wire.example.org}\n";
    let bare = with_values(cluster(), Chart::Webapp, new);
    let old = World::new(with_values(cluster(), Chart::Webapp, "config: {}\n"));
    old.done(&webapp).await;
    let old = with_values(old.host.machine(), Chart::Webapp, new);
    let wire_server = release(Chart::WireServer);
    let ready = before_wire_server().await;
    let namespace = KubeNamespace {
        name: "cert-manager-ns".to_owned(),
        tools: toolbox(),
    };
    let sfu = with_sftd().await;
    vec![
        scenario("charts", "namespace", &cluster(), &namespace),
        scenario(
            "charts",
            "webhook of cert-manager",
            &with_cert_manager().await,
            &CertManagerReady { tools: toolbox() },
        ),
        scenario(
            "charts",
            "annotation of a node",
            &cluster(),
            &annotated("203.0.113.7"),
        ),
        scenario(
            "charts",
            "annotation over another one, with its reader",
            &sfu,
            &annotated("203.0.113.8"),
        ),
        scenario("charts", "chart", &bare, &webapp),
        scenario("charts", "chart over an older revision", &old, &webapp),
        scenario("charts", "wire-server with its hooks", &ready, &wire_server),
    ]
}
