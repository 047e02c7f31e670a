//! Validation of the settings: all problems at once, each with its key and a remedy.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use wiab_engine::id::StepId;
use wiab_engine::text::nearest;

use crate::existing;
use crate::ipv4::Net;
use crate::machines::MACHINES;
use crate::settings::{CommandLine, Provider, Settings, SiteStep};

/// Longest name of a network interface.
pub(crate) const INTERFACE_BYTES_MAX: usize = 15;

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key: `vms.only`.
    pub key: String,
    /// What is wrong, in one sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.key, self.what, self.remedy)
    }
}

/// Problems in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(
        &mut self,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Problem {
            key: key.into(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    pub(crate) fn check(&mut self, good: bool, key: &str, found: &str, remedy: &str) {
        if !good {
            self.add(key, format!("`{found}` is not possible here"), remedy);
        }
    }
}

pub(crate) fn word(text: &str, bytes_max: usize, more: &str) -> bool {
    let head = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let rest = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte));
    head && rest && text.len() <= bytes_max
}

/// An absolute path of characters that no shell, ssh option or XML needs quoted.
pub(crate) fn plain_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() > 1
        && path.len() < 200
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte))
        && !path.split('/').any(|part| part == "..")
}

fn unicast_mac(mac: &str) -> bool {
    let parts: Vec<&str> = mac.split(':').collect();
    let digits = parts
        .iter()
        .all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let first = parts
        .first()
        .and_then(|part| u8::from_str_radix(part, 16).ok());
    parts.len() == 6 && digits && first.is_some_and(|byte| byte & 1 == 0)
}

