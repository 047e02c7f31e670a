//! The commands of the simulated machine: argv in, answer and changes out.

mod acl;
mod ansible;
mod apt;
mod ask;
mod catalog;
mod connect;
mod conntrack;
mod copy;
mod coreutils;
mod docker;
mod docker_image;
mod docker_ps;
mod domain;
mod elsewhere;
pub(super) mod fetch;
mod find;
pub(super) mod gpg;
mod guest;
mod guest_data;
mod guest_files;
mod guest_kube;
mod guest_run;
mod guest_units;
mod helm;
mod helm_query;
mod image;
mod ingress;
mod iptables;
mod kernel;
mod kubectl;
mod kubectl_apply;
mod kubectl_replace;
mod kubectl_view;
mod network;
mod nft;
mod nft_list;
mod nft_rule;
mod nft_set;
mod nft_text;
mod played;
mod plays;
mod sh;
mod ss;
mod sshkey;
mod systemd;
mod systemd_local;
mod tar;
mod users;
mod virsh;

use super::entity::Package;
use super::files;
use super::state::{Change, Draft};
use super::surroundings::Surroundings;
use crate::host::{Cmd, HostError, Output};

pub(super) use ansible::PlaybookFault;
pub(super) use apt::{install as install_packages, remove as remove_packages};
pub(super) use catalog::PREINSTALLED;
pub(super) use conntrack::Flows;
pub(super) use docker::container_named;
pub(super) use domain::define as define_domain;
pub(super) use domain::moments;
pub(super) use domain::start as start_domain;
pub(super) use elsewhere::route_of_others;
pub(super) use network::{bridge_and_address, define as define_network, start as start_network};
pub(super) use nft::load as load_rules;
pub(super) use ss::{SOCKETS, Socket, open as open_socket};

/// How a simulated command ends, and after how much virtual time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) took_ms: u64,
}

/// What a small tool takes.
const QUICK_MS: u64 = 2;

impl Reply {
    /// Success with this output.
    pub(crate) fn ok(stdout: impl Into<String>) -> Self {
        Self::bytes(stdout.into().into_bytes())
    }

    /// Success with these bytes.
    pub(crate) fn bytes(stdout: Vec<u8>) -> Self {
        Self {
            code: 0,
            stdout,
            stderr: Vec::new(),
            took_ms: 0,
        }
    }

    /// Failure with this standard error.
    pub(crate) fn fail(code: i32, stderr: impl Into<String>) -> Self {
        Self {
            code,
            stdout: Vec::new(),
            stderr: stderr.into().into_bytes(),
            took_ms: 0,
        }
    }

    /// The same after this time.
    pub(crate) fn took(mut self, ms: u64) -> Self {
        self.took_ms = ms;
        self
    }

    pub(crate) fn output(self) -> Output {
        Output {
            code: self.code,
            stdout: self.stdout,
            stderr: self.stderr,
        }
    }
}

/// One command line.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) program: &'a str,
    pub(crate) args: Vec<&'a str>,
    pub(crate) stdin: &'a [u8],
    pub(crate) root: bool,
    /// Inside a container: its paths and those of the machine that they show.
    pub(crate) mounts: &'a [Mount],
}

/// A directory of the machine inside a container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mount {
    pub(crate) inside: String,
    pub(crate) outside: String,
    pub(crate) read_only: bool,
}

impl Call<'_> {
    /// The absolute form of a path argument.
    ///
    /// Inside a container, what is not mounted is not on the machine.
    pub(crate) fn path(&self, draft: &Draft<'_>, path: &str) -> String {
        if self.mounts.is_empty() {
            return files::absolute(draft, path, self.root);
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", docker::WORKDIR)
        };
        let below = |mount: &&Mount| {
            let rest = path.strip_prefix(&mount.inside);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let deepest = self.mounts.iter().filter(below);
        match deepest.max_by_key(|mount| mount.inside.len()) {
            Some(mount) => {
                let rest = path.strip_prefix(&mount.inside).unwrap_or_default();
                files::absolute(draft, &format!("{}{rest}", mount.outside), true)
            }
            None => format!("/nowhere{path}"),
        }
    }

    /// `program: text`, as tools complain.
    pub(crate) fn complain(&self, code: i32, text: &str) -> Reply {
        Reply::fail(code, format!("{}: {text}\n", self.program)).took(QUICK_MS)
    }

    /// The content of a file argument; `/dev/stdin` and `-` are the command's input.
    pub(crate) fn content(&self, draft: &Draft<'_>, path: &str) -> Option<String> {
        if path == "/dev/stdin" || path == "-" {
            return Some(String::from_utf8_lossy(self.stdin).into_owned());
        }
        let file = files::at(draft, &self.path(draft, path))?;
        files::readable(draft, &file, self.root).then(|| file.text())
    }
}

type Handler = fn(&mut Draft<'_>, &Call<'_>) -> Reply;

/// The package that brings a program (`None`: always there), and what it does.
fn tool(program: &str) -> Option<(Option<&'static str>, Handler)> {
    let base: Handler = match program {
        "true" | "false" | "sleep" | "echo" | "cat" | "uname" | "hostname" | "whoami" | "nproc"
        | "sha256sum" | "stat" | "test" | "[" | "printf" | "readlink" | "sync" | "ls" => {
            coreutils::read
        }
        "touch" | "rm" | "rmdir" | "mkdir" | "chmod" | "chown" | "mv" | "tee" => coreutils::change,
        "df" | "printenv" | "timedatectl" => ask::run,
        "cp" | "install" | "ln" => copy::run,
        "id" | "getent" | "usermod" | "gpasswd" | "groups" => users::run,
        "dpkg-query" | "apt-get" | "dpkg" => apt::run,
        "ss" => ss::run,
        "systemctl" => systemd::run,
        "systemd-run" => systemd_local::transient,
        "sysctl" | "ip" => kernel::run,
        "find" => find::run,
        "gpg" => gpg::run,
        "gzip" => fetch::gzip,
        "openssl" => connect::openssl,
        "sh" | "bash" => sh::run,
        "tar" => tar::run,
        "/usr/local/sbin/wiab-ingress" => ingress::run,
        "timeout" => elsewhere::timeout,
        _ => return packaged(program).map(|(package, handler)| (Some(package), handler)),
    };
    Some((None, base))
}

