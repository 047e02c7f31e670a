//! Machines on which an installation cannot begin, or only with a warning.

use super::entity::{Facts, File, Package};
use super::state::Machine;
use super::surroundings::{Filesystem, Holder, Name, Surroundings};

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

impl Machine {
    fn around(mut self, change: impl FnOnce(&mut Surroundings)) -> Self {
        self.edit(|draft| {
            let mut around = Surroundings::of(draft);
            change(&mut around);
            draft.put("", &around);
        });
        self
    }

    fn with_facts(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        self.edit(|draft| {
            if let Some(mut facts) = draft.get::<Facts>("") {
                change(&mut facts);
                draft.put("", &facts);
            }
        });
        self
    }

    /// The same with that much memory, in MiB.
    #[must_use]
    pub fn with_memory_mib(self, memory_mib: u64) -> Self {
        self.with_facts(|facts| facts.memory_mib = memory_mib)
    }

    /// The same with that many processors.
    #[must_use]
    pub fn with_cpus(self, cpus: u32) -> Self {
        self.with_facts(|facts| facts.cpus = cpus)
    }

    /// The same with another address, and that of its gateway: behind a router with NAT, for example.
    #[must_use]
    pub fn with_address(self, address: &str, gateway: &str) -> Self {
        self.with_facts(|facts| {
            address.clone_into(&mut facts.address);
            gateway.clone_into(&mut facts.gateway);
        })
    }

    /// The same with somebody's route: `10.0.0.0/8`, `tun0`.
    #[must_use]
    pub fn with_route(self, destination: &str, device: &str) -> Self {
        self.around(|around| {
            let route = (destination.to_owned(), device.to_owned());
            around.routes.push(route);
        })
    }

    /// The same with ufw, active.
    #[must_use]
    pub fn with_ufw(mut self) -> Self {
        let package = Package {
            status: "installed".to_owned(),
            auto: false,
        };
        self.put("ufw", &package);
        self.around(|around| around.ufw = true)
    }

    /// The same with a name that the DNS answers so; without any address it does not exist.
    #[must_use]
    pub fn with_name(self, name: &str, a: &[&str], aaaa: &[&str]) -> Self {
        self.around(|around| {
            let known = around.names.entry(name.to_owned()).or_default();
            (known.a, known.aaaa) = (texts(a), texts(aaaa));
        })
    }

    /// The same with CAA records such as `0 issue "pki.example"` at a name.
    #[must_use]
    pub fn with_caa(self, name: &str, caa: &[&str]) -> Self {
        self.around(|around| {
            let known = Name {
                caa: texts(caa),
                ..Name::default()
            };
            around.names.insert(name.to_owned(), known);
        })
    }

    /// The same with a public name server that does not answer.
    #[must_use]
    pub fn with_deaf_resolver(self, address: &str) -> Self {
        self.around(|around| around.deaf.push(address.to_owned()))
    }

    /// The same with a clock that follows no time server.
    #[must_use]
    pub fn with_free_clock(self) -> Self {
        self.around(|around| around.synchronised = false)
    }

    /// The same with somebody who holds apt's lock for that long, in milliseconds.
    #[must_use]
    pub fn with_apt_lock(self, pid: u32, name: &str, for_ms: u64) -> Self {
        let until_ms = self.now_ms.saturating_add(for_ms);
        self.around(|around| {
            around.apt_holder = Some(Holder {
                pid,
                name: name.to_owned(),
                until_ms,
            });
        })
    }

    /// The same with a sudo that asks for a password.
    #[must_use]
    pub fn without_sudo(self) -> Self {
        self.around(|around| around.sudo = false)
    }

    /// The same with sshd on another port, over which the operator is logged in.
    #[must_use]
    pub fn with_ssh_port(self, port: u16) -> Self {
        self.without_socket("tcp 0.0.0.0:22 sshd")
            .without_socket("tcp [::]:22 sshd")
            .with_socket(&format!("tcp 0.0.0.0:{port} sshd"))
            .around(|around| around.ssh_port = port)
    }

    /// The same with a file system of its own: where, from what (`/dev/vdb`, `nas:/home`), of which kind, with how many
    /// bytes free.
    #[must_use]
    pub fn with_filesystem(self, target: &str, source: &str, kind: &str, avail_bytes: u64) -> Self {
        self.around(|around| {
            around.filesystems.push(Filesystem {
                target: target.to_owned(),
                source: source.to_owned(),
                kind: kind.to_owned(),
                avail_bytes,
            });
        })
    }

    /// The same with a path that is a symbolic link.
    #[must_use]
    pub fn with_link(self, path: &str) -> Self {
        self.around(|around| around.links.push(path.to_owned()))
    }

    /// The same with an access control list on a file or directory: what a user may, and the mask.
    #[must_use]
    pub fn with_acl(mut self, path: &str, user: &str, rights: &str, mask: &str) -> Self {
        if let Some(file) = self.get::<File>(path) {
            self.put(path, &file.with_entry(user, rights, mask));
        }
        self
    }

    /// The same with a web server that answers that for an address.
    #[must_use]
    pub fn with_http_status(self, url: &str, status: u16) -> Self {
        self.around(|around| {
            around.statuses.insert(url.to_owned(), status);
        })
    }

    /// The same with newer versions of packages in the archive.
    #[must_use]
    pub fn with_upgrades(self, names: &[&str]) -> Self {
        self.around(|around| around.upgrades = texts(names))
    }

    /// The same without packages, their services and what needs them.
    #[must_use]
    pub fn without_packages(mut self, names: &[&str]) -> Self {
        self.edit(|draft| super::cmd::remove_packages(draft, names));
        self
    }
}
