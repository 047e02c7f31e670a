//! Asks cert-manager for another attempt at once.

use serde_json::{Value, json};
use wiab_engine::outcome::Failure;

use super::super::tool::Toolbox;
use crate::certs::{NAMESPACE, utc};
use crate::host::shell::Shell;

/// How often a status is read anew that somebody else wrote in between.
const TRIES: u32 = 5;

/// The certificate of this name in a listing.
fn own<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    let items = list.get("items").and_then(Value::as_array);
    items.into_iter().flatten().find(|item| {
        item.get("kind").and_then(Value::as_str) == Some("Certificate")
            && item.pointer("/metadata/name").and_then(Value::as_str) == Some(name)
    })
}

/// The certificate with the condition that asks for another attempt.
fn asking(mut certificate: Value, wall_ms: u64) -> Value {
    let conditions = certificate.pointer("/status/conditions");
    let mut conditions = conditions
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    conditions.retain(|one| one.get("type").and_then(Value::as_str) != Some("Issuing"));
    conditions.push(json!({
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered",
        "lastTransitionTime": utc(wall_ms),
    }));
    if let Some(fields) = certificate.as_object_mut() {
        let status = fields.entry("status").or_insert_with(|| json!({}));
        if let Some(status) = status.as_object_mut() {
            status.insert("conditions".to_owned(), Value::Array(conditions));
        }
    }
    certificate
}

/// Asks for another attempt, as `cmctl renew` does: cert-manager would else wait an hour, and longer each time. The controller
/// deletes failed requests that are older than this condition. The status is replaced as it was read, so that whatever the
/// controller writes in between is not lost; `kubectl patch` writes a status from version 1.24 on only.
pub(super) async fn trigger(
    sh: Shell<'_>,
    toolbox: &Toolbox,
    name: &str,
    list: &Value,
) -> Result<(), Failure> {
    let mut known = own(list, name).cloned();
    let mut tried = 0;
    loop {
        let certificate = match known.take() {
            Some(certificate) => certificate,
            None => read(sh, toolbox, name).await?,
        };
        let version = certificate.get("apiVersion").and_then(Value::as_str);
        let path = format!(
            "/apis/{}/namespaces/{NAMESPACE}/certificates/{name}/status",
            version.unwrap_or("cert-manager.io/v1")
        );
        let body = asking(certificate, sh.cx.clock.wall_ms()).to_string();
        let cmd = toolbox
            .kubectl(&["replace", "--raw", &path, "-f", "-"])?
            .stdin(body);
        let output = sh.run(&cmd).await?;
        if output.ok() {
            return Ok(());
        }
        tried += 1;
        let said = output.error_text();
        if tried >= TRIES || !said.contains("(Conflict)") {
            return Err(Failure::clean(format!(
                "cert-manager cannot be asked for another attempt at certificate {name}: {said}"
            ))
            .hint(format!(
                "`kubectl describe certificate {name} -n {NAMESPACE}` shows its state; then `wiab apply --resume`"
            ))
            .code("cert.not-asked"));
        }
    }
}

async fn read(sh: Shell<'_>, toolbox: &Toolbox, name: &str) -> Result<Value, Failure> {
    let kind = "certificates.cert-manager.io";
    let cmd = toolbox.kubectl(&["get", kind, name, "-n", NAMESPACE, "-o", "json"])?;
    let output = sh.ok(&cmd).await?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Failure::clean(format!(
            "kubectl's JSON of certificate {name} cannot be read: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_condition_changes() {
        let before = json!({
            "kind": "Certificate", "metadata": {"name": "a", "resourceVersion": "7"}, "spec": {"secretName": "s"},
            "status": {"failedIssuanceAttempts": 1, "conditions": [
                {"type": "Ready", "status": "False"}, {"type": "Issuing", "status": "False", "reason": "Failed"},
            ]},
        });
        let list = json!({"items": [{"kind": "Order", "metadata": {"name": "a"}}, before]});
        let after = asking(own(&list, "a").unwrap().clone(), 0);
        assert_eq!(after["metadata"], before["metadata"]);
        assert_eq!(after["spec"], before["spec"]);
        assert_eq!(after["status"]["failedIssuanceAttempts"], 1);
        let conditions = after["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[1]["reason"], "ManuallyTriggered");
        assert_eq!(conditions[1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert!(asking(json!({"kind": "Certificate"}), 0)["status"]["conditions"].is_array());
    }
}
