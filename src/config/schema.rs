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

/// All keys, by section.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    Key {
        path: "name", kind: Kind::Name, default: Some("wiab"), sample: "wiab",
        about: "the installation's name: marks what belongs to it on the host, and names its journal",
        setting: "name",
    },
    Key {
        path: "host", kind: Kind::Host, default: Some("local"), sample: "ssh://op@box.example.org",
        about: "the machine to act on: this one, a simulated one, or one over SSH",
        setting: "",
    },
    Key {
        path: "plan", kind: Kind::Choice(&["wiab-staging", "traffic", "certificates", "steps"]), default: Some("wiab-staging"), sample: "wiab-staging",
        about: "the installation and the [[step]]s, a part of it, or the [[step]]s alone",
        setting: "plan",
    },
    Key {
        path: "domain", kind: Kind::Text, default: None, sample: "wire.example.org",
        about: "the domain of the installation; required, on host sim staging.example.org",
        setting: "domain",
    },
    Key {
        path: "cert_email", kind: Kind::Text, default: None, sample: "admin@wire.example.org",
        about: "mail address for the certificate authority; required, on host sim admin@staging.example.org",
        setting: "cert_email",
    },
    Key {
        path: "host_ip", kind: Kind::Text, default: None, sample: "203.0.113.10",
        about: "IPv4 address that the names of the domain point to; required, on host sim 203.0.113.10",
        setting: "host_ip",
    },
    Key {
        path: "user", kind: Kind::Text, default: Some("demo"), sample: "demo",
        about: "the user that owns the deploy directory and logs in to the VMs",
        setting: "user",
    },
    Key {
        path: "deploy_dir", kind: Kind::Text, default: None, sample: "/home/demo/wire-server-deploy",
        about: "the deploy directory; without it, wire-server-deploy in the user's home",
        setting: "deploy_dir",
    },
    Key {
        path: "groups", kind: Kind::List, default: Some("kvm,libvirt"), sample: "kvm,libvirt",
        about: "groups that the user becomes a member of",
        setting: "host.groups",
    },
    Key {
        path: "run.width", kind: Kind::Integer(1, 256), default: Some("8"), sample: "8",
        about: "most steps in flight at once",
        setting: "",
    },
    Key {
        path: "run.on_failure", kind: Kind::Choice(&["keep", "rollback"]), default: Some("keep"), sample: "keep",
        about: "what a step's final failure leads to",
        setting: "",
    },
    Key {
        path: "run.fail_fast", kind: Kind::Bool, default: Some("false"), sample: "false",
        about: "whether the first failure stops independent branches, too",
        setting: "",
    },
    Key {
        path: "ssh.address", kind: Kind::Text, default: None, sample: "box.example.org",
        about: "name or IP address of the machine to act on with host ssh",
        setting: "",
    },
    Key {
        path: "ssh.port", kind: Kind::Integer(1, 65_535), default: Some("22"), sample: "2222",
        about: "port of its sshd",
        setting: "",
    },
    Key {
        path: "ssh.user", kind: Kind::Text, default: None, sample: "op",
        about: "the user to log in as, root or with sudo; without it, who runs wiab",
        setting: "",
    },
    Key {
        path: "ssh.keys", kind: Kind::List, default: Some(""), sample: "~/.ssh/wiab_ed25519",
        about: "private key files to log in with; without any, the agent's keys and then ~/.ssh/id_ed25519 and ~/.ssh/id_ecdsa",
        setting: "",
    },
    Key {
        path: "ssh.agent", kind: Kind::Bool, default: Some("true"), sample: "false",
        about: "whether the keys of the agent at SSH_AUTH_SOCK are used",
        setting: "",
    },
    Key {
        path: "ssh.jump", kind: Kind::List, default: Some(""), sample: "op@gate.example.org:22",
        about: "machines to go through, the nearest first",
        setting: "",
    },
    Key {
        path: "ssh.known_hosts", kind: Kind::Text, default: None, sample: "~/.ssh/known_hosts",
        about: "the file of known host keys, to which a new machine's key is added; without it, ~/.ssh/known_hosts",
        setting: "",
    },
    Key {
        path: "ssh.strict", kind: Kind::Bool, default: Some("false"), sample: "true",
        about: "whether a machine whose host key is not known is refused, instead of trusted from then on",
        setting: "",
    },
    Key {
        path: "ssh.sudo_password", kind: Kind::Text, default: Some("none"), sample: "ask",
        about: "where the password for sudo comes from: none (sudo asks for none), ask (on the terminal), env:NAME (a variable) or file:PATH (a private file)",
        setting: "",
    },
    Key {
        path: "ssh.reconnect_s", kind: Kind::Integer(0, 86_400), default: Some("300"), sample: "300",
        about: "how long a lost connection is sought again, in seconds",
        setting: "",
    },
    Key {
        path: "sim.speed", kind: Kind::Speed, default: Some("10"), sample: "10",
        about: "how much faster than real the simulated machine's time passes, or \"max\"",
        setting: "",
    },
    Key {
        path: "sim.trouble", kind: Kind::List, default: Some(""), sample: "dns",
        about: "what is wrong around the simulated machine while this is set, to try what wiab says about it: dns (webapp has no record), ipv6, caa, port80",
        setting: "",
    },
    Key {
        path: "packages.install", kind: Kind::Bool, default: Some("true"), sample: "true",
        about: "whether missing host packages are installed",
        setting: "host.install_packages",
    },
    Key {
        path: "packages.extra", kind: Kind::List, default: Some(""), sample: "htop,tmux",
        about: "packages besides those that wiab needs",
        setting: "host.extra_packages",
    },
    Key {
        path: "packages.keep", kind: Kind::Bool, default: Some("false"), sample: "false",
        about: "whether a rollback leaves the packages",
        setting: "host.keep_packages",
    },
    Key {
        path: "packages.dist_upgrade", kind: Kind::Bool, default: Some("false"), sample: "true",
        about: "whether all packages of the host are upgraded first; refused while VMs run, and there is no way back",
        setting: "host.dist_upgrade",
    },
    Key {
        path: "preflight.skip", kind: Kind::List, default: Some(""), sample: "dns",
        about: "checks that are left out before an installation: os, resources, net, firewall, dns, artifact-url, clock, apt",
        setting: "preflight.skip",
    },
    Key {
        path: "preflight.resolvers", kind: Kind::List, default: Some("1.1.1.1,9.9.9.9"), sample: "1.1.1.1,9.9.9.9",
        about: "public name servers that are asked besides the host's own; an empty list for an installation that is not on the internet",
        setting: "preflight.resolvers",
    },
    Key {
        path: "network.name", kind: Kind::Text, default: Some("wirebox"), sample: "wirebox",
        about: "name of the VMs' network in libvirt",
        setting: "network.name",
    },
    Key {
        path: "network.bridge", kind: Kind::Text, default: Some("virbr0"), sample: "virbr0",
        about: "its bridge",
        setting: "network.bridge",
    },
    Key {
        path: "network.address", kind: Kind::Text, default: Some("192.168.122.1"), sample: "192.168.122.1",
        about: "the host's address on it",
        setting: "network.address",
    },
    Key {
        path: "network.prefix", kind: Kind::Integer(8, 30), default: Some("24"), sample: "24",
        about: "length of the network prefix in bits",
        setting: "network.prefix",
    },
    Key {
        path: "network.range_start", kind: Kind::Text, default: Some("192.168.122.100"), sample: "192.168.122.100",
        about: "first address handed out dynamically",
        setting: "network.range_start",
    },
    Key {
        path: "network.range_end", kind: Kind::Text, default: Some("192.168.122.240"), sample: "192.168.122.240",
        about: "last address handed out dynamically",
        setting: "network.range_end",
    },
    Key {
        path: "network.remove_default", kind: Kind::Bool, default: Some("true"), sample: "true",
        about: "whether libvirt's network `default` is removed first",
        setting: "network.remove_default",
    },
    Key {
        path: "network.domain", kind: Kind::Text, default: Some("wiab.internal"), sample: "wiab.internal",
        about: "domain of the VMs' names",
        setting: "network.domain",
    },
    Key {
        path: "vms.provider", kind: Kind::Choice(&["libvirt", "existing"]), default: Some("libvirt"), sample: "existing",
        about: "whether wiab makes the VMs, or takes those of your own hypervisor, each described in [vms.machines.NAME]",
        setting: "vms.provider",
    },
    Key {
        path: "vms.scale", kind: Kind::Integer(1, 100), default: Some("100"), sample: "25",
        about: "percentage of the usual processors, memory and disks",
        setting: "vms.scale",
    },
    Key {
        path: "vms.only", kind: Kind::List, default: Some(""), sample: "assethost",
        about: "only these VMs; an empty list means all seven",
        setting: "vms.only",
    },
    Key {
        path: "vms.virt_type", kind: Kind::Choice(&["kvm", "qemu"]), default: Some("kvm"), sample: "qemu",
        about: "hardware support, or emulation for hosts without KVM",
        setting: "vms.virt_type",
    },
    Key {
        path: "vms.tb_cache_mib", kind: Kind::Integer(1, 4_096), default: None, sample: "64",
        about: "size of the emulator's code cache per VM in MiB, for qemu only",
        setting: "vms.tb_cache_mib",
    },
    Key {
        path: "vms.pool", kind: Kind::Text, default: Some("/var/lib/libvirt/images"), sample: "/var/lib/libvirt/images",
        about: "directory of disk images",
        setting: "vms.pool",
    },
    Key {
        path: "vms.ready_timeout_s", kind: Kind::Integer(1, 86_400), default: Some("600"), sample: "600",
        about: "how long a VM may take to become ready, in seconds",
        setting: "vms.ready_timeout_s",
    },
    Key {
        path: "vms.shutdown_timeout_s", kind: Kind::Integer(1, 86_400), default: Some("60"), sample: "60",
        about: "how long a VM may take to shut down, in seconds",
        setting: "vms.shutdown_timeout_s",
    },
    Key {
        path: "vms.machines.*.vcpus", kind: Kind::Integer(1, 512), default: None, sample: "4",
        about: "processors of one VM; not scaled",
        setting: "vms.machines.*.vcpus",
    },
    Key {
        path: "vms.machines.*.memory_mib", kind: Kind::Integer(64, 16_777_216), default: None, sample: "8192",
        about: "memory of one VM in MiB; not scaled",
        setting: "vms.machines.*.memory_mib",
    },
    Key {
        path: "vms.machines.*.disk_gib", kind: Kind::Integer(1, 65_536), default: None, sample: "100",
        about: "disk of one VM in GiB; not scaled",
        setting: "vms.machines.*.disk_gib",
    },
    Key {
        path: "vms.machines.*.ip", kind: Kind::Text, default: None, sample: "192.168.122.50",
        about: "IPv4 address of one VM",
        setting: "vms.machines.*.ip",
    },
    Key {
        path: "vms.machines.*.mac", kind: Kind::Text, default: None, sample: "52:54:00:57:00:50",
        about: "MAC address of one VM",
        setting: "vms.machines.*.mac",
    },
    Key {
        path: "vms.machines.*.role", kind: Kind::Choice(&["asset", "kube", "data"]), default: None, sample: "data",
        about: "what an existing VM is for; needed unless its name is assethost, kubenodeN or datanodeN",
        setting: "vms.machines.*.role",
    },
    Key {
        path: "vms.machines.*.user", kind: Kind::Text, default: None, sample: "ubuntu",
        about: "the user to log in to an existing VM as; without it, `user`",
        setting: "vms.machines.*.user",
    },
    Key {
        path: "vms.machines.*.port", kind: Kind::Integer(1, 65_535), default: None, sample: "2222",
        about: "port of ssh on an existing VM; without it, 22",
        setting: "vms.machines.*.port",
    },
    Key {
        path: "vms.machines.*.interface", kind: Kind::Text, default: None, sample: "enp1s0",
        about: "network interface of an existing VM's services; without it, the one with its address",
        setting: "vms.machines.*.interface",
    },
    Key {
        path: "vms.machines.*.host_key", kind: Kind::Text, default: None, sample: "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        about: "host key of an existing VM, `ssh-ed25519 …` or its fingerprint; without it, that of the first connection is kept",
        setting: "vms.machines.*.host_key",
    },
    Key {
        path: "artifact.hash", kind: Kind::Text, default: None, sample: "5b01f250e128db689715558bad6b5e532cf4a7a0",
        about: "hash of the release; without it and source, 5b01f250e128db689715558bad6b5e532cf4a7a0 (5.32)",
        setting: "artifact.hash",
    },
    Key {
        path: "artifact.source", kind: Kind::Text, default: None, sample: "/srv/images/wire.tgz",
        about: "instead of a hash: an absolute path on the host, or an https:// URL",
        setting: "artifact.source",
    },
    Key {
        path: "artifact.sha256", kind: Kind::Text, default: None, sample: "0000000000000000000000000000000000000000000000000000000000000000",
        about: "its SHA-256; without it, that of the first use is kept",
        setting: "artifact.sha256",
    },
    Key {
        path: "artifact.accept_expired_key", kind: Kind::Bool, default: Some("false"), sample: "false",
        about: "whether a release whose package repository is signed with an expired key is used: that one repository is then trusted unsigned, by `[trusted=yes]` in its line on the VMs",
        setting: "artifact.accept_expired_key",
    },
    Key {
        path: "artifact.keep_download", kind: Kind::Bool, default: Some("false"), sample: "false",
        about: "whether a rollback leaves the finished download",
        setting: "artifact.keep_download",
    },
    Key {
        path: "image.source", kind: Kind::Text, default: Some("https://cloud-images.ubuntu.com/jammy/current/jammy-server-cloudimg-amd64.img"), sample: "/srv/images/jammy.img",
        about: "the base image: an absolute path on the host, or an https:// URL",
        setting: "image.source",
    },
    Key {
        path: "image.sha256", kind: Kind::Text, default: None, sample: "0000000000000000000000000000000000000000000000000000000000000000",
        about: "its SHA-256; without it, what SHA256SUMS beside the URL says, else that of the first download is kept",
        setting: "image.sha256",
    },
    Key {
        path: "charts.skip", kind: Kind::List, default: Some(""), sample: "reaper",
        about: "charts that are left out",
        setting: "charts.skip",
    },
    Key {
        path: "charts.smtp", kind: Kind::Choice(&["smtp", "demo-smtp"]), default: Some("smtp"), sample: "demo-smtp",
        about: "the chart that sends mail: one that relays it, or one for trying",
        setting: "charts.smtp",
    },
    Key {
        path: "charts.calling", kind: Kind::Bool, default: Some("true"), sample: "false",
        about: "calls are possible: the conference server and the TURN server are installed",
        setting: "charts.calling",
    },
    Key {
        path: "charts.smallstep_accomp", kind: Kind::Bool, default: Some("false"), sample: "true",
        about: "install smallstep-accomp, which later releases do not have",
        setting: "charts.smallstep_accomp",
    },
    Key {
        path: "charts.timeout_s", kind: Kind::Integer(60, 7_200), default: Some("900"), sample: "1800",
        about: "how long the pods of a chart may take, in seconds",
        setting: "charts.timeout_s",
    },
    Key {
        path: "certs.staging", kind: Kind::Bool, default: Some("false"), sample: "true",
        about: "certificates come from the authority's test service, which browsers do not trust",
        setting: "certs.staging",
    },
    Key {
        path: "certs.wait_timeout_s", kind: Kind::Integer(60, 86_400), default: Some("1200"), sample: "3600",
        about: "how long the authority may take, in seconds",
        setting: "certs.wait_timeout_s",
    },
    Key {
        path: "certs.cure", kind: Kind::Choice(&["auto", "ask", "never"]), default: Some("auto"), sample: "ask",
        about: "when a certificate does not come and measurement shows a cause that a step cures (hairpin rule, way out, port forwarding): do it and go on, ask first, or only tell",
        setting: "certs.cure",
    },
    Key {
        path: "certs.rehearse", kind: Kind::Bool, default: Some("false"), sample: "true",
        about: "the authority's test service has to issue a certificate for all names before the real ones are asked for: mistakes then use up no limits",
        setting: "certs.rehearse",
    },
    Key {
        path: "certs.save", kind: Kind::Bool, default: Some("true"), sample: "false",
        about: "keep issued certificates in a private file, and use them again in a later installation",
        setting: "certs.save",
    },
    Key {
        path: "certs.keep", kind: Kind::Bool, default: Some("false"), sample: "true",
        about: "a rollback leaves that file",
        setting: "certs.keep",
    },
    Key {
        path: "hairpin.policy", kind: Kind::Choice(&["auto", "add", "remove", "off"]), default: Some("auto"), sample: "add",
        about: "source NAT for VMs that call the public address: add the rule if packets show that it helps, add it, remove every such rule, or do not look",
        setting: "hairpin.policy",
    },
    Key {
        path: "hairpin.after", kind: Kind::Choice(&["keep", "remove"]), default: Some("keep"), sample: "remove",
        about: "with policy auto, when the certificates are issued: keep the rule for their renewal, or remove it",
        setting: "hairpin.after",
    },
    Key {
        path: "kubernetes.acmesolver", kind: Kind::Choice(&["tell", "require"]), default: Some("tell"), sample: "require",
        about: "a release without the image that answers the certificate authority: say so, for nodes that reach its registry, or refuse it",
        setting: "kubernetes.acmesolver",
    },
    Key {
        path: "traffic.enabled", kind: Kind::Bool, default: Some("true"), sample: "true",
        about: "whether wiab sets the host's firewall and load balancing",
        setting: "traffic.enabled",
    },
    Key {
        path: "traffic.wan", kind: Kind::Text, default: None, sample: "eth0",
        about: "the public interface; without it, that of the default route",
        setting: "traffic.wan",
    },
    Key {
        path: "traffic.ssh_ports", kind: Kind::Ports, default: Some("22"), sample: "22,2222",
        about: "ports on which sshd is reached from outside; rules that would lock the operator out are refused",
        setting: "traffic.ssh_ports",
    },
    Key {
        path: "traffic.open_tcp", kind: Kind::Ports, default: Some(""), sample: "9090",
        about: "further TCP ports of the host that stay reachable from outside",
        setting: "traffic.open_tcp",
    },
    Key {
        path: "traffic.keep_udp", kind: Kind::Ports, default: Some(""), sample: "51820",
        about: "UDP ports that stay the host's own and reachable, also inside the calling range: those of a VPN",
        setting: "traffic.keep_udp",
    },
    Key {
        path: "traffic.udp_first", kind: Kind::Integer(1, 65_535), default: Some("32768"), sample: "32768",
        about: "first UDP port of calls",
        setting: "traffic.udp_first",
    },
    Key {
        path: "traffic.udp_last", kind: Kind::Integer(1, 65_535), default: Some("65535"), sample: "65535",
        about: "last UDP port of calls",
        setting: "traffic.udp_last",
    },
    Key {
        path: "traffic.calling_node", kind: Kind::Text, default: None, sample: "kubenode3",
        about: "the VM that calls go to; without it, the last kubernetes node",
        setting: "traffic.calling_node",
    },
    Key {
        path: "traffic.private_deployment", kind: Kind::Bool, default: Some("false"), sample: "false",
        about: "whether the VMs may not reach the outside at all",
        setting: "traffic.private_deployment",
    },
    Key {
        path: "traffic.log", kind: Kind::Bool, default: Some("false"), sample: "true",
        about: "whether dropped packets are logged, a few per minute",
        setting: "traffic.log",
    },
    Key {
        path: "traffic.deadman_s", kind: Kind::Integer(30, 3_600), default: Some("120"), sample: "120",
        about: "when the old rules come back if wiab does not live on, in seconds",
        setting: "traffic.deadman_s",
    },
    Key {
        path: "traffic.comment", kind: Kind::Text, default: Some("wiab-stag"), sample: "wiab-stag",
        about: "begins the comment of every rule",
        setting: "traffic.comment",
    },
];
