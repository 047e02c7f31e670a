//! `cloudinit.seed/1`: what a VM learns at its first boot: name, user, keys, network.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::qemu::exists;
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Meta};
use crate::kind::{About, Input, Kind, Out};

/// A NoCloud seed image of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudinitSeed {
    /// Name of the VM.
    pub vm: String,
    /// Its domain, not `local`: the fully qualified name is `vm.domain`.
    pub domain: String,
    /// Directory of the source files, mode 0700; it must exist.
    pub dir: String,
    /// Path of the seed image.
    pub iso: String,
    /// The user that may log in.
    pub user: String,
    /// The user's public key.
    pub user_key: Input<String>,
    /// Path of the VM's private host key; read when applied, never kept elsewhere than in the seed.
    pub host_key_path: String,
    /// The VM's public host key.
    pub host_key_public: Input<String>,
    /// MAC address of the network card.
    pub mac: String,
}

/// Which files existed, and under which suffix their old content is kept beside them; it names the content.
///
/// The old files hold a private key, so that their content must not enter the before-image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    suffix: String,
    existed: Vec<String>,
}

/// The three documents.
struct Docs {
    user_data: String,
    meta_data: String,
    network_config: String,
    digest: String,
}

/// A text as a YAML double-quoted scalar, which JSON strings are.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl CloudinitSeed {
    /// Output: path of the seed image.
    pub const ISO: Out<Self> = Out::new("iso");

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.dir.trim_end_matches('/'))
    }

    /// All files of the step and whether they are root's; the record of the digest is the last one written.
    fn files(&self) -> [(String, bool); 5] {
        [
            (self.file("user-data"), false),
            (self.file("meta-data"), false),
            (self.file("network-config"), false),
            (self.iso.clone(), true),
            (self.file("seed.digest"), false),
        ]
    }

    fn user_data(&self, user_key: &str, private: &str, public: &str) -> String {
        let mut text = String::from("#cloud-config\n");
        let fqdn = format!("{}.{}", self.vm, self.domain);
        let _ = write!(
            text,
            "hostname: {}\nfqdn: {}\nmanage_etc_hosts: localhost\npreserve_hostname: false\nlocale: C.UTF-8\n\
             ssh_pwauth: false\ndisable_root: true\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n",
            quoted(&self.vm),
            quoted(&fqdn)
        );
        for line in private.lines() {
            let _ = writeln!(text, "    {line}");
        }
        let _ = write!(
            text,
            "  ed25519_public: {}\nusers:\n  - name: {}\n    groups: [sudo]\n    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n    \
             shell: /bin/bash\n    lock_passwd: true\n    ssh_authorized_keys:\n      - {}\n",
            quoted(public),
            quoted(&self.user),
            quoted(user_key)
        );
        text
    }

    fn network_config(&self) -> String {
        format!(
            "version: 2\nethernets:\n  primary:\n    match:\n      macaddress: {}\n    dhcp4: true\n",
            quoted(&self.mac)
        )
    }

    /// The documents; `None` while the host key does not exist.
    async fn docs(&self, sh: Shell<'_>) -> Result<Option<Docs>, Failure> {
        let Some(private) = sh.read(&self.host_key_path, false).await? else {
            return Ok(None);
        };
        let private = String::from_utf8(private)
            .map_err(|_| Failure::clean(format!("{} is not a text file", self.host_key_path)))?;
        let user_key = known(&self.user_key, "user_key")?;
        let public = known(&self.host_key_public, "host_key_public")?;
        let user_data = self.user_data(user_key, &private, public);
        let network_config = self.network_config();
        let mut hasher = blake3::Hasher::new();
        hasher.update(user_data.as_bytes());
        hasher.update(network_config.as_bytes());
        let digest = hasher.finalize().to_hex().to_string();
        let short: String = digest.chars().take(12).collect();
        let meta_data = format!(
            "instance-id: {}\nlocal-hostname: {}\n",
            quoted(&format!("wiab-{}-{short}", self.vm)),
            quoted(&self.vm)
        );
        Ok(Some(Docs {
            user_data,
            meta_data,
            network_config,
            digest,
        }))
    }

    async fn recorded(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let bytes = sh.read(&self.file("seed.digest"), false).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    fn receipt(&self, docs: &Docs) -> Receipt {
        let short: String = docs.digest.chars().take(12).collect();
        Receipt::note(format!("instance wiab-{}-{short}", self.vm)).with("iso", &*self.iso)
    }

    /// Keeps the files that were there beside themselves, once.
    async fn keep_old(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        for (path, root) in self.files() {
            let kept = format!("{path}{}", image.suffix);
            if image.existed.contains(&path)
                && exists(sh, &path).await?
                && !exists(sh, &kept).await?
            {
                // A copy that a crash cuts short must not pass for the old file: hence the second name.
                let part = format!("{kept}.part");
                sh.ok(&cmd(["cp", "-p", "--", &path, &part], root)).await?;
                sh.ok(&cmd(["mv", "-f", "--", &part, &kept], root)).await?;
            }
        }
        Ok(())
    }

    async fn make_iso(&self, sh: Shell<'_>) -> Result<(), Failure> {
        let part = self.file("seed.iso.part");
        let network = format!("--network-config={}", self.file("network-config"));
        let (user_data, meta_data) = (self.file("user-data"), self.file("meta-data"));
        let argv = ["cloud-localds", &network, &part, &user_data, &meta_data];
        sh.ok(&Cmd::new(argv).root()).await?;
        // The directory is closed to others (0700) until the mode is right.
        sh.ok(&cmd(["chmod", "0600", "--", &part], true)).await?;
        sh.ok(&cmd(["mv", "-f", "--", &part, &self.iso], true))
            .await
            .map(drop)
    }
}

