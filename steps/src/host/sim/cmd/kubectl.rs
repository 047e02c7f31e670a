//! `kubectl` inside the tool container.

use serde_json::{Value, json};

use super::super::acme;
use super::super::entity::{KubeApi, KubeObject};
use super::super::kube::pods::{self, Pod};
use super::super::kube::{self, Unreachable, text};
use super::super::state::Draft;
use super::{Call, Reply, kubectl_apply, kubectl_replace, kubectl_view, option, options};

/// What an answer of the API server takes.
const API_MS: u64 = 120;

const WITH_VALUE: [&str; 18] = [
    "--raw",
    "-n",
    "--namespace",
    "-l",
    "--selector",
    "-o",
    "--output",
    "-f",
    "--filename",
    "--tail",
    "-c",
    "--container",
    "--timeout",
    "--field-selector",
    "--for",
    "--since",
    "--kubeconfig",
    "--request-timeout",
];

/// Options and words of one call.
pub(super) struct Args<'a> {
    pub(super) flags: Vec<(&'a str, &'a str)>,
    pub(super) words: Vec<&'a str>,
}

impl<'a> Args<'a> {
    pub(super) fn get(&self, names: &[&str]) -> Option<&'a str> {
        option(&self.flags, names)
    }

    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.get(names).is_some_and(|value| value != "false")
    }

    pub(super) fn namespace(&self) -> &'a str {
        self.get(&["-n", "--namespace"]).unwrap_or("default")
    }

    /// The namespace to list; `None` for all.
    fn scope(&self) -> Option<&'a str> {
        (!self.has(&["-A", "--all-namespaces"])).then(|| self.namespace())
    }
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, words) = options(&call.args, &WITH_VALUE);
    let args = Args { flags, words };
    let client = args.has(&["--client"]);
    if !client && let Err(why) = kube::reachable(draft, call) {
        return Reply::fail(
            1,
            match why {
                Unreachable::NoConfig => {
                    "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n"
                }
                Unreachable::Refused => {
                    "Unable to connect to the server: dial tcp 192.168.122.21:6443: connect: connection refused\n"
                }
            },
        )
        .took(API_MS);
    }
    if !client {
        acme::advance(draft);
    }
    let reply = match args.words.as_slice() {
        ["version", ..] => version(draft, client),
        ["get", kinds, names @ ..] => get(draft, &args, kinds, names),
        ["apply", ..] => kubectl_apply::apply(draft, call, &args),
        ["create", "namespace" | "ns", name] => kubectl_apply::create_namespace(draft, name),
        ["delete", kind, names @ ..] => delete(draft, &args, kind, names),
        ["annotate", kind, name, changes @ ..] => mark(
            draft,
            &args,
            (kind, name, "annotations", "annotated"),
            changes,
        ),
        ["label", kind, name, changes @ ..] => {
            mark(draft, &args, (kind, name, "labels", "labeled"), changes)
        }
        ["replace"] => kubectl_replace::replace(draft, call, &args),
        ["logs", name, ..] => logs(draft, &args, name),
        ["logs"] if args.get(&["-l", "--selector"]) == Some("app=cert-manager") => {
            controller_log(draft)
        }
        ["rollout", "status", name] => rollout(draft, &args, name),
        ["wait", name] => wait(draft, &args, name),
        [verb, ..] => Reply::fail(
            1,
            format!("error: unknown command \"{verb}\" for \"kubectl\"\n"),
        ),
        [] => Reply::fail(1, "kubectl controls the Kubernetes cluster manager.\n"),
    };
    let took_ms = reply.took_ms + API_MS;
    reply.took(took_ms)
}

fn version(draft: &Draft<'_>, client: bool) -> Reply {
    let server = draft.get::<KubeApi>("").map(|api| api.version);
    let server = server.filter(|_| !client);
    let line = server.map_or_else(String::new, |version| {
        format!("Server Version: {version}\n")
    });
    Reply::ok(format!(
        "Client Version: v1.29.10\nKustomize Version: v5.0.4\n{line}"
    ))
}

