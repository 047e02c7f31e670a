//! The way back: from a release that an interrupted helm left pending, and from one that this run made.

use wiab_engine::outcome::Failure;
use wiab_engine::ports::Tick;

use super::pods::Pods;
use super::state::refused;
use super::{HelmRelease, POLL_MS};
use crate::host::shell::Shell;

impl HelmRelease {
    /// Whether helm of this attempt runs, or has ended unheard.
    pub(super) async fn under_way(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        self.tools.under_way(sh, "helm").await
    }

    /// Brings a release that was left in the middle to rest, so that helm accepts the next command.
    pub(super) async fn recover(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let history = self.history(sh).await?;
        if !history.pending() {
            return Ok(());
        }
        sh.cx.progress.tick(Tick::Stage(
            "recovering a release that was left pending".to_owned(),
        ));
        self.hooks_rest(sh).await?;
        self.to_revision(sh, "recover", history.deployed()).await
    }

    /// Waits until no hook of the release works any more: a second migration beside the first one damages schemas.
    async fn hooks_rest(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let clock = &sh.cx.clock;
        let deadline_ms = clock.mono_ms().saturating_add(self.timeout_ms);
        loop {
            let pods = Pods::look(sh, &self.tools, &self.namespace, self.name()).await?;
            let Some(hook) = pods.and_then(|pods| pods.working_hook()) else {
                return Ok(());
            };
            if clock.mono_ms() >= deadline_ms {
                return Err(Failure::dirty(format!(
                    "job {hook} of an earlier, interrupted installation still works after {} s",
                    self.timeout_ms / 1_000
                ))
                .code("helm.hook-works")
                .hint(format!(
                    "wait for its end: kubectl -n {} get job {hook}; then wiab apply --resume",
                    self.namespace
                )));
            }
            clock.sleep(POLL_MS).await;
        }
    }

    /// Restores the revision that was deployed before this run; without one, nothing is left.
    pub(super) async fn take_back(
        &self,
        sh: Shell<'_>,
        revision: Option<u64>,
    ) -> Result<(), Failure> {
        let history = self.history(sh).await?;
        let done = match revision {
            None => history.is_empty(),
            Some(revision) => history.stands_at(revision),
        };
        if done {
            return Ok(());
        }
        if history.pending() {
            self.hooks_rest(sh).await?;
        }
        self.to_revision(sh, "undo", revision).await
    }

    async fn to_revision(
        &self,
        sh: Shell<'_>,
        label: &str,
        revision: Option<u64>,
    ) -> Result<(), Failure> {
        let name = self.name().to_owned();
        let number = revision.map(|revision| revision.to_string());
        let mut args: Vec<String> = match number {
            Some(number) => vec!["helm".to_owned(), "rollback".to_owned(), name, number],
            None => vec!["helm".to_owned(), "uninstall".to_owned(), name],
        };
        args.extend(["-n", &self.namespace].map(str::to_owned));
        if revision.is_none() || !self.back_unwaited {
            args.push("--wait".to_owned());
        }
        args.push("--timeout".to_owned());
        args.push(format!("{}s", self.timeout_ms.div_ceil(1_000)));
        let output = self.long(sh, label, &args).await?;
        let history = self.history(sh).await?;
        let done = match revision {
            None => history.is_empty(),
            Some(revision) => history.stands_at(revision),
        };
        if done {
            return Ok(());
        }
        let what = args.get(1).map_or("helm", String::as_str);
        Err(refused(&format!("helm {what} {}", self.chart), &output)
            .code("helm.rollback")
            .hint(format!(
                "look at its pods: kubectl -n {} get pods; at its revisions: helm history {}; then wiab apply --resume",
                self.namespace, self.chart
            )))
    }
}
