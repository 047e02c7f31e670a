//! The installation's machines with everything that playbooks need, and the laws of what runs on them.

use tokio::sync::OnceCell;
use wiab_engine::ports::Cancel;
use wiab_steps::host::sim::Machine;
use wiab_steps::host::{Cmd, Host as _, Output};
use wiab_steps::kind::Input;
use wiab_steps::kinds::cloudinit_seed::CloudinitSeed;
use wiab_steps::kinds::cluster_verified::ClusterVerified;
use wiab_steps::kinds::data_verified::{DataService, DataVerified};
use wiab_steps::kinds::dirs::Dir;
use wiab_steps::kinds::images_seeded::{Acmesolver, ImagesSeeded};
use wiab_steps::kinds::inventory::{Inventory, InventoryHost};
use wiab_steps::kinds::libvirt_domain::LibvirtDomain;
use wiab_steps::kinds::libvirt_domain_running::LibvirtDomainRunning;
use wiab_steps::kinds::libvirt_network::{LibvirtNetwork, Reservation};
use wiab_steps::kinds::login::Login;
use wiab_steps::kinds::plays::images::ImageSet;
use wiab_steps::kinds::plays::{Role, Site, SiteHost};
use wiab_steps::kinds::qcow2_overlay::Qcow2Overlay;
use wiab_steps::kinds::ssh_known_hosts::{KnownHost, SshKnownHosts};
use wiab_steps::kinds::tool::Toolbox;
use wiab_steps::kinds::vm_ready::VmReady;
use wiab_steps::values::inventory;

use super::scenarios::{
    POOL, Scenario, deploy, dirs, domain, host_keys, image, keypair, network, ready, scenario,
    seed, without_default,
};
use super::world::World;

pub(crate) const TREE: &str = "/home/demo/deploy.d/0123456789abcdef";
pub(crate) const IMAGE: &str = "quay.io/wire/wire-server-deploy:tools";
/// The release that is unpacked: a recent one.
const RELEASE: &str = "cafe";

const MACHINES: [(&str, &str, Role); 7] = [
    ("assethost", "10", Role::Assethost),
    ("kubenode1", "21", Role::Kubenode),
    ("kubenode2", "22", Role::Kubenode),
    ("kubenode3", "23", Role::Kubenode),
    ("datanode1", "31", Role::Datanode),
    ("datanode2", "32", Role::Datanode),
    ("datanode3", "33", Role::Datanode),
];

fn text(text: &str) -> Input<String> {
    Input::Value(text.to_owned())
}

fn ip(end: &str) -> String {
    format!("192.168.122.{end}")
}

/// How playbooks find the machines; `each` of every role but the asset host.
pub(crate) fn site(each: usize) -> Site {
    let of = |role: Role| {
        let ours = MACHINES.iter().filter(move |(.., other)| *other == role);
        ours.take(each).map(|(name, end, role)| SiteHost {
            name: (*name).to_owned(),
            ip: ip(end),
            role: *role,
        })
    };
    Site {
        toolbox: Toolbox {
            image: text(IMAGE),
            tree: text(TREE),
            deploy: deploy("").trim_end_matches('/').to_owned(),
        },
        login: Login {
            user: "demo".to_owned(),
            key_path: keypair().path,
            known_hosts: deploy("ssh/known_hosts"),
            accounts: std::collections::BTreeMap::new(),
        },
        hosts: of(Role::Assethost)
            .chain(of(Role::Kubenode))
            .chain(of(Role::Datanode))
            .collect(),
    }
}

fn wirebox() -> LibvirtNetwork {
    let reservations = MACHINES.iter().map(|(name, end, _)| Reservation {
        mac: format!("52:54:00:57:00:{end}"),
        name: (*name).to_owned(),
        ip: ip(end),
    });
    LibvirtNetwork {
        reservations: reservations.collect(),
        ..network()
    }
}