fn packaged(program: &str) -> Option<(&'static str, Handler)> {
    Some(match program {
        "setfacl" | "getfacl" => ("acl", acl::run as Handler),
        "dig" => ("bind9-dnsutils", ask::run),
        "host" => ("bind9-host", ask::run),
        "sudo" => ("sudo", ask::run),
        "ufw" => ("ufw", ask::run),
        "virsh" => ("libvirt-clients", virsh::run),
        "qemu-img" => ("qemu-utils", image::run),
        "conntrack" => ("conntrack", conntrack::run),
        "cloud-localds" => ("cloud-image-utils", image::localds),
        "qemu-system-x86_64" => ("qemu-system-x86", coreutils::version),
        "docker" => ("docker.io", docker::run),
        "ssh-keygen" => ("openssh-client", sshkey::run),
        "ssh" => ("openssh-client", guest::ssh),
        "ssh-keyscan" => ("openssh-client", elsewhere::keyscan),
        "curl" => ("curl", fetch::curl),
        "iptables" => ("iptables", iptables::run),
        "nft" => ("nftables", nft::run),
        _ => return None,
    })
}

/// Runs a command on a draft of the state.
pub(crate) fn dispatch(draft: &mut Draft<'_>, cmd: &Cmd) -> Result<Reply, HostError> {
    let args: Vec<&str> = cmd.argv.iter().map(String::as_str).collect();
    let stdin = cmd.stdin.as_deref().unwrap_or_default();
    if cmd.root && !Surroundings::of(draft).sudo {
        let why = "sudo: a password is required".to_owned();
        return Err(HostError::Denied { why });
    }
    run(draft, &args, stdin, cmd.root, &[]).map_err(|program| HostError::NoProgram { program })
}

/// Runs one argument vector; the error names a program that does not exist.
fn run(
    draft: &mut Draft<'_>,
    argv: &[&str],
    stdin: &[u8],
    root: bool,
    mounts: &[Mount],
) -> Result<Reply, String> {
    let Some((first, rest)) = argv.split_first() else {
        return Err(String::new());
    };
    let program = first
        .strip_prefix("/usr/bin/")
        .or_else(|| first.strip_prefix("/bin/"))
        .or_else(|| first.strip_prefix("/usr/sbin/"))
        .unwrap_or(first);
    if program == "env" {
        let at = rest.iter().position(|word| !word.contains('='));
        let rest = at.and_then(|at| rest.get(at..)).unwrap_or_default();
        return run(draft, rest, stdin, root, mounts);
    }
    let missing = || (*first).to_owned();
    let (package, handler) = tool(program).ok_or_else(missing)?;
    let there = package.is_none_or(|package| {
        draft
            .get::<Package>(package)
            .is_some_and(|package| package.status == "installed")
    });
    if !there {
        return Err(missing());
    }
    Ok(handler(
        draft,
        &Call {
            program,
            args: rest.to_vec(),
            stdin,
            root,
            mounts,
        },
    ))
}

impl Draft<'_> {
    /// What a command would answer now, and what it changes at its very start; its other changes are forgotten.
    pub(crate) fn foresee(&self, cmd: &Cmd) -> Option<(Reply, Vec<Change>)> {
        let mut draft = Draft::new(self.base());
        let reply = dispatch(&mut draft, cmd).ok()?;
        Some((reply, draft.begun()))
    }
}

/// Splits options from operands: short and long options of `with_value` take the next word unless they hold a `=`.
pub(crate) fn options<'a>(
    args: &[&'a str],
    with_value: &[&str],
) -> (Vec<(&'a str, &'a str)>, Vec<&'a str>) {
    let (mut found, mut operands) = (Vec::new(), Vec::new());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if *word == "--" {
            operands.extend(words.copied());
            break;
        }
        if !word.starts_with('-') || *word == "-" {
            operands.push(*word);
        } else if with_value.contains(word) {
            found.push((*word, words.next().copied().unwrap_or_default()));
        } else if let Some((name, value)) = word.split_once('=') {
            found.push((name, value));
        } else {
            found.push((*word, ""));
        }
    }
    (found, operands)
}

/// The value of the last option among `names`.
pub(crate) fn option<'a>(options: &[(&'a str, &'a str)], names: &[&str]) -> Option<&'a str> {
    options
        .iter()
        .rev()
        .find(|(name, _)| names.contains(name))
        .map(|(_, value)| *value)
}

/// A number that only depends on `text`.
pub(crate) fn spread(text: &str, below: u64) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    let bytes = hash
        .as_bytes()
        .first_chunk::<8>()
        .copied()
        .unwrap_or_default();
    u64::from_le_bytes(bytes) % below.max(1)
}

/// Bytes as base64.
pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A UUID that only depends on `text`.
pub(crate) fn uuid_of(text: &str) -> String {
    let hex = blake3::hash(text.as_bytes()).to_hex();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    format!(
        "{}-{}-4{}-a{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    )
}

/// A MAC address of QEMU's range that only depends on `text`.
pub(crate) fn mac_of(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes());
    let [a, b, c] = hash
        .as_bytes()
        .first_chunk::<3>()
        .copied()
        .unwrap_or_default();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}
