//! `kubectl replace --raw PATH -f -`: the status of one of cert-manager's objects, as the API server lets it be written.

use serde_json::{Value, json};

use super::super::entity::KubeObject;
use super::super::kube::{self, text};
use super::super::state::Draft;
use super::kubectl::{Args, CERT_MANAGER, kind_of, not_found};
use super::{Call, Reply};

/// An object as the server shows it, with a version: another one while it differs from what was shown.
pub(super) fn versioned(mut object: Value) -> Value {
    if CERT_MANAGER.contains(&text(&object, "/kind")) {
        let version = version(&object);
        kube::set(
            &mut object,
            &["metadata", "resourceVersion"],
            json!(version),
        );
    }
    object
}

fn version(object: &Value) -> String {
    let digest = blake3::hash(object.to_string().as_bytes());
    let bytes = digest.as_bytes().first_chunk().copied();
    (u64::from_le_bytes(bytes.unwrap_or_default()) >> 16).to_string()
}

fn refused(reason: &str, why: &str) -> Reply {
    Reply::fail(1, format!("Error from server ({reason}): {why}\n"))
}

pub(super) fn replace(draft: &mut Draft<'_>, call: &Call<'_>, args: &Args<'_>) -> Reply {
    let Some(path) = args.get(&["--raw"]) else {
        return Reply::fail(1, "error: only --raw is simulated\n");
    };
    if args.get(&["-f", "--filename"]) != Some("-") {
        return Reply::fail(
            1,
            "error: --raw can only use a single local file or stdin\n",
        );
    }
    let parts: Vec<&str> = path.split('/').collect();
    let (group, namespace, word, name) = match parts.as_slice() {
        [
            "",
            "apis",
            group,
            "v1",
            "namespaces",
            namespace,
            word,
            name,
            "status",
        ] => (*group, *namespace, *word, *name),
        _ => {
            return refused(
                "NotFound",
                "the server could not find the requested resource",
            );
        }
    };
    let kind = match kind_of(draft, word) {
        Ok(kind) if CERT_MANAGER.contains(&kind) && group.ends_with("cert-manager.io") => kind,
        Ok(_) | Err(_) => {
            return refused(
                "NotFound",
                "the server could not find the requested resource",
            );
        }
    };
    let key = kube::key(kind, namespace, name);
    let Some(mut object) = draft.get::<KubeObject>(&key) else {
        return not_found(kind, name);
    };
    let Ok(given) = serde_json::from_slice::<Value>(call.stdin) else {
        return refused(
            "BadRequest",
            "the object provided is unrecognized (must be of type …): couldn't get version/kind; json parse error",
        );
    };
    let named = ["/apiVersion", "/kind", "/metadata/name"].map(|place| text(&given, place));
    if named != [text(&object.json, "/apiVersion"), kind, name] {
        return refused(
            "BadRequest",
            "the name of the object does not match the name on the URL",
        );
    }
    if let Some(refused) = outdated(&given, &object.json, &format!("{word}.{group} \"{name}\"")) {
        return refused;
    }
    // Of what comes in, this address takes the status only.
    let status = given.get("status").cloned().unwrap_or(Value::Null);
    kube::set(&mut object.json, &["status"], status);
    let shown = versioned(object.json.clone());
    draft.put(&key, &object);
    Reply::ok(format!("{shown}\n"))
}

/// Why a version is not written over.
fn outdated(given: &Value, known: &Value, what: &str) -> Option<Reply> {
    match text(given, "/metadata/resourceVersion") {
        "" => {
            let why = format!(
                "{what} is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
            );
            Some(refused("Invalid", &why))
        }
        own if own == version(known) => None,
        _ => {
            let why = format!(
                "Operation cannot be fulfilled on {what}: the object has been modified; please apply your changes to the latest \
                 version and try again"
            );
            Some(refused("Conflict", &why))
        }
    }
}
