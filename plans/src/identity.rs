//! Validation of what only an operator can tell: domain, mail address, public address; and of the preflight's settings.

use std::net::Ipv4Addr;

use wiab_engine::text::nearest;
use wiab_steps::kinds::preflight::inputs::PreflightInputs;

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

impl Settings {
    /// Domain, mail address and public address as the plan checks them.
    pub(crate) fn identity(&self) -> PreflightInputs {
        PreflightInputs {
            domain: self.domain.clone(),
            cert_email: self.cert_email.clone(),
            host_ip: self.host_ip.clone(),
            public: !self.preflight.resolvers.is_empty(),
        }
    }

    /// What only an operator can tell; certificate authorities refuse much of it.
    pub(crate) fn check_identity(&self, problems: &mut Problems) {
        if self.plan == PlanName::Steps {
            return;
        }
        for finding in self.identity().report().findings {
            problems.add(finding.what, finding.why, finding.remedy);
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
            "wire.test",
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
