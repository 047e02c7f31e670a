//! `helm` inside the tool container.

use serde_json::{Value, json};

use super::super::kube::charts::{self, Runs};
use super::super::kube::objects;
use super::super::kube::release::Release;
use super::super::kube::trouble::{self, Trouble};
use super::super::kube::{self, Unreachable};
use super::super::state::{Draft, Stage};
use super::kubectl::{Args, duration_ms, has_cert_manager};
use super::kubectl_apply::{namespace, webhook};
use super::{Call, Reply, helm_query, options};

/// What helm itself takes.
const HELM_MS: u64 = 700;
/// From the last ready pod until helm sees it.
const SEEN_MS: u64 = 2_000;
/// A hook that fails is tried again until its job gives up.
const HOOK_GIVES_UP_MS: u64 = 600_000;

const WITH_VALUE: [&str; 14] = [
    "-n",
    "--namespace",
    "-f",
    "--values",
    "-o",
    "--output",
    "--timeout",
    "--filter",
    "--revision",
    "--set",
    "--set-string",
    "--history-max",
    "--version",
    "--kubeconfig",
];

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, words) = options(&call.args, &WITH_VALUE);
    let args = Args { flags, words };
    if args.words.first() == Some(&"version") {
        return Reply::ok("v3.14.4\n").took(HELM_MS);
    }
    if let Err(why) = kube::reachable(draft, call) {
        let (scheme, server, address) = match why {
            Unreachable::NoConfig => ("http", "localhost:8080", "127.0.0.1:8080"),
            Unreachable::Refused => ("https", "192.168.122.21:6443", "192.168.122.21:6443"),
        };
        let text = format!(
            "Error: Kubernetes cluster unreachable: Get \"{scheme}://{server}/version\": dial tcp {address}: connect: connection refused\n"
        );
        return Reply::fail(1, text).took(HELM_MS);
    }
    let reply = match args.words.as_slice() {
        ["upgrade", name, chart] => upgrade(draft, call, &args, name, chart),
        ["list" | "ls"] => helm_query::list(draft, &args),
        ["status", name] => helm_query::one(draft, &args, name, |release| {
            format!(
                "{}\n",
                json!({"name": release.name, "namespace": release.namespace, "version": release.revision, "info": {"status": release.status, "description": release.description}})
            )
        }),
        ["get", "values", name] => helm_query::one(draft, &args, name, |release| {
            let config = if release.config == json!({}) {
                Value::Null
            } else {
                release.config.clone()
            };
            format!("{config}\n")
        }),
        ["get", "manifest", name] => helm_query::manifest(draft, &args, name),
        ["history", name] => helm_query::history(draft, &args, name),
        ["rollback", name, revision] => rollback(draft, &args, name, revision),
        ["uninstall", name] => uninstall(draft, &args, name),
        [verb, ..] => Reply::fail(
            1,
            format!("Error: unknown command \"{verb}\" for \"helm\"\n"),
        ),
        [] => Reply::fail(1, "The Kubernetes package manager\n"),
    };
    let took_ms = reply.took_ms + HELM_MS;
    reply.took(took_ms)
}

pub(super) fn space<'a>(args: &Args<'a>) -> &'a str {
    args.get(&["-n", "--namespace"]).unwrap_or("default")
}

fn patience_ms(args: &Args<'_>) -> u64 {
    args.get(&["--timeout"])
        .and_then(duration_ms)
        .unwrap_or(300_000)
}

fn error(text: impl std::fmt::Display) -> Reply {
    Reply::fail(1, format!("Error: {text}\n"))
}

pub(super) fn not_found() -> Reply {
    error("release: not found")
}

/// Lays values over others as helm does: mappings are merged, everything else replaces.
fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

