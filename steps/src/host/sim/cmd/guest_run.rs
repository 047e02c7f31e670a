//! Commands inside a virtual machine: the line that `ssh` hands over, and which tool answers.

use serde_json::{Value, json};

use super::super::inside;
use super::super::state::Draft;
use super::domain::Guest;
use super::{Reply, guest_data, guest_files, guest_kube, guest_units, sh};

/// What a login takes.
const LOGIN_MS: u64 = 150;
/// What a small tool takes.
const TOOL_MS: u64 = 5;

/// One command inside a VM.
pub(super) struct Inner<'a> {
    pub(super) guest: &'a Guest,
    pub(super) program: &'a str,
    pub(super) args: &'a [&'a str],
    pub(super) stdin: &'a [u8],
    pub(super) root: bool,
}

impl Inner<'_> {
    /// The VM's name.
    pub(super) fn vm(&self) -> &str {
        &self.guest.domain
    }

    /// `program: text`, as tools complain.
    pub(super) fn complain(&self, code: i32, text: &str) -> Reply {
        Reply::fail(code, format!("{}: {text}\n", self.program))
    }
}

/// A VM as the place where a line runs.
struct There<'a> {
    guest: &'a Guest,
    stdin: &'a [u8],
    root: bool,
}

impl sh::Place for There<'_> {
    fn exec(&mut self, draft: &mut Draft<'_>, argv: &[&str]) -> Reply {
        exec(draft, self.guest, argv, self.stdin, self.root)
    }

    fn write(
        &mut self,
        draft: &mut Draft<'_>,
        path: &str,
        bytes: Vec<u8>,
        append: bool,
    ) -> Result<(), &'static str> {
        if !self.root && !path.starts_with("/tmp/") && !path.starts_with("/home/") {
            return Err("Permission denied");
        }
        let vm = &self.guest.domain;
        let old = inside::text(draft, vm, path).filter(|_| append);
        let text = old.unwrap_or_default() + &String::from_utf8_lossy(&bytes);
        inside::write(draft, vm, path, &text);
        Ok(())
    }
}

/// Runs the line that `ssh` hands over to the login shell.
pub(super) fn remote(draft: &mut Draft<'_>, guest: &Guest, line: &str, stdin: &[u8]) -> Reply {
    let root = false;
    let mut place = There { guest, stdin, root };
    let reply = sh::line(draft, &mut place, line, &[]).unwrap_or_else(|| {
        Reply::fail(
            2,
            "bash: -c: line 1: syntax error: this line is not simulated\n",
        )
    });
    let took_ms = reply.took_ms + LOGIN_MS;
    reply.took(took_ms)
}

fn exec(draft: &mut Draft<'_>, guest: &Guest, words: &[&str], stdin: &[u8], root: bool) -> Reply {
    let Some((first, args)) = words.split_first() else {
        return Reply::ok("");
    };
    let program = first.rsplit('/').next().unwrap_or_default();
    match (program, args) {
        ("sudo", ["-n", "-u", _, rest @ ..]) => return exec(draft, guest, rest, stdin, false),
        ("sudo", ["-n", rest @ ..]) => return exec(draft, guest, rest, stdin, true),
        ("runuser", ["-u", _, "--", rest @ ..]) if root => {
            return exec(draft, guest, rest, stdin, false);
        }
        // A script reads a password into the environment before it becomes another program.
        ("IFS=", ["read", ..]) | ("export", _) => return Reply::ok(""),
        ("exec", rest) | ("timeout", [_, rest @ ..]) => {
            return exec(draft, guest, rest, stdin, root);
        }
        ("env", rest) => {
            let at = rest.iter().position(|word| !word.contains('='));
            let rest = at.and_then(|at| rest.get(at..)).unwrap_or_default();
            return exec(draft, guest, rest, stdin, root);
        }
        ("sh" | "bash", ["-c" | "-ec" | "-euc", script, params @ ..]) => {
            let mut place = There { guest, stdin, root };
            return sh::line(draft, &mut place, script, params).unwrap_or_else(|| {
                Reply::fail(2, "sh: 1: Syntax error: this line is not simulated\n")
            });
        }
        _ => {}
    }
    let inner = Inner {
        guest,
        program,
        args,
        stdin,
        root,
    };
    let reply = tool(draft, &inner)
        .unwrap_or_else(|| Reply::fail(127, format!("bash: line 1: {first}: command not found\n")));
    let took_ms = reply.took_ms.max(TOOL_MS);
    reply.took(took_ms)
}

