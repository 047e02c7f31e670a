//! Situations of a release: its artifact, its tree.

use wiab_steps::host::sim::Machine;
use wiab_steps::kinds::artifact_file::ArtifactFile;
use wiab_steps::kinds::group_vars::GroupVars;
use wiab_steps::kinds::release_checked::ReleaseChecked;
use wiab_steps::kinds::release_tree::ReleaseTree;

use super::scenarios::{Scenario, scenario};
use super::world::World;

/// An artifact of the latest shape.
pub(crate) const HASH: &str = "5b01f250e128db689715558bad6b5e532cf4a7a0";
pub(crate) const DIR: &str = "/home/demo/deploy.d";
pub(crate) const LOCAL: &str = "/home/demo/wire.tgz";
pub(crate) const POINTER: &str = "/home/demo/deploy/release";

pub(crate) fn url(hash: &str) -> String {
    format!("https://bucket.example/artifacts/wire-server-deploy-static-{hash}.tgz")
}

/// The download of an artifact.
pub(crate) fn remote(hash: &str) -> ArtifactFile {
    let name = format!("wire-server-deploy-static-{hash}.tgz");
    ArtifactFile {
        source: url(hash),
        sha256: None,
        path: format!("/home/demo/{name}"),
        record: format!("{DIR}/{name}.sha256"),
        keep: false,
    }
}

/// A file on the host.
pub(crate) fn local() -> ArtifactFile {
    ArtifactFile {
        source: LOCAL.to_owned(),
        sha256: None,
        path: LOCAL.to_owned(),
        record: format!("{DIR}/wire.tgz.sha256"),
        keep: true,
    }
}

/// A machine with the directories that these steps need.
pub(crate) fn prepared() -> Machine {
    let machine = Machine::fresh().with_packages(&["curl"]);
    ["deploy", "deploy.d"].iter().fold(machine, |machine, dir| {
        let keep = format!("/home/demo/{dir}/keep");
        machine
            .with_file(&keep, "", 0o644, "demo:demo")
            .with_owner(&format!("/home/demo/{dir}"), "demo:demo")
            .without_file(&keep)
    })
}

/// The tree of the artifact in [`LOCAL`].
pub(crate) async fn tree(machine: &Machine) -> ReleaseTree {
    let world = World::new(machine.clone());
    let receipt = world.done(&local()).await;
    ReleaseTree {
        artifact: LOCAL.to_owned().into(),
        sha256: receipt.outputs["sha256"].clone().into(),
        name: HASH.to_owned(),
        dir: DIR.to_owned(),
        pointer: POINTER.to_owned(),
    }
}

pub(crate) async fn scenarios() -> Vec<Scenario> {
    let machine = prepared();
    let with_local = machine.clone().with_artifact(LOCAL, HASH, None);
    let by_hand = machine
        .clone()
        .with_artifact(&remote(HASH).path, HASH, None);
    let tree = tree(&with_local).await;
    let older = with_local.clone().with_file(
        POINTER,
        "/home/demo/deploy.d/0123456789abcdef\n",
        0o644,
        "demo:demo",
    );
    let unpacked = machine.clone().with_release(TREE, HASH);
    vec![
        scenario("release", "a check", &unpacked, &checked()),
        scenario("release", "group variables", &unpacked, &group_vars()),
        scenario("release", "a download", &machine, &remote(HASH)),
        scenario("release", "a download by hand", &by_hand, &remote(HASH)),
        scenario("release", "a file on the host", &with_local, &local()),
        scenario("release", "a tree", &with_local, &tree),
        scenario("release", "a tree after an older one", &older, &tree),
    ]
}

/// A release unpacked as the steps do it.
pub(crate) const TREE: &str = "/home/demo/deploy.d/0123456789abcdef";

pub(crate) fn checked() -> ReleaseChecked {
    ReleaseChecked {
        tree: TREE.to_owned().into(),
        name: HASH.to_owned(),
        accept_expired_key: false,
    }
}

pub(crate) fn group_vars() -> GroupVars {
    GroupVars {
        tree: TREE.to_owned().into(),
        dir: "/home/demo/deploy/group_vars".to_owned(),
        record: "/home/demo/deploy/group-vars.json".to_owned(),
    }
}
