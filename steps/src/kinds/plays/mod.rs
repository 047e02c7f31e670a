//! The playbooks of the release, one recipe each: what is run, and how its effect is looked at, remembered and taken back.
#![expect(clippy::unused_async, reason = "the recipes come next")]

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, UndoClass};

use super::login::Login;
use super::tool::Toolbox;
use crate::host::Cmd;
use crate::host::shell::Shell;

const MINUTE_MS: u64 = 60_000;

/// A run of one of the release's playbooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Play {
    /// The asset host serves packages, binaries and images; all other machines use nothing else.
    OfflineSources,
    /// Operating system and container engine of the Kubernetes nodes.
    KubeEngine,
    /// The images of the release on every Kubernetes node.
    SeedImages,
    /// The clocks of the data nodes.
    SyncTime,
    /// Kubernetes itself.
    Kubernetes,
    /// Cassandra on the data nodes.
    Cassandra,
    /// Elasticsearch on the data nodes.
    Elasticsearch,
    /// MinIO on the data nodes.
    Minio,
    /// PostgreSQL with its replicas on the data nodes.
    Postgresql,
    /// Names by which the nodes of `RabbitMQ` find each other.
    RabbitmqDns,
    /// `RabbitMQ` on the data nodes.
    Rabbitmq,
}

/// What a machine of the installation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Serves packages and images.
    Assethost,
    /// Runs Kubernetes.
    Kubenode,
    /// Runs the databases.
    Datanode,
}

/// A machine of the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteHost {
    /// Its name in the inventory.
    pub name: String,
    /// Its address.
    pub ip: String,
    /// What it is for.
    pub role: Role,
}

/// Where playbooks run and what they run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The container that ansible runs in.
    pub toolbox: Toolbox,
    /// How the machines are logged in to.
    pub login: Login,
    /// The machines, in the order of the inventory.
    pub hosts: Vec<SiteHost>,
}

impl Site {
    /// The machines of a role, in order.
    pub(crate) fn of(&self, role: Role) -> impl Iterator<Item = &SiteHost> {
        self.hosts.iter().filter(move |host| host.role == role)
    }

    /// The machine of that name.
    pub(crate) fn host(&self, name: &str) -> Option<&SiteHost> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// A command as root of one of the machines.
    pub(crate) fn on(&self, host: &SiteHost, remote: &[&str]) -> Cmd {
        self.login.root(&host.ip, remote)
    }
}

impl Play {
    /// All of them, in the order in which the release's own script runs them.
    pub const ALL: [Self; 11] = [
        Self::OfflineSources,
        Self::KubeEngine,
        Self::SeedImages,
        Self::SyncTime,
        Self::Kubernetes,
        Self::Cassandra,
        Self::Elasticsearch,
        Self::Minio,
        Self::Postgresql,
        Self::RabbitmqDns,
        Self::Rabbitmq,
    ];

