//! What scenarios share: wiab run outside the machine, over ssh, killed when its journal has got somewhere, and looks at the
//! machine with other tools.

use std::path::{Path, PathBuf};

use crate::cmd::{self, Cmd};
use crate::error::{LabError, Result, ensure};
use crate::machine::Machine;
use crate::say::{say, took};
use crate::scenario;
use crate::snapshot::Snapshot;
use crate::sys::{self, Watch};

/// The lab's directory in the machine: configuration and journal; snapshots leave it out.
pub(crate) const DIR: &str = "/home/demo/wiab";
/// Where the machine sees the binary, for use by hand.
pub(crate) const WIAB: &str = "/lab/wiab";
/// The machine, as wiab calls it.
pub(crate) const HOST: &str = "ssh://demo@198.51.100.10:22";

/// A machine, the binary that is proven on it, and the place outside from which it acts.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    /// The machine.
    pub(crate) machine: &'a Machine,
    /// The binary.
    wiab: PathBuf,
    /// Configuration and journal.
    client: PathBuf,
    /// Longest time that one wiab command may take, in seconds.
    limit_s: u64,
}

impl<'a> Bench<'a> {
    /// Lets the outside log in, and writes the configuration there: `config` with the way to the machine added.
    pub(crate) fn new(
        machine: &'a Machine,
        wiab: &Path,
        config: &str,
        limit_s: u64,
    ) -> Result<Self> {
        let client = machine.dir().join("client");
        fs_err::create_dir_all(&client)?;
        let at = |name: &str| machine.dir().join(name).display().to_string();
        let way = format!(
            "\n[ssh]\nkeys = [\"{}\"]\nknown_hosts = \"{}\"\nagent = false\nstrict = true\n",
            at("id_ed25519"),
            at("known_hosts")
        );
        let text = config.replace("host = \"local\"", &format!("host = \"{HOST}\""));
        fs_err::write(client.join("wiab.toml"), text + &way)?;
        Ok(Self {
            machine,
            wiab: fs_err::canonicalize(wiab)?,
            client,
            limit_s,
        })
    }

    /// The state of the machine, without the lab's directory.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(self.machine, DIR)
    }

    /// Where wiab keeps its journal.
    pub(crate) fn state(&self) -> PathBuf {
        self.client.join("state")
    }

    /// A wiab command line, run outside in the directory of its configuration.
    pub(crate) fn wiab(&self, args: &str) -> Cmd {
        let home = format!("HOME={}", self.client.display());
        let state = self.client.join("state").display().to_string();
        self.machine
            .outside(["env", "-i", &home, "TERM=dumb", "LANG=C.UTF-8"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .arg(self.wiab.display().to_string())
            .args(args.split(' '))
            .args(["--state-dir", &state, "--no-input"])
            .dir(&self.client)
            .limit_s(self.limit_s)
    }

    /// How to run wiab outside by hand.
    pub(crate) fn how_to_call(&self) -> String {
        let enter = self.machine.how_to_be_outside();
        let dir = self.client.display();
        format!(
            "cd {dir}; {enter} {} --state-dir state plan",
            self.wiab.display()
        )
    }

    /// Runs wiab to its end, shows its output, and fails unless its exit code is `wanted`.
    pub(crate) fn expect(&self, args: &str, wanted: i32) -> Result<()> {
        scenario::expect(&self.wiab(args), args, wanted)
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
        let state = self.client.join("state").display().to_string();
        let look = "find \"$1\" -name events.jsonl -exec grep -qF \"$2\" {} \\; -print | grep -q .";
        let mut ended = None;
        let reached = sys::wait_for(step, self.limit_s, || {
            if Cmd::new(["sh", "-c", look, "sh", &state, &begun]).succeeds()? {
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

    /// A line of shell in the machine that must print this.
    pub(crate) fn shows(&self, line: &str, wanted: &str) -> Result<()> {
        let found = self.machine.text(line)?;
        ensure(found == wanted, || {
            format!("`{line}` shows {found:?}, not {wanted:?}")
        })
    }
}
