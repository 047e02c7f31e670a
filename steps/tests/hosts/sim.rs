//! What the simulated machine answers.

use serde_json::Value;
use wiab_engine::ports::{Cancel, Clock};
use wiab_steps::host::sim::{Action, Fault, Machine};
use wiab_steps::host::{Cmd, Host, HostError, JobId, JobState, Meta};

use super::{bad, block, good, root, root_with, sim};

const WIREBOX: &str = "<network><name>wirebox</name><forward mode='open'/><bridge name='virbr0' stp='on' delay='0'/>\
    <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.100' end='192.168.122.240'/>\
    <host mac='52:54:00:00:00:21' name='kubenode1' ip='192.168.122.21'/></dhcp></ip></network>";

fn job() -> JobId {
    let step = wiab_engine::id::StepId::new("vm.image").unwrap();
    JobId::new(wiab_engine::id::RunId([7; 16]), &step, 1, "run")
}

#[test]
fn tools_appear_with_their_package() {
    block(async {
        let host = sim(Machine::fresh());
        assert_eq!(
            root(&*host, "virsh list").await,
            Err(HostError::NoProgram {
                program: "virsh".to_owned()
            })
        );
        let unknown = bad(&*host, "dpkg-query -W -f=${Package} libvirt-clients").await;
        assert_eq!(
            unknown,
            (
                1,
                "dpkg-query: no packages found matching libvirt-clients".to_owned()
            )
        );
        assert_eq!(bad(&*host, "apt-get install -y nonsense").await.0, 100);
        let before = host.clock().mono_ms();
        good(&*host, "apt-get install -y --no-install-recommends libvirt-daemon-system libvirt-clients qemu-utils").await;
        assert!(host.clock().mono_ms() - before > 10_000);
        assert_eq!(
            good(
                &*host,
                "dpkg-query -W -f=${Package}=${db:Status-Status}\\n qemu-utils"
            )
            .await,
            "qemu-utils=installed\n"
        );
        assert_eq!(
            good(&*host, "systemctl is-active libvirtd").await,
            "active\n"
        );
        assert_eq!(
            good(&*host, "virsh net-list --all --name").await,
            "default\n\n"
        );
        assert!(
            good(&*host, "getent passwd libvirt-qemu")
                .await
                .starts_with("libvirt-qemu:x:64055:")
        );
        assert_eq!(
            good(&*host, "sysctl -n net.ipv4.conf.virbr0.rp_filter").await,
            "2\n"
        );
    });
}

#[test]
fn purge_takes_back_what_install_brought() {
    block(async {
        // Libvirt turns forwarding on and never off again.
        let host = sim(Machine::fresh().with_sysctl("net.ipv4.ip_forward", "1"));
        let before = host.canonical_state();
        good(
            &*host,
            "apt-get install -y libvirt-daemon-system docker.io dnsmasq",
        )
        .await;
        assert_ne!(host.canonical_state(), before);
        good(
            &*host,
            "apt-get purge -y libvirt-daemon-system docker.io dnsmasq",
        )
        .await;
        good(&*host, "apt-get autoremove -y").await;
        assert_eq!(host.canonical_state(), before);
    });
}

#[test]
fn an_interrupted_install_must_be_configured() {
    block(async {
        let host = sim(Machine::fresh());
        host.arm(Fault::once("apt-get install*", Action::Half));
        assert_eq!(bad(&*host, "apt-get install -y acl jq").await.0, 137);
        assert_eq!(
            good(&*host, "dpkg-query -W -f=${db:Status-Status} acl").await,
            "unpacked"
        );
        let (code, text) = bad(&*host, "apt-get install -y acl jq").await;
        assert_eq!(code, 100);
        assert!(text.contains("dpkg --configure -a"), "{text}");
        good(&*host, "dpkg --configure -a").await;
        good(&*host, "apt-get install -y acl jq").await;
    });
}

