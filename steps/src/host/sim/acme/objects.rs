//! cert-manager's objects as `kubectl get -o json` shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::cmd::{spread, uuid_of};
use super::super::entity::KubeObject;
use super::super::kube::release::Release;
use super::super::kube::{self, objects::OWNER, text};
use super::super::state::{Draft, Machine};
use super::{ACCOUNT, Check, ISSUER, MANAGER, outside, solver};
use crate::certs::utc;

/// How long a certificate is valid, in milliseconds.
const VALID_MS: u64 = 90 * 86_400_000;
/// How long before its end it is renewed, in milliseconds.
const RENEW_BEFORE_MS: u64 = 15 * 86_400_000;

/// What a simulated certificate says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Paper {
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) not_before_ms: u64,
    pub(crate) not_after_ms: u64,
}

impl Paper {
    fn pem(&self) -> String {
        let body = STANDARD.encode(json!(self).to_string());
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    /// The certificate in a secret.
    pub(crate) fn of(secret: &Value) -> Option<Self> {
        let pem = STANDARD
            .decode(secret.pointer("/data/tls.crt")?.as_str()?)
            .ok()?;
        let pem = String::from_utf8(pem).ok()?;
        let body = pem.lines().nth(1)?;
        serde_json::from_slice(&STANDARD.decode(body).ok()?).ok()
    }
}

fn wall(draft: &Draft<'_>, at_ms: u64) -> String {
    utc(draft.base().epoch_ms + at_ms)
}

fn condition(kind: &str, status: bool, reason: &str, message: &str) -> Value {
    let status = if status { "True" } else { "False" };
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

/// Sets an object, keeping what a controller says of it.
fn put(draft: &mut Draft<'_>, mut json: Value) {
    let key = kube::key(
        text(&json, "/kind"),
        text(&json, "/metadata/namespace"),
        text(&json, "/metadata/name"),
    );
    if let Some(old) = draft.get::<KubeObject>(&key) {
        if old.json.get("spec") == json.get("spec") {
            return;
        }
        if let Some(status) = old.json.get("status") {
            kube::set(&mut json, &["status"], status.clone());
        }
        let uid = old.json.pointer("/metadata/uid");
        kube::set(
            &mut json,
            &["metadata", "uid"],
            uid.cloned().unwrap_or_default(),
        );
    }
    kube::put(draft, json);
}

fn uid(draft: &Draft<'_>, name: &str) -> String {
    uuid_of(&format!("{name} {}", draft.now_ms()))
}

/// The issuer of a release.
pub(super) fn put_issuer(draft: &mut Draft<'_>, release: &Release) {
    let test = release.config.pointer("/certManager/inTestMode");
    let host = match test.and_then(Value::as_bool) {
        Some(true) => "acme-staging-v02",
        _ => "acme-v02",
    };
    let email = text(&release.config, "/certManager/certmasterEmail");
    let json = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer",
        "metadata": {"name": ISSUER, "uid": uid(draft, ISSUER), "annotations": {OWNER: release.name}},
        "spec": {"acme": {
            "email": email, "server": format!("https://{host}.api.letsencrypt.org/directory"),
            "privateKeySecretRef": {"name": ACCOUNT},
            "solvers": [{"http01": {"ingress": {"class": "nginx"}}}],
        }},
    });
    put(draft, json);
}

/// A certificate of a release.
pub(super) fn put_certificate(
    draft: &mut Draft<'_>,
    release: &Release,
    name: &str,
    secret: &str,
    names: &[String],
) {
    let json = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {
            "name": name, "namespace": release.namespace, "uid": uid(draft, name),
            "annotations": {OWNER: release.name},
        },
        "spec": {
            "dnsNames": names, "secretName": secret, "duration": "2160h0m0s", "renewBefore": "360h0m0s",
            "issuerRef": {"name": ISSUER, "kind": "ClusterIssuer"},
        },
    });
    put(draft, json);
}

