//! `cert.ready/1`: waits for a certificate, tells early and by name why it does not come, and asks for another attempt after a
//! cure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::{Step, Tick};

use super::super::tool::Toolbox;
use super::super::{Act, bound, only_looked};
use crate::certs::{Cause, Diagnosis, ISSUER, Look, NAMESPACE, classify, look, parse_utc, utc};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Out, Pace};

/// Between two looks, at first.
const POLL_MS: u64 = 5_000;
/// Between two looks, later.
const SLOW_POLL_MS: u64 = 15_000;
/// How long it is looked at often, in milliseconds.
const OFTEN_MS: u64 = 120_000;
/// An issuance that failed so long ago failed before this attempt had a say.
const OLD_MS: u64 = 120_000;
/// Everything that takes part, in one question.
const KINDS: &str = "certificates.cert-manager.io,certificaterequests.cert-manager.io,orders.acme.cert-manager.io,\
                     challenges.acme.cert-manager.io,clusterissuers.cert-manager.io";

/// A certificate that shall be issued and valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertReady {
    /// Where kubectl runs.
    pub toolbox: Toolbox,
    /// Name of the Certificate: `wire-example-org-csr`, `sftd`.
    pub certificate: String,
    /// The public address of the host.
    pub host_ip: String,
    /// What was found out about the way from the VMs to it: output of `hairpin.needed/1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Input<String>>,
    /// How long it may take, in milliseconds.
    pub deadline_ms: u64,
}

/// The complaint that is waited out.
struct Sign {
    cause: Option<Cause>,
    since_ms: u64,
}

impl CertReady {
    /// Output: until when it is valid.
    pub const NOT_AFTER: Out<Self> = Out::new("not_after");
    /// Output: who issues it.
    pub const ISSUER: Out<Self> = Out::new("issuer");

    /// Looks once; the error is why kubectl has no answer.
    async fn list(&self, sh: Shell<'_>) -> Result<Result<Value, String>, Failure> {
        let cmd = self
            .toolbox
            .kubectl(&["get", KINDS, "-n", NAMESPACE, "-o", "json"])?;
        let Some(output) = sh.probe(&cmd).await? else {
            return Ok(Err("docker is not installed on the host".to_owned()));
        };
        if !output.ok() {
            let said = output.error_text();
            return Ok(Err(said
                .lines()
                .next_back()
                .unwrap_or("kubectl failed")
                .to_owned()));
        }
        Ok(serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("kubectl's JSON cannot be read: {error}")))
    }

    fn receipt(look: &Look, wall_ms: u64) -> Option<Receipt> {
        let ready = look
            .ready
            .as_ref()
            .filter(|ready| ready.not_after_ms > wall_ms)?;
        Some(
            Receipt::note(format!("valid until {}", ready.not_after))
                .with(Self::NOT_AFTER.name(), &*ready.not_after)
                .with(Self::ISSUER.name(), ISSUER),
        )
    }

    /// The failure that a complaint amounts to.
    fn failure(&self, look: &Look, complaint: &str, found: Option<Diagnosis>) -> Failure {
        let about = match look.name.as_str() {
            "" => self.certificate.clone(),
            name => format!("{} ({name})", self.certificate),
        };
        let Some(found) = found else {
            return Failure::clean(format!("certificate {about} is not issued: {complaint}"))
                .hint("this complaint of cert-manager is not known; when its cause is removed: `wiab apply --resume`")
                .code("cert.unknown");
        };
        let name = if look.name.is_empty() {
            &self.certificate
        } else {
            &look.name
        };
        let mut why = format!("certificate {about} is not issued: {}", found.meaning());
        if found.cause() == Cause::RateLimited
            && let Some(until) = retry_after(complaint)
        {
            why = format!("{why}, until {until}");
        }
        if found.cause() == Cause::Hairpin
            && let Some(way) = self.way.as_ref().and_then(Input::get)
        {
            why = format!("{why}; measured before: {way}");
        }
        let cure = found.cure(name, &self.host_ip);
        Failure::clean(format!("{why}. cert-manager says: {complaint}"))
            .hint(format!("{cure} (step {})", found.step()))
            .code(&format!("cert.{:?}", found.cause()).to_lowercase())
    }

    /// Asks cert-manager for another attempt now, as `cmctl renew` does: it would else wait an hour, and longer each time.
    async fn trigger(&self, sh: Shell<'_>, list: &Value) -> Result<(), Failure> {
        let items = list.get("items").and_then(Value::as_array);
        let own = items.into_iter().flatten().find(|item| {
            item.get("kind").and_then(Value::as_str) == Some("Certificate")
                && item.pointer("/metadata/name").and_then(Value::as_str) == Some(&self.certificate)
        });
        let conditions = own.and_then(|own| own.pointer("/status/conditions")?.as_array().cloned());
        let mut conditions = conditions.unwrap_or_default();
        conditions.retain(|one| one.get("type").and_then(Value::as_str) != Some("Issuing"));
        conditions.push(json!({
            "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
            "message": "Certificate re-issuance manually triggered",
            "lastTransitionTime": utc(sh.cx.clock.wall_ms()),
        }));
        let patch = json!({"status": {"conditions": conditions}}).to_string();
        let cmd = self.toolbox.kubectl(&[
            "patch",
            "certificates.cert-manager.io",
            &self.certificate,
            "-n",
            NAMESPACE,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])?;
        sh.ok(&cmd).await.map(drop)
    }
}