#[test]
fn networks() {
    block(async {
        let host = sim(Machine::fresh().with_libvirt());
        let (code, text) = bad(&*host, "virsh net-info wirebox").await;
        assert_eq!(code, 1);
        assert_eq!(
            text,
            "error: failed to get network 'wirebox'\nerror: Network not found: no network with matching name 'wirebox'"
        );
        let defined = root_with(
            &*host,
            "virsh -c qemu:///system net-define /dev/stdin",
            WIREBOX,
        )
        .await;
        assert_eq!(
            defined.text(),
            "Network wirebox defined from /dev/stdin\n\n"
        );
        let again = root_with(&*host, "virsh net-define /dev/stdin", WIREBOX).await;
        assert!(again.error_text().contains("already exists with uuid"));
        let (_, text) = bad(&*host, "virsh net-start wirebox").await;
        assert!(
            text.contains("already in use by interface virbr0"),
            "{text}"
        );
        good(&*host, "virsh net-destroy default").await;
        let (_, text) = bad(&*host, "virsh net-destroy default").await;
        assert!(text.contains("network is not active"));
        good(&*host, "virsh net-undefine default").await;
        good(&*host, "virsh net-start wirebox").await;
        good(&*host, "virsh net-autostart wirebox").await;
        let info = good(&*host, "virsh net-info wirebox").await;
        for line in [
            "Active:         yes",
            "Autostart:      yes",
            "Bridge:         virbr0",
        ] {
            assert!(info.contains(line), "{info}");
        }
        let xml = good(&*host, "virsh net-dumpxml --inactive wirebox").await;
        assert!(
            xml.contains("<uuid>") && xml.contains("<mac address='52:54:00:"),
            "{xml}"
        );
        let restored = root_with(&*host, "virsh net-define /dev/stdin", &xml).await;
        assert_eq!(restored.code, 0);
        let host_xml = "<host mac='52:54:00:00:00:22' name='kubenode2' ip='192.168.122.22'/>";
        for (command, code) in [
            ("add", 0),
            ("add", 1),
            ("modify", 0),
            ("delete", 0),
            ("delete", 1),
        ] {
            let cmd = Cmd::new([
                "virsh",
                "net-update",
                "wirebox",
                command,
                "ip-dhcp-host",
                host_xml,
                "--live",
                "--config",
            ]);
            let output = host
                .run(&cmd.root(), &Cancel::default(), &|_| {})
                .await
                .unwrap();
            assert_eq!(output.code, code, "{command}: {}", output.error_text());
        }
    });
}

#[test]
fn dnsmasq_of_the_host_is_in_the_way() {
    block(async {
        let host = sim(Machine::fresh().with_packages(&["dnsmasq"]).with_libvirt());
        let (_, text) = bad(&*host, "virsh net-start default").await;
        assert!(text.contains("Address already in use"), "{text}");
        good(&*host, "systemctl stop dnsmasq").await;
        good(&*host, "systemctl disable dnsmasq").await;
        assert_eq!(
            root(&*host, "systemctl is-enabled dnsmasq")
                .await
                .unwrap()
                .text(),
            "disabled\n"
        );
        good(&*host, "virsh net-start default").await;
    });
}