const KINDS: [(&str, &[&str]); 23] = [
    ("Pod", &["po", "pod", "pods"]),
    ("Secret", &["secret", "secrets"]),
    ("ConfigMap", &["cm", "configmap", "configmaps"]),
    ("Node", &["no", "node", "nodes"]),
    ("Namespace", &["ns", "namespace", "namespaces"]),
    ("Service", &["svc", "service", "services"]),
    ("Endpoints", &["ep", "endpoints"]),
    ("Event", &["ev", "event", "events"]),
    ("Deployment", &["deploy", "deployment", "deployments"]),
    ("DaemonSet", &["ds", "daemonset", "daemonsets"]),
    ("StatefulSet", &["sts", "statefulset", "statefulsets"]),
    ("Job", &["job", "jobs"]),
    ("CronJob", &["cj", "cronjob", "cronjobs"]),
    ("Ingress", &["ing", "ingress", "ingresses"]),
    ("Issuer", &["issuer", "issuers"]),
    ("ClusterIssuer", &["clusterissuer", "clusterissuers"]),
    (
        "Certificate",
        &["cert", "certs", "certificate", "certificates"],
    ),
    (
        "CertificateRequest",
        &["cr", "certificaterequest", "certificaterequests"],
    ),
    ("Order", &["order", "orders"]),
    ("Challenge", &["challenge", "challenges"]),
    ("ReplicaSet", &["rs", "replicaset", "replicasets"]),
    ("PersistentVolumeClaim", &["pvc"]),
    ("IngressClass", &["ingressclass", "ingressclasses"]),
];

/// Kinds that cert-manager brings.
pub(super) const CERT_MANAGER: [&str; 6] = [
    "Issuer",
    "ClusterIssuer",
    "Certificate",
    "CertificateRequest",
    "Order",
    "Challenge",
];

/// The kind that a word names, with or without its group.
pub(super) fn kind_of(draft: &Draft<'_>, word: &str) -> Result<&'static str, Reply> {
    let short = word.split('.').next().unwrap_or_default().to_lowercase();
    let found = KINDS
        .iter()
        .find(|(_, names)| names.contains(&short.as_str()));
    found
        .map(|(kind, _)| *kind)
        .filter(|kind| !CERT_MANAGER.contains(kind) || has_cert_manager(draft))
        .ok_or_else(|| {
            Reply::fail(
                1,
                format!("error: the server doesn't have a resource type \"{word}\"\n"),
            )
        })
}

/// Whether the kinds of cert-manager are known: its release brings them, and they outlive it.
pub(super) fn has_cert_manager(draft: &Draft<'_>) -> bool {
    let releases = kube::release::Release::all(draft);
    releases
        .iter()
        .any(|release| release.chart == "cert-manager")
}

pub(super) fn not_found(kind: &str, name: &str) -> Reply {
    let plural = match kind {
        "Endpoints" => "endpoints".to_owned(),
        "Ingress" => "ingresses.networking.k8s.io".to_owned(),
        "Deployment" | "DaemonSet" | "StatefulSet" => format!("{}s.apps", kind.to_lowercase()),
        _ => format!("{}s", kind.to_lowercase()),
    };
    Reply::fail(
        1,
        format!("Error from server (NotFound): {plural} \"{name}\" not found\n"),
    )
}

fn matches(json: &Value, selector: Option<&str>) -> bool {
    let labels = json.pointer("/metadata/labels");
    let has = |term: &str| match term.split_once("!=") {
        Some((key, value)) => label(labels, key) != Some(value),
        None => match term.split_once('=') {
            Some((key, value)) => label(labels, key) == Some(value.trim_start_matches('=')),
            None => label(labels, term).is_some(),
        },
    };
    selector.is_none_or(|terms| terms.split(',').all(has))
}

fn label<'a>(labels: Option<&'a Value>, key: &str) -> Option<&'a str> {
    labels?.get(key)?.as_str()
}

fn get(draft: &Draft<'_>, args: &Args<'_>, kinds: &str, names: &[&str]) -> Reply {
    let mut found = Vec::new();
    let mut single = false;
    for word in kinds.split(',') {
        let (word, inline) = word
            .split_once('/')
            .map_or((word, None), |(word, name)| (word, Some(name)));
        let kind = match kind_of(draft, word) {
            Ok(kind) => kind,
            Err(reply) => return reply,
        };
        let names: Vec<&str> = inline.into_iter().chain(names.iter().copied()).collect();
        if names.is_empty() {
            found.extend(all_of(draft, args, kind));
        }
        single |= names.len() == 1;
        for name in names {
            let name = name.rsplit('/').next().unwrap_or_default();
            match kube::get(draft, kind, args.namespace(), name) {
                Some(object) => found.push(object),
                None if args.has(&["--ignore-not-found"]) => {}
                None => return not_found(kind, name),
            }
        }
    }
    let found: Vec<Value> = found.into_iter().map(kubectl_replace::versioned).collect();
    let output = args.get(&["-o", "--output"]).unwrap_or_default();
    let headers = !args.has(&["--no-headers"]);
    kubectl_view::show(&found, single, output, headers)
}

