//! The dead-man timer: systemd puts the old rules back unless wiab lives on and says that all is well.
//!
//! The unit has one name for all runs: whoever comes next finds the timer of a run that died.

use wiab_engine::outcome::Failure;

use super::nft::{load, nft};
use crate::host::shell::Shell;
use crate::host::{Cmd, Meta};

/// The transient unit.
const UNIT: &str = "wiab-fw-restore";
/// What the timer loads. It is on a volatile file system: after a reboot nothing is left to be put back, since the new rules
/// are made permanent only after the timer is off.
const SCRIPT: &str = "/run/wiab-fw-restore.nft";
/// As the timer calls it.
const NFT: &str = "/usr/sbin/nft";

fn timer() -> String {
    format!("{UNIT}.timer")
}

/// Whether the timer runs.
pub(super) async fn is_armed(sh: Shell<'_>) -> Result<bool, Failure> {
    let cmd = Cmd::new(["systemctl", "is-active", &timer()]);
    Ok(sh.probe(&cmd).await?.is_some_and(|output| output.ok()))
}

/// Whether anything of a timer is left.
pub(super) async fn is_left(sh: Shell<'_>) -> Result<bool, Failure> {
    Ok(is_armed(sh).await? || sh.stat(SCRIPT).await?.is_some())
}

/// Starts the timer: after `seconds`, `restore` is loaded.
pub(super) async fn arm(sh: Shell<'_>, restore: &str, seconds: u64) -> Result<(), Failure> {
    stop(sh).await?;
    // A way back that nft does not accept would be none.
    sh.ok(&nft(&["-c", "-f", "-"]).stdin(restore)).await?;
    sh.write(SCRIPT, restore.as_bytes(), &Meta::root(0o600))
        .await?;
    let (active, unit) = (format!("--on-active={seconds}"), format!("--unit={UNIT}"));
    let argv = [
        "systemd-run",
        &active,
        &unit,
        "--collect",
        "--timer-property=AccuracySec=1s",
        NFT,
        "-f",
        SCRIPT,
    ];
    sh.ok(&Cmd::new(argv).root()).await.map(drop).map_err(|failure| {
        let hint = "wiab changes the firewall only with a timer of systemd that can take the change back; see `systemctl status`";
        failure.hint(hint)
    })
}

async fn stop(sh: Shell<'_>) -> Result<(), Failure> {
    if is_armed(sh).await? {
        sh.ok(&Cmd::new(["systemctl", "stop", &timer()]).root())
            .await?;
    }
    Ok(())
}

/// Stops the timer, if it runs, and removes what it would have loaded.
pub(super) async fn disarm(sh: Shell<'_>) -> Result<(), Failure> {
    stop(sh).await?;
    sh.remove(SCRIPT, true).await.map(drop)
}

/// Loads rules as one transaction while the timer runs.
pub(super) async fn load_armed(
    sh: Shell<'_>,
    script: &str,
    restore: &str,
    seconds: u64,
) -> Result<(), Failure> {
    arm(sh, restore, seconds).await?;
    load(sh, script).await
}
