//! What decides outside cert-manager: the router, the internet, the certificate authority; and what it counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::entity::{Facts, Inside};
use super::super::kube;
use super::super::state::{Draft, Entity};
use super::super::way::{self, Way};

/// How long the self-check waits for an answer.
const SELF_CHECK_MS: u64 = 10_000;
/// Certificates for the same names within [`WINDOW_MS`].
const SAME_NAMES_MAX: usize = 5;
/// A week.
const WINDOW_MS: u64 = 168 * 3_600_000;
/// The image of the pods that answer challenges, without its tag.
const SOLVER: &str = "quay.io/jetstack/cert-manager-acmesolver:";

/// Everything that is usually well. Its name is empty; without it all is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outside {
    /// Whether the router in front of the host leads its own public address back in.
    pub(crate) loopback: bool,
    /// Whether port 80 is reached from the internet.
    pub(crate) open: bool,
    /// Domains that the authority does not issue for.
    pub(crate) forbidden: Vec<String>,
    /// Address of another machine to which a name leads, by name.
    pub(crate) elsewhere: Vec<String>,
    /// What self-checks of a name end with, whatever the way: the error of Go's library.
    pub(crate) checks: BTreeMap<String, String>,
    /// What the authority says of a name: type and detail.
    pub(crate) refusals: BTreeMap<String, (String, String)>,
    /// What registering an account ends with.
    pub(crate) account: Option<String>,
}

impl Entity for Outside {
    const KIND: &'static str = "outside";
}

impl Default for Outside {
    fn default() -> Self {
        Self {
            loopback: false,
            open: true,
            forbidden: Vec::new(),
            elsewhere: Vec::new(),
            checks: BTreeMap::new(),
            refusals: BTreeMap::new(),
            account: None,
        }
    }
}

impl Outside {
    /// That of a machine.
    pub(crate) fn of(draft: &Draft<'_>) -> Self {
        draft.get("").unwrap_or_default()
    }
}

/// What the authority has issued to this machine; it remembers, whatever becomes of the machine. Its name is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// Names, sorted and joined by commas, and Unix time.
    pub(crate) all: Vec<(String, u64)>,
}

impl Entity for Issued {
    const KIND: &'static str = "issued";
}

impl Issued {
    /// Until when the authority issues no further certificate for these names.
    pub(crate) fn refused_until(&self, names: &str, wall_ms: u64) -> Option<u64> {
        let recent: Vec<u64> = self
            .all
            .iter()
            .filter(|(known, at_ms)| known == names && at_ms + WINDOW_MS > wall_ms)
            .map(|(_, at_ms)| *at_ms)
            .collect();
        let frees = recent.len().checked_sub(SAME_NAMES_MAX)?;
        let mut recent = recent;
        recent.sort_unstable();
        recent.get(frees).map(|at_ms| at_ms + WINDOW_MS)
    }
}

/// Whether a node has the solver's image, or can fetch it.
pub(super) fn solver(draft: &Draft<'_>) -> bool {
    let has = |node: &String| {
        let images = draft.get::<Inside>(&format!("{node}/images"));
        let images = images.map(|inside| inside.value).unwrap_or_default();
        let mut list = images.as_array().into_iter().flatten();
        list.any(|image| {
            image
                .as_str()
                .is_some_and(|image| image.starts_with(SOLVER))
        })
    };
    kube::nodes(draft).iter().all(has) || way::egress(draft)
}

