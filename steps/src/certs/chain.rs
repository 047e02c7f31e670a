//! The chain Certificate → `CertificateRequest` → Order → Challenge, as one look at `kubectl get … -o json` shows it.

use serde_json::Value;

use super::{ISSUER, parse_utc};

/// A certificate that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Until when it is valid, as Kubernetes writes it.
    pub(crate) not_after: String,
    /// The same as Unix time in milliseconds.
    pub(crate) not_after_ms: u64,
}

/// What one look at a certificate found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether the certificate's object is there at all.
    pub(crate) there: bool,
    /// The certificate, if it is issued.
    pub(crate) ready: Option<Ready>,
    /// What goes on, for the screen: `challenge of webapp.example.org: pending`.
    pub(crate) stage: String,
    /// The name that the complaint is about; empty if it is about none.
    pub(crate) name: String,
    /// The first complaint, from the innermost object.
    pub(crate) complaint: Option<String>,
    /// Uid of the request whose issuance has failed.
    pub(crate) failed: Option<String>,
    /// When issuance failed, as Unix time in milliseconds.
    pub(crate) failed_ms: Option<u64>,
    /// Whether a challenge waits for the solver's answer.
    pub(crate) solving: bool,
    /// The names that it is for.
    pub(crate) names: Vec<String>,
}

fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    let found = json.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

fn items<'a>(list: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let items = list.get("items").and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter(move |item| text(item, "/kind") == kind)
}

/// The condition of that type.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions
        .iter()
        .find(|condition| text(condition, "/type") == kind)
}

fn owned_by(object: &Value, kind: &str, owner: &Value) -> bool {
    let references = object.pointer("/metadata/ownerReferences");
    let references = references.and_then(Value::as_array);
    references.into_iter().flatten().any(|reference| {
        text(reference, "/kind") == kind
            && text(reference, "/name") == text(owner, "/metadata/name")
    })
}

/// The newest object of a kind that an object owns.
fn newest<'a>(list: &'a Value, kind: &'a str, of: &str, owner: &Value) -> Option<&'a Value> {
    items(list, kind)
        .filter(|item| owned_by(item, of, owner))
        .max_by_key(|item| {
            (
                text(item, "/metadata/creationTimestamp"),
                text(item, "/metadata/name"),
            )
        })
}

fn ready(certificate: &Value) -> Option<Ready> {
    let status = text(condition(certificate, "Ready")?, "/status");
    let not_after = text(certificate, "/status/notAfter");
    let not_after_ms = parse_utc(not_after)?;
    (status == "True").then(|| Ready {
        not_after: not_after.to_owned(),
        not_after_ms,
    })
}

fn names(certificate: &Value) -> Vec<String> {
    let names = certificate
        .pointer("/spec/dnsNames")
        .and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// Looks at the certificate `name` in a list with the four kinds, the issuer, and the objects of the solver, as far as they
/// were asked for.
pub(crate) fn look(list: &Value, name: &str) -> Look {
    let mut found = items(list, "Certificate").filter(|item| text(item, "/metadata/name") == name);
    let Some(certificate) = found.next() else {
        return Look {
            stage: format!("certificate {name} does not exist yet"),
            ..Look::default()
        };
    };
    let mut look = Look {
        there: true,
        ready: ready(certificate),
        stage: "waiting for the certificate request".to_owned(),
        names: names(certificate),
        ..Look::default()
    };
    issuer(list, certificate, &mut look);
    let issuing = condition(certificate, "Issuing");
    let request = newest(list, "CertificateRequest", "Certificate", certificate);
    if let Some(condition) = issuing.filter(|condition| text(condition, "/reason") == "Failed") {
        look.complain("", text(condition, "/message"));
        look.failed = Some(
            request
                .map_or("", |request| text(request, "/metadata/uid"))
                .to_owned(),
        );
        look.failed_ms = parse_utc(text(certificate, "/status/lastFailureTime"));
    }
    if let Some(request) = request {
        self::request(list, request, &mut look);
    }
    look
}

impl Look {
    /// Takes a complaint from further inside than those before.
    fn complain(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.complaint = Some(text.to_owned());
            name.clone_into(&mut self.name);
        }
    }
}

fn issuer(list: &Value, certificate: &Value, look: &mut Look) {
    let name = match text(certificate, "/spec/issuerRef/name") {
        "" => ISSUER,
        name => name,
    };
    let mut issuers =
        items(list, "ClusterIssuer").filter(|item| text(item, "/metadata/name") == name);
    let ready = issuers.next().and_then(|issuer| condition(issuer, "Ready"));
    if let Some(ready) = ready.filter(|ready| text(ready, "/status") != "True") {
        look.stage = format!("issuer {name}: {}", text(ready, "/reason"));
        look.complain("", text(ready, "/message"));
    }
}