fn all_of(draft: &Draft<'_>, args: &Args<'_>, kind: &str) -> Vec<Value> {
    if kind == "Event" {
        let field = args.get(&["--field-selector"]).unwrap_or_default();
        let of = field
            .split(',')
            .find_map(|term| term.strip_prefix("involvedObject.name="));
        let mut events = kube::list(draft, kind, args.scope());
        events.retain(|event| of.is_none_or(|name| text(event, "/involvedObject/name") == name));
        events.extend(pods::events(draft, args.namespace(), of));
        return events;
    }
    let selector = args.get(&["-l", "--selector"]);
    let mut all = kube::list(draft, kind, args.scope());
    all.retain(|object| matches(object, selector));
    all
}

fn delete(draft: &mut Draft<'_>, args: &Args<'_>, kind: &str, names: &[&str]) -> Reply {
    let (word, inline) = kind
        .split_once('/')
        .map_or((kind, None), |(word, name)| (word, Some(name)));
    let kind = match kind_of(draft, word) {
        Ok(kind) => kind,
        Err(reply) => return reply,
    };
    let mut said = String::new();
    let selected: Vec<String> = match args.get(&["-l", "--selector"]) {
        None => Vec::new(),
        Some(_) => all_of(draft, args, kind)
            .iter()
            .map(|object| text(object, "/metadata/name").to_owned())
            .collect(),
    };
    let names = inline
        .into_iter()
        .chain(names.iter().copied())
        .chain(selected.iter().map(String::as_str));
    for name in names {
        if !remove(draft, kind, args.namespace(), name) {
            if args.has(&["--ignore-not-found"]) {
                continue;
            }
            return not_found(kind, name);
        }
        said.extend([&kind.to_lowercase(), " \"", name, "\" deleted\n"]);
    }
    let slow_ms = if kind == "Namespace" { 6_000 } else { 0 };
    Reply::ok(said).took(slow_ms)
}

/// Removes an object. A pod that a workload wants comes back, started anew.
fn remove(draft: &mut Draft<'_>, kind: &str, namespace: &str, name: &str) -> bool {
    let key = kube::key(kind, namespace, name);
    let Some(object) = draft.get::<KubeObject>(&key) else {
        return false;
    };
    let part = Pod::of(draft, &object).filter(|_| kind == "Pod");
    match part {
        Some(pod) => {
            let ready_ms = Some(draft.now_ms() + pod.start_ms());
            draft.put(&key, &KubeObject { ready_ms, ..object });
        }
        None => draft.del::<KubeObject>(&key),
    }
    if kind == "Namespace" {
        for key in draft.names::<KubeObject>("") {
            if key.split('/').nth(1) == Some(name) {
                draft.del::<KubeObject>(&key);
            }
        }
    }
    true
}

fn mark(
    draft: &mut Draft<'_>,
    args: &Args<'_>,
    (word, name, field, done): (&str, &str, &str, &str),
    changes: &[&str],
) -> Reply {
    let kind = match kind_of(draft, word) {
        Ok(kind) => kind,
        Err(reply) => return reply,
    };
    let key = kube::key(kind, args.namespace(), name);
    let Some(mut object) = draft.get::<KubeObject>(&key) else {
        return not_found(kind, name);
    };
    let mut marks = object
        .json
        .pointer(&format!("/metadata/{field}"))
        .cloned()
        .unwrap_or_else(|| json!({}));
    let Some(fields) = marks.as_object_mut() else {
        return not_found(kind, name);
    };
    for change in changes {
        if let Some(gone) = change.strip_suffix('-').filter(|gone| !gone.contains('=')) {
            fields.remove(gone);
            continue;
        }
        let Some((key, value)) = change.split_once('=') else {
            continue;
        };
        let old = fields.get(key).and_then(Value::as_str);
        if old.is_some_and(|old| old != value) && !args.has(&["--overwrite"]) {
            let old = old.unwrap_or_default();
            let text = format!(
                "error: --overwrite is false but found the following declared annotation(s): '{key}' already has a value ({old})\n"
            );
            return Reply::fail(1, text);
        }
        fields.insert(key.to_owned(), json!(value));
    }
    if fields.is_empty() {
        if let Some(metadata) = object
            .json
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
        {
            metadata.remove(field);
        }
    } else {
        kube::set(&mut object.json, &["metadata", field], marks);
    }
    draft.put(&key, &object);
    Reply::ok(format!("{}/{name} {done}\n", kind.to_lowercase()))
}

