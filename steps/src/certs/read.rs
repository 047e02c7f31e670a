//! What a complaint says, whatever its wording: who speaks, what happened, about which name, until when.
//!
//! The same trouble is worded differently by versions of cert-manager, of Go's network library and of the authority's
//! server. Only key phrases count, and where they stand: a phrase of a name server is one even when a timeout follows.

use super::parse_utc;

/// Most bytes of a text that are looked at: its beginning, and its end, where Go's errors have their root.
const HEAD_BYTES: usize = 3 << 10;
const TAIL_BYTES: usize = 3 << 10;

/// Who speaks, or on the way to whom it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The authority, about a challenge or an order.
    Authority,
    /// The issuer, about its account.
    Account,
    /// cert-manager on its way to the authority.
    ToAuthority,
    /// cert-manager's own check of a challenge.
    SelfCheck,
    /// A webhook of cert-manager.
    Webhook,
    /// A webhook of the ingress controller.
    IngressWebhook,
    /// cert-manager or Kubernetes, about objects of the cluster.
    Cluster,
    /// Nobody that is known.
    Nobody,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Limit,
    Caa,
    Rejected,
    Contact,
    AccountRefused,
    AuthorityConnect,
    AuthorityDns,
    Unauthorized,
    AuthorityBusy,
    NoSuchHost,
    NameServer,
    V6,
    Clock,
    Tls,
    Refused,
    NoRoute,
    Broken,
    TimedOut,
    Missing,
    Unavailable,
    Moved,
    Status,
    OtherAnswer,
    Backoff,
    Denied,
    NoIssuer,
    NoImage,
    NotRunning,
    WebhookFails,
}

