//! The whole plan on real parts: seven VMs, the stand-in release with real playbooks and charts, kills in every area, a second
//! run that changes nothing, and a rollback after which the machine is as it was.

use std::path::Path;

use crate::artifact;
use crate::bench::{Bench, DIR, HOST, WIAB};
use crate::cache::Cache;
use crate::error::{Result, ensure};
use crate::inside::{Bind, OUTSIDE_IP};
use crate::kube::Control;
use crate::machine::Machine;
use crate::say::say;
use crate::scenario::{FOREIGN, Scenario};
use crate::snapshot::Snapshot;

const CONFIG: &str = include_str!("../machine/whole.toml");
/// Longest time that one wiab command may take, in seconds.
const LIMIT_S: u64 = 3 * 3600;
/// Pause after a failed issuance of a certificate, in seconds.
const BACKOFF_S: u64 = 20;
/// The VMs, in the order of their names.
const MACHINES: &str = "assethost datanode1 datanode2 datanode3 kubenode1 kubenode2 kubenode3";
/// Steps in whose middle wiab is killed, at least one in every area that does something.
const KILLS: [&str; 9] = [
    "art.unpack",
    "net.wirebox",
    "img.base",
    "vm.start:kubenode2",
    "vm.ready:datanode3",
    "inv.write",
    "fw.apply",
    "img.wsd",
    "sec.generate",
];
/// A service of other people, which is in the way of wiab's.
const MORE: &str = "systemctl enable --quiet --now dnsmasq";

/// Runs it with the binary at `wiab`, as far as `until` if that is given. With `keep`, a machine on which it failed stays.
pub(crate) fn run(cache: &Cache, wiab: &Path, until: Option<&str>, keep: bool) -> Result<()> {
    let until = until.map_or_else(String::new, |step| format!(" --until {step}"));
    Scenario {
        name: "whole",
        cache,
        binds: &shared(cache, wiab)?,
        keep,
    }
    .prove(|machine| {
        let mut cluster = Control::start(machine, cache)?;
        let result = cluster
            .start_hub(BACKOFF_S)
            .and_then(|()| furnish(machine, &cluster))
            .and_then(|()| Bench::new(machine, wiab, CONFIG, LIMIT_S))
            .and_then(|bench| Whole { bench, until }.run());
        if keep && result.is_err() {
            return result;
        }
        cluster.stop()?;
        result
    })
}

/// What the machine sees: the binary and the artifact.
fn shared(cache: &Cache, wiab: &Path) -> Result<Vec<Bind>> {
    let binary = Bind {
        from: fs_err::canonicalize(wiab)?,
        to: WIAB.into(),
        writable: false,
    };
    Ok(vec![binary, artifact::share(cache)?])
}

/// Gives the machine what its user would have made: a way in, and a directory with a configuration. The outside is all of the
/// internet that there is: its name service is asked, and its authority trusted.
fn furnish(machine: &Machine, cluster: &Control<'_>) -> Result<()> {
    machine.let_in()?;
    let net = format!("echo nameserver {OUTSIDE_IP} > /etc/resolv.conf");
    machine.sh(&net).run()?;
    let trust =
        "cat > /usr/local/share/ca-certificates/wiab-lab.crt && update-ca-certificates > /dev/null";
    machine.sh(trust).stdin(cluster.root()?).run()?;
    let config = format!("install -d -o demo -g demo {DIR} && cat > {DIR}/wiab.toml");
    machine.sh(&config).stdin(CONFIG).run()
}

/// Boots a machine for use by hand and leaves it.
pub(crate) fn stay(cache: &Cache, wiab: &Path) -> Result<()> {
    let machine = Machine::up(cache, &shared(cache, wiab)?, true)?;
    let mut cluster = Control::start(&machine, cache)?;
    cluster.start_hub(BACKOFF_S)?;
    furnish(&machine, &cluster)?;
    let bench = Bench::new(&machine, wiab, CONFIG, LIMIT_S)?;
    say("the machine is up; log in: tests/lab/ssh");
    say(&format!("from outside: {}", bench.how_to_call()));
    say(&format!(
        "there: cd {DIR}; {WIAB} plan; {WIAB} apply; {WIAB} rollback --all --wipe-data"
    ));
    say(&format!("as root: {}", machine.how_to_enter()));
    say("remove it: tests/lab/down");
    Ok(())
}

struct Whole<'a> {
    bench: Bench<'a>,
    /// Limits the plan.
    until: String,
}

impl Whole<'_> {
    fn run(&self) -> Result<()> {
        let bench = &self.bench;
        bench.machine.sh(MORE).run()?;
        bench.machine.sh(FOREIGN).run()?;
        // Whoever calls sudo for the first time gets a marker file.
        bench.machine.demo("sudo -n true").run()?;
        let before = bench.snapshot()?;
        let until = &self.until;
        bench.expect(&format!("plan --exit-code{until}"), 2)?;
        bench.snapshot()?.same_as(&before, "after `wiab plan`")?;
        self.killed_apply()?;
        self.machines()?;
        self.second_apply_changes_nothing()?;
        self.rollback(&before)
    }

    /// Kills the first run and every resumed one, and lets the last one finish.
    fn killed_apply(&self) -> Result<()> {
        let mut args = format!("apply --yes{}", self.until);
        let mut kills = 0;
        let mut ended = false;
        for step in KILLS {
            ended = !self.bench.killed_in(&args, step)?;
            if ended {
                break;
            }
            kills += 1;
            "apply --resume --yes".clone_into(&mut args);
        }
        if !ended {
            self.bench.expect(&args, 0)?;
        }
        say(&format!("whole: killed {kills} times, and came to its end"));
        Ok(())
    }

    /// What virsh and nft say.
    fn machines(&self) -> Result<()> {
        let names = "virsh list --name | sort | xargs";
        self.bench.shows(names, MACHINES)?;
        let memory = "for d in $(virsh list --name); do virsh dominfo $d; done | awk '/Max memory/ { all += $3 } END { print all / 1048576 }'";
        self.bench.shows(memory, "55")?;
        let rules = self.bench.machine.text("nft list ruleset")?;
        ensure(
            rules.contains("198.51.100.10") || rules.contains("eth0"),
            || format!("no rule names the public interface:\n{rules}"),
        )
    }

    fn second_apply_changes_nothing(&self) -> Result<()> {
        let installed = self.bench.snapshot()?;
        let until = &self.until;
        self.bench.expect(&format!("plan --exit-code{until}"), 0)?;
        self.bench.expect(&format!("apply --yes{until}"), 0)?;
        let now = self.bench.snapshot()?;
        now.same_as(&installed, "after a second `wiab apply`")
    }

    fn rollback(&self, before: &Snapshot) -> Result<()> {
        let bench = &self.bench;
        let all = format!("rollback --all --yes --wipe-data --confirm {HOST}");
        bench.expect(&all, 0)?;
        let now = bench.snapshot()?;
        now.same_as(before, "after `wiab rollback`")?;
        say("whole: after rollback the machine is as it was before the first command");
        bench.expect("journal verify", 0)
    }
}
