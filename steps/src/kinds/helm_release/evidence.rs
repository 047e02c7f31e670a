//! What is known about a release that did not come up.

use serde_json::Value;

use super::HelmRelease;
use super::pods::{Pods, Sick, distinct};
use crate::host::Output;
use crate::host::shell::Shell;

/// Most failing containers that are looked into.
const SICK_MAX: usize = 3;
/// Most lines of a container's log.
const LOG_LINES: &str = "30";
/// Most bytes of a container's log that are judged.
const LOG_BYTES_MAX: usize = 16 << 10;
/// Most events of a pod.
const EVENTS_MAX: usize = 5;

/// A failing container with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) sick: Sick,
    /// What the cluster noted about its pod, newest last.
    pub(super) events: Vec<String>,
    /// Its last lines, of the run before if it was started again.
    pub(super) log: String,
}

/// Everything that a judgement is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// What helm said; empty when it was stopped.
    pub(super) helm: String,
    pub(super) cases: Vec<Case>,
    /// What is not ready, in one sentence.
    pub(super) waiting: String,
    /// Services that wait for a load balancer.
    pub(super) balanced: Vec<String>,
}

impl Evidence {
    /// Asks the cluster. What it does not answer is left out: the failure is reported all the same.
    pub(super) async fn gather(
        sh: Shell<'_>,
        release: &HelmRelease,
        output: Option<&Output>,
    ) -> Self {
        let mut evidence = Self {
            helm: output.map_or_else(String::new, |output| {
                format!("{}{}", output.text(), output.error_text())
            }),
            ..Self::default()
        };
        let pods = Pods::look(sh, &release.tools, &release.namespace, release.name()).await;
        let Ok(Some(pods)) = pods else {
            return evidence;
        };
        for sick in distinct(&pods.sick, SICK_MAX) {
            evidence.cases.push(Case {
                sick: sick.clone(),
                events: events(sh, release, sick).await,
                log: log(sh, release, sick).await,
            });
        }
        evidence.waiting = pods.waiting();
        evidence.balanced = pods.balanced;
        evidence
    }
}

async fn ask(sh: Shell<'_>, release: &HelmRelease, args: &[&str]) -> Option<Output> {
    let cmd = release.tools.kubectl(args).ok()?;
    let output = sh.run(&cmd).await.ok()?;
    output.ok().then_some(output)
}

async fn events(sh: Shell<'_>, release: &HelmRelease, sick: &Sick) -> Vec<String> {
    let field = format!("involvedObject.name={}", sick.pod);
    let args = [
        "get",
        "events",
        "-n",
        &release.namespace,
        "--field-selector",
        &field,
        "-o",
        "json",
    ];
    let output = ask(sh, release, &args).await.unwrap_or_default();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let items = list
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let warnings = items.filter(|item| item.get("type").and_then(Value::as_str) == Some("Warning"));
    let mut all: Vec<String> = warnings
        .filter_map(|item| item.get("message")?.as_str().map(str::to_owned))
        .collect();
    let old = all.len().saturating_sub(EVENTS_MAX);
    all.drain(..old);
    all
}

async fn log(sh: Shell<'_>, release: &HelmRelease, sick: &Sick) -> String {
    if sick.container.is_empty() || sick.reason.contains("Image") {
        return String::new();
    }
    let mut args = vec![
        "logs",
        &sick.pod,
        "-n",
        &release.namespace,
        "-c",
        &sick.container,
        "--tail",
        LOG_LINES,
    ];
    if sick.restarts > 0 {
        args.push("--previous");
    }
    let mut output = ask(sh, release, &args).await;
    if output.is_none() && args.pop() == Some("--previous") {
        output = ask(sh, release, &args).await;
    }
    let text = output.map_or_else(String::new, |output| output.text());
    let from = text.len().saturating_sub(LOG_BYTES_MAX);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    from.and_then(|at| text.get(at..))
        .unwrap_or_default()
        .to_owned()
}