/// Until when the authority refuses, as it says it.
fn retry_after(complaint: &str) -> Option<&str> {
    let (_, rest) = complaint.split_once("retry after ")?;
    let end = rest.find(" UTC").map_or(rest.len(), |at| at + " UTC".len());
    rest.get(..end).map(str::trim)
}

/// The same as Unix time in milliseconds.
fn refused_until(complaint: &str) -> Option<u64> {
    let text = retry_after(complaint)?
        .trim_end_matches(" UTC")
        .trim_end_matches('Z');
    parse_utc(&format!("{text}Z"))
}

impl Kind for CertReady {
    const NAME: &'static str = "cert.ready/1";
    const ABOUT: About = About {
        purpose: "The installation has a certificate, or the operator knows within a minute why not, and what to do.",
        probe: "Asks once for Certificate, CertificateRequest, Order, Challenges and issuer: ready, and not expired.",
        effect: "Asks every few seconds until the deadline; names the cause of a known complaint early. After a failed issuance \
                 it asks cert-manager for another attempt at once.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("wait for the certificate {}", self.certificate)
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            timeout_ms: self.deadline_ms.saturating_add(120_000),
            usual_ms: 90_000,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CertReady {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if self.toolbox.image.get().is_none() || self.toolbox.tree.get().is_none() {
            return Ok(Probe::Absent);
        }
        let Ok(list) = self.list(sh).await? else {
            return Ok(Probe::Absent);
        };
        let look = look(&list, &self.certificate);
        Ok(match Self::receipt(&look, sh.cx.clock.wall_ms()) {
            Some(receipt) => Probe::Satisfied(receipt),
            None if look.there => Probe::Partial {
                what: look.complaint.unwrap_or(look.stage),
            },
            None => Probe::Absent,
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        // Asking for another attempt is no state that anybody could restore.
        Waiting::new(self, sh).wait().await.map_err(only_looked)
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}

/// One attempt to wait.
struct Waiting<'a> {
    kind: &'a CertReady,
    sh: Shell<'a>,
    begun_ms: u64,
    /// The request whose failure was answered by asking for another attempt.
    answered: Option<String>,
    sign: Option<Sign>,
    stage: String,
    said: String,
}

impl<'a> Waiting<'a> {
    fn new(kind: &'a CertReady, sh: Shell<'a>) -> Self {
        Self {
            kind,
            sh,
            begun_ms: sh.cx.clock.mono_ms(),
            answered: None,
            sign: None,
            stage: String::new(),
            said: String::new(),
        }
    }

    async fn wait(mut self) -> Result<Receipt, Failure> {
        let clock = self.sh.cx.clock.clone();
        loop {
            match self.kind.list(self.sh).await? {
                Ok(list) => {
                    let look = look(&list, &self.kind.certificate);
                    if let Some(receipt) = CertReady::receipt(&look, clock.wall_ms()) {
                        return Ok(receipt);
                    }
                    self.show(&look.stage);
                    self.consider(&look, &list).await?;
                }
                Err(why) => {
                    if why.contains("doesn't have a resource type") {
                        return Err(
                            Failure::clean("cert-manager is not installed in the cluster")
                                .hint("`wiab apply` installs it (step helm.cert-manager)")
                                .code("cert.no-manager"),
                        );
                    }
                    self.show(&why);
                }
            }
            let waited_ms = clock.mono_ms().saturating_sub(self.begun_ms);
            if waited_ms >= self.kind.deadline_ms {
                return Err(self.late());
            }
            let pause_ms = if waited_ms < OFTEN_MS {
                POLL_MS
            } else {
                SLOW_POLL_MS
            };
            clock.sleep(pause_ms).await;
        }
    }

    fn show(&mut self, stage: &str) {
        if stage != self.stage {
            self.sh.cx.progress.tick(Tick::Stage(stage.to_owned()));
            stage.clone_into(&mut self.stage);
        }
    }

    /// What a look without a certificate means.
    async fn consider(&mut self, look: &Look, list: &Value) -> Result<(), Failure> {
        let complaint = look.complaint.clone().unwrap_or_default();
        if let Some(request) = &look.failed {
            if self.answered.as_ref() == Some(request) {
                return Ok(());
            }
            if self.answered.is_none() && self.may_ask_again(look, &complaint) {
                self.kind.trigger(self.sh, list).await?;
                self.answered = Some(request.clone());
                self.show("asked cert-manager for another attempt");
                return Ok(());
            }
            return Err(self.kind.failure(look, &complaint, classify(&complaint)));
        }
        if complaint.is_empty() {
            self.sign = None;
            return Ok(());
        }
        self.said.clone_from(&complaint);
        let found = classify(&complaint);
        let cause = found.map(|found| found.cause());
        let now_ms = self.sh.cx.clock.mono_ms();
        let since_ms = match &self.sign {
            Some(sign) if sign.cause == cause => sign.since_ms,
            Some(_) | None => {
                self.sign = Some(Sign {
                    cause,
                    since_ms: now_ms,
                });
                now_ms
            }
        };
        match found {
            Some(found) if now_ms.saturating_sub(since_ms) >= found.patience_ms() => {
                Err(self.kind.failure(look, &complaint, Some(found)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether an issuance that has failed failed for a reason that may be gone: on a repeated attempt, or long ago.
    fn may_ask_again(&self, look: &Look, complaint: &str) -> bool {
        let cx = self.sh.cx;
        let wall_ms = cx.clock.wall_ms();
        let refused = refused_until(complaint).is_some_and(|until_ms| until_ms > wall_ms);
        let old = look.failed_ms.is_some_and(|at_ms| at_ms + OLD_MS < wall_ms);
        !refused && (old || cx.attempt > 1 || cx.resumed)
    }

    fn late(&self) -> Failure {
        let seconds = self.kind.deadline_ms / 1_000;
        let last = if self.said.is_empty() {
            &self.stage
        } else {
            &self.said
        };
        Failure::clean(format!(
            "certificate {} was not issued within {seconds} s: {last}",
            self.kind.certificate
        ))
        .hint(format!(
            "look at `kubectl describe certificate,order,challenge -n {NAMESPACE}`; then `wiab apply --resume`"
        ))
        .code("cert.late")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_refusal_is_read() {
        let text = "too many certificates (5) already issued in the last 168h0m0s, retry after 2026-01-08 00:00:00 UTC: see https://docs.example.org";
        assert_eq!(retry_after(text), Some("2026-01-08 00:00:00 UTC"));
        assert_eq!(refused_until(text), parse_utc("2026-01-08T00:00:00Z"));
        assert_eq!(refused_until("too many new orders"), None);
        assert_eq!(
            refused_until("retry after 2026-01-08T00:00:00Z"),
            parse_utc("2026-01-08T00:00:00Z")
        );
    }
}
