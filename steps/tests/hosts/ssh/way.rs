//! Getting in: host keys, logins, machines in between, and what is said when it fails.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use wiab_steps::host::ssh::{Endpoint, SshError};
use wiab_steps::host::{Cmd, Host as _, HostError};

use super::block;
use super::sshd::{Listener, Machine, key};
use crate::hosts::conformance::{run, until};

async fn error(
    machine: &Machine,
    change: impl FnOnce(&mut wiab_steps::host::ssh::SshOptions),
) -> SshError {
    let mut options = machine.options();
    change(&mut options);
    let host = machine.ssh(options);
    let error = host.reach().await.unwrap_err();
    assert!(!error.remedy().is_empty());
    // The same through the trait: nothing was started.
    match run(&host, &Cmd::new(["true"])).await.unwrap_err() {
        HostError::Unreachable { .. } => assert!(error.is_away()),
        HostError::Barred { code, remedy, .. } => {
            assert_eq!((code, remedy), (error.code(), error.remedy()));
        }
        other => panic!("{other:?}"),
    }
    error
}

fn fingerprint(machine: &Machine, name: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "another program's view of the same key"
    )]
    let done = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(machine.at().join(name))
        .output()
        .unwrap();
    String::from_utf8(done.stdout)
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned()
}

#[test]
fn a_new_host_key_is_told_kept_and_trusted() {
    block(async {
        let machine = Machine::start(false).await;
        let strict = error(&machine, |options| options.strict = true).await;
        assert!(
            matches!(&strict, SshError::HostKeyUnknown { offered, .. } if *offered == fingerprint(&machine, "host.pub"))
        );
        assert!(!machine.at().join("known_hosts").exists());
        for strict in [false, false, true] {
            let mut options = machine.options();
            options.strict = strict;
            machine.ssh(options).reach().await.unwrap();
        }
        let told = machine.operator.told.lock().unwrap().clone();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains(&fingerprint(&machine, "host.pub")),
            "{told:?}"
        );
        // OpenSSH reads what was written.
        let name = format!("[127.0.0.1]:{}", machine.port);
        #[expect(
            clippy::disallowed_methods,
            reason = "another program's view of the same file"
        )]
        let found = Command::new("ssh-keygen")
            .args(["-F", &name, "-f"])
            .arg(machine.at().join("known_hosts"))
            .output()
            .unwrap();
        assert!(found.status.success());
        // Hashed names are known, too.
        #[expect(
            clippy::disallowed_methods,
            reason = "another program hashes the names"
        )]
        let hashed = Command::new("ssh-keygen")
            .args(["-H", "-f"])
            .arg(machine.at().join("known_hosts"))
            .output()
            .unwrap();
        assert!(hashed.status.success());
        let mut options = machine.options();
        options.strict = true;
        machine.ssh(options).reach().await.unwrap();
    });
}

#[test]
fn a_changed_host_key_is_refused() {
    block(async {
        let machine = Machine::start(false).await;
        machine.ssh(machine.options()).reach().await.unwrap();
        let before = fingerprint(&machine, "host.pub");
        for name in ["host", "host.pub"] {
            fs_err::remove_file(machine.at().join(name)).unwrap();
        }
        key(&machine.at().join("host"), "ed25519", "");
        let error = error(&machine, |_| {}).await;
        let SshError::HostKeyChanged(changed) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(
            (&changed.known, &changed.offered),
            (&before, &fingerprint(&machine, "host.pub"))
        );
        assert_eq!(
            (changed.line, changed.file.ends_with("known_hosts")),
            (1, true)
        );
        let text = error.to_string();
        assert!(
            text.contains(&changed.known)
                && text.contains(&changed.offered)
                && text.contains("line 1"),
            "{text}"
        );
    });
}

#[test]
fn keys_that_are_not_taken() {
    block(async {
        let machine = Machine::start(false).await;
        let at = machine.at().to_owned();
        // A key that the machine does not know.
        let other = error(&machine, |options| options.keys = vec![at.join("other")]).await;
        let SshError::AuthFailed { tried, allows, .. } = &other else {
            panic!("{other:?}");
        };
        assert!(
            tried.len() == 1 && tried[0].ends_with("/other"),
            "{tried:?}"
        );
        assert_eq!(allows, "publickey");
        // None at all.
        let none = error(&machine, |options| options.keys.clear()).await;
        assert!(none.to_string().contains("there is no key"), "{none}");
        // One that others can read.
        fs_err::set_permissions(at.join("client"), std::fs::Permissions::from_mode(0o640)).unwrap();
        let open = error(&machine, |_| {}).await;
        assert!(
            open.to_string().contains("mode 0640") && open.remedy().starts_with("chmod 600 "),
            "{open}"
        );
        // The same as one of the usual ones is left out and named.
        let usual = error(&machine, |options| {
            options.usual_keys = std::mem::take(&mut options.keys);
        })
        .await;
        assert!(
            matches!(&usual, SshError::AuthFailed { tried, .. } if tried[0].contains("mode 0640")),
            "{usual}"
        );
        let missing = error(&machine, |options| options.keys = vec![at.join("missing")]).await;
        assert_eq!(missing.code(), "ssh.key-file");
    });
}

