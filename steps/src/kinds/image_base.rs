//! `image.base/1`: the cloud image under all disks, checked and read-only.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::fetch::{self, DIGEST_DIGITS, Download, JOB, sha256};
use super::jobs::{Settle, settle_forward};
use super::qemu::{exists, info, move_new, remove_all};
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Meta};
use crate::kind::{About, Kind, Out, Pace};

const DOWNLOAD_MS: u64 = 60 * 60_000;
const COPY_MS: u64 = 10 * 60_000;

/// A base image in the pool, named by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageBase {
    /// An absolute path on the host, or an `https://` URL.
    pub source: String,
    /// SHA-256 in hexadecimal; without it, what the publisher's `SHA256SUMS` beside it says, else what is found at first use, is
    /// recorded and kept.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The directory of disk images.
    pub pool: String,
}

/// Names of ours that were in the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    names: Vec<String>,
}

impl ImageBase {
    /// Output: path of the image in the pool.
    pub const PATH: Out<Self> = Out::new("path");
    /// Output: its SHA-256.
    pub const SHA256: Out<Self> = Out::new("sha256");

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.pool.trim_end_matches('/'))
    }

    fn source_key(&self) -> String {
        let hash = blake3::hash(self.source.as_bytes()).to_hex();
        hash.chars().take(DIGEST_DIGITS).collect()
    }

    fn part(&self) -> String {
        self.at(&format!("wiab-base-{}.part", self.source_key()))
    }

    /// Where the digest of an unpinned source is recorded.
    fn record(&self) -> String {
        self.at(&format!("wiab-base-{}.sha256", self.source_key()))
    }

    fn name(digest: &str) -> String {
        let digits: String = digest.chars().take(DIGEST_DIGITS).collect();
        format!("wiab-base-{digits}.qcow2")
    }

    fn receipt(&self, digest: &str) -> Receipt {
        Receipt::note(format!("sha256 {digest}"))
            .with("path", self.at(&Self::name(digest)))
            .with("sha256", digest)
    }

    /// The digest that the image must have: pinned, or recorded at first use.
    async fn wanted(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        if let Some(pinned) = &self.sha256 {
            return Ok(Some(pinned.to_lowercase()));
        }
        let recorded = sh.read(&self.record(), true).await?;
        Ok(recorded.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    async fn names(&self, sh: Shell<'_>) -> Result<Vec<String>, Failure> {
        let output = sh
            .run(&Cmd::new(["ls", "-1", "--", &self.pool]).root())
            .await?;
        Ok(output.text().lines().map(str::to_owned).collect())
    }

    async fn obtain(&self, sh: Shell<'_>, part: &str) -> Result<(), Failure> {
        if !self.source.starts_with("https://") {
            let copy = Cmd::new(["cp", "--reflink=auto", "--", &self.source, part])
                .root()
                .timeout_ms(COPY_MS);
            return sh.ok(&copy).await.map(drop).map_err(|failure| {
                failure.hint(format!("is there a readable file {}?", self.source))
            });
        }
        let download = Download {
            url: &self.source,
            part,
            root: true,
            timeout_ms: DOWNLOAD_MS,
        };
        let bytes = fetch::head(sh, &self.source).await?.bytes;
        download.run(sh, bytes).await
    }

    /// The digest that the publisher gives beside the image; `None` where there is none.
    async fn published(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let Some((folder, name)) = self.source.rsplit_once('/') else {
            return Ok(None);
        };
        let sums = fetch::small(sh, &format!("{folder}/SHA256SUMS")).await?;
        Ok(sums.and_then(|sums| fetch::listed(&sums, name)))
    }

    /// Whether the partial file already is the wanted image.
    async fn complete(
        &self,
        sh: Shell<'_>,
        part: &str,
        wanted: Option<&str>,
    ) -> Result<bool, Failure> {
        match wanted {
            Some(wanted) if exists(sh, part).await? => Ok(sha256(sh, part, true).await? == wanted),
            _ => Ok(false),
        }
    }

    async fn check(
        &self,
        sh: Shell<'_>,
        part: &str,
        wanted: Option<&str>,
    ) -> Result<String, Failure> {
        let digest = sha256(sh, part, true).await?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            remove_all(sh, &[part]).await?;
            return Err(Failure::dirty(format!(
                "{} has sha256 {digest}, wanted is {wanted}",
                self.source
            ))
            .hint("the image has changed or is damaged: compare with the publisher's SHA256SUMS, then set [image] sha256"));
        }
        let found = info(sh, part).await?;
        if found.format != "qcow2" || found.backing().is_some() {
            remove_all(sh, &[part]).await?;
            return Err(Failure::dirty(format!(
                "{} is not a self-contained qcow2 image (format {})",
                self.source, found.format
            ))
            .hint("use a cloud image in qcow2 format"));
        }
        Ok(digest)
    }
}

