//! `preflight.os/1`: operating system, architecture, sudo, the user and its home.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::{Check, Report};
use crate::host::Cmd;
use crate::host::shell::Shell;
use crate::kind::About;

/// File systems that belong to another machine: root has no rights on them, and access lists do not work.
const REMOTE: [&str; 6] = ["nfs", "nfs4", "cifs", "smb2", "fuseblk", "afs"];

/// What the machine must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightOs {
    /// The user that owns the installation.
    pub user: String,
}

/// A value of `/etc/os-release`.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_default().trim_matches(['"', '\''])
}

impl PreflightOs {
    async fn release(sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let bytes = sh.read("/etc/os-release", false).await?;
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let (id, version) = (value(&text, "ID"), value(&text, "VERSION_ID"));
        report.note = format!("{id} {version}");
        if (id, version) != ("ubuntu", "22.04") {
            let found = if id.is_empty() {
                "an unknown system"
            } else {
                &report.note
            };
            let why = format!("this is {found}; Wire's packages are for Ubuntu 22.04");
            report.error("os", why, "install Ubuntu 22.04 LTS on the machine");
        }
        let machine = sh.ok(&Cmd::new(["uname", "-m"])).await?.text();
        if machine.trim() != "x86_64" {
            report.error(
                "architecture",
                format!(
                    "the processor is {}; Wire's images are for x86_64",
                    machine.trim()
                ),
                "use a machine with a processor of Intel or AMD",
            );
        }
        Ok(())
    }

    async fn sudo(sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let id = sh.ok(&Cmd::new(["id", "-u"])).await?.text();
        if id.trim() == "0" {
            return Ok(());
        }
        let output = sh.probe(&Cmd::new(["sudo", "-n", "true"])).await?;
        if output.is_some_and(|output| output.ok()) {
            return Ok(());
        }
        let name = sh.ok(&Cmd::new(["id", "-un"])).await?.text();
        let name = name.trim();
        report.error(
            "sudo",
            format!("`{name}` cannot become root without a password"),
            format!(
                "as root: echo '{name} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-{name} && chmod 0440 /etc/sudoers.d/90-{name}; or run wiab as root"
            ),
        );
        Ok(())
    }

    async fn home(&self, sh: Shell<'_>, report: &mut Report) -> Result<(), Failure> {
        let user = &self.user;
        let line = sh.run(&Cmd::new(["getent", "passwd", user])).await?.text();
        let Some(home) = line
            .trim()
            .split(':')
            .nth(5)
            .filter(|home| !home.is_empty())
        else {
            let why = format!("there is no user `{user}`");
            let remedy = format!("sudo adduser {user}, or set `user` to an existing one");
            report.error("user", why, remedy);
            return Ok(());
        };
        let kind = sh.run(&Cmd::new(["stat", "-c", "%F", home])).await?;
        match kind.text().trim() {
            "directory" => {}
            "symbolic link" => report.error(
                "home",
                format!("{home} is a symbolic link, which access lists and mounts do not follow"),
                format!("sudo usermod -d \"$(readlink -f {home})\" {user}"),
            ),
            _ => report.error(
                "home",
                format!("{user}'s home {home} is not a directory"),
                format!("sudo install -d -m 0750 -o {user} -g {user} {home}"),
            ),
        }
        let filesystem = sh.run(&Cmd::new(["stat", "-f", "-c", "%T", home])).await?;
        let filesystem = filesystem.text();
        if REMOTE.contains(&filesystem.trim()) {
            report.error(
                "home",
                format!("{home} is on {}, where neither root's rights nor access lists hold", filesystem.trim()),
                format!("sudo usermod -m -d /srv/{user} {user} moves it to a disk of this machine; then set deploy_dir"),
            );
        }
        Ok(())
    }
}

impl Check for PreflightOs {
    const NAME: &'static str = "preflight.os/1";
    const ABOUT: About = About {
        purpose: "Nothing is begun on a system that Wire's packages are not made for, or without root's rights.",
        probe: "Reads os-release, architecture, `sudo -n true`, the user and the file system of its home.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check system, sudo and user {}", self.user)
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let mut report = Report::default();
        Self::release(sh, &mut report).await?;
        Self::sudo(sh, &mut report).await?;
        self.home(sh, &mut report).await?;
        Ok(report)
    }
}
