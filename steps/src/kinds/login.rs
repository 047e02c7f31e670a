//! Commands on the virtual machines, over ssh with their pinned host keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::{Cmd, quote};

/// Longest command on a VM unless its caller says otherwise, in milliseconds.
const SSH_MS: u64 = 60_000;

/// The usual port of ssh.
pub(crate) const SSH_PORT: u16 = 22;

/// Exit code of ssh itself, as opposed to that of the remote command.
pub(crate) const SSH_FAILED: i32 = 255;

/// How the virtual machines are logged in to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user; may use sudo without a password.
    pub user: String,
    /// Path of the private key.
    pub key_path: String,
    /// Path of the file with the host keys.
    pub known_hosts: String,
    /// Machines that are logged in to in another way, by address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<String, Account>,
}

/// Another user, or another port, than usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The user; may use sudo without a password.
    pub user: String,
    /// Port of ssh.
    pub port: u16,
}

impl Login {
    /// A command on the machine at `ip`. The arguments reach it as they are: ssh joins them into a line for a shell, so they
    /// are quoted.
    pub(crate) fn cmd(&self, ip: &str, remote: &[&str]) -> Cmd {
        let known_hosts = format!("UserKnownHostsFile={}", self.known_hosts);
        let account = self.accounts.get(ip);
        let user = account.map_or(&self.user, |account| &account.user);
        let target = format!("{user}@{ip}");
        let port = account.map_or(SSH_PORT, |account| account.port).to_string();
        let mut argv = vec!["ssh", "-i", &self.key_path];
        if account.is_some_and(|account| account.port != SSH_PORT) {
            argv.extend(["-p", &port]);
        }
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            &known_hosts,
            "ConnectTimeout=10",
            "LogLevel=ERROR",
        ] {
            argv.extend(["-o", option]);
        }
        argv.extend(["--", &target]);
        let words: Vec<String> = remote.iter().map(|word| (*word).to_owned()).collect();
        let line = quote(&words);
        argv.push(&line);
        Cmd::new(argv).timeout_ms(SSH_MS)
    }

    /// The same as root of that machine.
    pub(crate) fn root(&self, ip: &str, remote: &[&str]) -> Cmd {
        self.cmd(ip, &[&["sudo", "-n"], remote].concat())
    }
}
