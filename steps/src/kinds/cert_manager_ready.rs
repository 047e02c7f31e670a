//! `certmanager.ready/1`: waits until the webhook of cert-manager answers; until then the next chart would be refused.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::patience::Patience;
use super::tool::Toolbox;
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Host, Output};
use crate::kind::{About, Kind, Pace};

const POLL_MS: u64 = 2_000;
/// How long the webhook may take after its chart is installed, in milliseconds.
const DEADLINE_MS: u64 = 180_000;

/// Is checked by the webhook and never stored.
const CERTIFICATE: &str = "apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: wiab-webhook-check
  namespace: default
spec:
  secretName: wiab-webhook-check
  dnsNames: [webhook-check.invalid]
  issuerRef:
    name: none
";

/// The webhook of cert-manager shall answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertManagerReady {
    /// Where kubectl runs.
    pub tools: Toolbox,
}

impl CertManagerReady {
    /// Has the server check a certificate without storing it; `None` without tool or cluster.
    async fn ask(&self, sh: Shell<'_>) -> Result<Option<Output>, Failure> {
        let Ok(cmd) = self
            .tools
            .kubectl(&["apply", "--dry-run=server", "-f", "-"])
        else {
            return Ok(None);
        };
        sh.probe(&cmd.stdin(CERTIFICATE)).await
    }
}

impl Kind for CertManagerReady {
    const NAME: &'static str = "certmanager.ready/1";
    const ABOUT: About = About {
        purpose: "Charts with certificates are not refused by a webhook that does not answer yet.",
        probe: "Has the server check a certificate without storing it.",
        effect: "Asks every two seconds until the webhook answers; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        "wait until cert-manager's webhook answers".to_owned()
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
            timeout_ms: DEADLINE_MS + 60_000,
            usual_ms: 20_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CertManagerReady {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let answer = self.ask(sh).await?;
        Ok(if answer.is_some_and(|output| output.ok()) {
            Probe::Satisfied(Receipt::default())
        } else {
            Probe::Absent
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        let patience = Patience::new(sh, DEADLINE_MS, POLL_MS);
        loop {
            let answer = self.ask(sh).await?.unwrap_or_default();
            if answer.ok() {
                return Ok(Receipt::default());
            }
            let said = answer.error_text();
            if said.contains("no matches for kind") {
                return Err(Failure::clean(
                    "the cluster does not know certificates: cert-manager is not installed",
                )
                .code("certmanager.missing")
                .hint("wiab apply --only helm.cert-manager; then wiab apply --resume"));
            }
            if !patience.rest().await {
                let last = said.lines().next_back().unwrap_or("it said nothing");
                return Err(Failure::clean(format!(
                    "the webhook of cert-manager did not answer within {} s: {last}",
                    DEADLINE_MS / 1_000
                ))
                .code("certmanager.webhook")
                .hint("look at the pods of its namespace: kubectl -n cert-manager-ns get pods,events; then wiab apply --resume"));
            }
        }
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}
