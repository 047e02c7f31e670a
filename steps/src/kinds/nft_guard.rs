//! What must be known before a firewall is changed: who listens, and how the operator came in.

use std::collections::BTreeSet;

use wiab_engine::outcome::Failure;

use crate::host::Cmd;
use crate::host::shell::Shell;
use crate::traffic::Traffic;

/// A listening socket that is reachable from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listener {
    /// The port.
    pub(super) port: u16,
    /// The program; `None` for a socket of the kernel, such as a VPN's.
    pub(super) program: Option<String>,
}

/// Reads `ss -Hlnp`; sockets on loopback are left out.
fn listeners(text: &str) -> BTreeSet<Listener> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (address, port) = words.nth(3)?.rsplit_once(':')?;
            let host = address.split('%').next().unwrap_or_default();
            if host.starts_with("127.") || matches!(host, "[::1]" | "[::ffff:127.0.0.1]") {
                return None;
            }
            let program = line
                .split_once("users:((\"")
                .and_then(|(_, rest)| rest.split_once('"'))
                .map(|(program, _)| program.to_owned());
            Some(Listener {
                port: port.parse().ok()?,
                program,
            })
        })
        .collect()
}

async fn ask(sh: Shell<'_>, flags: &str) -> Result<BTreeSet<Listener>, Failure> {
    let output = sh.ok(&Cmd::new(["ss", flags]).root()).await?;
    Ok(listeners(&output.text()))
}

/// Programs that are sshd, also where systemd holds its socket.
fn is_sshd(listener: &Listener, held: &BTreeSet<u16>) -> bool {
    match listener.program.as_deref() {
        Some("sshd") => true,
        Some("systemd") => held.contains(&listener.port),
        _ => false,
    }
}

/// The port by which this very session came in, if it is one of ssh.
async fn session_port(sh: Shell<'_>) -> Result<Option<u16>, Failure> {
    let Some(output) = sh.probe(&Cmd::new(["printenv", "SSH_CONNECTION"])).await? else {
        return Ok(None);
    };
    let text = output.text();
    // Client address, client port, server address, server port.
    Ok(text
        .split_whitespace()
        .nth(3)
        .and_then(|port| port.parse().ok()))
}

/// Refuses rules that would lock the operator out.
pub(super) async fn no_lockout(sh: Shell<'_>, traffic: &Traffic) -> Result<(), Failure> {
    let session = session_port(sh).await?;
    let held: BTreeSet<u16> = session.into_iter().chain([22]).collect();
    let listening = ask(sh, "-Hltnp").await?;
    let sshd = listening.iter().filter(|listener| is_sshd(listener, &held));
    let mut needed: BTreeSet<u16> = sshd.map(|listener| listener.port).collect();
    needed.extend(session);
    let closed: Vec<u16> = needed
        .iter()
        .filter(|port| !traffic.ssh_ports.contains(port))
        .copied()
        .collect();
    if closed.is_empty() {
        return Ok(());
    }
    let all: BTreeSet<u16> = needed.iter().chain(&traffic.ssh_ports).copied().collect();
    Err(Failure::clean(format!(
        "sshd is reached on port {}, which the firewall would close: nobody could log in again",
        spelled(&closed)
    ))
    .code("traffic.lockout")
    .hint(format!(
        "put `ssh_ports = [{}]` below [traffic] in wiab.toml, then run `wiab apply` again",
        spelled(&all)
    )))
}

/// Local UDP services whose port lies in the range of calls and is not kept: their traffic would go to a node.
pub(super) async fn hijacked(
    sh: Shell<'_>,
    traffic: &Traffic,
) -> Result<BTreeSet<Listener>, Failure> {
    let mut found = ask(sh, "-Hlunp").await?;
    found.retain(|listener| {
        let call = (traffic.udp_first..=traffic.udp_last).contains(&listener.port);
        call && !traffic.keep_udp.contains(&listener.port)
    });
    Ok(found)
}

/// TCP services that will not be reachable from outside any more.
pub(super) async fn closed(
    sh: Shell<'_>,
    traffic: &Traffic,
) -> Result<BTreeSet<Listener>, Failure> {
    let mut found = ask(sh, "-Hltnp").await?;
    found.retain(|listener| {
        let port = listener.port;
        !traffic.ssh_ports.contains(&port) && !traffic.open_tcp.contains(&port)
    });
    Ok(found)
}

/// Numbers with commas.
pub(super) fn spelled<'a>(ports: impl IntoIterator<Item = &'a u16>) -> String {
    let ports: Vec<String> = ports.into_iter().map(u16::to_string).collect();
    ports.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_with_their_programs_and_without_loopback() {
        let text = "\
LISTEN 0      128          0.0.0.0:2222      0.0.0.0:*    users:((\"sshd\",pid=812,fd=3))\n\
LISTEN 0      4096   127.0.0.53%lo:53        0.0.0.0:*    users:((\"systemd-resolve\",pid=1,fd=1))\n\
LISTEN 0      128             [::]:2222         [::]:*    users:((\"sshd\",pid=812,fd=4))\n\
LISTEN 0      4096           [::1]:631          [::]:*\n\
UNCONN 0      0                  *:51820            *:*\n";
        let found: Vec<(u16, Option<String>)> = listeners(text)
            .into_iter()
            .map(|listener| (listener.port, listener.program))
            .collect();
        assert_eq!(found, [(2222, Some("sshd".to_owned())), (51_820, None)]);
    }
}
