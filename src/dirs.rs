//! Where wiab keeps things: XDG directories, one subdirectory per installation and host.

use std::path::{Path, PathBuf};

use crate::config::env::Environment;
use crate::exit::Code;
use crate::problem::Problem;

/// What decides about the state directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Where<'a> {
    /// `--state-dir`.
    pub(crate) flag: Option<&'a Path>,
    /// The environment.
    pub(crate) env: &'a Environment,
    /// Whether this process is root.
    pub(crate) root: bool,
    /// The host's name.
    pub(crate) host: &'a str,
    /// The installation's name.
    pub(crate) installation: &'a str,
}

/// The directories of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dirs {
    /// The installation's own directory: `<state>/<installation>-<host>`.
    pub(crate) home: PathBuf,
}

impl Dirs {
    /// Finds the directories; creates nothing.
    pub(crate) fn find(place: Where<'_>) -> Result<Self, Problem> {
        let base = state_base(place)?;
        Ok(Self {
            home: base.join(format!("{}-{}", place.installation, file_name(place.host))),
        })
    }

    /// The installation with its host: `wiab-sim`.
    pub(crate) fn name(&self) -> String {
        let name = self.home.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The journal: database, copies, captured output, socket.
    pub(crate) fn journal(&self) -> PathBuf {
        self.home.join("journal")
    }

    /// The simulated machine.
    pub(crate) fn sim(&self) -> PathBuf {
        self.home.join("sim")
    }

    /// The debug log of a run.
    pub(crate) fn run(&self, run: &str) -> PathBuf {
        self.home.join("runs").join(run)
    }

    /// Crash reports.
    pub(crate) fn crash(&self) -> PathBuf {
        self.home.join("crash")
    }

    /// Creates the installation's directory (0700) and tries to write into it.
    pub(crate) fn prepare(&self) -> Result<(), Problem> {
        let attempt = || -> std::io::Result<()> {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.home)?;
            let probe = self.home.join(".writable");
            fs_err::write(&probe, b"")?;
            fs_err::remove_file(&probe)
        };
        attempt().map_err(|error| {
            let why = error.raw_os_error().map_or_else(
                || error.to_string(),
                |code| std::io::Error::from_raw_os_error(code).to_string(),
            );
            Problem::new(
                Code::JournalIo,
                format!(
                    "the state directory {} cannot be written: {}",
                    self.home.display(),
                    lower_first(&why)
                ),
            )
            .hint("make it writable, or choose another one with --state-dir or WIAB_STATE_DIR")
        })
    }
}

/// A host's name as a part of a file's: `ssh://op@box:22` is `ssh-op@box-22`.
fn file_name(host: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._-".contains(c);
    let name = host.replacen("://", "-", 1).replace(['[', ']'], "");
    name.replace(|c: char| !plain(c), "-")
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

fn state_base(place: Where<'_>) -> Result<PathBuf, Problem> {
    if let Some(dir) = place.flag {
        return Ok(dir.to_path_buf());
    }
    if let Some(dir) = place.env.get("WIAB_STATE_DIR") {
        return Ok(PathBuf::from(dir));
    }
    if place.root && place.host == "local" {
        return Ok(PathBuf::from("/var/lib/wiab"));
    }
    xdg(place.env, "XDG_STATE_HOME", ".local/state").ok_or_else(|| {
        Problem::new(Code::JournalIo, "no state directory: HOME is not set")
            .hint("set HOME, or choose a directory with --state-dir or WIAB_STATE_DIR")
    })
}

/// The configuration file of the user.
pub(crate) fn user_config(env: &Environment) -> Option<PathBuf> {
    xdg(env, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("config.toml"))
}

/// An XDG directory's `wiab`; relative values are ignored, as the specification asks.
fn xdg(env: &Environment, name: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    env.get(name)
        .and_then(absolute)
        .or_else(|| Some(absolute(env.get("HOME")?)?.join(fallback)))
        .map(|dir| dir.join("wiab"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_follows_its_precedence() {
        let home = ("HOME", "/home/op");
        let cases = [
            (
                Some("/flag"),
                vec![("WIAB_STATE_DIR", "/env"), home],
                false,
                "local",
                "/flag/w-local",
            ),
            (
                None,
                vec![("WIAB_STATE_DIR", "/env"), home],
                true,
                "local",
                "/env/w-local",
            ),
            (None, vec![home], true, "local", "/var/lib/wiab/w-local"),
            (
                None,
                vec![home],
                true,
                "sim",
                "/home/op/.local/state/wiab/w-sim",
            ),
            (
                None,
                vec![home],
                true,
                "ssh://op@[2001:db8::1]:2222",
                "/home/op/.local/state/wiab/w-ssh-op@2001-db8--1-2222",
            ),
            (
                None,
                vec![("XDG_STATE_HOME", "/xdg"), home],
                false,
                "sim",
                "/xdg/wiab/w-sim",
            ),
            (
                None,
                vec![("XDG_STATE_HOME", "rel"), home],
                false,
                "sim",
                "/home/op/.local/state/wiab/w-sim",
            ),
        ];
        for (flag, vars, root, host, want) in cases {
            let env = Environment::from_pairs(vars);
            let found = Dirs::find(Where {
                flag: flag.map(Path::new),
                env: &env,
                root,
                host,
                installation: "w",
            })
            .unwrap();
            assert_eq!(found.home, Path::new(want));
        }
    }
}
