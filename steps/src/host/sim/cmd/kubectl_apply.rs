//! `kubectl apply`: objects come in, pass the server's checks, and are kept.

use serde_json::{Value, json};

use super::super::entity::KubeObject;
use super::super::kube::{self, text};
use super::super::state::Draft;
use super::kubectl::{Args, CERT_MANAGER, has_cert_manager};
use super::{Call, Reply};

/// From the readiness of cert-manager's webhook until it has its certificate.
const INJECTED_MS: u64 = 20_000;

pub(super) fn create_namespace(draft: &mut Draft<'_>, name: &str) -> Reply {
    if kube::get(draft, "Namespace", "", name).is_some() {
        let text =
            format!("Error from server (AlreadyExists): namespaces \"{name}\" already exists\n");
        return Reply::fail(1, text);
    }
    kube::put(draft, namespace(name));
    Reply::ok(format!("namespace/{name} created\n"))
}

/// An object for a namespace.
pub(super) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "status": {"phase": "Active"},
    })
}

/// The objects in a file of YAML or JSON; a list counts as its items.
fn objects(text: &str) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    for part in text.split("\n---") {
        if part.trim().trim_start_matches('-').trim().is_empty() {
            continue;
        }
        let object: Value = serde_saphyr::from_str(part).ok()?;
        match object.get("items").and_then(Value::as_array) {
            Some(items) => all.extend(items.iter().cloned()),
            None => all.push(object),
        }
    }
    Some(all)
}

pub(super) fn apply(draft: &mut Draft<'_>, call: &Call<'_>, args: &Args<'_>) -> Reply {
    let path = args.get(&["-f", "--filename"]).unwrap_or_default();
    let Some(content) = call.content(draft, path) else {
        return Reply::fail(1, format!("error: the path \"{path}\" does not exist\n"));
    };
    let Some(objects) = objects(&content).filter(|objects| !objects.is_empty()) else {
        return Reply::fail(1, "error: no objects passed to apply\n");
    };
    let dry = args.get(&["--dry-run"]).is_some_and(|how| how != "none");
    let mut said = String::new();
    for mut object in objects {
        let kind = text(&object, "/kind").to_owned();
        let name = text(&object, "/metadata/name").to_owned();
        if let Err(reply) = admitted(draft, args, &mut object) {
            return reply;
        }
        let key = kube::key(&kind, text(&object, "/metadata/namespace"), &name);
        let old = draft.get::<KubeObject>(&key);
        let verb = match &old {
            None => "created",
            Some(old) if old.json == object => "unchanged",
            Some(_) => "configured",
        };
        if !dry {
            kube::put(draft, object);
        }
        let how = if dry { " (server dry run)" } else { "" };
        said.extend([&kind.to_lowercase(), "/", &name, " ", verb, how, "\n"]);
    }
    Reply::ok(said)
}

/// What the server does with an object that comes in: checks, defaults.
fn admitted(draft: &Draft<'_>, args: &Args<'_>, object: &mut Value) -> Result<(), Reply> {
    let kind = text(object, "/kind").to_owned();
    if CERT_MANAGER.contains(&kind.as_str()) {
        if !has_cert_manager(draft) {
            return Err(Reply::fail(
                1,
                format!(
                    "error: resource mapping not found for name: \"{}\" namespace: \"\" from \"STDIN\": no matches for kind \"{kind}\" in version \"cert-manager.io/v1\"\nensure CRDs are installed first\n",
                    text(object, "/metadata/name")
                ),
            ));
        }
        if let Some(why) = webhook(
            draft,
            "cert-manager",
            "cert-manager-webhook",
            "webhook.cert-manager.io",
        ) {
            return Err(Reply::fail(
                1,
                format!(
                    "Error from server (InternalError): error when creating \"STDIN\": Internal error occurred: {why}\n"
                ),
            ));
        }
    }
    if !kube::cluster_wide(&kind) {
        let given = text(object, "/metadata/namespace").to_owned();
        let namespace = if given.is_empty() {
            args.namespace()
        } else {
            &given
        };
        let there = matches!(namespace, "default" | "kube-system")
            || kube::get(draft, "Namespace", "", namespace).is_some();
        if !there {
            return Err(Reply::fail(
                1,
                format!("Error from server (NotFound): namespaces \"{namespace}\" not found\n"),
            ));
        }
        let namespace = json!(namespace);
        kube::set(object, &["metadata", "namespace"], namespace);
    }
    let plain = object.get("stringData").and_then(Value::as_object).cloned();
    if let Some(fields) = object.as_object_mut().filter(|_| kind == "Secret") {
        fields.remove("stringData");
        fields.entry("type").or_insert(json!("Opaque"));
        let data = fields.entry("data").or_insert(json!({}));
        for (key, value) in plain.into_iter().flatten() {
            let bytes = value.as_str().unwrap_or_default().as_bytes();
            kube::set(data, &[&key], json!(super::base64(bytes)));
        }
    }
    Ok(())
}

/// Why a webhook does not answer; `None` when it does.
pub(super) fn webhook(draft: &Draft<'_>, chart: &str, part: &str, name: &str) -> Option<String> {
    let release = kube::release::Release::all(draft)
        .into_iter()
        .find(|release| release.chart == chart)?;
    let ready_ms = kube::objects::ready_at(draft, &release).ok();
    let answers = ready_ms.is_some_and(|ready_ms| ready_ms + INJECTED_MS <= draft.now_ms());
    (!answers).then(|| {
        format!(
            "failed calling webhook \"{name}\": failed to call webhook: Post \"https://{part}.{}.svc:443/validate?timeout=30s\": dial tcp 10.233.11.7:443: connect: connection refused",
            release.namespace
        )
    })
}