/// Registers the issuer's account, if the authority lets it.
pub(super) fn register(draft: &mut Draft<'_>, issuer: &str) -> bool {
    let key = kube::key("ClusterIssuer", "", issuer);
    let Some(mut object) = draft.get::<KubeObject>(&key) else {
        return false;
    };
    let found = outside::account(draft, &object.json);
    let condition = match &found {
        Ok(()) => condition(
            "Ready",
            true,
            "ACMEAccountRegistered",
            "The ACME account was registered with the ACME server",
        ),
        Err(why) => condition("Ready", false, "ErrRegisterACMEAccount", why),
    };
    let status = json!({"conditions": [condition]});
    kube::set(&mut object.json, &["status"], status);
    draft.put(&key, &object);
    if found.is_err() {
        return false;
    }
    let account = text(&object.json, "/spec/acme/privateKeySecretRef/name").to_owned();
    if kube::get(draft, "Secret", MANAGER, &account).is_none() {
        let secret = STANDARD.encode(format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
            uid(draft, "account")
        ));
        kube::put(
            draft,
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"name": account, "namespace": MANAGER},
                "data": {"tls.key": secret},
            }),
        );
    }
    true
}

/// The secret that a certificate names.
fn secret_of(draft: &Draft<'_>, certificate: &Value) -> Option<Value> {
    let name = text(certificate, "/spec/secretName");
    kube::get(
        draft,
        "Secret",
        text(certificate, "/metadata/namespace"),
        name,
    )
}

/// Whether a certificate's secret holds what it asks for, and for some time to come.
pub(super) fn valid_secret(draft: &Draft<'_>, certificate: &Value, names: &[String]) -> bool {
    let Some(secret) = secret_of(draft, certificate) else {
        return false;
    };
    let issuer = secret.pointer("/metadata/annotations/cert-manager.io~1issuer-name");
    let paper = Paper::of(&secret)
        .filter(|_| issuer.and_then(Value::as_str) == Some(super::issuer_of(certificate)));
    paper.is_some_and(|paper| {
        outside::joined(&paper.names) == outside::joined(names)
            && paper.not_after_ms > draft.wall_ms() + RENEW_BEFORE_MS
    })
}

/// Writes a certificate's secret; answers when it is renewed, in milliseconds from now.
pub(super) fn put_secret(draft: &mut Draft<'_>, certificate: &Value, at_ms: u64) -> u64 {
    let issued_by = super::issuer_of(certificate);
    let issuer = kube::get(draft, "ClusterIssuer", "", issued_by).unwrap_or_default();
    let test = text(&issuer, "/spec/acme/server").contains("staging");
    let names = certificate
        .pointer("/spec/dnsNames")
        .cloned()
        .unwrap_or_default();
    let from_ms = draft.base().epoch_ms + at_ms;
    let paper = Paper {
        names: serde_json::from_value(names.clone()).unwrap_or_default(),
        issuer: if test {
            "C = US, O = (STAGING) Let's Encrypt, CN = (STAGING) Riddling Rhubarb R12".to_owned()
        } else {
            "C = US, O = Let's Encrypt, CN = R12".to_owned()
        },
        not_before_ms: from_ms,
        not_after_ms: from_ms + VALID_MS,
    };
    let key = format!(
        "-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n",
        uid(draft, "key")
    );
    let shown: Vec<&str> = names
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let json = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "name": text(certificate, "/spec/secretName"),
            "namespace": text(certificate, "/metadata/namespace"),
            "annotations": {
                "cert-manager.io/alt-names": shown.join(","),
                "cert-manager.io/certificate-name": text(certificate, "/metadata/name"),
                "cert-manager.io/issuer-kind": "ClusterIssuer", "cert-manager.io/issuer-name": issued_by,
            },
        },
        "data": {"tls.crt": STANDARD.encode(paper.pem()), "tls.key": STANDARD.encode(key)},
    });
    kube::put(draft, json);
    VALID_MS - RENEW_BEFORE_MS
}

