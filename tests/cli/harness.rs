//! Runs the binary in a directory of its own, with an environment of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

/// A directory with a configuration and a state directory.
pub(super) struct Site {
    dir: tempfile::TempDir,
    vars: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A chain of three site-specific steps on the simulated machine.
pub(super) const CHAIN: &str = r#"host = "sim"
plan = "steps"

[[step]]
id = "site.a"
run = "echo one > /tmp/a"
probe = ["test", "-f", "/tmp/a"]
undo = ["rm", "-f", "/tmp/a"]

[[step]]
id = "site.b"
after = ["site.a"]
run = "echo two > /tmp/b"
probe = ["test", "-f", "/tmp/b"]
undo = ["rm", "-f", "/tmp/b"]

[[step]]
id = "site.c"
after = ["site.b"]
run = "echo three > /tmp/c"
probe = ["test", "-f", "/tmp/c"]
undo = ["rm", "-f", "/tmp/c"]
"#;

impl Site {
    /// An empty directory.
    pub(super) fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            vars: Vec::new(),
        }
    }

    /// A directory with this `wiab.toml`.
    pub(super) fn with(config: &str) -> Self {
        let site = Self::empty();
        site.write("wiab.toml", config);
        site
    }

    pub(super) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Arms the simulated machine of the installation `wiab`.
    pub(super) fn faults(&self, json: &str) {
        self.write("state/wiab-sim/sim/faults.json", json);
    }

    fn command(&self, args: &[&str]) -> Command {
        #[expect(
            clippy::disallowed_methods,
            reason = "the test's subject is the binary itself"
        )]
        let mut command = Command::new(env!("CARGO_BIN_EXE_wiab"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.path("home"))
            .env("USER", "op")
            .env("LC_ALL", "C.UTF-8")
            .env("WIAB_STATE_DIR", self.path("state"))
            .env("WIAB_SIM_SPEED", "max")
            .envs(self.vars.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, args: &[&str]) -> Done {
        let output = self.command(args).output().unwrap();
        Done {
            // A process that a signal ended has no code; shells say 128 and the number.
            code: output.status.code().unwrap_or_else(|| {
                use std::os::unix::process::ExitStatusExt;
                128 + output.status.signal().unwrap_or(0)
            }),
            stdout: self.neutral(&output.stdout),
            stderr: self.neutral(&output.stderr),
        }
    }

    /// Runs a command with stdout going to a file or device.
    pub(super) fn run_into(&self, path: &str, args: &[&str]) -> Done {
        let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
        let output = self
            .command(args)
            .stdout(Stdio::from(file.into_parts().0))
            .output()
            .unwrap();
        Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::new(),
            stderr: self.neutral(&output.stderr),
        }
    }

    /// Runs a command that must end with 0.
    pub(super) fn ok(&self, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, 0, "wiab {args:?}: {done:#?}");
        done
    }

    /// Starts a command and leaves it running.
    pub(super) fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Running {
            child: Some(child),
            stderr,
            seen: String::new(),
        }
    }

    /// The text with this directory's path taken out.
    fn neutral(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).replace(&self.dir.path().display().to_string(), "DIR")
    }

    /// Every file below the directory with its content, for "nothing was changed".
    pub(super) fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(self.dir.path(), &mut files);
        files.sort();
        files
    }

    /// The short id of the newest run.
    pub(super) fn latest(&self) -> String {
        self.latest_of(&[])
    }

    /// The same with further options.
    pub(super) fn latest_of(&self, options: &[&str]) -> String {
        let list = self.ok(&[&["journal", "list", "--json"], options].concat());
        let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
        list["runs"][0]["run"].as_str().unwrap()[..8].to_owned()
    }

    /// `wiab status --json` of the newest run.
    pub(super) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["status", "--json"]).stdout).unwrap()
    }
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.push((path.clone(), Vec::new()));
            collect(&path, files);
        } else if path.is_file() {
            let bytes = fs_err::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
}

/// A command that runs.
pub(super) struct Running {
    child: Option<Child>,
    stderr: BufReader<ChildStderr>,
    seen: String,
}

impl Running {
    /// Reads stderr until a line holds `text`. Ends with a panic when the process ends first.
    pub(super) fn wait_for(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).unwrap();
            assert!(read > 0, "the process ended before `{text}`: {}", self.seen);
            self.seen.push_str(&line);
            if line.contains(text) {
                return;
            }
        }
    }

    /// Reads stdout until a line holds `text`; answers what was read.
    pub(super) fn wait_for_output(&mut self, text: &str) -> String {
        let stdout = self.child.as_mut().unwrap().stdout.as_mut().unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut byte = [0];
            let read = stdout.read(&mut byte).unwrap();
            assert!(read > 0, "the process ended before `{text}`");
            seen.extend(byte);
        }
        String::from_utf8(seen).unwrap()
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().unwrap();
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Waits for the end.
    pub(super) fn end(mut self) -> Done {
        self.stderr.read_to_string(&mut self.seen).unwrap();
        let mut child = self.child.take().unwrap();
        let mut stdout = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        let status = child.wait().unwrap();
        Done {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr: std::mem::take(&mut self.seen),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed must not leave its process behind.
        if let Some(mut child) = self.child.take()
            && child.try_wait().unwrap().is_none()
        {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
