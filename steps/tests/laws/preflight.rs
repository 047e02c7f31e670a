//! Situations of the checks before an installation: a fresh machine, and one on which everything runs.

use wiab_steps::host::sim::Machine;
use wiab_steps::kinds::libvirt_domain::VirtType;
use wiab_steps::kinds::preflight::apt_lock::PreflightApt;
use wiab_steps::kinds::preflight::artifact_url::{Download, PreflightArtifactUrl};
use wiab_steps::kinds::preflight::clock::PreflightClock;
use wiab_steps::kinds::preflight::dns::PreflightDns;
use wiab_steps::kinds::preflight::firewall::PreflightFirewall;
use wiab_steps::kinds::preflight::inputs::PreflightInputs;
use wiab_steps::kinds::preflight::net::PreflightNet;
use wiab_steps::kinds::preflight::os::PreflightOs;
use wiab_steps::kinds::preflight::resources::{PreflightResources, VmSize};

use super::scenarios::{DEPLOY, HAIRPIN, POOL, Scenario, growth, looks, nat};

pub(crate) const DOMAIN: &str = "staging.example.org";
pub(crate) const HOST_IP: &str = "203.0.113.10";
pub(crate) const URL: &str =
    "https://images.example/wire-server-deploy-static-0123456789abcdef0123456789abcdef01234567.tgz";

pub(crate) fn inputs() -> PreflightInputs {
    PreflightInputs {
        domain: DOMAIN.to_owned(),
        cert_email: format!("admin@{DOMAIN}"),
        host_ip: HOST_IP.to_owned(),
        public: true,
    }
}

pub(crate) fn os() -> PreflightOs {
    PreflightOs {
        user: "demo".to_owned(),
    }
}

pub(crate) fn resources() -> PreflightResources {
    let vm = |name: &str, vcpus, memory_mib, disk_gib| VmSize {
        name: name.to_owned(),
        vcpus,
        memory_mib,
        disk_gib,
    };
    PreflightResources {
        vms: vec![
            vm("assethost", 2, 4_096, 100),
            vm("kubenode1", 5, 9_216, 150),
            vm("kubenode2", 5, 9_216, 150),
            vm("kubenode3", 5, 9_216, 150),
            vm("datanode1", 4, 8_192, 100),
            vm("datanode2", 4, 8_192, 100),
            vm("datanode3", 4, 8_192, 100),
        ],
        virt_type: VirtType::Kvm,
        pool: POOL.to_owned(),
        deploy: DEPLOY.to_owned(),
        artifact: true,
    }
}

pub(crate) fn net() -> PreflightNet {
    PreflightNet {
        bridge: "virbr0".to_owned(),
        address: "192.168.122.1".to_owned(),
        subnet: "192.168.122.0/24".to_owned(),
        host_ip: HOST_IP.to_owned(),
    }
}

pub(crate) fn dns() -> PreflightDns {
    let names = [
        "nginz-https",
        "nginz-ssl",
        "webapp",
        "assets",
        "account",
        "teams",
        "sftd",
    ];
    PreflightDns {
        domain: DOMAIN.to_owned(),
        names: names.map(|name| format!("{name}.{DOMAIN}")).to_vec(),
        host_ip: HOST_IP.to_owned(),
        resolvers: ["1.1.1.1", "9.9.9.9"].map(str::to_owned).to_vec(),
        tools_installed: false,
    }
}

pub(crate) fn artifact() -> PreflightArtifactUrl {
    PreflightArtifactUrl {
        downloads: vec![Download {
            name: "artifact".to_owned(),
            url: URL.to_owned(),
            unpacked: true,
        }],
        into: DEPLOY.to_owned(),
        done: format!("{DEPLOY}.d"),
    }
}

pub(crate) async fn all() -> Vec<Scenario> {
    let fresh = Machine::fresh();
    // Networks, machines, rules and a tree of ours; less room than at the beginning; docker and its rules.
    let installed = growth()
        .await
        .started
        .with_packages(&["docker.io"])
        .with_nft(&nat(&[HAIRPIN]))
        .with_disk(&format!("{POOL}/assethost.qcow2"), 100 << 30)
        .with_file(&format!("{DEPLOY}.d/mark"), "", 0o644, "demo:demo")
        .with_free_bytes(200 << 30);
    let bare =
        Machine::fresh().without_packages(&["bind9-dnsutils", "bind9-host", "curl", "nftables"]);
    let firewall = PreflightFirewall {};
    vec![
        looks("inputs", &fresh, &inputs()),
        looks("system", &fresh, &os()),
        looks("resources on a fresh host", &fresh, &resources()),
        looks("resources when all is installed", &installed, &resources()),
        looks("networks on a fresh host", &fresh, &net()),
        looks("networks when all is installed", &installed, &net()),
        looks("firewalls on a fresh host", &fresh, &firewall),
        looks("firewalls when all is installed", &installed, &firewall),
        looks("firewalls without nft", &bare, &firewall),
        looks("names", &fresh, &dns()),
        looks(
            "names without dig",
            &fresh.clone().without_packages(&["bind9-dnsutils"]),
            &dns(),
        ),
        looks("names without any tool", &bare, &dns()),
        looks("downloads", &fresh, &artifact()),
        looks("downloads when all is installed", &installed, &artifact()),
        looks("downloads without curl", &bare, &artifact()),
        looks("clock", &fresh, &PreflightClock {}),
        looks("apt's lock", &fresh, &PreflightApt {}),
    ]
}