/// Phrases that must all occur, and what they mean. The first row that fits counts.
type Phrases<T> = &'static [(&'static [&'static str], T)];

/// The error types of RFC 8555 and of Let's Encrypt, in lower case.
const URNS: &[(&str, What)] = &[
    ("ratelimited", What::Limit),
    ("caa", What::Caa),
    ("rejectedidentifier", What::Rejected),
    ("unsupportedidentifier", What::Rejected),
    ("invalidcontact", What::Contact),
    ("unsupportedcontact", What::Contact),
    ("accountdoesnotexist", What::AccountRefused),
    ("externalaccountrequired", What::AccountRefused),
    ("useractionrequired", What::AccountRefused),
    ("connection", What::AuthorityConnect),
    ("tls", What::AuthorityConnect),
    ("dns", What::AuthorityDns),
    ("unknownhost", What::AuthorityDns),
    ("unauthorized", What::Unauthorized),
    ("incorrectresponse", What::Unauthorized),
    ("serverinternal", What::AuthorityBusy),
    ("badnonce", What::AuthorityBusy),
];

/// What it says when it is overloaded, whatever type it names with it.
const BUSY: &str = "service busy";

/// What the authority says without naming the type.
const SAID: Phrases<What> = &[
    (&["too many certificates"], What::Limit),
    (&["too many failed authorizations"], What::Limit),
    (&["too many new orders"], What::Limit),
    (&["too many registrations"], What::Limit),
    (&["too many currently pending"], What::Limit),
    (&["429 too many requests"], What::Limit),
    (&["caa record", "prevents issuance"], What::Caa),
    (&["contact email", "forbidden domain"], What::Contact),
    (&["contact email", "invalid domain"], What::Contact),
    (&["policy forbids issuing"], What::Rejected),
    (&["forbidden by policy"], What::Rejected),
    (&["dns problem:"], What::AuthorityDns),
    (&["timeout during connect"], What::AuthorityConnect),
    (&["invalid response from http"], What::Unauthorized),
    (&["account is not valid"], What::AccountRefused),
    (
        &["no account exists with the provided key"],
        What::AccountRefused,
    ),
];

const SPEAKERS: Phrases<Who> = &[
    (&["acmesolver", "pull"], Who::Cluster),
    (&["webhook", "nginx.ingress"], Who::IngressWebhook),
    (&["failed calling webhook", "cert-manager"], Who::Webhook),
    (&["failed to call webhook", "cert-manager"], Who::Webhook),
    (&["failed calling webhook", "nginx"], Who::IngressWebhook),
    (&["failed calling webhook", "ingress"], Who::IngressWebhook),
    (&["admission webhook", "nginx"], Who::IngressWebhook),
    (&["register acme account"], Who::Account),
    (&["errregisteracmeaccount"], Who::Account),
    (&["verify acme account"], Who::Account),
    (&["errverifyacmeaccount"], Who::Account),
    (&["retrieve acme account"], Who::Account),
    (&["acme-v02"], Who::ToAuthority),
    (&["acme-staging"], Who::ToAuthority),
    (&["/directory\""], Who::ToAuthority),
    (&["new-order"], Who::ToAuthority),
    (&["failed to create order"], Who::ToAuthority),
    (&["self check"], Who::SelfCheck),
    (&["self-check"], Who::SelfCheck),
    (&["selfcheck"], Who::SelfCheck),
    (&["propagation"], Who::SelfCheck),
    (&["/.well-known/acme-challenge/"], Who::SelfCheck),
    (&["wrong status code"], Who::SelfCheck),
    (&["did not get expected response"], Who::SelfCheck),
    (&["did not match expected"], Who::SelfCheck),
    (&["certificaterequest"], Who::Cluster),
    (&["issuer"], Who::Cluster),
    (&["issuance"], Who::Cluster),
    (&["acmesolver"], Who::Cluster),
    (&["cm-acme-http-solver"], Who::Cluster),
    (&["cert-manager"], Who::Cluster),
];

/// What goes wrong on a network, from the narrow to the broad.
const NETWORK: Phrases<What> = &[
    (&["lookup ", "no such host"], What::NoSuchHost),
    (&["lookup ", "nxdomain"], What::NoSuchHost),
    (&["name or service not known"], What::NoSuchHost),
    (&["could not resolve host"], What::NoSuchHost),
    (&["lookup ", "server misbehaving"], What::NameServer),
    (&["lookup ", "servfail"], What::NameServer),
    (
        &["lookup ", "temporary failure in name resolution"],
        What::NameServer,
    ),
    (&["lookup ", ":53", "timeout"], What::NameServer),
    (&["lookup ", ":53", "refused"], What::NameServer),
    (&["lookup ", ":53", "unreachable"], What::NameServer),
    (&["lookup ", "i/o timeout"], What::NameServer),
    (&["lookup ", "cannot unmarshal dns"], What::NameServer),
    (&["dial tcp [", "unreachable"], What::V6),
    (&["dial tcp [", "cannot assign requested address"], What::V6),
    (&["dial tcp [", "no route to host"], What::V6),
    (&["dial tcp [", "timeout"], What::V6),
    (&["dial tcp [", "refused"], What::V6),
    (
        &["certificate has expired or is not yet valid"],
        What::Clock,
    ),
    (&["x509:"], What::Tls),
    (&["tls: "], What::Tls),
    (
        &["first record does not look like a tls handshake"],
        What::Tls,
    ),
    (&["server gave http response to https client"], What::Tls),
    (&["stopped after", "redirects"], What::Moved),
    (&["connection refused"], What::Refused),
    (&["actively refused"], What::Refused),
    (&["no route to host"], What::NoRoute),
    (&["host is down"], What::NoRoute),
    (&["network is unreachable"], What::NoRoute),
    (&["host is unreachable"], What::NoRoute),
    (&["reset by peer"], What::Broken),
    (&["broken pipe"], What::Broken),
    (&["unexpected eof"], What::Broken),
    (&[": eof"], What::Broken),
    (&["server closed idle connection"], What::Broken),
    (&["malformed http response"], What::Broken),
    (&["context deadline exceeded"], What::TimedOut),
    (&["client.timeout"], What::TimedOut),
    (&["i/o timeout"], What::TimedOut),
    (&["timeout awaiting"], What::TimedOut),
    (&["handshake timeout"], What::TimedOut),
    (&["timed out"], What::TimedOut),
];

/// What another answer than the expected looks like.
const ANSWERS: Phrases<What> = &[
    (&["did not get expected response"], What::OtherAnswer),
    (&["did not match expected"], What::OtherAnswer),
    (&["unexpected response", "expected"], What::OtherAnswer),
    (&["presented key", "expected"], What::OtherAnswer),
];

/// What happens inside the cluster.
const INSIDE: Phrases<What> = &[
    (&["backing off from issuance"], What::Backoff),
    (&["back-off from issuance"], What::Backoff),
    (&["issuance will next be attempted at"], What::Backoff),
    (&["certificaterequest", "denied"], What::Denied),
    (&["has been denied"], What::Denied),
    (&["referenced", "issuer", "not found"], What::NoIssuer),
    (&["issuer", "not ready"], What::NoIssuer),
    (&["issuer", "missing ready condition"], What::NoIssuer),
    (&["no configured challenge solvers"], What::NoIssuer),
    (&["acmesolver", "imagepullbackoff"], What::NoImage),
    (&["acmesolver", "errimagepull"], What::NoImage),
    (&["acmesolver", "back-off pulling image"], What::NoImage),
    (&["acmesolver", "failed to pull"], What::NoImage),
    (&["cert-manager", "crashloopbackoff"], What::NotRunning),
    (&["cert-manager", "no running pod"], What::NotRunning),
];

/// A complaint, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) who: Who,
    pub(super) what: Option<What>,
}

fn first<T: Copy>(rows: Phrases<T>, text: &str) -> Option<T> {
    let fits = |phrases: &[&str]| phrases.iter().all(|phrase| text.contains(phrase));
    rows.iter()
        .find(|(phrases, _)| fits(phrases))
        .map(|(_, meaning)| *meaning)
}

/// Lower case, one kind of quotation mark, bounded.
pub(super) fn plain(text: &str) -> String {
    let mut head = text.len().min(HEAD_BYTES);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len().saturating_sub(TAIL_BYTES).max(head);
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    let parts = [text.get(..head), text.get(tail..)];
    let mut plain = String::with_capacity(HEAD_BYTES.min(text.len()));
    for part in parts.into_iter().flatten() {
        plain.extend(part.chars().filter(|c| *c != '\\').map(|c| match c {
            '\'' | '`' => '"',
            c => c.to_ascii_lowercase(),
        }));
    }
    plain
}

