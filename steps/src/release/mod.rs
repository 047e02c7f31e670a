//! What a release is, detected from its files alone: tags and hashes of artifacts say too little.

mod chart;
mod features;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use chart::Chart;
pub use features::{Features, JoinCall, Mls, SmtpShape};

use crate::yaml::{Document, Origin, Why, YamlError, YamlPath};

/// The Kubernetes secret that holds the password of `PostgreSQL`. Scripts of some releases look for another name, the
/// playbooks of all of them create this one.
pub const POSTGRES_SECRET: &str = "wire-postgresql-external-secret";

const SECRETS: &str = "values/wire-server/prod-secrets.example.yaml";
const DEMO_INVENTORY: &str = "ansible/inventory/demo/wiab-staging.yml";
const IMAGES: &str = "versions/helm_image_tree.json";
/// Most of a chart's or artifact's name that messages repeat, in characters.
const LABEL_MAX: usize = 80;

/// Texts of an artifact's files, by their path inside it. Files that the release does not have are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Path and text.
    pub files: BTreeMap<String, String>,
}

impl Tree {
    /// The files that [`Release::detect`] looks at.
    pub fn wanted() -> Vec<String> {
        let charts = Chart::ALL
            .iter()
            .flat_map(|chart| [chart.description(), chart.template()]);
        let others = [SECRETS, DEMO_INVENTORY, IMAGES];
        charts.chain(others.map(str::to_owned)).collect()
    }

    /// The files that rendering one chart needs.
    pub fn wanted_for(chart: Chart) -> Vec<String> {
        let mut paths = vec![
            Chart::WireServer.description(),
            chart.description(),
            chart.template(),
        ];
        if chart == Chart::Sftd {
            paths.push(IMAGES.to_owned());
        }
        paths.dedup();
        paths
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }
}

/// A release of Wire for on-premises installations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// How messages call it: `wire-server 5.23.0 (artifact 1234…)`.
    pub name: String,
    /// Version of the chart wire-server, if the tree has it.
    pub wire_server: Option<String>,
    /// Hash of the artifact that its own inventory names; often another one than the artifact's.
    pub artifact_hash: Option<String>,
    /// Versions of the charts that are there.
    pub charts: BTreeMap<Chart, String>,
    /// What differs between releases.
    pub features: Features,
}

#[derive(Debug, Deserialize)]
struct Description {
    name: String,
    version: String,
}

#[derive(Debug, Deserialize)]
struct Branch {
    #[serde(default)]
    images: Vec<String>,
}

impl Release {
    /// Reads what the tree holds. `artifact` is the name or hash that the operator knows it by.
    pub fn detect(tree: &Tree, artifact: &str) -> Result<Self, YamlError> {
        let artifact: String = artifact.chars().take(LABEL_MAX).collect();
        let unnamed = format!("artifact {artifact}");
        let mut charts = BTreeMap::new();
        for chart in Chart::ALL {
            if let Some(version) = version(tree, chart, &unnamed)? {
                charts.insert(chart, version);
            }
        }
        let wire_server = charts.get(&Chart::WireServer).cloned();
        let name = match &wire_server {
            Some(version) => format!("wire-server {version}, {unnamed}"),
            None => unnamed,
        };
        let inventory = document(tree, DEMO_INVENTORY, &name)?;
        let features = Features::detect(&Sources {
            smtp: document(tree, &Chart::Smtp.template(), &name)?,
            sftd: document(tree, &Chart::Sftd.template(), &name)?,
            wire_server: document(tree, &Chart::WireServer.template(), &name)?,
            secrets: document(tree, SECRETS, &name)?,
            inventory: inventory.clone(),
            images: images(tree, &name)?,
            smallstep: charts.contains_key(&Chart::SmallstepAccomp),
        })?;
        let artifact_hash = inventory
            .and_then(|inventory| inventory.get(&vars("artifact_hash")))
            .and_then(|hash| hash.as_str().map(str::to_owned));
        Ok(Self {
            name,
            wire_server,
            artifact_hash,
            charts,
            features,
        })
    }
}

/// The documents that tell features apart; `None` for those that the tree does not have.
#[derive(Debug)]
struct Sources {
    smtp: Option<Document>,
    sftd: Option<Document>,
    wire_server: Option<Document>,
    secrets: Option<Document>,
    inventory: Option<Document>,
    images: Option<Vec<String>>,
    smallstep: bool,
}

fn vars(name: &str) -> YamlPath {
    YamlPath::root().key("wiab-staging").key("vars").key(name)
}

fn document(tree: &Tree, path: &str, release: &str) -> Result<Option<Document>, YamlError> {
    tree.text(path)
        .map(|text| Document::parse(text, Origin::of_release(path, release)))
        .transpose()
}

fn version(tree: &Tree, chart: Chart, release: &str) -> Result<Option<String>, YamlError> {
    let Some(document) = document(tree, &chart.description(), release)? else {
        return Ok(None);
    };
    let found: Description = typed(&document)?;
    if found.name != chart.name() {
        let why = Why::Shape {
            expected: format!("the name `{chart}`"),
            found: format!("`{}`", found.name),
        };
        return Err(document.error(&YamlPath::root().key("name"), why));
    }
    Ok(Some(found.version))
}

/// Names of the images that the artifact brings for its charts. JSON is read as the YAML it is.
fn images(tree: &Tree, release: &str) -> Result<Option<Vec<String>>, YamlError> {
    let Some(document) = document(tree, IMAGES, release)? else {
        return Ok(None);
    };
    let branches: Vec<Branch> = typed(&document)?;
    Ok(Some(
        branches
            .into_iter()
            .flat_map(|branch| branch.images)
            .collect(),
    ))
}

fn typed<T: DeserializeOwned>(document: &Document) -> Result<T, YamlError> {
    serde_json::from_value(document.value()).map_err(|error| {
        let why = Why::Shape {
            expected: "the fields that every known release has".to_owned(),
            found: error.to_string(),
        };
        document.error(&YamlPath::root(), why)
    })
}
