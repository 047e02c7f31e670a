//! `artifact.file/1`: the archive of a release, whole and known by its digest.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::fetch::{self, CHECK_MS, Download, JOB, gib, need_space, sha256};
use super::jobs::{Settle, settle_forward};
use super::qemu::exists;
use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Meta};
use crate::kind::{About, Kind, Out, Pace};

const DOWNLOAD_MS: u64 = 6 * 60 * 60_000;

/// An artifact on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactFile {
    /// An `https://` URL, or an absolute path on the host, where the file is used in place.
    pub source: String,
    /// SHA-256 in hexadecimal; without it, what is found at first use is recorded and kept.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Where it is in the end; `source` itself when that is a path. Its directory exists.
    pub path: String,
    /// Where its digest is recorded. The directory exists.
    pub record: String,
    /// Whether undo leaves a finished download, which is large and slow to get.
    #[serde(default)]
    pub keep: bool,
}

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    file: bool,
    part: bool,
    record: bool,
}

/// What is recorded about the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    sha256: String,
    bytes: u64,
}

impl Known {
    fn parse(text: &str) -> Option<Self> {
        let (sha256, bytes) = text.trim().split_once(' ')?;
        Some(Self {
            sha256: sha256.to_owned(),
            bytes: bytes.parse().ok()?,
        })
    }

    fn text(&self) -> String {
        format!("{} {}\n", self.sha256, self.bytes)
    }
}

impl ArtifactFile {
    /// Output: path of the file.
    pub const PATH: Out<Self> = Out::new("path");
    /// Output: its SHA-256.
    pub const SHA256: Out<Self> = Out::new("sha256");

    fn is_remote(&self) -> bool {
        self.source.starts_with("https://")
    }

    fn part(&self) -> String {
        format!("{}.part", self.path)
    }

    fn dir(path: &str) -> &str {
        match path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((dir, _)) => dir,
        }
    }

    fn receipt(&self, known: &Known, more: &str) -> Receipt {
        let (digest, size) = (&known.sha256, gib(known.bytes));
        Receipt::note(format!("{size}, sha256 {digest}{more}"))
            .with("path", self.path.as_str())
            .with("sha256", digest.as_str())
    }

    async fn known(&self, sh: Shell<'_>) -> Result<Option<Known>, Failure> {
        let bytes = sh.read(&self.record, false).await?;
        Ok(bytes.and_then(|bytes| Known::parse(&String::from_utf8_lossy(&bytes))))
    }

    fn pinned(&self) -> Option<String> {
        self.sha256.as_ref().map(|digest| digest.to_lowercase())
    }

    /// A digest other than the wanted one, with both.
    fn other_digest(&self, found: &str, wanted: &str, from: &str, at: &str) -> Failure {
        let remedy = if at == self.path {
            format!(
                "if the new content is meant: set [artifact] sha256 to {found} and remove {}; if not: move {at} away, then run again",
                self.record
            )
        } else {
            format!(
                "if the new content is meant: set [artifact] sha256 to {found} and remove {} and {at}; if not, ask who runs the server",
                self.record
            )
        };
        Failure::dirty(format!(
            "{at} has sha256 {found}, but {from} is {wanted}: the file has changed or is damaged"
        ))
        .hint(remedy)
        .code("artifact.digest")
    }

    /// Looks through the whole of a file: gzip's checksums, and its digest.
    async fn verify(&self, sh: Shell<'_>, at: &str, bytes: u64) -> Result<Known, Failure> {
        let known = self.known(sh).await?;
        let test = Cmd::new(["gzip", "-t", "--", at]).timeout_ms(CHECK_MS);
        let tested = sh.run(&test).await?;
        if !tested.ok() {
            let said = tested.error_text();
            return Err(
                Failure::dirty(format!("{at} is damaged or cut off: {said}"))
                    .hint(format!("remove {at}, then run again"))
                    .code("artifact.damaged"),
            );
        }
        let digest = sha256(sh, at, false).await?;
        if let Some(pinned) = self.pinned().filter(|pinned| *pinned != digest) {
            return Err(self.other_digest(&digest, &pinned, "[artifact] sha256", at));
        }
        let first = known.filter(|_| self.sha256.is_none());
        if let Some(first) = first.filter(|first| first.sha256 != digest) {
            return Err(self.other_digest(
                &digest,
                &first.sha256,
                "the one recorded at first use",
                at,
            ));
        }
        Ok(Known {
            sha256: digest,
            bytes,
        })
    }

    async fn record(&self, sh: Shell<'_>, known: &Known) -> Result<(), Failure> {
        let meta = Meta::user(0o644);
        sh.write(&self.record, known.text().as_bytes(), &meta).await
    }

    /// Length of the file on the server.
    async fn remote_bytes(&self, sh: Shell<'_>) -> Result<Option<u64>, Failure> {
        let head = fetch::head(sh, &self.source).await?;
        let url = &self.source;
        match head.status {
            403 | 404 => Err(Failure::dirty(format!(
                "the server has nothing at {url} (HTTP {}): the bucket does not know this hash",
                head.status
            ))
            .hint("correct [artifact] hash: 40 hexadecimal digits as in the release's own ansible/inventory/demo/wiab-staging.yml; or set [artifact] source to a mirror or a file")
            .code("artifact.unknown-hash")),
            // A server that does not answer questions may still serve the file.
            _ => Ok(head.bytes),
        }
    }

    /// Takes over a file that stands under the final name already.
    async fn adopt(&self, sh: Shell<'_>, bytes: u64) -> Result<Receipt, Failure> {
        if self.is_remote() && self.known(sh).await?.is_none() {
            let remote = self.remote_bytes(sh).await?;
            if let Some(remote) = remote.filter(|remote| *remote > bytes) {
                let path = &self.path;
                return Err(Failure::dirty(format!(
                    "{path} has {bytes} of {remote} bytes: an earlier download was cut off there"
                ))
                .ask()
                .hint(format!(
                    "mv -n {path} {path}.part, then decide `retry`: wiab continues it"
                ))
                .code("artifact.truncated"));
            }
        }
        let known = self.verify(sh, &self.path, bytes).await?;
        self.record(sh, &known).await?;
        Ok(self.receipt(&known, ""))
    }

    async fn download(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        let (part, bytes) = (self.part(), self.remote_bytes(sh).await?);
        let have = sh.stat(&part).await?.map_or(0, |stat| stat.bytes);
        let missing = bytes.unwrap_or_default().saturating_sub(have);
        need_space(sh, Self::dir(&self.path), missing, "the download").await?;
        let download = Download {
            url: &self.source,
            part: &part,
            root: false,
            timeout_ms: DOWNLOAD_MS,
        };
        download.run(sh, bytes).await?;
        let have = sh.stat(&part).await?.map_or(0, |stat| stat.bytes);
        let known = match self.verify(sh, &part, have).await {
            Ok(known) => known,
            Err(failure) if failure.code == "artifact.damaged" => {
                sh.remove(&part, false).await?;
                return Err(failure.retry().hint("the download begins anew"));
            }
            Err(failure) => return Err(failure),
        };
        self.record(sh, &known).await?;
        // Content first, then the name: after a power cut there is no half file under it.
        sh.ok(&Cmd::new(["sync", "--", &part]).timeout_ms(CHECK_MS))
            .await?;
        sh.ok(&Cmd::new(["mv", "-n", "--", &part, &self.path]))
            .await?;
        if exists(sh, &part).await? {
            return Err(Failure::dirty(format!(
                "{} came into being during the download",
                self.path
            ))
            .retry());
        }
        sh.ok(&Cmd::new(["sync", "--", Self::dir(&self.path)]))
            .await?;
        let how = if self.sha256.is_some() {
            ""
        } else {
            ", pinned on first use"
        };
        Ok(self.receipt(&known, how))
    }
}

