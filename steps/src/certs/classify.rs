//! From a complaint of cert-manager to its cause, the step that cures it, and how long it may still go away by itself.

use super::signs::SIGNS;

/// Why a certificate is not issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The self-check's packets are lost: the way from the VMs to the public address and back is missing.
    Hairpin,
    /// Nothing listens where the self-check arrives.
    Refused,
    /// A node is not reachable.
    NoRoute,
    /// The name server says that there is no such name.
    NoSuchName,
    /// The cluster's own name service does not answer.
    ClusterDns,
    /// Another web server, or another part of this one, answers.
    NotFound,
    /// The solver's pod does not run.
    SolverDown,
    /// The answer is a redirection that the check does not survive.
    Redirected,
    /// Another site answers.
    OtherSite,
    /// The connection breaks off.
    BrokenOff,
    /// The authority does not reach port 80.
    AuthorityCannotConnect,
    /// The authority does not find the name.
    AuthorityDns,
    /// The authority is answered by something else.
    AuthorityUnauthorized,
    /// A CAA record forbids the authority.
    Caa,
    /// The authority's limit is reached.
    RateLimited,
    /// The authority does not issue for this name.
    RejectedName,
    /// The authority does not accept the mail address.
    Contact,
    /// The VMs do not reach the authority.
    Egress,
    /// cert-manager's own webhook does not answer.
    Webhook,
}

/// How a complaint is known, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// What it is.
    pub(super) cause: Cause,
    /// Phrases that must all occur, in lower case.
    pub(super) all: &'static [&'static str],
    /// Phrases of which none may occur.
    pub(super) none: &'static [&'static str],
    /// What it means, in one sentence without a full stop.
    pub(super) meaning: &'static str,
    /// The step whose work cures it, or that looks at it.
    pub(super) step: &'static str,
    /// What to do: `{name}` and `{host_ip}` are replaced.
    pub(super) cure: &'static str,
    /// How long it may go away by itself, in milliseconds.
    pub(super) patience_ms: u64,
}

/// What a complaint means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagnosis {
    sign: &'static Sign,
}

impl Diagnosis {
    /// The cause.
    pub fn cause(&self) -> Cause {
        self.sign.cause
    }

    /// What it means, in one sentence.
    pub fn meaning(&self) -> &'static str {
        self.sign.meaning
    }

    /// The id of the step that cures it or looks at it.
    pub fn step(&self) -> &'static str {
        self.sign.step
    }

    /// How long it may still go away by itself, in milliseconds.
    pub fn patience_ms(&self) -> u64 {
        self.sign.patience_ms
    }

    /// What the operator can do.
    pub fn cure(&self, name: &str, host_ip: &str) -> String {
        self.sign
            .cure
            .replace("{name}", name)
            .replace("{host_ip}", host_ip)
    }
}