/// The VMs of a site run and are done with cloud-init; the release is unpacked, its tools are loaded.
async fn build(each: usize) -> Machine {
    let world = World::new(without_default().await);
    world.done(&wirebox()).await;
    let mut all = dirs();
    for path in [
        "",
        "/inventory",
        "/inventory/offline",
        "/inventory/offline/group_vars",
        "/inventory/offline/group_vars/all",
    ] {
        all.dirs.push(Dir {
            path: deploy(&format!("ansible{path}")),
            mode: 0o755,
        });
    }
    world.done(&all).await;
    let user = world.done(&keypair()).await.outputs["public"].clone();
    let host = world.done(&host_keys()).await.outputs["public"].clone();
    let site = site(each);
    let known = site.hosts.iter().map(|host_| KnownHost {
        names: vec![host_.name.clone(), host_.ip.clone()],
        public: text(&host),
    });
    world
        .done(&SshKnownHosts {
            path: deploy("ssh/known_hosts"),
            hosts: known.collect(),
        })
        .await;
    let base = world.done(&image()).await.outputs["path"].clone();
    for machine in &site.hosts {
        let name = &machine.name;
        let mac = format!(
            "52:54:00:57:00:{}",
            machine.ip.rsplit('.').next().unwrap_or_default()
        );
        world
            .done(&CloudinitSeed {
                vm: name.clone(),
                dir: deploy("nocloud"),
                iso: format!("{POOL}/wiab-seed-{name}.iso"),
                mac: mac.clone(),
                ..seed("demo", &user, &host)
            })
            .await;
        let disk = format!("{POOL}/{name}.qcow2");
        world
            .done(&Qcow2Overlay {
                path: disk.clone(),
                base: text(&base),
                size_bytes: 100 << 30,
            })
            .await;
        world
            .done(&LibvirtDomain {
                name: name.clone(),
                disk: text(&disk),
                seed: text(&format!("{POOL}/wiab-seed-{name}.iso")),
                mac,
                ..domain()
            })
            .await;
        world
            .done(&LibvirtDomainRunning {
                name: name.clone(),
                shutdown_ms: 60_000,
            })
            .await;
    }
    for machine in &site.hosts {
        world
            .done(&VmReady {
                vm: machine.name.clone(),
                ip: machine.ip.clone(),
                ..ready()
            })
            .await;
    }
    let hosts = site.hosts.iter().map(|host| InventoryHost {
        name: host.name.parse().unwrap(),
        role: match host.role {
            Role::Assethost => inventory::Role::Asset,
            Role::Kubenode => inventory::Role::Kube,
            Role::Datanode => inventory::Role::Data,
        },
        ip: text(&host.ip),
        iface: text("enp1s0"),
        user: None,
        port: None,
    });
    let offline = "ansible/inventory/offline";
    let machine = world
        .host
        .machine()
        .with_packages(&["docker.io"])
        .with_docker_image(IMAGE, "{}")
        .with_release(TREE, RELEASE)
        .with_file(
            &deploy(&format!("{offline}/group_vars/all/secrets.yaml")),
            "minio_access_key: x\n",
            0o600,
            "demo:demo",
        );
    let world = World::new(machine);
    world
        .done(&Inventory {
            path: deploy(&format!("{offline}/inventory.yml")),
            user: "demo".to_owned(),
            key_file: "ssh/id_ed25519".to_owned(),
            known_hosts: "ssh/known_hosts".to_owned(),
            tree: text(TREE),
            hosts: hosts.collect(),
            mtu: None,
            overlay: None,
        })
        .await;
    world.host.machine()
}

/// Two Kubernetes nodes and two data nodes: as many as the laws need.
pub(crate) async fn small() -> Machine {
    static BUILT: OnceCell<Machine> = OnceCell::const_new();
    BUILT.get_or_init(|| build(2)).await.clone()
}

/// Runs a playbook as somebody does who types it in.
pub(crate) async fn by_hand(world: &World, args: &[&str]) -> Output {
    let offline = "ansible/inventory/offline";
    let volumes = [
        format!("{TREE}:/wire-server-deploy:ro"),
        format!("{}:/wire-server-deploy/{offline}", deploy(offline)),
    ];
    let mut words = vec!["docker", "run", "--rm"];
    for volume in &volumes {
        words.extend(["-v", volume]);
    }
    let inventory = format!("{offline}/inventory.yml");
    words.extend([IMAGE, "ansible-playbook", "-i", &inventory]);
    words.extend(args);
    let cmd = Cmd::new(words).root().timeout_ms(7_200_000);
    let done = world.host.run(&cmd, &Cancel::default(), &|_| {}).await;
    done.unwrap()
}

