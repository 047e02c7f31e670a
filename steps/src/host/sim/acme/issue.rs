//! The work of cert-manager on one certificate: from the request to the secret, or to the next attempt.

use serde_json::Value;

use super::super::kube;
use super::super::state::Draft;
use super::{Check, Issuance, Issued, Stage, objects, outside};

/// Passes in a row that a self-check needs.
const PASSES: u32 = 5;
/// Between two passes.
const PASS_MS: u64 = 2_000;
/// After a failed check.
const RETRY_MS: u64 = 10_000;
/// From an answered challenge to the authority's word.
const AUTHORITY_MS: u64 = 3_000;
/// From one small step of cert-manager to the next.
const STEP_MS: u64 = 1_000;
/// After the first failure; doubles with each.
const BACKOFF_MS: u64 = 3_600_000;
/// Doublings of [`BACKOFF_MS`].
const DOUBLINGS_MAX: u32 = 5;
/// Events of the past that are gone through; older repetitions of a failed check are passed over.
const EVENTS_MAX: usize = 400;

/// The certificate that is worked on.
struct Work<'a> {
    certificate: &'a Value,
    name: &'a str,
    names: Vec<String>,
}

/// Works up to now.
pub(super) fn advance(draft: &mut Draft<'_>, certificate: &Value) {
    let names = certificate
        .pointer("/spec/dnsNames")
        .and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    let work = Work {
        certificate,
        name: kube::text(certificate, "/metadata/name"),
        names: names.map(str::to_owned).collect(),
    };
    let uid = kube::text(certificate, "/metadata/uid");
    let now_ms = draft.now_ms();
    let known = draft.get::<Issuance>(work.name);
    let mut issuance = known
        .filter(|known| known.uid == uid)
        .unwrap_or_else(|| Issuance {
            uid: uid.to_owned(),
            next_ms: now_ms,
            failures: 0,
            requests: 0,
            stage: Stage::Account,
        });
    if issuance.stage == Stage::Backoff && objects::triggered(certificate) {
        issuance.stage = Stage::Account;
        issuance.next_ms = now_ms;
    }
    for _ in 0..EVENTS_MAX {
        if issuance.next_ms > now_ms || issuance.stage == Stage::Done {
            break;
        }
        work.event(draft, &mut issuance);
    }
    if issuance.next_ms <= now_ms && issuance.stage != Stage::Done {
        issuance.next_ms = now_ms + STEP_MS;
    }
    work.show(draft, &issuance);
    draft.put(work.name, &issuance);
}

