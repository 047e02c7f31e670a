//! The disposable machine: started, entered, and removed without a trace.

use std::path::{Path, PathBuf};
use std::process::Child;

use crate::cache::{Cache, remove_tree};
use crate::cgroup;
use crate::cmd::{self, Cmd};
use crate::error::{LabError, Result};
use crate::image;
use crate::inside::{Bind, MACHINE_IP, Order};
use crate::process::{self, Process};
use crate::rootfs;
use crate::say::{say, took};
use crate::sys::{self, Watch};

/// How long the machine may take to boot, in seconds.
const BOOT_LIMIT_S: u64 = 120;
/// How much the machine may write, in MiB; taken from memory only when written.
const SCRATCH_MIB: u64 = 8192;
/// Where the machine sees the VM image.
pub(crate) const IMAGE: &str = "/lab/base.qcow2";

/// What is written down about a running machine, for those who come later.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Record {
    /// The process whose death ends the machine.
    keeper: Process,
    /// Its control group.
    cgroup: String,
}

/// A running machine.
#[derive(Debug)]
pub(crate) struct Machine {
    dir: PathBuf,
    record: Record,
    /// Set unless the machine was started by another run of the lab.
    child: Option<Child>,
    /// Process 1 of the machine, as the outer machine numbers it.
    leader: u32,
    /// The container manager, in the outside's network namespace.
    manager: u32,
}

impl Machine {
    /// Boots a machine that sees `binds` and the VM image. Unless `stays`, it dies with this process, however that ends.
    pub(crate) fn up(cache: &Cache, binds: &[Bind], stays: bool) -> Result<Self> {
        let watch = Watch::start();
        clean(cache, false)?;
        let root = rootfs::built(cache)?;
        let image = Bind {
            from: image::built(cache)?,
            to: IMAGE.into(),
            writable: false,
        };
        let id = format!("wiab-lab-{}", std::process::id());
        let dir = cache.machines().join(&id);
        fs_err::create_dir_all(dir.join("scratch"))?;
        let order = Order {
            root,
            scratch: dir.join("scratch"),
            scratch_mib: SCRATCH_MIB,
            cgroup: id.clone(),
            binds: binds.iter().cloned().chain([image]).collect(),
        };
        write_json(&dir.join("order"), &order)?;
        let mut cmd = Cmd::new(Vec::<String>::new());
        if !stays {
            cmd = cmd.args(["setpriv", "--pdeathsig", "KILL", "--"]);
        }
        let own = fs_err::canonicalize("/proc/self/exe")?;
        let mut child = cmd
            .args([
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "--net",
                "--pid",
                "--fork",
            ])
            .args(["--kill-child=KILL", "--mount-proc", "--"])
            .args([own.display().to_string(), "inside".to_owned()])
            .arg(dir.join("order").display().to_string())
            .spawn_logged(&dir.join("console"))?;
        let started = Process::find(child.id())
            .ok_or_else(|| LabError::check("the machine's keeper ended at once"));
        let keeper = started.inspect_err(|_| cmd::kill_group(&child))?;
        let record = Record { keeper, cgroup: id };
        let booted = write_json(&dir.join("record"), &record).and_then(|()| boot(&mut child, &dir));
        match booted {
            Ok((manager, leader)) => {
                took("machine: booted", watch);
                Ok(Self {
                    dir,
                    record,
                    child: Some(child),
                    leader,
                    manager,
                })
            }
            Err(error) => {
                say(&console_tail(&dir));
                sys::cleaning(|| remove(&dir, &record, Some(&mut child)))?;
                Err(error)
            }
        }
    }

    /// The machine that an earlier `run --keep` left.
    pub(crate) fn running(cache: &Cache) -> Result<Self> {
        for dir in machine_dirs(cache)? {
            if let Ok(record) = read_record(&dir)
                && record.keeper.alive()
                && let Some((manager, leader)) = find_leader(record.keeper.pid)
            {
                return Ok(Self {
                    dir,
                    record,
                    child: None,
                    leader,
                    manager,
                });
            }
        }
        Err(LabError::NoMachine)
    }

