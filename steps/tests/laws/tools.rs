//! Situations for what runs in the release's tool container.

use wiab_steps::host::sim::Machine;
use wiab_steps::kind::Input;
use wiab_steps::kinds::ansible_playbook::AnsiblePlaybook;
use wiab_steps::kinds::plays::Play;
use wiab_steps::kinds::tool_image::ToolImage;

use super::cluster;
use super::scenarios::{DEPLOY, Scenario, scenario};

/// The unpacked release.
pub(crate) const TREE: &str = "/home/demo/deploy.d/0123456789abcdef";
/// The name of its tool image.
pub(crate) const IMAGE: &str = "quay.io/wire/wire-server-deploy:new";

pub(crate) fn archive() -> String {
    format!("{TREE}/containers-adminhost/container-wire-server-deploy.tgz")
}

/// A machine with docker and an unpacked release.
pub(crate) fn unpacked() -> Machine {
    let list = "quay.io_wire_zauth_5.23.0.tar\ncontainer-wire-server-deploy.tgz\n";
    Machine::fresh()
        .with_packages(&["docker.io"])
        .with_file(&format!("{DEPLOY}/.keep"), "", 0o644, "demo:demo")
        .with_file(
            &format!("{TREE}/containers-adminhost/index.txt"),
            list,
            0o644,
            "demo:demo",
        )
        .with_docker_archive(&archive(), IMAGE, "new tools")
}

pub(crate) fn image() -> ToolImage {
    ToolImage {
        tree: Input::Value(TREE.to_owned()),
    }
}

pub(crate) fn playbook(play: Play) -> AnsiblePlaybook {
    AnsiblePlaybook {
        play,
        site: cluster::site(2),
        vars: Vec::new(),
        apt_options: None,
    }
}

pub(crate) async fn scenarios() -> Vec<Scenario> {
    let machines = cluster::played(cluster::small().await, &[0]).await;
    let other = unpacked().with_docker_image("quay.io/wire/wire-server-deploy:old", "old tools");
    let taken = unpacked().with_docker_image(IMAGE, "tools under the same name");
    let untagged = unpacked().with_docker_image("quay.io/wire/tools:latest", "new tools");
    let stand_in = Machine::fresh()
        .with_packages(&["docker.io"])
        .with_release(TREE, "5c06158547bc57846eadaa2be5c8ec43e0a3ba2f");
    vec![
        scenario(
            "tools",
            "a playbook on two machines",
            &machines,
            &playbook(Play::SyncTime),
        ),
        scenario(
            "tools",
            "image of the stand-in release",
            &stand_in,
            &image(),
        ),
        scenario("tools", "image into an empty docker", &unpacked(), &image()),
        scenario("tools", "image beside an older one", &other, &image()),
        scenario("tools", "image whose name is taken", &taken, &image()),
        scenario("tools", "image under another name", &untagged, &image()),
    ]
}