fn tool(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Option<Reply> {
    Some(match inner.program {
        "cat" | "cp" | "test" | "[" | "rm" | "rmdir" | "mkdir" | "mv" | "tee" | "ls" | "df"
        | "sha256sum" | "grep" | "tar" | "touch" | "sync" | "chmod" | "stat" | "du" => {
            guest_files::run(draft, inner)
        }
        "systemctl" | "apt-get" | "apt-mark" | "dpkg-query" => guest_units::run(draft, inner),
        "ctr" | "containerd" | "etcdctl" | "kubeadm" => return guest_kube::run(draft, inner),
        "dig" => super::ask::dig(draft, inner.args),
        "ss" => super::connect::sockets(draft, inner.vm()),
        "nodetool" | "curl" | "rabbitmqctl" | "psql" | "ntpq" | "mc" => {
            return guest_data::run(draft, inner);
        }
        _ => return basic(draft, inner),
    })
}

/// The clock of a VM, in milliseconds of Unix time.
pub(super) fn clock_ms(draft: &Draft<'_>, vm: &str) -> u64 {
    let skew = inside::get(draft, vm, "clock/skew_ms").and_then(|value| value.as_i64());
    draft.wall_ms().saturating_add_signed(skew.unwrap_or(0))
}

fn basic(draft: &Draft<'_>, inner: &Inner<'_>) -> Option<Reply> {
    let guest = inner.guest;
    let line = |text: &str| Reply::ok(format!("{text}\n"));
    Some(match (inner.program, inner.args) {
        ("true" | ":" | "exit", _) => Reply::ok(""),
        ("false", _) => Reply::fail(1, ""),
        ("echo", args) => line(&args.join(" ")),
        ("printf", [text]) => Reply::ok(text.replace("\\n", "\n")),
        ("hostname", ["-f"]) => line(&format!("{}.local", guest.hostname)),
        ("hostname", _) => line(&guest.hostname),
        ("uname", ["-r"]) => line("5.15.0-91-generic"),
        ("whoami", _) => line(if inner.root { "root" } else { "demo" }),
        ("id", ["-u"]) => line(if inner.root { "0" } else { "1000" }),
        ("python3", ["--version"]) => line("Python 3.10.12"),
        ("date", ["+%s%N"]) => line(&format!("{}000000", clock_ms(draft, &guest.domain))),
        ("date", ["+%s"]) => line(&(clock_ms(draft, &guest.domain) / 1_000).to_string()),
        ("ip", args) => line(&network(guest, args)?.to_string()),
        ("cloud-init", ["status", rest @ ..]) => cloud_init(draft, guest, rest),
        _ => return None,
    })
}

fn network(guest: &Guest, args: &[&str]) -> Option<Value> {
    let words: Vec<&str> = args
        .iter()
        .copied()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let card = json!({
        "ifindex": 2, "ifname": "enp1s0", "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"], "mtu": 1500,
        "operstate": "UP", "link_type": "ether", "address": guest.mac,
        "addr_info": [{"family": "inet", "local": guest.address, "prefixlen": 24, "scope": "global"}],
    });
    Some(match *words.first()? {
        "route" => json!([{
            "dst": "default", "gateway": guest.gateway, "dev": "enp1s0", "protocol": "dhcp",
            "prefsrc": guest.address, "metric": 100, "flags": [],
        }]),
        "link" | "addr" | "address" => {
            json!([{"ifindex": 1, "ifname": "lo", "flags": ["LOOPBACK", "UP"], "mtu": 65_536, "operstate": "UNKNOWN"}, card])
        }
        _ => return None,
    })
}

fn cloud_init(draft: &Draft<'_>, guest: &Guest, args: &[&str]) -> Reply {
    let done = guest.ready_ms <= draft.now_ms() || args.contains(&"--wait");
    let wait_ms = guest.ready_ms.saturating_sub(draft.now_ms());
    let status = if done { "done" } else { "running" };
    let reply = if args.iter().any(|word| word.ends_with("json")) && !args.contains(&"--wait") {
        let answer = json!({
            "boot_status_code": "enabled-by-generator", "datasource": "nocloud",
            "detail": "DataSourceNoCloud [seed=/dev/sr0][dsmode=net]", "errors": [],
            "last_update": "Thu, 01 Jan 1970 00:00:30 +0000", "status": status,
        });
        Reply::ok(format!("{answer:#}\n"))
    } else {
        Reply::ok(format!("status: {status}\n"))
    };
    reply.took(if args.contains(&"--wait") { wait_ms } else { 0 })
}
