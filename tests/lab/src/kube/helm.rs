//! helm for the image of the tools: the real engine, which is published as a library of Python, behind a small command line.

use std::path::Path;

use crate::cmd::Cmd;
use crate::error::Result;

/// The engine, as pip names it, pinned by its digest.
const ENGINE: &str = "helm-python-sdk==0.2.2 --hash=sha256:28cc13abaf134c3a7e37f070c939be8d9cdc9825c3c8b8b2d35161073bcd4578";
const SHIM: &str = include_str!("../../kube/helm.py");
/// The package's directory and its library; the archive holds the library under three names.
const PACKAGE: &str = "helm_python";
const COPIES: [&str; 2] = ["lib/libhelm_c.so.0", "lib/libhelm_c.so.0.2.2"];

/// What belongs into the recipe of whatever helm is put into.
pub(crate) fn recipe() -> String {
    format!("{ENGINE}\n{SHIM}")
}

/// Puts helm into the file system at `root`, which has Debian's python3. `work` is a scratch directory.
pub(crate) fn install(work: &Path, root: &Path) -> Result<()> {
    let dir = work.join("helm");
    fs_err::create_dir_all(&dir)?;
    let list = dir.join("requirements");
    fs_err::write(&list, format!("{ENGINE}\n"))?;
    let text = |path: &Path| path.display().to_string();
    Cmd::new(["python3", "-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--platform=manylinux_2_28_x86_64", "--python-version=3.11"])
        .args(["--require-hashes", "-r", &text(&list), "-d", &text(&dir)])
        .limit_s(600)
        .run()?;
    let unpacked = dir.join("unpacked");
    Cmd::new([
        "sh",
        "-c",
        "python3 -m zipfile -e \"$1\"/*.whl \"$2\"",
        "sh",
    ])
    .args([text(&dir), text(&unpacked)])
    .limit_s(300)
    .run()?;
    let package = unpacked.join(PACKAGE);
    for copy in COPIES {
        fs_err::remove_file(package.join(copy))?;
    }
    let modules = root.join("usr/lib/python3/dist-packages");
    Cmd::new(["cp", "-r", &text(&package), &text(&modules)]).run()?;
    let program = root.join("usr/local/bin/helm");
    fs_err::write(&program, SHIM)?;
    Cmd::new(["chmod", "755", &text(&program)]).run()
}
