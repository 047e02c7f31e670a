//! Situations of the release: its artifact on the way, unpacked, checked.

use wiab_engine::ports::Clock as _;
use wiab_steps::host::sim::Machine;
use wiab_steps::kind::Input;
use wiab_steps::kinds::artifact_file::ArtifactFile;
use wiab_steps::kinds::dirs::{Dir, Dirs};
use wiab_steps::kinds::release_checked::ReleaseChecked;
use wiab_steps::kinds::release_files::ReleaseFiles;
use wiab_steps::kinds::release_tree::ReleaseTree;

use super::scenarios::{Scenario, scenario};
use super::world::World;

/// A hash of a release of the newer shape.
pub(crate) const HASH: &str = "5b01f250e128db689715558bad6b5e532cf4a7a0";
/// The hash of another release, of the older shape.
pub(crate) const OTHER: &str = "f1f624256bdab0f9f76158c7f45e0618ee641237";
const HOME: &str = "/home/demo";
const ROOT: &str = "/home/demo/deploy.d";
const VARS: &str = "ansible/inventory/offline/group_vars/all";

pub(crate) fn url(hash: &str) -> String {
    format!(
        "https://s3-eu-west-1.amazonaws.com/public.wire.com/artifacts/wire-server-deploy-static-{hash}.tgz"
    )
}

pub(crate) fn download(hash: &str) -> ArtifactFile {
    let path = format!("{HOME}/wire-server-deploy-static-{hash}.tgz");
    ArtifactFile {
        source: url(hash),
        sha256: None,
        record: format!("{path}.sha256"),
        path,
        keep: false,
    }
}

/// A machine with the directories that the release needs.
pub(crate) async fn ground() -> Machine {
    let world = World::new(Machine::fresh().with_packages(&["curl"]));
    let deploy = format!("{HOME}/deploy");
    let mut paths = vec![ROOT.to_owned(), deploy.clone(), format!("{deploy}/.wiab")];
    let mut path = deploy;
    for part in VARS.split('/') {
        path = format!("{path}/{part}");
        paths.push(path.clone());
    }
    let dirs = paths.into_iter().map(|path| Dir { path, mode: 0o755 });
    let dirs = Dirs {
        dirs: dirs.collect(),
        root: false,
    };
    world.done(&dirs).await;
    world.host.machine()
}

/// A machine with an artifact, and what it is.
pub(crate) async fn downloaded(hash: &str, machine: Machine) -> (Machine, ReleaseTree) {
    // There already: a second download in one world would find the job of the first.
    let machine = machine.with_artifact(&download(hash).path, hash, None);
    let world = World::new(machine);
    let receipt = world.done(&download(hash)).await;
    let tree = ReleaseTree {
        artifact: Input::Value(receipt.outputs["path"].clone()),
        sha256: Input::Value(receipt.outputs["sha256"].clone()),
        root: ROOT.to_owned(),
        pointer: format!("{HOME}/deploy/.wiab/release"),
    };
    (world.host.machine(), tree)
}

/// A machine with an unpacked release, and its tree.
pub(crate) async fn unpacked(hash: &str, machine: Machine) -> (Machine, String) {
    let (machine, tree) = downloaded(hash, machine).await;
    let world = World::new(machine);
    world.done(&tree).await;
    let digest = tree.sha256.get().unwrap();
    let path = format!("{ROOT}/{}", digest.get(..16).unwrap());
    (world.host.machine(), path)
}

pub(crate) fn checked(tree: &str) -> ReleaseChecked {
    ReleaseChecked {
        tree: Input::Value(tree.to_owned()),
        artifact: HASH.to_owned(),
        accept_expired_key: false,
    }
}

pub(crate) fn copies(tree: &str) -> ReleaseFiles {
    let pair = |name: &str| {
        let path = format!("{VARS}/{name}");
        (path.clone(), format!("{HOME}/deploy/{path}"))
    };
    ReleaseFiles {
        tree: Input::Value(tree.to_owned()),
        root: ROOT.to_owned(),
        files: vec![pair("key.yml"), pair("offline.yml")],
        own: format!("{HOME}/deploy/{VARS}/zz-site.yml"),
    }
}

pub(crate) async fn all() -> Vec<Scenario> {
    let (there, tree) = downloaded(HASH, ground().await).await;
    let old = format!("{ROOT}/0123456789abcdef");
    let older = ground().await.with_release(&old, OTHER).with_file(
        &format!("{HOME}/deploy/.wiab/release"),
        &format!("{old}\n"),
        0o644,
        "demo:demo",
    );
    let (both, newer) = downloaded(HASH, older).await;
    let (machine, path) = unpacked(HASH, ground().await).await;
    vec![
        scenario("release", "an artifact", &ground().await, &download(HASH)),
        scenario("release", "a release", &there, &tree),
        scenario("release", "a release beside an older one", &both, &newer),
        scenario("release", "a release's check", &machine, &checked(&path)),
        scenario("release", "files of a release", &machine, &copies(&path)),
    ]
}

#[tokio::test]
async fn a_download_that_was_cut_off_is_continued() {
    let part = format!("{}.part", download(HASH).path);
    let begun = ground().await.with_artifact(&part, HASH, Some(11 << 30));
    let (whole, rest) = (World::new(ground().await), World::new(begun));
    let took = async |world: &World| {
        let before_ms = world.host.clock().mono_ms();
        world.done(&download(HASH)).await;
        world.host.clock().mono_ms() - before_ms
    };
    let (whole_ms, rest_ms) = (took(&whole).await, took(&rest).await);
    assert!(rest_ms * 10 < whole_ms, "{rest_ms} of {whole_ms} ms");
}
