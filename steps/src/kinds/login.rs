//! Commands on the virtual machines, over ssh with their pinned host keys.

use serde::{Deserialize, Serialize};

use crate::host::{Cmd, quote};

/// Longest command on a VM unless its caller says otherwise, in milliseconds.
const SSH_MS: u64 = 20_000;

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
}

impl Login {
    /// A command on the machine at `ip`. The arguments reach it as they are: ssh joins them into a line for a shell, so they
    /// are quoted.
    pub(crate) fn cmd(&self, ip: &str, remote: &[&str]) -> Cmd {
        let known_hosts = format!("UserKnownHostsFile={}", self.known_hosts);
        let target = format!("{}@{ip}", self.user);
        let mut argv = vec!["ssh", "-i", &self.key_path];
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            &known_hosts,
            "ConnectTimeout=5",
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
