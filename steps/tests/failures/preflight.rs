//! What stops an installation before it begins: message and hint name the cause and the remedy.

use wiab_engine::outcome::{Before, Probe, Residue};
use wiab_steps::host::sim::Machine;
use wiab_steps::kind::Kind;
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::preflight::apt_lock::PreflightApt;
use wiab_steps::kinds::preflight::clock::PreflightClock;
use wiab_steps::kinds::preflight::firewall::PreflightFirewall;
use wiab_steps::kinds::preflight::inputs::PreflightInputs;
use wiab_steps::kinds::preflight::{Finding, Report, Severity};

use crate::laws::preflight::{DOMAIN, URL, artifact, dns, inputs, net, os, resources};
use crate::laws::scenarios::{DEPLOY, POOL};
use crate::laws::world::World;

/// Looks on a machine; a check with errors fails with all of them, and changes nothing.
async fn found<K: Kind>(machine: Machine, kind: &K) -> Vec<Finding> {
    let world = World::new(machine);
    let step = world.bind(kind);
    let start = world.state();
    let probe = step.probe(false).await.unwrap();
    let findings = Report::seen(&probe).unwrap();
    let errors: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    match step.apply(1, false, &Before::Nothing).await {
        Ok(_) => assert!(matches!(probe, Probe::Satisfied(_)) && errors.is_empty()),
        Err(failure) => {
            assert_eq!(failure.residue, Residue::Clean);
            assert_eq!(failure.why.lines().count(), errors.len(), "{failure:?}");
            assert_eq!(failure.hint.unwrap().lines().count(), errors.len());
        }
    }
    assert_eq!(world.state(), start);
    findings
}

/// Asserts that exactly one finding is there, and that cause and remedy hold these texts.
async fn one<K: Kind>(machine: Machine, kind: &K, what: &str, why: &[&str], remedy: &str) {
    let findings = found(machine, kind).await;
    let [finding] = findings.as_slice() else {
        panic!("{what}: {findings:#?}");
    };
    assert_eq!(finding.what, what, "{finding:?}");
    for text in why {
        assert!(finding.why.contains(text), "{text}: {finding:?}");
    }
    assert!(finding.remedy.contains(remedy), "{remedy}: {finding:?}");
}

fn fresh() -> Machine {
    Machine::fresh()
}

#[tokio::test]
async fn another_system_no_sudo_and_a_strange_home() {
    let release = |text: &str| fresh().with_file("/etc/os-release", text, 0o644, "root:root");
    let focal = release("ID=ubuntu\nVERSION_ID=\"20.04\"\n");
    one(focal, &os(), "os", &["ubuntu 20.04"], "Ubuntu 22.04").await;
    one(
        fresh().without_sudo(),
        &os(),
        "sudo",
        &["`demo` cannot"],
        "/etc/sudoers.d/90-demo",
    )
    .await;
    one(
        fresh().with_link("/home/demo"),
        &os(),
        "home",
        &["symbolic link"],
        "usermod",
    )
    .await;
    let nas = fresh().with_filesystem("/home", "nas:/home", "nfs", 1 << 40);
    one(nas, &os(), "home", &["is on nfs"], "deploy_dir").await;
    let mut other = os();
    other.user = "wire".to_owned();
    one(fresh(), &other, "user", &["`wire`"], "sudo adduser wire").await;
}

#[tokio::test]
async fn too_little_memory_names_what_is_missing_and_who_does_not_fit() {
    let why = ["10.0 GiB are missing", "no room for datanode2, datanode3"];
    one(
        fresh().with_memory_mib(48 << 10),
        &resources(),
        "memory",
        &why,
        "vms.scale",
    )
    .await;
    let why = ["29 processors, the machine 16", "1.8 times"];
    one(
        fresh().with_cpus(16),
        &resources(),
        "cpus",
        &why,
        "more processors",
    )
    .await;
}

#[tokio::test]
async fn too_little_disk_says_where_and_how_much() {
    let why = ["100 GiB free", "850 GiB in all", "artifact included"];
    one(
        fresh().with_free_bytes(100 << 30),
        &resources(),
        "disk",
        &why,
        "vms.pool",
    )
    .await;
    let why = ["can grow to 850 GiB", "500 GiB free"];
    one(
        fresh().with_free_bytes(500 << 30),
        &resources(),
        "disk-thin",
        &why,
        "vms.pool",
    )
    .await;
    let keep = format!("{POOL}/keep");
    let apart = fresh()
        .with_file(&keep, "", 0o644, "root:root")
        .with_filesystem(POOL, "/dev/vdb", "ext4", 1 << 40)
        .with_free_bytes(20 << 30);
    one(
        apart,
        &resources(),
        "disk-deploy",
        &[DEPLOY, "20 GiB free"],
        "deploy_dir",
    )
    .await;
}

