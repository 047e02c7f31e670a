//! The certificates that are there, when they are renewed, and whether renewal would work as everything is now. Read-only.

use serde::Serialize;
use serde_json::Value;
use wiab_engine::outcome::Failure;
use wiab_engine::ports::StepCx;

use super::cert_ready::CertReady;
use super::looks::{Scene, gather};
use super::watch::list;
use crate::certs::{Standing, look, parse_utc, rank};
use crate::host::Host;
use crate::host::shell::Shell;

/// What cert-manager takes when a certificate does not say it: a third of the time that it is valid.
const RENEW_BEFORE_PART: u64 = 3;
/// How long after its time a renewal counts as overdue, in milliseconds.
const OVERDUE_MS: u64 = 3_600_000;

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has asked for it.
    Missing,
    /// It is asked for and not there yet.
    Pending,
    /// It is valid.
    Valid,
    /// It is valid, but its renewal is late.
    Overdue,
    /// It is not valid any more.
    Expired,
}

impl State {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Overdue => "overdue",
            Self::Expired => "expired",
        }
    }
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Its name in the cluster: `sftd`.
    pub name: String,
    /// The names it is for.
    pub dns_names: Vec<String>,
    /// Who issues it, and where that issuer asks: `letsencrypt-http01`, `https://…/directory`.
    pub issuer: (String, String),
    /// How it stands.
    pub state: State,
    /// What goes on, or why it does not; empty when all is well.
    pub says: String,
    /// From when it is valid, Unix milliseconds.
    pub not_before_ms: Option<u64>,
    /// Until when, Unix milliseconds.
    pub not_after_ms: Option<u64>,
    /// When it is renewed next, Unix milliseconds.
    pub renewal_ms: Option<u64>,
}

/// Something by which renewal would fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hindrance {
    /// The cause's stable name: `hairpin`.
    pub cause: &'static str,
    /// What it means.
    pub meaning: String,
    /// What shows it.
    pub facts: Vec<String>,
    /// The step that cures it or looks at it.
    pub step: &'static str,
    /// What to do.
    pub cure: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// Every certificate of the plan.
    pub certificates: Vec<Certificate>,
    /// Why renewal would fail now; empty when nothing that was seen speaks against it.
    pub hindrances: Vec<Hindrance>,
    /// What was looked at, one line each: topic and summary.
    pub looks: Vec<(String, String)>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
    /// Whether the hairpin rule is in force.
    pub rule: Option<bool>,
    /// The host's time, Unix milliseconds.
    pub now_ms: u64,
}

impl Outlook {
    /// Whether every certificate is valid and nothing speaks against its renewal.
    pub fn is_well(&self) -> bool {
        let valid = |one: &Certificate| one.state == State::Valid;
        self.hindrances.is_empty() && self.certificates.iter().all(valid)
    }
}

/// Looks at the certificates of these steps, and at everything that their renewal needs. All are on the same ground.
pub async fn outlook(
    wanted: &[CertReady],
    host: &dyn Host,
    cx: &StepCx,
) -> Result<Outlook, Failure> {
    let sh = Shell::new(host, cx);
    let now_ms = cx.clock.wall_ms();
    let Some(first) = wanted.first() else {
        return Err(Failure::clean("the plan asks for no certificate"));
    };
    let list = list(sh, &first.toolbox)
        .await?
        .map_err(|why| Failure::clean(format!("the cluster has no answer: {why}")))?;
    let certificates: Vec<Certificate> = wanted
        .iter()
        .map(|one| certificate(&list, &one.certificate, now_ms))
        .collect();
    let mut found = Outlook {
        certificates,
        hindrances: Vec::new(),
        looks: Vec::new(),
        unseen: Vec::new(),
        rule: None,
        now_ms,
    };
    let missing = |one: &Certificate| one.state == State::Missing;
    if !found.certificates.iter().all(missing) {
        ways(first, wanted, sh, &list, &mut found).await;
    }
    Ok(found)
}

