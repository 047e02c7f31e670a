//! `release.checked/1`: whether an unpacked release is one that can be installed, found out before anything depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::fetch::CHECK_MS;
use super::qemu::exists;
use super::release_tree::{members, some};
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Meta};
use crate::kind::{About, Input, Kind, Out, Pace};
use crate::release::{Chart, Release, Tree};
use crate::values::inventory;

/// A key that ends within this time is worth a warning.
const WARN_MS: u64 = 30 * 24 * 3_600_000;
/// Version of what is checked; an older record is worth nothing.
const CHECKS: u32 = 1;

/// Files without which no release can be installed, beside those of its charts.
const NEEDED: [&str; 18] = [
    "ansible/cassandra.yml",
    "ansible/elasticsearch.yml",
    "ansible/inventory/offline/group_vars/all/key.yml",
    "ansible/inventory/offline/group_vars/all/offline.yml",
    "ansible/kubernetes.yml",
    "ansible/minio.yml",
    "ansible/postgresql-deploy.yml",
    "ansible/rabbitmq.yml",
    "ansible/roles/rabbitmq-cluster/tasks/configure_dns.yml",
    "ansible/setup-offline-sources.yml",
    "ansible/sync_time.yml",
    "binaries.tar",
    "containers-adminhost/container-wire-server-deploy.tgz",
    "containers-helm.tar",
    "containers-system.tar",
    "debs-jammy.tar",
    "versions/containers_helm_images.json",
    "versions/containers_system_images.json",
];

/// Lists of images, and the archive and directory that must have them.
const LISTS: [(&str, &str); 2] = [
    (
        "versions/containers_system_images.json",
        "containers-system",
    ),
    ("versions/containers_helm_images.json", "containers-helm"),
];

/// What nodes download from the asset host is named with this in front.
const BINARY: &str = "{{ binaries_url }}/";

/// The check of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseChecked {
    /// The unpacked release.
    pub tree: Input<String>,
    /// How the operator calls it, for messages.
    pub name: String,
    /// Whether a signing key of the package repository that has expired is put up with.
    #[serde(default)]
    pub accept_expired_key: bool,
}

/// What was found, recorded beside the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    checks: u32,
    /// Version of the chart wire-server.
    version: String,
    acmesolver: bool,
    /// When the key of the package repository expires, in Unix milliseconds.
    key_expires_ms: Option<u64>,
    /// Bytes that the asset host gets.
    assets_bytes: u64,
}

impl ReleaseChecked {
    /// Output: version of the chart wire-server.
    pub const VERSION: Out<Self> = Out::new("version");
    /// Output: `yes` if the artifact brings the image that answers ACME challenges, else `no`: then nodes must get it otherwise.
    pub const ACMESOLVER: Out<Self> = Out::new("acmesolver");
    /// Output: options for the one `deb` line of the release's repository: empty, or `[trusted=yes]` while an expired key is
    /// put up with. All other sources of packages stay verified.
    pub const APT_OPTIONS: Out<Self> = Out::new("apt_options");
    /// Output: bytes of the four archives that the asset host gets; it needs twice that while it unpacks them.
    pub const ASSETS_BYTES: Out<Self> = Out::new("assets_bytes");

    fn tree(&self) -> Result<&str, Failure> {
        known(&self.tree, "tree").map(String::as_str)
    }

    fn record(&self) -> Result<String, Failure> {
        Ok(format!("{}.checked.json", self.tree()?))
    }

    fn refuse(&self, why: &str) -> Failure {
        Failure::dirty(format!("release {}: {why}", self.name))
            .hint("get another artifact: set [artifact] hash to another release, or source to a mirror's file, and plan again")
    }

    async fn recorded(&self, sh: Shell<'_>) -> Result<Option<Found>, Failure> {
        let bytes = sh.read(&self.record()?, false).await?;
        let found = bytes.and_then(|bytes| serde_json::from_slice::<Found>(&bytes).ok());
        Ok(found.filter(|found| found.checks == CHECKS))
    }