#[test]
fn an_encrypted_key_needs_its_passphrase() {
    block(async {
        let mut machine = Machine::start(false).await;
        let locked = machine.at().join("locked");
        key(&locked, "ed25519", "open sesame");
        fs_err::copy(
            machine.at().join("locked.pub"),
            machine.at().join("authorized"),
        )
        .unwrap();
        let nobody = error(&machine, |options| options.keys = vec![locked.clone()]).await;
        assert!(
            nobody.to_string().contains("is encrypted") && nobody.remedy().starts_with("ssh-add "),
            "{nobody}"
        );
        for (phrase, good) in [("open barley", false), ("open sesame", true)] {
            machine.operator = Arc::new(Listener {
                secret: Some(phrase),
                ..Listener::default()
            });
            let mut options = machine.options();
            options.keys = vec![locked.clone()];
            let host = machine.ssh(options);
            assert_eq!(host.reach().await.is_ok(), good);
            if good {
                // A new connection needs no second question.
                host.renew(&wiab_engine::ports::Cancel::default())
                    .await
                    .unwrap();
                assert_eq!(machine.operator.asked.lock().unwrap().len(), 1);
            }
        }
    });
}

#[test]
fn the_agents_keys_open() {
    block(async {
        let machine = Machine::start(false).await;
        let socket = machine.at().join("agent");
        #[expect(clippy::disallowed_methods, reason = "a real agent")]
        let mut agent = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until(|| socket.exists()).await;
        let empty = error(&machine, |options| {
            options.keys.clear();
            options.agent = Some(socket.clone());
        })
        .await;
        assert!(
            empty.to_string().contains("the agent, which holds no key"),
            "{empty}"
        );
        for name in ["other", "client"] {
            #[expect(clippy::disallowed_methods, reason = "a real agent")]
            let added = Command::new("ssh-add")
                .arg(machine.at().join(name))
                .env("SSH_AUTH_SOCK", &socket)
                .output()
                .unwrap();
            assert!(added.status.success());
        }
        let mut options = machine.options();
        options.keys.clear();
        options.agent = Some(socket.clone());
        let done = machine.ssh(options).reach().await;
        agent.kill().unwrap();
        agent.wait().unwrap();
        done.unwrap();
        let gone = error(&machine, |options| {
            options.keys.clear();
            options.agent = Some(socket);
        })
        .await;
        assert!(gone.to_string().contains("not the agent at "), "{gone}");
    });
}

#[test]
fn a_machine_in_between() {
    block(async {
        let (gate, inner) = (Machine::start(false).await, Machine::start(true).await);
        let mut options = inner.options();
        fs_err::copy(gate.at().join("client.pub"), inner.at().join("authorized")).unwrap();
        options.keys = gate.options().keys;
        options.jumps = vec![gate.options().target];
        let host = inner.ssh(options.clone());
        let output = run(&host, &Cmd::new(["sh", "-c", "echo $HOME"]))
            .await
            .unwrap();
        assert_eq!(
            output.text().trim(),
            inner.at().join("home").to_str().unwrap()
        );
        // Both keys were new.
        assert_eq!(inner.operator.told.lock().unwrap().len(), 2);
        options.target = Endpoint {
            port: 1,
            ..options.target
        };
        let error = inner.ssh(options).reach().await.unwrap_err();
        assert!(
            error.is_away() && error.to_string().contains("in between"),
            "{error}"
        );
    });
}

#[test]
fn nothing_there() {
    block(async {
        let machine = Machine::start(false).await;
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let refused = error(&machine, |options| options.target.port = port).await;
        assert_eq!(refused.code(), "ssh.refused");
        machine
            .relay
            .closed
            .store(true, std::sync::atomic::Ordering::SeqCst);
        let closed = error(&machine, |_| {}).await;
        assert_eq!(closed.code(), "ssh.protocol");
    });
}

#[test]
fn a_machine_without_perl() {
    block(async {
        let machine = Machine::start(true).await;
        machine.program(
            "perl",
            "#!/bin/sh\necho 'sh: 1: perl: not found' >&2\nexit 127\n",
        );
        let error = error(&machine, |_| {}).await;
        assert_eq!(error.code(), "ssh.helper");
        assert!(
            error
                .to_string()
                .contains("perl: not found (it ended with 127)"),
            "{error}"
        );
    });
}
