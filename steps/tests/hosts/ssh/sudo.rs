//! Becoming root: a stand-in for sudo that behaves as sudo(8) says, for a user who is not root.

use std::sync::Arc;

use secrecy::SecretString;
use wiab_steps::host::ssh::{SshError, SudoPassword};
use wiab_steps::host::{Cmd, Host, HostError, Meta};

use super::block;
use super::sshd::{Listener, Machine};
use crate::hosts::conformance::{World as _, run};

/// `sudo [-n] [-S -p PROMPT] -- COMMAND`; whoever calls is noted, with arguments.
const FREE: &str = "#!/bin/sh\necho \"$*\" >>\"$HOME/sudo.log\"\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nBECAME=root exec \"$@\"\n";

/// The same with a password.
const LOCKED: &str = r#"#!/bin/sh
echo "$*" >>"$HOME/sudo.log"
[ "$1" = -n ] && { echo 'sudo: a password is required' >&2; exit 1; }
prompt=$3
while [ "$1" != -- ]; do shift; done
shift
for try in 1 2 3; do
  printf %s "$prompt" >&2
  read -r line || { echo 'sudo: no password was provided' >&2; exit 1; }
  echo try >>"$HOME/sudo.log"
  [ "$line" = 'pass "word"' ] && BECAME=root exec "$@"
  echo 'Sorry, try again.' >&2
done
echo 'sudo: 3 incorrect password attempts' >&2
exit 1
"#;

async fn became(host: &dyn Host) -> Result<String, HostError> {
    let cmd = Cmd::new(["sh", "-c", "echo ${BECAME:-nobody}"]);
    assert_eq!(run(host, &cmd).await?.text(), "nobody\n");
    Ok(run(host, &cmd.root()).await?.text().trim().to_owned())
}

#[test]
fn without_a_password() {
    block(async {
        let machine = Machine::start(true).await;
        machine.program("sudo", FREE);
        let host = machine.host();
        assert_eq!(became(host.as_ref()).await.unwrap(), "root");
        let path = machine.dir().join("file");
        let name = path.to_str().unwrap();
        let meta = Meta {
            root: true,
            ..Meta::user(0o600)
        };
        host.write(name, b"text", &meta).await.unwrap();
        assert_eq!(host.read(name, true).await.unwrap().unwrap(), b"text");
        assert!(host.remove(name, true).await.unwrap());
        // sudo was asked once, whatever was done.
        let log = fs_err::read_to_string(machine.at().join("home/sudo.log")).unwrap();
        assert_eq!(log.matches("-n -- perl").count(), 1, "{log}");
    });
}

#[test]
fn with_a_password() {
    block(async {
        let password = SecretString::from("pass \"word\"");
        for given in [true, false] {
            let mut machine = Machine::start(true).await;
            machine.program("sudo", LOCKED);
            machine.operator = Arc::new(Listener {
                secret: Some("pass \"word\""),
                ..Listener::default()
            });
            let mut options = machine.options();
            options.sudo = if given {
                SudoPassword::Given(password.clone())
            } else {
                SudoPassword::Ask
            };
            let host = machine.ssh(options);
            assert_eq!(became(&host).await.unwrap(), "root");
            machine.cut(&host).await;
            // A new connection uses what it knows.
            assert_eq!(became(&host).await.unwrap(), "root");
            let asked = machine.operator.asked.lock().unwrap().len();
            assert_eq!(asked, usize::from(!given));
            // It stood in no argument.
            let log = fs_err::read_to_string(machine.at().join("home/sudo.log")).unwrap();
            assert!(log.contains("-S -p ") && !log.contains("word\""), "{log}");
        }
    });
}

#[test]
fn refused() {
    block(async {
        let machine = Machine::start(true).await;
        machine.program("sudo", LOCKED);
        let wrong = SudoPassword::Given(SecretString::from("guess"));
        for (sudo, says, tries) in [
            (SudoPassword::None, "none is configured", 0),
            (SudoPassword::Ask, "nobody can be asked", 0),
            (wrong, "the password is wrong", 1),
        ] {
            let mut options = machine.options();
            options.sudo = sudo;
            let host = machine.ssh(options);
            let error = host.reach().await.unwrap_err();
            assert!(
                matches!(&error, SshError::SudoRefused { why, .. } if why.contains(says)),
                "{error:?}"
            );
            // Again and again root is refused, and nothing is tried again: accounts are locked for less.
            for _ in 0..2 {
                let refused = became(&host).await.unwrap_err();
                assert!(
                    matches!(
                        refused,
                        HostError::Barred {
                            code: "ssh.sudo",
                            ..
                        }
                    ),
                    "{refused:?}"
                );
            }
            let log = fs_err::read_to_string(machine.at().join("home/sudo.log")).unwrap();
            assert_eq!(
                log.lines().filter(|line| *line == "try").count(),
                tries,
                "{log}"
            );
        }
        machine.program(
            "sudo",
            "#!/bin/sh\necho 'op is not in the sudoers file.' >&2\nexit 1\n",
        );
        let error = machine.ssh(machine.options()).reach().await.unwrap_err();
        assert!(
            error.to_string().contains("is not in the sudoers file"),
            "{error}"
        );
        machine.program(
            "sudo",
            "#!/bin/sh\necho 'sh: 1: exec: sudo: not found' >&2\nexit 127\n",
        );
        let error = machine.ssh(machine.options()).reach().await.unwrap_err();
        assert!(
            error.to_string().contains("sudo is not installed"),
            "{error}"
        );
    });
}
