//! The whole plan on real parts: seven VMs, the stand-in release with real playbooks and charts, kills in every area, a second
//! run that changes nothing, and a rollback after which the machine is as it was.

use std::path::Path;

use crate::artifact;
use crate::bench::{Bench, DIR, HOST, WIAB};
use crate::cache::Cache;
use crate::error::{Result, ensure};
use crate::inside::Bind;
use crate::kube::Control;
use crate::machine::Machine;
use crate::outer::Outer;
use crate::say::{say, took};
use crate::snapshot::Snapshot;
use crate::sys::Watch;

const CONFIG: &str = include_str!("../machine/whole.toml");
/// Where the machine sees the artifact.
const ARTIFACT: &str = "/lab/wire-server-deploy-static-lab.tgz";
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
/// Things of other people that are on the machine before wiab comes, and must be there after it has gone.
const FOREIGN: &str = "set -e
systemctl enable --quiet --now dnsmasq
printf '10.1.2.3 assethost-of-somebody else\\n' >> /etc/hosts
nft add table inet foreign
nft add chain inet foreign input '{ type filter hook input priority 10; }'
nft add rule inet foreign input tcp dport 9 counter accept comment '\"somebody\"'
printf '<network><name>foreign</name><bridge name=\"virbr7\"/><ip address=\"198.51.100.129\" netmask=\"255.255.255.128\"/></network>' \
 > /tmp/foreign.xml
virsh -q net-define /tmp/foreign.xml
echo keep > /var/lib/libvirt/images/foreign.raw
";

/// Runs it with the binary at `wiab`, as far as `until` if that is given. With `keep`, a machine on which it failed stays.
pub(crate) fn run(cache: &Cache, wiab: &Path, until: Option<&str>, keep: bool) -> Result<()> {
    let watch = Watch::start();
    let before = Outer::look()?;
    let machine = boot(cache, wiab, keep)?;
    let until = until.map_or_else(String::new, |step| format!(" --until {step}"));
    let mut cluster = Control::start(&machine, cache)?;
    let result = furnish(&machine)
        .and_then(|()| cluster.start_hub(BACKOFF_S))
        .and_then(|()| Bench::new(&machine, wiab, CONFIG, LIMIT_S))
        .and_then(|bench| Whole { bench, until }.run());
    if keep && result.is_err() {
        let how = machine.how_to_enter();
        say(&format!("the machine stays; look around: {how}"));
        say("remove it: wiab-lab clean");
        return result;
    }
    cluster.stop()?;
    machine.down()?;
    result?;
    Outer::look()?.same_as(&before)?;
    took("whole: passed; nothing is left", watch);
    Ok(())
}

/// Boots a machine that sees the binary and the artifact.
fn boot(cache: &Cache, wiab: &Path, stays: bool) -> Result<Machine> {
    let artifact = artifact::ensure(cache)?;
    let mut shared = Vec::new();
    for (from, to) in [(wiab, WIAB), (artifact.as_path(), ARTIFACT)] {
        shared.push(Bind {
            from: fs_err::canonicalize(from)?,
            to: to.into(),
            writable: false,
        });
    }
    Machine::up(cache, &shared, stays)
}

/// Gives the machine what its user would have made: a way in, and a directory with a configuration.
fn furnish(machine: &Machine) -> Result<()> {
    machine.let_in()?;
    let config = format!("install -d -o demo -g demo {DIR} && cat > {DIR}/wiab.toml");
    machine.sh(&config).stdin(CONFIG).run()
}

/// Boots a machine for use by hand and leaves it.
pub(crate) fn stay(cache: &Cache, wiab: &Path) -> Result<()> {
    let machine = boot(cache, wiab, true)?;
    furnish(&machine)?;
    say("the machine is up; log in: tests/lab/ssh");
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
        bench.machine.sh(FOREIGN).run()?;
        // Whoever calls sudo for the first time gets a marker file.
        bench.demo("sudo -n true").run()?;
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
        let rules = self.bench.text("nft list ruleset")?;
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