impl Settings {
    /// Everything that is wrong; empty when a plan can be made.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        self.check_basics(&mut problems);
        self.check_identity(&mut problems);
        self.check_preflight(&mut problems);
        self.check_host(&mut problems);
        let net = self.check_network(&mut problems);
        self.check_vms(&mut problems);
        match self.vms.provider {
            Provider::Libvirt => {
                self.check_machines(&mut problems);
                self.check_addresses(net, &mut problems);
            }
            Provider::Existing => existing::check(self, &mut problems),
        }
        self.artifact.check(&mut problems);
        self.check_image(&mut problems);
        self.check_charts(&mut problems);
        self.check_traffic(&mut problems);
        for (index, step) in self.steps.iter().enumerate() {
            check_step(index, step, &mut problems);
        }
        problems.0
    }

    /// The network, if its settings make one.
    pub(crate) fn net(&self) -> Option<Net> {
        let address: Ipv4Addr = self.network.address.parse().ok()?;
        Net::new(address, self.network.prefix)
    }

    fn check_basics(&self, problems: &mut Problems) {
        let names = "use 1 to 32 letters, digits, `-` or `_`";
        problems.check(word(&self.name, 32, "-_"), "name", &self.name, names);
        problems.check(word(&self.user, 32, "-_"), "user", &self.user, names);
        let paths = "use an absolute path of letters, digits and `. _ - +`";
        let dir = self.deploy_dir();
        problems.check(plain_path(&dir), "deploy_dir", &dir, paths);
        problems.check(
            plain_path(&self.vms.pool),
            "vms.pool",
            &self.vms.pool,
            paths,
        );
    }

    fn check_host(&self, problems: &mut Problems) {
        if self.host.dist_upgrade && !self.host.install_packages {
            problems.add(
                "packages.dist_upgrade",
                "packages are upgraded only where they are installed, too",
                "set `packages.install = true`, or leave `packages.dist_upgrade` out",
            );
        }
        for package in &self.host.extra_packages {
            let good = word(package, 64, "+-.");
            problems.check(
                good,
                "host.extra_packages",
                package,
                "use names of Debian packages",
            );
        }
        for group in &self.host.groups {
            problems.check(
                word(group, 32, "-_"),
                "host.groups",
                group,
                "use names of groups",
            );
        }
    }

    fn check_network(&self, problems: &mut Problems) -> Option<Net> {
        let network = &self.network;
        problems.check(
            word(&network.name, 32, "-_."),
            "network.name",
            &network.name,
            "use 1 to 32 letters, digits, `-`, `_`, `.`",
        );
        let bridge = word(&network.bridge, INTERFACE_BYTES_MAX, "-_.");
        problems.check(
            bridge,
            "network.bridge",
            &network.bridge,
            "use at most 15 letters, digits, `-`, `_`, `.`",
        );
        let domain = word(&network.domain, 100, "-.")
            && network.domain.split('.').all(|label| !label.is_empty());
        let local = network.domain == "local" || network.domain.to_lowercase().ends_with(".local");
        problems.check(
            domain && !local,
            "network.domain",
            &network.domain,
            "use a domain other than `.local`, which multicast DNS owns: wiab.internal",
        );
        let address: Option<Ipv4Addr> = network.address.parse().ok();
        let net = self.net();
        if address.is_none() {
            problems.check(
                false,
                "network.address",
                &network.address,
                "use an IPv4 address: 192.168.122.1",
            );
        } else if net.is_none() {
            problems.check(
                false,
                "network.prefix",
                &network.prefix.to_string(),
                "use 8 to 30",
            );
        }
        let net = net?;
        if self.vms.provider == Provider::Existing {
            // Nobody hands out addresses there.
            return Some(net);
        }
        let mut ends = Vec::new();
        for (key, text) in [
            ("network.range_start", &network.range_start),
            ("network.range_end", &network.range_end),
        ] {
            let inside = text.parse().ok().filter(|address| net.holds(*address));
            problems.check(
                inside.is_some(),
                key,
                text,
                &format!("use an address in {}", net.cidr()),
            );
            ends.extend(inside);
        }
        if let [start, end] = ends.as_slice()
            && start > end
        {
            problems.add(
                "network.range_end",
                "the range ends before it starts",
                "swap `range_start` and `range_end`",
            );
        }
        Some(net)
    }

    fn check_vms(&self, problems: &mut Problems) {
        let vms = &self.vms;
        problems.check(
            (1..=100).contains(&vms.scale),
            "vms.scale",
            &vms.scale.to_string(),
            "use a percentage from 1 to 100",
        );
        problems.check(
            (1..=86_400).contains(&vms.ready_timeout_s),
            "vms.ready_timeout_s",
            &vms.ready_timeout_s.to_string(),
            "use 1 to 86400 seconds",
        );
        problems.check(
            (1..=3_600).contains(&vms.shutdown_timeout_s),
            "vms.shutdown_timeout_s",
            &vms.shutdown_timeout_s.to_string(),
            "use 1 to 3600 seconds",
        );
    }

    fn check_machines(&self, problems: &mut Problems) {
        let vms = &self.vms;
        let known = || MACHINES.iter().map(|row| row.name);
        let names = vms
            .only
            .iter()
            .map(|name| (name, "vms.only"))
            .chain(vms.machines.keys().map(|name| (name, "vms.machines")));
        for (name, key) in names {
            if known().any(|other| other == name) {
                continue;
            }
            let near = nearest(name, known())
                .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            problems.add(
                key,
                format!("there is no VM `{name}`"),
                format!(
                    "{near}the VMs are {}",
                    known().collect::<Vec<_>>().join(", ")
                ),
            );
        }
        for (name, own) in &vms.machines {
            existing::unfit(name, own, Provider::Libvirt, problems);
        }
        for machine in self.machines() {
            let key = |name: &str| format!("vms.machines.{}.{name}", machine.name);
            problems.check(
                (1..=512).contains(&machine.vcpus),
                &key("vcpus"),
                &machine.vcpus.to_string(),
                "use 1 to 512",
            );
            problems.check(
                (64..=1 << 24).contains(&machine.memory_mib),
                &key("memory_mib"),
                &machine.memory_mib.to_string(),
                "use at least 64 MiB",
            );
            problems.check(
                (1..=1 << 16).contains(&machine.disk_gib),
                &key("disk_gib"),
                &machine.disk_gib.to_string(),
                "use 1 to 65536 GiB",
            );
            problems.check(
                unicast_mac(&machine.mac),
                &key("mac"),
                &machine.mac,
                "use a unicast MAC address: 52:54:00:57:00:10",
            );
        }
    }

    fn check_addresses(&self, net: Option<Net>, problems: &mut Problems) {
        let host = "the host".to_owned();
        let mut ips = BTreeMap::from([(self.network.address.clone(), host)]);
        let mut macs: BTreeMap<String, String> = BTreeMap::new();
        for machine in self.machines() {
            let key = |name: &str| format!("vms.machines.{}.{name}", machine.name);
            let address: Option<Ipv4Addr> = machine.ip.parse().ok();
            let good = net.is_none_or(|net| address.is_some_and(|address| net.holds(address)));
            let cidr = net.map(Net::cidr).unwrap_or_default();
            problems.check(
                good,
                &key("ip"),
                &machine.ip,
                &format!("use an address in {cidr}"),
            );
            if let Some(other) = ips.insert(machine.ip.clone(), machine.name.clone()) {
                problems.add(
                    key("ip"),
                    format!("{other} has this address, too"),
                    "use another address",
                );
            }
            if let Some(other) = macs.insert(machine.mac.clone(), machine.name.clone()) {
                problems.add(
                    key("mac"),
                    format!("{other} has this MAC address, too"),
                    "use another one",
                );
            }
        }
    }

    fn check_image(&self, problems: &mut Problems) {
        let source = &self.image.source;
        let url = source.starts_with("https://") && !source.chars().any(char::is_whitespace);
        problems.check(
            url || plain_path(source),
            "image.source",
            source,
            "use an absolute path on the host or an https:// URL",
        );
        if let Some(digest) = &self.image.sha256 {
            let good = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            problems.check(
                good,
                "image.sha256",
                digest,
                "use the 64 hexadecimal digits from the publisher's SHA256SUMS",
            );
        }
    }
}