fn config(draft: &Draft<'_>, call: &Call<'_>, args: &Args<'_>) -> Result<Value, Reply> {
    let mut config = json!({});
    for (flag, path) in &args.flags {
        if !matches!(*flag, "-f" | "--values") {
            continue;
        }
        let Some(text) = call.content(draft, path) else {
            return Err(error(format!("open {path}: no such file or directory")));
        };
        let bare = text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim().starts_with('#'));
        let layer = if bare {
            json!({})
        } else {
            serde_saphyr::from_str(&text).map_err(|_| {
                error(format!(
                    "failed to parse {path}: error converting YAML to JSON"
                ))
            })?
        };
        lay(&mut config, layer);
    }
    Ok(config)
}

/// A line `key: value` at the top of a YAML file.
fn field(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}

/// The images that the release lists for a chart.
fn listed(draft: &Draft<'_>, call: &Call<'_>, chart: &str) -> Vec<String> {
    let text = call.content(draft, "/wire-server-deploy/versions/helm_image_tree.json");
    let tree: Value = text
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let mut branches = tree.as_array().into_iter().flatten();
    let branch = branches.find(|branch| branch.get("chart").and_then(Value::as_str) == Some(chart));
    let images = branch.and_then(|branch| branch.get("images")?.as_array().cloned());
    images
        .unwrap_or_default()
        .iter()
        .filter_map(|image| image.as_str().map(str::to_owned))
        .collect()
}

/// The release that a call wants, as its next revision.
fn wanted(
    draft: &Draft<'_>,
    call: &Call<'_>,
    args: &Args<'_>,
    name: &str,
    path: &str,
) -> Result<Release, Reply> {
    let Some(description) = call.content(draft, &format!("{path}/Chart.yaml")) else {
        return Err(error(format!("path \"{path}\" not found")));
    };
    let config = config(draft, call, args)?;
    let chart = field(&description, "name").unwrap_or_default();
    let version = field(&description, "version").unwrap_or_default();
    let app_version = field(&description, "appVersion").unwrap_or_else(|| version.clone());
    let images = objects::images(&chart, &app_version, &listed(draft, call, &chart), &config);
    let last = Release::last(draft, space(args), name);
    Ok(Release {
        name: name.to_owned(),
        namespace: space(args).to_owned(),
        revision: last.map_or(0, |last| last.revision) + 1,
        status: String::new(),
        description: String::new(),
        chart,
        version,
        app_version,
        config,
        images,
        begun_ms: draft.now_ms(),
    })
}

fn upgrade(
    draft: &mut Draft<'_>,
    call: &Call<'_>,
    args: &Args<'_>,
    name: &str,
    path: &str,
) -> Reply {
    if draft.stage() == Stage::End {
        return match Release::last(draft, space(args), name).filter(Release::is_pending) {
            Some(release) => finish(draft, args, release),
            None => not_found(),
        };
    }
    let last = Release::last(draft, space(args), name);
    if last.as_ref().is_some_and(Release::is_pending) {
        return error(
            "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
        );
    }
    let mut release = match wanted(draft, call, args, name, path) {
        Ok(release) => release,
        Err(reply) => return reply,
    };
    if let Err(reply) = admitted(draft, args, &release) {
        return reply;
    }
    let first = !Release::history(draft, space(args), name)
        .iter()
        .any(|old| old.status == "deployed");
    let word = if first { "install" } else { "upgrade" };
    release.status = format!("pending-{word}");
    release.description = format!("Preparing {word}");
    begin(draft, &release);
    finish(draft, args, release)
}

/// What is refused before a release is recorded.
fn admitted(draft: &mut Draft<'_>, args: &Args<'_>, release: &Release) -> Result<(), Reply> {
    let certificates = matches!(release.chart.as_str(), "nginx-ingress-services" | "sftd");
    if certificates && !has_cert_manager(draft) {
        return Err(error(format!(
            "unable to build kubernetes objects from release manifest: resource mapping not found for name: \"{}\" namespace: \"\" from \"\": no matches for kind \"Certificate\" in version \"cert-manager.io/v1\"\nensure CRDs are installed first",
            release.name
        )));
    }
    let there = matches!(release.namespace.as_str(), "default" | "kube-system")
        || kube::get(draft, "Namespace", "", &release.namespace).is_some();
    if there {
        return Ok(());
    }
    if !args.has(&["--create-namespace"]) {
        return Err(error(format!(
            "create: failed to create: namespaces \"{}\" not found",
            release.namespace
        )));
    }
    kube::put(draft, namespace(&release.namespace));
    Ok(())
}

