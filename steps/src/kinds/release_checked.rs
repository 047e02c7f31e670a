//! `release.checked/1`: an unpacked release can be installed: complete, understood, its key valid, its images there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Meta};
use crate::kind::{About, Input, Kind, Out, Pace};
use crate::release::{Chart, Release, Tree};

/// Looking into a large archive.
const LOOK_MS: u64 = 10 * 60_000;
/// A key that ends within this many seconds is warned of: 30 days.
const SOON_S: u64 = 30 * 86_400;
/// Most names in a message.
const NAMED_MAX: usize = 5;
/// The public key of the package repository, inside its archive.
const KEY: &str = "debs-jammy/public/gpg";
/// The image of cert-manager's solver, by its name without registry.
const SOLVER: &str = "cert-manager-acmesolver:";

/// Image list, archive, and the archive's own list.
const IMAGES: [(&str, &str, &str); 2] = [
    (
        "versions/containers_system_images.json",
        "containers-system.tar",
        "containers-system/index.txt",
    ),
    (
        "versions/containers_helm_images.json",
        "containers-helm.tar",
        "containers-helm/index.txt",
    ),
];

/// What every release has at its top.
const TOP: [&str; 9] = [
    "ansible",
    "binaries.tar",
    "charts",
    "containers-adminhost",
    "containers-helm.tar",
    "containers-system.tar",
    "debs-jammy.tar",
    "values",
    "versions",
];

/// A release that shall be fit for use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseChecked {
    /// The tree.
    pub tree: Input<String>,
    /// How the operator calls the artifact, for messages.
    pub artifact: String,
    /// Whether an expired key of the package repository is accepted.
    #[serde(default)]
    pub accept_expired_key: bool,
}

/// What was found, kept beside the tree so that a later look takes no minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Report {
    release: String,
    /// Unix time at which the key ends; 0 for never.
    key_ends_s: u64,
    acmesolver: bool,
    images: usize,
}

impl ReleaseChecked {
    /// Output: `yes` if the release brings the image of cert-manager's solver, else `no`.
    pub const ACMESOLVER: Out<Self> = Out::new("acmesolver");
    /// Output: `key` if packages are held to the repository's key, `trusted` if that has ended and is accepted.
    pub const PACKAGES: Out<Self> = Out::new("packages");

    fn record(&self) -> Result<String, Failure> {
        Ok(format!("{}.checked.json", known(&self.tree, "tree")?))
    }

    async fn recorded(&self, sh: Shell<'_>) -> Result<Option<Report>, Failure> {
        let bytes = sh.read(&self.record()?, false).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn receipt(&self, report: &Report, now_s: u64) -> Result<Receipt, Failure> {
        let ends_s = report.key_ends_s;
        let over = ends_s != 0 && ends_s <= now_s;
        if over && !self.accept_expired_key {
            return Err(Failure::clean(format!(
                "the key of the release's package repository ended {} days ago: apt on every machine would refuse it",
                (now_s - ends_s) / 86_400
            ))
            .hint("take a release with a newer key ([artifact] hash), or accept this one for its own repository only: [artifact] accept_expired_key = true")
            .code("release.key-expired"));
        }
        let mut note = format!("{}, {} images", report.release, report.images);
        if over {
            note.push_str("; its packages are taken without the ended key");
        } else if ends_s != 0 && ends_s < now_s + SOON_S {
            note.push_str(&format!(
                "; warning: its package key ends in {} days",
                (ends_s - now_s) / 86_400
            ));
        }
        if !report.acmesolver {
            note.push_str("; cert-manager's solver image is not in it");
        }
        Ok(Receipt::note(note)
            .with(
                Self::ACMESOLVER.name(),
                if report.acmesolver { "yes" } else { "no" },
            )
            .with(Self::PACKAGES.name(), if over { "trusted" } else { "key" }))
    }

    async fn text(&self, sh: Shell<'_>, path: &str) -> Result<Option<String>, Failure> {
        let file = format!("{}/{path}", known(&self.tree, "tree")?);
        let Some(bytes) = sh.read(&file, false).await? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes);
        text.map(Some)
            .map_err(|_| strange(&format!("{file} is not a text file")))
    }