fn check_step(index: usize, step: &SiteStep, problems: &mut Problems) {
    let key = |name: &str| format!("step[{index}].{name}");
    for (name, id) in
        std::iter::once(("id", &step.id)).chain(step.after.iter().map(|id| ("after", id)))
    {
        if let Err(error) = StepId::new(id) {
            problems.add(
                key(name),
                error.to_string(),
                "use an id such as `site.backup`",
            );
        }
    }
    let lines = [
        ("run", Some(&step.run)),
        ("probe", step.probe.as_ref()),
        ("undo", step.undo.as_ref()),
    ];
    for (name, line) in lines {
        let empty = line.is_some_and(|line| match line {
            CommandLine::Argv(argv) => argv.first().is_none_or(String::is_empty),
            CommandLine::Shell(line) => line.trim().is_empty(),
        });
        if empty {
            problems.add(
                key(name),
                "the command is empty",
                "name a program, or leave the key out",
            );
        }
    }
    if step
        .timeout
        .as_ref()
        .is_some_and(|timeout| timeout.ms().is_none())
    {
        problems.add(
            key("timeout"),
            "this is not a duration",
            "use seconds or a text such as `90s`, `10m`, `2h`, at most a week",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Duration, MachineSettings};

    #[test]
    fn all_problems_are_found_at_once() {
        let mut settings = Settings {
            name: "a b".to_owned(),
            deploy_dir: Some("relative".to_owned()),
            ..Settings::rehearsal()
        };
        settings.network.domain = "wire.local".to_owned();
        settings.network.bridge = "a-name-that-is-too-long".to_owned();
        settings.network.range_end = "10.0.0.1".to_owned();
        settings.vms.scale = 0;
        settings.vms.only = vec!["kubenod1".to_owned(), "assethost".to_owned()];
        let own = MachineSettings {
            ip: Some("192.168.122.1".to_owned()),
            mac: Some("01:00:00:00:00:00".to_owned()),
            ..MachineSettings::default()
        };
        settings.vms.machines.insert("assethost".to_owned(), own);
        settings.image.source = "http://insecure.example".to_owned();
        settings.image.sha256 = Some("abc".to_owned());
        settings.steps.push(SiteStep {
            id: "böse".to_owned(),
            after: Vec::new(),
            run: CommandLine::Argv(Vec::new()),
            probe: None,
            undo: None,
            timeout: Some(Duration::Text("soon".to_owned())),
            root: false,
            idempotent: false,
            lanes: Vec::new(),
        });
        let problems = settings.problems();
        let keys: Vec<&str> = problems
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "name",
                "deploy_dir",
                "network.bridge",
                "network.domain",
                "network.range_end",
                "vms.scale",
                "vms.only",
                "vms.machines.assethost.mac",
                "vms.machines.assethost.ip",
                "image.source",
                "image.sha256",
                "step[0].id",
                "step[0].run",
                "step[0].timeout",
            ]
        );
        let only = problems
            .iter()
            .find(|problem| problem.key == "vms.only")
            .unwrap();
        assert!(only.remedy.contains("did you mean `kubenode1`?"), "{only}");
    }
}
