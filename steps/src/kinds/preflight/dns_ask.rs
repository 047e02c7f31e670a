//! Questions to name servers, with whatever tool the machine has.

use std::collections::{BTreeMap, BTreeSet};

use wiab_engine::outcome::Failure;

use crate::host::shell::Shell;
use crate::host::{Cmd, Output};

/// Longest set of questions to one server, in milliseconds.
const ASK_MS: u64 = 60_000;

/// What a name server says of the names asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::kinds) struct Answers {
    /// IPv4 addresses by name.
    pub(in crate::kinds) a: BTreeMap<String, BTreeSet<String>>,
    /// IPv6 addresses by name.
    pub(in crate::kinds) aaaa: BTreeMap<String, BTreeSet<String>>,
    /// CAA records by name: `0 issue "letsencrypt.org"`.
    pub(in crate::kinds) caa: BTreeMap<String, BTreeSet<String>>,
    /// TXT records by name, without quotes.
    pub(in crate::kinds) txt: BTreeMap<String, BTreeSet<String>>,
}

/// How a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kinds) enum Asked {
    /// It answered.
    Answered(Answers),
    /// It did not; the tool's words.
    Silent(String),
    /// Neither `dig` nor `host` is installed.
    NoTool,
}

impl Answers {
    fn add(&mut self, kind: &str, name: &str, data: &str) {
        let map = match kind {
            "A" => &mut self.a,
            "AAAA" => &mut self.aaaa,
            "CAA" => &mut self.caa,
            "TXT" => &mut self.txt,
            _ => return,
        };
        let data = match kind {
            // A long text comes in pieces.
            "TXT" => data.replace("\" \"", "").trim_matches('"').to_owned(),
            _ => data.to_owned(),
        };
        map.entry(name.trim_end_matches('.').to_ascii_lowercase())
            .or_default()
            .insert(data);
    }

    /// `name. 300 IN A 203.0.113.10`; answers of aliases belong to the name that was asked for.
    pub(in crate::kinds) fn of_dig(text: &str) -> Self {
        let mut all = Self::default();
        let mut alias: BTreeMap<String, String> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with(';')) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [name, _ttl, _class, kind, data @ ..] = fields.as_slice() else {
                continue;
            };
            let name = alias
                .get(*name)
                .map_or_else(|| (*name).to_owned(), Clone::clone);
            let data = data.join(" ");
            if *kind == "CNAME" {
                alias.insert(data, name);
            } else {
                all.add(kind, &name, &data);
            }
        }
        all
    }

    /// `name has address 203.0.113.10`, asked for `name`.
    fn of_host(&mut self, name: &str, text: &str) {
        for line in text.lines() {
            for (sign, kind) in [
                (" has address ", "A"),
                (" has IPv6 address ", "AAAA"),
                (" has CAA record ", "CAA"),
                (" descriptive text ", "TXT"),
            ] {
                if let Some((_, data)) = line.split_once(sign) {
                    self.add(kind, name, data.trim());
                }
            }
        }
    }
}

/// Asks the machine's own resolver, as every program on it does: addresses only.
pub(in crate::kinds) async fn ask_host(
    sh: Shell<'_>,
    names: &[String],
) -> Result<Answers, Failure> {
    let mut all = Answers::default();
    for name in names {
        let output = sh.run(&Cmd::new(["getent", "ahosts", name])).await?;
        for line in output.text().lines() {
            let address = line.split_whitespace().next().unwrap_or_default();
            if address.parse::<std::net::Ipv4Addr>().is_ok() {
                all.add("A", name, address);
            } else if address.parse::<std::net::Ipv6Addr>().is_ok() {
                all.add("AAAA", name, address);
            }
        }
    }
    Ok(all)
}

/// Asks one name server: addresses of `names`; with `domain` also its CAA records, those of the names and of the domains
/// above, and its TXT records.
pub(in crate::kinds) async fn ask(
    sh: Shell<'_>,
    server: &str,
    names: &[String],
    domain: Option<&str>,
) -> Result<Asked, Failure> {
    let mut questions: Vec<(String, &str)> = Vec::new();
    for name in names {
        questions.extend([(name.clone(), "A"), (name.clone(), "AAAA")]);
    }
    if let Some(domain) = domain {
        let with_caa = names.iter().cloned().chain(upwards(domain));
        questions.extend(with_caa.map(|name| (name, "CAA")));
        questions.push((domain.to_owned(), "TXT"));
    }
    let at = format!("@{server}");
    let mut argv = vec!["dig", "+noall", "+answer", "+time=3", "+tries=2", &at];
    for (name, kind) in &questions {
        argv.extend([name.as_str(), kind]);
    }
    match sh.probe(&Cmd::new(argv).timeout_ms(ASK_MS)).await? {
        Some(output) if output.ok() => Ok(Asked::Answered(Answers::of_dig(&output.text()))),
        Some(output) => Ok(Asked::Silent(last_words(&output))),
        None => with_host(sh, server, &questions).await,
    }
}

/// The same with `host`, which takes one question at a time.
async fn with_host(
    sh: Shell<'_>,
    server: &str,
    questions: &[(String, &str)],
) -> Result<Asked, Failure> {
    let mut all = Answers::default();
    for (name, kind) in questions {
        let host = Cmd::new(["host", "-W", "3", "-t", kind, name, server]);
        let Some(output) = sh.probe(&host).await? else {
            return Ok(Asked::NoTool);
        };
        if output.text().contains("no servers could be reached") {
            return Ok(Asked::Silent(last_words(&output)));
        }
        all.of_host(name, &output.text());
    }
    Ok(Asked::Answered(all))
}

fn last_words(output: &Output) -> String {
    let text = output.text();
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    line.map_or_else(
        || format!("code {}", output.code),
        |line| line.trim_start_matches([';', ' ']).to_owned(),
    )
}

/// A domain and those above it, down to two labels.
pub(in crate::kinds) fn upwards(domain: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut at = domain;
    while at.contains('.') {
        all.push(at.to_owned());
        at = at.split_once('.').map_or("", |(_, rest)| rest);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dig_and_host_say_the_same() {
        let dig = Answers::of_dig(
            "a.example.org.\t300\tIN\tCNAME\tlb.example.org.\nlb.example.org.\t300\tIN\tA\t203.0.113.10\n\
             a.example.org. 60 IN AAAA 2001:db8::1\nexample.org. 60 IN CAA 0 issue \"letsencrypt.org\"\n\
             example.org. 60 IN TXT \"v=spf1 \" \"-all\"\n;; a remark\n",
        );
        let mut host = Answers::default();
        host.of_host(
            "a.example.org",
            "a.example.org is an alias for lb.example.org.\nlb.example.org has address 203.0.113.10\nlb.example.org has IPv6 address 2001:db8::1\n",
        );
        host.of_host(
            "example.org",
            "example.org has CAA record 0 issue \"letsencrypt.org\"\nexample.org descriptive text \"v=spf1 \" \"-all\"\n",
        );
        assert_eq!(dig, host);
        assert_eq!(
            dig.a["a.example.org"],
            BTreeSet::from(["203.0.113.10".to_owned()])
        );
        assert_eq!(
            dig.txt["example.org"],
            BTreeSet::from(["v=spf1 -all".to_owned()])
        );
    }

    #[test]
    fn certificates_climb_to_two_labels() {
        assert_eq!(
            upwards("wire.example.org"),
            ["wire.example.org", "example.org"]
        );
    }
}
