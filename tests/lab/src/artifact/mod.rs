//! The artifact of the stand-in release: the files that the simulated download server has, with real archives, playbooks and
//! charts in it that do small real work on real machines.

mod archives;
mod charts;
mod packages;
mod playbooks;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use wiab_steps::host::sim::StandIn;

use crate::cache::{Cache, Scratch};
use crate::cmd::Cmd;
use crate::error::{LabError, Result};
use crate::inside::Bind;
use crate::kube::pki;
use crate::sys;
use crate::tools;

/// The release that the stand-in has the shape of: 5.32.
const HASH: &str = "5b01f250e128db689715558bad6b5e532cf4a7a0";
/// How the artifact's file is called.
const FILE: &str = "wire-server-deploy-static-lab.tgz";
/// Where the release has the program of its machines.
const GUEST: &str = "ansible/files/wiab-guest";
/// What its playbook leaves for kubectl: the lab's cluster is not made by it, but waits outside.
const CONFIG: &str = "ansible/files/admin.conf";
/// What its playbook puts into the cluster.
const SYSTEM: (&str, &str) = (
    "ansible/files/system.yaml",
    include_str!("../../release/cluster/system.yaml"),
);
const TOOL_ARCHIVE: &str = "containers-adminhost/container-wire-server-deploy.tgz";
/// Raised when the steps below change.
const VERSION: u32 = 1;

/// A file of the release: path and text.
pub(crate) type Text = (String, String);

/// The artifact; builds it unless the cache has it.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    let release = StandIn::of(HASH);
    let tools = tools::ensure(cache, &release)?;
    let guest = sys::beside("wiab-guest")?;
    let mut texts = texts(&release);
    let config = pki::ensure(cache)?.join("admin.conf");
    texts.push((CONFIG.to_owned(), fs_err::read_to_string(config)?));
    texts.push((SYSTEM.0.to_owned(), SYSTEM.1.to_owned()));
    let recipe = format!(
        "{VERSION}\n{}\n{}\n{}\n{texts:?}",
        tools.display(),
        blake3::hash(&fs_err::read(&guest)?),
        packages::recipe(),
    );
    let place = cache.ensure("release", &recipe, |scratch| {
        build(scratch, &release, &texts, &tools, &guest)
    })?;
    Ok(place.join(FILE))
}

/// The artifact, as something that the machine sees where the configurations name it.
pub(crate) fn share(cache: &Cache) -> Result<Bind> {
    Ok(Bind {
        from: fs_err::canonicalize(ensure(cache)?)?,
        to: Path::new("/lab").join(FILE),
        writable: false,
    })
}

/// Every file that is a text: the stand-in's own, replaced and joined by those that do something.
fn texts(release: &StandIn) -> Vec<Text> {
    let files = release.files().into_iter();
    let mut texts: Vec<Text> = files
        .filter_map(|file| Some((file.path, file.text?)))
        .collect();
    let ours = playbooks::all().into_iter().chain(charts::all(release));
    for (path, text) in ours {
        texts.retain(|(other, _)| *other != path);
        texts.push((path, text));
    }
    texts
}

fn build(
    scratch: &Scratch,
    release: &StandIn,
    texts: &[Text],
    tools: &Path,
    guest: &Path,
) -> Result<()> {
    let tree = scratch.dir().join("tree");
    for (path, text) in texts {
        put(&tree, path, text)?;
    }
    let program = tree.join(GUEST);
    make_parent(&program)?;
    // What a debugger needs is most of it.
    Cmd::new(["strip", "-o", &program.display().to_string(), "--"])
        .arg(guest.display().to_string())
        .run()?;
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let archive = tree.join(TOOL_ARCHIVE);
    make_parent(&archive)?;
    fs_err::copy(tools, archive)?;
    archives::all(scratch, release, &tree)?;
    packages::repository(scratch, &tree.join("debs-jammy.tar"))?;
    for file in release.files() {
        if !tree.join(&file.path).is_file() {
            return Err(LabError::check(format!(
                "the stand-in release lacks {}",
                file.path
            )));
        }
    }
    fs_err::create_dir_all(scratch.out())?;
    let script =
        "tar --sort=name --owner=0 --group=0 --numeric-owner -cf - -C \"$1\" . | gzip -1 > \"$2\"";
    Cmd::new(["sh", "-c", script, "sh"])
        .arg(tree.display().to_string())
        .arg(scratch.out().join(FILE).display().to_string())
        .limit_s(600)
        .run()
}

fn put(dir: &Path, path: &str, text: &str) -> Result<()> {
    let path = dir.join(path);
    make_parent(&path)?;
    Ok(fs_err::write(path, text)?)
}

fn make_parent(path: &Path) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs_err::create_dir_all(dir)?;
    }
    Ok(())
}
