//! A machine over SSH, as an operator meets it: a real sshd on loopback, one process per connection.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::harness::{Done, Site};

/// The unprivileged account that tests run by root log in as.
const NOBODY: u32 = 65_534;

const STEPS: &str = r#"plan = "steps"

[[step]]
id = "site.a"
run = ["touch", "a"]
probe = ["test", "-e", "a"]
"#;

#[expect(clippy::disallowed_methods, reason = "a test sets up its own machine")]
fn tool(words: &[&str]) -> String {
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(done.status.success(), "{words:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn key(site: &Site, name: &str) -> String {
    let path = site.path(name).display().to_string();
    tool(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &path]);
    let shown = tool(&["ssh-keygen", "-lf", &path]);
    shown.split(' ').nth(1).unwrap().to_owned()
}

fn script(path: &Path, text: &str) {
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A machine that lies in the site's directory. Answers its port.
fn machine(site: &Site) -> u16 {
    let at = site.path("machine");
    for name in ["machine/home", "machine/bin"] {
        fs_err::create_dir_all(site.path(name)).unwrap();
    }
    let user = rustix::process::geteuid();
    let drop = if user.is_root() {
        // sshd wants it to be there when it is started by root.
        fs_err::create_dir_all("/run/sshd").unwrap();
        for path in [at.parent().unwrap(), &at] {
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::chown(at.join("home"), Some(NOBODY), Some(NOBODY)).unwrap();
        format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups ")
    } else {
        String::new()
    };
    let force = format!(
        "#!/bin/sh\ncd {0}/home\nexport HOME={0}/home PATH={0}/bin:/usr/bin:/bin\nexec {drop}sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
        at.display()
    );
    script(&at.join("force"), &force);
    let config = format!(
        "HostKey {0}/host\nAuthorizedKeysFile {0}/client.pub\nForceCommand {0}/machine/force\nStrictModes no\nUsePAM no\nPidFile none\n\
         LogLevel ERROR\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n",
        at.parent().unwrap().display()
    );
    fs_err::write(at.join("config"), config).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let input = OwnedFd::from(stream.try_clone().unwrap());
            #[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
            let sshd = Command::new("/usr/sbin/sshd")
                .args(["-i", "-f"])
                .arg(at.join("config"))
                .stdin(input)
                .stdout(OwnedFd::from(stream))
                .stderr(std::process::Stdio::null())
                .spawn();
            // It is collected when it has ended, beside the next one.
            std::thread::spawn(move || sshd.unwrap().wait());
        }
    });
    port
}

fn account() -> String {
    tool(&["id", "-un"]).trim().to_owned()
}

fn refused(done: &Done, code: i32, parts: &[&str]) {
    assert_eq!(done.code, code, "{done:#?}");
    for part in parts {
        assert!(done.stderr.contains(part), "no `{part}` in {done:#?}");
    }
}

#[test]
fn what_keeps_wiab_out_is_said_with_its_code_and_its_remedy() {
    let site = Site::with(STEPS);
    let offered = key(&site, "host");
    for name in ["client", "other"] {
        key(&site, name);
    }
    let port = machine(&site);
    let host = format!("ssh://{}@127.0.0.1:{port}", account());
    let keys = format!("ssh.keys={}", site.path("client").display());
    let plan = ["plan", "--host", &host, "--set", &keys];
    let with = |more: &[&str]| site.run(&[&plan[..], more].concat());
    refused(
        &with(&["--strict"]),
        77,
        &["ssh.strict is set", &offered, "hint: "],
    );
    let sudo = site.path("machine/bin/sudo");
    script(
        &sudo,
        "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n",
    );
    refused(
        &with(&[]),
        77,
        &[
            &offered,
            "sudo is refused",
            "none is configured",
            "ssh.sudo_password",
        ],
    );
    script(&sudo, "#!/bin/sh\nshift 2\nexec \"$@\"\n");
    // The key is known by now, and nothing keeps wiab out.
    let done = with(&["--strict"]);
    assert_eq!(done.code, 0, "{done:#?}");
    assert!(done.stdout.contains("site.a"), "{done:#?}");
    fs_err::write(site.path("machine/home/a"), "").unwrap();
    let done = with(&["--exit-code"]);
    assert_eq!(done.code, 0, "{done:#?}");
    let other = format!("ssh.keys={}", site.path("other").display());
    refused(
        &site.run(&["plan", "--host", &host, "--set", &other]),
        77,
        &[
            "accepts none of the keys: tried key DIR/other",
            "ssh-copy-id",
        ],
    );
    let client = site.path("client");
    fs_err::set_permissions(&client, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&with(&[]), 77, &["mode 0644", "hint: chmod 600 DIR/client"]);
    fs_err::set_permissions(&client, std::fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["host", "host.pub"] {
        fs_err::remove_file(site.path(name)).unwrap();
    }
    let changed = key(&site, "host");
    refused(
        &with(&[]),
        77,
        &[
            &offered,
            &changed,
            "DIR/home/.ssh/known_hosts, line 1",
            "ssh-keygen -f",
        ],
    );
}

#[test]
fn a_machine_that_is_away_or_not_named() {
    let site = Site::with(STEPS);
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let host = format!("ssh://op@127.0.0.1:{port}");
    let done = site.run(&["plan", "--host", &host]);
    refused(
        &done,
        69,
        &["nothing listens on that port", "hint: check ssh.port"],
    );
    refused(
        &site.run(&["plan", "--host", "ssh"]),
        78,
        &["no machine is named", "--host ssh://user@address:port"],
    );
    for (password, says) in [
        ("hunter2", "is none of none, ask, env:NAME, file:PATH"),
        ("env:NO_SUCH", "the variable NO_SUCH is not set"),
        ("file:missing", "readable by you alone"),
    ] {
        let set = format!("ssh.sudo_password={password}");
        let done = site.run(&["plan", "--host", &host, "--set", &set]);
        refused(&done, 78, &[says]);
    }
}

#[test]
fn a_machine_in_one_word_goes_before_what_is_said_farther_away() {
    let site = Site::with("host = \"ssh://op@far:2222\"\n[ssh]\nuser = \"file\"\nstrict = true\n")
        .var("WIAB_HOST", "ssh://near");
    let done = site.ok(&["config", "show", "--origin", "--set", "ssh.port=2022"]);
    for part in [
        "ssh.address = \"near\"",
        "ssh.user = \"file\"",
        "ssh.port = 2022",
        "host = \"ssh\"",
    ] {
        assert!(done.stdout.contains(part), "no `{part}` in {}", done.stdout);
    }
}