impl Kind for ImageBase {
    const NAME: &'static str = "image.base/1";
    const ABOUT: About = About {
        purpose: "One read-only image that all disks share and that nothing may replace.",
        probe: "Looks for the image of the pinned or recorded digest in the pool.",
        effect: "Copies or downloads it (continuing a partial download), checks SHA-256 (pinned, else as published beside it, else kept from first use) and format, moves it in place with mode 0444.",
        undo: "Removes it, unless a disk in the pool uses it.",
    };

    fn summary(&self) -> String {
        format!("fetch base image {}", self.source)
    }

    fn undo_summary(&self) -> String {
        "remove the base image, if no disk uses it".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::SHORT,
            timeout_ms: DOWNLOAD_MS + COPY_MS,
            usual_ms: 60_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ImageBase {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let wanted = self.wanted(sh).await?;
        if let Some(digest) = &wanted {
            let path = self.at(&Self::name(digest));
            if let Some(stat) = sh.stat(&path).await? {
                return Ok(if stat.mode & 0o222 == 0 {
                    Probe::Satisfied(self.receipt(digest))
                } else {
                    Probe::Partial {
                        what: format!("{path} is writable"),
                    }
                });
            }
        }
        if exists(sh, &self.part()).await? {
            return Ok(Probe::Partial {
                what: "partly fetched".to_owned(),
            });
        }
        Ok(Probe::Absent)
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let mut names = self.names(sh).await?;
        names.retain(|name| name.starts_with("wiab-base-"));
        Ok(Image { names })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let (part, mut wanted) = (self.part(), self.wanted(sh).await?);
        let mut note = "";
        if wanted.is_none() && self.source.starts_with("https://") {
            wanted = self.published(sh).await?;
            note = match wanted {
                Some(_) => ", as published beside it",
                None => ", pinned on first use: nothing is published beside it",
            };
        }
        if let Some(digest) = &wanted {
            let path = self.at(&Self::name(digest));
            if exists(sh, &path).await? {
                return self.keep(sh, &path, digest).await;
            }
        }
        if !self.complete(sh, &part, wanted.as_deref()).await? {
            self.obtain(sh, &part).await?;
        }
        let digest = self.check(sh, &part, wanted.as_deref()).await?;
        if self.sha256.is_none() {
            sh.write(
                &self.record(),
                format!("{digest}\n").as_bytes(),
                &Meta::root(0o644),
            )
            .await?;
        }
        let path = self.at(&Self::name(&digest));
        sh.ok(&Cmd::new(["chmod", "0444", "--", &part]).root())
            .await?;
        if !move_new(sh, &part, &path).await? {
            // The name is taken: an unpinned source turned out to be an image that is already there.
            remove_all(sh, &[&part]).await?;
            return self.keep(sh, &path, &digest).await;
        }
        Ok(Receipt {
            note: Some(format!("sha256 {digest}{note}")),
            ..self.receipt(&digest)
        })
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        settle_forward(sh, JOB, Settle::Kill).await?;
        let (part, record) = (self.part(), self.record());
        let was_there = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or_default();
            image.names.iter().any(|known| known == name)
        };
        if let Some(digest) = self.wanted(sh).await? {
            let path = self.at(&Self::name(&digest));
            if !was_there(&path) && exists(sh, &path).await? {
                self.refuse_while_used(sh, &path).await?;
                remove_all(sh, &[&path]).await?;
            }
        }
        for path in [&part, &record] {
            if !was_there(path) {
                remove_all(sh, &[path]).await?;
            }
        }
        Ok(())
    }
}

impl ImageBase {
    /// Keeps an image that stands under the digest's name, after checking that it is what its name says.
    async fn keep(&self, sh: Shell<'_>, path: &str, digest: &str) -> Result<Receipt, Failure> {
        let found = sha256(sh, path, true).await?;
        if found != digest {
            return Err(Failure::clean(format!("{path} has sha256 {found}, wanted is {digest}"))
                .ask()
                .hint(format!(
                    "the image in the pool is damaged or somebody else's; if no disk uses it: sudo mv {path} {path}.old, then decide `retry`"
                )));
        }
        if sh
            .stat(path)
            .await?
            .is_some_and(|stat| stat.mode & 0o222 != 0)
        {
            sh.ok(&Cmd::new(["chmod", "0444", "--", path]).root())
                .await?;
        }
        Ok(self.receipt(digest))
    }

    async fn refuse_while_used(&self, sh: Shell<'_>, path: &str) -> Result<(), Failure> {
        let mut users = Vec::new();
        for name in self.names(sh).await? {
            let disk = self.at(&name);
            if disk != path
                && name.strip_suffix(".qcow2").is_some()
                && info(sh, &disk).await?.backing() == Some(path)
            {
                users.push(disk);
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        Err(Failure::clean(format!("{path} is used by {}", users.join(", ")))
            .ask()
            .hint("these disks are worth nothing without it: remove them first, then decide `retry-undo`, or `accept` to keep the image"))
    }
}
