//! The simulated cert-manager and the certificate authority: certificates that are issued, or not, as the machine's state has
//! it. Time passes for them whenever somebody looks.

mod issue;
mod log;
mod objects;
mod outside;
mod preset;
mod serve;
mod solver;

pub(crate) use log::log;
pub(crate) use objects::canonical;
pub(crate) use outside::{Issued, Outside};
pub(crate) use serve::served;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::{Facts, KubeObject};
use super::kube::{self, release::Release};
use super::state::{Draft, Entity};
use super::surroundings::Surroundings;

/// The issuer's name.
const ISSUER: &str = "letsencrypt-http01";
/// The issuer's account key.
const ACCOUNT: &str = "letsencrypt-http01-account-key";
/// Where cert-manager lives.
const MANAGER: &str = "cert-manager-ns";
/// The secret of the first certificate.
const MANAGED: &str = "nginx-ingress-services-nginx-ingress-services-managed-tls-certificate";

/// How far the issuance of a certificate is; its name is the certificate's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Issuance {
    /// Which certificate object it is for: one that was made anew begins anew.
    uid: String,
    /// Virtual time of the next event.
    next_ms: u64,
    /// How often it has failed in a row.
    failures: u32,
    /// Counts requests.
    requests: u32,
    /// What it does.
    stage: Stage,
}

impl Entity for Issuance {
    const KIND: &'static str = "issuance";
}

/// What an issuance does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Waits for the issuer's account.
    Account,
    /// Makes an order.
    Order,
    /// Every name is checked.
    Checks(Vec<Check>),
    /// The certificate is on its way.
    Finish,
    /// It is there.
    Done,
    /// It has failed; nothing happens before `next_ms`.
    Backoff,
}

/// The check of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Check {
    name: String,
    next_ms: u64,
    passes: u32,
    tries: u32,
    /// `pending`, `valid`, `invalid`.
    state: String,
    reason: String,
}

/// The issuer that a certificate names.
fn issuer_of(certificate: &Value) -> &str {
    match kube::text(certificate, "/spec/issuerRef/name") {
        "" => ISSUER,
        name => name,
    }
}

/// What belongs to certificates that somebody deleted goes.
fn forget(draft: &mut Draft<'_>) {
    let certificates = draft.names::<KubeObject>("Certificate/");
    for name in draft.names::<Issuance>("") {
        let is_it = |key: &String| key.rsplit('/').next() == Some(name.as_str());
        if !certificates.iter().any(is_it) {
            objects::drop_chain(draft, &name);
            draft.del::<Issuance>(&name);
        }
    }
}

/// Lets cert-manager work up to now.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    forget(draft);
    for key in draft.names::<KubeObject>("Certificate/") {
        let Some(object) = draft.get::<KubeObject>(&key) else {
            continue;
        };
        issue::advance(draft, &object.json);
    }
}

/// A release brought certificates.
pub(crate) fn installed(draft: &mut Draft<'_>, release: &Release) {
    let config = &release.config;
    match release.chart.as_str() {
        "nginx-ingress-services" => {
            let managed = config
                .pointer("/tls/useCertManager")
                .and_then(Value::as_bool);
            if managed != Some(true) {
                return;
            }
            objects::put_issuer(draft, release);
            let keys = [
                "https",
                "ssl",
                "webapp",
                "fakeS3",
                "teamSettings",
                "accountPages",
            ];
            let names: Vec<String> = keys
                .iter()
                .filter_map(|key| config.pointer(&format!("/config/dns/{key}"))?.as_str())
                .map(str::to_owned)
                .collect();
            let webapp = kube::text(config, "/config/dns/webapp");
            let domain = webapp.split_once('.').map_or("", |(_, domain)| domain);
            let name = format!("{}-csr", domain.replace('.', "-"));
            objects::put_certificate(draft, release, &name, MANAGED, &names);
        }
        "sftd" => {
            let names = vec![kube::text(config, "/host").to_owned()];
            objects::put_certificate(draft, release, "sftd", "sftd", &names);
        }
        _ => return,
    }
    advance(draft);
}

/// A release goes, and with it its certificates; their secrets stay, as cert-manager leaves them.
pub(crate) fn removed(draft: &mut Draft<'_>, release: &Release) {
    if !matches!(release.chart.as_str(), "nginx-ingress-services" | "sftd") {
        return;
    }
    for key in draft.names::<KubeObject>("Certificate/") {
        let owner = draft.get::<KubeObject>(&key);
        let owner = owner.is_some_and(|object| {
            let mark = object.json.pointer("/metadata/annotations");
            let mark = mark.and_then(|mark| mark.get(kube::objects::OWNER));
            mark.and_then(Value::as_str) == Some(release.name.as_str())
        });
        if owner {
            let name = key.rsplit('/').next().unwrap_or_default();
            objects::drop_chain(draft, name);
            draft.del::<Issuance>(name);
            draft.del::<KubeObject>(&key);
        }
    }
    if release.chart == "nginx-ingress-services" {
        kube::del(draft, "ClusterIssuer", "", ISSUER);
    }
}

/// What the DNS says of a name: IPv4 and IPv6 addresses.
fn lookup(draft: &Draft<'_>, name: &str) -> (Vec<String>, Vec<String>) {
    let facts = draft.get::<Facts>("");
    let known = facts.map(|facts| Surroundings::of(draft).name(&facts, name));
    known.map_or_else(Default::default, |known| (known.a, known.aaaa))
}

/// Whether a CAA record of a name, or of the nearest domain above it that has any, leaves the authority out.
fn forbidden_by_caa(draft: &Draft<'_>, name: &str) -> bool {
    let names = Surroundings::of(draft).names;
    let mut at = Some(name);
    while let Some(one) = at {
        let records = names.get(one).map(|known| known.caa.clone());
        if let Some(records) = records.filter(|records| !records.is_empty()) {
            return !records
                .iter()
                .any(|record| record.contains("letsencrypt.org"));
        }
        at = one.split_once('.').map(|(_, above)| above);
    }
    false
}