    /// A command inside the machine, as root, with a login's environment and no input.
    pub(crate) fn cmd<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Cmd {
        let target = self.leader.to_string();
        Cmd::new([
            "nsenter", "--target", &target, "--mount", "--uts", "--ipc", "--net", "--pid",
        ])
        .args([
            "--cgroup",
            "--root",
            "--wd",
            "--",
            "env",
            "-i",
            "HOME=/root",
            "USER=root",
        ])
        .args([
            "LOGNAME=root",
            "SHELL=/bin/bash",
            "TERM=dumb",
            "LANG=C.UTF-8",
        ])
        .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .hide_prefix()
        .args(argv)
    }

    /// A line of shell inside the machine.
    pub(crate) fn sh(&self, script: &str) -> Cmd {
        self.cmd(["sh", "-c", script])
    }

    /// A line of shell run by the machine's ordinary user.
    pub(crate) fn demo(&self, line: &str) -> Cmd {
        let user = ["HOME=/home/demo", "USER=demo", "LOGNAME=demo"];
        self.cmd(["setpriv", "--reuid=demo", "--regid=demo", "--init-groups"])
            .arg("env")
            .args(user)
            .args(["sh", "-c", line])
    }

    /// What a line of shell in the machine prints, without the end of the line.
    pub(crate) fn text(&self, line: &str) -> Result<String> {
        Ok(self.sh(line).output()?.trim_end().to_owned())
    }

    /// A command of the outer machine in the outside's network: it reaches the machine by its public address.
    pub(crate) fn outside<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Cmd {
        Cmd::new([
            "nsenter",
            "--target",
            &self.manager.to_string(),
            "--net",
            "--",
        ])
        .args(argv)
    }

    /// Lets the outside log in as the ordinary user: with a key in [`Machine::dir`], and the machine's host key beside it.
    pub(crate) fn let_in(&self) -> Result<()> {
        let key = self.dir.join("id_ed25519");
        Cmd::new(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab"])
            .args(["-f".to_owned(), key.display().to_string()])
            .run()?;
        let public = fs_err::read_to_string(key.with_extension("pub"))?;
        self.sh(
            "install -d -m 0700 -o demo -g demo /home/demo/.ssh && cat > /home/demo/.ssh/authorized_keys && \
             chown demo:demo /home/demo/.ssh/authorized_keys && chmod 0600 /home/demo/.ssh/authorized_keys",
        )
        .stdin(public)
        .run()?;
        let host = self
            .cmd(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])
            .output()?;
        let line = format!("{MACHINE_IP} {host}");
        Ok(fs_err::write(self.dir.join("known_hosts"), line)?)
    }

    /// The command line that logs in from outside; what follows runs there.
    pub(crate) fn login(&self) -> Cmd {
        let at = |name: &str| self.dir.join(name).display().to_string();
        self.outside(["ssh", "-i", &at("id_ed25519"), "-o"])
            .arg(format!("UserKnownHostsFile={}", at("known_hosts")))
            .args(["-o", "StrictHostKeyChecking=yes"])
            .arg(format!("demo@{MACHINE_IP}"))
            .arg("--")
    }

    /// A command of the outer machine in the outside's network, which ends with the machine at the latest.
    pub(crate) fn service<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Cmd {
        let target = self.manager.to_string();
        Cmd::new(["nsenter", "--target", &target, "--net", "--pid", "--"]).args(argv)
    }

    /// Removes the machine and checks that nothing of it is left.
    pub(crate) fn down(mut self) -> Result<()> {
        let watch = Watch::start();
        let namespaces: Vec<PathBuf> = [self.manager, self.leader]
            .iter()
            .filter_map(|pid| process::namespace(*pid, "pid"))
            .collect();
        sys::cleaning(|| {
            remove(&self.dir, &self.record, self.child.as_mut())?;
            // The kernel kills them with their namespace; each needs a moment to die.
            sys::wait_for("the end of the machine's processes", 20, || {
                let left = namespaces
                    .iter()
                    .any(|ns| !process::in_namespace(ns).is_empty());
                Ok((!left).then_some(()))
            })
        })?;
        took("machine: removed", watch);
        Ok(())
    }