    /// The playbook, below the release's directory `ansible`.
    pub fn playbook(self) -> &'static str {
        match self {
            Self::OfflineSources => "setup-offline-sources.yml",
            Self::KubeEngine | Self::Kubernetes => "kubernetes.yml",
            Self::SeedImages => "seed-offline-containerd.yml",
            Self::SyncTime => "sync_time.yml",
            Self::Cassandra => "cassandra.yml",
            Self::Elasticsearch => "elasticsearch.yml",
            Self::Minio => "minio.yml",
            Self::Postgresql => "postgresql-deploy.yml",
            Self::RabbitmqDns => "roles/rabbitmq-cluster/tasks/configure_dns.yml",
            Self::Rabbitmq => "rabbitmq.yml",
        }
    }

    /// What it is called with besides the inventory.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::KubeEngine => &["--tags", "bastion,bootstrap-os,preinstall,container-engine"],
            Self::Kubernetes => &[
                "--skip-tags",
                "bootstrap-os,preinstall,container-engine,multus",
            ],
            Self::SyncTime => &["-v"],
            Self::OfflineSources
            | Self::SeedImages
            | Self::Cassandra
            | Self::Elasticsearch
            | Self::Minio
            | Self::Postgresql
            | Self::RabbitmqDns
            | Self::Rabbitmq => &[],
        }
    }

    /// What it brings, for the plan screen.
    pub fn brings(self) -> &'static str {
        match self {
            Self::OfflineSources => "the release's packages, binaries and images on the asset host",
            Self::KubeEngine => "operating system settings and containerd on the Kubernetes nodes",
            Self::SeedImages => "the release's images on the Kubernetes nodes",
            Self::SyncTime => "synchronous clocks on the data nodes",
            Self::Kubernetes => "Kubernetes",
            Self::Cassandra => "Cassandra",
            Self::Elasticsearch => "Elasticsearch",
            Self::Minio => "MinIO",
            Self::Postgresql => "PostgreSQL and its replicas",
            Self::RabbitmqDns => "the names of the RabbitMQ nodes",
            Self::Rabbitmq => "RabbitMQ",
        }
    }

    /// How long it usually takes, in milliseconds.
    pub fn usual_ms(self) -> u64 {
        match self {
            Self::OfflineSources | Self::KubeEngine => 6 * MINUTE_MS,
            Self::SeedImages => 14 * MINUTE_MS,
            Self::SyncTime | Self::RabbitmqDns => MINUTE_MS / 3,
            Self::Kubernetes => 16 * MINUTE_MS,
            Self::Cassandra => 9 * MINUTE_MS / 2,
            Self::Elasticsearch => 3 * MINUTE_MS,
            Self::Minio => 5 * MINUTE_MS / 2,
            Self::Postgresql => 25 * MINUTE_MS / 2,
            Self::Rabbitmq => 4 * MINUTE_MS,
        }
    }

    /// How long it may take, in milliseconds: playbooks wait for services with limits of their own.
    pub fn timeout_ms(self) -> u64 {
        10 * MINUTE_MS + 4 * self.usual_ms()
    }

    /// What it must not share with another step.
    pub fn lanes(self) -> Vec<Lane> {
        let lane = match self {
            Self::KubeEngine | Self::SeedImages | Self::Kubernetes => "kube",
            Self::SyncTime
            | Self::Cassandra
            | Self::Elasticsearch
            | Self::Postgresql
            | Self::RabbitmqDns
            | Self::Rabbitmq => "dn-apt",
            Self::OfflineSources | Self::Minio => return Vec::new(),
        };
        vec![Lane::new(lane)]
    }

    /// How far it can be taken back.
    pub fn undo_class(self) -> UndoClass {
        UndoClass::Irreversible {
            why: format!("nothing takes {} back", self.brings()),
        }
    }

    /// Looks at its effect.
    pub(crate) async fn probe(self, _: Shell<'_>, _: &Site) -> Result<Probe, Failure> {
        Ok(Probe::Unknown {
            why: format!("nothing tells whether {} has run", self.playbook()),
        })
    }

    /// Records what undo will restore.
    pub(crate) async fn capture(self, _: Shell<'_>, _: &Site) -> Result<Value, Failure> {
        Ok(Value::Null)
    }

    /// Takes its effect back.
    pub(crate) async fn undo(self, _: Shell<'_>, _: &Site, _: &Value) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_script_and_every_play_has_its_time() {
        let books: Vec<&str> = Play::ALL.iter().map(|play| play.playbook()).collect();
        assert_eq!(
            books,
            [
                "setup-offline-sources.yml",
                "kubernetes.yml",
                "seed-offline-containerd.yml",
                "sync_time.yml",
                "kubernetes.yml",
                "cassandra.yml",
                "elasticsearch.yml",
                "minio.yml",
                "postgresql-deploy.yml",
                "roles/rabbitmq-cluster/tasks/configure_dns.yml",
                "rabbitmq.yml",
            ]
        );
        for play in Play::ALL {
            assert!(play.usual_ms() > 0 && play.timeout_ms() > 2 * play.usual_ms());
        }
    }
}
