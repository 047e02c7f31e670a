//! The work on one certificate: request, order, challenges, self-checks, the order itself, and the secret.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::Hub;
use super::super::api::{
    self, CERTIFICATE, CHALLENGE, INGRESS, Kind, ORDER, POD, REQUEST, SECRET, SERVICE, STATUS,
    items, name, namespace, text,
};
use super::Place;
use super::lego::{self, Papers, Refused};
use super::objects::{
    condition, digest, event, klog, made, missing, new_condition, owned, present, with,
};
use super::self_check::self_check;
use crate::cmd::Cmd;
use crate::error::Result;
use crate::sys::{Watch, now_utc};

/// Passes in a row that a self-check needs, the pause between two, and after one that fails; in seconds.
const PASSES: u32 = 5;
const PASS_S: u64 = 2;
const RETRY_S: u64 = 10;
/// How often the secret of an issued certificate is looked at, in seconds.
const SECRET_S: u64 = 5;
/// Doublings of the pause after a failure.
const DOUBLINGS_MAX: u32 = 5;
/// A certificate that ends sooner is renewed, in seconds.
const RENEW_S: &str = "1296000";

/// The self-check of one name.
#[derive(Debug)]
struct Check {
    host: String,
    challenge: String,
    token: String,
    key: String,
    passes: u32,
    pause_s: u64,
    since: Watch,
    running: Option<Receiver<std::result::Result<(), String>>>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    New,
    Checks(Vec<Check>),
    Asked(Receiver<std::result::Result<Papers, Refused>>),
    Failed(Watch),
    Done(Watch),
}

/// The issuance of one certificate.
#[derive(Debug, Default)]
pub(super) struct Issuance {
    stage: Stage,
    failures: u32,
    count: u32,
    revision: u32,
}

/// What the work is about.
struct Work<'a> {
    hub: &'a Arc<Hub>,
    place: &'a Place,
    certificate: &'a Value,
    names: Vec<String>,
}

