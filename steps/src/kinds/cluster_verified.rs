//! `cluster.verified/1`: waits until the cluster can be used: nodes, name service, network, etcd.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::patience::Patience;
use super::plays::kube::{judge_nodes, list, wanted_version};
use super::plays::look::{Found, ask, question};
use super::plays::{Role, Site};
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Out, Pace};

const POLL_MS: u64 = 5_000;

/// A cluster that shall be usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterVerified {
    /// The machines.
    pub site: Site,
    /// How long to wait, in milliseconds.
    pub deadline_ms: u64,
}

/// Whether as many are ready as wanted, and how many that is.
fn counts(object: &Value, wanted: &str, ready: &str) -> (u64, u64) {
    let count = |path: &str| object.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    (count(ready), count(wanted))
}

impl ClusterVerified {
    /// Output: version of Kubernetes on the nodes.
    pub const VERSION: Out<Self> = Out::new("version");

    async fn look(&self, sh: Shell<'_>) -> Result<Found, Failure> {
        let mut found = Found::default();
        let toolbox = &self.site.toolbox;
        let Some(nodes) = list(sh, toolbox, &["nodes"]).await? else {
            found
                .missing
                .push("the API server does not answer".to_owned());
            return Ok(found);
        };
        let names: Vec<&str> = self
            .site
            .of(Role::Kubenode)
            .map(|host| host.name.as_str())
            .collect();
        let wanted = wanted_version(sh, toolbox).await?;
        judge_nodes(&nodes, &names, wanted.as_deref(), &mut found);
        let system = ["-n", "kube-system"];
        let dns = [&system[..], &["deployment", "coredns"]].concat();
        let dns = list(sh, toolbox, &dns).await?.unwrap_or_default();
        let (ready, want) = counts(&dns, "/status/replicas", "/status/readyReplicas");
        found.part(
            ready > 0 && ready >= want,
            "coredns",
            format!("coredns: {ready} of {want} pods are ready"),
        );
        let calico = [&system[..], &["daemonset", "calico-node"]].concat();
        let calico = list(sh, toolbox, &calico).await?.unwrap_or_default();
        let (ready, want) = counts(
            &calico,
            "/status/desiredNumberScheduled",
            "/status/numberReady",
        );
        let all = usize::try_from(ready).is_ok_and(|ready| ready == names.len());
        found.part(
            all && ready == want,
            "calico",
            format!("calico-node: ready on {ready} of {} nodes", names.len()),
        );
        self.etcd(sh, &mut found).await?;
        Ok(found)
    }

    /// Every member of etcd, asked on the first node with that node's certificate.
    async fn etcd(&self, sh: Shell<'_>, found: &mut Found) -> Result<(), Failure> {
        let Some(host) = self.site.of(Role::Kubenode).next() else {
            return Ok(());
        };
        let dir = "/etc/ssl/etcd/ssl";
        let (cert, key) = (
            format!("{dir}/admin-{}.pem", host.name),
            format!("{dir}/admin-{}-key.pem", host.name),
        );
        let ca = format!("{dir}/ca.pem");
        let argv = [
            "env",
            "ETCDCTL_API=3",
            "/usr/local/bin/etcdctl",
            "--endpoints",
            "https://127.0.0.1:2379",
            "--cacert",
            &ca,
            "--cert",
            &cert,
            "--key",
            &key,
            "endpoint",
            "health",
            "--cluster",
        ];
        let told = ask(sh, &self.site, host, &[question("etcd", &argv)]).await?;
        if !found.silent(host, &told) {
            found.part(
                told.yes("etcd"),
                "etcd",
                "etcd: not every member is healthy",
            );
        }
        Ok(())
    }

    fn receipt(found: &Found) -> Receipt {
        let version = found.notes.first().cloned().unwrap_or_default();
        Receipt::note(format!("{version}, coredns, calico and etcd are ready"))
            .with("version", version)
    }
}

impl Kind for ClusterVerified {
    const NAME: &'static str = "cluster.verified/1";
    const ABOUT: About = About {
        purpose: "Charts find a cluster that works, not one that is still coming up.",
        probe: "Asks the API server for nodes, coredns and calico, and etcd for its members.",
        effect: "Asks every five seconds until the deadline; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        "wait for the Kubernetes cluster".to_owned()
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
            timeout_ms: self.deadline_ms.saturating_add(120_000),
            usual_ms: 20_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ClusterVerified {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let found = self.look(sh).await?;
        Ok(if found.whole() {
            Probe::Satisfied(Self::receipt(&found))
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
                return Ok(Self::receipt(&found));
            }
            let missing = found.missing.join(", ");
            patience.show(&missing);
            if !patience.rest().await {
                return Err(Failure::clean(format!(
                    "the cluster is not usable after {} s: {missing}",
                    self.deadline_ms / 1_000
                ))
                .hint("look at its pods: kubectl -n kube-system get pods -o wide; `journalctl -u kubelet` on a node tells why it is not ready. Then `wiab apply --resume`")
                .code("cluster.not-ready"));
            }
        }
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}