fn logs(draft: &Draft<'_>, args: &Args<'_>, name: &str) -> Reply {
    let name = name.strip_prefix("pod/").unwrap_or(name);
    let Some(object) = draft.get::<KubeObject>(&kube::key("Pod", args.namespace(), name)) else {
        return not_found("Pod", name);
    };
    match Pod::of(draft, &object).map(|pod| pod.log()) {
        Some(Ok(log)) => Reply::ok(log),
        Some(Err(why)) => Reply::fail(1, format!("Error from server (BadRequest): {why}\n")),
        None => Reply::ok(""),
    }
}

/// The log of cert-manager's controller, if its pod runs.
fn controller_log(draft: &mut Draft<'_>) -> Reply {
    let pods = kube::list(draft, "Pod", None);
    let runs = pods.iter().any(|pod| {
        text(pod, "/metadata/labels/app") == "cert-manager"
            && text(pod, "/status/phase") == "Running"
    });
    if !runs {
        let mut reply = Reply::ok("");
        reply.stderr = b"No resources found in cert-manager-ns namespace.\n".to_vec();
        return reply;
    }
    Reply::ok(acme::log(draft))
}

/// A duration such as `90s`, `5m`, `15m0s`, in milliseconds.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let (mut total_ms, mut digits) = (0, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit_ms = match c {
            'h' => 3_600_000,
            'm' => 60_000,
            's' => 1_000,
            _ => return None,
        };
        total_ms += digits.parse::<u64>().ok()? * unit_ms;
        digits.clear();
    }
    digits.is_empty().then_some(total_ms)
}

fn patience_ms(args: &Args<'_>) -> u64 {
    args.get(&["--timeout"])
        .and_then(duration_ms)
        .unwrap_or(30_000)
}

fn rollout(draft: &Draft<'_>, args: &Args<'_>, name: &str) -> Reply {
    let (word, name) = name.split_once('/').unwrap_or(("deployment", name));
    let kind = match kind_of(draft, word) {
        Ok(kind) => kind,
        Err(reply) => return reply,
    };
    let Some(object) = kube::get(draft, kind, args.namespace(), name) else {
        return not_found(kind, name);
    };
    let shown = format!("{} \"{name}\"", kind.to_lowercase());
    let owner = text(&object, "/metadata/labels/release");
    let release = kube::release::Release::last(draft, args.namespace(), owner);
    let ready_ms = match release {
        None => Ok(0),
        Some(release) => kube::objects::ready_at(draft, &release),
    };
    match ready_ms.map(|ready_ms| ready_ms.saturating_sub(draft.now_ms())) {
        Ok(left_ms) if left_ms <= patience_ms(args) => {
            Reply::ok(format!("{shown} successfully rolled out\n")).took(left_ms)
        }
        _ => Reply::fail(1, "error: timed out waiting for the condition\n").took(patience_ms(args)),
    }
}

fn wait(draft: &Draft<'_>, args: &Args<'_>, name: &str) -> Reply {
    let (word, name) = name.split_once('/').unwrap_or(("pod", name));
    let kind = match kind_of(draft, word) {
        Ok(kind) => kind,
        Err(reply) => return reply,
    };
    let Some(object) = draft.get::<KubeObject>(&kube::key(kind, args.namespace(), name)) else {
        return not_found(kind, name);
    };
    let shown = format!("{}/{name} condition met\n", kind.to_lowercase());
    let left_ms = object
        .ready_ms
        .map(|ready_ms| ready_ms.saturating_sub(draft.now_ms()));
    match left_ms.filter(|left_ms| *left_ms <= patience_ms(args)) {
        Some(left_ms) => Reply::ok(shown).took(left_ms),
        None => Reply::fail(
            1,
            format!(
                "error: timed out waiting for the condition on {}s/{name}\n",
                kind.to_lowercase()
            ),
        )
        .took(patience_ms(args)),
    }
}