/// The playbooks as the release's script calls them.
pub(crate) const BOOKS: [&[&str]; 11] = [
    &["ansible/setup-offline-sources.yml"],
    &[
        "ansible/kubernetes.yml",
        "--tags",
        "bastion,bootstrap-os,preinstall,container-engine",
    ],
    &["ansible/seed-offline-containerd.yml"],
    &["ansible/sync_time.yml", "-v"],
    &[
        "ansible/kubernetes.yml",
        "--skip-tags",
        "bootstrap-os,preinstall,container-engine,multus",
    ],
    &["ansible/cassandra.yml"],
    &["ansible/elasticsearch.yml"],
    &["ansible/minio.yml"],
    &["ansible/postgresql-deploy.yml"],
    &["ansible/roles/rabbitmq-cluster/tasks/configure_dns.yml"],
    &["ansible/rabbitmq.yml"],
];

/// A machine after some of the script's playbooks, in their order.
pub(crate) async fn played(machine: Machine, books: &[usize]) -> Machine {
    let world = World::new(machine);
    for index in books {
        let output = by_hand(&world, BOOKS[*index]).await;
        assert!(output.ok(), "{:?}: {}", BOOKS[*index], output.text());
    }
    world.host.machine()
}

pub(crate) fn images(each: usize, set: ImageSet) -> ImagesSeeded {
    ImagesSeeded {
        site: site(each),
        node: "kubenode2".to_owned(),
        set,
        acmesolver: Acmesolver::Tell,
    }
}

pub(crate) fn data(each: usize, service: DataService) -> DataVerified {
    DataVerified {
        site: site(each),
        service,
        deadline_ms: 60_000,
    }
}

/// The same machine whose node has all images but those whose name holds one of these.
pub(crate) fn without_images(machine: &Machine, node: &str, lacks: &[&str]) -> Machine {
    let held = machine.inside("kubenode1/images").unwrap();
    let all = held.as_array().unwrap().iter();
    let left: Vec<&str> = all
        .filter_map(|image| image.as_str())
        .filter(|image| !lacks.iter().any(|lack| image.contains(lack)))
        .collect();
    let left = (!left.is_empty()).then(|| serde_json::json!(left));
    machine.clone().with_inside(&format!("{node}/images"), left)
}

/// The same machine right after a VM was switched off and on.
pub(crate) async fn restarted(machine: &Machine, vms: &[&str]) -> Machine {
    let world = World::new(machine.clone());
    for vm in vms {
        for verb in ["destroy", "start"] {
            let cmd = Cmd::new(["virsh", verb, vm]).root();
            let done = world.host.run(&cmd, &Cancel::default(), &|_| {}).await;
            assert!(done.unwrap().ok(), "virsh {verb} {vm}");
        }
    }
    world.host.machine()
}

/// All situations.
pub(crate) async fn scenarios() -> Vec<Scenario> {
    let seeded = played(small().await, &[0, 1, 2]).await;
    let system = without_images(&seeded, "kubenode2", &["coredns", "calico/node"]);
    let helm = without_images(&seeded, "kubenode2", &["wire/brig"]);
    let cluster = played(seeded.clone(), &[4, 5]).await;
    let cluster = restarted(&cluster, &["kubenode1", "datanode2"]).await;
    let verified = ClusterVerified {
        site: site(2),
        deadline_ms: 300_000,
    };
    let cassandra = DataVerified {
        deadline_ms: 300_000,
        ..data(2, DataService::Cassandra)
    };
    vec![
        scenario(
            "cluster",
            "cluster with a node that starts",
            &cluster,
            &verified,
        ),
        scenario(
            "cluster",
            "Cassandra with a node that starts",
            &cluster,
            &cassandra,
        ),
        scenario(
            "cluster",
            "images of the system",
            &system,
            &images(2, ImageSet::System),
        ),
        scenario(
            "cluster",
            "images of the charts",
            &helm,
            &images(2, ImageSet::Helm),
        ),
    ]
}