fn request(list: &Value, request: &Value, look: &mut Look) {
    if let Some(condition) = condition(request, "Ready")
        && text(condition, "/status") != "True"
    {
        look.stage = format!("certificate request: {}", text(condition, "/reason"));
        if text(condition, "/reason") == "Failed" {
            look.complain("", text(condition, "/message"));
            look.failed = Some(text(request, "/metadata/uid").to_owned());
            look.failed_ms = parse_utc(text(request, "/status/failureTime"));
        }
    }
    let Some(order) = newest(list, "Order", "CertificateRequest", request) else {
        return;
    };
    let state = text(order, "/status/state");
    look.stage = format!("order: {}", if state.is_empty() { "new" } else { state });
    look.complain("", text(order, "/status/reason"));
    let mut challenges: Vec<&Value> = items(list, "Challenge")
        .filter(|item| owned_by(item, "Order", order))
        .filter(|item| text(item, "/status/state") != "valid")
        .collect();
    let Some(all) = order
        .pointer("/status/authorizations")
        .and_then(Value::as_array)
    else {
        return;
    };
    challenges.sort_by_key(|item| text(item, "/spec/dnsName"));
    // One that the authority has refused says more than those that wait.
    challenges.sort_by_key(|item| text(item, "/status/state") != "invalid");
    let Some(first) = challenges.first() else {
        return;
    };
    let (name, state) = (text(first, "/spec/dnsName"), text(first, "/status/state"));
    let state = if state.is_empty() { "pending" } else { state };
    let left = challenges.len();
    look.stage = format!("{left} of {} challenges open; {name}: {state}", all.len());
    look.complain(name, text(first, "/status/reason"));
    look.solving = text(first, "/status/state") != "invalid";
    if look.solving {
        solver(list, look);
    }
}

/// What one object of the chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) kind: &'static str,
    pub(crate) object: String,
    /// The domain name that it is about; empty if it is about none.
    pub(crate) name: String,
    /// Its conditions, or its state.
    pub(crate) text: String,
    /// Its complaint; empty without one.
    pub(crate) said: String,
    /// How it is called in sentences.
    pub(crate) place: &'static str,
    pub(crate) complains: bool,
}

/// `Ready=False DoesNotExist: …; Issuing=True …`.
fn conditions(object: &Value) -> String {
    let list = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let shown = list.into_iter().flatten().map(|one| {
        format!(
            "{}={} {}: {}",
            text(one, "/type"),
            text(one, "/status"),
            text(one, "/reason"),
            text(one, "/message")
        )
    });
    shown.collect::<Vec<_>>().join("; ")
}

/// The condition of that type, if it is not true; with one of these reasons, if any are given.
fn refusal(object: &Value, kind: &str, reasons: &[&str]) -> String {
    let found = condition(object, kind).filter(|one| {
        let reason = text(one, "/reason");
        text(one, "/status") != "True" && (reasons.is_empty() || reasons.contains(&reason))
    });
    found.map_or("", |one| text(one, "/message")).to_owned()
}

impl Story {
    fn of(
        object: &Value,
        (kind, place): (&'static str, &'static str),
        shown: String,
        said: String,
    ) -> Self {
        Self {
            kind,
            object: text(object, "/metadata/name").to_owned(),
            name: text(object, "/spec/dnsName").to_owned(),
            text: shown,
            complains: !said.is_empty(),
            said,
            place,
        }
    }
}

/// What every object of a certificate's chain says, from the outermost to the innermost; the solver's objects last.
pub(crate) fn stories(list: &Value, certificate: &str) -> Vec<Story> {
    let mut all = Vec::new();
    for issuer in items(list, "ClusterIssuer") {
        let said = refusal(issuer, "Ready", &[]);
        all.push(Story::of(
            issuer,
            ("ClusterIssuer", "issuer"),
            conditions(issuer),
            said,
        ));
    }
    let own = |item: &&Value| text(item, "/metadata/name") == certificate;
    for own in items(list, "Certificate").filter(own) {
        let said = refusal(own, "Issuing", &["Failed"]);
        all.push(Story::of(
            own,
            ("Certificate", "certificate"),
            conditions(own),
            said,
        ));
        let requests = items(list, "CertificateRequest");
        for request in requests.filter(|item| owned_by(item, "Certificate", own)) {
            let said = refusal(request, "Ready", &["Failed", "Denied"]);
            let is = ("CertificateRequest", "request");
            all.push(Story::of(request, is, conditions(request), said));
            orders(list, request, &mut all);
        }
    }
    for is in [
        ("Pod", "solver's pod"),
        ("Service", "solver's service"),
        ("Ingress", "solver's ingress"),
    ] {
        for object in items(list, is.0) {
            let said = waiting(object);
            let shown = match is.0 {
                "Pod" => format!("{} {said}", text(object, "/status/phase")),
                _ => "is there".to_owned(),
            };
            all.push(Story::of(object, is, shown, said));
        }
    }
    all
}