/// What the hooks before a release take; the name of the one that fails, and why.
fn hooks(draft: &Draft<'_>, release: &Release) -> Result<u64, (&'static str, Trouble)> {
    let mut all_ms = 0;
    for part in charts::parts(&release.chart) {
        if part.runs != Runs::PreHook {
            continue;
        }
        let node = kube::nodes(draft).into_iter().next().unwrap_or_default();
        if let Some(trouble) = trouble::of(draft, release, part, &node) {
            return Err((part.name, trouble));
        }
        all_ms += part.ms;
    }
    Ok(all_ms)
}

/// Whether an object of the release is refused by a webhook that does not answer.
fn refused(draft: &Draft<'_>, release: &Release) -> Option<String> {
    let mut all = charts::webhooks(&release.chart).iter();
    all.find_map(|(chart, part, name)| webhook(draft, chart, part, name))
}

/// What is there as soon as helm works: the pending release, its hooks, and, if those do their work, its objects.
fn begin(draft: &mut Draft<'_>, release: &Release) {
    release.put(draft);
    let mut start_ms = release.begun_ms;
    for part in charts::parts(&release.chart) {
        if part.runs != Runs::PreHook {
            continue;
        }
        for (json, ready_ms) in objects::part(draft, release, part, start_ms) {
            kube::put_ready(draft, json, ready_ms);
        }
        let node = kube::nodes(draft).into_iter().next().unwrap_or_default();
        if trouble::of(draft, release, part, &node).is_some() {
            draft.mark_begun();
            return;
        }
        start_ms += part.ms;
    }
    if refused(draft, release).is_none() {
        objects::set(draft, release, start_ms);
    }
    draft.mark_begun();
}

/// The end of an installation or upgrade that has begun.
fn finish(draft: &mut Draft<'_>, args: &Args<'_>, release: Release) -> Reply {
    let install = release.status == "pending-install";
    let when = if install {
        "pre-install"
    } else {
        "pre-upgrade"
    };
    if let Err((hook, _)) = hooks(draft, &release) {
        let took_ms = HOOK_GIVES_UP_MS.min(patience_ms(args));
        let why = if took_ms < HOOK_GIVES_UP_MS {
            "timed out waiting for the condition".to_owned()
        } else {
            format!("1 error occurred:\n\t* job {hook} failed: BackoffLimitExceeded\n")
        };
        return failed(draft, release, &format!("{when} hooks failed: {why}")).took(took_ms);
    }
    if let Some(why) = refused(draft, &release) {
        return failed(draft, release, &format!("Internal error occurred: {why}")).took(1_000);
    }
    let waits = args.has(&["--wait", "--atomic"]);
    let deadline_ms = release.begun_ms.saturating_add(patience_ms(args));
    let end_ms = match objects::ready_at(draft, &release) {
        _ if !waits => release.begun_ms,
        Ok(ready_ms) if ready_ms <= deadline_ms => ready_ms.max(release.begun_ms),
        Ok(_) | Err(_) => {
            let text = "timed out waiting for the condition";
            let took_ms = patience_ms(args);
            return failed(draft, release, text).took(took_ms);
        }
    };
    let took_ms = end_ms.saturating_sub(release.begun_ms) + SEEN_MS;
    let word = if install { "Install" } else { "Upgrade" };
    deployed(draft, release, &format!("{word} complete")).took(took_ms)
}