fn cmd<const N: usize>(argv: [&str; N], root: bool) -> Cmd {
    let cmd = Cmd::new(argv);
    if root { cmd.root() } else { cmd }
}

impl Kind for CloudinitSeed {
    const NAME: &'static str = "cloudinit.seed/1";
    const ABOUT: About = About {
        purpose: "A VM boots with its name, its user and host keys that are known beforehand.",
        probe: "Compares the digest of the documents with the recorded one and looks for the image.",
        effect: "Writes user-data, meta-data and network-config (0600) and makes the image with `cloud-localds`.",
        undo: "Removes what it made, or puts the old files back.",
    };

    fn summary(&self) -> String {
        format!("make cloud-init seed of {}", self.vm)
    }

    fn undo_summary(&self) -> String {
        "remove the seed, or put the old one back".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CloudinitSeed {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let iso = exists(sh, &self.iso).await?;
        let recorded = self.recorded(sh).await?;
        if !iso && recorded.is_none() {
            return Ok(Probe::Absent);
        }
        let Some(docs) = self.docs(sh).await? else {
            return Ok(Probe::Absent);
        };
        Ok(match (iso, recorded) {
            (true, Some(found)) if found == docs.digest => Probe::Satisfied(self.receipt(&docs)),
            (_, Some(found)) if found != docs.digest => Probe::Drifted {
                diff: format!("- content {found}\n+ content {}", docs.digest),
            },
            (false, _) => Probe::Partial {
                what: format!("{} is missing", self.iso),
            },
            (true, _) => Probe::Partial {
                what: "the record of its content is missing".to_owned(),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let mut existed = Vec::new();
        for (path, _) in self.files() {
            if exists(sh, &path).await? {
                existed.push(path);
            }
        }
        let recorded = self.recorded(sh).await?.unwrap_or_default();
        let short: String = recorded.chars().take(12).collect();
        Ok(Image {
            suffix: format!(".before-{short}"),
            existed,
        })
    }

    async fn apply(&self, sh: Shell<'_>, image: &Image) -> Result<Receipt, Failure> {
        let docs = self.docs(sh).await?.ok_or_else(|| {
            Failure::clean(format!("the host key {} is missing", self.host_key_path))
                .hint("run the step that makes it (`ssh.hostkey:…`) again")
        })?;
        let current = self.recorded(sh).await?.as_ref() == Some(&docs.digest);
        if current && exists(sh, &self.iso).await? {
            return Ok(self.receipt(&docs));
        }
        if image.existed.contains(&self.iso) && !image.existed.contains(&self.file("seed.digest")) {
            return Err(
                Failure::clean(format!("{} exists and was not made by wiab", self.iso))
                    .ask()
                    .hint(format!(
                        "sudo mv {0} {0}.old, then decide `retry`",
                        self.iso
                    )),
            );
        }
        self.keep_old(sh, image).await?;
        let documents = [
            ("user-data", &docs.user_data),
            ("meta-data", &docs.meta_data),
            ("network-config", &docs.network_config),
        ];
        for (name, text) in documents {
            sh.write(&self.file(name), text.as_bytes(), &Meta::user(0o600))
                .await?;
        }
        self.make_iso(sh).await?;
        let line = format!("{}\n", docs.digest);
        sh.write(
            &self.file("seed.digest"),
            line.as_bytes(),
            &Meta::user(0o600),
        )
        .await?;
        Ok(self.receipt(&docs))
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        sh.remove(&self.file("seed.iso.part"), true).await?;
        for (path, root) in self.files() {
            let kept = format!("{path}{}", image.suffix);
            sh.remove(&format!("{kept}.part"), root).await?;
            if !image.existed.contains(&path) {
                sh.remove(&path, root).await?;
            } else if exists(sh, &kept).await? {
                // Removing also clears what an interrupted write left beside the file.
                sh.remove(&path, root).await?;
                sh.ok(&cmd(["mv", "-f", "--", &kept, &path], root)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_hold_what_the_vm_needs_and_quote_what_they_are_given() {
        let seed = CloudinitSeed {
            vm: "kubenode1".to_owned(),
            domain: "wiab.internal".to_owned(),
            dir: "/d/".to_owned(),
            iso: "/p/seed.iso".to_owned(),
            user: "demo".to_owned(),
            user_key: Input::Value("ssh-ed25519 AAAA a: \"b\"".to_owned()),
            host_key_path: "/d/key".to_owned(),
            host_key_public: Input::Value("ssh-ed25519 BBBB".to_owned()),
            mac: "52:54:00:57:00:21".to_owned(),
        };
        let text = seed.user_data(
            "ssh-ed25519 AAAA a: \"b\"",
            "-----BEGIN\nx\n",
            "ssh-ed25519 BBBB",
        );
        for line in [
            "hostname: \"kubenode1\"",
            "fqdn: \"kubenode1.wiab.internal\"",
            "manage_etc_hosts: localhost",
            "ssh_pwauth: false",
            "locale: C.UTF-8",
            "    -----BEGIN",
            "      - \"ssh-ed25519 AAAA a: \\\"b\\\"\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(
            seed.network_config()
                .contains("macaddress: \"52:54:00:57:00:21\"")
        );
        assert_eq!(seed.file("user-data"), "/d/user-data");
    }
}