    /// A directory of the outer machine for notes about this machine; goes with it.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// How to run a command in the outside's network by hand.
    pub(crate) fn how_to_be_outside(&self) -> String {
        format!("nsenter --target {} --net", self.manager)
    }

    /// How to look around in it by hand.
    pub(crate) fn how_to_enter(&self) -> String {
        format!(
            "nsenter --target {} --mount --uts --ipc --net --pid --root --wd bash -l",
            self.leader
        )
    }
}

/// Removes machines that were left behind: those whose keeper died, and with `all` also those that run.
pub(crate) fn clean(cache: &Cache, all: bool) -> Result<usize> {
    let mut cleaned = 0;
    for dir in machine_dirs(cache)? {
        let Ok(record) = read_record(&dir) else {
            // Its maker died before it started anything, or is just about to; only the former is old.
            if all {
                remove_tree(&dir)?;
            }
            continue;
        };
        if all || !record.keeper.alive() {
            say(&format!("removing what {} left", record.cgroup));
            sys::cleaning(|| remove(&dir, &record, None))?;
            cleaned += 1;
        }
    }
    Ok(cleaned)
}

fn machine_dirs(cache: &Cache) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs_err::read_dir(cache.machines()) else {
        return Ok(Vec::new());
    };
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn remove(dir: &Path, record: &Record, child: Option<&mut Child>) -> Result<()> {
    record.keeper.kill();
    if let Some(child) = child {
        child.wait()?;
    }
    sys::wait_for("the machine's end", 20, || {
        Ok((!record.keeper.alive()).then_some(()))
    })?;
    cgroup::remove(&record.cgroup)?;
    remove_tree(dir)
}

/// Waits until the machine has booted; the numbers of its container manager and of its process 1.
fn boot(child: &mut Child, dir: &Path) -> Result<(u32, u32)> {
    let keeper = child.id();
    let found = sys::wait_for("the boot of the machine", BOOT_LIMIT_S, || {
        if let Some(status) = child.try_wait()? {
            return Err(LabError::check(format!(
                "the container manager ended: {status}"
            )));
        }
        Ok(find_leader(keeper))
    })?;
    let machine = Machine {
        dir: dir.to_owned(),
        record: Record {
            keeper: Process {
                pid: keeper,
                started: 0,
            },
            cgroup: String::new(),
        },
        child: None,
        manager: found.0,
        leader: found.1,
    };
    let state = sys::wait_for("the boot of the machine", BOOT_LIMIT_S, || {
        let state = machine
            .cmd(["systemctl", "is-system-running"])
            .done()?
            .stdout;
        let state = state.trim().to_owned();
        Ok(matches!(state.as_str(), "running" | "degraded" | "maintenance").then_some(state))
    })?;
    sys::wait_for("the machine's network link", 20, || {
        let link = machine
            .cmd(["cat", "/sys/class/net/eth0/operstate"])
            .output()?;
        Ok((link.trim() == "up").then_some(()))
    })?;
    if state != "running" {
        let failed = machine
            .cmd(["systemctl", "--failed", "--no-legend", "--plain"])
            .output()?;
        say(&format!("machine: {state}; failed units:\n{failed}"));
    }
    Ok(found)
}

/// Below the keeper runs the container manager, and below that process 1 of the machine in a process namespace of its own.
fn find_leader(keeper: u32) -> Option<(u32, u32)> {
    let manager = *process::children(keeper).first()?;
    let own = process::namespace(manager, "pid")?;
    let inner = |pid: &u32| process::namespace(*pid, "pid").is_some_and(|name| name != own);
    process::children(manager)
        .into_iter()
        .find(inner)
        .map(|leader| (manager, leader))
}

fn read_record(dir: &Path) -> Result<Record> {
    let text = fs_err::read_to_string(dir.join("record"))?;
    serde_json::from_str(&text).map_err(|source| LabError::Json {
        what: dir.display().to_string(),
        source,
    })
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|source| LabError::Json {
        what: path.display().to_string(),
        source,
    })?;
    Ok(fs_err::write(path, text)?)
}

fn console_tail(dir: &Path) -> String {
    let bytes = fs_err::read(dir.join("console")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(30)..)
        .unwrap_or_default();
    format!("the machine's console ended with:\n{}", tail.join("\n"))
}