    /// What the findings mean now.
    fn judge(&self, found: &Found, now_ms: u64) -> Result<Receipt, Failure> {
        let left_ms = found
            .key_expires_ms
            .map(|end_ms| end_ms.saturating_sub(now_ms));
        let expired = left_ms == Some(0);
        if expired && !self.accept_expired_key {
            return Err(Failure::dirty(format!(
                "the signing key of release {}'s package repository expired {}: every apt-get update on the nodes would end with EXPKEYSIG",
                self.name,
                found.key_expires_ms.map(crate::time::date).unwrap_or_default(),
            ))
            .hint("use a release with a renewed key ([artifact] hash), or set [artifact] accept_expired_key = true: this one repository is then trusted without its signature, all others stay verified")
            .code("release.key-expired"));
        }
        let mut note = format!("wire-server {}", found.version);
        if let (Some(end_ms), Some(left_ms)) = (found.key_expires_ms, left_ms)
            && left_ms < WARN_MS
        {
            let day = crate::time::date(end_ms);
            let what = if expired {
                format!("expired {day}, its repository is trusted unsigned")
            } else {
                format!("expires {day}")
            };
            note.push_str("; warning: its package key ");
            note.push_str(&what);
        }
        if !found.acmesolver {
            note += "; brings no acmesolver image";
        }
        Ok(Receipt::note(note)
            .with("version", found.version.as_str())
            .with("acmesolver", if found.acmesolver { "yes" } else { "no" })
            .with("apt_options", if expired { "[trusted=yes]" } else { "" })
            .with("assets_bytes", found.assets_bytes.to_string()))
    }

    async fn text(&self, sh: Shell<'_>, path: &str) -> Result<Option<String>, Failure> {
        let bytes = sh.read(&format!("{}/{path}", self.tree()?), false).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A small file inside one of the release's archives.
    async fn inner(&self, sh: Shell<'_>, archive: &str, path: &str) -> Result<Vec<u8>, Failure> {
        let file = format!("{}/{archive}", self.tree()?);
        for path in [path.to_owned(), format!("./{path}")] {
            let tar = Cmd::new(["tar", "-xOf", &file, "--", &path]).timeout_ms(CHECK_MS);
            let output = sh.run(&tar).await?;
            if output.ok() {
                return Ok(output.stdout);
            }
        }
        Err(self
            .refuse(&format!("{archive} has no {path}"))
            .code("release.incomplete"))
    }

    fn complete(&self, files: &BTreeMap<String, u64>) -> Result<(), Failure> {
        let optional = |chart: &Chart| matches!(chart, Chart::SmallstepAccomp | Chart::DemoSmtp);
        let mut wanted: Vec<String> = NEEDED.map(str::to_owned).to_vec();
        wanted.push(inventory::TEMPLATE.to_owned());
        for chart in Chart::ALL.iter().filter(|chart| !optional(chart)) {
            wanted.extend([chart.description(), chart.template()]);
        }
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|path| !files.contains_key(*path))
            .map(String::as_str)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(self
            .refuse(&format!("its artifact has no {}", some(&missing)))
            .code("release.incomplete"))
    }

    async fn detect(&self, sh: Shell<'_>) -> Result<Release, Failure> {
        let mut tree = Tree::default();
        for path in Tree::wanted() {
            if let Some(text) = self.text(sh, &path).await? {
                tree.files.insert(path, text);
            }
        }
        Release::detect(&tree, &self.name).map_err(|error| {
            Failure::dirty(format!(
                "this release has a shape that wiab does not know: {error}"
            ))
            .hint("use a release that this wiab knows, or a newer wiab; nothing was installed")
            .code("release.unknown-shape")
        })
    }

