//! What is inside the virtual machines: files, packages, units, services. It starts as the cloud image has it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entity::{File, Inside, KubeApi, KubeObject, Seed};
use super::state::{Draft, Machine};

/// What a VM counts for the tests; no part of its state.
pub(crate) const LOG: &str = "log/";

/// What every node of the cluster has.
pub(crate) const KUBELET: &str = "/file//etc/kubernetes/kubelet.conf";

/// A file or directory inside a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    Dir,
    Text(String),
    /// The cloud image has it, this VM does not.
    Gone,
}

/// A unit inside a VM. One without `[Install]` cannot be enabled, only wanted by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestUnit {
    pub(crate) active: bool,
    pub(crate) enabled: bool,
    #[serde(rename = "static", default)]
    pub(crate) fixed: bool,
}

impl GuestUnit {
    /// A service that runs and comes back.
    pub(crate) const ON: Self = Self {
        active: true,
        enabled: true,
        fixed: false,
    };
}

const SOURCES: &str = "deb http://archive.ubuntu.com/ubuntu jammy main restricted universe\n";
/// A key that the cloud image trusts.
const UBUNTU_KEY: &str = "/etc/apt/trusted.gpg.d/ubuntu-keyring-2018-archive.gpg";
const DIRS: [&str; 25] = [
    "/",
    "/etc",
    "/etc/apt",
    "/etc/apt/sources.list.d",
    "/etc/apt/trusted.gpg.d",
    "/etc/default",
    "/etc/systemd",
    "/etc/ssl",
    "/etc/sudoers.d",
    "/etc/systemd/system",
    "/etc/systemd/system/multi-user.target.wants",
    "/home",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/tmp",
    "/usr/local/bin",
    "/var",
    "/var/backups",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/spool/cron/crontabs",
    "/var/tmp",
];
const PACKAGES: [&str; 7] = [
    "curl",
    "gpg",
    "openssh-server",
    "python3",
    "systemd-timesyncd",
    "tar",
    "zstd",
];
const UNITS: [&str; 4] = ["cron", "ssh", "systemd-resolved", "systemd-timesyncd"];

fn base_file(vm: &str, path: &str) -> Option<Entry> {
    if DIRS.contains(&path) {
        return Some(Entry::Dir);
    }
    let text = match path {
        "/etc/apt/sources.list" => SOURCES.to_owned(),
        UBUNTU_KEY => {
            let mark = super::cmd::gpg::MARK;
            format!("{mark}F6ECB3762474EDA9D21B7022871920D1991BC93C 1537228800 0\n")
        }
        "/etc/hostname" => format!("{vm}\n"),
        "/etc/fstab" => "LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1\n".to_owned(),
        "/etc/hosts" => format!("127.0.1.1 {vm}.local {vm}\n127.0.0.1 localhost\n"),
        "/etc/sysctl.conf" => "# see /etc/sysctl.d/\n".to_owned(),
        _ => return None,
    };
    Some(Entry::Text(text))
}

const BASE_FILES: [&str; 6] = [
    "/etc/apt/sources.list",
    UBUNTU_KEY,
    "/etc/fstab",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/sysctl.conf",
];

fn key(vm: &str, what: &str) -> String {
    format!("{vm}/{what}")
}

/// Something of a VM.
pub(crate) fn get(draft: &Draft<'_>, vm: &str, what: &str) -> Option<Value> {
    draft
        .get::<Inside>(&key(vm, what))
        .map(|inside| inside.value)
}

/// Whether a VM has it.
pub(crate) fn has(draft: &Draft<'_>, vm: &str, what: &str) -> bool {
    draft.has::<Inside>(&key(vm, what))
}

/// Gives a VM something.
pub(crate) fn put(draft: &mut Draft<'_>, vm: &str, what: &str, value: Value) {
    draft.put(&key(vm, what), &Inside { value });
}

