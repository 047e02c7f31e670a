//! `wiab-guest`: stands in for the programs of a Wire machine. One binary, called by many names: a small service manager, the
//! services that it starts, and their tools. What they answer is the state of the files and processes of this machine and
//! what the other machines answer over the network.

#[path = "../agent.rs"]
mod agent;
mod cassandra;
mod etcd;
mod http;
mod images;
mod minio;
mod postgres;
mod rabbit;
mod serve;
mod systemctl;
mod time;
mod unit;

use std::io::Write as _;
use std::process::ExitCode;

/// Where the binary lies on the machines.
const HOME: &str = "/usr/local/lib/wiab-guest";
/// The names that it is called by, and where each stands. Packages and playbooks bring the others.
const LINKS: [&str; 1] = ["/usr/bin/systemctl"];

/// What a program prints and how it ends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    code: u8,
    out: String,
    err: String,
}

impl Answer {
    fn ok(out: impl Into<String>) -> Self {
        Self {
            out: out.into(),
            ..Self::default()
        }
    }

    fn fail(code: u8, err: impl Into<String>) -> Self {
        Self {
            code,
            err: err.into(),
            ..Self::default()
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((name, args)) = words.split_first() else {
        return ExitCode::FAILURE;
    };
    let answer = answer(name.rsplit('/').next().unwrap_or_default(), args);
    // Nobody left to read it is no reason to fail.
    let _ = std::io::stdout().write_all(answer.out.as_bytes());
    let _ = std::io::stderr().write_all(answer.err.as_bytes());
    ExitCode::from(answer.code)
}

fn answer(name: &str, args: &[&str]) -> Answer {
    match (name, args) {
        ("systemctl", _) => systemctl::run(args),
        ("nodetool", _) => cassandra::nodetool(args),
        ("rabbitmqctl", _) => rabbit::ctl(args),
        ("psql", _) => postgres::psql(args),
        ("mc", _) => minio::client(args),
        ("ntpq", _) => time::ntpq(),
        ("ctr", _) => images::ctr(args),
        ("containerd", _) => images::containerd(args),
        ("etcdctl", _) => etcd::ctl(args),
        ("guest" | "wiab-guest", ["links"]) => links(),
        ("guest" | "wiab-guest", ["supervise", unit]) => systemctl::supervise(unit),
        ("guest" | "wiab-guest", ["serve", what]) => serve::forever(what),
        ("guest" | "wiab-guest", ["pg", rest @ ..]) => postgres::prepare(rest),
        ("guest" | "wiab-guest", ["rest"]) => serve::rest(),
        _ => Answer::fail(127, format!("{name}: this program stands in for none\n")),
    }
}

/// Makes the names that every machine has.
fn links() -> Answer {
    for link in LINKS {
        let made = remove(link).and_then(|()| std::os::unix::fs::symlink(HOME, link));
        if let Err(error) = made {
            return Answer::fail(1, format!("{link}: {error}\n"));
        }
    }
    Answer::ok("")
}

/// Removes a file, if there is one.
fn remove(path: &str) -> std::io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The text of a file; empty if there is none.
fn text(path: &str) -> String {
    fs_err::read_to_string(path).unwrap_or_default()
}

/// Writes a file with the directories above it.
fn write(path: &str, text: &str) -> std::io::Result<()> {
    if let Some((dir, _)) = path.rsplit_once('/') {
        fs_err::create_dir_all(dir)?;
    }
    let part = format!("{path}.part");
    fs_err::write(&part, text)?;
    fs_err::rename(part, path)
}

/// The name of this machine.
fn host() -> String {
    text("/proc/sys/kernel/hostname").trim().to_owned()
}
