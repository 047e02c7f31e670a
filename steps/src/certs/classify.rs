//! From a complaint of cert-manager to its cause, the step that cures it, and how long it may still go away by itself.

use super::cause::Cause;
use super::read::{What, Who, plain, read};
use super::signs::{Sign, sign};

/// Which cause it is when that happens to those. The first row that fits counts.
const RULES: &[(&[Who], What, Cause)] = &[
    (
        &[Who::Authority, Who::Account, Who::ToAuthority],
        What::Limit,
        Cause::RateLimited,
    ),
    (&[Who::Authority], What::Caa, Cause::Caa),
    (&[Who::Authority], What::Rejected, Cause::RejectedName),
    (
        &[Who::Authority, Who::Account],
        What::Contact,
        Cause::Contact,
    ),
    (
        &[Who::Authority, Who::Account],
        What::AccountRefused,
        Cause::Account,
    ),
    // Who is not let in before there is a name to be checked has a wrong account.
    (&[Who::Account], What::Unauthorized, Cause::Account),
    (
        &[Who::Authority],
        What::AuthorityConnect,
        Cause::AuthorityCannotConnect,
    ),
    (&[Who::Authority], What::AuthorityDns, Cause::AuthorityDns),
    (
        &[Who::Authority],
        What::Unauthorized,
        Cause::AuthorityUnauthorized,
    ),
    (
        &[Who::Authority, Who::Account, Who::ToAuthority],
        What::AuthorityBusy,
        Cause::AuthorityBusy,
    ),
    (&[Who::Account, Who::ToAuthority], What::Clock, Cause::Clock),
    (
        &[Who::Account, Who::ToAuthority],
        What::Tls,
        Cause::Intercepted,
    ),
    (
        &[Who::Account, Who::ToAuthority],
        What::NoSuchHost,
        Cause::ClusterDns,
    ),
    (
        &[Who::Account, Who::ToAuthority],
        What::TimedOut,
        Cause::Egress,
    ),
    (
        &[Who::Account, Who::ToAuthority],
        What::Refused,
        Cause::Egress,
    ),
    (
        &[Who::Account, Who::ToAuthority],
        What::NoRoute,
        Cause::Egress,
    ),
    (&[Who::Account, Who::ToAuthority], What::V6, Cause::Egress),
    (
        &[Who::Account, Who::ToAuthority],
        What::Broken,
        Cause::Egress,
    ),
    (
        &[Who::Account, Who::ToAuthority, Who::SelfCheck],
        What::NameServer,
        Cause::ClusterDns,
    ),
    (&[Who::Webhook], What::WebhookFails, Cause::Webhook),
    (
        &[Who::IngressWebhook],
        What::WebhookFails,
        Cause::IngressWebhook,
    ),
    (&[Who::SelfCheck], What::NoSuchHost, Cause::NoSuchName),
    (&[Who::SelfCheck], What::V6, Cause::Ipv6Record),
    (&[Who::SelfCheck], What::Unavailable, Cause::SolverDown),
    (&[Who::SelfCheck], What::Missing, Cause::NotFound),
    (&[Who::SelfCheck], What::Moved, Cause::Redirected),
    (&[Who::SelfCheck], What::Tls, Cause::Redirected),
    (&[Who::SelfCheck], What::Clock, Cause::Redirected),
    (&[Who::SelfCheck], What::OtherAnswer, Cause::OtherSite),
    (&[Who::SelfCheck], What::Status, Cause::OtherSite),
    (&[Who::SelfCheck], What::Refused, Cause::Refused),
    (&[Who::SelfCheck], What::NoRoute, Cause::NoRoute),
    (&[Who::SelfCheck], What::Broken, Cause::BrokenOff),
    (&[Who::SelfCheck], What::TimedOut, Cause::Hairpin),
    (&[Who::Cluster, Who::Nobody], What::Backoff, Cause::Backoff),
    (&[Who::Cluster, Who::Nobody], What::Denied, Cause::Denied),
    (&[Who::Cluster, Who::Nobody], What::NoIssuer, Cause::Issuer),
    (
        &[Who::Cluster, Who::Nobody],
        What::NoImage,
        Cause::SolverDown,
    ),
    (
        &[Who::Cluster, Who::Nobody],
        What::NotRunning,
        Cause::ManagerDown,
    ),
];

/// What a complaint means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagnosis {
    sign: &'static Sign,
}

impl Diagnosis {
    /// What is known about a cause.
    pub fn of(cause: Cause) -> Self {
        Self { sign: sign(cause) }
    }

    /// The cause.
    pub fn cause(&self) -> Cause {
        self.sign.cause
    }

    /// What it means, in one sentence.
    pub fn meaning(&self, host_ip: &str) -> String {
        self.sign.meaning.replace("{host_ip}", host_ip)
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
    let reading = read(&plain(text));
    let what = reading.what?;
    let found = RULES
        .iter()
        .find(|(whose, known, _)| *known == what && whose.contains(&reading.who));
    found.map(|(_, _, cause)| Diagnosis::of(*cause))
}

#[cfg(test)]
mod tests {
    use super::super::signs::SIGNS;
    use super::*;

    #[test]
    fn every_cause_has_one_row_that_tells_what_to_do() {
        for &cause in Cause::ALL {
            assert_eq!(
                SIGNS.iter().filter(|sign| sign.cause == cause).count(),
                1,
                "{cause:?}"
            );
            assert_eq!(Cause::of(cause.code()), Some(cause));
            let found = Diagnosis::of(cause);
            let cure = found.cure("webapp.example.org", "198.51.100.7");
            assert!(cure.contains("wiab ") && !cure.contains('{'), "{cure}");
            let meaning = found.meaning("198.51.100.7");
            assert!(
                !meaning.ends_with('.') && !meaning.contains('{'),
                "{meaning}"
            );
        }
    }

    #[test]
    fn no_row_hides_another() {
        for (at, (whose, what, _)) in RULES.iter().enumerate() {
            let before = RULES.iter().take(at).filter(|(_, known, _)| known == what);
            for (others, _, _) in before {
                let new = whose.iter().any(|who| !others.contains(who));
                assert!(new, "{what:?} of {whose:?} is never reached");
            }
        }
    }
}