/// Takes something from a VM.
pub(crate) fn del(draft: &mut Draft<'_>, vm: &str, what: &str) {
    draft.del::<Inside>(&key(vm, what));
}

/// What a VM has whose name starts with `prefix`, as the rests of the names.
pub(crate) fn under(draft: &Draft<'_>, vm: &str, prefix: &str) -> Vec<String> {
    let start = key(vm, prefix);
    let names = draft.names::<Inside>(&start);
    let rests = names.iter().filter_map(|name| name.strip_prefix(&start));
    rests.map(str::to_owned).collect()
}

/// Counts one more of something that ought to happen once.
pub(crate) fn count(draft: &mut Draft<'_>, vm: &str, what: &str) {
    let what = format!("{LOG}{what}");
    let before = get(draft, vm, &what).and_then(|value| value.as_u64());
    put(draft, vm, &what, json!(before.unwrap_or(0) + 1));
}

/// The entry at an absolute path.
pub(crate) fn file(draft: &Draft<'_>, vm: &str, path: &str) -> Option<Entry> {
    let own = get(draft, vm, &format!("file/{path}"));
    let own = own.and_then(|value| Entry::deserialize(value).ok());
    own.or_else(|| base_file(vm, path))
        .filter(|entry| *entry != Entry::Gone)
}

/// The text of a file.
pub(crate) fn text(draft: &Draft<'_>, vm: &str, path: &str) -> Option<String> {
    match file(draft, vm, path)? {
        Entry::Text(text) => Some(text),
        Entry::Dir | Entry::Gone => None,
    }
}

/// Sets a file or directory, and the directories on the way to it.
pub(crate) fn put_file(draft: &mut Draft<'_>, vm: &str, path: &str, entry: &Entry) {
    if let Some((parent, _)) = path.rsplit_once('/')
        && !parent.is_empty()
        && file(draft, vm, parent).is_none()
    {
        put_file(draft, vm, parent, &Entry::Dir);
    }
    set(draft, vm, path, entry);
}

fn set(draft: &mut Draft<'_>, vm: &str, path: &str, entry: &Entry) {
    let what = format!("file/{path}");
    let base = base_file(vm, path);
    if base.as_ref() == Some(entry) || (base.is_none() && *entry == Entry::Gone) {
        del(draft, vm, &what);
    } else {
        put(draft, vm, &what, json!(entry));
    }
}

/// Sets a text file.
pub(crate) fn write(draft: &mut Draft<'_>, vm: &str, path: &str, text: &str) {
    put_file(draft, vm, path, &Entry::Text(text.to_owned()));
}

/// Paths of everything below a directory.
pub(crate) fn below(draft: &Draft<'_>, vm: &str, dir: &str) -> Vec<String> {
    let prefix = format!("{}/", dir.trim_end_matches('/'));
    let own = under(draft, vm, &format!("file/{prefix}"));
    let mut paths: Vec<String> = own.iter().map(|rest| format!("{prefix}{rest}")).collect();
    let base = BASE_FILES.iter().chain(&DIRS);
    paths.extend(
        base.filter(|path| path.starts_with(&prefix) && **path != prefix)
            .map(|path| (*path).to_owned()),
    );
    paths.sort();
    paths.dedup();
    paths.retain(|path| file(draft, vm, path).is_some());
    paths
}

/// Removes a file, or a directory with everything below it. A unit goes with its file.
pub(crate) fn remove(draft: &mut Draft<'_>, vm: &str, path: &str) {
    for inner in below(draft, vm, path) {
        set(draft, vm, &inner, &Entry::Gone);
    }
    set(draft, vm, path, &Entry::Gone);
    let unit = path.strip_prefix("/etc/systemd/system/");
    if let Some(unit) = unit.filter(|unit| !unit.contains('/')) {
        let name = unit.trim_end_matches(".service");
        for instance in under(draft, vm, "unit/") {
            let template = name
                .strip_suffix('@')
                .is_some_and(|start| instance.starts_with(&format!("{start}@")));
            if instance == name || template {
                put_unit(draft, vm, &instance, None);
            }
        }
    }
}