/// One self-check from cert-manager's pod; the error, and how long it took.
pub(super) fn self_check(draft: &Draft<'_>, name: &str, nth: usize) -> Result<(), (String, u64)> {
    let url = format!("http://{name}/.well-known/acme-challenge/token");
    let get = |err: &str| {
        format!("failed to perform self check GET request '{url}': Get \"{url}\": {err}")
    };
    if let Some(why) = Outside::of(draft).checks.get(name) {
        let whole = why.starts_with("wrong status") || why.starts_with("did not get");
        return Err((if whole { why.clone() } else { get(why) }, 50));
    }
    let (four, _) = super::lookup(draft, name);
    let Some(address) = four.first() else {
        return Err((
            get(&format!(
                "dial tcp: lookup {name} on 169.254.25.10:53: no such host"
            )),
            50,
        ));
    };
    let facts = draft.get::<Facts>("").map(|facts| facts.address);
    if facts.as_ref() != Some(address) && Outside::of(draft).elsewhere.contains(address) {
        return Err(("wrong status code '404', expected '200'".to_owned(), 80));
    }
    let nodes = way::addresses(draft);
    let Some(from) = nodes.first() else {
        return Err((get("EOF"), 10));
    };
    match way::from_vm(draft, from, (address, 80), nth, SELF_CHECK_MS) {
        Way::Arrives { .. } if solver(draft) => Ok(()),
        Way::Arrives { .. } => Err(("wrong status code '503', expected '200'".to_owned(), 30)),
        Way::Refused => Err((
            get(&format!(
                "dial tcp {address}:80: connect: connection refused"
            )),
            10,
        )),
        Way::Lost => Err((
            get("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
            SELF_CHECK_MS,
        )),
    }
}

/// What the authority says to the answered challenge of a name; the error is urn and detail.
pub(super) fn authority(draft: &Draft<'_>, name: &str) -> Result<(), (String, String)> {
    let refuse = |urn: &str, detail: String| Err((urn.to_owned(), detail));
    if let Some((urn, detail)) = Outside::of(draft).refusals.get(name) {
        return refuse(urn, detail.clone());
    }
    let (four, six) = super::lookup(draft, name);
    if super::forbidden_by_caa(draft, name) {
        return refuse(
            "403 urn:ietf:params:acme:error:caa",
            format!("CAA record for {name} prevents issuance"),
        );
    }
    let Some(address) = six.first().or(four.first()) else {
        let detail = format!(
            "DNS problem: NXDOMAIN looking up A for {name} - check that a DNS record exists for this domain"
        );
        return refuse("400 urn:ietf:params:acme:error:dns", detail);
    };
    let url = format!("http://{name}/.well-known/acme-challenge/token");
    let timeout =
        format!("{address}: Fetching {url}: Timeout during connect (likely firewall problem)");
    let outside = Outside::of(draft);
    if !six.is_empty() || !outside.open {
        return refuse("400 urn:ietf:params:acme:error:connection", timeout);
    }
    if outside.elsewhere.contains(address) {
        let detail = format!("{address}: Invalid response from {url}: 404");
        return refuse("403 urn:ietf:params:acme:error:unauthorized", detail);
    }
    match way::from_outside(draft, 80, 0) {
        Way::Arrives { .. } => Ok(()),
        Way::Lost => refuse("400 urn:ietf:params:acme:error:connection", timeout),
        Way::Refused => refuse(
            "400 urn:ietf:params:acme:error:connection",
            format!("{address}: Fetching {url}: Connection refused"),
        ),
    }
}

/// Why the issuer has no account.
pub(super) fn account(draft: &Draft<'_>, issuer: &Value) -> Result<(), String> {
    let server = kube::text(issuer, "/spec/acme/server");
    if let Some(why) = Outside::of(draft).account {
        return Err(format!("Failed to register ACME account: {why}"));
    }
    if !way::egress(draft) {
        return Err(format!(
            "Failed to register ACME account: Get \"{server}\": dial tcp 172.65.32.248:443: i/o timeout"
        ));
    }
    let email = kube::text(issuer, "/spec/acme/email");
    let domain = email.rsplit('@').next().unwrap_or_default();
    if matches!(domain, "example.com" | "example.net" | "example.org") {
        return Err(format!(
            "Failed to register ACME account: 400 urn:ietf:params:acme:error:invalidContact: Error validating contact(s) :: contact email has forbidden domain \"{domain}\""
        ));
    }
    Ok(())
}

/// Why the authority takes no order.
pub(super) fn order(draft: &Draft<'_>, names: &[String], test: bool) -> Result<(), String> {
    let outside = Outside::of(draft);
    let forbidden = names.iter().find(|name| {
        let mut domains = outside.forbidden.iter();
        domains.any(|domain| *name == domain || name.ends_with(&format!(".{domain}")))
    });
    if let Some(name) = forbidden {
        return Err(format!(
            "Failed to create Order: 400 urn:ietf:params:acme:error:rejectedIdentifier: Invalid identifiers requested :: Cannot issue for \"{name}\": The ACME server refuses to issue a certificate for this domain name, because it is forbidden by policy"
        ));
    }
    let issued = draft.get::<Issued>("").unwrap_or_default();
    let until = issued.refused_until(&joined(names), draft.wall_ms());
    match until.filter(|_| !test) {
        Some(until_ms) => {
            let at = crate::certs::utc(until_ms)
                .replace('T', " ")
                .replace('Z', " UTC");
            Err(format!(
                "Failed to create Order: 429 urn:ietf:params:acme:error:rateLimited: too many certificates ({SAME_NAMES_MAX}) already issued for this exact set of identifiers in the last 168h0m0s, retry after {at}"
            ))
        }
        None => Ok(()),
    }
}

/// Names as the authority compares them.
pub(super) fn joined(names: &[String]) -> String {
    let mut names = names.to_vec();
    names.sort();
    names.join(",")
}
