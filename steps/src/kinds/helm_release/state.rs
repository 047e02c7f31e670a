//! What helm knows about a release.

use serde::Deserialize;
use serde_json::{Map, Value};
use wiab_engine::outcome::Failure;

use super::super::tool::Toolbox;
use crate::host::Output;
use crate::host::shell::Shell;

/// One revision, as `helm history -o json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Revision {
    #[serde(rename = "revision")]
    pub(super) number: u64,
    pub(super) status: String,
    pub(super) chart: String,
    #[serde(default)]
    pub(super) description: String,
}

/// The revisions of a release, oldest first; empty if there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History(Vec<Revision>);

impl History {
    /// Looks; `None` while there is no cluster to ask, or no tool.
    pub(super) async fn look(
        sh: Shell<'_>,
        tools: &Toolbox,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Self>, Failure> {
        // Before the image or the release are known there is nothing to ask with.
        let Ok(cmd) = tools.helm(&["history", name, "-n", namespace, "-o", "json"]) else {
            return Ok(None);
        };
        let Some(output) = sh.probe(&cmd).await? else {
            return Ok(None);
        };
        if output.ok() {
            return Self::parse(&output.stdout).map(Some);
        }
        let said = output.error_text();
        if said.contains("release: not found") {
            return Ok(Some(Self::default()));
        }
        if no_cluster(&output) {
            return Ok(None);
        }
        Err(refused("helm history", &output))
    }

    /// The same where a cluster must be.
    pub(super) async fn read(
        sh: Shell<'_>,
        tools: &Toolbox,
        namespace: &str,
        name: &str,
    ) -> Result<Self, Failure> {
        let found = Self::look(sh, tools, namespace, name).await?;
        found.ok_or_else(unreachable)
    }

    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let mut all: Vec<Revision> = serde_json::from_slice(text).map_err(|error| {
            Failure::dirty(format!("helm's history has an unknown form: {error}"))
        })?;
        all.sort_by_key(|revision| revision.number);
        Ok(Self::of(all))
    }

    /// Revisions in their order.
    pub(super) fn of(revisions: Vec<Revision>) -> Self {
        Self(revisions)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn last(&self) -> Option<&Revision> {
        self.0.last()
    }

    /// The chart of the newest revision with its version.
    pub(super) fn chart(&self) -> &str {
        self.last().map_or("", |last| &last.chart)
    }

    /// Number of the revision that is deployed, also under a newer one that is not finished.
    pub(super) fn deployed(&self) -> Option<u64> {
        let mut newest_first = self.0.iter().rev();
        newest_first
            .find(|revision| revision.status == "deployed")
            .map(|revision| revision.number)
    }

    pub(super) fn pending(&self) -> bool {
        self.last()
            .is_some_and(|last| last.status.starts_with("pending-"))
    }

    /// Why the release is not complete.
    pub(super) fn unfinished(&self) -> Option<String> {
        let last = self.last()?;
        match last.status.as_str() {
            "deployed" => None,
            "failed" => Some(format!("revision {} has failed", last.number)),
            status => Some(format!("revision {} was left {status}", last.number)),
        }
    }

    /// Whether the newest revision is that of this number, or one that was rolled back to it.
    pub(super) fn stands_at(&self, revision: u64) -> bool {
        self.last().is_some_and(|last| {
            let same =
                last.number == revision || last.description == format!("Rollback to {revision}");
            last.status == "deployed" && same
        })
    }
}

/// The cluster is there, and says nothing.
pub(super) fn unreachable() -> Failure {
    Failure::dirty("the cluster does not answer")
        .retry()
        .code("kube.unreachable")
        .hint("start the VM kubenode1 and look at its kube-apiserver; then wiab apply --resume")
}

/// Whether a tool in the container could not reach a cluster, or the container could not start.
pub(super) fn no_cluster(output: &Output) -> bool {
    let said = output.error_text();
    matches!(output.code, 125..=127)
        || [
            "cluster unreachable",
            "was refused - did you specify",
            "Unable to connect to the server",
        ]
        .iter()
        .any(|sign| said.contains(sign))
}

/// A tool that answers with something else than an answer.
pub(super) fn refused(what: &str, output: &Output) -> Failure {
    let said = output.error_text();
    let last = said.lines().next_back().unwrap_or("it said nothing");
    Failure::dirty(format!("`{what}` ended with {}: {last}", output.code))
}

/// The values that the user gave. They hold secrets.
pub(super) async fn values(
    sh: Shell<'_>,
    tools: &Toolbox,
    namespace: &str,
    name: &str,
) -> Result<Value, Failure> {
    let cmd = tools.helm(&["get", "values", name, "-n", namespace, "-o", "json"])?;
    let output = sh.secret(&cmd).await?.unwrap_or_default();
    if !output.ok() {
        return Err(refused("helm get values", &output));
    }
    let values: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| Failure::dirty("helm's values have an unknown form"))?;
    Ok(match values {
        Value::Null => Value::Object(Map::new()),
        values => values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(rows: &[(u64, &str, &str)]) -> History {
        let rows = rows.iter().map(|(revision, status, description)| Revision {
            number: *revision,
            status: (*status).to_owned(),
            chart: "x-1".to_owned(),
            description: (*description).to_owned(),
        });
        History(rows.collect())
    }

    #[test]
    fn where_a_release_stands() {
        let upgraded = history(&[
            (1, "superseded", ""),
            (2, "deployed", "Upgrade complete"),
            (3, "pending-upgrade", ""),
        ]);
        assert!(upgraded.pending());
        assert_eq!(upgraded.deployed(), Some(2));
        assert!(!upgraded.stands_at(2));
        let back = history(&[
            (1, "superseded", ""),
            (2, "superseded", ""),
            (3, "deployed", "Rollback to 1"),
        ]);
        assert!(back.stands_at(1) && back.stands_at(3) && !back.stands_at(2));
        assert_eq!(history(&[(1, "failed", "")]).deployed(), None);
        assert_eq!(History::default().unfinished(), None);
    }
}
