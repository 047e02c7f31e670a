//! What the charts of a release start.

/// What kind of workload runs a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    Deployment(u32),
    StatefulSet(u32),
    /// One pod on every node.
    DaemonSet,
    /// Once, before the chart's other objects.
    PreHook,
}

impl Runs {
    /// The kind of the workload's object.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Deployment(_) => "Deployment",
            Self::StatefulSet(_) => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::PreHook => "Job",
        }
    }
}

/// What a part cannot run without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Every node of Cassandra, with one schema.
    CassandraAll,
    /// A password of `PostgreSQL` as the cluster's secret has it, under this key of the values.
    Postgres,
    /// Credentials that `RabbitMQ` knows.
    Rabbit,
    /// The index accepts the mapping.
    Elasticsearch,
    /// The service of this name exists.
    Service(&'static str),
}

/// One workload of a chart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) runs: Runs,
    /// The repository of its image, for charts whose images the release does not list.
    pub(crate) image: &'static str,
    /// From its start until it is ready.
    pub(crate) ms: u64,
    pub(crate) needs: &'static [Need],
}

const fn part(name: &'static str, runs: Runs, image: &'static str, ms: u64) -> Part {
    Part {
        name,
        runs,
        image,
        ms,
        needs: &[],
    }
}

impl Part {
    const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }
}

const CASSANDRA: Need = Need::Service("cassandra-external");
const THREE: Runs = Runs::Deployment(3);
const ONE: Runs = Runs::Deployment(1);

const WIRE_SERVER: &[Part] = &[
    part(
        "cassandra-migrations",
        Runs::PreHook,
        "quay.io/wire/brig-schema",
        45_000,
    )
    .needs(&[CASSANDRA, Need::CassandraAll]),
    part(
        "elasticsearch-index-create",
        Runs::PreHook,
        "quay.io/wire/brig-index",
        10_000,
    )
    .needs(&[Need::Service("elasticsearch-external"), Need::Elasticsearch]),
    part("brig", THREE, "quay.io/wire/brig", 60_000).needs(&[
        CASSANDRA,
        Need::Service("postgresql-external-rw"),
        Need::Service("rabbitmq-external"),
        Need::Postgres,
        Need::Rabbit,
    ]),
    part("galley", THREE, "quay.io/wire/galley", 60_000).needs(&[
        CASSANDRA,
        Need::Service("postgresql-external-rw"),
        Need::Service("rabbitmq-external"),
        Need::Postgres,
        Need::Rabbit,
    ]),
    part(
        "cannon",
        Runs::StatefulSet(3),
        "quay.io/wire/cannon",
        50_000,
    )
    .needs(&[Need::Rabbit]),
    part("cargohold", THREE, "quay.io/wire/cargohold", 40_000)
        .needs(&[Need::Service("minio-external")]),
    part("gundeck", THREE, "quay.io/wire/gundeck", 50_000).needs(&[
        CASSANDRA,
        Need::Service("databases-ephemeral-redis-ephemeral"),
        Need::Service("fake-aws-sns"),
        Need::Service("fake-aws-sqs"),
    ]),
    part("spar", THREE, "quay.io/wire/spar", 40_000).needs(&[CASSANDRA]),
    part("nginz", THREE, "quay.io/wire/nginz", 30_000),
    part(
        "background-worker",
        ONE,
        "quay.io/wire/background-worker",
        40_000,
    )
    .needs(&[Need::Service("rabbitmq-external")]),
];

const FAKE_AWS: &[Part] = &[
    part("fake-aws-sns", ONE, "quay.io/wire/fake-sns", 20_000),
    part("fake-aws-sqs", ONE, "quay.io/wire/fake-sqs", 25_000),
];

const SMTP: &[Part] = &[part("smtp", ONE, "docker.io/egos-tech/smtp", 15_000)];

const DEMO_SMTP: &[Part] = &[part("demo-smtp", ONE, "docker.io/egos-tech/smtp", 15_000)];