#[test]
fn a_virtual_machine_boots() {
    block(async {
        let host = sim(Machine::fresh()
            .with_libvirt()
            .without_network("default")
            .with_network(WIREBOX, true, true));
        good(&*host, "install -d -m 0755 /var/lib/libvirt/images").await;
        good(&*host, "curl -fsSL -C - -o /var/lib/libvirt/images/base.img https://cloud-images.ubuntu.com/jammy/current/jammy-server-cloudimg-amd64.img").await;
        good(&*host, "qemu-img create -f qcow2 -b /var/lib/libvirt/images/base.img -F qcow2 /var/lib/libvirt/images/kubenode1.qcow2 150G").await;
        let info = good(
            &*host,
            "qemu-img info -U --output=json /var/lib/libvirt/images/kubenode1.qcow2",
        )
        .await;
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], 150_u64 << 30);
        assert_eq!(
            info["full-backing-filename"],
            "/var/lib/libvirt/images/base.img"
        );
        let key = Cmd::new([
            "ssh-keygen",
            "-t",
            "ed25519",
            "-q",
            "-N",
            "",
            "-C",
            "wiab",
            "-f",
            "/root/key",
        ]);
        host.run(&key.root(), &Cancel::default(), &|_| {})
            .await
            .unwrap();
        let public = good(&*host, "ssh-keygen -y -f /root/key").await;
        assert_eq!(good(&*host, "cat /root/key.pub").await, public);
        let user = format!(
            "#cloud-config\nhostname: kubenode1\nusers:\n  - name: demo\n    ssh_authorized_keys:\n      - {public}"
        );
        let meta = Meta::root(0o600);
        host.write("/root/user-data", user.as_bytes(), &meta)
            .await
            .unwrap();
        host.write(
            "/root/meta-data",
            b"instance-id: a\nlocal-hostname: kubenode1\n",
            &meta,
        )
        .await
        .unwrap();
        good(
            &*host,
            "cloud-localds /var/lib/libvirt/images/kubenode1.iso /root/user-data /root/meta-data",
        )
        .await;
        let xml = "<domain type='kvm'><name>kubenode1</name><memory unit='MiB'>9216</memory><vcpu>5</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
            <disk type='file' device='disk'><source file='/var/lib/libvirt/images/kubenode1.qcow2'/><target dev='vda'/></disk>\
            <disk type='file' device='cdrom'><source file='/var/lib/libvirt/images/kubenode1.iso'/><target dev='sda'/></disk>\
            <interface type='network'><mac address='52:54:00:00:00:21'/><source network='wirebox'/><model type='virtio'/></interface></devices></domain>";
        assert_eq!(
            root_with(&*host, "virsh define /dev/stdin", xml).await.code,
            0
        );
        assert_eq!(
            good(&*host, "virsh domstate kubenode1").await,
            "shut off\n\n"
        );
        assert!(
            good(&*host, "virsh dumpxml kubenode1")
                .await
                .contains("<memory unit='KiB'>9437184</memory>")
        );
        good(&*host, "virsh start kubenode1").await;
        let ssh = "ssh -i /root/key -o BatchMode=yes -o ConnectTimeout=2 -o StrictHostKeyChecking=accept-new demo@192.168.122.21";
        let (code, text) = bad(&*host, &format!("{ssh} true")).await;
        assert_eq!(code, 255);
        assert!(text.contains("No route to host"), "{text}");
        good(&*host, "sleep 15").await;
        assert!(
            bad(&*host, &format!("{ssh} true"))
                .await
                .1
                .contains("refused")
        );
        assert!(
            good(&*host, "virsh net-dhcp-leases wirebox")
                .await
                .contains("192.168.122.21/24    kubenode1")
        );
        good(&*host, "sleep 22").await;
        let status = good(&*host, &format!("{ssh} cloud-init status --format json")).await;
        assert_eq!(
            serde_json::from_str::<Value>(&status).unwrap()["status"],
            "running"
        );
        good(&*host, "sleep 40").await;
        let status = good(&*host, &format!("{ssh} cloud-init status --format json")).await;
        assert_eq!(
            serde_json::from_str::<Value>(&status).unwrap()["status"],
            "done"
        );
        assert_eq!(
            good(&*host, &format!("{ssh} hostname -s")).await,
            "kubenode1\n"
        );
        let route = good(&*host, &format!("{ssh} ip -j route")).await;
        assert_eq!(
            serde_json::from_str::<Value>(&route).unwrap()[0]["dev"],
            "enp1s0"
        );
        let locked = bad(
            &*host,
            "qemu-img info --output=json /var/lib/libvirt/images/kubenode1.qcow2",
        )
        .await;
        assert!(locked.1.contains("lock"), "{locked:?}");
        assert!(
            good(&*host, "virsh domiflist kubenode1")
                .await
                .contains("vnet0")
        );
        assert!(
            good(&*host, "virsh domblklist kubenode1")
                .await
                .contains("kubenode1.iso")
        );
        good(&*host, "virsh shutdown kubenode1").await;
        good(&*host, "sleep 5").await;
        assert_eq!(
            good(&*host, "virsh domstate kubenode1").await,
            "shut off\n\n"
        );
        good(&*host, "virsh undefine kubenode1 --nvram").await;
        assert!(
            bad(&*host, "virsh dominfo kubenode1")
                .await
                .1
                .contains("Domain not found")
        );
        // A key that the seed does not invite stays out.
    });
}

