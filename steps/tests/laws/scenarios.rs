//! One or more situations for every kind: a machine, and what is wanted of it.

use serde_json::Value;
use wiab_engine::outcome::Receipt;
use wiab_steps::host::sim::Machine;
use wiab_steps::kind::{Input, Kind};
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::cloudinit_seed::CloudinitSeed;
use wiab_steps::kinds::command::Command;
use wiab_steps::kinds::dirs::{Dir, Dirs};
use wiab_steps::kinds::file::File;
use wiab_steps::kinds::file_block::FileBlock;
use wiab_steps::kinds::host_groups::HostGroups;
use wiab_steps::kinds::image_base::ImageBase;
use wiab_steps::kinds::libvirt_domain::{LibvirtDomain, VirtType};
use wiab_steps::kinds::libvirt_domain_running::LibvirtDomainRunning;
use wiab_steps::kinds::libvirt_network::{LibvirtNetwork, Reservation};
use wiab_steps::kinds::libvirt_network_removed::LibvirtNetworkRemoved;
use wiab_steps::kinds::nft_hairpin::NftHairpin;
use wiab_steps::kinds::nft_hairpin_removed::NftHairpinRemoved;
use wiab_steps::kinds::qcow2_overlay::Qcow2Overlay;
use wiab_steps::kinds::service_off::ServiceOff;
use wiab_steps::kinds::ssh_host_keys::SshHostKeys;
use wiab_steps::kinds::ssh_keypair::SshKeypair;
use wiab_steps::kinds::ssh_known_hosts::{KnownHost, SshKnownHosts};
use wiab_steps::kinds::sysctl::{Setting, Sysctl};
use wiab_steps::kinds::vm_ready::VmReady;

use super::world::World;

/// A situation.
pub(crate) struct Scenario {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) inputs: Value,
    pub(crate) machine: Machine,
    /// Whether undo restores the before-image given; an operator's undo command knows none.
    pub(crate) undo_acts_alone: bool,
    /// Whether the kind changes nothing: the machine is one on which it is satisfied.
    pub(crate) only_looks: bool,
    /// Whether there is no way back: undo leaves what stands.
    pub(crate) one_way: bool,
}

pub(crate) fn scenario<K: Kind>(
    group: &'static str,
    name: &'static str,
    machine: &Machine,
    kind: &K,
) -> Scenario {
    Scenario {
        group,
        name,
        kind: K::NAME,
        inputs: serde_json::to_value(kind).unwrap(),
        machine: machine.clone(),
        undo_acts_alone: K::NAME != Command::NAME,
        only_looks: false,
        one_way: false,
    }
}

/// A situation of a kind that only looks: a machine where all is well.
pub(crate) fn looks<K: Kind>(name: &'static str, machine: &Machine, kind: &K) -> Scenario {
    Scenario {
        only_looks: true,
        ..scenario("preflight", name, machine, kind)
    }
}

pub(crate) const DEPLOY: &str = "/home/demo/deploy";
pub(crate) const POOL: &str = "/var/lib/libvirt/images";
const IMAGE: &str = "https://images.example/jammy-server-cloudimg-amd64.img";
pub(crate) const HAIRPIN: &str = "iifname \"virbr0\" oifname \"virbr0\" ip daddr 192.168.122.0/24 ct status dnat counter masquerade comment \"wire-hairpin-dnat-virbr0\"";

fn text(text: &str) -> Input<String> {
    Input::Value(text.to_owned())
}

pub(crate) fn deploy(path: &str) -> String {
    format!("{DEPLOY}/{path}")
}

/// Libvirt with its stock network, and an image pool.
pub(crate) fn libvirt() -> Machine {
    let keep = format!("{POOL}/keep");
    let machine = Machine::fresh()
        .with_libvirt()
        .with_file(&keep, "", 0o644, "root:root");
    machine.without_file(&keep)
}

pub(crate) fn dirs() -> Dirs {
    let dir = |path: &str, mode| Dir {
        path: path.to_owned(),
        mode,
    };
    Dirs {
        dirs: vec![
            dir(DEPLOY, 0o755),
            dir(&deploy("ssh"), 0o700),
            dir(&deploy("nocloud"), 0o700),
        ],
        root: false,
    }
}