const DATABASES_EPHEMERAL: &[Part] = &[part(
    "databases-ephemeral-redis-ephemeral",
    Runs::StatefulSet(1),
    "docker.io/bitnamilegacy/redis",
    30_000,
)];

const REAPER: &[Part] = &[part(
    "reaper",
    ONE,
    "docker.io/bitnamilegacy/kubectl",
    8_000,
)];

const WEBAPP: &[Part] = &[part("webapp", ONE, "quay.io/wire/webapp", 25_000)];

const ACCOUNT_PAGES: &[Part] = &[part("account-pages", ONE, "quay.io/wire/account", 20_000)];

const TEAM_SETTINGS: &[Part] = &[part(
    "team-settings",
    ONE,
    "quay.io/wire/team-settings",
    20_000,
)];

const INGRESS_NGINX_CONTROLLER: &[Part] = &[part(
    "ingress-nginx-controller",
    Runs::DaemonSet,
    "registry.k8s.io/ingress-nginx/controller",
    40_000,
)];

const CERT_MANAGER: &[Part] = &[
    part(
        "cert-manager",
        ONE,
        "quay.io/jetstack/cert-manager-controller",
        20_000,
    ),
    part(
        "cert-manager-cainjector",
        ONE,
        "quay.io/jetstack/cert-manager-cainjector",
        25_000,
    ),
    part(
        "cert-manager-webhook",
        ONE,
        "quay.io/jetstack/cert-manager-webhook",
        35_000,
    ),
];

const SFTD: &[Part] = &[
    part("sftd", Runs::StatefulSet(1), "quay.io/wire/sftd", 30_000),
    part(
        "sftd-join-call",
        ONE,
        "docker.io/bitnamilegacy/nginx",
        15_000,
    ),
];

const COTURN: &[Part] = &[part(
    "coturn",
    Runs::StatefulSet(1),
    "quay.io/wire/coturn",
    20_000,
)];

/// The workloads of a chart; those that only point to machines outside have none.
pub(crate) fn parts(chart: &str) -> &'static [Part] {
    match chart {
        "wire-server" => WIRE_SERVER,
        "fake-aws" => FAKE_AWS,
        "smtp" => SMTP,
        "demo-smtp" => DEMO_SMTP,
        "databases-ephemeral" => DATABASES_EPHEMERAL,
        "reaper" => REAPER,
        "webapp" => WEBAPP,
        "account-pages" => ACCOUNT_PAGES,
        "team-settings" => TEAM_SETTINGS,
        "ingress-nginx-controller" => INGRESS_NGINX_CONTROLLER,
        "cert-manager" => CERT_MANAGER,
        "sftd" => SFTD,
        "coturn" => COTURN,
        _ => &[],
    }
}

/// Services that a chart creates besides one of the name of each workload.
pub(crate) fn services(chart: &str) -> &'static [&'static str] {
    match chart {
        "cassandra-external" => &["cassandra-external"],
        "elasticsearch-external" => &["elasticsearch-external"],
        "minio-external" => &["minio-external"],
        "rabbitmq-external" => &["rabbitmq-external"],
        "postgresql-external" => &["postgresql-external-ro", "postgresql-external-rw"],
        "nginx-ingress-services" => &[
            "account-pages-http",
            "nginz-http",
            "nginz-websockets",
            "team-settings-http",
            "webapp-http",
        ],
        _ => &[],
    }
}

/// The part of that name.
pub(crate) fn part_of(chart: &str, name: &str) -> Option<Part> {
    parts(chart).iter().find(|part| part.name == name).copied()
}

/// Whether a chart's objects pass the validating webhook of another chart: that chart, and the webhook's name.
pub(crate) fn webhooks(chart: &str) -> &'static [(&'static str, &'static str, &'static str)] {
    match chart {
        "nginx-ingress-services" | "sftd" => &[
            (
                "cert-manager",
                "cert-manager-webhook",
                "webhook.cert-manager.io",
            ),
            (
                "ingress-nginx-controller",
                "ingress-nginx-controller",
                "validate.nginx.ingress.kubernetes.io",
            ),
        ],
        _ => &[],
    }
}
