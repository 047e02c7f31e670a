//! Validation of what only an operator can tell: domain, mail address, public address; and of the preflight's settings.

use std::net::Ipv4Addr;

use wiab_engine::text::nearest;
use wiab_steps::values::{DomainName, Email};

use crate::check::Problems;
use crate::settings::{PlanName, Settings};

/// The checks before an installation that can be left out.
const CHECKS: [&str; 8] = [
    "os",
    "resources",
    "net",
    "firewall",
    "dns",
    "artifact-url",
    "clock",
    "apt",
];

/// Domains for documentation, which Let's Encrypt refuses in mail addresses; Wire's templates have `example.com` and names
/// below it as placeholders.
fn placeholder(email: &str) -> Option<&'static str> {
    let (_, domain) = email.split_once('@')?;
    let below = domain.ends_with(".example.com");
    let names = ["example.com", "example.net", "example.org"];
    let found = names.into_iter().find(|name| *name == domain);
    found.or(below.then_some("example.com"))
}

impl Settings {
    /// What only an operator can tell; certificate authorities refuse much of it.
    pub(crate) fn check_identity(&self, problems: &mut Problems) {
        if self.plan == PlanName::Steps {
            return;
        }
        let told = [
            ("domain", &self.domain, "domain = \"wire.example.org\""),
            (
                "cert_email",
                &self.cert_email,
                "cert_email = \"admin@wire.example.org\"",
            ),
            ("host_ip", &self.host_ip, "host_ip = \"203.0.113.10\""),
        ];
        for (key, text, example) in told {
            if text.is_empty() {
                problems.add(
                    key,
                    "this must be told",
                    format!("write it into wiab.toml, such as: {example}"),
                );
            }
        }
        if let (false, Err(error)) = (self.domain.is_empty(), self.domain.parse::<DomainName>()) {
            problems.add("domain", error.to_string(), "use the domain's own spelling");
        }
        if let (false, Err(error)) = (self.cert_email.is_empty(), self.cert_email.parse::<Email>())
        {
            let remedy = "use an address that is read: expiry warnings go there";
            problems.add("cert_email", error.to_string(), remedy);
        } else if let Some(domain) = placeholder(&self.cert_email) {
            problems.add(
                "cert_email",
                format!("Let's Encrypt refuses mail addresses at {domain}"),
                "use an address of your own",
            );
        }
        let address: Option<Ipv4Addr> = self.host_ip.parse().ok();
        let good = address.is_some_and(|ip| {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
        });
        if !self.host_ip.is_empty() {
            problems.check(
                good,
                "host_ip",
                &self.host_ip,
                "use the IPv4 address that clients connect to: 203.0.113.10",
            );
        }
    }

    /// Names of checks and addresses of name servers.
    pub(crate) fn check_preflight(&self, problems: &mut Problems) {
        for name in &self.preflight.skip {
            if CHECKS.contains(&name.as_str()) {
                continue;
            }
            let near = nearest(name, CHECKS.iter().copied())
                .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            problems.add(
                "preflight.skip",
                format!("there is no check `{name}`"),
                format!("{near}the checks are {}", CHECKS.join(", ")),
            );
        }
        for address in &self.preflight.resolvers {
            problems.check(
                address.parse::<Ipv4Addr>().is_ok(),
                "preflight.resolvers",
                address,
                "use IPv4 addresses of name servers: 1.1.1.1",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_lack_only_what_an_operator_must_tell() {
        assert_eq!(Settings::rehearsal().problems(), []);
        let mut settings = Settings::default();
        let missing = settings.problems();
        let keys: Vec<&str> = missing.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["domain", "cert_email", "host_ip"]);
        settings.plan = PlanName::Steps;
        assert_eq!(settings.problems(), []);
    }

    #[test]
    fn what_no_authority_accepts_is_refused() {
        let keys = |domain: &str, email: &str, ip: &str| {
            let settings = Settings {
                domain: domain.to_owned(),
                cert_email: email.to_owned(),
                host_ip: ip.to_owned(),
                ..Settings::default()
            };
            let problems = settings.problems();
            let keys = problems.into_iter().map(|problem| problem.key);
            keys.collect::<Vec<String>>()
        };
        let (domain, email, ip) = ("wire.example.org", "admin@wire.example.org", "203.0.113.10");
        assert!(keys(domain, email, ip).is_empty());
        for bad in [
            "Wire.example.org",
            "wire",
            "wire..org",
            "w_ire.org",
            "1.2.3.4",
            "wire.org; reboot",
        ] {
            assert_eq!(keys(bad, email, ip), ["domain"], "{bad}");
        }
        for bad in [
            "you@example.com",
            "you@mail.example.com",
            "you@example.org",
            "you",
            "you@@example.de",
            "y u@a.de",
        ] {
            assert_eq!(keys(domain, bad, ip), ["cert_email"], "{bad}");
        }
        for bad in [
            "auto",
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "2001:db8::1",
            "203.0.113.10 ",
        ] {
            assert_eq!(keys(domain, email, bad), ["host_ip"], "{bad}");
        }
    }
}
