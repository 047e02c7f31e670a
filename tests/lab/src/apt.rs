//! Packages: what the lab installs on the outer machine, and where it gets the packages for what it builds.

use std::path::Path;

use crate::cmd::Cmd;
use crate::error::{LabError, Result};
use crate::say::{say, took};
use crate::sources::{self, Source};
use crate::sys::Watch;

/// Programs that the lab runs on the outer machine, each with the package that brings it.
const TOOLS: [(&str, &str); 24] = [
    ("mmdebstrap", "mmdebstrap"),
    ("extlinux", "extlinux"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("systemd-nspawn", "systemd-container"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("qemu-img", "qemu-utils"),
    ("mke2fs", "e2fsprogs"),
    ("xz", "xz-utils"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("setsid", "util-linux"),
    ("ssh", "openssh-client"),
    ("curl", "curl"),
    ("gzip", "gzip"),
    ("openssl", "openssl"),
    ("dpkg-source", "dpkg-dev"),
    ("make", "make"),
    ("rsync", "rsync"),
    ("pip3", "python3-pip"),
    ("dpkg-deb", "dpkg"),
    ("gpg", "gpg"),
    ("strip", "binutils"),
];

/// Where packages come from.
#[derive(Debug)]
pub(crate) struct Archive {
    /// The release's codename.
    pub(crate) codename: String,
    /// Its archives.
    pub(crate) release: Vec<Source>,
    /// Its backports, when that archive can be reached.
    pub(crate) backports: Option<Source>,
    /// Settings for apt: how it gets out (proxies and the like), as on the outer machine.
    pub(crate) options: Vec<String>,
}

impl Archive {
    /// The same without backports, so that versions stay what they are.
    pub(crate) fn of_release_only(mut self) -> Self {
        self.backports = None;
        self
    }
}

/// Fails early where the lab cannot work at all.
pub(crate) fn check_machine() -> Result<()> {
    let namespaces = Cmd::new(["unshare", "--mount", "--net", "--pid", "--fork", "true"]);
    if !namespaces.succeeds()? || !Path::new("/dev/net/tun").exists() {
        return Err(LabError::Unsuitable(
            "this machine does not let root make namespaces and mounts, or has no /dev/net/tun (an unprivileged \
             container?); the lab needs a virtual or physical machine, or a privileged container"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Installs what is missing on the outer machine; every package is named in the output.
pub(crate) fn install_tools() -> Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    for (program, package) in TOOLS {
        let there = Cmd::new(["sh", "-c", "command -v \"$1\"", "sh", program]).succeeds()?;
        if !there && !missing.contains(&package) {
            missing.push(package);
        }
    }
    if missing.is_empty() {
        say("nothing to install on this machine");
        return Ok(());
    }
    say(&format!(
        "installing on this machine with apt-get: {}",
        missing.join(" ")
    ));
    let watch = Watch::start();
    // A third-party source that does not answer must not stop the lab; a package that is not found will.
    if !Cmd::new(["apt-get", "update", "-q"])
        .limit_s(300)
        .succeeds()?
    {
        say("apt-get update had failures; going on with what it has");
    }
    Cmd::new(["apt-get", "install", "-y", "-q", "--no-install-recommends"])
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .limit_s(900)
        .run()?;
    took("installed", watch);
    Ok(())
}

/// Finds out where this machine gets its packages. `work` is a scratch directory.
pub(crate) fn archive(work: &Path) -> Result<Archive> {
    let arch = Cmd::new(["dpkg", "--print-architecture"]).output()?;
    if arch.trim() != "amd64" {
        return Err(LabError::Unsuitable(format!(
            "the lab's images are built for amd64; this machine is {}",
            arch.trim()
        )));
    }
    let os = fs_err::read_to_string("/etc/os-release")?;
    let codename = os_field(&os, "VERSION_CODENAME").unwrap_or_default();
    let release = sources::of_release(&configured()?, &codename);
    if os_field(&os, "ID").as_deref() != Some("debian") || release.is_empty() {
        return Err(LabError::Unsuitable(
            "the lab needs a Debian machine whose release's archive stands in /etc/apt/sources.list \
             or /etc/apt/sources.list.d"
                .to_owned(),
        ));
    }
    let options = Cmd::new(["apt-config", "dump"]).output()?;
    let options = options
        .lines()
        .filter(|line| carries_over(line))
        .map(str::to_owned)
        .collect();
    let backports = sources::backports(&release, &codename);
    let mut archive = Archive {
        codename,
        release,
        backports,
        options,
    };
    if archive.backports.is_some()
        && !private_apt(work, &archive, "apt-get")?
            .arg("update")
            .succeeds()?
    {
        say("the release's backports cannot be reached: older QEMU and kernel will be used");
        archive.backports = None;
    }
    Ok(archive)
}

/// Downloads the newest kernel package into `work` and returns its file.
pub(crate) fn kernel(work: &Path, archive: &Archive) -> Result<std::path::PathBuf> {
    private_apt(work, archive, "apt-get")?.arg("update").run()?;
    let depends = private_apt(work, archive, "apt-cache")?
        .args(["depends", "linux-image-amd64"])
        .output()?;
    let name = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or_else(|| LabError::check("linux-image-amd64 depends on no linux-image-…"))?
        .to_owned();
    let dir = work.join("kernel-package");
    fs_err::create_dir_all(&dir)?;
    private_apt(work, archive, "apt-get")?
        .args(["download", &name])
        .dir(&dir)
        .limit_s(300)
        .run()?;
    let file = fs_err::read_dir(&dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"));
    file.ok_or_else(|| LabError::check(format!("apt-get download left no package of {name}")))
}

/// Downloads packages, without what they depend on, into the directory `to`.
pub(crate) fn download(work: &Path, archive: &Archive, names: &[&str], to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    private_apt(work, archive, "apt-get")?.arg("update").run()?;
    private_apt(work, archive, "apt-get")?
        .arg("download")
        .args(names.iter().copied())
        .dir(to)
        .limit_s(600)
        .run()
}

/// Downloads a source package into the directory `to` and returns its description.
pub(crate) fn source(
    work: &Path,
    archive: &Archive,
    name: &str,
    to: &Path,
) -> Result<std::path::PathBuf> {
    fs_err::create_dir_all(to)?;
    let sources = archive.release.iter().map(|source| source.line() + "\n");
    let sources = sources.map(|line| line.replacen("deb ", "deb-src ", 1));
    // apt is told by the same file as for the packages.
    private_apt(work, archive, "apt-get")?;
    let list = work.join("apt/sources.list");
    fs_err::write(&list, lines(archive) + &sources.collect::<String>())?;
    for words in [vec!["update"], vec!["source", "--download-only", name]] {
        apt_with_list(work, archive, "apt-get")
            .args(words)
            .dir(to)
            .limit_s(900)
            .run()?;
    }
    let found = fs_err::read_dir(to)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "dsc"));
    found.ok_or_else(|| LabError::check(format!("apt-get source left no description of {name}")))
}

/// apt with its own lists, so that this machine's are neither needed nor changed.
fn private_apt(work: &Path, archive: &Archive, program: &str) -> Result<Cmd> {
    let root = work.join("apt");
    for dir in ["state/lists/partial", "cache/archives/partial", "none"] {
        fs_err::create_dir_all(root.join(dir))?;
    }
    let list = root.join("sources.list");
    fs_err::write(&list, lines(archive))?;
    fs_err::write(root.join("status"), "")?;
    Ok(apt_with_list(work, archive, program))
}

fn apt_with_list(work: &Path, archive: &Archive, program: &str) -> Cmd {
    let root = work.join("apt");
    let mut cmd = Cmd::new([program]).limit_s(300);
    for (name, value) in [
        ("Dir::State", "state"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
        ("Dir::Etc::SourceList", "sources.list"),
        ("Dir::Etc::SourceParts", "none"),
        ("Dir::Etc::PreferencesParts", "none"),
    ] {
        cmd = cmd.args([
            "-o".to_owned(),
            format!("{name}={}", root.join(value).display()),
        ]);
    }
    cmd = cmd.args([
        "-o",
        "APT::Sandbox::User=root",
        "-o",
        "APT::Update::Error-Mode=any",
    ]);
    if let Some(backports) = &archive.backports {
        cmd = cmd.args([
            "-o".to_owned(),
            format!("APT::Default-Release={}", backports.suite),
        ]);
    }
    cmd
}

/// All sources, one a line.
pub(crate) fn lines(archive: &Archive) -> String {
    let all = archive.release.iter().chain(&archive.backports);
    all.map(|source| source.line() + "\n").collect()
}

fn configured() -> Result<Vec<Source>> {
    let mut found = Vec::new();
    if let Ok(text) = fs_err::read_to_string("/etc/apt/sources.list") {
        found.extend(sources::one_line(&text));
    }
    let Ok(entries) = fs_err::read_dir("/etc/apt/sources.list.d") else {
        return Ok(found);
    };
    for entry in entries {
        let path = entry?.path();
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("list") => found.extend(sources::one_line(&fs_err::read_to_string(path)?)),
            Some("sources") => found.extend(sources::deb822(&fs_err::read_to_string(path)?)),
            _ => {}
        }
    }
    Ok(found)
}

/// Whether a line of `apt-config dump` says how apt reaches its archives.
fn carries_over(line: &str) -> bool {
    line.starts_with("Acquire::")
        && ["Proxy", "Verify", "CaInfo", "Retries"]
            .iter()
            .any(|word| line.contains(word))
        && !line.ends_with("\"\";")
}

fn os_field(text: &str, name: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_os_release_and_the_settings_worth_keeping() {
        let text = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(os_field(text, "ID").as_deref(), Some("debian"));
        assert_eq!(os_field(text, "VERSION").as_deref(), None);
        assert!(carries_over(
            "Acquire::http::Proxy \"http://proxy.example:1\";"
        ));
        assert!(!carries_over("Acquire::http::Proxy \"\";"));
        assert!(!carries_over("APT::Architecture \"amd64\";"));
    }
}
