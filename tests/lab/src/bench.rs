//! What scenarios share: wiab run by the machine's ordinary user, killed when its journal has got somewhere, and looks at the
//! machine with other tools.

use crate::cmd::{self, Cmd};
use crate::error::{LabError, Result, ensure};
use crate::machine::Machine;
use crate::say::{say, took};
use crate::snapshot::Snapshot;
use crate::sys::{self, Watch};

/// The lab's directory in the machine: configuration and journal; snapshots leave it out.
pub(crate) const DIR: &str = "/home/demo/wiab";
/// Where the machine sees the binary.
pub(crate) const WIAB: &str = "/lab/wiab";

/// A machine and the binary that is proven on it.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    /// The machine.
    pub(crate) machine: &'a Machine,
    /// Longest time that one wiab command may take, in seconds.
    pub(crate) limit_s: u64,
}

impl Bench<'_> {
    /// The state of the machine, without the lab's directory.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(self.machine, DIR)
    }

    /// A wiab command line, run in the directory of its configuration.
    pub(crate) fn wiab(&self, args: &str) -> Cmd {
        let line = format!("cd {DIR} && exec {WIAB} {args} --state-dir {DIR}/state --no-input");
        self.demo(&line).limit_s(self.limit_s)
    }

    /// A line of shell run by the machine's ordinary user.
    pub(crate) fn demo(&self, line: &str) -> Cmd {
        let user = ["HOME=/home/demo", "USER=demo", "LOGNAME=demo"];
        self.machine
            .cmd(["setpriv", "--reuid=demo", "--regid=demo", "--init-groups"])
            .arg("env")
            .args(user)
            .args(["sh", "-c", line])
    }

    /// Runs wiab to its end, shows its output, and fails unless its exit code is `wanted`.
    pub(crate) fn expect(&self, args: &str, wanted: i32) -> Result<()> {
        say(&format!("$ wiab {args}"));
        let watch = Watch::start();
        let code = self.wiab(args).stream()?;
        ensure(code == wanted, || {
            format!("`wiab {args}` ended with {code}, not {wanted}")
        })?;
        took(&format!("wiab {args}"), watch);
        Ok(())
    }

    /// Runs wiab and kills it as soon as its journal says that the effect of a step has begun. Answers whether it could: a
    /// step that was as wanted already never begins.
    pub(crate) fn killed_in(&self, args: &str, step: &str) -> Result<bool> {
        say(&format!("$ wiab {args}    (killed in {step})"));
        let watch = Watch::start();
        let log = self.machine.dir().join("wiab-log");
        let mut child = self.wiab(args).spawn_logged(&log)?;
        let begun =
            format!("\"kind\":\"StepCaptured\",\"kind_number\":20,\"body\":{{\"step\":\"{step}\",");
        let look = format!(
            "find {DIR}/state -name events.jsonl -exec grep -qF '{begun}' {{}} \\; -print | grep -q ."
        );
        let mut ended = None;
        let reached = sys::wait_for(step, self.limit_s, || {
            if self.machine.sh(&look).succeeds()? {
                return Ok(Some(()));
            }
            ended = child.try_wait()?;
            Ok(ended.map(drop))
        });
        cmd::kill_group_to_its_end(&mut child)?;
        say(&fs_err::read_to_string(&log)?);
        fs_err::remove_file(&log)?;
        reached?;
        if let Some(status) = ended.filter(|status| !status.success()) {
            return Err(LabError::check(format!(
                "`wiab {args}` failed before {step}: {status}"
            )));
        }
        let what = if ended.is_none() { "killed" } else { "ended" };
        took(&format!("wiab {args}: {what}"), watch);
        Ok(ended.is_none())
    }

    /// What a line of shell in the machine prints, without the end of the line.
    pub(crate) fn text(&self, line: &str) -> Result<String> {
        Ok(self.machine.sh(line).output()?.trim_end().to_owned())
    }

    /// A line of shell in the machine that must print this.
    pub(crate) fn shows(&self, line: &str, wanted: &str) -> Result<()> {
        let found = self.text(line)?;
        ensure(found == wanted, || {
            format!("`{line}` shows {found:?}, not {wanted:?}")
        })
    }
}
