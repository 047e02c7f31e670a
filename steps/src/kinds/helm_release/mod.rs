//! `helm.release/1`: one chart of the release, installed or upgraded, watched while its pods come up.

mod classify;
mod evidence;
mod pods;
mod recover;
mod state;
mod stored;
mod wanted;

use std::pin::{Pin, pin};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::{Cancel, Step, Tick};

use super::tool::Toolbox;
use super::tool_run::{Long, tool_run};
use super::{Act, bound, only_looked};
use crate::host::shell::Shell;
use crate::host::{Host, Output};
use crate::kind::{About, Input, Kind, Pace};
use crate::release::Chart;

use evidence::Evidence;
use pods::Pods;
use state::History;

/// Between two looks at the pods, in milliseconds.
const POLL_MS: u64 = 5_000;
/// What probing and gathering evidence may take beside helm itself, in milliseconds.
const MARGIN_MS: u64 = 180_000;

/// A release of helm: a chart of the artifact with its values. Its name is the chart's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelmRelease {
    /// The chart.
    pub chart: Chart,
    /// The namespace; must exist.
    pub namespace: String,
    /// Where helm runs.
    pub tools: Toolbox,
    /// Values files below the deploy directory, each laid over the one before.
    pub values: Vec<Input<String>>,
    /// Values files with secrets, laid over the others.
    #[serde(default)]
    pub secrets: Vec<Input<String>>,
    /// How long its pods may take, in milliseconds.
    pub timeout_ms: u64,
    /// What it usually takes, in milliseconds.
    pub usual_ms: u64,
    /// Whether the way back does not wait for the pods of the revision before: they need something that is only taken back
    /// after it, such as the former password of a database.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub back_unwaited: bool,
}

/// What undo returns to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    /// The revision that was deployed; helm keeps its values.
    revision: Option<u64>,
}

/// How the run of helm ended.
enum Ended {
    By(Output),
    /// Its pods cannot become ready.
    Stopped,
}

/// What ends first while helm runs.
enum First<T> {
    Helm(T),
    Cancelled,
    Hopeless,
}

async fn first<T>(
    run: Pin<&mut impl Future<Output = T>>,
    cancel: &Cancel,
    watch: Pin<&mut impl Future<Output = ()>>,
) -> First<T> {
    tokio::select! {
        biased;
        done = run => First::Helm(done),
        () = cancel.cancelled() => First::Cancelled,
        () = watch => First::Hopeless,
    }
}

impl HelmRelease {
    fn name(&self) -> &'static str {
        self.chart.name()
    }

    fn upgrade_args(&self) -> Result<Vec<String>, Failure> {
        let mut args: Vec<String> = ["helm", "upgrade", "--install", self.name()]
            .map(str::to_owned)
            .to_vec();
        args.push(format!("{}/charts/{}", super::tool::TREE, self.name()));
        args.extend(["-n", &self.namespace, "--wait", "--timeout"].map(str::to_owned));
        args.push(format!("{}s", self.timeout_ms.div_ceil(1_000)));
        for file in self.files()? {
            args.extend(["-f".to_owned(), file.inside]);
        }
        Ok(args)
    }

    /// A long run of helm, in a container that a crash of wiab does not disturb.
    async fn long(&self, sh: Shell<'_>, label: &str, args: &[String]) -> Result<Output, Failure> {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let long = Long {
            label,
            args: &words,
            env: &[],
            timeout_ms: self.timeout_ms.saturating_add(60_000),
        };
        let output = tool_run(sh, &self.tools, &long).await?;
        // What helm did stands in its history; the next attempt asks there.
        sh.job_forget(label).await?;
        Ok(output)
    }

    /// Runs helm and looks at the pods meanwhile; stops it when they cannot become ready.
    async fn watched(&self, sh: Shell<'_>, args: &[String]) -> Result<Ended, Failure> {
        let stop = Cancel::default();
        let mut cx = sh.cx.clone();
        cx.cancel = stop.clone();
        let mut run = pin!(self.long(Shell::new(sh.host, &cx), "helm", args));
        // Both wait beside each other: the second one has a token of its own, until helm has ended.
        let second = sh.cx.clock.busy();
        let mut watch = pin!(self.watch(sh));
        let hopeless = match first(run.as_mut(), &sh.cx.cancel, watch.as_mut()).await {
            First::Helm(done) => return done.map(Ended::By),
            First::Cancelled => false,
            First::Hopeless => true,
        };
        stop.cancel();
        let ended = run.await;
        drop(second);
        // When the pods are what failed, it does not matter how helm ends.
        if hopeless {
            Ok(Ended::Stopped)
        } else {
            ended.map(Ended::By)
        }
    }

    /// Looks until a pod is beyond hope. Shows which are not ready yet.
    async fn watch(&self, sh: Shell<'_>) {
        let mut shown = String::new();
        loop {
            sh.cx.clock.sleep(POLL_MS).await;
            let Ok(Some(pods)) = Pods::look(sh, &self.tools, &self.namespace, self.name()).await
            else {
                continue;
            };
            if pods.hopeless() {
                return;
            }
            let waiting = pods.waiting();
            if waiting != shown {
                sh.cx.progress.tick(Tick::Stage(waiting.clone()));
                shown = waiting;
            }
        }
    }

    async fn history(&self, sh: Shell<'_>) -> Result<History, Failure> {
        History::read(sh, &self.tools, &self.namespace, self.name()).await
    }

    /// Whether everything is as wanted.
    async fn look(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let stored = stored::find(sh, &self.tools, &self.namespace, self.name()).await;
        let (history, values) = match stored {
            Some(stored) => (Some(stored.history), Some(stored.values)),
            None => (
                History::look(sh, &self.tools, &self.namespace, self.name()).await?,
                None,
            ),
        };
        let history = match history {
            Some(history) if !history.is_empty() => history,
            _ => return Ok(Probe::Absent),
        };
        if let Some(what) = history.unfinished() {
            return Ok(Probe::Partial { what });
        }
        let wanted = match self.wanted(sh).await {
            Ok(wanted) => wanted,
            Err(failure) => {
                let what = format!(
                    "it is deployed, but what is wanted is not known: {}",
                    failure.why
                );
                return Ok(Probe::Partial { what });
            }
        };
        let found = match values {
            Some(values) => values,
            None => state::values(sh, &self.tools, &self.namespace, self.name()).await?,
        };
        if let Some(diff) = wanted.diff(&history, &found) {
            return Ok(Probe::Drifted { diff });
        }
        let pods = Pods::look(sh, &self.tools, &self.namespace, self.name()).await?;
        match pods {
            Some(pods) if pods.ready() => Ok(Probe::Satisfied(Receipt::note(format!(
                "{}, {} workloads ready",
                wanted.chart,
                pods.workloads()
            )))),
            Some(pods) => Ok(Probe::Partial {
                what: pods.waiting(),
            }),
            None => Err(state::unreachable()),
        }
    }

    async fn failed(&self, sh: Shell<'_>, output: Option<&Output>) -> Failure {
        let evidence = Evidence::gather(sh, self, output).await;
        classify::failure(self.chart, &evidence)
    }

    async fn install(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let args = self.upgrade_args()?;
        match self.watched(sh, &args).await? {
            Ended::By(output) if output.ok() => Ok(()),
            Ended::By(output) => Err(self.failed(sh, Some(&output)).await),
            Ended::Stopped => Err(self.failed(sh, None).await),
        }
    }
}

