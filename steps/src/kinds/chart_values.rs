//! `chart.values/1`: the values file of one chart, in wiab's own directory; the release's template stays as it is.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::whole_file::{Old, Replace, WholeFile, capture};
use super::{Act, bound, known};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Out};
use crate::release::{Chart, Release, Tree};
use crate::values::{
    CallingNode, Digest, DomainName, Email, Inputs, NodeName, RenderError, render,
};
use crate::yaml::{Document, Origin};

/// How the file begins, by which it is known as ours.
const MARK: &str = "# Written by wiab";
/// Largest overlay, in bytes.
const OVERLAY_BYTES_MAX: usize = 256 << 10;

/// Values of a chart: template of the release, computed values, the operator's overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChartValues {
    /// The chart.
    pub chart: Chart,
    /// The unpacked release, whose templates are read.
    pub tree: Input<String>,
    /// The deploy directory. Its `.wiab/values` must exist.
    pub deploy: String,
    /// How the operator calls the artifact, for messages: its hash or its file name.
    pub artifact: String,
    /// The domain of the installation.
    pub domain: DomainName,
    /// The public address of the host, at which calls arrive.
    pub host_ip: Input<Ipv4Addr>,
    /// Whom the certificate authority writes to.
    pub cert_email: Email,
    /// Whether certificates come from the authority's test service.
    #[serde(default)]
    pub acme_test: bool,
    /// Where the calling services run; `None` without them.
    #[serde(default)]
    pub calling: Option<CallingServices>,
    /// Addresses of the data nodes, primary first; for the charts that point to them.
    #[serde(default)]
    pub data_nodes: Vec<Input<Ipv4Addr>>,
    /// Text of the operator's `values.d/<chart>.yaml`. Not for secrets.
    #[serde(default)]
    pub overlay: Option<String>,
}

/// Where the calling services run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallingServices {
    /// Name of the Kubernetes node.
    pub node: NodeName,
    /// Its address in the cluster.
    pub ip: Input<Ipv4Addr>,
}

/// The file as it shall be.
struct Wanted {
    content: Vec<u8>,
    changed: usize,
    digest: Digest,
}

impl ChartValues {
    /// Output: path of the values file.
    pub const PATH: Out<Self> = Out::new("path");
    /// Output: identifies chart version and values, for the decision whether helm has anything to do.
    pub const DIGEST: Out<Self> = Out::new("digest");

    /// The values file.
    pub fn file(&self) -> String {
        format!("{}/.wiab/values/{}.yaml", self.deploy, self.chart)
    }

    fn inputs(&self) -> Result<Inputs, Failure> {
        let calling = match &self.calling {
            None => None,
            Some(calling) => Some(CallingNode {
                name: calling.node.clone(),
                ip: *known(&calling.ip, "calling.ip")?,
            }),
        };
        let mut data_nodes = Vec::new();
        for ip in &self.data_nodes {
            data_nodes.push(*known(ip, "data_nodes")?);
        }
        Ok(Inputs {
            domain: self.domain.clone(),
            host_ip: *known(&self.host_ip, "host_ip")?,
            cert_email: self.cert_email.clone(),
            acme_test: self.acme_test,
            calling,
            data_nodes,
        })
    }

    fn overlay(&self) -> Result<Option<Document>, RenderError> {
        let text = self.overlay.as_deref();
        let origin = || Origin::file(format!("values.d/{}.yaml", self.chart));
        Ok(text
            .map(|text| Document::parse(text, origin()))
            .transpose()?)
    }

    /// The release's files that this chart needs.
    async fn tree(&self, sh: Shell<'_>) -> Result<Tree, Failure> {
        let (mut tree, root) = (Tree::default(), known(&self.tree, "tree")?);
        for path in Tree::wanted_for(self.chart) {
            let file = format!("{root}/{path}");
            let Some(bytes) = sh.read(&file, false).await? else {
                continue;
            };
            let text = String::from_utf8(bytes)
                .map_err(|_| Failure::clean(format!("{file} is not a text file")))?;
            tree.files.insert(path, text);
        }
        Ok(tree)
    }

