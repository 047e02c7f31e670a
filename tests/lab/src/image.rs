//! The small virtual machine's disk image: Debian's essential packages, sshd, the newest kernel, and a first program that
//! reads a NoCloud seed as cloud-init would. It boots in seconds without KVM.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::apt;
use crate::cache::{Cache, Scratch};
use crate::cmd::Cmd;
use crate::error::{LabError, Result};
use crate::rootfs;

const PACKAGES: &str =
    "openssh-server,sudo,iproute2,procps,busybox-static,python3,apt,curl,ca-certificates,gpg";
/// Drivers of a machine that libvirt makes: virtio devices, and a CD-ROM on AHCI for the seed.
const DRIVERS: [&str; 12] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "ext4",
    "crc32c_generic",
    "ahci",
    "sr_mod",
    "isofs",
    "evdev",
    "button",
    "virtio_rng",
    "af_packet",
];
/// Files of our own in the image: path, text.
const FILES: [(&str, &str); 4] = [
    ("sbin/wiab-init", include_str!("../guest/init")),
    ("sbin/wiab-dhcp", include_str!("../guest/dhcp")),
    ("usr/bin/cloud-init", include_str!("../guest/cloud-init")),
    ("etc/acpi/PWRF/00000080", include_str!("../guest/power")),
];
const INITRD_INIT: &str = include_str!("../guest/initrd-init");
const BOOT: &str = "DEFAULT l\nPROMPT 0\nTIMEOUT 1\nLABEL l\n LINUX /boot/vmlinuz\n INITRD /boot/initrd\n \
APPEND root=/dev/vda rw console=ttyS0 quiet panic=5\n";
const SSHD: &str =
    "HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\nPermitRootLogin no\n";
/// Size of its file system in MiB; only what is written takes room.
const SIZE_MIB: u32 = 8192;
/// The system that Wire's machines are meant to run; what is installed is that of this machine.
const SYSTEM: &str =
    "ID=ubuntu\nVERSION_ID=\"22.04\"\nPRETTY_NAME=\"Small system of wiab's lab\"\n";
/// Raised when the steps below change.
const VERSION: u32 = 2;

fn recipe() -> String {
    format!(
        "{VERSION}\n{PACKAGES}\n{DRIVERS:?}\n{FILES:?}\n{INITRD_INIT}\n{BOOT}\n{SSHD}\n{SIZE_MIB}\n{SYSTEM}"
    )
}

/// The finished image.
pub(crate) fn built(cache: &Cache) -> Result<PathBuf> {
    Ok(cache.built("image", &recipe())?.join("base.qcow2"))
}

/// Builds it unless the cache has it.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    Ok(cache.ensure("image", &recipe(), build)?.join("base.qcow2"))
}

fn build(scratch: &Scratch) -> Result<()> {
    let archive = apt::archive(scratch.dir())?;
    let root = scratch.dir().join("root");
    rootfs::bootstrap(scratch, &archive, "essential", PACKAGES, &root)?;
    let kernel = scratch.dir().join("kernel");
    let package = apt::kernel(scratch.dir(), &archive)?;
    Cmd::new(["dpkg", "-x"])
        .args([text(&package), text(&kernel)])
        .run()?;
    let version = kernel_version(&kernel)?;
    for (path, content) in FILES {
        install(&root.join(path), content)?;
    }
    fs_err::write(root.join("etc/ssh/sshd_config.d/wiab-lab.conf"), SSHD)?;
    fs_err::remove_file(root.join("etc/os-release"))?;
    fs_err::write(root.join("etc/os-release"), SYSTEM)?;
    for key in ["ed25519", "rsa", "ecdsa"] {
        for end in ["", ".pub"] {
            let path = root.join(format!("etc/ssh/ssh_host_{key}_key{end}"));
            if path.exists() {
                fs_err::remove_file(path)?;
            }
        }
    }
    fs_err::create_dir_all(root.join("boot/extlinux"))?;
    fs_err::write(root.join("boot/extlinux/extlinux.conf"), BOOT)?;
    fs_err::copy(
        kernel.join(format!("boot/vmlinuz-{version}")),
        root.join("boot/vmlinuz"),
    )?;
    initrd(scratch, &root, &kernel, &version)?;
    pack(scratch, &root)
}