/// The orders of a request, with their challenges.
fn orders(list: &Value, request: &Value, all: &mut Vec<Story>) {
    let state = |object: &Value| {
        let (state, reason) = (
            text(object, "/status/state"),
            text(object, "/status/reason"),
        );
        (format!("{state}: {reason}"), reason.to_owned())
    };
    let orders = items(list, "Order");
    for order in orders.filter(|item| owned_by(item, "CertificateRequest", request)) {
        let (shown, said) = state(order);
        all.push(Story::of(order, ("Order", "order"), shown, said));
        let challenges = items(list, "Challenge");
        for challenge in challenges.filter(|item| owned_by(item, "Order", order)) {
            let (shown, said) = state(challenge);
            let shown = format!("{} {shown}", text(challenge, "/spec/dnsName"));
            all.push(Story::of(
                challenge,
                ("Challenge", "challenge"),
                shown,
                said,
            ));
        }
    }
}

/// Why the container of a solver's pod cannot start; empty when it can, or only begins.
fn waiting(pod: &Value) -> String {
    let containers = pod
        .pointer("/status/containerStatuses")
        .and_then(Value::as_array);
    let found = containers.into_iter().flatten().find_map(|container| {
        let state = container.pointer("/state/waiting")?;
        let reason = text(state, "/reason");
        let begins = matches!(reason, "" | "ContainerCreating" | "PodInitializing");
        (!begins).then(|| {
            format!(
                "{reason} of {}: {}",
                text(container, "/image"),
                text(state, "/message")
            )
        })
    });
    found.unwrap_or_default()
}

/// The complaint of a solver's pod that cannot start: it says more than the answers that are missing because of it.
fn solver(list: &Value, look: &mut Look) {
    let said = items(list, "Pod")
        .map(waiting)
        .find(|said| !said.is_empty());
    if let Some(said) = said {
        let name = look.name.clone();
        look.complain(&name, &said);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn certificate(conditions: &Value) -> Value {
        json!({"kind": "Certificate", "metadata": {"name": "sftd"},
            "status": {"conditions": conditions, "notAfter": "2026-04-01T00:00:00Z", "lastFailureTime": "2026-01-01T00:05:00Z"}})
    }

    fn owned(kind: &str, name: &str, of: (&str, &str), status: &Value) -> Value {
        json!({"kind": kind, "metadata": {"name": name, "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"kind": of.0, "name": of.1}]}, "spec": {"dnsName": "sftd.example.org"}, "status": status})
    }

    fn list(items: &[Value]) -> Value {
        json!({"kind": "List", "items": items})
    }

    #[test]
    fn a_ready_certificate_is_read_with_its_end() {
        let look = look(
            &list(&[certificate(&json!([{"type": "Ready", "status": "True"}]))]),
            "sftd",
        );
        assert_eq!(
            look.ready.map(|ready| ready.not_after_ms),
            parse_utc("2026-04-01T00:00:00Z")
        );
        let none = super::look(&list(&[]), "sftd");
        assert!(!none.there && none.ready.is_none() && none.complaint.is_none());
    }

    #[test]
    fn the_innermost_complaint_is_told() {
        let waiting = certificate(
            &json!([{"type": "Ready", "status": "False"}, {"type": "Issuing", "status": "True"}]),
        );
        let request = owned(
            "CertificateRequest",
            "sftd-1",
            ("Certificate", "sftd"),
            &json!({"conditions": [{"type": "Ready", "status": "False", "reason": "Pending"}]}),
        );
        let order = owned(
            "Order",
            "sftd-1-7",
            ("CertificateRequest", "sftd-1"),
            &json!({"state": "pending", "authorizations": [{}]}),
        );
        let challenge = owned(
            "Challenge",
            "sftd-1-7-3",
            ("Order", "sftd-1-7"),
            &json!({"state": "pending", "reason": "Waiting for HTTP-01 challenge propagation: EOF"}),
        );
        let found = look(
            &list(&[waiting.clone(), request.clone(), order, challenge]),
            "sftd",
        );
        assert_eq!(
            found.stage,
            "1 of 1 challenges open; sftd.example.org: pending"
        );
        assert_eq!(found.name, "sftd.example.org");
        assert!(found.complaint.unwrap().ends_with("EOF"));
        let issuer = json!({"kind": "ClusterIssuer", "metadata": {"name": ISSUER},
            "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "ErrRegisterACMEAccount", "message": "Failed to register ACME account: x"}]}});
        let found = look(&list(&[waiting, issuer]), "sftd");
        assert_eq!(
            found.complaint.as_deref(),
            Some("Failed to register ACME account: x")
        );
    }

    #[test]
    fn a_failed_issuance_is_known_by_its_request() {
        let failed = certificate(
            &json!([{"type": "Issuing", "status": "False", "reason": "Failed", "message": "The certificate request has failed to complete and will be retried: x"}]),
        );
        let request = owned(
            "CertificateRequest",
            "sftd-1",
            ("Certificate", "sftd"),
            &json!({"failureTime": "2026-01-01T00:05:00Z",
            "conditions": [{"type": "Ready", "status": "False", "reason": "Failed", "message": "Failed to wait for order resource"}]}),
        );
        let found = look(&list(&[failed, request]), "sftd");
        assert_eq!(found.failed.as_deref(), Some("uid-sftd-1"));
        assert_eq!(found.failed_ms, parse_utc("2026-01-01T00:05:00Z"));
        assert_eq!(
            found.complaint.as_deref(),
            Some("Failed to wait for order resource")
        );
    }
}
