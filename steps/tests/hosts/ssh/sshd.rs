//! Debian's sshd without any privilege or port of its own: one per connection (`sshd -i`) behind a relay on loopback, which
//! can hold answers back, delay everything and cut the link.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wiab_steps::host::Host;
use wiab_steps::host::ssh::{Endpoint, Operator, SshHost, SshOptions, SudoPassword};

use crate::hosts::conformance::World;

/// The unprivileged account that tests run by root log in as.
const NOBODY: u32 = 65_534;

/// An operator who was told things and knows one secret.
#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) told: Mutex<Vec<String>>,
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) secret: Option<&'static str>,
}

impl Operator for Listener {
    fn tell(&self, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }

    fn ask(&self, what: &str) -> Option<SecretString> {
        self.asked.lock().unwrap().push(what.to_owned());
        self.secret.map(SecretString::from)
    }
}

/// What the relay does.
#[derive(Debug)]
pub(super) struct Relay {
    /// Whether what the machine says is held back.
    hold: watch::Sender<bool>,
    /// Counts cuts: every connection from before one is gone.
    cut: watch::Sender<u64>,
    /// Whether new connections are closed at once.
    pub(super) closed: AtomicBool,
    /// Connections so far.
    pub(super) connections: AtomicU64,
    /// How long each way takes, in milliseconds.
    pub(super) delay_ms: AtomicU64,
}

