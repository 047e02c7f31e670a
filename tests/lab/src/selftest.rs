//! Proves the lab itself: the machine boots cleanly, its libvirt works, a small VM comes up and is reached over ssh with a
//! pinned host key, and nothing of it all is left.

use crate::cache::Cache;
use crate::error::{Result, ensure};
use crate::inside::{MACHINE_IP, OUTSIDE_IP};
use crate::machine::{IMAGE, Machine};
use crate::say::{say, took};
use crate::scenario::Scenario;
use crate::sys::{self, Watch};

const NETWORK: &str = "<network><name>lab</name><forward mode='open'/><bridge name='virbr9' delay='0'/>\
<ip address='198.51.100.129' netmask='255.255.255.128'><dhcp>\
<range start='198.51.100.200' end='198.51.100.240'/>\
<host mac='52:54:00:00:00:11' name='small' ip='198.51.100.140'/></dhcp></ip></network>";
const VM_IP: &str = "198.51.100.140";
const DOMAIN: &str = "<domain type='qemu'><name>small</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>\
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features><devices>\
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>\
<source file='/var/lib/libvirt/images/small.qcow2'/><target dev='vda' bus='virtio'/></disk>\
<disk type='file' device='cdrom'><source file='/var/lib/libvirt/images/small.iso'/>\
<target dev='sda' bus='sata'/><readonly/></disk>\
<interface type='network'><mac address='52:54:00:00:00:11'/><source network='lab'/><model type='virtio'/></interface>\
<serial type='file'><source path='/var/log/libvirt/small.log'/></serial></devices></domain>";
const USER_DATA: &str = "#cloud-config
hostname: small
fqdn: small.local
users:
  - name: demo
    groups: sudo
    sudo: ALL=(ALL) NOPASSWD:ALL
    shell: /bin/bash
    ssh_authorized_keys:
      - $(cat user.pub)
ssh_keys:
  ed25519_private: |
$(sed 's/^/    /' host)
  ed25519_public: $(cat host.pub)
ssh_pwauth: false
";

/// Runs it.
pub(crate) fn run(cache: &Cache) -> Result<()> {
    Scenario {
        name: "selftest",
        cache,
        binds: &[],
        keep: false,
    }
    .prove(inside)
}

fn inside(machine: &Machine) -> Result<()> {
    let state = machine
        .cmd(["systemctl", "is-system-running"])
        .done()?
        .stdout;
    ensure(state.trim() == "running", || {
        format!("the machine's systemd says {state:?}")
    })?;
    let greet = format!("exec 3<>/dev/tcp/{MACHINE_IP}/22; head -n 1 <&3");
    let banner = machine
        .outside(["timeout", "10", "bash", "-c", &greet])
        .output()?;
    ensure(banner.starts_with("SSH-2.0-"), || {
        format!("{MACHINE_IP}:22 greets the outside with {banner:?}")
    })?;
    let ping = machine.cmd(["ping", "-c", "1", "-W", "5", OUTSIDE_IP]);
    ensure(ping.succeeds()?, || {
        format!("{OUTSIDE_IP} does not answer the machine")
    })?;
    let watch = Watch::start();
    machine.cmd(["virsh", "-q", "list", "--all"]).run()?;
    took("selftest: libvirt answers", watch);
    machine
        .cmd(["virsh", "net-define", "/dev/stdin"])
        .stdin(NETWORK)
        .run()?;
    machine.cmd(["virsh", "net-start", "lab"]).run()?;
    vm(machine)?;
    machine.cmd(["virsh", "net-destroy", "lab"]).run()?;
    machine.cmd(["virsh", "net-undefine", "lab"]).run()
}

fn vm(machine: &Machine) -> Result<()> {
    let watch = Watch::start();
    machine
        .sh(
            "set -e; mkdir -p /root/vm; cd /root/vm; ssh-keygen -q -t ed25519 -N '' -C u -f user; \
             ssh-keygen -q -t ed25519 -N '' -C h -f host",
        )
        .run()?;
    let seed = format!("cd /root/vm; cat > user-data <<EOF\n{USER_DATA}EOF\n");
    machine.sh(&seed).run()?;
    machine
        .sh("set -e; cd /root/vm; printf 'instance-id: small\\nlocal-hostname: small\\n' > meta-data; \
             cloud-localds /var/lib/libvirt/images/small.iso user-data meta-data")
        .run()?;
    machine
        .cmd([
            "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", IMAGE,
        ])
        .args(["/var/lib/libvirt/images/small.qcow2", "10G"])
        .run()?;
    machine
        .cmd(["virsh", "define", "/dev/stdin"])
        .stdin(DOMAIN)
        .run()?;
    machine.cmd(["virsh", "start", "small"]).run()?;
    took("selftest: VM started", watch);
    machine
        .sh(&format!(
            "echo \"{VM_IP} $(cut -d' ' -f1,2 /root/vm/host.pub)\" > /root/vm/known"
        ))
        .run()?;
    let ssh = "ssh -i /root/vm/user -o BatchMode=yes -o ConnectTimeout=3 -o StrictHostKeyChecking=yes \
               -o UserKnownHostsFile=/root/vm/known";
    let login =
        format!("{ssh} demo@{VM_IP} 'hostname; sudo -n id -u; cloud-init status --format json'");
    let mut last = String::new();
    let answer = sys::wait_for("the VM's answer over ssh", 300, || {
        let done = machine.sh(&login).done()?;
        last = done.stderr;
        Ok(done.status.success().then_some(done.stdout))
    });
    if answer.is_err() {
        say(&format!("ssh said last: {last}"));
        say(&machine
            .sh("tail -n 40 /var/log/libvirt/small.log; virsh net-dhcp-leases lab")
            .done()?
            .stdout);
    }
    let answer = answer?;
    let wanted = "small\n0\n{\"status\":\"done\",\"errors\":[],\"recoverable_errors\":{}}\n";
    ensure(answer == wanted, || format!("the VM answered {answer:?}"))?;
    took(
        "selftest: VM reached over ssh with its pinned host key",
        watch,
    );
    machine.cmd(["virsh", "shutdown", "small"]).run()?;
    sys::wait_for("the VM's power-off", 60, || {
        let state = machine.cmd(["virsh", "domstate", "small"]).output()?;
        Ok((state.trim() == "shut off").then_some(()))
    })?;
    took("selftest: VM shut down by its power button", watch);
    machine.cmd(["virsh", "undefine", "small"]).run()
}