    async fn wanted(&self, sh: Shell<'_>) -> Result<Wanted, Failure> {
        if self
            .overlay
            .as_ref()
            .is_some_and(|text| text.len() > OVERLAY_BYTES_MAX)
        {
            return Err(Failure::clean(format!(
                "values.d/{}.yaml has more than {OVERLAY_BYTES_MAX} bytes",
                self.chart
            )));
        }
        let inputs = self.inputs()?;
        let tree = self.tree(sh).await?;
        let template = self.chart.template();
        let rendered = Release::detect(&tree, &self.artifact)
            .map_err(RenderError::from)
            .and_then(|release| {
                let overlay = self.overlay()?;
                let text = tree.text(&template);
                render(self.chart, text, &inputs, &release, overlay.as_ref())
            })
            .map_err(|error| refused(&error))?;
        let header = format!(
            "{MARK} from {template}; changes are overwritten. Put your own settings into values.d/{}.yaml.\n",
            self.chart
        );
        Ok(Wanted {
            content: (header + &rendered.text).into_bytes(),
            changed: rendered.changed.len(),
            digest: rendered.digest,
        })
    }

    fn whole(path: &str, content: Vec<u8>) -> WholeFile<'_> {
        WholeFile {
            path,
            content,
            mode: 0o600,
            owner: None,
            root: false,
            replace: Replace::Marked(MARK),
        }
    }

    fn receipt(receipt: Receipt, changed: usize, digest: Digest) -> Receipt {
        let note = Some(format!("{changed} values differ from the template"));
        Receipt { note, ..receipt }.with(Self::DIGEST.name(), digest.to_string())
    }
}

fn refused(error: &RenderError) -> Failure {
    let hint = match error {
        RenderError::Yaml(error) if error.origin.release.is_none() => {
            "correct the file and run again"
        }
        RenderError::Yaml(_) => {
            "this release is unknown to this version of wiab; use another release, or a newer wiab"
        }
        RenderError::NoTemplate { .. } => "unpack the artifact again: it is incomplete",
        RenderError::Needs { .. } | RenderError::Placeholders { .. } => {
            "complete the settings and run again"
        }
    };
    Failure::clean(error.to_string()).hint(hint)
}

impl Kind for ChartValues {
    const NAME: &'static str = "chart.values/1";
    const ABOUT: About = About {
        purpose: "A chart gets its values: the release's template, what wiab computes, the operator's overlay.",
        probe: "Renders the values and compares the file.",
        effect: "Writes the file into wiab's own directory; the template is never changed.",
        undo: "Restores or removes the file.",
    };

    fn summary(&self) -> String {
        let overlay = if self.overlay.is_some() {
            " and your overlay"
        } else {
            ""
        };
        format!("render values of {} from its template{overlay}", self.chart)
    }

    fn undo_summary(&self) -> String {
        format!("restore or remove {}", self.file())
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ChartValues {
    type Image = Option<Old>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        // While the artifact is not unpacked, or an address is not known, there is nothing to compare with.
        let Ok(wanted) = self.wanted(sh).await else {
            return Ok(Probe::Absent);
        };
        let path = self.file();
        Ok(match Self::whole(&path, wanted.content).probe(sh).await? {
            Probe::Satisfied(receipt) => {
                Probe::Satisfied(Self::receipt(receipt, wanted.changed, wanted.digest))
            }
            other => other,
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Old>, Failure> {
        capture(sh, &self.file(), false).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Old>) -> Result<Receipt, Failure> {
        let wanted = self.wanted(sh).await?;
        let receipt = Self::whole(&self.file(), wanted.content).apply(sh).await?;
        Ok(Self::receipt(receipt, wanted.changed, wanted.digest))
    }

    async fn undo(&self, sh: Shell<'_>, old: &Option<Old>) -> Result<(), Failure> {
        let path = self.file();
        let content = match self.wanted(sh).await {
            Ok(wanted) => wanted.content,
            // The template may be gone by now; the mark still tells our file from others.
            Err(_) => sh
                .read(&path, false)
                .await?
                .filter(|found| found.starts_with(MARK.as_bytes()))
                .unwrap_or_default(),
        };
        Self::whole(&path, content).undo(sh, old.as_ref()).await
    }
}