    /// Every listed image must be in its archive. Answers the files of the archives.
    async fn images(&self, sh: Shell<'_>) -> Result<BTreeSet<String>, Failure> {
        let (mut all, mut missing) = (BTreeSet::new(), Vec::new());
        for (list, dir) in LISTS {
            let text = self.text(sh, list).await?.unwrap_or_default();
            let listed: Vec<BTreeMap<String, String>> =
                serde_json::from_str(&text).map_err(|error| {
                    self.refuse(&format!("{list} has an unknown shape: {error}"))
                        .code("release.unknown-shape")
                })?;
            let index = self
                .inner(sh, &format!("{dir}.tar"), &format!("{dir}/index.txt"))
                .await?;
            let index = String::from_utf8_lossy(&index);
            let have: BTreeSet<String> = index.lines().map(|line| plain(line.trim())).collect();
            for (name, tag) in listed.iter().flatten() {
                if !have.contains(&plain(&format!("{name}:{tag}.tar"))) {
                    missing.push(format!("{name}:{tag} ({dir}.tar)"));
                }
            }
            all.extend(have);
        }
        if missing.is_empty() {
            return Ok(all);
        }
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        Err(self
            .refuse(&format!("images are missing: {}; pods that need them would end in ImagePullBackOff, for nodes have no registry", some(&names)))
            .code("release.images-missing"))
    }

    /// What the playbooks download from the asset host must be there.
    async fn binaries(&self, sh: Shell<'_>, files: &BTreeMap<String, u64>) -> Result<(), Failure> {
        let tar = format!("{}/binaries.tar", self.tree()?);
        let list = Cmd::new(["tar", "-tf", &tar]).timeout_ms(CHECK_MS);
        let listed = sh.ok(&list).await?.text();
        let have: BTreeSet<&str> = listed
            .lines()
            .filter_map(|path| path.rsplit('/').next())
            .collect();
        let mut missing = Vec::new();
        let vars = files.keys().filter(|path| {
            path.starts_with("ansible/inventory/offline/group_vars/")
                && !path.contains("/demo/")
                && path
                    .rsplit_once('.')
                    .is_some_and(|(_, ext)| matches!(ext, "yml" | "yaml"))
        });
        for path in vars {
            let text = self.text(sh, path).await?.unwrap_or_default();
            missing.extend(
                wanted_binaries(&text)
                    .filter(|name| !have.contains(name))
                    .map(str::to_owned),
            );
        }
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        Err(self
            .refuse(&format!(
                "binaries.tar has no {}: it was built after they had vanished from where they came",
                some(&names)
            ))
            .code("release.binaries-missing"))
    }

    /// When the key of the package repository expires.
    async fn key(&self, sh: Shell<'_>) -> Result<End, Failure> {
        let key = self
            .inner(sh, "debs-jammy.tar", "debs-jammy/public/gpg")
            .await?;
        // No home directory and no keyring: a look that leaves nothing.
        let gpg = Cmd::new([
            "gpg",
            "--batch",
            "--no-options",
            "--homedir",
            "/dev/null",
            "--no-keyring",
            "--trust-model",
            "always",
            "--show-keys",
            "--with-colons",
        ]);
        let output = sh.ok(&gpg.stdin(key)).await?;
        key_end(&output.text()).ok_or_else(|| {
            self.refuse("the key of its package repository cannot be read")
                .code("release.unknown-shape")
        })
    }
}

/// When a key ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Unix time in milliseconds.
    At(u64),
    Never,
}

/// The end of the key that lives longest; `None` without a key.
fn key_end(colons: &str) -> Option<End> {
    let keys = colons.lines().filter(|line| line.starts_with("pub:"));
    let ends = keys.map(|line| {
        let end = line
            .split(':')
            .nth(6)
            .and_then(|text| text.parse::<u64>().ok());
        end.map_or(End::Never, |end_s| End::At(end_s.saturating_mul(1_000)))
    });
    ends.max()
}