pub(crate) fn keypair() -> SshKeypair {
    SshKeypair {
        path: deploy("ssh/id_ed25519"),
        comment: "wiab-test".to_owned(),
    }
}

pub(crate) fn host_keys() -> SshHostKeys {
    SshHostKeys {
        path: deploy("ssh/kubenode1_ed25519"),
        vm: "kubenode1".to_owned(),
    }
}

pub(crate) fn network() -> LibvirtNetwork {
    let reservation = |end: &str, name: &str| Reservation {
        mac: format!("52:54:00:57:00:{end}"),
        name: name.to_owned(),
        ip: format!("192.168.122.{end}"),
    };
    LibvirtNetwork {
        name: "wirebox".to_owned(),
        bridge: "virbr0".to_owned(),
        address: "192.168.122.1".to_owned(),
        netmask: "255.255.255.0".to_owned(),
        range_start: "192.168.122.100".to_owned(),
        range_end: "192.168.122.240".to_owned(),
        reservations: vec![
            reservation("10", "assethost"),
            reservation("21", "kubenode1"),
        ],
    }
}

/// `wirebox` from an older time: the second reservation is another one, it is off.
fn old_wirebox() -> &'static str {
    "<network><name>wirebox</name><forward mode='open'/><bridge name='virbr0' stp='on' delay='0'/>\
     <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.100' end='192.168.122.240'/>\
     <host mac='52:54:00:57:00:10' name='assethost' ip='192.168.122.10'/>\
     <host mac='52:54:00:57:00:21' name='kubenode1' ip='192.168.122.77'/></dhcp></ip></network>"
}

pub(crate) fn image() -> ImageBase {
    ImageBase {
        source: IMAGE.to_owned(),
        sha256: None,
        pool: POOL.to_owned(),
    }
}

pub(crate) fn overlay(base: &str) -> Qcow2Overlay {
    Qcow2Overlay {
        path: format!("{POOL}/kubenode1.qcow2"),
        base: text(base),
        size_bytes: 150 << 30,
    }
}

pub(crate) fn seed(user: &str, user_key: &str, host_key: &str) -> CloudinitSeed {
    CloudinitSeed {
        vm: "kubenode1".to_owned(),
        domain: "wiab.internal".to_owned(),
        dir: deploy("nocloud"),
        iso: format!("{POOL}/wiab-seed-kubenode1.iso"),
        user: user.to_owned(),
        user_key: text(user_key),
        host_key_path: host_keys().path,
        host_key_public: text(host_key),
        mac: "52:54:00:57:00:21".to_owned(),
    }
}

pub(crate) fn domain() -> LibvirtDomain {
    LibvirtDomain {
        name: "kubenode1".to_owned(),
        installation: "wiab".to_owned(),
        virt_type: VirtType::Kvm,
        vcpus: 5,
        memory_mib: 9_216,
        disk: text(&format!("{POOL}/kubenode1.qcow2")),
        seed: text(&format!("{POOL}/wiab-seed-kubenode1.iso")),
        network: "wirebox".to_owned(),
        mac: "52:54:00:57:00:21".to_owned(),
        tb_cache_mib: None,
    }
}

pub(crate) fn running() -> LibvirtDomainRunning {
    LibvirtDomainRunning {
        name: "kubenode1".to_owned(),
        shutdown_ms: 60_000,
    }
}

pub(crate) fn ready() -> VmReady {
    VmReady {
        vm: "kubenode1".to_owned(),
        ip: "192.168.122.21".to_owned(),
        user: "demo".to_owned(),
        key_path: keypair().path,
        known_hosts: deploy("ssh/known_hosts"),
        deadline_ms: 300_000,
    }
}

fn public(receipt: &Receipt) -> String {
    receipt.outputs["public"].clone()
}

pub(crate) fn known_hosts(public: &str) -> SshKnownHosts {
    SshKnownHosts {
        path: deploy("ssh/known_hosts"),
        hosts: vec![KnownHost {
            names: vec!["kubenode1".to_owned(), "192.168.122.21".to_owned()],
            public: text(public),
        }],
    }
}