/// Names of request, order and challenges.
fn chain_names(certificate: &str, number: u32) -> (String, String) {
    let request = format!("{certificate}-1");
    let order = format!(
        "{request}-{}",
        spread(&format!("{certificate} {number}"), 4_000_000_000)
    );
    (request, order)
}

fn owned(kind: &str, name: &str, (of, owner): (&str, &str), made: &str) -> Value {
    json!({
        "apiVersion": match kind { "CertificateRequest" => "cert-manager.io/v1", _ => "acme.cert-manager.io/v1" },
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "default", "uid": uuid_of(&format!("{name} {made}")), "creationTimestamp": made,
            "ownerReferences": [{"kind": of, "name": owner, "controller": true}],
        },
    })
}

/// Writes request, order and challenges; `end` is the state of an order that came to nothing, and why.
pub(super) fn put_chain(
    draft: &mut Draft<'_>,
    certificate: &Value,
    number: u32,
    checks: &[Check],
    end: Option<(&str, &str)>,
) {
    let name = text(certificate, "/metadata/name");
    let (request_name, order_name) = chain_names(name, number);
    let old = kube::get(draft, "CertificateRequest", "default", &request_name);
    let made = old
        .as_ref()
        .map(|old| text(old, "/metadata/creationTimestamp").to_owned());
    let made = made.unwrap_or_else(|| wall(draft, draft.now_ms()));
    let mut request = owned(
        "CertificateRequest",
        &request_name,
        ("Certificate", name),
        &made,
    );
    let status = match end {
        None => {
            json!({"conditions": [condition("Ready", false, "Pending", &format!("Waiting on certificate issuance from order default/{order_name}: \"pending\""))]})
        }
        Some((state, why)) => json!({
            "conditions": [condition("Ready", false, "Failed", &format!("Failed to wait for order resource \"{order_name}\" to become ready: order is in \"{state}\" state: {why}"))],
            "failureTime": wall(draft, draft.now_ms()),
        }),
    };
    kube::set(&mut request, &["status"], status);
    kube::put(draft, request);
    let mut order = owned(
        "Order",
        &order_name,
        ("CertificateRequest", &request_name),
        &made,
    );
    let authorizations: Vec<Value> = checks
        .iter()
        .map(|check| json!({"identifier": check.name}))
        .collect();
    let state = end.map_or("pending", |(state, _)| state);
    let status = if checks.is_empty() {
        json!({"state": state, "reason": end.map_or("", |(_, why)| why)})
    } else {
        json!({"state": state, "authorizations": authorizations})
    };
    kube::set(&mut order, &["status"], status);
    kube::put(draft, order);
    if end.is_some() {
        solver::drop_all(draft, name);
    } else {
        solver::put(draft, &order_name, checks);
    }
    for check in checks {
        let challenge_name = format!("{order_name}-{}", spread(&check.name, 4_000_000_000));
        let mut challenge = owned("Challenge", &challenge_name, ("Order", &order_name), &made);
        let spec = json!({"dnsName": check.name, "type": "HTTP-01"});
        kube::set(&mut challenge, &["spec"], spec);
        let status = json!({
            "presented": check.state == "pending", "processing": check.state == "pending",
            "state": check.state, "reason": check.reason,
        });
        kube::set(&mut challenge, &["status"], status);
        kube::put(draft, challenge);
    }
}

/// Removes request, order and challenges of a certificate.
pub(super) fn drop_chain(draft: &mut Draft<'_>, name: &str) {
    solver::drop_all(draft, name);
    for kind in ["CertificateRequest", "Order", "Challenge"] {
        for key in draft.names::<KubeObject>(&format!("{kind}/default/{name}-1")) {
            draft.del::<KubeObject>(&key);
        }
    }
}

