//! The acceptance scenario: wiab's first slice on real libvirt, nftables and QEMU. Plan, apply with two kills in the middle,
//! apply again, roll back; and the machine is as it was.

use std::path::Path;

use crate::cache::Cache;
use crate::cmd::{self, Cmd};
use crate::error::{LabError, Result, ensure};
use crate::inside::Bind;
use crate::machine::Machine;
use crate::say::{say, took};
use crate::scenario::{self, FOREIGN, Scenario};
use crate::snapshot::Snapshot;
use crate::sys::{self, Watch};

const CONFIG: &str = include_str!("../machine/wiab.toml");
/// The lab's directory in the machine: configuration, deploy files and journal; snapshots leave it out.
const DIR: &str = "/home/demo/wiab";
const WIAB: &str = "/lab/wiab";
/// The comment by which the hairpin rule is known.
const HAIRPIN: &str = "wire-hairpin-dnat-virbr0";
/// Longest time that one wiab command may take, in seconds.
const LIMIT_S: u64 = 600;
/// The directory of its user, and a network of other people that runs.
const MORE: &str = "set -e
install -d -o demo -g demo /home/demo/wiab
virsh -q net-start foreign
";

/// Runs it with the binary at `wiab`. With `keep`, a machine on which it failed stays.
pub(crate) fn run(cache: &Cache, wiab: &Path, keep: bool) -> Result<()> {
    let binds = [Bind {
        from: fs_err::canonicalize(wiab)?,
        to: WIAB.into(),
        writable: false,
    }];
    Scenario {
        name: "e2e",
        cache,
        binds: &binds,
        keep,
    }
    .prove(|machine| Slice { machine }.run())
}

struct Slice<'a> {
    machine: &'a Machine,
}

impl Slice<'_> {
    fn run(&self) -> Result<()> {
        self.machine.sh(FOREIGN).run()?;
        self.machine.sh(MORE).run()?;
        // Whoever calls sudo for the first time gets a marker file.
        self.machine.demo("sudo -n true").run()?;
        self.machine
            .sh(&format!("cat > {DIR}/wiab.toml"))
            .stdin(CONFIG)
            .run()?;
        let before = self.snapshot()?;
        self.plan_only_reads(&before)?;
        self.killed_apply()?;
        self.installed()?;
        self.second_apply_changes_nothing()?;
        self.rollback(&before)
    }

    fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(self.machine, DIR)
    }

    /// A wiab command line, run by the ordinary user in the directory of its configuration.
    fn wiab(&self, args: &str) -> Cmd {
        let line = format!(
            "cd {DIR} && exec {WIAB} {args} --host local --state-dir {DIR}/state --no-input"
        );
        self.machine.demo(&line).limit_s(LIMIT_S)
    }

    fn expect(&self, args: &str, wanted: i32) -> Result<()> {
        scenario::expect(&self.wiab(args), args, wanted)
    }

    fn plan_only_reads(&self, before: &Snapshot) -> Result<()> {
        self.expect("plan --exit-code", 2)?;
        self.snapshot()?.same_as(before, "after `wiab plan`")
    }

    /// Kills the installation when the network is up, the resumed one when the VM boots, and lets the third finish.
    fn killed_apply(&self) -> Result<()> {
        self.kill_when("apply --yes", "virsh net-list --name | grep -q -x wirebox")?;
        self.kill_when(
            "apply --resume --yes",
            "virsh list --name | grep -q -x assethost",
        )?;
        self.expect("apply --resume --yes", 0)
    }

    fn kill_when(&self, args: &str, condition: &str) -> Result<()> {
        say(&format!(
            "$ wiab {args}    (killed when `{condition}` holds)"
        ));
        let watch = Watch::start();
        let log = self.machine.dir().join("wiab-log");
        let mut child = self.wiab(args).spawn_logged(&log)?;
        let reached = sys::wait_for(condition, LIMIT_S, || {
            if let Some(status) = child.try_wait()? {
                return Err(LabError::check(format!(
                    "`wiab {args}` ended before it could be killed: {status}"
                )));
            }
            Ok(self.machine.sh(condition).succeeds()?.then_some(()))
        });
        cmd::kill_group_to_its_end(&mut child)?;
        say(&fs_err::read_to_string(&log)?);
        fs_err::remove_file(&log)?;
        reached?;
        took(&format!("e2e: wiab {args}, killed"), watch);
        Ok(())
    }

    fn installed(&self) -> Result<()> {
        let network = self.machine.text("virsh net-dumpxml wirebox")?;
        let mut reserved = network.lines().filter(|line| line.contains("<host "));
        let line = reserved
            .find(|line| line.contains("assethost"))
            .unwrap_or_default();
        let ip = attribute(line, "ip").ok_or_else(|| {
            LabError::check(format!(
                "wirebox reserves no address for assethost:\n{network}"
            ))
        })?;
        let state = self.machine.text("virsh domstate assethost")?;
        ensure(state.trim() == "running", || {
            format!("assethost is {state:?}")
        })?;
        self.one_hairpin_rule()?;
        let key = self
            .machine
            .text("find /home/demo -name id_ed25519 | head -n 1")?;
        let known = self
            .machine
            .text("find /home/demo -name known_hosts | head -n 1")?;
        let login = format!(
            "ssh -i {key} -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=yes \
             -o UserKnownHostsFile={known} demo@{ip} 'hostname; sudo -n id -u'"
        );
        let answer = self.machine.demo(&login).output()?;
        ensure(answer == "assethost\n0\n", || {
            format!("assethost answers {answer:?}")
        })?;
        say("e2e: network, VM and hairpin rule are up; the VM answers over ssh");
        Ok(())
    }

    fn one_hairpin_rule(&self) -> Result<()> {
        let rules = self.machine.cmd(["nft", "list", "ruleset"]).output()?;
        let count = rules.matches(HAIRPIN).count();
        ensure(count == 1, || format!("{count} hairpin rules:\n{rules}"))
    }

    fn second_apply_changes_nothing(&self) -> Result<()> {
        let installed = self.snapshot()?;
        self.expect("plan --exit-code", 0)?;
        self.expect("apply --yes", 0)?;
        self.snapshot()?
            .same_as(&installed, "after a second `wiab apply`")
    }

    fn rollback(&self, before: &Snapshot) -> Result<()> {
        self.expect("rollback --all --plan", 0)?;
        self.expect("rollback --all --yes --wipe-data --confirm local", 0)?;
        self.snapshot()?.same_as(before, "after `wiab rollback`")?;
        say("e2e: after rollback the machine is as it was before the first command");
        self.expect("journal verify", 0)?;
        self.expect("journal list", 0)
    }
}

/// The value of an attribute of an element on one line, as libvirt prints it.
fn attribute(line: &str, name: &str) -> Option<String> {
    let after = line.split_once(&format!(" {name}='"))?.1;
    Some(after.split_once('\'')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_attribute() {
        let line = "      <host mac='52:54:00:00:00:11' name='assethost' ip='192.0.2.10'/>";
        assert_eq!(attribute(line, "ip").as_deref(), Some("192.0.2.10"));
        assert_eq!(attribute(line, "id"), None);
    }
}