pub(crate) fn sysctl(file: &str, key: &str, value: &str) -> Sysctl {
    Sysctl {
        file: file.to_owned(),
        settings: vec![Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            fine: Vec::new(),
            max_with: None,
        }],
    }
}

pub(crate) fn rp_filter() -> Sysctl {
    let mut wanted = sysctl(
        "/etc/sysctl.d/60-wiab-hairpin.conf",
        "net.ipv4.conf.virbr0.rp_filter",
        "2",
    );
    wanted.settings[0].fine = vec!["0".to_owned(), "2".to_owned()];
    wanted.settings[0].max_with = Some("net.ipv4.conf.all.rp_filter".to_owned());
    wanted
}

pub(crate) fn hosts_block() -> FileBlock {
    FileBlock {
        path: "/etc/hosts".to_owned(),
        name: "wiab".to_owned(),
        lines: vec![
            "192.168.122.10 assethost".to_owned(),
            "192.168.122.21 kubenode1".to_owned(),
        ],
    }
}

pub(crate) fn vm_env() -> File {
    File {
        path: deploy(".vm-env"),
        content: "export kubenode1_ip=192.168.122.21\n".to_owned(),
        mode: 0o644,
        owner: None,
        root: false,
        replace: true,
    }
}

pub(crate) fn hairpin() -> NftHairpin {
    NftHairpin {
        bridge: "virbr0".to_owned(),
        subnet: "192.168.122.0/24".to_owned(),
        needed: None,
    }
}

/// A NAT table of the host's own, with rules of ours added by hand around one of its own.
pub(crate) fn nat(rules: &[&str]) -> String {
    let rules = rules.join("\n");
    format!(
        "table ip nat {{\nchain POSTROUTING {{\ntype nat hook postrouting priority 100; policy accept;\n{rules}\n}}\n}}\n"
    )
}

/// All situations.
pub(crate) async fn all() -> Vec<Scenario> {
    let mut all = host();
    all.extend(super::host::scenarios());
    all.extend(networks().await);
    all.extend(files().await);
    all.extend(super::artifact::scenarios().await);
    all.extend(crate::certs::world::scenarios().await);
    all.extend(super::chart_values::all().await);
    all.extend(super::charts::all().await);
    all.extend(super::fleet::all().await);
    all.extend(super::cluster::scenarios().await);
    all.extend(super::plays::scenarios().await);
    all.extend(vms().await);
    all.extend(super::preflight::all().await);
    all.extend(super::secrets::scenarios().await);
    all.extend(super::rotation::scenarios().await);
    all.extend(super::tools::scenarios().await);
    all.extend(crate::traffic::world::scenarios().await);
    all
}

fn host() -> Vec<Scenario> {
    let packages = |names: &[&str]| AptPackages {
        packages: names.iter().map(|&name| name.to_owned()).collect(),
        keep: false,
    };
    let groups = HostGroups {
        user: "demo".to_owned(),
        groups: ["sudo", "kvm", "libvirt"].map(str::to_owned).to_vec(),
    };
    let ip_forward = sysctl("/etc/sysctl.d/60-wiab.conf", "net.ipv4.ip_forward", "1");
    let old = Machine::fresh().with_file(
        "/etc/sysctl.d/60-wiab.conf",
        "# Written by wiab.\nold = 1\n",
        0o600,
        "root:root",
    );
    let strict = libvirt()
        .with_sysctl("net.ipv4.conf.virbr0.rp_filter", "1")
        .with_sysctl("net.ipv4.conf.all.rp_filter", "0");
    let fresh = Machine::fresh();
    vec![
        scenario(
            "host",
            "packages on a fresh host",
            &fresh,
            &packages(&["libvirt-clients", "cloud-image-utils", "curl"]),
        ),
        scenario(
            "host",
            "packages with services",
            // The network that libvirt brings turns forwarding on and never off again.
            &fresh.clone().with_sysctl("net.ipv4.ip_forward", "1"),
            &packages(&["libvirt-daemon-system"]),
        ),
        scenario(
            "host",
            "a second name server",
            &fresh.clone().with_packages(&["dnsmasq"]),
            &ServiceOff {
                unit: "dnsmasq".to_owned(),
                why: "its port".to_owned(),
            },
        ),
        scenario("host", "groups, one of them there", &libvirt(), &groups),
        scenario("host", "ip forwarding", &fresh, &ip_forward),
        scenario(
            "host",
            "ip forwarding over an older file",
            &old,
            &ip_forward,
        ),
        scenario("host", "reverse path filter", &strict, &rp_filter()),
    ]
}

