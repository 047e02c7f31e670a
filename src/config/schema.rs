//! Every configuration key: type, default, meaning, example. Validation, `config show`, `init` and the test of
//! `docs/configuration.md` all read this table.

use crate::config::value::Kind;

/// One key.
#[derive(Debug, PartialEq)]
pub(crate) struct Key {
    /// The dotted path: `vms.scale`. `*` stands for a name.
    pub(crate) path: &'static str,
    /// What it accepts.
    pub(crate) kind: Kind,
    /// The default, as on the command line; `None` means that it is not set.
    pub(crate) default: Option<&'static str>,
    /// An example, as on the command line.
    pub(crate) sample: &'static str,
    /// One line of meaning.
    pub(crate) about: &'static str,
    /// Its path in `plans::Settings`; empty if it is about wiab itself.
    pub(crate) setting: &'static str,
}

impl Key {
    /// The name without its section.
    pub(crate) fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The section; empty for top-level keys.
    pub(crate) fn section(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// Whether the path holds a name that the operator chooses.
    pub(crate) fn is_family(&self) -> bool {
        self.path.contains('*')
    }

    /// The environment variable that sets it; families have none.
    pub(crate) fn variable(&self) -> Option<String> {
        let name = self.path.replace(['.', '-'], "_").to_ascii_uppercase();
        (!self.is_family()).then(|| format!("WIAB_{name}"))
    }

    /// An example value in TOML.
    pub(crate) fn example(&self) -> String {
        self.kind
            .of_text(self.sample)
            .map_or_else(String::new, |value| value.to_string())
    }

    /// The path in `plans::Settings` of a concrete path of this key.
    pub(crate) fn setting_of(&self, path: &str) -> String {
        let name = path.split('.').nth(2).unwrap_or_default();
        self.setting.replace('*', name)
    }
}

/// Whether `path` is, or lies above, what `pattern` means.
fn matches(pattern: &str, path: &str, whole: bool) -> bool {
    let mut left = pattern.split('.');
    for part in path.split('.') {
        match left.next() {
            Some(want) if want == "*" || want == part => {}
            _ => return false,
        }
    }
    left.next().is_none() == whole
}

/// The key of that path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| matches(key.path, path, true))
}

/// Whether keys live below this path.
pub(crate) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| matches(key.path, path, false))
}

/// All sections, each once.
pub(crate) fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    KEYS.iter().filter_map(move |key| {
        let section = key.section();
        let new = section != last && !section.is_empty();
        last = section;
        new.then_some(section)
    })
}

/// The keys of a section, for an error text.
pub(crate) fn names_in(section: &str) -> String {
    let mut names: Vec<String> = KEYS
        .iter()
        .filter(|key| match section {
            "" => key.section().is_empty(),
            _ => is_section(section) && matches(key.section(), section, true),
        })
        .map(|key| format!("`{}`", key.leaf()))
        .collect();
    if section.is_empty() {
        names.extend(sections().map(|name| format!("[{}]", name.replace('*', "NAME"))));
        names.push("[[step]]".to_owned());
    }
    names.join(", ")
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    sample: &'static str,
    about: &'static str,
    setting: &'static str,
) -> Key {
    Key {
        path,
        kind,
        default,
        sample,
        about,
        setting,
    }
}

