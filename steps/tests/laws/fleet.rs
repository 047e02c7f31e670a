//! Situations of existing machines and of the inventory.

use std::collections::BTreeMap;

use wiab_steps::host::sim::Machine;
use wiab_steps::kind::Input;
use wiab_steps::kinds::fleet::FleetHost;
use wiab_steps::kinds::inventory::{Inventory, InventoryHost};
use wiab_steps::kinds::inventory_checked::InventoryChecked;
use wiab_steps::kinds::login::Login;
use wiab_steps::kinds::vms_adopted::VmsAdopted;
use wiab_steps::values::inventory::Role;

use super::scenarios::{Scenario, deploy, dirs, keypair, looks, scenario};
use super::world::World;

/// Where the small release is unpacked.
const TREE: &str = "/home/demo/deploy.d/release";

/// The seven machines of the preset.
pub(crate) const SEVEN: [(&str, Role, u8); 7] = [
    ("assethost", Role::Asset, 10),
    ("kubenode1", Role::Kube, 21),
    ("kubenode2", Role::Kube, 22),
    ("kubenode3", Role::Kube, 23),
    ("datanode1", Role::Data, 31),
    ("datanode2", Role::Data, 32),
    ("datanode3", Role::Data, 33),
];

pub(crate) fn login() -> Login {
    Login {
        user: "demo".to_owned(),
        key_path: keypair().path,
        known_hosts: deploy("ssh/known_hosts"),
        accounts: BTreeMap::new(),
    }
}

pub(crate) fn adopted() -> VmsAdopted {
    let hosts = SEVEN.map(|(name, role, end)| FleetHost {
        name: name.to_owned(),
        role,
        ip: format!("10.20.0.{end}"),
        interface: None,
    });
    VmsAdopted {
        login: login(),
        hosts: hosts.to_vec(),
        host_keys: BTreeMap::new(),
        bridge: "br0".to_owned(),
    }
}

pub(crate) fn inventory() -> Inventory {
    let hosts = SEVEN.map(|(name, role, end)| InventoryHost {
        name: name.parse().unwrap(),
        role,
        ip: Input::Value(format!("10.20.0.{end}")),
        iface: Input::Value("ens3".to_owned()),
        user: None,
        port: None,
    });
    Inventory {
        path: deploy("inventory.yml"),
        tree: Input::Value(TREE.to_owned()),
        user: "demo".to_owned(),
        key_file: "ssh/id_ed25519".to_owned(),
        known_hosts: "ssh/known_hosts".to_owned(),
        hosts: hosts.to_vec(),
        mtu: Some(Input::Value("1500".to_owned())),
        overlay: Some("k8s-cluster:\n  vars:\n    calico_mtu: 1400\n".to_owned()),
    }
}

pub(crate) fn checked() -> InventoryChecked {
    InventoryChecked {
        inventory: inventory().path,
        names: SEVEN.map(|(name, ..)| name.to_owned()).to_vec(),
        login: login(),
    }
}

/// A host with a key, the release, and seven existing machines.
pub(crate) async fn given() -> Machine {
    let world = World::new(Machine::fresh().with_existing_vms());
    world.done(&dirs()).await;
    world.done(&keypair()).await;
    world.host.machine().with_release(TREE, "fleet")
}

/// The same with the machines adopted and the inventory written.
pub(crate) async fn written() -> Machine {
    let world = World::new(given().await);
    world.done(&adopted()).await;
    world.done(&inventory()).await;
    world.host.machine()
}

pub(crate) async fn all() -> Vec<Scenario> {
    let given = given().await;
    let world = World::new(given.clone());
    world.done(&adopted()).await;
    let mut six = adopted();
    six.hosts.truncate(6);
    let fewer = World::new(given.clone());
    fewer.done(&six).await;
    let older = World::new(world.host.machine());
    let mut first = inventory();
    first.overlay = None;
    older.done(&first).await;
    vec![
        scenario("fleet", "existing machines", &given, &adopted()),
        scenario(
            "fleet",
            "one more existing machine",
            &fewer.host.machine(),
            &adopted(),
        ),
        scenario("fleet", "inventory", &world.host.machine(), &inventory()),
        scenario(
            "fleet",
            "inventory over an older one",
            &older.host.machine(),
            &inventory(),
        ),
        Scenario {
            group: "fleet",
            ..looks("inventory checked", &written().await, &checked())
        },
    ]
}