async fn networks() -> Vec<Scenario> {
    let removed = LibvirtNetworkRemoved {
        name: "default".to_owned(),
    };
    let stopped = libvirt().without_network("default").with_network(
        "<network><name>default</name><bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'/></network>",
        false,
        true,
    );
    let bare = without_default().await;
    let old = bare.clone().with_network(old_wirebox(), false, false);
    let other = bare
        .clone()
        .with_nft(&nat(&["oifname \"eth0\" masquerade"]));
    let tripled = bare
        .clone()
        .with_nft(&nat(&[HAIRPIN, "oifname \"eth0\" masquerade", HAIRPIN]));
    let both = tripled.clone().with_nft(&format!("table ip wiab_hairpin {{\nchain postrouting {{\ntype nat hook postrouting priority 99; policy accept;\n{HAIRPIN}\n}}\n}}\n"));
    let doubled = bare.clone().with_nft(&format!("table ip wiab_hairpin {{\nchain postrouting {{\ntype nat hook postrouting priority 99; policy accept;\n{HAIRPIN}\n{HAIRPIN}\n}}\n}}\n"));
    let gone = NftHairpinRemoved {};
    vec![
        scenario("network", "stock network, active", &libvirt(), &removed),
        scenario("network", "stock network, stopped", &stopped, &removed),
        scenario("network", "wirebox on a bare libvirt", &bare, &network()),
        scenario("network", "wirebox from an older time", &old, &network()),
        scenario("network", "hairpin beside other rules", &other, &hairpin()),
        scenario("network", "hairpin, there twice", &doubled, &hairpin()),
        scenario("network", "hairpin rules left by hand", &tripled, &gone),
        scenario("network", "hairpin rules everywhere", &both, &gone),
    ]
}

async fn files() -> Vec<Scenario> {
    let bare = Machine::fresh();
    let world = World::new(bare.clone());
    world.done(&dirs()).await;
    let ground = world.host.machine();
    let user = public(&world.done(&keypair()).await);
    let host = public(&world.done(&host_keys()).await);
    let keys = world.host.machine();
    let half = keys
        .clone()
        .without_file(&format!("{}.pub", keypair().path));
    let open = ground.clone().with_file(
        &keypair().path,
        &world.text_of(&keypair().path).await.unwrap(),
        0o644,
        "demo:demo",
    );
    let old_env =
        ground
            .clone()
            .with_file(&vm_env().path, "export kubenode1_ip=\n", 0o600, "demo:demo");
    let mentioned = bare.clone().with_file(
        "/etc/hosts",
        "127.0.0.1 localhost\n10.0.0.9 my-assethost # kubenode1",
        0o640,
        "root:adm",
    );
    let stale = bare.clone().with_file(
        "/etc/hosts",
        "a\n# BEGIN wiab wiab\n1.2.3.4 assethost\n# END wiab wiab\nb\n",
        0o644,
        "root:root",
    );
    let command = Command {
        run: vec!["touch".to_owned(), deploy("mark")],
        probe: Some(vec!["test".to_owned(), "-e".to_owned(), deploy("mark")]),
        undo: Some(vec!["rm".to_owned(), "-f".to_owned(), deploy("mark")]),
        timeout_ms: 60_000,
        root: false,
        idempotent: false,
    };
    let pool = keys
        .clone()
        .with_packages(&["cloud-image-utils", "qemu-utils"])
        .with_file(&format!("{POOL}/keep"), "", 0o644, "root:root");
    let seeded = World::new(pool.clone());
    seeded.done(&seed("demo", &user, &host)).await;
    vec![
        scenario("files", "directories", &bare, &dirs()),
        scenario("files", "operator key", &ground, &keypair()),
        scenario(
            "files",
            "operator key without its public half",
            &half,
            &keypair(),
        ),
        scenario("files", "operator key open to all", &open, &keypair()),
        scenario("files", "host key", &ground, &host_keys()),
        scenario("files", "known hosts", &ground, &known_hosts(&host)),
        scenario("files", "file", &ground, &vm_env()),
        scenario("files", "file over an older one", &old_env, &vm_env()),
        scenario("files", "hosts block", &bare, &hosts_block()),
        scenario(
            "files",
            "hosts block beside lines with the names",
            &mentioned,
            &hosts_block(),
        ),
        scenario(
            "files",
            "hosts block over an older one",
            &stale,
            &hosts_block(),
        ),
        scenario("files", "command", &ground, &command),
        scenario("files", "seed", &pool, &seed("demo", &user, &host)),
        scenario(
            "files",
            "seed over an older one",
            &seeded.host.machine(),
            &seed("other", &user, &host),
        ),
    ]
}