impl Issuance {
    /// One step onwards, if it is time.
    pub(super) fn advance(
        &mut self,
        hub: &Arc<Hub>,
        place: &Place,
        certificate: &Value,
        issuer: Option<&Value>,
    ) -> Result<()> {
        let names = items(certificate, "/spec/dnsNames")
            .iter()
            .filter_map(Value::as_str);
        let work = Work {
            hub,
            place,
            certificate,
            names: names.map(str::to_owned).collect(),
        };
        let triggered = condition(certificate, "Issuing") == Some(("True", "ManuallyTriggered"));
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::New => self.begin(&work, issuer)?,
            Stage::Checks(checks) => Self::checks(&work, checks, issuer)?,
            Stage::Asked(answer) => match answer.try_recv() {
                Err(TryRecvError::Empty) => Stage::Asked(answer),
                Ok(Ok(papers)) => self.issued(&work, &papers)?,
                Ok(Err(refused)) => self.refused(&work, &refused)?,
                Err(TryRecvError::Disconnected) => {
                    self.refused(&work, &Refused::Order("the client broke".to_owned()))?
                }
            },
            Stage::Failed(since) if triggered || since.over(self.pause_s(hub)) => Stage::New,
            Stage::Failed(since) => Stage::Failed(since),
            // A secret that somebody deletes is issued anew.
            Stage::Done(since) if since.over(SECRET_S) => match work.secret()? {
                Some(_) => Stage::Done(Watch::start()),
                None => Stage::New,
            },
            Stage::Done(since) => Stage::Done(since),
        };
        Ok(())
    }

    fn pause_s(&self, hub: &Hub) -> u64 {
        hub.order.backoff_s << self.failures.saturating_sub(1).min(DOUBLINGS_MAX)
    }

    fn order_name(&self, work: &Work<'_>) -> String {
        let uid = text(work.certificate, "/metadata/uid");
        format!(
            "{}-1-{}",
            name(work.certificate),
            digest(&format!("{uid} {}", self.count))
        )
    }

    /// Uses a secret that is there already; else makes request, order and challenges once the issuer is ready.
    fn begin(&mut self, work: &Work<'_>, issuer: Option<&Value>) -> Result<Stage> {
        if let Some(secret) = work.secret()? {
            self.revision = self.revision.max(1);
            work.ready(&secret, self.revision)?;
            return Ok(Stage::Done(Watch::start()));
        }
        if condition(work.certificate, "Issuing").is_none_or(|(status, _)| status != "True") {
            work.issuing()?;
        }
        let ready = issuer.and_then(|issuer| condition(issuer, "Ready"));
        if ready.is_none_or(|(status, _)| status != "True") {
            return Ok(Stage::New);
        }
        self.count += 1;
        let space = namespace(work.certificate);
        let request_name = format!("{}-1", name(work.certificate));
        api::delete(REQUEST, space, &request_name)?;
        let request = owned(
            work.certificate,
            "cert-manager.io/v1",
            "CertificateRequest",
            &request_name,
        );
        let spec = json!({"issuerRef": work.certificate.pointer("/spec/issuerRef"), "request": ""});
        let request = made(REQUEST, &with(request, "spec", spec))?;
        let order_name = self.order_name(work);
        let approved = new_condition(
            "Approved",
            true,
            "cert-manager.io",
            "Certificate request has been approved by cert-manager.io",
        );
        let text =
            format!("Waiting on certificate issuance from order {space}/{order_name}: \"pending\"");
        let pending = new_condition("Ready", false, "Pending", &text);
        work.status(
            REQUEST,
            &request_name,
            &json!({"conditions": [approved, pending]}),
        )?;
        let order = owned(&request, "acme.cert-manager.io/v1", "Order", &order_name);
        let spec = json!({"dnsNames": work.names, "issuerRef": work.certificate.pointer("/spec/issuerRef"), "request": ""});
        let order = made(ORDER, &with(order, "spec", spec))?;
        let one = |host: &String| json!({"identifier": host, "initialState": "pending", "wildcard": false});
        let authorizations: Vec<Value> = work.names.iter().map(one).collect();
        work.status(
            ORDER,
            &order_name,
            &json!({"state": "pending", "authorizations": authorizations}),
        )?;
        event(
            work.certificate,
            ("Normal", "Requested"),
            &format!("Created new CertificateRequest resource \"{request_name}\""),
        )?;
        let mut checks = Vec::new();
        for host in &work.names {
            checks.push(work.challenge(&order, host)?);
        }
        Ok(Stage::Checks(checks))
    }

    fn checks(work: &Work<'_>, mut checks: Vec<Check>, issuer: Option<&Value>) -> Result<Stage> {
        for check in &mut checks {
            work.check(check)?;
        }
        if checks.iter().any(|check| check.passes < PASSES) {
            return Ok(Stage::Checks(checks));
        }
        let (sender, receiver) = channel();
        let (hub, names) = (work.hub.clone(), work.names.clone());
        let certificate = name(work.certificate).to_owned();
        let email = issuer.map(|issuer| text(issuer, "/spec/acme/email").to_owned());
        std::thread::spawn(move || {
            let email = email.unwrap_or_default();
            let papers = lego::order(&hub.order, &certificate, &names, &email);
            // Nobody waits any more when the certificate was deleted.
            drop(sender.send(papers));
        });
        Ok(Stage::Asked(receiver))
    }

    fn issued(&mut self, work: &Work<'_>, papers: &Papers) -> Result<Stage> {
        let (space, own) = (namespace(work.certificate), name(work.certificate));
        work.put_secret(papers)?;
        work.clear()?;
        work.status(ORDER, &self.order_name(work), &json!({"state": "valid"}))?;
        let fetched = new_condition(
            "Ready",
            true,
            "Issued",
            "Certificate fetched from issuer successfully",
        );
        work.status(
            REQUEST,
            &format!("{own}-1"),
            &json!({"conditions": [fetched]}),
        )?;
        self.failures = 0;
        self.revision += 1;
        let secret = api::get(SECRET, space, text(work.certificate, "/spec/secretName"))?;
        work.ready(&secret.unwrap_or_default(), self.revision)?;
        event(
            work.certificate,
            ("Normal", "Issuing"),
            "The certificate has been successfully issued",
        )?;
        Ok(Stage::Done(Watch::start()))
    }

    fn refused(&mut self, work: &Work<'_>, refused: &Refused) -> Result<Stage> {
        self.failures += 1;
        let order = self.order_name(work);
        let (state, why) = match refused {
            Refused::Order(why) => ("errored", format!("Failed to create Order: {why}")),
            Refused::Names(names) => {
                for (host, said) in names {
                    let challenge = format!("{order}-{}", digest(host));
                    let reason = format!(
                        "Error accepting authorization: acme: authorization error for {host}: {said}"
                    );
                    let status = json!({"state": "invalid", "reason": reason, "processing": false, "presented": false});
                    work.status(CHALLENGE, &challenge, &status)?;
                    work.log('E', "sync.go:379", &format!("\"error waiting for authorization\" err=\"{reason}\" logger=\"cert-manager.controller.acceptChallenge\" resource_name=\"{challenge}\" dnsName=\"{host}\" type=\"HTTP-01\""));
                }
                ("invalid", String::new())
            }
        };
        work.status(
            ORDER,
            &order,
            &json!({"state": state, "reason": why, "failureTime": now_utc()}),
        )?;
        let message = format!(
            "Failed to wait for order resource \"{order}\" to become ready: order is in \"{state}\" state: {why}"
        );
        let failed = new_condition("Ready", false, "Failed", &message);
        work.status(
            REQUEST,
            &format!("{}-1", name(work.certificate)),
            &json!({"conditions": [failed], "failureTime": now_utc()}),
        )?;
        let message = format!(
            "The certificate request has failed to complete and will be retried: {message}"
        );
        let status = json!({
            "conditions": [missing(), new_condition("Issuing", false, "Failed", &message)],
            "failedIssuanceAttempts": self.failures, "lastFailureTime": now_utc(),
        });
        work.status(CERTIFICATE, name(work.certificate), &status)?;
        event(work.certificate, ("Warning", "Failed"), &message)?;
        Ok(Stage::Failed(Watch::start()))
    }
}