/// The version of the one kernel that was unpacked at `kernel`; its driver index is made.
fn kernel_version(kernel: &Path) -> Result<String> {
    if !kernel.join("lib/modules").is_dir() {
        fs_err::os::unix::fs::symlink("usr/lib", kernel.join("lib"))?;
    }
    let version = fs_err::read_dir(kernel.join("lib/modules"))?
        .find_map(|entry| entry.ok()?.file_name().into_string().ok())
        .ok_or_else(|| LabError::check("the kernel package has no drivers"))?;
    Cmd::new(["depmod", "-b"])
        .args([text(kernel), version.clone()])
        .run()?;
    Ok(version)
}

/// The first file system: busybox and the drivers, in the order in which they can be loaded.
fn initrd(scratch: &Scratch, root: &Path, kernel: &Path, version: &str) -> Result<()> {
    let dir = scratch.dir().join("initrd");
    for name in ["bin", "proc", "sys", "dev", "root", "lib/modules"] {
        fs_err::create_dir_all(dir.join(name))?;
    }
    let mut order: Vec<String> = Vec::new();
    for driver in DRIVERS {
        let shown = Cmd::new([
            "modprobe",
            "-d",
            &text(kernel),
            "-S",
            version,
            "--show-depends",
            driver,
        ]);
        // A driver that this kernel has built in, or no longer has, is listed as such or not at all.
        let shown = shown.done()?.stdout;
        for file in loads(&shown) {
            let name = module_name(file).to_owned();
            if !order.contains(&name) {
                let to = dir.join(format!("lib/modules/{name}.ko"));
                unpack(Path::new(file), &to)?;
                order.push(name);
            }
        }
    }
    fs_err::write(dir.join("lib/modules/order"), order.join("\n") + "\n")?;
    install(&dir.join("init"), INITRD_INIT)?;
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path));
    let busybox = busybox.iter().find(|path| path.is_file());
    let busybox = busybox.ok_or_else(|| LabError::check("busybox-static brought no busybox"))?;
    fs_err::copy(busybox, dir.join("bin/busybox"))?;
    let script = "cd \"$1\" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1 > \"$2\"";
    Cmd::new(["sh", "-c", script, "sh"])
        .args([text(&dir), text(&root.join("boot/initrd"))])
        .run()
}

/// Makes one bootable file system without a partition table, as a qcow2 image.
fn pack(scratch: &Scratch, root: &Path) -> Result<()> {
    let raw = scratch.dir().join("raw");
    fs_err::File::create(&raw)?.set_len(u64::from(SIZE_MIB) << 20)?;
    // extlinux reads no newer features than these.
    Cmd::new([
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-O",
        "^64bit,^metadata_csum,^has_journal",
        "-m",
        "0",
    ])
    .args(["-i", "65536", "-E", "lazy_itable_init=1", "-d"])
    .args([text(root), text(&raw)])
    .run()?;
    let point = scratch.dir().join("mounted");
    fs_err::create_dir_all(&point)?;
    let script =
        "mount -o loop \"$1\" \"$2\" && extlinux --install \"$2/boot/extlinux\" && umount \"$2\"";
    Cmd::isolated()
        .args(["sh", "-c", script, "sh"])
        .args([text(&raw), text(&point)])
        .run()?;
    fs_err::create_dir_all(scratch.out())?;
    let image = scratch.out().join("base.qcow2");
    Cmd::new(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2"])
        .args([text(&raw), text(&image)])
        .run()
}

fn install(path: &Path, content: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs_err::create_dir_all(dir)?;
    }
    fs_err::write(path, content)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Copies a driver, unpacking it: busybox loads only plain ones.
fn unpack(from: &Path, to: &Path) -> Result<()> {
    let program = match from.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => {
            fs_err::copy(from, to)?;
            return Ok(());
        }
    };
    let script = "\"$1\" -dc \"$2\" > \"$3\"";
    Cmd::new(["sh", "-c", script, "sh", program])
        .args([text(from), text(to)])
        .run()
}

/// The files that `modprobe --show-depends` says are loaded, in order.
fn loads(shown: &str) -> impl Iterator<Item = &str> {
    shown
        .lines()
        .filter_map(|line| line.strip_prefix("insmod ")?.split_whitespace().next())
}

/// `/lib/modules/6.12/kernel/fs/ext4/ext4.ko.xz` is `ext4`.
fn module_name(file: &str) -> &str {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_modprobe_shows() {
        let shown = "builtin scsi_mod\ninsmod /k/lib/modules/6/kernel/a/libata.ko.xz \n\
                     insmod /k/lib/modules/6/kernel/a/ahci.ko.xz ahci_em_messages=0\n";
        let names: Vec<&str> = loads(shown).map(module_name).collect();
        assert_eq!(names, ["libata", "ahci"]);
    }
}