#[tokio::test]
async fn no_kvm_tells_firmware_from_module() {
    let why = ["neither vmx nor svm"];
    one(
        fresh().without_kvm(),
        &resources(),
        "kvm",
        &why,
        "nested virtualisation",
    )
    .await;
}

#[tokio::test]
async fn clashing_networks_name_device_and_range() {
    let vpn = |range: &str| fresh().with_route(range, "tun0");
    let why = ["tun0 leads to 192.168.122.0/25", "192.168.122.0/24"];
    one(
        vpn("192.168.122.0/25"),
        &net(),
        "subnet",
        &why,
        "network.address",
    )
    .await;
    one(
        vpn("10.233.64.0/18"),
        &net(),
        "subnet-cluster",
        &["tun0", "10.233.0.0/17"],
        "renumber",
    )
    .await;
    one(
        vpn("172.17.0.0/16"),
        &net(),
        "subnet-docker",
        &["tun0"],
        "daemon.json",
    )
    .await;
    let wide = found(vpn("10.0.0.0/8"), &net()).await;
    assert_eq!(wide[0].severity, Severity::Warning, "{wide:?}");
    assert_eq!(found(vpn("10.8.0.0/24"), &net()).await, []);
}

#[tokio::test]
async fn taken_ports_name_the_process() {
    for (socket, what, whose) in [
        ("tcp 0.0.0.0:80 nginx", "port-80-tcp", "nginx"),
        ("tcp [::]:443 apache2", "port-443-tcp", "apache2"),
        ("udp 0.0.0.0:3478 turnserver", "port-3478-udp", "turnserver"),
        ("udp 0.0.0.0:53 named", "port-53", "named"),
    ] {
        one(fresh().with_socket(socket), &net(), what, &[whose], "").await;
    }
    let dnsmasq = fresh().with_packages(&["dnsmasq"]);
    one(
        dnsmasq.clone(),
        &net(),
        "port-53",
        &["dnsmasq"],
        "host.dnsmasq-off",
    )
    .await;
    let own = dnsmasq.with_file(
        "/etc/resolv.conf",
        "nameserver 127.0.0.1\n",
        0o644,
        "root:root",
    );
    let findings = found(own, &net()).await;
    assert!(
        findings.iter().any(|finding| finding.what == "resolver"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_public_address_behind_nat_is_told_for_calls() {
    let behind = fresh().with_address("10.0.0.5", "10.0.0.1");
    let why = ["203.0.113.10", "NAT"];
    one(
        behind,
        &net(),
        "public-address",
        &why,
        "udp 3478, 32768-65535 to 10.0.0.5",
    )
    .await;
}

#[tokio::test]
async fn other_firewalls_and_lock_outs() {
    let firewall = PreflightFirewall {};
    one(
        fresh().with_ufw(),
        &firewall,
        "ufw",
        &["active"],
        "sudo ufw disable",
    )
    .await;
    let firewalld = fresh().with_service("firewalld", true, true);
    one(
        firewalld,
        &firewall,
        "firewalld",
        &["rejects"],
        "disable --now firewalld",
    )
    .await;
    let wireguard = fresh().with_socket("udp 0.0.0.0:51820");
    one(
        wireguard,
        &firewall,
        "udp-ports",
        &["51820 (the kernel)"],
        "WireGuard",
    )
    .await;
    let why = ["port 443", "locked out"];
    one(
        fresh().with_ssh_port(443),
        &firewall,
        "ssh",
        &why,
        "sshd_config",
    )
    .await;
    let rules =
        "table inet mine {\nchain f {\ntype filter hook forward priority 0; policy drop;\n}\n}\n";
    one(
        fresh().with_nft(rules),
        &firewall,
        "forward-drop",
        &["inet mine"],
        "nft list table",
    )
    .await;
    let world = World::new(fresh().with_ssh_port(2222));
    let receipt = world.done(&firewall).await;
    assert_eq!(receipt.outputs["ssh_port"], "2222");
}

#[tokio::test]
async fn names_that_are_missing_elsewhere_or_have_ipv6() {
    let sftd = format!("sftd.{DOMAIN}");
    one(
        fresh().with_name(&sftd, &[], &[]),
        &dns(),
        "dns-missing",
        &[&sftd, "9.9.9.9"],
        "A records",
    )
    .await;
    let moved = fresh().with_name(&sftd, &["198.51.100.1"], &[]);
    one(moved, &dns(), "dns-address", &["198.51.100.1"], "host_ip").await;
    let both = fresh().with_name(&sftd, &["203.0.113.10"], &["2001:db8::1"]);
    one(
        both,
        &dns(),
        "dns-aaaa",
        &["prefers IPv6", "2001:db8::1"],
        "remove the AAAA",
    )
    .await;
    let caa = fresh().with_caa("example.org", &["0 issue \"pki.example\""]);
    one(
        caa,
        &dns(),
        "dns-caa",
        &["example.org"],
        "0 issue \"letsencrypt.org\"",
    )
    .await;
    let ours = fresh().with_caa("example.org", &["0 issue \"letsencrypt.org; x=1\""]);
    assert_eq!(found(ours, &dns()).await, []);
    let spf = fresh().with_name(DOMAIN, &["203.0.113.10"], &[]);
    one(spf, &dns(), "spf", &["no SPF"], "v=spf1 ip4:203.0.113.10").await;
}

#[tokio::test]
async fn names_that_cannot_be_asked_for_are_told_and_asked_again() {
    let deaf = fresh().with_deaf_resolver("1.1.1.1");
    assert_eq!(found(deaf.clone(), &dns()).await, []);
    let deaf = deaf.with_deaf_resolver("9.9.9.9");
    one(
        deaf,
        &dns(),
        "dns-public",
        &["1.1.1.1", "no servers"],
        "port 53",
    )
    .await;
    let bare = fresh().without_packages(&["bind9-dnsutils", "bind9-host"]);
    let mut again = dns();
    for (installed, severity) in [(false, Severity::Warning), (true, Severity::Error)] {
        again.tools_installed = installed;
        let findings = found(bare.clone(), &again).await;
        assert_eq!(findings[0].severity, severity, "{findings:?}");
        assert!(findings[0].remedy.contains("bind9-dnsutils"));
    }
}

#[tokio::test]
async fn a_download_that_is_not_there() {
    for (status, text) in [
        (403, "403: there is no such file"),
        (404, "does not exist"),
        (500, "answers 500"),
    ] {
        let machine = fresh().with_http_status(URL, status);
        one(machine, &artifact(), "artifact", &[text], "").await;
    }
    let mut wrong = artifact();
    wrong.downloads[0].url = "https://images.example/wire-server-deploy-static-abc.tgz".to_owned();
    one(fresh(), &wrong, "artifact", &["403"], "hash").await;
    let small = fresh().with_free_bytes(1 << 20);
    one(
        small,
        &artifact(),
        "disk-download",
        &["0 GiB free"],
        "deploy_dir",
    )
    .await;
}

#[tokio::test]
async fn a_free_clock_and_a_taken_lock() {
    let clock = PreflightClock {};
    one(
        fresh().with_free_clock(),
        &clock,
        "clock",
        &["no time server"],
        "set-ntp true",
    )
    .await;
    let taken = fresh().with_apt_lock(812, "unattended-upgr", 60_000);
    one(
        taken,
        &PreflightApt {},
        "apt-lock",
        &["unattended-upgr (process 812)"],
        "as soon as",
    )
    .await;
}

#[tokio::test]
async fn inputs_that_no_authority_accepts() {
    let wrong = PreflightInputs {
        domain: "wire.local".to_owned(),
        cert_email: "you@example.com".to_owned(),
        host_ip: "192.168.1.9".to_owned(),
        ..inputs()
    };
    let findings = found(fresh(), &wrong).await;
    let whats: Vec<&str> = findings
        .iter()
        .map(|finding| finding.what.as_str())
        .collect();
    assert_eq!(whats, ["domain", "cert_email", "host_ip"]);
    let inside = PreflightInputs {
        public: false,
        cert_email: "you@wire.local".to_owned(),
        ..wrong
    };
    assert_eq!(found(fresh(), &inside).await, []);
}

/// Failure 14: the lock stays taken while packages are installed.
#[tokio::test]
async fn a_lock_that_stays_taken_names_its_holder_and_one_that_is_let_go_is_waited_for() {
    let packages = AptPackages {
        packages: vec!["cloud-image-utils".to_owned()],
        keep: false,
    };
    let world = World::new(fresh().with_apt_lock(812, "unattended-upgr", 120_000));
    world.done(&packages).await;
    let world = World::new(fresh().with_apt_lock(812, "unattended-upgr", 3_600_000));
    let step = world.bind(&packages);
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert_eq!(failure.code, "apt.lock");
    assert!(
        failure
            .why
            .starts_with("unattended-upgr (process 812) held apt's lock for more than 300 s"),
        "{failure:?}"
    );
    assert!(failure.hint.unwrap().contains("unattended-upgrades"));
}

/// What somebody else installs afterwards is theirs.
#[tokio::test]
async fn undo_leaves_packages_that_others_installed_since() {
    let packages = AptPackages {
        packages: vec!["cloud-image-utils".to_owned()],
        keep: false,
    };
    let world = World::new(fresh());
    let step = world.bind(&packages);
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    let later = |machine: Machine| machine.with_packages(&["jq"]);
    world.host.meddle(later).unwrap();
    step.undo(1, &before).await.unwrap();
    let wanted = World::new(fresh().with_packages(&["jq"]));
    assert_eq!(world.state(), wanted.state());
}