impl Kind for HelmRelease {
    const NAME: &'static str = "helm.release/1";
    const ABOUT: About = About {
        purpose: "A chart of the release runs in the cluster with the wanted values.",
        probe: "Compares helm's status, chart version and values with the wanted ones, and asks for the readiness of its workloads.",
        effect: "Recovers a release that was left pending, runs `helm upgrade --install --wait`, and stops early when a pod cannot become ready.",
        undo: "Rolls back to the revision that was deployed before, or uninstalls.",
    };

    fn summary(&self) -> String {
        format!(
            "install chart {} into namespace {}",
            self.chart, self.namespace
        )
    }

    fn undo_summary(&self) -> String {
        let schema = match self.chart {
            Chart::WireServer => "; the schemas of the databases keep their new versions",
            _ => "",
        };
        format!(
            "roll {} back to its revision before, or uninstall it{schema}",
            self.chart
        )
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new(format!("helm:{}", self.chart))]
    }

    fn pace(&self) -> Pace {
        Pace {
            // Only what goes away by itself is tried again: a cluster or a webhook that did not answer.
            retry: RetryPolicy::SHORT,
            // A pending release is recovered first, which takes as long at most.
            timeout_ms: self.timeout_ms.saturating_mul(2).saturating_add(MARGIN_MS),
            usual_ms: self.usual_ms,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for HelmRelease {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        self.look(sh).await
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        // A cluster that does not answer is no cluster without the release: undo would uninstall what was there.
        let history = self.history(sh).await.map_err(only_looked)?;
        Ok(Image {
            revision: history.deployed(),
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        // What is attached to may be a recovery that was cut off: only the look afterwards tells.
        if self.under_way(sh).await? {
            self.install(sh).await?;
        }
        if let Probe::Satisfied(receipt) = self.look(sh).await? {
            return Ok(receipt);
        }
        self.wanted(sh).await?;
        self.recover(sh).await?;
        self.install(sh).await?;
        match self.look(sh).await? {
            Probe::Satisfied(receipt) => Ok(receipt),
            Probe::Drifted { diff } => Err(Failure::dirty(format!(
                "helm has installed {}, but reads its values differently: {diff}",
                self.chart
            ))
            .code("helm.values")
            .hint(format!(
                "quote these values in values.d/{}.yaml",
                self.chart
            ))),
            _ => Err(self.failed(sh, None).await),
        }
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        for label in ["recover", "helm"] {
            self.tools.settle(sh, label).await?;
        }
        self.take_back(sh, image.revision).await
    }
}
