//! The log of cert-manager's controller, as it would read now.

use std::fmt::Write as _;

use super::super::kube::{self, text};
use super::super::state::Draft;
use super::{Issuance, Stage};

/// `0101 00:05:12.000000`.
fn stamp(draft: &Draft<'_>) -> String {
    let now = crate::certs::utc(draft.wall_ms());
    let part = |from: usize, to: usize| now.get(from..to).unwrap_or_default();
    format!("{}{} {}.000000", part(5, 7), part(8, 10), part(11, 19))
}

/// Everything that it complains about, and a line that it does not.
pub(crate) fn log(draft: &mut Draft<'_>) -> String {
    super::advance(draft);
    let at = stamp(draft);
    let mut log = format!(
        "I{at}       1 controller.go:91] \"starting controller\" logger=\"cert-manager.controller\"\n"
    );
    let quoted = |text: &str| text.replace('"', "\\\"");
    for issuer in kube::list(draft, "ClusterIssuer", None) {
        if text(&issuer, "/status/conditions/0/status") != "False" {
            continue;
        }
        let why = quoted(text(&issuer, "/status/conditions/0/message"));
        let name = text(&issuer, "/metadata/name");
        let _ = writeln!(
            log,
            "E{at}       1 setup.go:225] \"failed to register an ACME account\" err=\"{why}\" logger=\"cert-manager.clusterissuers\" resource_name=\"{name}\""
        );
    }
    for name in draft.names::<Issuance>("") {
        let Some(issuance) = draft.get::<Issuance>(&name) else {
            continue;
        };
        match &issuance.stage {
            Stage::Checks(checks) => {
                for check in checks.iter().filter(|check| !check.reason.is_empty()) {
                    let why = check.reason.rsplit_once("propagation: ");
                    let why = quoted(why.map_or(check.reason.as_str(), |(_, why)| why));
                    let _ = writeln!(
                        log,
                        "E{at}       1 sync.go:208] \"propagation check failed\" err=\"{why}\" logger=\"cert-manager.controller\" resource_name=\"{name}-1-1\" resource_namespace=\"default\" dnsName=\"{}\" type=\"HTTP-01\"",
                        check.name
                    );
                }
            }
            Stage::Backoff => {
                let until = crate::certs::utc(draft.base().epoch_ms + issuance.next_ms);
                let _ = writeln!(
                    log,
                    "I{at}       1 trigger_controller.go:215] \"Backing off from issuance due to previously failed issuance(s). Issuance will next be attempted at {until}\" logger=\"cert-manager.controller\" key=\"default/{name}\""
                );
            }
            Stage::Account | Stage::Order | Stage::Finish | Stage::Done => {}
        }
    }
    log
}
