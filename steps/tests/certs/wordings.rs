//! Complaints as versions of cert-manager, of Go and of the authority word them. The classifier's tables were written without
//! these: what is alike must be taken alike.

use proptest::prelude::*;
use wiab_steps::certs::{Cause, LogScan, classify, until};

const N: &str = "webapp.wire.example.org";

/// Text, cause.
type Wording = (&'static str, Cause);

/// `Get "http://…": ` and this, as a challenge says it.
const CHECKS: &[Wording] = &[
    (
        "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        Cause::Hairpin,
    ),
    ("context deadline exceeded", Cause::Hairpin),
    (
        "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
        Cause::Hairpin,
    ),
    (
        "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
        Cause::Hairpin,
    ),
    (
        "net/http: timeout awaiting response headers",
        Cause::Hairpin,
    ),
    ("dial tcp 198.51.100.7:80: i/o timeout", Cause::Hairpin),
    (
        "dial tcp 198.51.100.7:80: connect: connection timed out",
        Cause::Hairpin,
    ),
    (
        "dial tcp 198.51.100.7:80: connect: operation timed out",
        Cause::Hairpin,
    ),
    (
        "dial tcp 198.51.100.7:80: connect: connection refused",
        Cause::Refused,
    ),
    (
        "dial tcp4 198.51.100.7:80: connect: connection refused",
        Cause::Refused,
    ),
    (
        "dial tcp 198.51.100.7:80: connect: no route to host",
        Cause::NoRoute,
    ),
    (
        "dial tcp 198.51.100.7:80: connect: host is unreachable",
        Cause::NoRoute,
    ),
    (
        "dial tcp 198.51.100.7:80: connect: network is unreachable",
        Cause::NoRoute,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org on 10.233.0.10:53: no such host",
        Cause::NoSuchName,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org on 169.254.25.10:53: no such host",
        Cause::NoSuchName,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org: no such host",
        Cause::NoSuchName,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org on 10.233.0.10:53: server misbehaving",
        Cause::ClusterDns,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org: Temporary failure in name resolution",
        Cause::ClusterDns,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org on 169.254.25.10:53: read udp 10.233.64.7:4711->169.254.25.10:53: i/o timeout",
        Cause::ClusterDns,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org on 10.233.0.10:53: read udp 10.233.64.7:4711->10.233.0.10:53: read: connection refused",
        Cause::ClusterDns,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org on 10.233.0.10:53: dial udp 10.233.0.10:53: connect: network is unreachable",
        Cause::ClusterDns,
    ),
    (
        "dial tcp: lookup webapp.wire.example.org: i/o timeout",
        Cause::ClusterDns,
    ),
    (
        "dial tcp [2001:db8::7]:80: connect: network is unreachable",
        Cause::Ipv6Record,
    ),
    (
        "dial tcp [2001:db8::7]:80: connect: cannot assign requested address",
        Cause::Ipv6Record,
    ),
    ("dial tcp [2001:db8::7]:80: i/o timeout", Cause::Ipv6Record),
    (
        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        Cause::Redirected,
    ),
    (
        "x509: certificate is valid for ingress.local, not webapp.wire.example.org",
        Cause::Redirected,
    ),
    ("remote error: tls: handshake failure", Cause::Redirected),
    (
        "http: server gave HTTP response to HTTPS client",
        Cause::Redirected,
    ),
    ("stopped after 10 redirects", Cause::Redirected),
    ("EOF", Cause::BrokenOff),
    ("unexpected EOF", Cause::BrokenOff),
    (
        "read tcp 10.233.64.7:1->198.51.100.7:80: read: connection reset by peer",
        Cause::BrokenOff,
    ),
    (
        "write tcp 10.233.64.7:1->198.51.100.7:80: write: broken pipe",
        Cause::BrokenOff,
    ),
    ("http: server closed idle connection", Cause::BrokenOff),
    (
        "net/http: HTTP/1.x transport connection broken: malformed HTTP response \"\\x15\\x03\"",
        Cause::BrokenOff,
    ),
];

/// Answers that were not the expected ones.
const ANSWERS: &[Wording] = &[
    ("wrong status code '404', expected '200'", Cause::NotFound),
    (
        "wrong status code \"404\", expected \"200\"",
        Cause::NotFound,
    ),
    ("wrong status code 403, expected 200", Cause::NotFound),
    ("wrong status code '503', expected '200'", Cause::SolverDown),
    ("wrong status code '502', expected '200'", Cause::SolverDown),
    ("wrong status code '504', expected '200'", Cause::SolverDown),
    ("wrong status code '308', expected '200'", Cause::Redirected),
    ("wrong status code '301', expected '200'", Cause::Redirected),
    ("wrong status code '302', expected '200'", Cause::Redirected),
    ("wrong status code '500', expected '200'", Cause::OtherSite),
    (
        "did not get expected response when querying endpoint, expected \"tok.key\" but got: <!DOCTYPE html>... (truncated)",
        Cause::OtherSite,
    ),
    (
        "presented key (<html>) did not match expected (tok.key)",
        Cause::OtherSite,
    ),
];

/// What the authority says to a challenge.
const REFUSALS: &[Wording] = &[
    (
        "400 urn:ietf:params:acme:error:connection: 198.51.100.7: Fetching http://webapp.wire.example.org/.well-known/acme-challenge/t: Timeout during connect (likely firewall problem)",
        Cause::AuthorityCannotConnect,
    ),
    (
        "400 urn:ietf:params:acme:error:connection: 2001:db8::1: Fetching http://webapp.wire.example.org/.well-known/acme-challenge/t: Connection refused",
        Cause::AuthorityCannotConnect,
    ),
    (
        "400 urn:ietf:params:acme:error:connection: During secondary validation: 198.51.100.7: Fetching http://webapp.wire.example.org/.well-known/acme-challenge/t: Timeout during connect",
        Cause::AuthorityCannotConnect,
    ),
    (
        "400 urn:ietf:params:acme:error:dns: DNS problem: NXDOMAIN looking up A for webapp.wire.example.org - check that a DNS record exists for this domain",
        Cause::AuthorityDns,
    ),
    (
        "400 urn:ietf:params:acme:error:dns: During secondary validation: DNS problem: query timed out looking up A for webapp.wire.example.org",
        Cause::AuthorityDns,
    ),
    (
        "400 urn:ietf:params:acme:error:dns: DNS problem: SERVFAIL looking up CAA for wire.example.org - the domain's nameservers may be malfunctioning",
        Cause::AuthorityDns,
    ),
    (
        "403 urn:ietf:params:acme:error:unauthorized: 198.51.100.9: Invalid response from http://webapp.wire.example.org/.well-known/acme-challenge/t: 404",
        Cause::AuthorityUnauthorized,
    ),
    (
        "403 urn:ietf:params:acme:error:unauthorized: The key authorization file from the server did not match this challenge \"tok.key\" != \"other\"",
        Cause::AuthorityUnauthorized,
    ),
    (
        "403 urn:ietf:params:acme:error:caa: CAA record for webapp.wire.example.org prevents issuance",
        Cause::Caa,
    ),
    (
        "403 urn:ietf:params:acme:error:caa: During secondary validation: While processing CAA for webapp.wire.example.org: CAA record for wire.example.org prevents issuance",
        Cause::Caa,
    ),
    (
        "500 urn:ietf:params:acme:error:serverInternal: Remote PerformValidation RPC failed",
        Cause::AuthorityBusy,
    ),
];

/// What stands in other objects and in the log.
const OTHERS: &[Wording] = &[
    (
        "Failed to create Order: 429 urn:ietf:params:acme:error:rateLimited: too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after 2026-01-08 00:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/",
        Cause::RateLimited,
    ),
    (
        "Failed to create Order: 429 urn:ietf:params:acme:error:rateLimited: Error creating new order :: too many certificates already issued for exact set of domains: a.example.org: see https://letsencrypt.org/docs/rate-limits/",
        Cause::RateLimited,
    ),
    (
        "Failed to create Order: 429 urn:ietf:params:acme:error:rateLimited: too many failed authorizations (5) for \"webapp.wire.example.org\" in the last 1h0m0s, retry after 2026-01-01 02:00:00 UTC",
        Cause::RateLimited,
    ),
    (
        "Failed to create Order: 429 urn:ietf:params:acme:error:rateLimited: Error creating new order :: too many new orders recently",
        Cause::RateLimited,
    ),
    (
        "429 urn:ietf:params:acme:error:rateLimited: too many certificates (50) already issued for \"example.org\" in the last 168h0m0s",
        Cause::RateLimited,
    ),
    (
        "acme: request failed: 429 Too Many Requests: too many new orders (300) from this account in the last 3h0m0s, retry after 2026-01-01 02:00:00 UTC",
        Cause::RateLimited,
    ),
    (
        "Failed to create Order: 400 urn:ietf:params:acme:error:rejectedIdentifier: Error creating new order :: Cannot issue for \"webapp.example.dev\": The ACME server refuses to issue a certificate for this domain name, because it is forbidden by policy",
        Cause::RejectedName,
    ),
    (
        "Failed to create Order: 400 urn:ietf:params:acme:error:rejectedIdentifier: Invalid identifiers requested :: Cannot issue for \"a.local\": Domain name does not end with a valid public suffix (TLD)",
        Cause::RejectedName,
    ),
    (
        "Failed to register ACME account: 400 urn:ietf:params:acme:error:invalidContact: Error creating new account :: contact email has forbidden domain \"example.com\"",
        Cause::Contact,
    ),
    (
        "Failed to register ACME account: 400 urn:ietf:params:acme:error:unsupportedContact: contact method \"tel\" is not supported",
        Cause::Contact,
    ),
    (
        "Failed to verify ACME account: 400 urn:ietf:params:acme:error:invalidContact: Error validating contact(s) :: unable to parse email address",
        Cause::Contact,
    ),
    (
        "Failed to verify ACME account: 403 urn:ietf:params:acme:error:unauthorized: Account is not valid, has status \"deactivated\"",
        Cause::Account,
    ),
    (
        "Failed to register ACME account: 400 urn:ietf:params:acme:error:accountDoesNotExist: No account exists with the provided key",
        Cause::Account,
    ),
    (
        "Failed to register ACME account: Get \"https://acme-v02.api.letsencrypt.org/directory\": dial tcp 172.65.32.248:443: i/o timeout",
        Cause::Egress,
    ),
    (
        "Failed to register ACME account: Get \"https://acme-v02.api.letsencrypt.org/directory\": net/http: TLS handshake timeout",
        Cause::Egress,
    ),
    (
        "Failed to register ACME account: Get \"https://acme-v02.api.letsencrypt.org/directory\": dial tcp [2606:4700:60:0:f53d:5624:85c7:3a2c]:443: connect: network is unreachable",
        Cause::Egress,
    ),
    (
        "Failed to register ACME account: Get \"https://acme-v02.api.letsencrypt.org/directory\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        Cause::Egress,
    ),
    (
        "Failed to register ACME account: Get \"https://acme-v02.api.letsencrypt.org/directory\": dial tcp: lookup acme-v02.api.letsencrypt.org on 10.233.0.10:53: server misbehaving",
        Cause::ClusterDns,
    ),
    (
        "Failed to register ACME account: Get \"https://acme-v02.api.letsencrypt.org/directory\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        Cause::Intercepted,
    ),
    (
        "Failed to register ACME account: Get \"https://acme-v02.api.letsencrypt.org/directory\": x509: certificate has expired or is not yet valid: current time 2019-01-01T00:00:00Z is before 2025-01-01T00:00:00Z",
        Cause::Clock,
    ),
    (
        "Failed to create Order: Post \"https://acme-v02.api.letsencrypt.org/acme/new-order\": dial tcp 172.65.32.248:443: connect: connection refused",
        Cause::Egress,
    ),
    (
        "acme: error code 503 \"urn:ietf:params:acme:error:rateLimited\": Service busy; retry later.",
        Cause::AuthorityBusy,
    ),
    (
        "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \"https://cert-manager-webhook.cert-manager-ns.svc:443/validate?timeout=30s\": dial tcp 10.233.1.2:443: connect: connection refused",
        Cause::Webhook,
    ),
    (
        "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": Post \"https://cert-manager-webhook.cert-manager-ns.svc:443/mutate?timeout=10s\": x509: certificate signed by unknown authority",
        Cause::Webhook,
    ),
    (
        "failed calling webhook \"webhook.cert-manager.io\": no endpoints available for service \"cert-manager-webhook\"",
        Cause::Webhook,
    ),
    (
        "Error presenting challenge: Internal error occurred: failed calling webhook \"validate.nginx.ingress.kubernetes.io\": failed to call webhook: Post \"https://ingress-nginx-controller-admission.default.svc:443/networking/v1/ingresses?timeout=10s\": context deadline exceeded",
        Cause::IngressWebhook,
    ),
    (
        "Error presenting challenge: admission webhook \"validate.nginx.ingress.kubernetes.io\" denied the request: host \"a\" and path \"/\" is already defined",
        Cause::IngressWebhook,
    ),
    (
        "The CertificateRequest was denied by an approval controller: CertificateRequest policy has denied it",
        Cause::Denied,
    ),
    (
        "Referenced \"ClusterIssuer\" not found: clusterissuer.cert-manager.io \"letsencrypt-http01\" not found",
        Cause::Issuer,
    ),
    (
        "Referenced issuer does not have a Ready status condition: issuer not ready",
        Cause::Issuer,
    ),
    (
        "no configured challenge solvers can be used for this challenge",
        Cause::Issuer,
    ),
    (
        "\"Backing off from issuance due to previously failed issuance(s). Issuance will next be attempted at 2026-01-01 01:05:00 +0000 UTC\" key=\"default/sftd\"",
        Cause::Backoff,
    ),
    (
        "ImagePullBackOff of quay.io/jetstack/cert-manager-acmesolver:v1.16.3: Back-off pulling image \"quay.io/jetstack/cert-manager-acmesolver:v1.16.3\"",
        Cause::SolverDown,
    ),
    (
        "Failed to pull image \"quay.io/jetstack/cert-manager-acmesolver:v1.12.0\": rpc error: code = Unknown desc = failed to pull and unpack image: dial tcp: lookup quay.io: i/o timeout",
        Cause::SolverDown,
    ),
];

/// Every wording, as each place repeats it.
fn all() -> Vec<(String, Cause)> {
    let url = format!("http://{N}/.well-known/acme-challenge/tok");
    let mut texts: Vec<(String, Cause)> = Vec::new();
    for (error, cause) in CHECKS {
        for text in [
            // 1.6 and later; before; and as Go words a request of its own.
            format!("failed to perform self check GET request '{url}': Get \"{url}\": {error}"),
            format!("http-01 self check failed for domain \"{N}\": Get {url}: {error}"),
            format!("failed to perform self-check GET request: Get \"{url}\": {error}"),
        ] {
            texts.push((text, *cause));
        }
    }
    texts.extend(
        ANSWERS
            .iter()
            .map(|(text, cause)| ((*text).to_owned(), *cause)),
    );
    for (error, cause) in REFUSALS {
        texts.push((
            format!("Error accepting authorization: acme: authorization error for {N}: {error}"),
            *cause,
        ));
        texts.push((format!("Failed to accept authorization: {error}"), *cause));
    }
    texts.extend(
        OTHERS
            .iter()
            .map(|(text, cause)| ((*text).to_owned(), *cause)),
    );
    texts
}

fn places(text: &str) -> Vec<String> {
    let quoted = text.replace('"', "\\\"");
    vec![
        text.to_owned(),
        format!("Waiting for HTTP-01 challenge propagation: {text}"),
        format!(
            "Failed to wait for order resource \"o-1\" to become ready: order is in \"invalid\" state: {text}"
        ),
        format!("The certificate request has failed to complete and will be retried: {text}"),
        // klog as of 1.13 and later, and before; and as JSON.
        format!(
            "E0101 00:00:00.000000       1 sync.go:208] \"propagation check failed\" err=\"{quoted}\" logger=\"cert-manager.controller\" resource_name=\"c-1\" dnsName=\"{N}\" type=\"HTTP-01\""
        ),
        format!(
            "E0101 00:00:00.000000       1 sync.go:190] cert-manager/challenges \"msg\"=\"propagation check failed\" \"error\"=\"{quoted}\" \"dnsName\"=\"{N}\" \"resource_kind\"=\"Challenge\" \"type\"=\"HTTP-01\""
        ),
        format!(
            "{{\"ts\":1767225600000.1,\"caller\":\"acmechallenges/sync.go:208\",\"msg\":\"propagation check failed\",\"err\":\"{quoted}\",\"dnsName\":\"{N}\"}}"
        ),
    ]
}

#[test]
fn wordings_that_are_alike_are_taken_alike() {
    let mut wrong = Vec::new();
    for (text, cause) in all() {
        for text in places(&text) {
            let found = classify(&text).map(|found| found.cause());
            if found != Some(cause) {
                wrong.push(format!("{found:?} instead of {cause:?}: {text}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_is_not_known_stays_unknown() {
    for text in [
        "",
        "Waiting for HTTP-01 challenge propagation",
        "the moon is in the wrong phase",
        "order is in \"invalid\" state",
        "Waiting on certificate issuance from order default/o-1: \"pending\"",
        "Issuing certificate as Secret does not exist",
        "E0101 00:00:00.000000 1 x.go:1] \"something new went wrong\" err=\"flux capacitor\"",
        "urn:ietf:params:acme:error:somethingNew: never heard of it",
    ] {
        assert_eq!(classify(text).map(|found| found.cause()), None, "{text}");
    }
}

#[test]
fn every_cause_that_somebody_can_say_is_said_by_some_wording() {
    // These follow from what is measured.
    let measured = [
        Cause::NotForwarded,
        Cause::BridgedHairpin,
        Cause::RouterLoopback,
        Cause::Filtered,
        Cause::ManagerDown,
    ];
    let texts = all();
    for cause in Cause::ALL.iter().filter(|cause| !measured.contains(cause)) {
        assert!(texts.iter().any(|(_, known)| known == cause), "{cause:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_harm(text in "\\PC{0,400}", cut in 0_usize..400) {
        let _ = classify(&text);
        let _ = until(&text);
        let mut scan = LogScan::default();
        scan.line(&text);
        let (mixed, at) = (all()[cut % all().len()].0.clone(), cut.min(text.len()));
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let woven = format!("{}{mixed}{}", &text[..at], &text[at..]);
        let _ = classify(&woven);
        let _ = until(&format!("retry after {woven}"));
        scan.line(&woven);
        prop_assert!(scan.heard.len() <= 2);
    }

    #[test]
    fn whatever_is_logged_little_is_kept(lines in proptest::collection::vec("E0[0-9]{3} err=\"[a-z:0-9 ]{0,80}\" dnsName=\"[a-z]{1,9}\\.org\"", 0..300)) {
        let scan = LogScan::of(&lines.join("\n"));
        prop_assert!(scan.heard.len() <= 48);
        prop_assert!(scan.text().len() <= 48 * 640);
        let counted: u64 = scan.heard.iter().map(|heard| heard.count).sum();
        prop_assert!(counted + scan.dropped <= scan.lines);
    }
}