impl Kind for ArtifactFile {
    const NAME: &'static str = "artifact.file/1";
    const ABOUT: About = About {
        purpose: "The archive of the release, whole, under its name, with a digest that later uses are held to.",
        probe: "Compares the file's size with the record that its first check left.",
        effect: "Downloads it beside its name, continuing what is there, checks length, gzip's checksums and SHA-256 (pinned on first use), then renames it; a file on the host is checked in place.",
        undo: "Removes the partial file; the finished download stays when told to keep it, for it is large and slow to get.",
    };

    fn summary(&self) -> String {
        if self.is_remote() {
            format!("download {}", self.source)
        } else {
            format!("check {}", self.source)
        }
    }

    fn undo_summary(&self) -> String {
        match (self.is_remote(), self.keep) {
            (true, true) => format!("keep the download {}, remove a partial one", self.path),
            (true, false) => format!("remove {}", self.path),
            (false, _) => "leave the file, forget its digest".to_owned(),
        }
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy {
                attempts_max: 10,
                delay_first_ms: 2_000,
                delay_max_ms: 60_000,
            },
            timeout_ms: DOWNLOAD_MS + 2 * CHECK_MS,
            usual_ms: 17 * 60_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ArtifactFile {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Some(stat) = sh.stat(&self.path).await? else {
            return Ok(match sh.stat(&self.part()).await? {
                Some(part) => Probe::Partial {
                    what: format!("{} are downloaded", gib(part.bytes)),
                },
                None => Probe::Absent,
            });
        };
        let Some(known) = self.known(sh).await? else {
            return Ok(Probe::Partial {
                what: format!("{} is there, not checked yet", self.path),
            });
        };
        if let Some(pinned) = self.pinned().filter(|pinned| *pinned != known.sha256) {
            return Ok(Probe::Drifted {
                diff: format!("- sha256 {}\n+ sha256 {pinned}", known.sha256),
            });
        }
        if stat.bytes != known.bytes {
            return Ok(Probe::Drifted {
                diff: format!("- {} bytes\n+ {} bytes", stat.bytes, known.bytes),
            });
        }
        Ok(Probe::Satisfied(self.receipt(&known, "")))
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        Ok(Image {
            file: exists(sh, &self.path).await?,
            part: exists(sh, &self.part()).await?,
            record: exists(sh, &self.record).await?,
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        match sh.stat(&self.path).await? {
            Some(stat) => self.adopt(sh, stat.bytes).await,
            None if self.is_remote() => self.download(sh).await,
            None => Err(Failure::clean(format!("there is no file {}", self.path))
                .hint("bring the artifact there, or correct [artifact] source")
                .code("artifact.no-file")),
        }
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        settle_forward(sh, JOB, Settle::Kill).await?;
        if !image.part && self.is_remote() {
            sh.remove(&self.part(), false).await?;
        }
        let keep = self.keep && self.is_remote() && exists(sh, &self.path).await?;
        if self.is_remote() && !keep && !image.file {
            sh.remove(&self.path, false).await?;
        }
        if !keep && !image.record {
            sh.remove(&self.record, false).await?;
        }
        Ok(())
    }
}