#[test]
fn nft_is_atomic_and_answers_json() {
    block(async {
        let host = sim(Machine::fresh());
        let missing = bad(&*host, "nft -j list chain ip nat POSTROUTING").await;
        assert!(missing.1.contains("No such file or directory"));
        let script = "add table ip nat\nadd chain ip nat POSTROUTING { type nat hook postrouting priority 100 ; policy accept ; }\n";
        assert_eq!(root_with(&*host, "nft -f -", script).await.code, 0);
        let rule = "insert rule ip nat POSTROUTING position 0 iifname \"virbr0\" oifname \"virbr0\" ip daddr 192.168.122.0/24 ct status dnat counter masquerade comment \"wire-hairpin-dnat-virbr0\"\n";
        assert_eq!(root_with(&*host, "nft -c -f -", rule).await.code, 0);
        assert!(
            !good(&*host, "nft list ruleset")
                .await
                .contains("masquerade")
        );
        assert_eq!(root_with(&*host, "nft -f -", rule).await.code, 0);
        let before = host.digest();
        let broken = root_with(
            &*host,
            "nft -f -",
            &format!("{rule}add rule ip nat NOWHERE accept\n"),
        )
        .await;
        assert_eq!(broken.code, 1);
        assert_eq!(host.digest(), before);
        let listing = good(&*host, "nft -j list chain ip nat POSTROUTING").await;
        let listing: Value = serde_json::from_str(&listing).unwrap();
        let items = listing["nftables"].as_array().unwrap();
        assert_eq!(items[0]["metainfo"]["json_schema_version"], 1);
        assert_eq!(items[1]["chain"]["prio"], 100);
        let rule = &items[2]["rule"];
        assert_eq!(rule["comment"], "wire-hairpin-dnat-virbr0");
        assert_eq!(
            rule["expr"],
            serde_json::json!([
                {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "virbr0"}},
                {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "virbr0"}},
                {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "192.168.122.0", "len": 24}}}},
                {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}},
                {"counter": {"packets": 0, "bytes": 0}},
                {"masquerade": null},
            ])
        );
        let text = good(&*host, "nft -a list chain ip nat POSTROUTING").await;
        assert!(
            text.contains("comment \"wire-hairpin-dnat-virbr0\" # handle"),
            "{text}"
        );
        // A listing can be loaded again.
        let saved = good(&*host, "nft list ruleset").await;
        let state = host.canonical_state();
        let restored = root_with(&*host, "nft -f -", &format!("flush ruleset\n{saved}")).await;
        assert_eq!(restored.code, 0, "{}", restored.error_text());
        assert_eq!(host.canonical_state(), state);
        let listing = good(&*host, "nft -j list ruleset").await;
        let listing: Value = serde_json::from_str(&listing).unwrap();
        let handle = listing["nftables"]
            .as_array()
            .unwrap()
            .iter()
            .find_map(|item| item["rule"]["handle"].as_u64());
        good(
            &*host,
            &format!(
                "nft delete rule ip nat POSTROUTING handle {}",
                handle.unwrap()
            ),
        )
        .await;
        assert!(
            !good(&*host, "nft list ruleset")
                .await
                .contains("masquerade")
        );
        assert_eq!(
            bad(&*host, "nft delete rule ip nat POSTROUTING handle 99")
                .await
                .0,
            1
        );
    });
}

#[test]
fn users_files_and_settings() {
    block(async {
        let host = sim(Machine::fresh().with_group("docker", 121, &[]));
        assert_eq!(good(&*host, "id -nG demo").await, "demo adm sudo\n");
        good(&*host, "usermod -aG kvm,docker demo").await;
        assert_eq!(
            good(&*host, "id -nG demo").await,
            "demo adm sudo kvm docker\n"
        );
        good(&*host, "gpasswd -d demo kvm").await;
        assert_eq!(bad(&*host, "gpasswd -d demo kvm").await.0, 3);
        assert_eq!(
            good(&*host, "sysctl -w net.ipv4.ip_forward=1").await,
            "net.ipv4.ip_forward = 1\n"
        );
        assert_eq!(good(&*host, "sysctl -n net.ipv4.ip_forward").await, "1\n");
        assert_eq!(
            bad(&*host, "sysctl -n net.ipv4.conf.virbr0.rp_filter")
                .await
                .0,
            255
        );
        let route = good(&*host, "ip -j route").await;
        assert_eq!(
            serde_json::from_str::<Value>(&route).unwrap()[0]["dst"],
            "default"
        );
        let line = Cmd::new([
            "sh",
            "-c",
            "touch /tmp/a && test -e /tmp/a; echo \"$1\" > /tmp/b; exit 3",
            "sh",
            "x y",
        ]);
        let output = host.run(&line, &Cancel::default(), &|_| {}).await.unwrap();
        assert_eq!(output.code, 3);
        assert_eq!(good(&*host, "cat /tmp/b").await, "x y\n");
        assert_eq!(
            good(&*host, "sha256sum /tmp/b")
                .await
                .split(' ')
                .next()
                .unwrap()
                .len(),
            64
        );
        let denied = host
            .run(&Cmd::new(["touch", "/etc/x"]), &Cancel::default(), &|_| {})
            .await
            .unwrap();
        assert!(denied.error_text().contains("Permission denied"));
        assert_eq!(host.read("/nowhere", true).await.unwrap(), None);
        host.write("/etc/new/file", b"hello", &Meta::root(0o600))
            .await
            .unwrap();
        assert!(matches!(
            host.read("/etc/new/file", false).await,
            Err(HostError::File { .. })
        ));
        assert_eq!(
            host.read("/etc/new/file", true).await.unwrap().unwrap(),
            b"hello"
        );
        let stat = host.stat("/etc/new/file").await.unwrap().unwrap();
        assert_eq!(
            (stat.bytes, stat.mode, stat.owner.as_str()),
            (5, 0o600, "root:root")
        );
        assert!(host.remove("/etc/new", true).await.is_err());
        assert!(host.remove("/etc/new/file", true).await.unwrap());
        assert!(host.remove("/etc/new", true).await.unwrap());
        assert!(!host.remove("/etc/new", true).await.unwrap());
    });
}