    /// A member of one of the tree's archives.
    async fn member(&self, sh: Shell<'_>, archive: &str, member: &str) -> Result<Vec<u8>, Failure> {
        let path = format!("{}/{archive}", known(&self.tree, "tree")?);
        let cmd = Cmd::new(["tar", "-xOf", &path, member]).timeout_ms(LOOK_MS);
        let output = sh.run(&cmd).await?;
        if output.ok() {
            return Ok(output.stdout);
        }
        let last = output.error_text();
        let last = last.lines().next_back().unwrap_or_default();
        Err(strange(&format!(
            "{member} cannot be read from {path}: {last}"
        )))
    }

    async fn release(&self, sh: Shell<'_>) -> Result<Release, Failure> {
        let mut tree = Tree::default();
        for path in Tree::wanted() {
            if let Some(text) = self.text(sh, &path).await? {
                tree.files.insert(path, text);
            }
        }
        let release =
            Release::detect(&tree, &self.artifact).map_err(|error| strange(&error.to_string()))?;
        let optional = [Chart::SmallstepAccomp, Chart::DemoSmtp];
        let missing: Vec<&str> = Chart::ALL
            .into_iter()
            .filter(|chart| !release.charts.contains_key(chart) && !optional.contains(chart))
            .map(Chart::name)
            .collect();
        if missing.is_empty() {
            return Ok(release);
        }
        Err(strange(&format!(
            "{} lacks the charts {}",
            release.name,
            missing.join(", ")
        )))
    }

    /// When the package repository's key ends, in Unix seconds; 0 for never.
    async fn key_ends_s(&self, sh: Shell<'_>) -> Result<u64, Failure> {
        let key = self.member(sh, "debs-jammy.tar", KEY).await?;
        // No keyring and no home directory: looking must leave nothing behind.
        let gpg = [
            "gpg",
            "--no-options",
            "--no-keyring",
            "--homedir",
            "/nonexistent",
            "--batch",
        ];
        let cmd = Cmd::new(gpg.into_iter().chain(["--show-keys", "--with-colons"])).stdin(key);
        let output = sh.ok(&cmd).await?;
        ends_of(&output.text()).ok_or_else(|| strange("gpg finds no key in debs-jammy.tar"))
    }

    async fn images(&self, sh: Shell<'_>) -> Result<(usize, bool), Failure> {
        let (mut count, mut solver, mut missing) = (0, false, Vec::new());
        for (list, archive, index) in IMAGES {
            let text = self
                .text(sh, list)
                .await?
                .ok_or_else(|| strange(&format!("{list} is missing")))?;
            let wanted = images_of(&text).ok_or_else(|| {
                strange(&format!("{list} is not a list of images and their tags"))
            })?;
            let index = self.member(sh, archive, index).await?;
            let index = String::from_utf8_lossy(&index).into_owned();
            let there: BTreeSet<&str> = index
                .lines()
                .filter_map(|line| line.trim().rsplit('/').next())
                .collect();
            solver |= index.contains("cert-manager-acmesolver_")
                || wanted.iter().any(|image| image.contains(SOLVER));
            count += there.len();
            // Entries that were torn apart at a second colon (a digest, a port) name no file.
            let whole = wanted
                .iter()
                .filter(|image| image.matches(':').count() == 1);
            missing.extend(
                whole
                    .filter(|image| !there.contains(&*file_of(image)))
                    .cloned(),
            );
        }
        if missing.is_empty() {
            return Ok((count, solver));
        }
        let named = missing.get(..NAMED_MAX).unwrap_or(&missing).join(", ");
        Err(strange(&format!(
            "{} images that the release lists are not in its archives, such as {named}",
            missing.len()
        ))
        .code("release.images"))
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let tree = known(&self.tree, "tree")?;
        let mut missing = Vec::new();
        for name in TOP {
            if sh.stat(&format!("{tree}/{name}")).await?.is_none() {
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            return Err(strange(&format!("{tree} lacks {}", missing.join(", "))));
        }
        let release = self.release(sh).await?;
        let key_ends_s = self.key_ends_s(sh).await?;
        let (images, acmesolver) = self.images(sh).await?;
        Ok(Report {
            release: release.name,
            key_ends_s,
            acmesolver,
            images,
        })
    }
}

fn strange(what: &str) -> Failure {
    Failure::clean(what)
        .hint("this artifact is incomplete or of a release that this version of wiab does not know; choose another [artifact] hash, or a newer wiab")
        .code("release.unknown")
}

/// File name of an image's archive.
fn file_of(image: &str) -> String {
    format!("{}.tar", image.replace(['/', ':'], "_"))
}

/// The images of a list of objects `{"name": "tag"}`.
fn images_of(text: &str) -> Option<Vec<String>> {
    let list: Value = serde_json::from_str(text).ok()?;
    let mut images = Vec::new();
    for entry in list.as_array()? {
        for (name, tag) in entry.as_object()? {
            images.push(format!("{name}:{}", tag.as_str()?));
        }
    }
    Some(images)
}

/// The earliest end among the public keys that gpg shows; the seventh field is empty for a key that never ends.
fn ends_of(shown: &str) -> Option<u64> {
    let ends = shown
        .lines()
        .filter(|line| line.starts_with("pub:"))
        .map(|line| {
            line.split(':')
                .nth(6)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0_u64)
        });
    ends.reduce(|one, other| match (one, other) {
        (0, end) | (end, 0) => end,
        (one, other) => one.min(other),
    })
}