/// Libvirt without its stock network, whose bridge is gone, too.
pub(crate) async fn without_default() -> Machine {
    let world = World::new(libvirt());
    let removed = LibvirtNetworkRemoved {
        name: "default".to_owned(),
    };
    world.done(&removed).await;
    world.host.machine()
}

/// A world with one VM, grown step by step; the machine before each step.
pub(crate) struct Growth {
    pub(crate) before_image: Machine,
    pub(crate) before_disk: Machine,
    pub(crate) before_domain: Machine,
    pub(crate) before_start: Machine,
    pub(crate) started: Machine,
    pub(crate) base: String,
}

pub(crate) async fn growth() -> Growth {
    let world = World::new(without_default().await);
    world.done(&network()).await;
    world.done(&dirs()).await;
    let user = public(&world.done(&keypair()).await);
    let host = public(&world.done(&host_keys()).await);
    world.done(&known_hosts(&host)).await;
    world.done(&seed("demo", &user, &host)).await;
    let before_image = world.host.machine();
    let base = world.done(&image()).await.outputs["path"].clone();
    let before_disk = world.host.machine();
    world.done(&overlay(&base)).await;
    let before_domain = world.host.machine();
    world.done(&domain()).await;
    let before_start = world.host.machine();
    world.done(&running()).await;
    Growth {
        before_image,
        before_disk,
        before_domain,
        before_start,
        started: world.host.machine(),
        base,
    }
}

async fn vms() -> Vec<Scenario> {
    let growth = growth().await;
    let other = format!("{POOL}/other/keep");
    let with_other = growth
        .before_disk
        .clone()
        .with_file(&other, "", 0o644, "root:root")
        .without_file(&other);
    let digest = World::new(with_other.clone()).text_of_digest().await;
    let copied = ImageBase {
        source: growth.base.clone(),
        sha256: Some(digest),
        pool: format!("{POOL}/other"),
    };
    let mut smaller = domain();
    smaller.memory_mib = 4_096;
    let emulated = LibvirtDomain {
        virt_type: VirtType::Qemu,
        tb_cache_mib: Some(64),
        ..domain()
    };
    vec![
        scenario("vm", "image from the net", &growth.before_image, &image()),
        scenario("vm", "image from a file", &with_other, &copied),
        scenario("vm", "disk", &growth.before_disk, &overlay(&growth.base)),
        scenario("vm", "domain", &growth.before_domain, &domain()),
        scenario("vm", "domain, emulated", &growth.before_domain, &emulated),
        scenario(
            "vm",
            "domain of ours with another size",
            &growth.before_start,
            &smaller,
        ),
        scenario("vm", "start", &growth.before_start, &running()),
        scenario("vm", "ready", &growth.started, &ready()),
    ]
}

impl World {
    /// The digest of the image that [`image`] brought.
    async fn text_of_digest(&self) -> String {
        let found = self.bind(&image()).probe(false).await.unwrap();
        let wiab_engine::outcome::Probe::Satisfied(receipt) = found else {
            panic!("the image is not there: {found:?}");
        };
        receipt.outputs["sha256"].clone()
    }
}
