//! Certificates, when they are renewed, and whether that would work.

use serde_json::{Value, json};
use wiab_steps::kinds::certs::renewal::{Certificate, Outlook, State};

use crate::screen::{count, pad, wrap};
use crate::ui::printer::JSON_SCHEMA;
use crate::ui::style::{Mark, Style, harmless};
use crate::ui::time;

/// One day in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// What the configuration says about the rule that renewal may need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy<'a> {
    /// `hairpin.policy`.
    pub(crate) policy: &'a str,
    /// `hairpin.after`.
    pub(crate) after: &'a str,
}

impl Policy<'_> {
    /// What it does for renewal.
    fn words(self, rule: Option<bool>) -> String {
        let now = match rule {
            Some(true) => "it is in force",
            Some(false) => "it is not in force",
            None => "whether it is in force was not seen",
        };
        let does = match (self.policy, self.after) {
            ("auto" | "add", "keep") => {
                "`wiab apply` puts the rule there if it is needed, and it stays for renewal"
            }
            ("auto" | "add", _) => {
                "the rule goes when the certificates are issued; before each renewal it must be put back (`wiab apply --only hp.probe,hp.snat --set hairpin.after=keep`)"
            }
            ("remove", _) => {
                "every such rule is removed; the router in front of the host must do it"
            }
            _ => "wiab does not look at the rule",
        };
        format!(
            "hairpin.policy = {}, hairpin.after = {}: {does}; {now}",
            self.policy, self.after
        )
    }
}

/// `in 75 d`, `3 d ago`.
fn distance(at_ms: u64, now_ms: u64) -> String {
    match (at_ms.checked_sub(now_ms), now_ms.checked_sub(at_ms)) {
        (Some(left_ms), _) if left_ms >= DAY_MS => format!("in {} d", left_ms / DAY_MS),
        (Some(left_ms), _) => format!("in {}", time::about(left_ms)),
        (None, Some(past_ms)) if past_ms >= DAY_MS => format!("{} d ago", past_ms / DAY_MS),
        (None, past_ms) => format!("{} ago", time::about(past_ms.unwrap_or_default())),
    }
}

fn mark(state: State) -> Mark {
    match state {
        State::Valid => Mark::Ok,
        State::Missing => Mark::Waiting,
        State::Pending => Mark::Unsure,
        State::Overdue | State::Expired => Mark::Failed,
    }
}

fn when(at_ms: Option<u64>, now_ms: u64) -> String {
    at_ms.map_or_else(
        || "-".to_owned(),
        |at_ms| {
            format!(
                "{} {}",
                time::date(at_ms).get(..10).unwrap_or_default(),
                distance(at_ms, now_ms)
            )
        },
    )
}

/// The screen.
pub(crate) fn lines(
    style: Style,
    found: &Outlook,
    policy: Policy<'_>,
    width: usize,
) -> Vec<String> {
    let names = found
        .certificates
        .iter()
        .map(|one| one.name.chars().count());
    let first = names.max().unwrap_or(0).max("CERTIFICATE".len());
    let mut lines = vec![style.faint(&format!(
        "  {}  {:<8}  {:<22}  NEXT RENEWAL",
        pad("CERTIFICATE", first),
        "STATE",
        "VALID UNTIL"
    ))];
    for one in &found.certificates {
        lines.push(format!(
            "{} {}  {:<8}  {:<22}  {}",
            style.glyph(mark(one.state)),
            pad(&harmless(&one.name), first),
            one.state.word(),
            when(one.not_after_ms, found.now_ms),
            when(one.renewal_ms, found.now_ms),
        ));
        lines.extend(about(one, width));
    }
    lines.extend(renewal(style, found, width));
    lines.extend(fields("policy", &policy.words(found.rule), width));
    lines
}

/// A field with a text that may need several lines.
fn fields(label: &str, text: &str, width: usize) -> Vec<String> {
    let parts = text
        .lines()
        .flat_map(|line| wrap(&harmless(line), width.saturating_sub(13).max(20)));
    parts
        .enumerate()
        .map(|(at, part)| {
            let label = if at == 0 { label } else { "" };
            format!("    {label:<9}{}", part.trim_start())
        })
        .collect()
}

fn about(one: &Certificate, width: usize) -> Vec<String> {
    let mut lines = fields("names", &one.dns_names.join(" "), width);
    let (issuer, server) = &one.issuer;
    if !issuer.is_empty() {
        let server = server.strip_prefix("https://").unwrap_or(server);
        let server = server.split('/').next().unwrap_or(server);
        lines.extend(fields("issuer", &format!("{issuer} ({server})"), width));
    }
    if !one.says.is_empty() {
        lines.extend(fields("now", &one.says, width));
    }
    lines
}

/// A sentence with its mark.
fn headline(style: Style, mark: Mark, text: &str, width: usize) -> Vec<String> {
    let parts = wrap(&harmless(text), width.saturating_sub(4).max(20));
    let mut lines: Vec<String> = parts.into_iter().map(|part| format!("  {part}")).collect();
    if let Some(first) = lines.first_mut() {
        *first = format!("{} {}", style.glyph(mark), first.trim_start());
    }
    lines
}

fn renewal(style: Style, found: &Outlook, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if found.looks.is_empty() {
        lines.push(format!(
            "{} renewal: nothing to renew yet",
            style.glyph(Mark::Waiting)
        ));
    } else if found.hindrances.is_empty() {
        let looked = count(found.looks.len(), "look");
        let text = format!(
            "renewal would work: {looked} at addresses, rules, names and ways find nothing against it"
        );
        lines.push(format!("{} {text}", style.glyph(Mark::Ok)));
    }
    for hindrance in &found.hindrances {
        let text = format!(
            "renewal would fail: {} ({})",
            hindrance.meaning, hindrance.cause
        );
        lines.extend(headline(style, Mark::Failed, &text, width));
        for fact in &hindrance.facts {
            lines.extend(fields("shows", fact, width));
        }
        lines.extend(fields(
            "remedy",
            &format!("{} (step {})", hindrance.cure, hindrance.step),
            width,
        ));
    }
    for unseen in &found.unseen {
        let text = format!("not seen: {unseen}");
        lines.extend(headline(style, Mark::Unsure, &text, width));
    }
    lines
}

/// The same as JSON.
pub(crate) fn json(found: &Outlook, policy: Policy<'_>) -> Value {
    let at = |ms: Option<u64>| ms.map(time::rfc3339);
    let certificates: Vec<Value> = found
        .certificates
        .iter()
        .map(|one| {
            json!({
                "name": one.name, "names": one.dns_names, "issuer": one.issuer.0, "server": one.issuer.1,
                "state": one.state, "says": one.says, "not_before": at(one.not_before_ms),
                "not_after": at(one.not_after_ms), "renewal": at(one.renewal_ms),
            })
        })
        .collect();
    json!({
        "type": "certs", "schema": JSON_SCHEMA, "now": time::rfc3339(found.now_ms), "ok": found.is_well(),
        "certificates": certificates,
        "renewal": {
            "works": !found.looks.is_empty() && found.hindrances.is_empty(),
            "hindrances": found.hindrances,
            "looks": found.looks.iter().map(|(topic, summary)| json!({"topic": topic, "saw": summary})).collect::<Vec<_>>(),
            "unseen": found.unseen,
        },
        "hairpin": {"policy": policy.policy, "after": policy.after, "rule": found.rule},
    })
}