/// Looks at what renewal needs.
async fn ways(
    first: &CertReady,
    wanted: &[CertReady],
    sh: Shell<'_>,
    list: &Value,
    found: &mut Outlook,
) {
    let Some(ground) = &first.ground else {
        found
            .unseen
            .push("the plan does not say what can be looked at".to_owned());
        return;
    };
    let names = found.certificates.iter();
    let mut names: Vec<String> = names.flat_map(|one| one.dns_names.clone()).collect();
    names.sort();
    names.dedup();
    let scene = Scene {
        sh,
        toolbox: &first.toolbox,
        ground,
        host_ip: &first.host_ip,
        names,
        list,
        certificates: wanted.iter().map(|one| one.certificate.as_str()).collect(),
    };
    let (mut findings, evidence) = gather(&scene).await;
    let settled = |one: &Certificate| matches!(one.state, State::Valid | State::Missing);
    if found.certificates.iter().all(settled) {
        // What was complained about before they were issued is over.
        findings.complaints.clear();
    }
    let ranking = rank(&findings);
    let certain = ranking
        .causes
        .into_iter()
        .filter(|ranked| ranked.standing != Standing::Doubted);
    found.hindrances = certain
        .map(|ranked| Hindrance {
            cause: ranked.cause.code(),
            meaning: ranked.meaning,
            facts: ranked.facts_for,
            step: ranked.step,
            cure: ranked.cure,
        })
        .collect();
    found.looks = evidence
        .into_iter()
        .map(|one| (one.topic, one.summary))
        .collect();
    found.unseen = ranking.unseen;
    found.rule = findings.snat;
}

fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    let found = json.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

fn item<'a>(list: &'a Value, kind: &str, name: &str) -> Option<&'a Value> {
    let items = list.get("items").and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .find(|item| text(item, "/kind") == kind && text(item, "/metadata/name") == name)
}

fn certificate(list: &Value, name: &str, now_ms: u64) -> Certificate {
    let seen = look(list, name);
    let own = item(list, "Certificate", name).unwrap_or(&Value::Null);
    let issuer = text(own, "/spec/issuerRef/name");
    let server =
        item(list, "ClusterIssuer", issuer).map_or("", |issuer| text(issuer, "/spec/acme/server"));
    let names = own.pointer("/spec/dnsNames").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    let not_before_ms = parse_utc(text(own, "/status/notBefore"));
    let not_after_ms = parse_utc(text(own, "/status/notAfter"));
    let renewal_ms = parse_utc(text(own, "/status/renewalTime"))
        .or_else(|| renewal(own, not_before_ms, not_after_ms));
    let state = match (seen.there, not_after_ms) {
        (false, _) => State::Missing,
        (true, Some(end_ms)) if end_ms <= now_ms => State::Expired,
        (true, Some(_)) if seen.ready.is_some() => match renewal_ms {
            Some(at_ms) if at_ms + OVERDUE_MS < now_ms => State::Overdue,
            Some(_) | None => State::Valid,
        },
        (true, Some(_) | None) => State::Pending,
    };
    let says = match state {
        State::Valid => String::new(),
        State::Missing | State::Pending | State::Overdue | State::Expired => {
            seen.complaint.unwrap_or(seen.stage)
        }
    };
    Certificate {
        name: name.to_owned(),
        dns_names: names.map(str::to_owned).collect(),
        issuer: (issuer.to_owned(), server.to_owned()),
        state,
        says,
        not_before_ms,
        not_after_ms,
        renewal_ms,
    }
}

/// When cert-manager renews a certificate that does not say it: `renewBefore` ahead of its end.
fn renewal(own: &Value, from_ms: Option<u64>, end_ms: Option<u64>) -> Option<u64> {
    let end_ms = end_ms?;
    let before_ms = match duration_ms(text(own, "/spec/renewBefore")) {
        Some(before_ms) => before_ms,
        None => end_ms.checked_sub(from_ms?)? / RENEW_BEFORE_PART,
    };
    end_ms.checked_sub(before_ms)
}