/// What a reason of a challenge, order, request, certificate or issuer means, or a line of the controller's log with one.
/// `None` for what is not known: then the raw text is all there is to say.
pub fn classify(text: &str) -> Option<Diagnosis> {
    let text = text.to_lowercase();
    let fits = |sign: &&'static Sign| {
        sign.all.iter().all(|phrase| text.contains(phrase))
            && !sign.none.iter().any(|phrase| text.contains(phrase))
    };
    SIGNS.iter().find(fits).map(|sign| Diagnosis { sign })
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: &str = "webapp.wire.example.org";

    /// Every row of the table of signatures, built here from its phrases.
    fn samples() -> Vec<(String, Cause, &'static str)> {
        let get = format!(
            "failed to perform self check GET request 'http://{N}/.well-known/acme-challenge/tok': Get \"http://{N}/.well-known/acme-challenge/tok\":"
        );
        let checked = |err: &str, cause, step| (format!("{get} {err}"), cause, step);
        let refused = |urn: &str, detail: &str, cause, step| {
            (
                format!(
                    "Error accepting authorization: acme: authorization error for {N}: {urn}: {detail}"
                ),
                cause,
                step,
            )
        };
        let urn = |code: u16, kind: &str| format!("{code} urn:ietf:params:acme:error:{kind}");
        vec![
            checked("context deadline exceeded (Client.Timeout exceeded while awaiting headers)", Cause::Hairpin, "hp.snat"),
            checked("dial tcp 198.51.100.7:80: i/o timeout", Cause::Hairpin, "hp.snat"),
            checked("dial tcp 198.51.100.7:80: connect: connection refused", Cause::Refused, "fw.apply"),
            checked("dial tcp 198.51.100.7:80: connect: no route to host", Cause::NoRoute, "fw.apply"),
            checked(&format!("dial tcp: lookup {N} on 10.233.0.10:53: no such host"), Cause::NoSuchName, "pre.dns"),
            checked(&format!("dial tcp: lookup {N} on 10.233.0.10:53: server misbehaving"), Cause::ClusterDns, "k8s.verify"),
            checked(&format!("dial tcp: lookup {N} on 169.254.25.10:53: read udp 10.233.64.7:4711->169.254.25.10:53: i/o timeout"), Cause::ClusterDns, "k8s.verify"),
            ("wrong status code '404', expected '200'".into(), Cause::NotFound, "pre.dns"),
            ("wrong status code '503', expected '200'".into(), Cause::SolverDown, "k8s.seed-helm"),
            ("wrong status code '308', expected '200'".into(), Cause::Redirected, "helm.nginx-ingress-services"),
            ("wrong status code '301', expected '200'".into(), Cause::Redirected, "helm.nginx-ingress-services"),
            checked("tls: failed to verify certificate: x509: unknown authority", Cause::Redirected, "helm.nginx-ingress-services"),
            (format!("did not get expected response when querying endpoint, expected \"tok.key\" but got: <html> (truncated) {N}"), Cause::OtherSite, "pre.dns"),
            checked("EOF", Cause::BrokenOff, "helm.ingress-nginx-controller"),
            checked("read tcp 10.233.64.7:1->198.51.100.7:80: read: connection reset by peer", Cause::BrokenOff, "helm.ingress-nginx-controller"),
            refused(&urn(400, "connection"), "198.51.100.7: Fetching http://a.example.org/: Timeout during connect (likely firewall problem)", Cause::AuthorityCannotConnect, "pre.dns"),
            refused(&urn(400, "connection"), "2001:db8::1: Connection refused", Cause::AuthorityCannotConnect, "pre.dns"),
            refused(&urn(400, "dns"), &format!("DNS problem: NXDOMAIN looking up A for {N}"), Cause::AuthorityDns, "pre.dns"),
            refused(&urn(400, "dns"), &format!("DNS problem: SERVFAIL looking up A for {N}"), Cause::AuthorityDns, "pre.dns"),
            refused(&urn(403, "unauthorized"), &format!("198.51.100.9: Invalid response from http://{N}/.well-known/x: 404"), Cause::AuthorityUnauthorized, "pre.dns"),
            refused(&urn(403, "caa"), &format!("CAA record for {N} prevents issuance"), Cause::Caa, "pre.dns"),
            (format!("Failed to create Order: {}: too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after 2026-01-08 00:00:00 UTC", urn(429, "rateLimited")), Cause::RateLimited, "cert.wait"),
            (format!("Failed to create Order: {}: too many failed authorizations (5) for \"{N}\" in the last 1h0m0s, retry after 2026-01-01 02:00:00 UTC", urn(429, "rateLimited")), Cause::RateLimited, "cert.wait"),
            (format!("Failed to create Order: {}: too many new orders", urn(429, "rateLimited")), Cause::RateLimited, "cert.wait"),
            (format!("Failed to create Order: {}: Error creating new order :: Cannot issue for \"{N}\": The ACME server refuses; policy forbids issuing", urn(400, "rejectedIdentifier")), Cause::RejectedName, "pre.inputs"),
            (format!("Failed to register ACME account: {}: contact email has forbidden domain \"example.com\"", urn(400, "invalidContact")), Cause::Contact, "pre.inputs"),
            ("ErrRegisterACMEAccount: Failed to register ACME account: Get \"https://acme-v02.api.letsencrypt.org/directory\": dial tcp 172.65.32.248:443: i/o timeout".into(), Cause::Egress, "egress.open"),
            ("Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: connect: connection refused".into(), Cause::Webhook, "helm.cert-manager"),
            ("failed calling webhook \"webhook.cert-manager.io\": no endpoints available for service \"cert-manager-webhook\"".into(), Cause::Webhook, "helm.cert-manager"),
        ]
    }

    #[test]
    fn every_known_complaint_has_one_cause_and_one_step() {
        for (text, cause, step) in samples() {
            // As the challenge says it, as the request repeats it, and as the controller logs it.
            for text in [
                text.clone(),
                format!("Waiting for HTTP-01 challenge propagation: {text}"),
                format!(
                    "Failed to wait for order resource \"o-1\" to become ready: order is in \"invalid\" state: {text}"
                ),
                format!(
                    "E0101 00:00:00.000000 1 sync.go:208] \"propagation check failed\" err=\"{}\" logger=\"cert-manager.controller\" resource_name=\"c-1\" type=\"HTTP-01\"",
                    text.replace('"', "\\\"")
                ),
            ] {
                let found = classify(&text).unwrap_or_else(|| panic!("unknown: {text}"));
                assert_eq!((found.cause(), found.step()), (cause, step), "{text}");
                let fits = SIGNS.iter().filter(|sign| {
                    sign.cause == cause
                        && sign
                            .all
                            .iter()
                            .all(|phrase| text.to_lowercase().contains(phrase))
                });
                assert!(fits.count() >= 1);
            }
        }
    }

    #[test]
    fn every_sign_is_reached_and_tells_what_to_do() {
        let samples = samples();
        for sign in SIGNS {
            let reached = samples.iter().any(|(text, _, _)| {
                classify(text).is_some_and(|found| std::ptr::eq(found.sign, sign))
            });
            assert!(reached, "no sample reaches {sign:?}");
            let cure = Diagnosis { sign }.cure(N, "198.51.100.7");
            assert!(cure.contains("wiab ") && !cure.contains('{'), "{cure}");
            assert!(!sign.meaning.ends_with('.'));
            assert!(
                sign.all
                    .iter()
                    .all(|phrase| *phrase == phrase.to_lowercase())
            );
        }
    }

    #[test]
    fn what_is_not_known_stays_unknown() {
        for text in [
            "",
            "Waiting for HTTP-01 challenge propagation",
            "the moon is in the wrong phase",
            "order is in \"invalid\" state",
        ] {
            assert_eq!(classify(text), None, "{text}");
        }
    }
}
