//! VMs of somebody's own hypervisor: which they are, and whether their settings are complete.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::check::{INTERFACE_BYTES_MAX, Problems, word};
use crate::machines::{Machine, Role, sizes};
use crate::settings::{MachineSettings, Provider, Settings};

/// The role that a name of the usual form says: `assethost`, `kubenode4`, `datanode2`.
fn usual_role(name: &str) -> Option<Role> {
    let numbered = |head: &str| {
        let tail = name.strip_prefix(head);
        tail.is_some_and(|tail| !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if name == "assethost" {
        Some(Role::Asset)
    } else if numbered("kubenode") {
        Some(Role::Kube)
    } else if numbered("datanode") {
        Some(Role::Data)
    } else {
        None
    }
}

/// Sorts `db2` before `db10`.
fn natural(name: &str) -> (String, u64, String) {
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name.strip_prefix(head).and_then(|tail| tail.parse().ok());
    (head.to_owned(), number.unwrap_or_default(), name.to_owned())
}

/// The given VMs: by role, then by name with its number. The first data node is the primary of every database.
pub(crate) fn machines(settings: &Settings) -> Vec<Machine> {
    let only = &settings.vms.only;
    let mut rows: Vec<(Role, &String, &MachineSettings)> = settings
        .vms
        .machines
        .iter()
        .filter(|(name, _)| only.is_empty() || only.contains(name))
        .filter_map(|(name, own)| Some((own.role.or_else(|| usual_role(name))?, name, own)))
        .collect();
    rows.sort_by_key(|(role, name, _)| (*role, natural(name)));
    rows.into_iter()
        .map(|(role, name, own)| {
            let (vcpus, memory_mib, disk_gib) = sizes(role);
            Machine {
                name: name.clone(),
                role,
                vcpus,
                memory_mib,
                disk_gib,
                ip: own.ip.clone().unwrap_or_default(),
                mac: String::new(),
            }
        })
        .collect()
}

/// A name that can be a host name and the name of a Kubernetes node at once.
fn host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || byte == b'-')
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
}

fn host_key(text: &str) -> bool {
    let base64 = |text: &str| {
        (40..=100).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        [one] => one.strip_prefix("SHA256:").is_some_and(base64),
        ["ssh-ed25519", key] => base64(key),
        _ => false,
    }
}

/// Settings that mean nothing for a provider.
pub(crate) fn unfit(
    name: &str,
    own: &MachineSettings,
    provider: Provider,
    problems: &mut Problems,
) {
    let (set, why): (Vec<(&str, bool)>, _) = match provider {
        Provider::Libvirt => (
            vec![
                ("role", own.role.is_some()),
                ("user", own.user.is_some()),
                ("port", own.port.is_some()),
                ("interface", own.interface.is_some()),
                ("host_key", own.host_key.is_some()),
            ],
            "this is for VMs that are there already",
        ),
        Provider::Existing => (
            vec![
                ("vcpus", own.vcpus.is_some()),
                ("memory_mib", own.memory_mib.is_some()),
                ("disk_gib", own.disk_gib.is_some()),
                ("mac", own.mac.is_some()),
            ],
            "an existing VM is taken as it is",
        ),
    };
    for (key, _) in set.iter().filter(|(_, set)| *set) {
        problems.add(
            format!("vms.machines.{name}.{key}"),
            why,
            "leave the key out, or choose another `provider` in [vms]",
        );
    }
}

/// Everything that is wrong with the settings of existing VMs.
pub(crate) fn check(settings: &Settings, problems: &mut Problems) {
    let vms = &settings.vms;
    for name in vms
        .only
        .iter()
        .filter(|name| !vms.machines.contains_key(*name))
    {
        problems.add(
            "vms.only",
            format!("there is no VM `{name}`"),
            format!("describe it in [vms.machines.{name}]"),
        );
    }
    let mut ips: BTreeMap<Ipv4Addr, &str> = BTreeMap::new();
    for (name, own) in &vms.machines {
        unfit(name, own, Provider::Existing, problems);
        machine(name, own, problems);
        let Some(ip) = own.ip.as_ref().and_then(|ip| ip.parse().ok()) else {
            continue;
        };
        if let Some(other) = ips.insert(ip, name) {
            problems.add(
                format!("vms.machines.{name}.ip"),
                format!("{other} has this address, too"),
                "every VM needs an address of its own",
            );
        }
    }
    let machines = settings.machines();
    for (role, text, good) in [
        (
            Role::Asset,
            "exactly one VM for packages and images (role `asset`)",
            1..=1,
        ),
        (
            Role::Kube,
            "at least one VM for Kubernetes (role `kube`)",
            1..=64,
        ),
        (
            Role::Data,
            "at least one VM for the databases (role `data`)",
            1..=64,
        ),
    ] {
        let count = machines
            .iter()
            .filter(|machine| machine.role == role)
            .count();
        if vms.only.is_empty() && !good.contains(&count) {
            problems.add(
                "vms.machines",
                format!("there are {count} of what must be {text}"),
                "describe each in [vms.machines.NAME] with its `ip`, and its `role` unless the name is assethost, kubenodeN or datanodeN",
            );
        }
    }
}

