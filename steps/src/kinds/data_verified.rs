//! `data.verified/1`: waits until a data service is whole, before anything is built on it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::patience::Patience;
use super::plays::look::Found;
use super::plays::{Play, Role, Site};
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Pace};

const POLL_MS: u64 = 5_000;

/// A service of the data nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataService {
    /// All nodes up, one schema version.
    Cassandra,
    /// All nodes in one cluster, at least yellow.
    Elasticsearch,
    /// Both servers of every node live, a quorum, Wire's buckets.
    Minio,
    /// One primary, all replicas stream.
    Postgresql,
    /// All nodes run in one cluster.
    Rabbitmq,
}

impl DataService {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Cassandra,
        Self::Elasticsearch,
        Self::Minio,
        Self::Postgresql,
        Self::Rabbitmq,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cassandra => "Cassandra",
            Self::Elasticsearch => "Elasticsearch",
            Self::Minio => "MinIO",
            Self::Postgresql => "PostgreSQL",
            Self::Rabbitmq => "RabbitMQ",
        }
    }

    fn play(self) -> Play {
        match self {
            Self::Cassandra => Play::Cassandra,
            Self::Elasticsearch => Play::Elasticsearch,
            Self::Minio => Play::Minio,
            Self::Postgresql => Play::Postgresql,
            Self::Rabbitmq => Play::Rabbitmq,
        }
    }

    /// What tells more on a data node.
    fn clue(self) -> &'static str {
        match self {
            Self::Cassandra => {
                "`nodetool status` and `nodetool describecluster`; a node that is down: `systemctl status cassandra`. Two schema versions must be one before wire-server is tried again"
            }
            Self::Elasticsearch => {
                "`journalctl -u elasticsearch` and curl http://<address>:9200/_cluster/health"
            }
            Self::Minio => "`systemctl status minio-server1 minio-server2`",
            Self::Postgresql => {
                "`sudo -u postgres repmgr -f /etc/repmgr/17-main/repmgr.conf cluster show`"
            }
            Self::Rabbitmq => {
                "`rabbitmqctl cluster_status`, and whether /etc/hosts names the other nodes (step `rmq.dns`)"
            }
        }
    }
}

/// A data service that shall be whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataVerified {
    /// The machines.
    pub site: Site,
    /// Which service.
    pub service: DataService,
    /// How long to wait, in milliseconds.
    pub deadline_ms: u64,
}

impl DataVerified {
    async fn look(&self, sh: Shell<'_>) -> Result<Found, Failure> {
        self.service.play().look(sh, &self.site, "").await
    }
}

impl Kind for DataVerified {
    const NAME: &'static str = "data.verified/1";
    const ABOUT: About = About {
        purpose: "Migrations start only on a service that is whole.",
        probe: "Asks every data node in the service's own way.",
        effect: "Asks every five seconds until the deadline; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        let nodes = self.site.of(Role::Datanode).count();
        format!("wait for {} on {nodes} nodes", self.service.name())
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::NEVER,
            timeout_ms: self.deadline_ms.saturating_add(300_000),
            usual_ms: 5_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for DataVerified {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let found = self.look(sh).await?;
        Ok(if found.whole() {
            Probe::Satisfied(Receipt::note(found.note()))
        } else {
            Probe::Absent
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        let mut patience = Patience::new(sh, self.deadline_ms, POLL_MS);
        loop {
            let found = self.look(sh).await?;
            if found.whole() {
                return Ok(Receipt::note(found.note()));
            }
            let missing = found.missing.join(", ");
            patience.show(&missing);
            if !patience.rest().await {
                return Err(Failure::clean(format!(
                    "{} is not whole after {} s: {missing}",
                    self.service.name(),
                    self.deadline_ms / 1_000
                ))
                .hint(format!(
                    "on a data node: {}; then `wiab apply --resume`",
                    self.service.clue()
                ))
                .code("cluster.data-not-whole"));
            }
        }
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}