/// All keys, by section.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key(
        "name", Kind::Name, Some("wiab"), "wiab",
        "the installation's name: marks what belongs to it on the host, and names its journal",
        "name",
    ),
    key(
        "host", Kind::Choice(&["local", "sim"]), Some("local"), "sim",
        "the machine to act on: this one, or a simulated one",
        "",
    ),
    key(
        "plan", Kind::Choice(&["wiab-staging", "steps"]), Some("wiab-staging"), "wiab-staging",
        "the installation and the [[step]]s, or the [[step]]s alone",
        "plan",
    ),
    key(
        "user", Kind::Text, Some("demo"), "demo",
        "the user that owns the deploy directory and logs in to the VMs",
        "user",
    ),
    key(
        "deploy_dir", Kind::Text, None, "/home/demo/wire-server-deploy",
        "the deploy directory; without it, wire-server-deploy in the user's home",
        "deploy_dir",
    ),
    key(
        "groups", Kind::List, Some("kvm,libvirt"), "kvm,libvirt",
        "groups that the user becomes a member of",
        "host.groups",
    ),
    key(
        "run.width", Kind::Integer(1, 256), Some("8"), "8",
        "most steps in flight at once",
        "",
    ),
    key(
        "run.on_failure", Kind::Choice(&["keep", "rollback"]), Some("keep"), "keep",
        "what a step's final failure leads to",
        "",
    ),
    key(
        "run.fail_fast", Kind::Bool, Some("false"), "false",
        "whether the first failure stops independent branches, too",
        "",
    ),
    key(
        "sim.speed", Kind::Speed, Some("10"), "10",
        "how much faster than real the simulated machine's time passes, or \"max\"",
        "",
    ),
    key(
        "packages.install", Kind::Bool, Some("true"), "true",
        "whether missing host packages are installed",
        "host.install_packages",
    ),
    key(
        "packages.extra", Kind::List, Some(""), "htop,tmux",
        "packages besides those that wiab needs",
        "host.extra_packages",
    ),
    key(
        "packages.keep", Kind::Bool, Some("false"), "false",
        "whether a rollback leaves the packages",
        "host.keep_packages",
    ),
    key(
        "network.name", Kind::Text, Some("wirebox"), "wirebox",
        "name of the VMs' network in libvirt",
        "network.name",
    ),
    key(
        "network.bridge", Kind::Text, Some("virbr0"), "virbr0",
        "its bridge",
        "network.bridge",
    ),
    key(
        "network.address", Kind::Text, Some("192.168.122.1"), "192.168.122.1",
        "the host's address on it",
        "network.address",
    ),
    key(
        "network.prefix", Kind::Integer(8, 30), Some("24"), "24",
        "length of the network prefix in bits",
        "network.prefix",
    ),
    key(
        "network.range_start", Kind::Text, Some("192.168.122.100"), "192.168.122.100",
        "first address handed out dynamically",
        "network.range_start",
    ),
    key(
        "network.range_end", Kind::Text, Some("192.168.122.240"), "192.168.122.240",
        "last address handed out dynamically",
        "network.range_end",
    ),
    key(
        "network.remove_default", Kind::Bool, Some("true"), "true",
        "whether libvirt's network `default` is removed first",
        "network.remove_default",
    ),
    key(
        "network.domain", Kind::Text, Some("wiab.internal"), "wiab.internal",
        "domain of the VMs' names",
        "network.domain",
    ),
    key(
        "vms.scale", Kind::Integer(1, 100), Some("100"), "25",
        "percentage of the usual processors, memory and disks",
        "vms.scale",
    ),
    key(
        "vms.only", Kind::List, Some(""), "assethost",
        "only these VMs; an empty list means all seven",
        "vms.only",
    ),
    key(
        "vms.virt_type", Kind::Choice(&["kvm", "qemu"]), Some("kvm"), "qemu",
        "hardware support, or emulation for hosts without KVM",
        "vms.virt_type",
    ),
    key(
        "vms.tb_cache_mib", Kind::Integer(1, 4_096), None, "64",
        "size of the emulator's code cache per VM in MiB, for qemu only",
        "vms.tb_cache_mib",
    ),
    key(
        "vms.pool", Kind::Text, Some("/var/lib/libvirt/images"), "/var/lib/libvirt/images",
        "directory of disk images",
        "vms.pool",
    ),
    key(
        "vms.ready_timeout_s", Kind::Integer(1, 86_400), Some("600"), "600",
        "how long a VM may take to become ready, in seconds",
        "vms.ready_timeout_s",
    ),
    key(
        "vms.shutdown_timeout_s", Kind::Integer(1, 86_400), Some("60"), "60",
        "how long a VM may take to shut down, in seconds",
        "vms.shutdown_timeout_s",
    ),
    key(
        "vms.machines.*.vcpus", Kind::Integer(1, 512), None, "4",
        "processors of one VM; not scaled",
        "vms.machines.*.vcpus",
    ),
    key(
        "vms.machines.*.memory_mib", Kind::Integer(64, 16_777_216), None, "8192",
        "memory of one VM in MiB; not scaled",
        "vms.machines.*.memory_mib",
    ),
    key(
        "vms.machines.*.disk_gib", Kind::Integer(1, 65_536), None, "100",
        "disk of one VM in GiB; not scaled",
        "vms.machines.*.disk_gib",
    ),
    key(
        "vms.machines.*.ip", Kind::Text, None, "192.168.122.50",
        "IPv4 address of one VM",
        "vms.machines.*.ip",
    ),
    key(
        "vms.machines.*.mac", Kind::Text, None, "52:54:00:57:00:50",
        "MAC address of one VM",
        "vms.machines.*.mac",
    ),
    key(
        "image.source", Kind::Text, Some("https://cloud-images.ubuntu.com/jammy/current/jammy-server-cloudimg-amd64.img"), "/srv/images/jammy.img",
        "the base image: an absolute path on the host, or an https:// URL",
        "image.source",
    ),
    key(
        "image.sha256", Kind::Text, None, "0000000000000000000000000000000000000000000000000000000000000000",
        "its SHA-256; without it, that of the first download is kept",
        "image.sha256",
    ),
    key(
        "hairpin.policy", Kind::Choice(&["add", "remove", "off"]), Some("add"), "add",
        "source NAT for VMs that call the public address: add the rule, remove every such rule, or do not look",
        "hairpin.policy",
    ),
];
