//! `images.seeded/1`: a release's images on one Kubernetes node, each fetched and looked for afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, Residue, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::{Step, Tick};

use super::login::SSH_FAILED;
use super::plays::images::{self, ImageSet, Images};
use super::plays::look::{Found, Told, unreachable};
use super::plays::{Site, SiteHost};
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Host, Output};
use crate::kind::{About, Kind, Pace};

const MINUTE_MS: u64 = 60_000;
/// Longest fetch and import of one image, in milliseconds.
const IMAGE_MS: u64 = 15 * MINUTE_MS;

/// What becomes of a release that lacks the image which answers the certificate authority's challenges. Nodes that reach
/// its registry fetch it when it is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acmesolver {
    /// The receipt says so.
    #[default]
    Tell,
    /// The step fails.
    Require,
}

/// The images of one set on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesSeeded {
    /// The machines.
    pub site: Site,
    /// The node, by its name.
    pub node: String,
    /// Which images.
    pub set: ImageSet,
    /// Whether a release without `acmesolver` will do; only looked at with the charts' images.
    #[serde(default)]
    pub acmesolver: Acmesolver,
}

/// What the node had, and what the asset host listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    held: BTreeSet<String>,
    listed: Vec<String>,
}

impl ImagesSeeded {
    fn host(&self) -> Result<&SiteHost, Failure> {
        self.site
            .host(&self.node)
            .ok_or_else(|| Failure::clean(format!("there is no machine {}", self.node)))
    }

    /// Where an archive lies while it is imported.
    fn part(&self) -> String {
        format!("/var/tmp/wiab-{}.part", self.set.dir())
    }

    fn lacks_solver(&self, images: &Images) -> bool {
        let mut held = images.held.iter().flatten();
        self.set == ImageSet::Helm && !held.any(|reference| reference.contains("acmesolver"))
    }

    fn found(&self, host: &SiteHost, images: &Images) -> Found {
        let mut found = Found::default();
        images::note(host, self.set, images, &mut found);
        if found.whole() && self.lacks_solver(images) {
            match self.acmesolver {
                Acmesolver::Tell => found.notes.push(
                    "the release lacks acmesolver: the nodes must reach its registry for certificates"
                        .to_owned(),
                ),
                Acmesolver::Require => found.missing.push("acmesolver".to_owned()),
            }
        }
        found
    }

    /// The images as they must be known before anything is done.
    async fn known(&self, sh: Shell<'_>) -> Result<Images, Failure> {
        let host = self.host()?;
        let (told, images) = images::look_at(sh, &self.site, host, self.set).await?;
        if let Told::Silent(why) = told {
            return Err(unreachable(&self.site, host, &why));
        }
        if images.listed.is_none() {
            let url = images::url(&self.site, self.set)?;
            return Err(Failure::clean(format!(
                "{} cannot fetch {url}/index.txt from the asset host",
                host.name
            ))
            .retry()
            .hint("look at its content server: `systemctl status serve-assets` on assethost; `systemctl start serve-assets` starts it")
            .code("cluster.assets-down"));
        }
        if images.held.is_none() {
            return Err(
                Failure::clean(format!("containerd on {} does not answer", host.name))
                    .retry()
                    .hint(format!(
                        "`systemctl status containerd` on {} tells why",
                        host.name
                    )),
            );
        }
        Ok(images)
    }

    async fn bring(&self, sh: Shell<'_>, archive: &str) -> Result<(), Failure> {
        let host = self.host()?;
        let url = format!("{}/{archive}", images::url(&self.site, self.set)?);
        let script = "curl -fsS --retry 3 --retry-delay 2 -o \"$1\" \"$2\" && ctr -n k8s.io images import \"$1\" && rm -f -- \"$1\"";
        let part = self.part();
        let cmd = self
            .site
            .on(host, &["sh", "-c", script, "sh", &part, &url])
            .timeout_ms(IMAGE_MS);
        let output = sh.run(&cmd).await?;
        if output.ok() {
            return Ok(());
        }
        Err(self.failed(host, archive, &output))
    }