impl Work<'_> {
    fn log(&self, level: char, place: &str, text: &str) {
        self.hub.log(&self.place.pod, klog(level, place, text));
    }

    fn status(&self, kind: Kind, own: &str, status: &Value) -> Result<()> {
        let space = namespace(self.certificate);
        api::patch(kind, space, own, STATUS, &json!({"status": status}))
    }

    fn issuing(&self) -> Result<()> {
        let text = "Issuing certificate as Secret does not exist";
        let conditions = [
            missing(),
            new_condition("Issuing", true, "DoesNotExist", text),
        ];
        event(self.certificate, ("Normal", "Issuing"), text)?;
        self.status(
            CERTIFICATE,
            name(self.certificate),
            &json!({"conditions": conditions}),
        )
    }

    /// The secret, if it holds what is asked for, and for some time to come.
    fn secret(&self) -> Result<Option<Value>> {
        let wanted = text(self.certificate, "/spec/secretName");
        let Some(secret) = api::get(SECRET, namespace(self.certificate), wanted)? else {
            return Ok(None);
        };
        let note = |key: &str| {
            let notes = secret.pointer("/metadata/annotations");
            notes
                .and_then(|notes| notes.get(key)?.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        let held = note("cert-manager.io/alt-names")
            .split(',')
            .map(str::to_owned)
            .collect();
        let same = sorted(held) == sorted(self.names.clone())
            && note("cert-manager.io/issuer-name")
                == text(self.certificate, "/spec/issuerRef/name");
        let lasts = Cmd::new(["openssl", "x509", "-noout", "-checkend", RENEW_S]);
        let good = same && lasts.stdin(pem(&secret)).succeeds()?;
        Ok(good.then_some(secret))
    }

    fn put_secret(&self, papers: &Papers) -> Result<()> {
        let issuer = text(self.certificate, "/spec/issuerRef/name");
        let notes = json!({
            "cert-manager.io/alt-names": self.names.join(","), "cert-manager.io/certificate-name": name(self.certificate),
            "cert-manager.io/issuer-kind": "ClusterIssuer", "cert-manager.io/issuer-name": issuer,
        });
        let data = json!({"tls.crt": STANDARD.encode(&papers.chain), "tls.key": STANDARD.encode(&papers.key)});
        let (space, own) = (
            namespace(self.certificate),
            text(self.certificate, "/spec/secretName"),
        );
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": own, "namespace": space, "annotations": notes}, "data": data,
        });
        if !api::create(SECRET, &secret)? {
            let change = json!({"metadata": {"annotations": notes}, "data": data});
            api::patch(SECRET, space, own, "", &change)?;
        }
        Ok(())
    }

    fn ready(&self, secret: &Value, revision: u32) -> Result<()> {
        let dates = Cmd::new([
            "openssl", "x509", "-noout", "-dates", "-dateopt", "iso_8601",
        ]);
        let dates = dates.stdin(pem(secret)).output()?;
        let date = |key: &str| {
            let found = dates.lines().find_map(|line| line.strip_prefix(key));
            found.unwrap_or_default().replace(' ', "T")
        };
        let good = new_condition(
            "Ready",
            true,
            "Ready",
            "Certificate is up to date and has not expired",
        );
        let status = json!({
            "conditions": [good], "notBefore": date("notBefore="), "notAfter": date("notAfter="),
            "renewalTime": date("notAfter="), "revision": revision, "failedIssuanceAttempts": null, "lastFailureTime": null,
        });
        self.status(CERTIFICATE, name(self.certificate), &status)
    }

    /// Makes the challenge of a name and what answers it.
    fn challenge(&self, order: &Value, host: &str) -> Result<Check> {
        let own = format!("{}-{}", name(order), digest(host));
        let secret =
            blake3::hash(format!("{own} {}", text(order, "/metadata/uid")).as_bytes()).to_hex();
        let (token, key) = secret.split_at(32);
        let key = format!("{token}.{key}");
        let challenge = owned(order, "acme.cert-manager.io/v1", "Challenge", &own);
        let spec = json!({"dnsName": host, "type": "HTTP-01", "token": token, "key": key, "wildcard": false});
        let challenge = made(CHALLENGE, &with(challenge, "spec", spec))?;
        event(
            &challenge,
            ("Normal", "Started"),
            "Challenge scheduled for processing",
        )?;
        present(&challenge, host, token, &key)?;
        event(
            &challenge,
            ("Normal", "Presented"),
            "Presented challenge using HTTP-01 challenge mechanism",
        )?;
        let status =
            json!({"state": "pending", "presented": true, "processing": true, "reason": ""});
        self.status(CHALLENGE, &own, &status)?;
        Ok(Check {
            host: host.to_owned(),
            challenge: own,
            token: token.to_owned(),
            key,
            passes: 0,
            pause_s: 0,
            since: Watch::start(),
            running: None,
        })
    }

    /// Begins a self-check that is due, or takes note of how it went.
    fn check(&self, check: &mut Check) -> Result<()> {
        if let Some(running) = &check.running {
            let Ok(found) = running.try_recv() else {
                return Ok(());
            };
            check.running = None;
            check.since = Watch::start();
            return self.checked(check, found);
        }
        if check.passes < PASSES && (check.pause_s == 0 || check.since.over(check.pause_s)) {
            let (sender, receiver) = channel();
            let (hub, node) = (self.hub.clone(), self.place.node.clone());
            let (host, token, key) = (check.host.clone(), check.token.clone(), check.key.clone());
            std::thread::spawn(move || {
                drop(sender.send(self_check(&hub, &node, &host, &token, &key)));
            });
            check.running = Some(receiver);
        }
        Ok(())
    }

    fn checked(&self, check: &mut Check, found: std::result::Result<(), String>) -> Result<()> {
        let reason = match found {
            Ok(()) => {
                check.passes += 1;
                check.pause_s = PASS_S;
                String::new()
            }
            Err(why) => {
                check.passes = 0;
                check.pause_s = RETRY_S;
                self.log('E', "sync.go:208", &format!(
                    "\"propagation check failed\" err={why:?} logger=\"cert-manager.controller\" resource_name=\"{}\" resource_namespace=\"{}\" resource_kind=\"Challenge\" resource_version=\"v1\" dnsName=\"{}\" type=\"HTTP-01\"",
                    check.challenge, namespace(self.certificate), check.host
                ));
                format!("Waiting for HTTP-01 challenge propagation: {why}")
            }
        };
        self.status(CHALLENGE, &check.challenge, &json!({"reason": reason}))
    }

    /// Removes the challenges and what answered them.
    fn clear(&self) -> Result<()> {
        let space = namespace(self.certificate);
        let prefix = format!("{}-1-", name(self.certificate));
        for challenge in api::list(CHALLENGE)? {
            let own = name(&challenge);
            if namespace(&challenge) != space || !own.starts_with(&prefix) {
                continue;
            }
            let solver = format!("cm-acme-http-solver-{}", digest(own));
            for kind in [INGRESS, SERVICE, POD] {
                api::delete(kind, space, &solver)?;
            }
            api::delete(CHALLENGE, space, own)?;
        }
        Ok(())
    }
}

fn pem(secret: &Value) -> Vec<u8> {
    STANDARD
        .decode(text(secret, "/data/tls.crt"))
        .unwrap_or_default()
}
