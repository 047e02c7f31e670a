//! `preflight.inputs/1`: what only an operator can tell, held against what certificate authorities accept.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::{Check, Report};
use crate::host::shell::Shell;
use crate::kind::About;
use crate::values::{DomainName, Email};

/// Names that no public authority certifies (RFC 2606, RFC 6762, RFC 8375).
const PRIVATE: [&str; 9] = [
    "example",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localhost",
    "test",
];

/// Domain, mail address and public address of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightInputs {
    /// The domain.
    pub domain: String,
    /// Mail address for the certificate authority.
    pub cert_email: String,
    /// Address that the names point to.
    pub host_ip: String,
    /// Whether the installation is to be found on the internet.
    pub public: bool,
}

/// Domains for documentation, which Let's Encrypt refuses in mail addresses; Wire's templates have `example.com` and names
/// below it as placeholders.
fn placeholder(email: &str) -> Option<&'static str> {
    let (_, domain) = email.split_once('@')?;
    let below = domain.ends_with(".example.com");
    let names = ["example.com", "example.net", "example.org"];
    let found = names.into_iter().find(|name| *name == domain);
    found.or(below.then_some("example.com"))
}

impl PreflightInputs {
    /// Everything that is wrong; each finding is named like its key in the configuration.
    pub fn report(&self) -> Report {
        let mut report = Report::new(format!("{} at {}", self.domain, self.host_ip));
        self.domain(&mut report);
        self.email(&mut report);
        self.address(&mut report);
        report
    }

    fn domain(&self, report: &mut Report) {
        if self.domain.is_empty() {
            let remedy = "write it into wiab.toml, such as: domain = \"wire.example.org\"";
            return report.error("domain", "this must be told", remedy);
        }
        if let Err(error) = self.domain.parse::<DomainName>() {
            let remedy = "use the domain's own spelling";
            return report.error("domain", error.to_string(), remedy);
        }
        let below = |name: &&&str| {
            let rest = self.domain.strip_suffix(**name);
            rest.is_some_and(|rest| rest.ends_with('.'))
        };
        if let (true, Some(name)) = (self.public, PRIVATE.iter().find(below)) {
            report.error(
                "domain",
                format!("no public authority certifies names below `{name}`"),
                "use a domain that is registered, or set preflight.resolvers = [] for an installation that is not on the internet",
            );
        }
    }

    fn email(&self, report: &mut Report) {
        if self.cert_email.is_empty() {
            let remedy =
                "write it into wiab.toml, such as: cert_email = \"admin@wire.example.org\"";
            return report.error("cert_email", "this must be told", remedy);
        }
        if let Err(error) = self.cert_email.parse::<Email>() {
            let remedy = "use an address that is read: the authority writes there";
            return report.error("cert_email", error.to_string(), remedy);
        }
        if let Some(domain) = placeholder(&self.cert_email) {
            let why = format!("Let's Encrypt refuses mail addresses at {domain}");
            report.error("cert_email", why, "use an address of your own");
        }
    }

    fn address(&self, report: &mut Report) {
        if self.host_ip.is_empty() {
            let remedy = "write it into wiab.toml, such as: host_ip = \"203.0.113.10\"";
            return report.error("host_ip", "this must be told", remedy);
        }
        let remedy = "use the IPv4 address that clients connect to: 203.0.113.10";
        match self.host_ip.parse::<Ipv4Addr>() {
            Ok(ip)
                if !(ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_broadcast()) =>
            {
                if self.public && (ip.is_private() || ip.is_link_local()) {
                    let why =
                        format!("{ip} is a private address, which Let's Encrypt cannot reach");
                    let remedy = "use the public address; for an installation that is not on the internet, set preflight.resolvers = []";
                    report.error("host_ip", why, remedy);
                }
            }
            Ok(_) | Err(_) => {
                let why = format!("`{}` is not possible here", self.host_ip);
                report.error("host_ip", why, remedy);
            }
        }
    }
}

impl Check for PreflightInputs {
    const NAME: &'static str = "preflight.inputs/1";
    const ABOUT: About = About {
        purpose: "No certificate is asked for with a name or mail address that every authority refuses.",
        probe: "Checks domain, mail address and public address as they stand in the plan.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check the inputs for {}", self.domain)
    }

    fn usual_ms(&self) -> u64 {
        1
    }

    async fn look(&self, _: Shell<'_>) -> Result<Report, Failure> {
        Ok(self.report())
    }
}
