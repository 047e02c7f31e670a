//! Values for the charts: the release's template, what wiab computes, the operator's overlay; and the ansible inventory.
//!
//! Templates are never changed in place. Every change is made at a YAML path; comments and layout stay.

mod charts;
mod digest;
pub mod inventory;
mod name;
mod overlay;
mod sheet;

use std::net::Ipv4Addr;

use crate::release::{Chart, Release};
use crate::yaml::{Document, Origin, YamlError, YamlPath, changed_paths};

pub use digest::{Digest, digest};
pub use name::{DomainName, Email, NameError, NodeName};
pub use overlay::merge;

use sheet::Sheet;

/// What the computed layer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The domain of the installation.
    pub domain: DomainName,
    /// The public address of the host, at which calls arrive.
    pub host_ip: Ipv4Addr,
    /// Whom the certificate authority writes to.
    pub cert_email: Email,
    /// Whether certificates come from the authority's test service, which browsers do not trust.
    pub acme_test: bool,
    /// The node of the calling services; `None` without them.
    pub calling: Option<CallingNode>,
    /// Addresses of the data nodes; the first is the primary of `PostgreSQL`.
    pub data_nodes: Vec<Ipv4Addr>,
}

/// The node that coturn and sftd run on. Must be the one that the host forwards calls to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallingNode {
    /// Its name in Kubernetes.
    pub name: NodeName,
    /// Its address in the cluster.
    pub ip: Ipv4Addr,
}

/// A chart's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file.
    pub text: String,
    /// The paths whose value differs from the template's, in its order.
    pub changed: Vec<YamlPath>,
    /// Identifies chart version and values, whatever their layout.
    pub digest: Digest,
}

/// Why a chart has no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template or the overlay cannot be read, or has an unknown shape.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The release has no template for the chart.
    #[error("{file} is missing in {release}")]
    NoTemplate {
        /// Path inside the artifact.
        file: String,
        /// The release.
        release: String,
    },
    /// The chart needs something that was not given.
    #[error("chart {chart} needs {what}")]
    Needs {
        /// The chart.
        chart: Chart,
        /// What is missing.
        what: &'static str,
    },
    /// Placeholders of the template are left.
    #[error("{file} (of {release}) still holds placeholders at {}; set them in values.d/{chart}.yaml", list(.paths))]
    Placeholders {
        /// Path of the template.
        file: String,
        /// The release.
        release: String,
        /// The chart.
        chart: Chart,
        /// Where.
        paths: Vec<YamlPath>,
    },
}

fn list(paths: &[YamlPath]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
    paths.join(", ")
}

/// Renders a chart's values: template, computed values, overlay, each over the one before. `template` is `None` when the
/// release has no such file.
pub fn render(
    chart: Chart,
    template: Option<&str>,
    inputs: &Inputs,
    release: &Release,
    overlay: Option<&Document>,
) -> Result<Rendered, RenderError> {
    let origin = Origin::of_release(chart.template(), release.name.as_str());
    let text = match template {
        Some(text) => text,
        None if chart.bare() => "",
        None => {
            return Err(RenderError::NoTemplate {
                file: origin.file,
                release: release.name.clone(),
            });
        }
    };
    let before = Document::parse(text, origin)?;
    let mut sheet = Sheet {
        chart,
        document: before.clone(),
        inputs,
        release,
    };
    charts::compute(&mut sheet)?;
    let mut after = sheet.document;
    if let Some(overlay) = overlay {
        merge(&mut after, overlay)?;
    }
    let paths = charts::placeholders(&after, &inputs.domain);
    if !paths.is_empty() {
        return Err(RenderError::Placeholders {
            file: chart.template(),
            release: release.name.clone(),
            chart,
            paths,
        });
    }
    let version = release.charts.get(&chart).map(String::as_str);
    Ok(Rendered {
        changed: changed_paths(&before, &after),
        digest: digest(chart, version, &after.value(), &[]),
        text: after.text().to_owned(),
    })
}
