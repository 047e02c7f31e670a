//! Questions to libvirt, by exact name and in the C locale.

use wiab_engine::outcome::Failure;

use super::xml::{Node, parse};
use crate::host::Cmd;
use crate::host::shell::Shell;

/// A `virsh` command as root.
pub(super) fn virsh(arguments: &[&str]) -> Cmd {
    Cmd::new(["virsh"].iter().chain(arguments).copied())
        .root()
        .env("LC_ALL", "C")
}

/// The lines of a `--name` listing.
fn names(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The value of a `Key:   value` line.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value.trim())
}

/// Runs a listing; `None` when libvirt is not there or does not answer.
async fn listing(sh: Shell<'_>, arguments: &[&str]) -> Result<Option<Vec<String>>, Failure> {
    let output = sh.probe(&virsh(arguments)).await?;
    Ok(output
        .filter(crate::host::Output::ok)
        .map(|output| names(&output.text())))
}

fn no_answer() -> Failure {
    Failure::dirty("libvirt does not answer")
        .retry()
        .hint("look at `systemctl status libvirtd` and `sudo virsh list` on the host")
}

/// A network as libvirt knows it.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// Its inactive definition.
    pub(super) xml: String,
    /// Whether it is started.
    pub(super) active: bool,
    /// Whether it starts with the host.
    pub(super) autostart: bool,
}

/// The network of exactly that name. Fails when libvirt does not answer.
pub(super) async fn network(sh: Shell<'_>, name: &str) -> Result<Option<Network>, Failure> {
    let all = listing(sh, &["net-list", "--all", "--name"])
        .await?
        .ok_or_else(no_answer)?;
    if !all.iter().any(|found| found == name) {
        return Ok(None);
    }
    let info = sh.ok(&virsh(&["net-info", name])).await?.text();
    let xml = sh.ok(&virsh(&["net-dumpxml", "--inactive", name])).await?;
    Ok(Some(Network {
        xml: xml.text(),
        active: value(&info, "Active") == Some("yes"),
        autostart: value(&info, "Autostart") == Some("yes"),
    }))
}

/// The names of all domains, running or not. Fails when libvirt does not answer.
pub(super) async fn domains(sh: Shell<'_>) -> Result<Vec<String>, Failure> {
    listing(sh, &["list", "--all", "--name"])
        .await?
        .ok_or_else(no_answer)
}

/// The names of the domains that run, whoever's they are; none where there is no libvirt. Fails when libvirt does not answer.
pub(super) async fn running_domains(sh: Shell<'_>) -> Result<Vec<String>, Failure> {
    match sh.probe(&virsh(&["list", "--name"])).await? {
        None => Ok(Vec::new()),
        Some(output) if output.ok() => Ok(names(&output.text())),
        Some(_) => Err(no_answer()),
    }
}

/// Whether libvirt answers at all; a probe says "absent" when it does not.
pub(super) async fn answers(sh: Shell<'_>) -> Result<bool, Failure> {
    Ok(listing(sh, &["net-list", "--all", "--name"])
        .await?
        .is_some())
}

/// The definition of a domain; `None` when there is none of exactly that name.
pub(super) async fn domain_xml(sh: Shell<'_>, name: &str) -> Result<Option<String>, Failure> {
    if !domains(sh).await?.iter().any(|found| found == name) {
        return Ok(None);
    }
    let output = sh.ok(&virsh(&["dumpxml", "--inactive", name])).await?;
    Ok(Some(output.text()))
}

/// Whether the domain starts with the host.
pub(super) async fn domain_autostart(sh: Shell<'_>, name: &str) -> Result<bool, Failure> {
    let info = sh.ok(&virsh(&["dominfo", name])).await?.text();
    Ok(value(&info, "Autostart") == Some("enable"))
}

/// The state of an existing domain: `running`, `shut off`, …
pub(super) async fn domain_state(sh: Shell<'_>, name: &str) -> Result<String, Failure> {
    let output = sh.ok(&virsh(&["domstate", name])).await?;
    Ok(output.text().trim().to_owned())
}

/// The domains that have an interface on a network or on its bridge.
pub(super) async fn attached(
    sh: Shell<'_>,
    network: &str,
    bridge: &str,
) -> Result<Vec<String>, Failure> {
    let mut users = Vec::new();
    for name in domains(sh).await? {
        let xml = sh
            .ok(&virsh(&["dumpxml", "--inactive", &name]))
            .await?
            .text();
        let on_it = read(&xml, &name)?.at(&["devices"]).is_some_and(|devices| {
            devices.all("interface").any(|nic| {
                nic.attr_at(&["source"], "network") == network
                    || (!bridge.is_empty() && nic.attr_at(&["source"], "bridge") == bridge)
            })
        });
        if on_it {
            users.push(name);
        }
    }
    Ok(users)
}

/// Reads XML that libvirt printed.
pub(super) fn read(xml: &str, what: &str) -> Result<Node, Failure> {
    parse(xml).ok_or_else(|| Failure::dirty(format!("libvirt's XML of `{what}` cannot be read")))
}

/// Defines a network from XML.
pub(super) async fn net_define(sh: Shell<'_>, xml: &str) -> Result<(), Failure> {
    let define = virsh(&["net-define", "/dev/stdin"]).stdin(xml);
    sh.ok(&define).await.map(drop)
}

/// Starts a network and sets its autostart as given, each only where it differs.
pub(super) async fn net_flags(
    sh: Shell<'_>,
    name: &str,
    active: bool,
    autostart: bool,
) -> Result<(), Failure> {
    let Some(now) = network(sh, name).await? else {
        return Err(Failure::dirty(format!("network `{name}` vanished")));
    };
    match (now.active, active) {
        (false, true) => sh.ok(&virsh(&["net-start", name])).await.map(drop)?,
        (true, false) => sh.ok(&virsh(&["net-destroy", name])).await.map(drop)?,
        _ => {}
    }
    match (now.autostart, autostart) {
        (false, true) => sh.ok(&virsh(&["net-autostart", name])).await.map(drop),
        (true, false) => sh
            .ok(&virsh(&["net-autostart", name, "--disable"]))
            .await
            .map(drop),
        _ => Ok(()),
    }
}

/// Stops and undefines a network, each only if needed.
pub(super) async fn net_remove(sh: Shell<'_>, name: &str) -> Result<(), Failure> {
    let Some(now) = network(sh, name).await? else {
        return Ok(());
    };
    if now.active {
        sh.ok(&virsh(&["net-destroy", name])).await?;
    }
    sh.ok(&virsh(&["net-undefine", name])).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_and_values_are_read() {
        assert_eq!(names("default\nwirebox\n\n"), ["default", "wirebox"]);
        let info = "Name:           default\nActive:         yes\nAutostart:      no\n";
        assert_eq!(value(info, "Active"), Some("yes"));
        assert_eq!(value(info, "Autostart"), Some("no"));
        assert_eq!(value(info, "Bridge"), None);
    }
}
