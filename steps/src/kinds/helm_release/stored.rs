//! All releases of a namespace by one question: read from where helm keeps them, for steps that look together.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::tool::Toolbox;
use super::state::{History, Revision};
use crate::host::shell::Shell;

/// Most bytes of an unpacked release: a secret holds 1 MiB, and text packs to a tenth.
const RELEASE_BYTES_MAX: u64 = 32 << 20;

/// What helm knows about a release.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    /// Its revisions, but those that others have taken the place of.
    pub(super) history: History,
    /// The values that the user gave for the newest one. They hold secrets.
    pub(super) values: Value,
}

/// By the release's name.
type All = BTreeMap<String, Stored>;

/// A release as helm's driver `secret` writes it: base64 (beside that of the secret itself) of gzip of this in JSON
/// (helm's `pkg/storage/driver/util.go`, the same since 3.0).
#[derive(Debug, Deserialize)]
struct Record {
    info: Info,
    chart: Packed,
    #[serde(default)]
    config: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct Info {
    #[serde(default)]
    description: String,
}

#[derive(Debug, Deserialize)]
struct Packed {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

/// What helm knows about a release, if steps look together and it can be read that way; otherwise helm itself must be asked.
pub(super) async fn find(
    sh: Shell<'_>,
    tools: &Toolbox,
    namespace: &str,
    name: &str,
) -> Option<Stored> {
    if !sh.cx.looks_together() {
        return None;
    }
    let question = format!("helm's releases in {namespace}");
    let all = sh.cx.once(&question, read(sh, tools, namespace)).await?;
    all.get(name).cloned()
}

async fn read(sh: Shell<'_>, tools: &Toolbox, namespace: &str) -> Option<Arc<All>> {
    let these = "owner=helm,status!=superseded";
    let get = ["get", "secrets", "-n", namespace, "-l", these, "-o", "json"];
    let output = sh.secret(&tools.kubectl(&get).ok()?).await.ok()??;
    if !output.ok() {
        return None;
    }
    let list = serde_json::from_slice(&output.stdout).ok()?;
    parse(&list).map(Arc::new)
}

/// Reads a list of secrets; `None` if one of them is not of the known form.
fn parse(list: &Value) -> Option<All> {
    let mut revisions: BTreeMap<String, Vec<(Revision, Value)>> = BTreeMap::new();
    for secret in list.get("items")?.as_array()? {
        let label = |name: &str| secret.pointer("/metadata/labels")?.get(name)?.as_str();
        let record = record(secret.pointer("/data/release")?.as_str()?)?;
        let Metadata { name, version } = record.chart.metadata;
        let revision = Revision {
            number: label("version")?.parse().ok()?,
            status: label("status")?.to_owned(),
            chart: format!("{name}-{version}"),
            description: record.info.description,
        };
        let values = Value::Object(record.config.unwrap_or_default());
        let of = revisions.entry(label("name")?.to_owned()).or_default();
        of.push((revision, values));
    }
    let stored = revisions.into_iter().map(|(name, mut of)| {
        of.sort_by_key(|(revision, _)| revision.number);
        let values = of.last().map(|(_, values)| values.clone());
        let history = History::of(of.into_iter().map(|(revision, _)| revision).collect());
        let values = values.unwrap_or_default();
        (name, Stored { history, values })
    });
    Some(stored.collect())
}

fn record(data: &str) -> Option<Record> {
    let inner = STANDARD.decode(data).ok()?;
    let packed = STANDARD.decode(inner).ok()?;
    let text = GzDecoder::new(packed.as_slice()).take(RELEASE_BYTES_MAX);
    serde_json::from_reader(text).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    fn secret(name: &str, version: u64, status: &str, record: &Value) -> Value {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(record.to_string().as_bytes()).unwrap();
        let data = STANDARD.encode(STANDARD.encode(packed.finish().unwrap()));
        let labels = json!({"name": name, "owner": "helm", "status": status, "version": version.to_string()});
        json!({"metadata": {"labels": labels}, "data": {"release": data}})
    }

    fn packed(version: &str, config: &Value) -> Value {
        json!({
            "name": "x", "info": {"status": "deployed", "description": "Upgrade complete"},
            "chart": {"metadata": {"name": "webapp", "version": version}, "templates": []}, "config": config,
        })
    }

    #[test]
    fn helms_own_record_is_read() {
        let list = json!({"items": [
            secret("webapp", 10, "failed", &packed("0.2.0", &json!({"a": {"b": 2}}))),
            secret("webapp", 9, "deployed", &packed("0.1.0", &json!({"a": 1}))),
            secret("account-pages", 1, "deployed", &packed("0.1.0", &Value::Null)),
        ]});
        let all = parse(&list).unwrap();
        let webapp = &all["webapp"];
        assert_eq!(webapp.history.chart(), "webapp-0.2.0");
        assert_eq!(webapp.history.deployed(), Some(9));
        assert_eq!(
            webapp.history.unfinished().unwrap(),
            "revision 10 has failed"
        );
        assert_eq!(webapp.values, json!({"a": {"b": 2}}));
        assert_eq!(all["account-pages"].values, json!({}));
    }

    #[test]
    fn another_form_is_left_to_helm() {
        let good = secret("webapp", 1, "deployed", &packed("1", &json!({})));
        for (pointer, bad) in [
            ("/data/release", json!("bm90IHBhY2tlZA==")),
            ("/data/release", json!("%")),
            ("/metadata/labels/version", json!("new")),
            ("/metadata/labels", json!(null)),
        ] {
            let mut other = good.clone();
            *other.pointer_mut(pointer).unwrap() = bad;
            assert_eq!(parse(&json!({"items": [good, other]})), None, "{pointer}");
        }
        assert_eq!(parse(&json!({"kind": "Status"})), None);
    }
}