#[test]
fn time_limits_and_cancelling_kill() {
    block(async {
        let host = sim(Machine::fresh());
        let slow = Cmd::new(["sleep", "100"]).timeout_ms(5_000);
        assert_eq!(
            host.run(&slow, &Cancel::default(), &|_| {}).await,
            Err(HostError::TimedOut { after_ms: 5_000 })
        );
        assert_eq!(host.clock().mono_ms(), 5_000);
        let cancel = Cancel::default();
        cancel.cancel();
        assert_eq!(
            host.run(&slow, &cancel, &|_| {}).await,
            Err(HostError::Cancelled)
        );
        host.arm(Fault::once("true", Action::Hang));
        assert!(matches!(
            root(&*host, "true").await,
            Err(HostError::TimedOut { .. })
        ));
        host.arm(Fault::once("touch*", Action::LostAfter));
        assert!(matches!(
            root(&*host, "touch /tmp/x").await,
            Err(HostError::LostMidway { .. })
        ));
        good(&*host, "test -e /tmp/x").await;
        host.arm(Fault::once("touch*", Action::LostBefore));
        assert!(matches!(
            root(&*host, "touch /tmp/y").await,
            Err(HostError::Unreachable { .. })
        ));
        host.arm(Fault::once("file-write*", Action::DiskFull));
        let full = host
            .write("/tmp/z", b"0123456789", &Meta::user(0o600))
            .await;
        assert!(full.unwrap_err().to_string().contains("No space left"));
        assert_eq!(host.read("/tmp/z", false).await.unwrap(), None);
        assert_eq!(
            host.read("/tmp/.z.wiab-new", false).await.unwrap().unwrap(),
            b"01234"
        );
        host.remove("/tmp/z", false).await.unwrap();
        assert_eq!(host.read("/tmp/.z.wiab-new", false).await.unwrap(), None);
    });
}

#[test]
fn jobs_go_on_by_themselves() {
    block(async {
        let host = sim(Machine::fresh());
        let id = job();
        let url = "https://example.org/a.tgz";
        let cmd = Cmd::new(["curl", "-fsSL", "-o", "/tmp/a.tgz", url]).root();
        assert_eq!(host.job_state(&id).await.unwrap(), JobState::Absent);
        host.job_start(&id, &cmd).await.unwrap();
        host.job_start(&id, &cmd).await.unwrap();
        assert_eq!(host.job_state(&id).await.unwrap(), JobState::Running);
        // Another wiab takes the machine over.
        let host = sim(host.machine());
        let output = host
            .job_wait(&id, 0, 3_600_000, &Cancel::default(), &|_| {})
            .await
            .unwrap();
        assert_eq!(output.code, 0);
        assert_eq!(host.job_state(&id).await.unwrap(), JobState::Exited(0));
        good(&*host, "gzip -t /tmp/a.tgz").await;
        host.job_forget(&id).await.unwrap();
        assert_eq!(host.job_state(&id).await.unwrap(), JobState::Absent);
        host.job_start(&id, &cmd).await.unwrap();
        let cut = host
            .job_wait(&id, 0, 1_000, &Cancel::default(), &|_| {})
            .await;
        assert_eq!(cut, Err(HostError::TimedOut { after_ms: 1_000 }));
        assert_eq!(host.job_state(&id).await.unwrap(), JobState::Lost);
        assert_eq!(bad(&*host, "gzip -t /tmp/a.tgz").await.0, 1);
    });
}