impl Relay {
    pub(super) fn hold(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

/// A machine: an sshd, its keys, and a home for whoever logs in.
#[derive(Debug)]
pub(super) struct Machine {
    dir: tempfile::TempDir,
    /// A directory that both sides can write.
    work: PathBuf,
    plain: bool,
    pub(super) port: u16,
    pub(super) relay: Arc<Relay>,
    pub(super) operator: Arc<Listener>,
}

#[expect(clippy::disallowed_methods, reason = "a test sets up its own machine")]
fn tool(words: &[&str]) {
    let (program, args) = words.split_first().unwrap();
    let done = Command::new(program).args(args).output().unwrap();
    assert!(
        done.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

pub(super) fn key(path: &Path, kind: &str, phrase: &str) {
    tool(&[
        "ssh-keygen",
        "-q",
        "-t",
        kind,
        "-N",
        phrase,
        "-C",
        "test",
        "-f",
        path.to_str().unwrap(),
    ]);
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Machine {
    /// A machine to log in to as the user who runs the test, or, with `plain`, as one who is not root.
    pub(super) async fn start(plain: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for name in ["host", "client", "other"] {
            key(&at.join(name), "ed25519", "");
        }
        fs_err::copy(at.join("client.pub"), at.join("authorized")).unwrap();
        for name in ["home", "bin", "work"] {
            fs_err::create_dir(at.join(name)).unwrap();
        }
        let drop = if plain && is_root() {
            fs_err::set_permissions(at, std::fs::Permissions::from_mode(0o755)).unwrap();
            for name in ["home", "work"] {
                std::os::unix::fs::chown(at.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups ")
        } else {
            String::new()
        };
        let force = format!(
            "#!/bin/sh\ncd {0}/home\nexport HOME={0}/home PATH={0}/bin:/usr/local/bin:/usr/bin:/bin\necho 'a word of welcome'\nexec {drop}sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
            at.display()
        );
        script(&at.join("force"), &force);
        let config = format!(
            "HostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nForceCommand {0}/force\nStrictModes no\nUsePAM no\nPidFile none\nLogLevel ERROR\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxSessions 2\n",
            at.display()
        );
        fs_err::write(at.join("config"), config).unwrap();
        if is_root() {
            // sshd wants it to be there when it is started by root.
            fs_err::create_dir_all("/run/sshd").unwrap();
        }
        let relay = Arc::new(Relay {
            hold: watch::Sender::new(false),
            cut: watch::Sender::new(0),
            closed: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(accept(listener, at.join("config"), Arc::clone(&relay)));
        Self {
            work: at.join("work"),
            dir,
            plain,
            port,
            relay,
            operator: Arc::new(Listener::default()),
        }
    }

    pub(super) fn at(&self) -> &Path {
        self.dir.path()
    }

    /// How to get in.
    pub(super) fn options(&self) -> SshOptions {
        SshOptions {
            target: Endpoint {
                user: wiab_user(),
                address: "127.0.0.1".to_owned(),
                port: self.port,
            },
            jumps: Vec::new(),
            keys: vec![self.at().join("client")],
            usual_keys: Vec::new(),
            agent: None,
            known_hosts: self.at().join("known_hosts"),
            more_known_hosts: Vec::new(),
            strict: false,
            sudo: SudoPassword::None,
            reconnect_ms: 20_000,
        }
    }

    pub(super) fn ssh(&self, options: SshOptions) -> SshHost {
        SshHost::new(options, self.operator.clone()).grace_ms(200)
    }

    /// Cuts the link and waits until the host knows it.
    pub(super) async fn cut(&self, host: &SshHost) {
        self.relay.cut();
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while host.connected().await {
            ticks.tick().await;
        }
    }

    /// Puts a script on the path of whoever logs in.
    pub(super) fn program(&self, name: &str, text: &str) {
        script(&self.at().join("bin").join(name), text);
    }
}

impl World for Machine {
    fn host_with(&self, grace_ms: u64) -> Box<dyn Host> {
        Box::new(self.ssh(self.options()).grace_ms(grace_ms))
    }

    fn dir(&self) -> &Path {
        &self.work
    }

    fn jobs(&self) -> PathBuf {
        self.at().join("home/.wiab/jobs")
    }

    fn give(&self) {
        if self.plain && is_root() {
            let home = self.at().join("home");
            tool(&["chown", "-R", &NOBODY.to_string(), home.to_str().unwrap()]);
        }
    }
}

fn script(path: &Path, text: &str) {
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The account that runs the test.
fn wiab_user() -> String {
    let id = rustix::process::geteuid().as_raw().to_string();
    let all = fs_err::read_to_string("/etc/passwd").unwrap();
    let mut lines = all.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields[2] == id).unwrap()[0].to_owned()
}

async fn accept(listener: TcpListener, config: PathBuf, relay: Arc<Relay>) {
    while let Ok((client, _)) = listener.accept().await {
        if relay.closed.load(Ordering::SeqCst) {
            continue;
        }
        relay.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(client, config.clone(), Arc::clone(&relay)));
    }
}

#[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
async fn serve(client: TcpStream, config: PathBuf, relay: Arc<Relay>) {
    client.set_nodelay(true).unwrap();
    let mut cut = relay.cut.subscribe();
    cut.mark_unchanged();
    let mut sshd = tokio::process::Command::new("/usr/sbin/sshd")
        .args(["-i", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (sshd.stdin.take().unwrap(), sshd.stdout.take().unwrap());
    let (from_client, to_client) = client.into_split();
    tokio::select! {
        () = pump(from_client, stdin, &relay, None) => {}
        () = pump(stdout, to_client, &relay, Some(relay.hold.subscribe())) => {}
        _ = cut.changed() => {}
    }
    // Both ends are closed by now; sshd ends because its input has.
    let _ = sshd.wait().await;
}

/// Carries bytes one way: each piece as late as the delay says, none while they are held.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    relay: &Relay,
    mut hold: Option<watch::Receiver<bool>>,
) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer).await {
                Ok(count) if count > 0 => {
                    let due = Instant::now()
                        + Duration::from_millis(relay.delay_ms.load(Ordering::SeqCst));
                    if sender.send((due, buffer[..count].to_vec())).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if let Some(hold) = &mut hold
                && hold.wait_for(|held| !held).await.is_err()
            {
                return;
            }
            if to.write_all(&piece).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