/// The type that an answer of the authority names.
fn urn(text: &str) -> Option<What> {
    let (_, rest) = text
        .split_once("urn:ietf:params:acme:error:")
        .or_else(|| text.split_once("urn:acme:error:"))?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
    let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    let found = URNS.iter().find(|(known, _)| *known == name);
    found.map(|(_, what)| *what)
}

/// The status code that was not the expected one.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text
        .split_once("status code")
        .or_else(|| text.split_once("unexpected status"))?;
    let near: String = rest.chars().take(48).collect();
    let mut numbers = near.split(|c: char| !c.is_ascii_digit());
    numbers.find_map(|digits| {
        let code = (digits.len() == 3).then(|| digits.parse::<u16>().ok())??;
        ((100..600).contains(&code) && code != 200).then_some(code)
    })
}

fn by_status(code: u16) -> What {
    match code {
        300..400 => What::Moved,
        403 | 404 | 405 | 410 => What::Missing,
        502..=504 => What::Unavailable,
        _ => What::Status,
    }
}

/// Reads a text that [`plain`] made.
pub(super) fn read(text: &str) -> Reading {
    let spoken = first(SPEAKERS, text).unwrap_or(Who::Nobody);
    let busy = text.contains(BUSY).then_some(What::AuthorityBusy);
    let said = busy.or_else(|| urn(text)).or_else(|| first(SAID, text));
    if let Some(what) = said {
        let who = match spoken {
            Who::Account => Who::Account,
            _ => Who::Authority,
        };
        return Reading {
            who,
            what: Some(what),
        };
    }
    let network = || first(NETWORK, text);
    let what = match spoken {
        Who::Webhook | Who::IngressWebhook => Some(What::WebhookFails),
        Who::SelfCheck => first(ANSWERS, text)
            .or_else(|| status(text).map(by_status))
            .or_else(network),
        Who::Account | Who::ToAuthority => network().or_else(|| match status(text)? {
            500..600 => Some(What::AuthorityBusy),
            429 => Some(What::Limit),
            _ => None,
        }),
        Who::Cluster | Who::Authority | Who::Nobody => first(INSIDE, text),
    };
    match (spoken, what) {
        // What happens inside the cluster may be told in the same breath.
        (Who::SelfCheck, None) => Reading {
            who: Who::Cluster,
            what: first(INSIDE, text),
        },
        _ => Reading { who: spoken, what },
    }
}

/// Until when the authority refuses, or cert-manager waits, as the text says it; and the same as Unix time in milliseconds.
pub fn until(text: &str) -> Option<(&str, u64)> {
    let marks = ["retry after ", "next be attempted at ", "Retry-After: "];
    marks.into_iter().find_map(|mark| {
        let (_, rest) = text.split_once(mark)?;
        let rest = rest.trim_start_matches(['"', '\\', ' ']);
        // `2026-01-08 00:00:00` and what belongs to it.
        let stamp = rest.get(..19)?;
        let at_ms = parse_utc(&format!("{stamp}Z"))?;
        let tail = rest.get(19..).unwrap_or_default();
        let more = if tail.starts_with(" UTC") {
            4
        } else {
            usize::from(tail.starts_with('Z'))
        };
        Some((rest.get(..19 + more)?, at_ms))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_refusal_is_read() {
        let at_ms = parse_utc("2026-01-08T00:00:00Z").unwrap();
        for (text, shown) in [
            (
                "in the last 168h0m0s, retry after 2026-01-08 00:00:00 UTC: see https://docs.example.org",
                "2026-01-08 00:00:00 UTC",
            ),
            ("retry after 2026-01-08T00:00:00Z", "2026-01-08T00:00:00Z"),
            (
                "Issuance will next be attempted at \\\"2026-01-08T00:00:00Z\\\"",
                "2026-01-08T00:00:00Z",
            ),
            (
                "next be attempted at 2026-01-08 00:00:00.25 +0000 UTC m=+3601.2",
                "2026-01-08 00:00:00",
            ),
        ] {
            assert_eq!(until(text), Some((shown, at_ms)), "{text}");
        }
        for text in [
            "too many new orders",
            "retry after",
            "retry after é2026-01-08 00:00:00",
        ] {
            assert_eq!(until(text), None, "{text}");
        }
    }

    #[test]
    fn a_status_code_is_the_one_that_was_not_expected() {
        assert_eq!(
            status("wrong status code \"404\", expected \"200\""),
            Some(404)
        );
        assert_eq!(status("expected status code 200, got 503"), Some(503));
        assert_eq!(status("status code 12345"), None);
        assert_eq!(status("404"), None);
    }

    #[test]
    fn long_texts_are_read_at_both_ends() {
        let long = format!("self check {} connection refused", "ä".repeat(20_000));
        let text = plain(&long);
        assert!(text.len() <= HEAD_BYTES + TAIL_BYTES);
        assert_eq!(read(&text).what, Some(What::Refused));
    }
}
