//! A machine over SSH, from the configuration; and the operator who answers for it.

use std::io::{BufRead as _, IsTerminal as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use wiab_steps::host::ssh::{
    Endpoint, Operator, SecretString, SshError, SshHost, SshOptions, SudoPassword,
};

use crate::app::App;
use crate::config::Config;
use crate::exit::Code;
use crate::problem::Problem;
use crate::ui::printer::Printer;

/// Longest password in a file, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4 << 10;

/// The account to log in to.
pub(crate) fn target(config: &Config) -> Result<Endpoint, Problem> {
    let address = config.text("ssh.address");
    if address.is_empty() {
        return Err(Problem::new(Code::BadConfig, "host is ssh, and no machine is named")
            .hint("name it: --host ssh://user@address:port, or address = \"…\" below [ssh] in wiab.toml"));
    }
    let user = match config.text("ssh.user") {
        "" => wiab_journal::login_name(),
        user => user.to_owned(),
    };
    let end = Endpoint {
        user,
        address: address.to_owned(),
        port: u16::try_from(config.integer("ssh.port")).unwrap_or_default(),
    };
    if end.is_sound() {
        return Ok(end);
    }
    Err(Problem::new(
        Code::BadConfig,
        format!("`{end}` is not an account on a machine"),
    )
    .hint("ssh.user and ssh.address are plain names: user = \"op\", address = \"box.example.org\""))
}

/// The host of that account. Nothing is connected to yet.
pub(crate) fn open(app: &App, config: &Config) -> Result<SshHost, Problem> {
    let target = target(config)?;
    let home = app.env.get("HOME").map(PathBuf::from);
    let path = |text: &str| match (text.strip_prefix("~/"), &home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    };
    let jumps = config.list("ssh.jump").iter().map(|text| {
        Endpoint::parse(text, Some(&target.user)).map_err(|error| {
            Problem::from_error(Code::BadConfig, "`ssh.jump`", &error)
                .hint("for example: jump = [\"op@gate.example.org:22\"]")
        })
    });
    let known_hosts = match config.text("ssh.known_hosts") {
        "" => path("~/.ssh/known_hosts"),
        text => path(text),
    };
    let agent = app.env.get("SSH_AUTH_SOCK").map(PathBuf::from);
    let seconds = u64::try_from(config.integer("ssh.reconnect_s")).unwrap_or_default();
    let options = SshOptions {
        jumps: jumps.collect::<Result<_, _>>()?,
        keys: config
            .list("ssh.keys")
            .iter()
            .map(|text| path(text))
            .collect(),
        usual_keys: match config.list("ssh.keys") {
            [] => ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa"].map(path).to_vec(),
            _ => Vec::new(),
        },
        agent: agent.filter(|_| config.flag("ssh.agent")),
        known_hosts,
        more_known_hosts: vec![PathBuf::from("/etc/ssh/ssh_known_hosts")],
        strict: config.flag("ssh.strict"),
        sudo: sudo(app, config.text("ssh.sudo_password"), path)?,
        reconnect_ms: seconds * 1_000,
        target,
    };
    let operator = Terminal {
        printer: Arc::clone(&app.printer),
        no_input: app.global.no_input,
    };
    Ok(SshHost::new(options, Arc::new(operator)))
}

/// Where sudo's password comes from. It is no value of a key, and is kept nowhere.
fn sudo(app: &App, text: &str, path: impl Fn(&str) -> PathBuf) -> Result<SudoPassword, Problem> {
    let wrong = |why: String, hint: String| {
        Problem::new(Code::BadConfig, format!("`ssh.sudo_password`: {why}")).hint(hint)
    };
    let given =
        |text: &str| SudoPassword::Given(SecretString::from(text.trim_end_matches(['\r', '\n'])));
    match (text, text.split_once(':')) {
        ("none", _) => Ok(SudoPassword::None),
        ("ask", _) => Ok(SudoPassword::Ask),
        (_, Some(("env", name))) => match app.env.get(name) {
            Some(value) => Ok(given(value)),
            None => Err(wrong(
                format!("the variable {name} is not set"),
                format!("set {name} to the password"),
            )),
        },
        (_, Some(("file", name))) => {
            let file = path(name);
            let cannot = |error: std::io::Error| {
                wrong(
                    error.to_string(),
                    format!("put the password into {name}, readable by you alone"),
                )
            };
            let meta = fs_err::metadata(&file).map_err(cannot)?;
            let mode = meta.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(wrong(
                    format!("{name} can be read by others (mode {mode:04o})"),
                    format!("chmod 600 {name}"),
                ));
            }
            if meta.len() > PASSWORD_BYTES_MAX {
                return Err(wrong(
                    format!("{name} holds more than a password"),
                    "one line, the password".to_owned(),
                ));
            }
            fs_err::read_to_string(&file)
                .map(|text| given(&text))
                .map_err(cannot)
        }
        _ => Err(wrong(
            format!("`{text}` is none of none, ask, env:NAME, file:PATH"),
            "the password itself does not belong into the configuration".to_owned(),
        )),
    }
}

/// What keeps wiab out, with its remedy and exit code.
pub(crate) fn barred(error: &SshError) -> Problem {
    let code = if error.is_away() {
        Code::Unreachable
    } else {
        Code::Denied
    };
    Problem::new(code, error.to_string()).hint(error.remedy())
}

/// Whoever sits at the terminal.
#[derive(Debug)]
struct Terminal {
    printer: Arc<Printer>,
    no_input: bool,
}

impl Operator for Terminal {
    fn tell(&self, text: &str) {
        self.printer.warn(text);
    }

    fn ask(&self, what: &str) -> Option<SecretString> {
        let input = std::io::stdin();
        if self.no_input || !input.is_terminal() || !std::io::stderr().is_terminal() {
            return None;
        }
        self.printer.err_raw(&format!("{what}: "));
        let before = tcgetattr(&input).ok()?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO;
        tcsetattr(&input, OptionalActions::Flush, &silent).ok()?;
        let mut line = String::new();
        let read = input.lock().read_line(&mut line);
        let restored = tcsetattr(&input, OptionalActions::Flush, &before);
        self.printer.err_raw("\n");
        let secret = SecretString::from(line.trim_end_matches(['\r', '\n']));
        (read.is_ok() && restored.is_ok() && !line.is_empty()).then_some(secret)
    }
}
