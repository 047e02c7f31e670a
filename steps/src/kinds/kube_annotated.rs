//! `kube.annotated/1`: an annotation of a node that pods read when they start; those that run with another value start anew.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::tool::Toolbox;
use super::{Act, bound, known};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Pace};
use crate::values::NodeName;

/// On a node whose pods have not been started anew yet. Goes when they have.
const STALE: &str = "wiab.internal/restart-due";
/// How long pods may take to start anew.
const RESTART: &str = "180s";
const RESTART_MS: u64 = 190_000;

/// An annotation of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubeAnnotated {
    /// Where kubectl runs.
    pub tools: Toolbox,
    /// The node.
    pub node: NodeName,
    /// The node's address inside the cluster, to which the host forwards calls. Another node than that one would get none.
    pub ip: Input<Ipv4Addr>,
    /// Name of the annotation: `wire.com/external-ip`.
    pub name: String,
    /// Its value.
    pub value: Input<Ipv4Addr>,
    /// The `StatefulSet` whose pods read it at their start, in the namespace `default`; none is fine.
    pub reader: String,
}

/// What the node had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    value: Option<String>,
}

fn annotation(node: &Value, name: &str) -> Option<String> {
    let all = node.pointer("/metadata/annotations")?;
    all.get(name)?.as_str().map(str::to_owned)
}

/// The address of a node inside the cluster.
pub(crate) fn internal_ip(node: &Value) -> Option<Ipv4Addr> {
    let all = node.pointer("/status/addresses")?.as_array()?;
    let is_internal = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("InternalIP");
    let mut internal = all.iter().filter(is_internal);
    internal.find_map(|one| one.get("address")?.as_str()?.parse().ok())
}

/// Refuses a node that is not the one to which calls are forwarded: everything but calls would work.
pub(crate) fn check_calling_node(
    node: &Value,
    name: &NodeName,
    target: Ipv4Addr,
) -> Result<(), Failure> {
    match internal_ip(node) {
        Some(ip) if ip == target => Ok(()),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |ip| ip.to_string());
            Err(Failure::clean(format!(
                "calls are forwarded to {target}, but node {name}, on which the calling services run, has the address {found}"
            ))
            .code("calling.node")
            .hint("set charts.calling_node to the node that has this address; then wiab apply --resume"))
        }
    }
}

impl KubeAnnotated {
    /// The node; `None` while there is no cluster, or no such node in it.
    async fn node(&self, sh: Shell<'_>) -> Result<Option<Value>, Failure> {
        let args = ["get", "node", self.node.as_str(), "-o", "json"];
        let Ok(cmd) = self.tools.kubectl(&args) else {
            return Ok(None);
        };
        let output = sh.probe(&cmd).await?.filter(crate::host::Output::ok);
        Ok(output.and_then(|output| serde_json::from_slice(&output.stdout).ok()))
    }

    /// Sets or removes the annotation, and has its readers started anew. What was begun is seen by the mark.
    async fn set(&self, sh: Shell<'_>, value: Option<&str>) -> Result<(), Failure> {
        let node = self.node(sh).await?;
        let found = node.as_ref().and_then(|node| annotation(node, &self.name));
        let stale = node
            .as_ref()
            .is_some_and(|node| annotation(node, STALE).is_some());
        if found.as_deref() == value && !stale {
            return Ok(());
        }
        let change = match value {
            Some(value) => format!("{}={value}", self.name),
            None => format!("{}-", self.name),
        };
        let mark = format!("{STALE}=true");
        self.annotate(sh, &[&change, &mark]).await?;
        self.restart(sh).await?;
        self.annotate(sh, &[&format!("{STALE}-")]).await
    }

    async fn annotate(&self, sh: Shell<'_>, changes: &[&str]) -> Result<(), Failure> {
        let args = [
            &["annotate", "node", self.node.as_str(), "--overwrite"],
            changes,
        ]
        .concat();
        sh.ok(&self.tools.kubectl(&args)?).await?;
        Ok(())
    }

    /// Starts the readers anew, if there are any.
    async fn restart(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let reader = self.reader.as_str();
        let args = [
            "get",
            "statefulset",
            reader,
            "-n",
            "default",
            "--ignore-not-found",
            "-o",
            "json",
        ];
        let output = sh.ok(&self.tools.kubectl(&args)?).await?;
        let set: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let labels = set
            .pointer("/spec/selector/matchLabels")
            .and_then(Value::as_object);
        let terms = labels.into_iter().flatten();
        let terms: Vec<String> = terms
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
            .collect();
        if terms.is_empty() {
            return Ok(());
        }
        let selector = terms.join(",");
        sh.ok(&self
            .tools
            .kubectl(&["delete", "pod", "-n", "default", "-l", &selector])?
            .timeout_ms(RESTART_MS))
            .await?;
        let reader = format!("statefulset/{reader}");
        let args = [
            "rollout",
            "status",
            &reader,
            "-n",
            "default",
            "--timeout",
            RESTART,
        ];
        let done = sh
            .run(&self.tools.kubectl(&args)?.timeout_ms(RESTART_MS))
            .await?;
        if done.ok() {
            return Ok(());
        }
        Err(Failure::dirty(format!(
            "{reader} did not come up again within {RESTART} after its node got another annotation"
        ))
        .code("kube.restart")
        .hint("look at its pods: kubectl get pods,events; then wiab apply --resume"))
    }

    async fn checked(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let Some(node) = self.node(sh).await? else {
            return Err(Failure::clean(format!("the cluster has no node {}", self.node))
                .code("calling.node")
                .hint("set charts.calling_node to one of `kubectl get nodes`; then wiab apply --resume"));
        };
        check_calling_node(&node, &self.node, *known(&self.ip, "ip")?)
    }
}

impl Kind for KubeAnnotated {
    const NAME: &'static str = "kube.annotated/1";
    const ABOUT: About = About {
        purpose: "The calling services learn the public address from their node.",
        probe: "Compares the node's annotation, and whether pods still wait to be started anew.",
        effect: "Checks that the node is the one to which calls are forwarded, sets the annotation, and starts pods anew that read the old one.",
        undo: "Restores or removes the annotation, and starts its readers anew.",
    };

    fn summary(&self) -> String {
        format!("annotate node {} with {}", self.node, self.name)
    }

    fn undo_summary(&self) -> String {
        format!(
            "restore or remove annotation {} of node {}",
            self.name, self.node
        )
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::NEVER,
            timeout_ms: 2 * RESTART_MS + 60_000,
            usual_ms: 2_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for KubeAnnotated {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let (Some(node), Some(wanted)) = (self.node(sh).await?, self.value.get()) else {
            return Ok(Probe::Absent);
        };
        let wanted = wanted.to_string();
        if annotation(&node, STALE).is_some() {
            let what = "its pods were not started anew yet".to_owned();
            return Ok(Probe::Partial { what });
        }
        Ok(match annotation(&node, &self.name) {
            Some(found) if found == wanted => Probe::Satisfied(Receipt::default()),
            Some(found) => Probe::Drifted {
                diff: format!("- {found}\n+ {wanted}"),
            },
            None => Probe::Absent,
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let node = self.node(sh).await?;
        Ok(Image {
            value: node.and_then(|node| annotation(&node, &self.name)),
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        self.checked(sh).await?;
        let value = known(&self.value, "value")?.to_string();
        self.set(sh, Some(&value)).await?;
        Ok(Receipt::default())
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        self.set(sh, image.value.as_deref()).await
    }
}