fn deployed(draft: &mut Draft<'_>, mut release: Release, description: &str) -> Reply {
    objects::drop_hooks(draft, &release);
    for mut old in Release::history(draft, &release.namespace, &release.name) {
        if old.revision < release.revision && old.status != "failed" {
            "superseded".clone_into(&mut old.status);
            old.put(draft);
        }
    }
    "deployed".clone_into(&mut release.status);
    description.clone_into(&mut release.description);
    release.put(draft);
    kube::after::installed(draft, &release);
    Reply::ok(format!(
        "Release \"{}\" has been upgraded. Happy Helming!\nNAME: {0}\nNAMESPACE: {}\nSTATUS: deployed\nREVISION: {}\n",
        release.name, release.namespace, release.revision
    ))
}

fn failed(draft: &mut Draft<'_>, mut release: Release, why: &str) -> Reply {
    let word = if release.status == "pending-install" {
        "INSTALLATION"
    } else {
        "UPGRADE"
    };
    "failed".clone_into(&mut release.status);
    release.description = format!("Release \"{}\" failed: {why}", release.name);
    release.put(draft);
    error(format!("{word} FAILED: {why}"))
}

fn rollback(draft: &mut Draft<'_>, args: &Args<'_>, name: &str, revision: &str) -> Reply {
    let history = Release::history(draft, space(args), name);
    let Some(last) = history.last() else {
        return not_found();
    };
    if draft.stage() == Stage::End {
        let release = last.clone();
        return if release.is_pending() {
            rolled_back(draft, args, release)
        } else {
            not_found()
        };
    }
    let target = revision.parse::<u64>().ok();
    let Some(target) = history.iter().find(|old| Some(old.revision) == target) else {
        return error("release has no such version");
    };
    let release = Release {
        revision: last.revision + 1,
        status: "pending-rollback".to_owned(),
        description: format!("Rollback to {revision}"),
        begun_ms: draft.now_ms(),
        ..target.clone()
    };
    objects::drop_hooks(draft, &release);
    release.put(draft);
    objects::set(draft, &release, release.begun_ms);
    draft.mark_begun();
    rolled_back(draft, args, release)
}

fn rolled_back(draft: &mut Draft<'_>, args: &Args<'_>, release: Release) -> Reply {
    let deadline_ms = release.begun_ms.saturating_add(patience_ms(args));
    // Without waiting it is done as soon as the objects are there, whatever becomes of the pods.
    let ready = match args.has(&["--wait"]) {
        true => objects::ready_at(draft, &release),
        false => Ok(release.begun_ms),
    };
    match ready {
        Ok(ready_ms) if ready_ms <= deadline_ms => {
            let took_ms = ready_ms.saturating_sub(release.begun_ms) + SEEN_MS;
            for mut old in Release::history(draft, &release.namespace, &release.name) {
                if old.revision < release.revision {
                    "superseded".clone_into(&mut old.status);
                    old.put(draft);
                }
            }
            let description = release.description.clone();
            deployed(draft, release, &description);
            Reply::ok("Rollback was a success! Happy Helming!\n").took(took_ms)
        }
        Ok(_) | Err(_) => {
            failed(draft, release, "timed out waiting for the condition").took(patience_ms(args))
        }
    }
}

fn uninstall(draft: &mut Draft<'_>, args: &Args<'_>, name: &str) -> Reply {
    let Some(release) = Release::last(draft, space(args), name) else {
        if args.has(&["--ignore-not-found"]) {
            return Reply::ok("");
        }
        return error(format!(
            "uninstall: Release not loaded: {name}: release: not found"
        ));
    };
    kube::after::removed(draft, &release);
    for (kind, object) in objects::owned(draft, &release) {
        kube::del(draft, &kind, &release.namespace, &object);
    }
    objects::drop_hooks(draft, &release);
    draft.mark_half();
    Release::forget(draft, &release.namespace, name);
    Reply::ok(format!("release \"{name}\" uninstalled\n")).took(6_000)
}
