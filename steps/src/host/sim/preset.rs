//! Machines to begin with, and what somebody else may have done to them.

use super::archive;
use super::cmd;
use super::entity::{
    DockerImage, Domain, Facts, File, Group, Image, Network, Package, Sysctl, Table, Unit, User,
};
use super::sha256::sha256;
use super::state::{Draft, Machine};

fn member(gid: u32, members: &[&str]) -> Group {
    Group {
        gid,
        members: members.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn user(uid: u32, name: &str, home: &str) -> User {
    User {
        uid,
        gid: uid,
        group: name.to_owned(),
        home: home.to_owned(),
        shell: "/bin/bash".to_owned(),
    }
}

const DIRS: &[(&str, u32, &str)] = &[
    ("/etc", 0o755, "root:root"),
    ("/etc/sysctl.d", 0o755, "root:root"),
    ("/etc/systemd", 0o755, "root:root"),
    ("/etc/systemd/system", 0o755, "root:root"),
    ("/home", 0o755, "root:root"),
    ("/home/demo", 0o750, "demo:demo"),
    ("/root", 0o700, "root:root"),
    ("/tmp", 0o1777, "root:root"),
    ("/usr", 0o755, "root:root"),
    ("/usr/local", 0o755, "root:root"),
    ("/usr/local/bin", 0o755, "root:root"),
    ("/usr/local/sbin", 0o755, "root:root"),
    ("/var", 0o755, "root:root"),
    ("/var/lib", 0o755, "root:root"),
    ("/run", 0o755, "root:root"),
];

const SYSCTLS: &[(&str, &str)] = &[
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.all.rp_filter", "2"),
    ("net.ipv4.conf.default.rp_filter", "2"),
    ("net.ipv4.conf.eth0.rp_filter", "2"),
    ("net.bridge.bridge-nf-call-iptables", "0"),
    ("vm.swappiness", "60"),
];

/// An archive as `docker save` writes it: name and configuration of each image; without a name the image has none.
pub(crate) fn docker_archive(images: &[(&str, &str)]) -> Vec<u8> {
    let mut manifest = Vec::new();
    let mut members = Vec::new();
    for (name, config) in images {
        let file = format!("{}.json", sha256(config.as_bytes()));
        let tags: Vec<&str> = Some(*name)
            .filter(|name| !name.is_empty())
            .into_iter()
            .collect();
        manifest.push(serde_json::json!({"Config": file, "RepoTags": tags, "Layers": []}));
        members.push((file, config.as_bytes()));
    }
    let manifest = serde_json::Value::from(manifest).to_string();
    let mut all: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(file, config)| (file.as_str(), *config))
        .collect();
    all.push(("manifest.json", manifest.as_bytes()));
    archive::pack(&all)
}

impl Machine {
    /// A bare Ubuntu 22.04 server: 32 CPUs, 64 GiB, KVM, user `demo` with sudo, no libvirt.
    pub fn fresh() -> Self {
        let mut machine = Self::default();
        machine.put(
            "",
            &Facts {
                user: "demo".to_owned(),
                hostname: "wiabhost".to_owned(),
                kernel: "5.15.0-91-generic".to_owned(),
                cpus: 32,
                memory_mib: 64 << 10,
                disk_free_bytes: 900 << 30,
                kvm: true,
                wan: "eth0".to_owned(),
                address: "203.0.113.10".to_owned(),
                gateway: "203.0.113.1".to_owned(),
            },
        );
        for (path, mode, owner) in DIRS {
            machine.put(path, &File::dir(*mode, owner));
        }
        let text = |content: &str, mode: u32| File::new(content.as_bytes(), mode, "root:root");
        machine.put(
            "/etc/hosts",
            &text("127.0.0.1 localhost\n127.0.1.1 wiabhost\n", 0o644),
        );
        machine.put("/etc/hostname", &text("wiabhost\n", 0o644));
        machine.put(
            "/etc/os-release",
            &text("NAME=\"Ubuntu\"\nID=ubuntu\nVERSION_ID=\"22.04\"\n", 0o644),
        );
        machine.put(
            "/etc/nftables.conf",
            &text("#!/usr/sbin/nft -f\n\nflush ruleset\n", 0o755),
        );
        for name in cmd::PREINSTALLED {
            let package = Package {
                status: "installed".to_owned(),
                auto: false,
            };
            machine.put(name, &package);
        }
        for (name, active, enabled) in [
            ("ssh", true, true),
            ("systemd-resolved", true, true),
            ("rsyslog", true, true),
            ("nftables", false, false),
        ] {
            machine.put(name, &Unit { active, enabled });
        }
        machine.put("root", &user(0, "root", "/root"));
        machine.put("demo", &user(1000, "demo", "/home/demo"));
        machine.put("root", &member(0, &[]));
        machine.put("adm", &member(4, &["demo"]));
        machine.put("sudo", &member(27, &["demo"]));
        machine.put("kvm", &member(109, &[]));
        machine.put("demo", &member(1000, &[]));
        for socket in cmd::SOCKETS {
            cmd::open_socket(&mut machine, socket);
        }
        for (key, value) in SYSCTLS {
            machine.put(key, &Sysctl((*value).to_owned()));
        }
        machine
    }

    fn edited(mut self, change: impl FnOnce(&mut Draft<'_>)) -> Self {
        self.edit(change);
        self
    }

    /// The same without `/dev/kvm`.
    #[must_use]
    pub fn without_kvm(self) -> Self {
        self.edited(|draft| {
            if let Some(mut facts) = draft.get::<Facts>("") {
                facts.kvm = false;
                draft.put("", &facts);
            }
        })
    }

    /// The same machine at another time, in milliseconds of Unix time.
    #[must_use]
    pub fn with_wall_ms(mut self, wall_ms: u64) -> Self {
        self.epoch_ms = wall_ms.saturating_sub(self.now_ms);
        self
    }

    /// The same with packages installed, their services started, and libvirt's `default` network where libvirt comes.
    #[must_use]
    pub fn with_packages(self, names: &[&str]) -> Self {
        self.edited(|draft| cmd::install_packages(draft, names))
    }

    /// The same with everything that running virtual machines needs.
    #[must_use]
    pub fn with_libvirt(self) -> Self {
        self.with_packages(&[
            "libvirt-daemon-system",
            "libvirt-clients",
            "qemu-system-x86",
            "qemu-utils",
            "cloud-image-utils",
        ])
    }

    /// The same with a libvirt network of that XML, started and on autostart if wanted. A document that libvirt refuses
    /// changes nothing.
    #[must_use]
    pub fn with_network(self, xml: &str, active: bool, autostart: bool) -> Self {
        self.edited(|draft| {
            let Ok(name) = cmd::define_network(draft, Some(xml)) else {
                return;
            };
            if let Some(mut network) = draft.get::<Network>(&name) {
                network.autostart = autostart;
                draft.put(&name, &network);
            }
            if active {
                // A conflict leaves it stopped, as libvirt would.
                let _ = cmd::start_network(draft, &name);
            }
        })
    }

    /// The same without a libvirt network.
    #[must_use]
    pub fn without_network(self, name: &str) -> Self {
        self.edited(|draft| draft.del::<Network>(name))
    }

    /// The same with somebody else's `wirebox` network: other bridge, other addresses.
    #[must_use]
    pub fn with_foreign_wirebox(self) -> Self {
        self.with_network(
            "<network><name>wirebox</name><forward mode='nat'/><bridge name='virbr7'/><ip address='10.7.7.1' netmask='255.255.255.0'/></network>",
            true,
            true,
        )
    }

    /// The same with a domain that has its disk and one interface on `network`, running if wanted.
    #[must_use]
    pub fn with_domain(self, name: &str, network: &str, running: bool) -> Self {
        let disk = format!("/var/lib/libvirt/images/{name}.qcow2");
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>1024</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>\
             <devices><disk type='file' device='disk'><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>\
             <interface type='network'><source network='{network}'/><model type='virtio'/></interface></devices></domain>"
        );
        self.with_disk(&disk, 10 << 30).edited(|draft| {
            if cmd::define_domain(draft, Some(&xml)).is_ok() && running {
                // On a stopped network it stays off.
                let _ = cmd::start_domain(draft, name);
            }
        })
    }

    /// The same without a domain.
    #[must_use]
    pub fn without_domain(self, name: &str) -> Self {
        self.edited(|draft| draft.del::<Domain>(name))
    }

    /// The same with a disk image of that virtual size, and the directory it is in.
    #[must_use]
    pub fn with_disk(self, path: &str, virtual_bytes: u64) -> Self {
        self.with_file(path, "", 0o644, "root:root")
            .edited(|draft| {
                if let Some(mut file) = draft.get::<File>(path) {
                    file.image = Some(Image {
                        format: "qcow2".to_owned(),
                        virtual_bytes,
                        backing: None,
                        backing_format: None,
                        whole: true,
                    });
                    draft.put(path, &file);
                }
            })
    }

    /// The same with a file and the directories on the way to it.
    #[must_use]
    pub fn with_file(self, path: &str, text: &str, mode: u32, owner: &str) -> Self {
        self.edited(|draft| {
            // Root may make every directory.
            let _ = super::files::make_dirs(draft, super::files::parent(path), true, 0o755);
            draft.put(path, &File::new(text.as_bytes(), mode, owner));
        })
    }

    /// The same with a docker archive of one image, as `docker save` writes it.
    #[must_use]
    pub fn with_docker_archive(self, path: &str, name: &str, config: &str) -> Self {
        self.with_docker_archive_of(path, &[(name, config)])
    }

    /// The same with a docker archive of several images, some of them without a name.
    #[must_use]
    pub fn with_docker_archive_of(self, path: &str, images: &[(&str, &str)]) -> Self {
        self.with_bytes(path, &docker_archive(images))
    }

    /// The same with an image of that configuration in docker.
    #[must_use]
    pub fn with_docker_image(self, name: &str, config: &str) -> Self {
        let id = format!("sha256:{}", sha256(config.as_bytes()));
        self.edited(|draft| draft.put(name, &DockerImage { id }))
    }

    /// The same with a file of any bytes that everybody may read.
    #[must_use]
    pub fn with_bytes(self, path: &str, bytes: &[u8]) -> Self {
        self.with_file(path, "", 0o644, "root:root")
            .edited(|draft| draft.put(path, &File::new(bytes, 0o644, "root:root")))
    }

    /// The same with a playbook whose task fails on a machine.
    #[must_use]
    pub fn with_playbook_fault(self, playbook: &str, task: &str, host: &str, msg: &str) -> Self {
        self.edited(|draft| {
            let fault = cmd::PlaybookFault {
                task: task.to_owned(),
                host: host.to_owned(),
                msg: msg.to_owned(),
                unreachable: false,
            };
            draft.put(playbook, &fault);
        })
    }

    /// The same with another owner of a file or directory.
    #[must_use]
    pub fn with_owner(self, path: &str, owner: &str) -> Self {
        self.edited(|draft| {
            if let Some(mut file) = draft.get::<File>(path) {
                owner.clone_into(&mut file.owner);
                draft.put(path, &file);
            }
        })
    }

    /// The same with a machine that a playbook cannot reach.
    #[must_use]
    pub fn with_playbook_unreachable(self, playbook: &str, host: &str) -> Self {
        self.edited(|draft| {
            let fault = cmd::PlaybookFault {
                task: String::new(),
                host: host.to_owned(),
                msg: String::new(),
                unreachable: true,
            };
            draft.put(playbook, &fault);
        })
    }

    /// The same without what makes a playbook fail.
    #[must_use]
    pub fn without_playbook_fault(self, playbook: &str) -> Self {
        self.edited(|draft| draft.del::<cmd::PlaybookFault>(playbook))
    }

    /// The same without a file.
    #[must_use]
    pub fn without_file(self, path: &str) -> Self {
        self.edited(|draft| draft.del::<File>(path))
    }

    /// The same with another kernel parameter.
    #[must_use]
    pub fn with_sysctl(self, key: &str, value: &str) -> Self {
        self.edited(|draft| draft.put(key, &Sysctl(value.to_owned())))
    }

    /// The same with a service in that state.
    #[must_use]
    pub fn with_service(self, name: &str, active: bool, enabled: bool) -> Self {
        self.edited(|draft| draft.put(name, &Unit { active, enabled }))
    }

    /// The same with a group and its members.
    #[must_use]
    pub fn with_group(self, name: &str, gid: u32, members: &[&str]) -> Self {
        self.edited(|draft| draft.put(name, &member(gid, members)))
    }

    /// The same with a script of nftables loaded on top; one that nft refuses changes nothing.
    #[must_use]
    pub fn with_nft(self, script: &str) -> Self {
        self.edited(|draft| {
            let _ = cmd::load_rules(draft, script);
        })
    }

    /// The same without any rules of nftables.
    #[must_use]
    pub fn without_nft(self) -> Self {
        self.edited(|draft| {
            for name in draft.names::<Table>("") {
                draft.del::<Table>(&name);
            }
        })
    }

    /// The same with a listening socket: `tcp 0.0.0.0:2222 sshd`; without a process it is the kernel's.
    #[must_use]
    pub fn with_socket(mut self, socket: &str) -> Self {
        cmd::open_socket(&mut self, socket);
        self
    }

    /// The same without that socket.
    #[must_use]
    pub fn without_socket(self, socket: &str) -> Self {
        self.edited(|draft| draft.del::<cmd::Socket>(socket))
    }

    /// The same with that many translated connections to an address behind the host.
    #[must_use]
    pub fn with_flows(self, address: &str, count: u64) -> Self {
        self.edited(|draft| draft.put(address, &cmd::Flows { count }))
    }

    /// The same with that many bytes free on its disk.
    #[must_use]
    pub fn with_free_bytes(self, bytes: u64) -> Self {
        self.edited(|draft| {
            if let Some(mut facts) = draft.get::<Facts>("") {
                facts.disk_free_bytes = bytes;
                draft.put("", &facts);
            }
        })
    }
}