impl Kind for ReleaseChecked {
    const NAME: &'static str = "release.checked/1";
    const ABOUT: About = About {
        purpose: "A release that cannot work is found now, not an hour later on a virtual machine.",
        probe: "Reads what an earlier check recorded, and holds the key's end against today.",
        effect: "Looks for all parts and charts, reads what differs between releases, the end of the package repository's key, \
                 and whether every listed image is in its archive; records the result beside the tree.",
        undo: "Removes the record.",
    };

    fn summary(&self) -> String {
        "check the release: parts, charts, package key, images".to_owned()
    }

    fn undo_summary(&self) -> String {
        "forget the result".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            timeout_ms: 6 * LOOK_MS,
            usual_ms: 15_000,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ReleaseChecked {
    type Image = bool;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Some(report) = self.recorded(sh).await? else {
            return Ok(Probe::Absent);
        };
        let now_s = sh.cx.clock.wall_ms() / 1_000;
        Ok(match self.receipt(&report, now_s) {
            Ok(receipt) => Probe::Satisfied(receipt),
            Err(failure) => Probe::Partial { what: failure.why },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        Ok(sh.stat(&self.record()?).await?.is_some())
    }

    async fn apply(&self, sh: Shell<'_>, _: &bool) -> Result<Receipt, Failure> {
        let report = match self.recorded(sh).await? {
            Some(report) => report,
            None => self.look(sh).await?,
        };
        let receipt = self.receipt(&report, sh.cx.clock.wall_ms() / 1_000)?;
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        let meta = Meta::user(0o644);
        sh.write(&self.record()?, text.as_bytes(), &meta).await?;
        Ok(receipt)
    }

    async fn undo(&self, sh: Shell<'_>, existed: &bool) -> Result<(), Failure> {
        if *existed {
            return Ok(());
        }
        sh.remove(&self.record()?, false).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_end_counts_and_none_is_never() {
        let key = |end: &str| format!("pub:-:4096:1:AB:1720742400:{end}::-:::scSC::::::23::0:\n");
        assert_eq!(ends_of(&key("1783814400")), Some(1_783_814_400));
        assert_eq!(ends_of(&key("")), Some(0));
        assert_eq!(ends_of(&(key("") + &key("7") + &key("9"))), Some(7));
        assert_eq!(ends_of("uid:-::::1::0::x::::::::::0:\n"), None);
    }

    #[test]
    fn image_lists_are_pairs() {
        let text = r#"[{"quay.io/wire/brig": "5.23.0"}, {"a": "b"}]"#;
        let images = images_of(text).unwrap();
        assert_eq!(images, ["quay.io/wire/brig:5.23.0", "a:b"]);
        assert_eq!(file_of(&images[0]), "quay.io_wire_brig_5.23.0.tar");
        assert_eq!(images_of("[1]"), None);
    }
}
