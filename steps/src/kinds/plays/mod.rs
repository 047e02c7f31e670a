//! The playbooks of the release, one recipe each: what is run, and how its effect is looked at, remembered and taken back.

mod cassandra;
mod elasticsearch;
mod footprint;
pub mod images;
pub(crate) mod kube;
pub(crate) mod look;
mod minio;
mod offline_sources;
mod postgresql;
mod rabbitmq;
mod sync_time;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, UndoClass};

pub(crate) use self::footprint::must;
use self::footprint::{Before, Footprint};
use self::look::Found;
pub(crate) use self::postgresql::primary;
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
        let what = match self {
            Self::OfflineSources | Self::SeedImages | Self::SyncTime | Self::RabbitmqDns => {
                return UndoClass::Reversible;
            }
            Self::KubeEngine => "containers, images and settings of the Kubernetes nodes",
            Self::Kubernetes => "the Kubernetes cluster with everything in it",
            Self::Cassandra => "all data in Cassandra",
            Self::Elasticsearch => "all data in Elasticsearch",
            Self::Minio => "all files in MinIO",
            Self::Postgresql => "all data in PostgreSQL",
            Self::Rabbitmq => "all messages in RabbitMQ",
        };
        UndoClass::Destructive {
            what: what.to_owned(),
        }
    }

    /// What its undo does, for the plan screen.
    pub fn undo_summary(self) -> &'static str {
        match self {
            Self::OfflineSources => "restore the package sources, remove server and content",
            Self::KubeEngine => "reset the nodes with kubespray, remove containerd",
            Self::SeedImages => "remove the images added",
            Self::SyncTime => "remove ntp, install systemd-timesyncd again",
            Self::Kubernetes => "reset the cluster with kubespray; containerd and its images stay",
            Self::RabbitmqDns => "restore /etc/hosts of the data nodes",
            Self::Cassandra
            | Self::Elasticsearch
            | Self::Minio
            | Self::Postgresql
            | Self::Rabbitmq => "stop and purge the service, delete the data that it made",
        }
    }

    fn prints(self) -> &'static [Footprint] {
        match self {
            Self::OfflineSources => offline_sources::PRINTS,
            Self::KubeEngine => kube::ENGINE_PRINTS,
            Self::SeedImages => &[],
            Self::SyncTime => sync_time::PRINTS,
            Self::Kubernetes => kube::CLUSTER_PRINTS,
            Self::Cassandra => cassandra::PRINTS,
            Self::Elasticsearch => elasticsearch::PRINTS,
            Self::Minio => minio::PRINTS,
            Self::Postgresql => postgresql::PRINTS,
            Self::RabbitmqDns => rabbitmq::DNS_PRINTS,
            Self::Rabbitmq => rabbitmq::PRINTS,
        }
    }

    /// How the copies of replaced files are called on the machines.
    fn kept(self) -> &'static str {
        match self {
            Self::OfflineSources => "offline-sources",
            Self::KubeEngine => "kube-engine",
            Self::SeedImages => "seed-images",
            Self::SyncTime => "sync-time",
            Self::Kubernetes => "kubernetes",
            Self::Cassandra => "cassandra",
            Self::Elasticsearch => "elasticsearch",
            Self::Minio => "minio",
            Self::Postgresql => "postgresql",
            Self::RabbitmqDns => "rabbitmq-dns",
            Self::Rabbitmq => "rabbitmq",
        }
    }

    /// Variables that it is called with, besides those of the inventory. `apt` are the options of the `deb` line of the
    /// release's repository.
    pub(crate) fn vars(self, apt: &str) -> Option<Value> {
        match self {
            Self::OfflineSources => offline_sources::vars(apt),
            _ => None,
        }
    }

    /// What of its effect is there, and what is not. `apt` as in [`Play::vars`].
    pub(crate) async fn look(
        self,
        sh: Shell<'_>,
        site: &Site,
        apt: &str,
    ) -> Result<Found, Failure> {
        let question = format!("{self:?} {:?}", self.vars(apt));
        sh.cx.once(&question, self.found(sh, site, apt)).await
    }

    async fn found(self, sh: Shell<'_>, site: &Site, apt: &str) -> Result<Found, Failure> {
        match self {
            Self::OfflineSources => offline_sources::look(sh, site, apt).await,
            Self::KubeEngine => kube::look_engine(sh, site).await,
            Self::SeedImages => images::look(sh, site).await,
            Self::SyncTime => sync_time::look(sh, site).await,
            Self::Kubernetes => kube::look_cluster(sh, site).await,
            Self::Cassandra => cassandra::look(sh, site).await,
            Self::Elasticsearch => elasticsearch::look(sh, site).await,
            Self::Minio => minio::look(sh, site).await,
            Self::Postgresql => postgresql::look(sh, site).await,
            Self::RabbitmqDns => rabbitmq::look_names(sh, site).await,
            Self::Rabbitmq => rabbitmq::look(sh, site).await,
        }
    }

    /// Records what undo will restore.
    pub(crate) async fn capture(self, sh: Shell<'_>, site: &Site) -> Result<Value, Failure> {
        let mut image = Image {
            hosts: footprint::capture(sh, site, self.prints(), self.kept()).await?,
            ..Image::default()
        };
        match self {
            Self::Kubernetes => {
                let path = kube::admin_conf(&site.toolbox);
                image.config = sh.stat(&path).await?.is_some();
                image.artifacts = sh.stat(parent(&path)).await?.is_some();
            }
            Self::SeedImages => {
                for host in site.of(Role::Kubenode) {
                    let held = images::held(sh, site, host).await?;
                    image.images.insert(host.name.clone(), held);
                }
            }
            Self::Postgresql => image.secrets = kube::secrets(sh, &site.toolbox).await?,
            _ => {}
        }
        image.write()
    }

    /// Before the playbook runs: prepares the machines, refuses where it would do harm. `false` when there is nothing left
    /// for it to do but [`Play::finish`].
    pub(crate) async fn ready(
        self,
        sh: Shell<'_>,
        site: &Site,
        apt: &str,
        image: &Value,
    ) -> Result<bool, Failure> {
        let image = Image::read(image)?;
        match self {
            Self::OfflineSources => {
                return offline_sources::ready(sh, site, apt, &image.hosts).await;
            }
            Self::Postgresql => return postgresql::ready(sh, site, &image.hosts).await,
            _ => {}
        }
        if self.look(sh, site, apt).await?.whole() {
            return Ok(false);
        }
        for print in self.prints() {
            footprint::keep(sh, site, print, self.kept(), &image.hosts).await?;
        }
        Ok(true)
    }

    /// After the playbook: mends what it leaves unfinished.
    pub(crate) async fn finish(self, sh: Shell<'_>, site: &Site) -> Result<(), Failure> {
        match self {
            Self::OfflineSources => offline_sources::finish(sh, site).await,
            _ => Ok(()),
        }
    }

    /// A playbook that undo runs first, and what it is called with, as long as there is anything for it to do.
    pub(crate) async fn reset(
        self,
        sh: Shell<'_>,
        site: &Site,
        image: &Value,
    ) -> Result<Option<(&'static str, &'static [&'static str])>, Failure> {
        let (path, args) = match self {
            Self::KubeEngine => ("/etc/containerd", kube::RESET_ALL),
            Self::Kubernetes => ("/etc/kubernetes", kube::RESET_CLUSTER),
            _ => return Ok(None),
        };
        let had = Image::read(image)?.hosts;
        if had.values().any(|had| had.path(path)) {
            return Ok(None);
        }
        let book = kube::reset(sh, site, path).await?;
        Ok(book.map(|book| (book, args)))
    }

    /// Takes its effect back, after [`Play::reset`].
    pub(crate) async fn undo(
        self,
        sh: Shell<'_>,
        site: &Site,
        image: &Value,
    ) -> Result<(), Failure> {
        let image = Image::read(image)?;
        match self {
            Self::SeedImages => images::unseed(sh, site, &image.images).await?,
            Self::Postgresql => kube::forget_secrets(sh, &site.toolbox, &image.secrets).await?,
            _ => {}
        }
        footprint::undo(sh, site, self.prints(), self.kept(), &image.hosts).await?;
        if self == Self::Kubernetes {
            let path = kube::admin_conf(&site.toolbox);
            if !image.config && sh.stat(&path).await?.is_some() {
                sh.remove(&path, true).await?;
            }
            if !image.artifacts && sh.stat(parent(&path)).await?.is_some() {
                sh.run(&Cmd::new(["rmdir", "--", parent(&path)]).root())
                    .await?;
            }
        }
        Ok(())
    }
}

/// The directory that holds a path.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(dir, _)| dir)
}

/// What a play remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Image {
    /// What the machines had.
    hosts: Before,
    /// Whether the cluster's kubeconfig was there, and its directory.
    config: bool,
    artifacts: bool,
    /// Names of the secrets that `PostgreSQL`'s playbook would make.
    secrets: Vec<String>,
    /// References of images by node.
    images: BTreeMap<String, BTreeSet<String>>,
}

impl Image {
    fn write(&self) -> Result<Value, Failure> {
        serde_json::to_value(self)
            .map_err(|error| Failure::clean(format!("the before-image cannot be written: {error}")))
    }

    fn read(value: &Value) -> Result<Self, Failure> {
        if value.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(value).map_err(|error| {
            Failure::clean(format!("the before-image cannot be read: {error}")).ask()
        })
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
