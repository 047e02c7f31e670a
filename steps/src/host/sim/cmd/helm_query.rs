//! `helm list`, `get`, `history`: what releases there are.

use serde_json::{Value, json};

use super::super::kube;
use super::super::kube::objects;
use super::super::kube::release::Release;
use super::super::state::Draft;
use super::Reply;
use super::helm::{not_found, space};
use super::kubectl::Args;

pub(super) fn list(draft: &Draft<'_>, args: &Args<'_>) -> Reply {
    let everywhere = args.has(&["-A", "--all-namespaces"]);
    let all_states = args.has(&["-a", "--all"]);
    let filter = args
        .get(&["--filter"])
        .map(|text| text.trim_start_matches('^').trim_end_matches('$'));
    let rows = Release::all(draft).into_iter().filter(|release| {
        let here = everywhere || release.namespace == space(args);
        let shown = all_states || matches!(release.status.as_str(), "deployed" | "failed");
        here && shown && filter.is_none_or(|name| name == release.name)
    });
    let rows: Vec<Value> = rows
        .map(|release| {
            json!({
                "name": release.name, "namespace": release.namespace, "revision": release.revision.to_string(),
                "updated": "2026-01-01 00:00:00 +0000 UTC", "status": release.status,
                "chart": format!("{}-{}", release.chart, release.version), "app_version": release.app_version,
            })
        })
        .collect();
    Reply::ok(format!("{}\n", Value::Array(rows)))
}

pub(super) fn one(
    draft: &Draft<'_>,
    args: &Args<'_>,
    name: &str,
    show: impl Fn(&Release) -> String,
) -> Reply {
    let history = Release::history(draft, space(args), name);
    let wanted = args
        .get(&["--revision"])
        .and_then(|text| text.parse::<u64>().ok());
    let found = match wanted {
        None => history.last(),
        Some(revision) => history.iter().find(|release| release.revision == revision),
    };
    found.map_or_else(not_found, |release| Reply::ok(show(release)))
}

pub(super) fn manifest(draft: &Draft<'_>, args: &Args<'_>, name: &str) -> Reply {
    one(draft, args, name, |release| {
        let wanted = objects::wanted(draft, release, 0).into_iter();
        let owned = wanted.filter(|(json, _)| kube::text(json, "/kind") != "Pod");
        let documents: Vec<String> = owned.map(|(json, _)| format!("---\n{json}\n")).collect();
        documents.concat()
    })
}

pub(super) fn history(draft: &Draft<'_>, args: &Args<'_>, name: &str) -> Reply {
    let history = Release::history(draft, space(args), name);
    if history.is_empty() {
        return not_found();
    }
    let rows: Vec<Value> = history
        .iter()
        .map(|release| {
            json!({
                "revision": release.revision, "status": release.status,
                "chart": format!("{}-{}", release.chart, release.version), "app_version": release.app_version,
                "description": release.description,
            })
        })
        .collect();
    Reply::ok(format!("{}\n", Value::Array(rows)))
}