/// The request is granted, the order valid, the challenges are gone.
pub(super) fn finish_chain(draft: &mut Draft<'_>, name: &str) {
    solver::drop_all(draft, name);
    for key in draft.names::<KubeObject>(&format!("Challenge/default/{name}-1")) {
        draft.del::<KubeObject>(&key);
    }
    for (kind, status) in [
        ("Order", json!({"state": "valid"})),
        (
            "CertificateRequest",
            json!({"conditions": [condition("Ready", true, "Issued", "Certificate fetched from issuer successfully")]}),
        ),
    ] {
        for key in draft.names::<KubeObject>(&format!("{kind}/default/{name}-1")) {
            if let Some(mut object) = draft.get::<KubeObject>(&key) {
                kube::set(&mut object.json, &["status"], status.clone());
                draft.put(&key, &object);
            }
        }
    }
}

/// Whether somebody asked for another attempt.
pub(super) fn triggered(certificate: &Value) -> bool {
    let list = certificate
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .any(|one| text(one, "/type") == "Issuing" && text(one, "/status") == "True")
}

/// Writes what a certificate's own conditions say.
pub(super) fn put_status(
    draft: &mut Draft<'_>,
    certificate: &Value,
    what: &str,
    failure: Option<(u32, u64)>,
) {
    let name = text(certificate, "/metadata/name");
    let key = kube::key(
        "Certificate",
        text(certificate, "/metadata/namespace"),
        name,
    );
    let Some(mut object) = draft.get::<KubeObject>(&key) else {
        return;
    };
    let paper = secret_of(draft, certificate).and_then(|secret| Paper::of(&secret));
    let missing = condition(
        "Ready",
        false,
        "DoesNotExist",
        "Issuing certificate as Secret does not exist",
    );
    let status = match (what, paper, failure) {
        ("Ready", Some(paper), _) => json!({
            "conditions": [condition("Ready", true, "Ready", "Certificate is up to date and has not expired")],
            "notBefore": utc(paper.not_before_ms), "notAfter": utc(paper.not_after_ms),
            "renewalTime": utc(paper.not_after_ms.saturating_sub(RENEW_BEFORE_MS)), "revision": 1,
        }),
        (_, _, Some((failures, since_ms))) => {
            let request = kube::get(draft, "CertificateRequest", "default", &format!("{name}-1"))
                .unwrap_or_default();
            let why = text(&request, "/status/conditions/0/message");
            let message = format!(
                "The certificate request has failed to complete and will be retried: {why}"
            );
            json!({
                "conditions": [missing, condition("Issuing", false, "Failed", &message)],
                "failedIssuanceAttempts": failures, "lastFailureTime": wall(draft, since_ms),
            })
        }
        _ => json!({"conditions": [
            missing,
            condition("Issuing", true, "DoesNotExist", "Issuing certificate as Secret does not exist"),
        ]}),
    };
    kube::set(&mut object.json, &["status"], status);
    draft.put(&key, &object);
}

/// What counts of such an object when machines are compared; `None` for what comes and goes by itself.
pub(crate) fn canonical(machine: &Machine, json: &Value) -> Option<Value> {
    let mut json = json.clone();
    let (kind, name) = (
        text(&json, "/kind").to_owned(),
        text(&json, "/metadata/name").to_owned(),
    );
    match kind.as_str() {
        "CertificateRequest" | "Order" | "Challenge" => return None,
        "Pod" | "Service" | "Ingress" if solver::is_one(&json) => return None,
        "Certificate" | "ClusterIssuer" => {
            json.as_object_mut()?.remove("status");
            kube::set(&mut json, &["metadata", "uid"], Value::Null);
        }
        "Secret" if name == ACCOUNT => {
            let issuer = kube::key("ClusterIssuer", "", ISSUER);
            return machine.get::<KubeObject>(&issuer).is_none().then_some(json);
        }
        "Secret" => {
            let certificate =
                json.pointer("/metadata/annotations/cert-manager.io~1certificate-name");
            let certificate = certificate.and_then(Value::as_str).unwrap_or_default();
            let key = kube::key(
                "Certificate",
                text(&json, "/metadata/namespace"),
                certificate,
            );
            return machine.get::<KubeObject>(&key).is_none().then_some(json);
        }
        _ => {}
    }
    Some(json)
}
