//! The file in which certificates and the account's key survive the cluster.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wiab_engine::outcome::Failure;
use zeroize::Zeroizing;

use super::super::at_once::all;
use super::super::tool::Toolbox;
use crate::certs::{MANAGER_NAMESPACE, NAMESPACE};
use crate::host::shell::Shell;
use crate::host::{Cmd, Output};

/// The secrets that hold certificates.
pub(super) const TLS: [&str; 2] = [
    "nginx-ingress-services-nginx-ingress-services-managed-tls-certificate",
    "sftd",
];
/// The secret that holds the key of the account with the authority.
pub(super) const ACCOUNT: &str = "letsencrypt-http01-account-key";

/// Namespace and names of everything that is kept.
pub(super) const PLACES: [(&str, &[&str]); 2] =
    [(NAMESPACE, &TLS), (MANAGER_NAMESPACE, &[ACCOUNT])];

/// What the file holds. Its text holds private keys.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// For which domain they are.
    pub(super) domain: String,
    /// Until when the first of them is valid, as Unix time in milliseconds.
    pub(super) not_after_ms: u64,
    /// The secrets, as they can be given to the cluster again.
    pub(super) secrets: Vec<Value>,
}

impl Kept {
    /// The file; `None` when it is not there.
    pub(super) async fn read(sh: Shell<'_>, path: &str) -> Result<Option<Self>, Failure> {
        let Some(bytes) = sh.read(path, false).await?.map(Zeroizing::new) else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            Failure::clean(format!("{path} does not hold saved certificates"))
                .ask()
                .hint(format!("mv {path} {path}.damaged; then decide `retry`"))
        })
    }

    /// The file's content.
    pub(super) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(json!(self).to_string().into_bytes())
    }
}

fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Namespace and name.
pub(super) fn place(secret: &Value) -> (&str, &str) {
    (
        text(secret, "/metadata/namespace"),
        text(secret, "/metadata/name"),
    )
}

/// A secret without what only the server knows.
fn plain(secret: &Value) -> Value {
    let (namespace, name) = place(secret);
    let annotations: serde_json::Map<String, Value> = secret
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("cert-manager.io/"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": secret.get("type"),
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "data": secret.get("data"),
    })
}

/// Asks for the secrets of one namespace; `form` is `json` or `name`.
pub(super) fn question(
    toolbox: &Toolbox,
    namespace: &str,
    names: &[&str],
    form: &str,
) -> Result<Cmd, Failure> {
    let get = [
        "get",
        "secret",
        "-n",
        namespace,
        "--ignore-not-found",
        "-o",
        form,
    ];
    toolbox.kubectl(&[&get, names].concat())
}

/// What kubectl complains about.
pub(super) fn complaint(output: &Output) -> Failure {
    let said = output.error_text();
    let last = said.lines().next_back().unwrap_or("kubectl gave no reason");
    Failure::dirty(format!("the cluster does not tell its secrets: {last}")).retry()
}

/// The secrets that are in the cluster.
pub(super) async fn live(sh: Shell<'_>, toolbox: &Toolbox) -> Result<Vec<Value>, Failure> {
    let mut secrets = Vec::new();
    let asked: Vec<Cmd> = PLACES
        .iter()
        .map(|(namespace, names)| question(toolbox, namespace, names, "json"))
        .collect::<Result<_, _>>()?;
    let branches = asked.iter().map(|asked| sh.secret(asked)).collect();
    for output in all(sh, branches).await {
        let Some(output) = output? else {
            return Ok(Vec::new());
        };
        if !output.ok() {
            return Err(complaint(&output));
        }
        let bytes = Zeroizing::new(output.stdout);
        let Ok(found) = serde_json::from_slice::<Value>(&bytes) else {
            continue;
        };
        match found.get("items").and_then(Value::as_array) {
            Some(items) => secrets.extend(items.iter().map(plain)),
            None => secrets.push(plain(&found)),
        }
    }
    Ok(secrets)
}
