//! `calling.checked/1`: calls arrive where the calling services are, under the address that they tell.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::tool::Toolbox;
use super::super::{Act, bound, only_looked};
use super::KubeNode;
use crate::certs::{NAMESPACE, parse_utc};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Output};
use crate::kind::{About, Kind};

/// Under this mark a node tells the calling services their public address.
const MARK: &str = "wire.com/external-ip";

/// The calling services and the way to them agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallingChecked {
    /// Where kubectl runs.
    pub toolbox: Toolbox,
    /// The node, with the address that the firewall forwards calls to.
    pub node: KubeNode,
    /// The public address.
    pub host_ip: String,
}

fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The node's address in the cluster.
fn internal_ip(node: &Value) -> &str {
    let list = node.pointer("/status/addresses").and_then(Value::as_array);
    let mut list = list.into_iter().flatten();
    let own = list.find(|one| text(one, "/type") == "InternalIP");
    own.map_or("", |own| text(own, "/address"))
}

/// When the mark was set last, as far as the server remembers.
fn marked_ms(node: &Value) -> Option<u64> {
    let fields = node.pointer("/metadata/managedFields")?.as_array()?;
    let sets = |entry: &&Value| {
        let marks = entry.pointer("/fieldsV1/f:metadata/f:annotations");
        marks.is_some_and(|marks| marks.get(format!("f:{MARK}")).is_some())
    };
    let times = fields
        .iter()
        .filter(sets)
        .filter_map(|entry| parse_utc(text(entry, "/time")));
    times.max()
}

/// Names of pods that started before that time.
fn older(pods: &Value, than_ms: u64) -> Vec<&str> {
    let items = pods.get("items").and_then(Value::as_array);
    let started = |pod: &&Value| parse_utc(text(pod, "/status/startTime"));
    items
        .into_iter()
        .flatten()
        .filter(|pod| started(pod).is_some_and(|at_ms| at_ms < than_ms))
        .map(|pod| text(pod, "/metadata/name"))
        .collect()
}

impl CallingChecked {
    async fn json(&self, sh: Shell<'_>, argv: &[&str]) -> Result<Option<Value>, Failure> {
        let output = sh.probe(&self.toolbox.kubectl(argv)?).await?;
        let output = output.filter(Output::ok);
        Ok(output.and_then(|output| serde_json::from_slice(&output.stdout).ok()))
    }

    /// Looks once; the inner error is what does not agree.
    async fn look(&self, sh: Shell<'_>) -> Result<Result<Receipt, Failure>, Failure> {
        let (name, ip) = (&self.node.name, self.node.ip()?);
        let argv = ["get", "node", name, "--show-managed-fields", "-o", "json"];
        let Some(node) = self.json(sh, &argv).await? else {
            return Ok(Err(Failure::clean(format!(
                "the cluster has no node {name}"
            ))
            .hint("set `calling_node` in [traffic] to one of `kubectl get nodes`, then run `wiab apply`")
            .code("calling.no-node")));
        };
        let found = internal_ip(&node);
        if found != ip {
            return Ok(Err(Failure::clean(format!(
                "calls are forwarded to {ip}, but {name} has the address {found} in the cluster"
            ))
            .hint("`wiab apply` looks at the firewall again (step fw.apply)")
            .code("calling.node")));
        }
        let mark = node
            .pointer("/metadata/annotations")
            .and_then(|marks| marks.get(MARK)?.as_str());
        if mark != Some(&self.host_ip) {
            let found = mark.unwrap_or("nothing");
            return Ok(Err(Failure::clean(format!(
                "{name} tells the calling services the address {found}, not {}: calls would connect without sound",
                self.host_ip
            ))
            .hint(format!(
                "kubectl annotate node {name} {MARK}={} --overwrite; then kubectl delete pod -n {NAMESPACE} -l app=sftd, and `wiab apply --resume`",
                self.host_ip
            ))
            .code("calling.mark")));
        }
        let pods = [
            "get", "pods", "-n", NAMESPACE, "-l", "app=sftd", "-o", "json",
        ];
        let pods = self.json(sh, &pods).await?.unwrap_or_default();
        let stale = marked_ms(&node)
            .map(|at_ms| older(&pods, at_ms))
            .unwrap_or_default();
        if let [pod, ..] = stale.as_slice() {
            return Ok(Err(Failure::clean(format!(
                "{pod} started before {name} got the address {}, and reads it only at its start: calls would connect without sound",
                self.host_ip
            ))
            .hint(format!("kubectl delete pod -n {NAMESPACE} {pod}; then `wiab apply --resume`"))
            .code("calling.stale")));
        }
        let local = self.is_local(sh).await?;
        let said = if local {
            format!("{name} at {ip}, public address {}", self.host_ip)
        } else {
            format!(
                "{name} at {ip}; {} is no address of this host: the router in front must forward TCP and UDP 3478 and UDP 32768-65535",
                self.host_ip
            )
        };
        Ok(Ok(Receipt::note(said)))
    }

    async fn is_local(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        let output = sh.ok(&Cmd::new(["ip", "-j", "addr"])).await?;
        let quoted = format!("\"{}\"", self.host_ip);
        Ok(output.text().contains(&quoted))
    }
}

impl Kind for CallingChecked {
    const NAME: &'static str = "calling.checked/1";
    const ABOUT: About = About {
        purpose: "Calls have sound: the firewall, the node and the calling services mean the same addresses.",
        probe: "Compares the node's address with the firewall's target, its mark with the public address, and the start of the SFT \
                pods with the time of the mark.",
        effect: "The same; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check that calls reach {}", self.node.name)
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CallingChecked {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let unknown = self.toolbox.image.get().is_none() || self.toolbox.tree.get().is_none();
        if unknown || self.node.ip.get().is_none() {
            return Ok(Probe::Absent);
        }
        Ok(match self.look(sh).await? {
            Ok(receipt) => Probe::Satisfied(receipt),
            Err(failure) => Probe::Unknown { why: failure.why },
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        self.look(sh)
            .await
            .and_then(|found| found)
            .map_err(only_looked)
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}
