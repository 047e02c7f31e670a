//! The image of the release's tools, as `docker save` writes it: ansible, kubectl and what they need, from Debian's packages.

use std::path::{Path, PathBuf};

use wiab_steps::host::sim::StandIn;

use crate::apt;
use crate::cache::{Cache, Scratch};
use crate::cmd::Cmd;
use crate::error::{LabError, Result};
use crate::kube::helm;
use crate::rootfs;

const PACKAGES: &str =
    "ansible-core,ca-certificates,curl,jq,kubernetes-client,openssh-client,python3";
/// How ansible behaves without a file of its own in the working directory.
const ANSIBLE: &str = "[defaults]\nforks = 10\ninterpreter_python = /usr/bin/python3\n\
[ssh_connection]\npipelining = True\nssh_args = -o ControlMaster=auto -o ControlPersist=600s\n";
/// Left out of the image: nothing reads them.
const LEFT_OUT: [&str; 5] = [
    "var/lib/apt/lists",
    "var/cache/apt",
    "usr/share/locale",
    "usr/lib/python3/dist-packages/ansible_test",
    "var/log",
];
/// Raised when the steps below change.
const VERSION: u32 = 2;

fn recipe(name: &str) -> String {
    let helm = helm::recipe();
    format!("{VERSION}\n{PACKAGES}\n{ANSIBLE}\n{LEFT_OUT:?}\n{name}\n{helm}")
}

/// The archive; builds it unless the cache has it.
pub(crate) fn ensure(cache: &Cache, release: &StandIn) -> Result<PathBuf> {
    let name = release.tool_image();
    let place = cache.ensure("tools", &recipe(&name), |scratch| build(scratch, &name))?;
    Ok(place.join("image.tgz"))
}

fn build(scratch: &Scratch, name: &str) -> Result<()> {
    let archive = apt::archive(scratch.dir())?;
    let root = scratch.dir().join("root");
    rootfs::bootstrap(scratch, &archive, "minbase", PACKAGES, &root)?;
    helm::install(scratch.dir(), &root)?;
    for path in LEFT_OUT {
        crate::cache::remove_tree(&root.join(path))?;
    }
    for (path, text) in [("etc/ansible/ansible.cfg", ANSIBLE), ("var/log/.keep", "")] {
        let path = root.join(path);
        fs_err::create_dir_all(path.parent().unwrap_or(&root))?;
        fs_err::write(path, text)?;
    }
    pack(scratch, &root, name)
}

/// One layer, a configuration that is named by its digest, and a list.
fn pack(scratch: &Scratch, root: &Path, name: &str) -> Result<()> {
    let image = scratch.dir().join("image");
    fs_err::create_dir_all(&image)?;
    let layer = image.join("layer.tar");
    tar(root, &layer, &["."])?;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
            "Cmd": ["bash"], "WorkingDir": "/wire-server-deploy"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer)?)]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "wiab-lab"}],
    });
    let file = write_image(&image, &config.to_string(), name)?;
    fs_err::create_dir_all(scratch.out())?;
    // The list first: who looks for it need not unpack the layer.
    let script = "tar -cf - -C \"$1\" manifest.json \"$2\" layer.tar | gzip -1 > \"$3\"";
    Cmd::new(["sh", "-c", script, "sh"])
        .args([text(&image), file, text(&scratch.out().join("image.tgz"))])
        .limit_s(600)
        .run()
}

/// Writes configuration and list of an image whose layer is `layer.tar`; the configuration's file name.
pub(crate) fn write_image(dir: &Path, config: &str, name: &str) -> Result<String> {
    let path = dir.join("config");
    fs_err::write(&path, config)?;
    let file = format!("{}.json", sha256(&path)?);
    fs_err::rename(&path, dir.join(&file))?;
    let manifest =
        serde_json::json!([{"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]}]);
    fs_err::write(dir.join("manifest.json"), manifest.to_string())?;
    Ok(file)
}

/// Packs what is named in a directory, as root's, whatever the time.
pub(crate) fn tar(dir: &Path, to: &Path, names: &[&str]) -> Result<()> {
    Cmd::new(["tar", "--sort=name", "--owner=0", "--group=0"])
        .args(["--numeric-owner", "--mtime=@0", "-cf"])
        .arg(text(to))
        .args(["-C".to_owned(), text(dir), "--".to_owned()])
        .args(names.iter().copied())
        .limit_s(600)
        .run()
}

/// The SHA-256 of a file in hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let line = Cmd::new(["sha256sum", "--", &text(path)]).output()?;
    let digest = line.split_whitespace().next();
    digest
        .map(str::to_owned)
        .ok_or_else(|| LabError::check("sha256sum printed nothing"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
