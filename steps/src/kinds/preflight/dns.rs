//! `preflight.dns/1`: the names of the installation, from the machine and from the internet.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::dns_ask::{Answers, Asked, ask, ask_host, upwards};
use super::{Check, Report};
use crate::host::shell::Shell;
use crate::kind::About;

/// The certificate authority.
const AUTHORITY: &str = "letsencrypt.org";

/// The names and what they must point to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightDns {
    /// The domain.
    pub domain: String,
    /// The names that clients use, whole: `webapp.wire.example.org`.
    pub names: Vec<String>,
    /// The address that they must have.
    pub host_ip: String,
    /// Public name servers to ask, too.
    pub resolvers: Vec<String>,
    /// Whether the tools that ask them are there by now: what cannot be asked is then an error, not a warning.
    pub tools_installed: bool,
}

/// One opinion that several servers may share: what, why, remedy.
type Opinions = BTreeMap<(&'static str, String, String), Vec<String>>;

impl PreflightDns {
    /// What is wrong with the addresses that one server tells.
    fn addresses(&self, who: &str, answers: &Answers, opinions: &mut Opinions) {
        let mut say = |what, why: String, remedy: String| {
            let servers = opinions.entry((what, why, remedy)).or_default();
            servers.push(who.to_owned());
        };
        let none = BTreeSet::new();
        let mut missing = Vec::new();
        let mut wrong: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let mut v6: BTreeSet<&str> = BTreeSet::new();
        let mut with_v6 = Vec::new();
        for name in &self.names {
            let a = answers.a.get(name).unwrap_or(&none);
            let aaaa = answers.aaaa.get(name).unwrap_or(&none);
            if a.is_empty() {
                missing.push(name.as_str());
            } else if !(a.len() == 1 && a.contains(&self.host_ip)) {
                let found = a.iter().cloned().collect::<Vec<_>>().join(" and ");
                wrong.entry(found).or_default().push(name);
            }
            if !aaaa.is_empty() {
                with_v6.push(name.as_str());
                v6.extend(aaaa.iter().map(String::as_str));
            }
        }
        if !missing.is_empty() {
            say(
                "dns-missing",
                format!("no A record for {}", missing.join(", ")),
                format!(
                    "add A records to {}: one missing name fails the certificate of all",
                    self.host_ip
                ),
            );
        }
        for (found, names) in wrong {
            say(
                "dns-address",
                format!(
                    "the A records of {} say {found}, not {} alone",
                    names.join(", "),
                    self.host_ip
                ),
                format!(
                    "change the A records to {}, or host_ip to where they point; wait until the old ones expire",
                    self.host_ip
                ),
            );
        }
        if !with_v6.is_empty() {
            let found: Vec<&str> = v6.into_iter().collect();
            say(
                "dns-aaaa",
                format!(
                    "{} has an AAAA record ({}): Let's Encrypt prefers IPv6, which is not forwarded to the VMs, so its check would fail although everything looks right",
                    with_v6.join(", "),
                    found.join(", ")
                ),
                "remove the AAAA records".to_owned(),
            );
        }
    }

    /// The nearest CAA records upwards decide; without any, everybody may certify.
    fn authority(&self, who: &str, answers: &Answers, opinions: &mut Opinions) {
        let mut say = |name: &str, records: &BTreeSet<String>| {
            let issuers = records.iter().filter(|record| {
                let tag = record.split_whitespace().nth(1);
                tag.is_some_and(|tag| tag.eq_ignore_ascii_case("issue"))
            });
            let issuers: Vec<&String> = issuers.collect();
            let named = |record: &&&String| {
                let value = record.split('"').nth(1).unwrap_or_default();
                value.split(';').next().map(str::trim) == Some(AUTHORITY)
            };
            if issuers.is_empty() || issuers.iter().any(|record| named(&record)) {
                return;
            }
            let why = format!("the CAA records of {name} do not permit {AUTHORITY}");
            let remedy = format!("add the record: {name}. CAA 0 issue \"{AUTHORITY}\"");
            let servers = opinions.entry(("dns-caa", why, remedy)).or_default();
            servers.push(who.to_owned());
        };
        for name in &self.names {
            if let Some(records) = answers.caa.get(name) {
                say(name, records);
            }
        }
        let above = upwards(&self.domain);
        if let Some((name, records)) = above
            .iter()
            .find_map(|name| Some((name, answers.caa.get(name)?)))
        {
            say(name, records);
        }
    }

    fn mail(&self, answers: &Answers, report: &mut Report) {
        let texts = answers.txt.get(&self.domain);
        let spf = texts.and_then(|texts| texts.iter().find(|text| text.starts_with("v=spf1")));
        let names_us = spf.is_some_and(|spf| {
            let plain = format!("ip4:{}", self.host_ip);
            spf.split_whitespace()
                .any(|part| part.trim_start_matches('+') == plain || part.starts_with("include:"))
        });
        if !names_us {
            report.warn(
                "spf",
                format!(
                    "{} has no SPF record that names {}: mail from Wire may be taken for spam",
                    self.domain, self.host_ip
                ),
                format!(
                    "add the TXT record: {}. \"v=spf1 ip4:{} -all\"",
                    self.domain, self.host_ip
                ),
            );
        }
    }

    fn unasked(&self, why: &str, remedy: &str, report: &mut Report) {
        let why = format!("the names were not checked from the internet: {why}");
        if self.tools_installed {
            report.error("dns-public", why, remedy);
        } else {
            report.warn("dns-public", why, remedy);
        }
    }
}

impl Check for PreflightDns {
    const NAME: &'static str = "preflight.dns/1";
    const ABOUT: About = About {
        purpose: "Every name that goes into the certificate leads here, for everybody, before a certificate is asked for.",
        probe: "Asks the machine's resolver and public name servers for A, AAAA, CAA and SPF records.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check {} names of {}", self.names.len(), self.domain)
    }

    fn timeout_ms(&self) -> u64 {
        300_000
    }

    fn usual_ms(&self) -> u64 {
        3_000
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let mut report = Report::new(format!("{} names at {}", self.names.len(), self.host_ip));
        let mut opinions = Opinions::new();
        let answers = ask_host(sh, &self.names).await?;
        self.addresses("this machine", &answers, &mut opinions);
        let (mut silent, mut answered) = (Vec::new(), 0_usize);
        for server in &self.resolvers {
            match ask(sh, server, &self.names, Some(&self.domain)).await? {
                Asked::Answered(answers) => {
                    self.addresses(server, &answers, &mut opinions);
                    self.authority(server, &answers, &mut opinions);
                    if answered == 0 {
                        self.mail(&answers, &mut report);
                    }
                    answered += 1;
                }
                Asked::Silent(why) => silent.push(format!("{server}: {why}")),
                Asked::NoTool => {
                    self.unasked(
                        "neither `dig` nor `host` is installed",
                        "nothing: they come with the host's packages, then it is checked again; or now: sudo apt-get install bind9-dnsutils",
                        &mut report,
                    );
                    break;
                }
            }
        }
        if !silent.is_empty() && answered == 0 {
            self.unasked(
                &silent.join("; "),
                "let udp and tcp port 53 out, or name reachable servers in preflight.resolvers",
                &mut report,
            );
        }
        for ((what, why, remedy), servers) in opinions {
            report.error(what, format!("{why} (says {})", servers.join(", ")), remedy);
        }
        Ok(report)
    }
}