impl Work<'_> {
    /// One event of the issuance, at its time.
    fn event(&self, draft: &mut Draft<'_>, issuance: &mut Issuance) {
        let at_ms = issuance.next_ms;
        let stage = std::mem::replace(&mut issuance.stage, Stage::Account);
        let (stage, next_ms) = match stage {
            Stage::Account => self.account(draft, at_ms),
            Stage::Order => self.order(draft, issuance, at_ms),
            Stage::Checks(checks) => self.checks(draft, issuance, checks, at_ms),
            Stage::Finish => {
                let days = objects::put_secret(draft, self.certificate, at_ms);
                let mut issued = draft.get::<Issued>("").unwrap_or_default();
                if !is_test(draft, self.certificate) {
                    let wall_ms = draft.base().epoch_ms + at_ms;
                    issued.all.push((outside::joined(&self.names), wall_ms));
                    draft.put("", &issued);
                }
                issuance.failures = 0;
                (Stage::Done, at_ms + days)
            }
            Stage::Done => (Stage::Done, at_ms),
            Stage::Backoff => (Stage::Account, at_ms),
        };
        issuance.stage = stage;
        issuance.next_ms = next_ms;
    }

    /// A valid secret that is there already is used; else the issuer must have an account.
    fn account(&self, draft: &mut Draft<'_>, at_ms: u64) -> (Stage, u64) {
        if objects::valid_secret(draft, self.certificate, &self.names) {
            return (Stage::Done, at_ms + STEP_MS);
        }
        if objects::register(draft, super::issuer_of(self.certificate)) {
            (Stage::Order, at_ms + STEP_MS)
        } else {
            (Stage::Account, at_ms + RETRY_MS)
        }
    }

    fn order(&self, draft: &mut Draft<'_>, issuance: &mut Issuance, at_ms: u64) -> (Stage, u64) {
        issuance.requests += 1;
        objects::drop_chain(draft, self.name);
        if let Err(why) = outside::order(draft, &self.names, is_test(draft, self.certificate)) {
            objects::put_chain(
                draft,
                self.certificate,
                issuance.requests,
                &[],
                Some(("errored", &why)),
            );
            return failed(issuance, at_ms);
        }
        let start_ms = at_ms + 3 * STEP_MS;
        let checks = self.names.iter().map(|name| Check {
            name: name.clone(),
            next_ms: start_ms,
            passes: 0,
            tries: 0,
            state: "pending".to_owned(),
            reason: String::new(),
        });
        (Stage::Checks(checks.collect()), start_ms)
    }

    /// The check that is due first.
    fn checks(
        &self,
        draft: &mut Draft<'_>,
        issuance: &mut Issuance,
        mut checks: Vec<Check>,
        at_ms: u64,
    ) -> (Stage, u64) {
        let open = |check: &&mut Check| check.state == "pending" && check.next_ms <= at_ms;
        if let Some(check) = checks.iter_mut().find(open) {
            run_check(draft, check, at_ms);
        }
        if let Some(refused) = checks.iter().find(|check| check.state == "invalid") {
            let why = refused.reason.clone();
            objects::put_chain(
                draft,
                self.certificate,
                issuance.requests,
                &checks,
                Some(("invalid", &why)),
            );
            return failed(issuance, at_ms);
        }
        let waiting = checks.iter().filter(|check| check.state == "pending");
        match waiting.map(|check| check.next_ms).min() {
            Some(next_ms) => (Stage::Checks(checks), next_ms),
            None => (Stage::Finish, at_ms + 2 * STEP_MS),
        }
    }

    /// Writes what everybody sees.
    fn show(&self, draft: &mut Draft<'_>, issuance: &Issuance) {
        match &issuance.stage {
            Stage::Account | Stage::Order => {
                objects::put_status(draft, self.certificate, "Issuing", None);
            }
            Stage::Checks(checks) => {
                objects::put_chain(draft, self.certificate, issuance.requests, checks, None);
                objects::put_status(draft, self.certificate, "Issuing", None);
            }
            Stage::Finish => objects::put_status(draft, self.certificate, "Issuing", None),
            Stage::Done => {
                objects::finish_chain(draft, self.name);
                objects::put_status(draft, self.certificate, "Ready", None);
            }
            Stage::Backoff => {
                let failures = issuance.failures;
                let since_ms = issuance.next_ms.saturating_sub(backoff_ms(failures));
                objects::put_status(
                    draft,
                    self.certificate,
                    "Failed",
                    Some((failures, since_ms)),
                );
            }
        }
    }
}

/// Whether the issuer asks the authority's test service.
fn is_test(draft: &Draft<'_>, certificate: &Value) -> bool {
    kube::get(draft, "ClusterIssuer", "", super::issuer_of(certificate))
        .is_some_and(|issuer| kube::text(&issuer, "/spec/acme/server").contains("staging"))
}

/// The next pass of a self-check, or the authority's own check.
fn run_check(draft: &Draft<'_>, check: &mut Check, at_ms: u64) {
    if check.passes >= PASSES {
        match outside::authority(draft, &check.name) {
            Ok(()) => "valid".clone_into(&mut check.state),
            Err((urn, detail)) => {
                "invalid".clone_into(&mut check.state);
                check.reason = format!(
                    "Error accepting authorization: acme: authorization error for {}: {urn}: {detail}",
                    check.name
                );
            }
        }
        return;
    }
    let nth = usize::try_from(check.tries).unwrap_or_default();
    check.tries += 1;
    match outside::self_check(draft, &check.name, nth) {
        Ok(()) => {
            check.passes += 1;
            check.reason.clear();
            let last = check.passes == PASSES;
            check.next_ms = at_ms + if last { AUTHORITY_MS } else { PASS_MS };
        }
        Err((why, took_ms)) => {
            check.passes = 0;
            check.reason = format!("Waiting for HTTP-01 challenge propagation: {why}");
            check.next_ms = at_ms + took_ms + RETRY_MS;
        }
    }
}

fn backoff_ms(failures: u32) -> u64 {
    BACKOFF_MS << failures.saturating_sub(1).min(DOUBLINGS_MAX)
}

fn failed(issuance: &mut Issuance, at_ms: u64) -> (Stage, u64) {
    issuance.failures += 1;
    (Stage::Backoff, at_ms + backoff_ms(issuance.failures))
}