    fn failed(&self, host: &SiteHost, archive: &str, output: &Output) -> Failure {
        let said = output.error_text();
        let last = said.lines().next_back().unwrap_or("it said nothing");
        if output.code == SSH_FAILED {
            return Failure {
                residue: Residue::Unknown,
                ..unreachable(&self.site, host, last)
            };
        }
        let hint = if last.contains("returned error: 404") {
            "the asset host lists the image but does not have it: its content is not whole; unpack the release's archive again (step `ast.sources`)".to_owned()
        } else if said.contains("No space left") || last.contains("(23)") {
            format!(
                "free room on the disk of {}, or give it a larger one",
                host.name
            )
        } else {
            format!(
                "fetch it by hand to see why: ssh -i {} {}@{} curl -fO {}/{archive}",
                self.site.login.key_path,
                self.site.login.user,
                host.ip,
                images::url(&self.site, self.set).unwrap_or_default()
            )
        };
        Failure::dirty(format!("{archive} did not get onto {}: {last}", host.name))
            .retry()
            .hint(hint)
            .code("cluster.image-missing")
    }
}

impl Kind for ImagesSeeded {
    const NAME: &'static str = "images.seeded/1";
    const ABOUT: About = About {
        purpose: "Nodes without a registry have every image before anything needs it.",
        probe: "Compares the asset host's list with what containerd has.",
        effect: "Fetches and imports the missing images one by one and compares again; those that are there are left alone.",
        undo: "Removes the images that it added.",
    };

    fn summary(&self) -> String {
        format!("bring the images of {} to {}", self.set.dir(), self.node)
    }

    fn undo_summary(&self) -> String {
        "remove the images added".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        let usual_ms = match self.set {
            ImageSet::System => 7 * MINUTE_MS / 2,
            ImageSet::Helm => 10 * MINUTE_MS,
        };
        Pace {
            retry: RetryPolicy::SHORT,
            timeout_ms: 90 * MINUTE_MS,
            usual_ms,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ImagesSeeded {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let host = self.host()?;
        let (told, images) = images::look_at(sh, &self.site, host, self.set).await?;
        if matches!(told, Told::Silent(_)) {
            return Ok(Probe::Absent);
        }
        Ok(self.found(host, &images).probe())
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let images = self.known(sh).await?;
        Ok(Image {
            held: images.held.unwrap_or_default(),
            listed: images.listed.unwrap_or_default(),
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let images = self.known(sh).await?;
        let missing = images.missing();
        for (done, archive) in (0_u64..).zip(&missing) {
            sh.cx.progress.tick(Tick::Amount {
                done,
                total: u64::try_from(missing.len()).ok(),
                unit: "images",
            });
            self.bring(sh, archive).await?;
        }
        let host = self.host()?;
        let after = self.known(sh).await.map_err(|failure| Failure {
            residue: Residue::Dirty,
            ..failure
        })?;
        let found = self.found(host, &after);
        if found.whole() {
            return Ok(Receipt::note(found.note()));
        }
        let what = found.missing.join(", ");
        if what == "acmesolver" {
            return Err(Failure::dirty(
                "the release has no image acmesolver, without which no certificate is ever issued on nodes without a registry",
            )
            .hint("use a release that brings it, or set [kubernetes] acmesolver = \"tell\" if the nodes reach quay.io")
            .code("cluster.acmesolver"));
        }
        Err(Failure::dirty(format!(
            "every archive was imported, but {} still lacks {what}",
            host.name
        ))
        .hint("the archive holds an image of another name: look at the output of `ctr images import` in the transcript")
        .code("cluster.image-missing"))
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        let host = self.host()?;
        let now = Images {
            listed: None,
            held: Some(images::held(sh, &self.site, host).await?),
        };
        let ours: Vec<&str> = now
            .of_set(&image.listed)
            .into_iter()
            .filter(|reference| !image.held.contains(*reference))
            .collect();
        images::remove(sh, &self.site, host, &ours).await?;
        let part = self.part();
        super::plays::must(sh, &self.site, host, &["rm", "-f", "--", &part]).await?;
        Ok(())
    }
}
