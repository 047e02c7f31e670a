//! `kube.namespace/1`: a namespace of the cluster.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::tool::Toolbox;
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind};

/// Longest removal of a namespace, in milliseconds.
const DELETE_MS: u64 = 110_000;

/// A namespace that shall exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubeNamespace {
    /// Its name.
    pub name: String,
    /// Where kubectl runs.
    pub tools: Toolbox,
}

/// Whether it was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    existed: bool,
}

impl KubeNamespace {
    /// Whether it exists; also no while there is no cluster to ask.
    async fn exists(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        let args = [
            "get",
            "namespace",
            &self.name,
            "-o",
            "name",
            "--ignore-not-found",
        ];
        let Ok(cmd) = self.tools.kubectl(&args) else {
            return Ok(false);
        };
        let output = sh.probe(&cmd).await?;
        Ok(output.is_some_and(|output| output.ok() && !output.text().trim().is_empty()))
    }
}

impl Kind for KubeNamespace {
    const NAME: &'static str = "kube.namespace/1";
    const ABOUT: About = About {
        purpose: "A chart that lives in a namespace of its own finds it.",
        probe: "Asks the cluster for the namespace.",
        effect: "Creates it.",
        undo: "Deletes it with everything in it, if it was not there before.",
    };

    fn summary(&self) -> String {
        format!("create namespace {}", self.name)
    }

    fn undo_summary(&self) -> String {
        format!("delete namespace {} if it was not there before", self.name)
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for KubeNamespace {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        Ok(if self.exists(sh).await? {
            Probe::Satisfied(Receipt::default())
        } else {
            Probe::Absent
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let existed = self.exists(sh).await?;
        Ok(Image { existed })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        if !self.exists(sh).await? {
            sh.ok(&self.tools.kubectl(&["create", "namespace", &self.name])?)
                .await?;
        }
        Ok(Receipt::default())
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        if image.existed {
            return Ok(());
        }
        let args = ["delete", "namespace", &self.name, "--ignore-not-found"];
        sh.ok(&self.tools.kubectl(&args)?.timeout_ms(DELETE_MS))
            .await?;
        Ok(())
    }
}
