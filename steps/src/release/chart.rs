//! The helm charts of an installation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A chart, by the name it has in the artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the variants are the charts' own names")]
pub enum Chart {
    CassandraExternal,
    ElasticsearchExternal,
    MinioExternal,
    RabbitmqExternal,
    PostgresqlExternal,
    DatabasesEphemeral,
    Reaper,
    FakeAws,
    Smtp,
    DemoSmtp,
    WireServer,
    Webapp,
    AccountPages,
    TeamSettings,
    SmallstepAccomp,
    IngressNginxController,
    CertManager,
    NginxIngressServices,
    Sftd,
    Coturn,
}

impl Chart {
    /// All charts.
    pub const ALL: [Self; 20] = [
        Self::CassandraExternal,
        Self::ElasticsearchExternal,
        Self::MinioExternal,
        Self::RabbitmqExternal,
        Self::PostgresqlExternal,
        Self::DatabasesEphemeral,
        Self::Reaper,
        Self::FakeAws,
        Self::Smtp,
        Self::DemoSmtp,
        Self::WireServer,
        Self::Webapp,
        Self::AccountPages,
        Self::TeamSettings,
        Self::SmallstepAccomp,
        Self::IngressNginxController,
        Self::CertManager,
        Self::NginxIngressServices,
        Self::Sftd,
        Self::Coturn,
    ];

    /// Its name in the artifact, which is also that of its release in helm.
    pub fn name(self) -> &'static str {
        match self {
            Self::CassandraExternal => "cassandra-external",
            Self::ElasticsearchExternal => "elasticsearch-external",
            Self::MinioExternal => "minio-external",
            Self::RabbitmqExternal => "rabbitmq-external",
            Self::PostgresqlExternal => "postgresql-external",
            Self::DatabasesEphemeral => "databases-ephemeral",
            Self::Reaper => "reaper",
            Self::FakeAws => "fake-aws",
            Self::Smtp => "smtp",
            Self::DemoSmtp => "demo-smtp",
            Self::WireServer => "wire-server",
            Self::Webapp => "webapp",
            Self::AccountPages => "account-pages",
            Self::TeamSettings => "team-settings",
            Self::SmallstepAccomp => "smallstep-accomp",
            Self::IngressNginxController => "ingress-nginx-controller",
            Self::CertManager => "cert-manager",
            Self::NginxIngressServices => "nginx-ingress-services",
            Self::Sftd => "sftd",
            Self::Coturn => "coturn",
        }
    }

    /// Path of its values template inside the artifact.
    pub fn template(self) -> String {
        format!("values/{}/prod-values.example.yaml", self.name())
    }

    /// Path of its description inside the artifact.
    pub fn description(self) -> String {
        format!("charts/{}/Chart.yaml", self.name())
    }

    /// Whether releases ship it without a values template.
    pub fn bare(self) -> bool {
        self == Self::DemoSmtp
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_name_is_the_name() {
        for chart in Chart::ALL {
            assert_eq!(serde_json::to_value(chart).unwrap(), chart.name());
        }
    }
}