/// A duration as Go writes it: `360h0m0s`.
fn duration_ms(text: &str) -> Option<u64> {
    let (mut total_ms, mut number) = (0_u64, String::new());
    for letter in text.chars() {
        let unit_ms = match letter {
            '0'..='9' => {
                number.push(letter);
                continue;
            }
            'h' => 3_600_000,
            'm' => 60_000,
            's' => 1_000,
            _ => return None,
        };
        let count: u64 = number.parse().ok()?;
        total_ms = total_ms.checked_add(count.checked_mul(unit_ms)?)?;
        number.clear();
    }
    (number.is_empty() && total_ms > 0).then_some(total_ms)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn list(status: &Value, spec: &Value) -> Value {
        let mut spec = spec.clone();
        let map = spec.as_object_mut().unwrap();
        map.insert("dnsNames".to_owned(), json!(["sftd.example.org"]));
        map.insert("issuerRef".to_owned(), json!({"name": "le"}));
        json!({"items": [
            {"kind": "Certificate", "metadata": {"name": "sftd"}, "spec": spec, "status": status},
            {"kind": "ClusterIssuer", "metadata": {"name": "le"}, "spec": {"acme": {"server": "https://acme/directory"}}},
        ]})
    }

    fn ready() -> Value {
        json!({
            "conditions": [{"type": "Ready", "status": "True"}],
            "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2026-04-01T00:00:00Z",
        })
    }

    #[test]
    fn renewal_is_fifteen_days_before_the_end_with_the_charts_and_a_third_without() {
        let from_ms = parse_utc("2026-01-01T00:00:00Z").unwrap();
        let charts = list(&ready(), &json!({"renewBefore": "360h0m0s"}));
        let found = certificate(&charts, "sftd", from_ms);
        assert_eq!(
            found.renewal_ms,
            Some(from_ms + 75 * DAY_MS),
            "day 75 of 90"
        );
        assert_eq!(found.state, State::Valid);
        assert_eq!(found.issuer.1, "https://acme/directory");
        assert_eq!(found.dns_names, ["sftd.example.org"]);
        let usual = certificate(&list(&ready(), &json!({})), "sftd", from_ms);
        assert_eq!(usual.renewal_ms, Some(from_ms + 60 * DAY_MS));
        let mut told = ready();
        told["renewalTime"] = json!("2026-03-01T00:00:00Z");
        let told = certificate(&list(&told, &json!({"renewBefore": "1h"})), "sftd", from_ms);
        assert_eq!(told.renewal_ms, parse_utc("2026-03-01T00:00:00Z"));
    }

    #[test]
    fn the_state_follows_from_the_time() {
        let from_ms = parse_utc("2026-01-01T00:00:00Z").unwrap();
        let there = list(&ready(), &json!({"renewBefore": "360h"}));
        for (day, state) in [
            (1, State::Valid),
            (75, State::Valid),
            (76, State::Overdue),
            (91, State::Expired),
        ] {
            let found = certificate(&there, "sftd", from_ms + day * DAY_MS);
            assert_eq!(found.state, state, "day {day}");
        }
        let waiting = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        let waiting = certificate(&list(&waiting, &json!({})), "sftd", from_ms);
        assert_eq!(waiting.state, State::Pending);
        let none = certificate(&json!({"items": []}), "sftd", from_ms);
        assert_eq!((none.state, none.renewal_ms), (State::Missing, None));
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ms) in [
            ("360h0m0s", Some(360 * 3_600_000)),
            ("2160h", Some(2_160 * 3_600_000)),
            ("1m30s", Some(90_000)),
            ("", None),
            ("0s", None),
            ("15d", None),
            ("12", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }
}
