//! Situations of the host: access control lists and upgrades, and what must not happen.

use wiab_steps::host::sim::{Action, Fault, Machine};
use wiab_steps::kinds::apt_dist_upgrade::AptDistUpgrade;
use wiab_steps::kinds::host_acl::HostAcl;

use super::defects::asks;
use super::scenarios::{Scenario, scenario};
use super::world::{World, same};

const HOME: &str = "/home/demo";
const POOL: &str = "/home/demo/vm/images";

/// A host with the pool below the home, which is closed to others.
fn below_home() -> Machine {
    let machine = Machine::fresh().with_libvirt().with_packages(&["acl"]);
    let keep = format!("{POOL}/keep");
    machine.with_file(&keep, "", 0o600, "demo:demo")
}

fn acl() -> HostAcl {
    HostAcl {
        user: "libvirt-qemu".to_owned(),
        dirs: [HOME, "/home/demo/vm", POOL].map(str::to_owned).to_vec(),
    }
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let bare = below_home();
    let listed = bare.clone().with_acl(HOME, "backup", "r-x", "r-x");
    let weak = bare.clone().with_acl(HOME, "libvirt-qemu", "r--", "r-x");
    vec![
        scenario("host", "a pool below the home", &bare, &acl()),
        scenario("host", "a home with a list of its own", &listed, &acl()),
        scenario("host", "a home that lets the user read", &weak, &acl()),
        Scenario {
            one_way: true,
            ..scenario("host", "newer versions", &older(), &AptDistUpgrade {})
        },
    ]
}

/// A host with older versions of packages than the archive has.
fn older() -> Machine {
    Machine::fresh().with_upgrades(&["linux-image-generic", "curl", "openssh-server", "vim"])
}

#[tokio::test]
async fn nothing_is_upgraded_under_running_machines_whoever_has_them() {
    let machine = older().with_libvirt();
    let machine = machine.with_domain("somebodys", "default", true);
    asks(
        machine,
        &AptDistUpgrade {},
        "virtual machines run: somebodys",
    )
    .await;
    let off = older().with_libvirt().with_domain("off", "default", false);
    let world = World::new(off);
    assert!(world.done(&AptDistUpgrade {}).await.note.is_some());
}

#[tokio::test]
async fn a_restart_that_is_due_is_said() {
    let kernel = World::new(older()).done(&AptDistUpgrade {}).await;
    assert_eq!(kernel.outputs["reboot_required"], "yes");
    assert!(kernel.note.unwrap().contains("sudo reboot"));
    let none = World::new(Machine::fresh().with_upgrades(&["vim"]));
    assert_eq!(
        none.done(&AptDistUpgrade {}).await.outputs["reboot_required"],
        "no"
    );
}

#[tokio::test]
async fn only_the_directories_on_the_way_are_opened_and_only_where_closed() {
    let world = World::new(below_home());
    let start = world.state();
    let step = world.bind(&acl());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    let said = world.said.lock().unwrap().join("\n");
    let set: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("setfacl"))
        .collect();
    // The directories inside are open to everybody already, and nothing is recursive.
    assert_eq!(set, ["# setfacl -m u:libvirt-qemu:--x -- /home/demo"]);
    let inside = format!("file:{POOL}/keep");
    assert_eq!(world.state()[&inside], start[&inside]);
    step.undo(1, &before).await.unwrap();
    same(&world.state(), &start, "undone");
}

#[tokio::test]
async fn what_others_allowed_since_stays() {
    let world = World::new(below_home());
    let step = world.bind(&acl());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    let meddled = |machine: Machine| machine.with_acl(HOME, "backup", "r-x", "r-x");
    world.host.meddle(meddled).unwrap();
    step.undo(1, &before).await.unwrap();
    let list = &world.state()["file:/home/demo"]["acl"];
    assert_eq!(list["user:backup"], "r-x");
    assert!(list.get("user:libvirt-qemu").is_none(), "{list}");
}

#[tokio::test]
async fn a_mask_that_holds_everybody_back_is_not_widened() {
    let masked = below_home().with_acl(HOME, "backup", "r-x", "r--");
    let world = World::new(masked);
    let start = world.state();
    let step = world.bind(&acl());
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert!(
        failure.why.contains("mask `r--` of /home/demo"),
        "{failure:?}"
    );
    assert!(
        failure
            .hint
            .unwrap()
            .contains("setfacl -m m::r-x /home/demo")
    );
    same(&world.state(), &start, "refused");
}

#[tokio::test]
async fn a_file_system_without_lists_is_named_with_the_way_out() {
    let world = World::new(below_home());
    let stderr = "setfacl: /home/demo: Operation not supported".to_owned();
    world
        .host
        .arm(Fault::once("setfacl*", Action::Fail { code: 1, stderr }));
    let step = world.bind(&acl());
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert!(failure.why.contains("not supported"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("vms.pool"));
}
