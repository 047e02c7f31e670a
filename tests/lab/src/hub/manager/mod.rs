//! The stand-in for cert-manager's controller: it keeps cert-manager's objects, conditions, events and log lines; beneath, a
//! real order goes to a real authority, and self-checks are real packets from a node.

mod issuance;
mod lego;
mod objects;
mod self_check;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use self::issuance::Issuance;
use super::api::{self, CERTIFICATE, ISSUER, POD, SECRET, STATUS, name, namespace, text};
use super::kubelet::containers;
use super::{Hub, pods};
use crate::agent::{Answer, Ask};
use crate::error::Result;
use crate::sys::Watch;

/// Part of the name of the controller's image.
const CONTROLLER: &str = "cert-manager-controller";
/// Pause before an account is tried again, in seconds.
const ACCOUNT_S: u64 = 10;
/// How long the authority may take to be reached, in milliseconds.
const REACH_MS: u64 = 10_000;

/// Where the controller runs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its pod.
    pub(super) pod: String,
    /// The pod's node, from which it asks.
    pub(super) node: String,
}

/// The controller.
#[derive(Debug, Default)]
pub(super) struct Manager {
    /// By the uids of the certificates.
    issuances: BTreeMap<String, Issuance>,
    accounts: BTreeMap<String, Watch>,
}

impl Manager {
    /// One look at everything. Nothing happens while the controller's pod does not run.
    pub(super) fn tick(&mut self, hub: &std::sync::Arc<Hub>) -> Result<()> {
        let (issuers, certificates) = (api::list(ISSUER)?, api::list(CERTIFICATE)?);
        let there: Vec<&str> = certificates
            .iter()
            .map(|one| text(one, "/metadata/uid"))
            .collect();
        self.issuances
            .retain(|uid, _| there.contains(&uid.as_str()));
        if issuers.is_empty() && certificates.is_empty() {
            return Ok(());
        }
        let pods = api::list(POD)?;
        let is_controller = |pod: &&Value| {
            let image = |one: &Value| text(one, "/image").contains(CONTROLLER);
            pods::is_ready(pod) && containers(pod).iter().any(image)
        };
        let Some(pod) = pods.iter().find(is_controller) else {
            return Ok(());
        };
        let place = Place {
            pod: name(pod).to_owned(),
            node: text(pod, "/spec/nodeName").to_owned(),
        };
        for issuer in &issuers {
            self.account(hub, &place, namespace(pod), issuer)?;
        }
        for certificate in &certificates {
            let wanted = text(certificate, "/spec/issuerRef/name");
            let issuer = issuers.iter().find(|issuer| name(issuer) == wanted);
            let uid = text(certificate, "/metadata/uid").to_owned();
            let issuance = self.issuances.entry(uid).or_default();
            issuance.advance(hub, &place, certificate, issuer)?;
        }
        Ok(())
    }

    /// Registers an issuer's account when the authority can be reached from the controller's node.
    fn account(&mut self, hub: &Hub, place: &Place, own: &str, issuer: &Value) -> Result<()> {
        let issuer_name = name(issuer);
        let lately = self
            .accounts
            .get(issuer_name)
            .is_some_and(|last| !last.over(ACCOUNT_S));
        if lately || objects::condition(issuer, "Ready") == Some(("True", "ACMEAccountRegistered"))
        {
            return Ok(());
        }
        self.accounts.insert(issuer_name.to_owned(), Watch::start());
        let server = text(issuer, "/spec/acme/server");
        let (reason, message) = match reach(hub, place, server) {
            Ok(()) => (
                "ACMEAccountRegistered",
                "The ACME account was registered with the ACME server".to_owned(),
            ),
            Err(why) => (
                "ErrRegisterACMEAccount",
                format!("Failed to register ACME account: Get \"{server}\": {why}"),
            ),
        };
        let ready = reason == "ACMEAccountRegistered";
        let one = objects::new_condition("Ready", ready, reason, &message);
        let status = json!({"status": {"conditions": [one]}});
        api::patch(ISSUER, "", issuer_name, STATUS, &status)?;
        if !ready {
            hub.log(&place.pod, objects::klog('E', "setup.go:223", &format!("\"failed to register an ACME account\" err=\"{message}\" resource_name=\"{issuer_name}\"")));
            return objects::event(issuer, ("Warning", reason), &message);
        }
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": text(issuer, "/spec/acme/privateKeySecretRef/name"), "namespace": own},
            "stringData": {"tls.key": format!("the account of {issuer_name} at the lab's authority\n")},
        });
        api::create(SECRET, &secret).map(drop)
    }
}

/// Whether packets of the controller's node reach the authority. All authorities of the world are the lab's one.
fn reach(hub: &Hub, place: &Place, server: &str) -> std::result::Result<(), String> {
    let authority = hub.order.acme.trim_start_matches("https://");
    let authority = authority.split('/').next().unwrap_or_default();
    let Ok(address) = authority.parse::<SocketAddr>() else {
        return Err(format!("unsupported protocol scheme of {server}"));
    };
    let ask = Ask::Get {
        address: address.ip(),
        port: address.port(),
        host: "acme".to_owned(),
        path: "/".to_owned(),
        timeout_ms: REACH_MS,
    };
    match hub.agents.ask(&place.node, &ask) {
        // It speaks TLS; that anything comes back shows the way.
        Ok(Answer::Page(..)) => Ok(()),
        Ok(Answer::Failed(why)) if !why.starts_with("dial ") && !why.contains("Timeout") => Ok(()),
        Ok(Answer::Failed(why)) => Err(why),
        Ok(_) => Err("the node's agent answers something else".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