fn machine(name: &str, own: &MachineSettings, problems: &mut Problems) {
    let key = |leaf: &str| format!("vms.machines.{name}.{leaf}");
    problems.check(
        host_name(name),
        "vms.machines",
        name,
        "use the VM's host name: up to 63 of a-z, 0-9 and `-`",
    );
    if own.role.is_none() && usual_role(name).is_none() {
        problems.add(
            key("role"),
            "what this VM is for cannot be told from its name",
            "use `asset`, `kube` or `data`",
        );
    }
    let ip: Option<Ipv4Addr> = own.ip.as_ref().and_then(|ip| ip.parse().ok());
    let good = ip.is_some_and(|ip| {
        !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !ip.is_broadcast()
    });
    let found = own.ip.as_deref().unwrap_or("(nothing)");
    problems.check(good, &key("ip"), found, "use the VM's IPv4 address");
    if let Some(user) = &own.user {
        let good = word(user, 32, "-_.");
        problems.check(good, &key("user"), user, "use a user's name");
    }
    if own.port == Some(0) {
        problems.check(false, &key("port"), "0", "use 1 to 65535");
    }
    if let Some(interface) = &own.interface {
        problems.check(
            word(interface, INTERFACE_BYTES_MAX, "-_."),
            &key("interface"),
            interface,
            "use at most 15 letters, digits, `-`, `_`, `.`, as `ip link` shows it",
        );
    }
    if let Some(text) = &own.host_key {
        problems.check(
            host_key(text),
            &key("host_key"),
            text,
            "use `ssh-ed25519 AAAA…` of the VM's /etc/ssh/ssh_host_ed25519_key.pub without its comment, or its `SHA256:…` fingerprint",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(ip: &str, role: Option<Role>) -> MachineSettings {
        MachineSettings {
            ip: Some(ip.to_owned()),
            role,
            ..MachineSettings::default()
        }
    }

    fn settings(rows: &[(&str, Option<Role>)]) -> Settings {
        let mut settings = Settings::rehearsal();
        settings.vms.provider = Provider::Existing;
        settings.network.address = "10.0.0.254".to_owned();
        for (index, (name, role)) in rows.iter().enumerate() {
            let own = given(&format!("10.0.0.{}", index + 1), *role);
            settings.vms.machines.insert((*name).to_owned(), own);
        }
        settings
    }

    #[test]
    fn roles_come_from_usual_names_or_are_given_and_numbers_are_counted() {
        let settings = settings(&[
            ("assethost", None),
            ("kubenode1", None),
            ("kubenode10", None),
            ("kubenode2", None),
            ("db10", Some(Role::Data)),
            ("db9", Some(Role::Data)),
        ]);
        assert_eq!(settings.problems(), []);
        let names: Vec<String> = settings.machines().into_iter().map(|m| m.name).collect();
        assert_eq!(
            names,
            [
                "assethost",
                "kubenode1",
                "kubenode2",
                "kubenode10",
                "db9",
                "db10"
            ]
        );
    }

    #[test]
    fn every_problem_is_named_with_its_key() {
        let mut settings = settings(&[
            ("assethost", None),
            ("-oProxyCommand=x", Some(Role::Kube)),
            ("a b", Some(Role::Kube)),
            ("it's", Some(Role::Kube)),
            ("Upper", Some(Role::Kube)),
            ("mystery", None),
        ]);
        let own = settings.vms.machines.get_mut("assethost").unwrap();
        own.user = Some("-l root".to_owned());
        own.interface = Some("eth0; reboot".to_owned());
        own.host_key = Some("ssh-rsa AAAA".to_owned());
        own.port = Some(0);
        own.mac = Some("52:54:00:57:00:10".to_owned());
        settings.vms.machines.get_mut("mystery").unwrap().ip = Some("10.0.0.999".to_owned());
        settings.vms.only = vec!["nobody".to_owned()];
        let found = settings.problems();
        let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "vms.only",
                "vms.machines",
                "vms.machines",
                "vms.machines",
                "vms.machines.assethost.mac",
                "vms.machines.assethost.user",
                "vms.machines.assethost.port",
                "vms.machines.assethost.interface",
                "vms.machines.assethost.host_key",
                "vms.machines",
                "vms.machines.mystery.role",
                "vms.machines.mystery.ip",
            ],
            "{found:?}"
        );
        settings.vms.only.clear();
        let missing = settings.problems();
        let last = missing.last().unwrap();
        assert!(last.what.contains("role `data`"), "{last:?}");
    }

    #[test]
    fn host_keys_are_lines_or_fingerprints() {
        let key = "A".repeat(68);
        assert!(host_key(&format!("ssh-ed25519 {key}")));
        assert!(host_key(&format!("SHA256:{}", "a".repeat(43))));
        for bad in [
            "",
            "ssh-ed25519",
            "SHA256:short",
            "ssh-ed25519 AAAA x",
            "MD5:aa",
        ] {
            assert!(!host_key(bad), "{bad}");
        }
    }
}
