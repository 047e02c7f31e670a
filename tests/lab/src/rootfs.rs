//! The root file system of the disposable machine: a Debian server with libvirt, as an operator would rent it.

use std::path::{Path, PathBuf};

use crate::apt::{self, Archive};
use crate::cache::{Cache, Scratch};
use crate::cmd::Cmd;
use crate::error::Result;

/// What is installed. Nothing can be installed later: the machine has no way out.
const PACKAGES: &str = "systemd-sysv,dbus,sudo,openssh-server,openssh-client,nftables,iptables,\
iproute2,procps,kmod,curl,ca-certificates,libvirt-daemon-system,libvirt-daemon-config-network,\
libvirt-clients,qemu-system-x86,qemu-utils,cloud-image-utils,dnsmasq-base,dnsmasq,acl,iputils-ping,less,jq,\
docker.io,bind9-dnsutils,bind9-host,conntrack,gpg";
/// Takes QEMU from the backports where they are known: the release's own crashes under load without KVM.
const PREFERENCES: &str = "Package: src:qemu src:seabios src:ipxe\n\
Pin: release n=*-backports\nPin-Priority: 900\n";
/// Services that are there but off: who wants one starts it.
const OFF: [&str; 1] = ["dnsmasq"];
/// Timers that would find no network, or nothing to do.
const QUIET: [&str; 5] = [
    "apt-daily",
    "apt-daily-upgrade",
    "e2scrub_all",
    "fstrim",
    "logrotate",
];
const CGROUP_UNIT: &str = include_str!("../machine/cgroup-rw.service");
/// Raised when the steps below change.
const VERSION: u32 = 3;

fn recipe() -> String {
    format!("{VERSION}\n{PACKAGES}\n{PREFERENCES}\n{CGROUP_UNIT}")
}

/// Where the finished root file system is.
pub(crate) fn built(cache: &Cache) -> Result<PathBuf> {
    cache.built("machine", &recipe())
}

/// Builds it unless the cache has it.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    cache.ensure("machine", &recipe(), build)
}

fn build(scratch: &Scratch) -> Result<()> {
    let archive = apt::archive(scratch.dir())?;
    let root = scratch.out();
    bootstrap(scratch, &archive, "minbase", PACKAGES, &root)?;
    fs_err::write(root.join("etc/hostname"), "wiabhost\n")?;
    fs_err::write(
        root.join("etc/hosts"),
        "127.0.0.1 localhost\n127.0.1.1 wiabhost\n",
    )?;
    for timer in QUIET {
        let path = root
            .join("etc/systemd/system")
            .join(format!("{timer}.timer"));
        fs_err::os::unix::fs::symlink("/dev/null", path)?;
    }
    for service in OFF {
        Cmd::new(["chroot", &root.display().to_string(), "systemctl"])
            .args(["disable", "--quiet", service])
            .run()?;
    }
    unit(
        &root,
        "wiab-lab-cgroup-rw.service",
        "sysinit.target",
        CGROUP_UNIT,
    )?;
    Cmd::new(["chroot", &root.display().to_string(), "useradd"])
        .args([
            "--create-home",
            "--shell",
            "/bin/bash",
            "--groups",
            "sudo",
            "demo",
        ])
        .run()?;
    let sudoers = root.join("etc/sudoers.d/demo");
    fs_err::write(&sudoers, "demo ALL=(ALL) NOPASSWD:ALL\n")?;
    Cmd::new(["chmod", "0440"])
        .arg(sudoers.display().to_string())
        .run()
}

/// Makes a file system at `root` with the packages named, separated by commas.
pub(crate) fn bootstrap(
    scratch: &Scratch,
    archive: &Archive,
    variant: &str,
    packages: &str,
    root: &Path,
) -> Result<()> {
    let list = scratch.dir().join("mirrors.list");
    fs_err::write(&list, apt::lines(archive))?;
    let preferences = scratch.dir().join("wiab-lab");
    fs_err::write(&preferences, PREFERENCES)?;
    let mut cmd = Cmd::isolated().args(["mmdebstrap", "--quiet", "--mode=root"]);
    for option in &archive.options {
        cmd = cmd.arg(format!("--aptopt={option}"));
    }
    cmd.arg(format!("--variant={variant}"))
        .arg(format!("--include={packages}"))
        .args([
            "--aptopt=APT::Install-Recommends \"false\"",
            "--aptopt=Acquire::Languages \"none\"",
        ])
        .args([
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
        ])
        .arg("--setup-hook=mkdir -p \"$1\"/etc/apt/preferences.d")
        .arg(format!(
            "--setup-hook=copy-in {} /etc/apt/preferences.d",
            preferences.display()
        ))
        .arg(archive.codename.as_str())
        .arg(root.display().to_string())
        .arg(list.display().to_string())
        .limit_s(1800)
        .run()
}

/// Installs a service that starts with `target`.
fn unit(root: &Path, name: &str, target: &str, text: &str) -> Result<()> {
    let system = root.join("etc/systemd/system");
    let wants = system.join(format!("{target}.wants"));
    fs_err::create_dir_all(&wants)?;
    fs_err::write(system.join(name), text)?;
    fs_err::os::unix::fs::symlink(format!("../{name}"), wants.join(name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_list_has_no_holes() {
        let names: Vec<&str> = PACKAGES.split(',').collect();
        let fine = |name: &&str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-.+".contains(c))
        };
        assert!(names.iter().all(fine), "{names:?}");
    }
}