/// A unit of a VM, without `.service`.
pub(crate) fn unit(draft: &Draft<'_>, vm: &str, name: &str) -> Option<GuestUnit> {
    let own = get(draft, vm, &format!("unit/{name}"));
    match own {
        Some(Value::Null) => None,
        Some(value) => GuestUnit::deserialize(value).ok(),
        None => UNITS.contains(&name).then_some(GuestUnit::ON),
    }
}

/// Sets a unit of a VM, or removes it.
pub(crate) fn put_unit(draft: &mut Draft<'_>, vm: &str, name: &str, unit: Option<GuestUnit>) {
    let what = format!("unit/{name}");
    let base = UNITS.contains(&name).then_some(GuestUnit::ON);
    if base == unit {
        del(draft, vm, &what);
    } else {
        put(draft, vm, &what, json!(unit));
    }
}

/// Whether a unit runs.
pub(crate) fn runs(draft: &Draft<'_>, vm: &str, name: &str) -> bool {
    unit(draft, vm, name).is_some_and(|unit| unit.active)
}

/// Whether a package is installed in a VM.
pub(crate) fn package(draft: &Draft<'_>, vm: &str, name: &str) -> bool {
    match get(draft, vm, &format!("package/{name}")) {
        Some(value) => value == json!("installed"),
        None => PACKAGES.contains(&name),
    }
}

/// Installs or removes a package.
pub(crate) fn put_package(draft: &mut Draft<'_>, vm: &str, name: &str, installed: bool) {
    let what = format!("package/{name}");
    if PACKAGES.contains(&name) == installed {
        del(draft, vm, &what);
    } else {
        let status = if installed { "installed" } else { "removed" };
        put(draft, vm, &what, json!(status));
    }
}

/// What a VM's restart does: units without `[Install]` stay down, and cloud-init may write `/etc/hosts` anew.
pub(crate) fn boot(draft: &mut Draft<'_>, vm: &str, seed: Option<&Seed>) {
    for name in under(draft, vm, "unit/") {
        if let Some(mut old) = unit(draft, vm, &name) {
            old.active = old.enabled;
            put_unit(draft, vm, &name, Some(old));
        }
    }
    let resets = seed.is_some_and(|seed| {
        let mut lines = seed.user.lines().map(str::trim);
        lines.any(|line| line == "manage_etc_hosts: true")
    });
    if resets {
        del(draft, vm, "file//etc/hosts");
    }
}

/// A disk image is deleted: everything inside its VM goes, and with the last node of the cluster the cluster.
pub(crate) fn forget_disk(draft: &mut Draft<'_>, path: &str, disk: &File) {
    if disk.image.is_none() {
        return;
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let vm = name.split('.').next().unwrap_or_default();
    let all = draft.names::<Inside>(&format!("{vm}/"));
    if all.is_empty() {
        return;
    }
    for name in all {
        draft.del::<Inside>(&name);
    }
    let nodes = draft.names::<Inside>("");
    if nodes.iter().any(|name| name.ends_with(KUBELET)) {
        return;
    }
    draft.del::<KubeApi>("");
    for name in draft.names::<KubeObject>("") {
        draft.del::<KubeObject>(&name);
    }
}

impl Machine {
    /// Something inside a VM, for tests and tools: `datanode1/service/postgresql`.
    pub fn inside(&self, name: &str) -> Option<Value> {
        self.get::<Inside>(name).map(|inside| inside.value)
    }

    /// The same machine with something inside a VM set, or removed.
    #[must_use]
    pub fn with_inside(mut self, name: &str, value: Option<Value>) -> Self {
        self.edit(|draft| match value {
            Some(value) => draft.put(name, &Inside { value }),
            None => draft.del::<Inside>(name),
        });
        self
    }
}