/// The names that a file of variables puts behind the address of the binaries, those without further variables.
fn wanted_binaries(text: &str) -> impl Iterator<Item = &str> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    code.filter_map(|line| line.split_once(BINARY))
        .filter_map(|(_, rest)| rest.split(['"', '\'', ' ']).next())
        .filter(|name| !name.is_empty() && !name.contains('{'))
}

/// How archives of images are named, whatever separates an image's parts.
fn plain(text: &str) -> String {
    text.replace(['/', ':', '@'], "_")
}

impl Kind for ReleaseChecked {
    const NAME: &'static str = "release.checked/1";
    const ABOUT: About = About {
        purpose: "A release that cannot be installed is found out now, not an hour into the installation.",
        probe: "Reads the record of an earlier check, and holds the key's expiry against the clock.",
        effect: "Looks for every file that an installation needs, recognises the release, reads the expiry of its package key, holds lists of images and binaries against the archives, and records the findings.",
        undo: "Removes the record.",
    };

    fn summary(&self) -> String {
        format!("check release {}", self.name)
    }

    fn undo_summary(&self) -> String {
        "forget the findings".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            timeout_ms: 4 * CHECK_MS,
            usual_ms: 15_000,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ReleaseChecked {
    /// Whether there was a record.
    type Image = bool;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Some(found) = self.recorded(sh).await? else {
            return Ok(Probe::Absent);
        };
        if !exists(sh, self.tree()?).await? {
            return Ok(Probe::Absent);
        }
        Ok(match self.judge(&found, sh.cx.clock.wall_ms()) {
            Ok(receipt) => Probe::Satisfied(receipt),
            Err(failure) => Probe::Partial { what: failure.why },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        exists(sh, &self.record()?).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &bool) -> Result<Receipt, Failure> {
        let files = members(sh, self.tree()?).await?;
        self.complete(&files)?;
        let release = self.detect(sh).await?;
        let key_expires_ms = match self.key(sh).await? {
            End::At(end_ms) => Some(end_ms),
            End::Never => None,
        };
        let images = self.images(sh).await?;
        self.binaries(sh, &files).await?;
        let assets = [
            "binaries.tar",
            "containers-helm.tar",
            "containers-system.tar",
            "debs-jammy.tar",
        ];
        let found = Found {
            checks: CHECKS,
            version: release.wire_server.unwrap_or_default(),
            acmesolver: images.iter().any(|image| image.contains("acmesolver")),
            key_expires_ms,
            assets_bytes: assets.iter().filter_map(|path| files.get(*path)).sum(),
        };
        let receipt = self.judge(&found, sh.cx.clock.wall_ms())?;
        let text = serde_json::to_vec(&found)
            .map_err(|error| Failure::dirty(format!("the findings cannot be written: {error}")))?;
        sh.write(&self.record()?, &text, &Meta::user(0o644)).await?;
        Ok(receipt)
    }

    async fn undo(&self, sh: Shell<'_>, was_there: &bool) -> Result<(), Failure> {
        if !was_there {
            sh.remove(&self.record()?, false).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_lives_longest_counts() {
        let key = |end: &str| {
            format!("pub:-:4096:1:AB:100:{end}::-:::scSC::::::23::0:\nuid:-::::1::x::y:\n")
        };
        assert_eq!(key_end(&(key("200") + &key("300"))), Some(End::At(300_000)));
        assert_eq!(key_end(&(key("200") + &key(""))), Some(End::Never));
        assert_eq!(key_end("gpg: nothing\n"), None);
    }

    #[test]
    fn names_of_binaries_are_read_from_variables() {
        let text = "a: \"{{ binaries_url }}/kubeadm\"\n# b: \"{{ binaries_url }}/gone\"\nc: \"{{ binaries_url }}/x-{{ v }}.tgz\"\n  url: {{ binaries_url }}/p_1+2.deb\n";
        assert_eq!(
            wanted_binaries(text).collect::<Vec<_>>(),
            ["kubeadm", "p_1+2.deb"]
        );
    }
}
