//! The packages that the simulated archive offers, and what comes with them.

/// What a package brings besides its programs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) depends: &'static [&'static str],
    /// Unit, started, enabled.
    pub(crate) units: &'static [(&'static str, bool, bool)],
    /// Group, gid.
    pub(crate) groups: &'static [(&'static str, u32)],
    /// User, uid, group.
    pub(crate) users: &'static [(&'static str, u32, &'static str)],
}

const fn entry(name: &'static str, depends: &'static [&'static str]) -> Entry {
    Entry {
        name,
        depends,
        units: &[],
        groups: &[],
        users: &[],
    }
}

const SPECIAL: &[Entry] = &[
    Entry {
        name: "libvirt-daemon-system",
        depends: &[
            "libvirt-daemon",
            "libvirt-clients",
            "dnsmasq-base",
            "iptables",
        ],
        units: &[("libvirtd", true, true), ("virtlogd", true, true)],
        groups: &[("libvirt", 119), ("libvirt-qemu", 64055)],
        users: &[("libvirt-qemu", 64055, "kvm")],
    },
    Entry {
        name: "docker.io",
        depends: &["containerd", "runc", "iptables"],
        units: &[("docker", true, true), ("containerd", true, true)],
        groups: &[("docker", 121)],
        users: &[],
    },
    Entry {
        name: "dnsmasq",
        depends: &["dnsmasq-base"],
        units: &[("dnsmasq", true, true)],
        groups: &[],
        users: &[],
    },
    Entry {
        name: "rsyslog",
        depends: &[],
        units: &[("rsyslog", true, true)],
        groups: &[],
        users: &[],
    },
    Entry {
        name: "nftables",
        depends: &["libnftables1"],
        units: &[("nftables", false, false)],
        groups: &[],
        users: &[],
    },
    entry("libvirt-clients", &["libvirt0"]),
    entry(
        "libvirt-daemon",
        &["libvirt0", "libvirt-daemon-driver-qemu"],
    ),
    entry(
        "qemu-system-x86",
        &["qemu-system-common", "seabios", "ipxe-qemu"],
    ),
    entry("qemu-kvm", &["qemu-system-x86"]),
    entry("qemu-utils", &["qemu-block-extra"]),
    entry("virtinst", &["python3-libvirt", "libosinfo-bin"]),
    entry("cloud-image-utils", &["genisoimage", "qemu-utils"]),
    entry("dnsutils", &["bind9-dnsutils"]),
    entry("telnet", &["inetutils-telnet"]),
];

const PLAIN: &[&str] = &[
    "acl",
    "apt-transport-https",
    "aptitude",
    "bind9-dnsutils",
    "bind9-host",
    "bridge-utils",
    "ca-certificates",
    "conntrack",
    "containerd",
    "cpu-checker",
    "curl",
    "debian-goodies",
    "dnsmasq-base",
    "genisoimage",
    "git",
    "gnupg",
    "inetutils-telnet",
    "ipxe-qemu",
    "iptables",
    "jq",
    "less",
    "libnftables1",
    "libosinfo-bin",
    "libvirt-daemon-driver-qemu",
    "libvirt0",
    "lsof",
    "ncat",
    "net-tools",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "python3-libvirt",
    "python3-lxml",
    "qemu-block-extra",
    "qemu-system-common",
    "rsync",
    "runc",
    "seabios",
    "socat",
    "sudo",
    "tar",
    "tree",
    "ufw",
    "unzip",
    "util-linux",
    "vim",
    "wget",
    "whois",
    "xorriso",
    "zstd",
];

/// What a fresh server has.
pub(crate) const PREINSTALLED: &[&str] = &[
    "apt-transport-https",
    "bind9-dnsutils",
    "bind9-host",
    "ca-certificates",
    "curl",
    "git",
    "gnupg",
    "iptables",
    "less",
    "libnftables1",
    "lsof",
    "nftables",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "rsync",
    "rsyslog",
    "sudo",
    "tar",
    "util-linux",
    "vim",
    "wget",
];

/// The package of that name.
pub(crate) fn find(name: &str) -> Option<Entry> {
    let special = SPECIAL.iter().find(|entry| entry.name == name).copied();
    let plain = || PLAIN.iter().find(|plain| **plain == name);
    special.or_else(|| plain().map(|name| entry(name, &[])))
}
