//! Why the machine does not let wiab in, each with its remedy.

use std::fmt;

use super::super::HostError;

/// A host key that is not the one that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedKey {
    /// Whom it is about: `user@address:port`.
    pub at: String,
    /// The file of known keys.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// Fingerprint of the known key.
    pub known: String,
    /// Fingerprint of the offered one.
    pub offered: String,
    /// How the machine is written in the file.
    pub name: String,
}

impl fmt::Display for ChangedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            file,
            line,
            known,
            offered,
            ..
        } = self;
        write!(
            f,
            "the host key of {at} is not the one in {file}, line {line}: known is {known}, offered was {offered}"
        )
    }
}

/// What keeps wiab out. Every one names its cause; [`SshError::remedy`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// The name cannot be resolved, or no packet gets there.
    #[error("{at} cannot be reached: {why}")]
    Unreachable {
        /// Whom it is about: `user@address:port`.
        at: String,
        /// The system's reason.
        why: String,
    },
    /// The machine is there, but nothing listens.
    #[error("{at} refuses the connection: nothing listens on that port")]
    Refused {
        /// Whom it is about.
        at: String,
    },
    /// No answer in time.
    #[error("{at} did not answer within {after_ms} ms ({what})")]
    TimedOut {
        /// Whom it is about.
        at: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after_ms: u64,
    },
    /// What answers does not speak an SSH that wiab accepts, or stopped speaking.
    #[error("{at} broke off: {why}")]
    Protocol {
        /// Whom it is about.
        at: String,
        /// The reason.
        why: String,
    },
    /// The host key is not the one that is known.
    #[error("{0}")]
    HostKeyChanged(Box<ChangedKey>),
    /// The host key is marked `@revoked`.
    #[error("the host key {offered} of {at} is revoked in {file}, line {line}")]
    HostKeyRevoked {
        /// Whom it is about.
        at: String,
        /// The file of known keys.
        file: String,
        /// Line in it, from 1.
        line: usize,
        /// Fingerprint of the offered key.
        offered: String,
    },
    /// No host key is known, and `ssh.strict` forbids trust on first use.
    #[error("no host key of {at} is known, and ssh.strict is set; offered was {offered}")]
    HostKeyUnknown {
        /// Whom it is about.
        at: String,
        /// The file of known keys.
        file: String,
        /// Fingerprint of the offered key.
        offered: String,
    },
    /// The file of known keys cannot be used.
    #[error("{file}: {why}")]
    KnownHosts {
        /// The file.
        file: String,
        /// The system's reason.
        why: String,
    },
    /// A private key file cannot be used.
    #[error("the key {path} {why}")]
    KeyFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
        /// What helps.
        remedy: String,
    },
    /// No key was accepted.
    #[error(
        "{at} accepts none of the keys: tried {}; it allows {allows}",
        list(tried)
    )]
    AuthFailed {
        /// Whom it is about.
        at: String,
        /// What was tried, in order.
        tried: Vec<String>,
        /// Methods that the server would allow.
        allows: String,
    },
    /// sudo does not let the user become root.
    #[error("sudo is refused to {at}: {why}")]
    SudoRefused {
        /// Whom it is about.
        at: String,
        /// sudo's words.
        why: String,
    },
    /// The helper does not start on the machine.
    #[error("wiab's helper does not start on {at}: {why}")]
    NoHelper {
        /// Whom it is about.
        at: String,
        /// What was heard instead.
        why: String,
    },
}

fn list(tried: &[String]) -> String {
    if tried.is_empty() {
        "none, there is no key".to_owned()
    } else {
        tried.join(", ")
    }
}

impl SshError {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "ssh.unreachable",
            Self::Refused { .. } => "ssh.refused",
            Self::TimedOut { .. } => "ssh.timed-out",
            Self::Protocol { .. } => "ssh.protocol",
            Self::HostKeyChanged(_) => "ssh.host-key-changed",
            Self::HostKeyRevoked { .. } => "ssh.host-key-revoked",
            Self::HostKeyUnknown { .. } => "ssh.host-key-unknown",
            Self::KnownHosts { .. } => "ssh.known-hosts",
            Self::KeyFile { .. } => "ssh.key-file",
            Self::AuthFailed { .. } => "ssh.auth",
            Self::SudoRefused { .. } => "ssh.sudo",
            Self::NoHelper { .. } => "ssh.helper",
        }
    }

    /// Whether the machine is away, which may pass; the others need somebody to grant something.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Protocol { .. } => true,
            Self::HostKeyChanged(_)
            | Self::HostKeyRevoked { .. }
            | Self::HostKeyUnknown { .. }
            | Self::KnownHosts { .. }
            | Self::KeyFile { .. }
            | Self::AuthFailed { .. }
            | Self::SudoRefused { .. }
            | Self::NoHelper { .. } => false,
        }
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreachable { .. } => {
                "check ssh.address, the network and ssh.jump, then do it again".to_owned()
            }
            Self::Refused { .. } => {
                "check ssh.port, and on the machine: systemctl status ssh".to_owned()
            }
            Self::TimedOut { .. } => {
                "check the network and the firewalls between here and there (an address that drops packets looks like this)"
                    .to_owned()
            }
            Self::Protocol { .. } => {
                "look at sshd's log on the machine: journalctl -u ssh; it must offer an ed25519 or ecdsa host key".to_owned()
            }
            Self::HostKeyChanged(key) => format!(
                "if the machine was set up anew, compare the offered fingerprint on its console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: ssh-keygen -f '{}' -R '{}'; if not, somebody is in between",
                key.file, key.name
            ),
            Self::HostKeyRevoked { .. } => {
                "do not connect: that key is in foreign hands; give the machine a new host key".to_owned()
            }
            Self::HostKeyUnknown { file, .. } => format!(
                "compare the fingerprint on the machine's console, then add its key to {file}, or once without ssh.strict"
            ),
            Self::KnownHosts { .. } => {
                "make the file readable and writable, or choose another: ssh.known_hosts".to_owned()
            }
            Self::KeyFile { remedy, .. } => remedy.clone(),
            Self::AuthFailed { at, .. } => {
                let login = at.rsplit_once(':').map_or(at.as_str(), |(login, _)| login);
                format!("let a key in: ssh-copy-id {login}; or name one in ssh.keys, or add it to the agent: ssh-add")
            }
            Self::SudoRefused { .. } => {
                "give the user passwordless sudo, or tell where its password comes from: ssh.sudo_password = \"ask\"".to_owned()
            }
            Self::NoHelper { .. } => {
                "the machine must be a Debian or Ubuntu with perl-base, and let the user run commands (two sessions at once: MaxSessions of sshd)".to_owned()
            }
        }
    }
}

impl From<SshError> for HostError {
    fn from(error: SshError) -> Self {
        if error.is_away() {
            Self::Unreachable {
                why: error.to_string(),
            }
        } else {
            Self::Barred {
                why: error.to_string(),
                remedy: error.remedy(),
                code: error.code(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_key_names_everything() {
        let error = SshError::HostKeyChanged(Box::new(ChangedKey {
            at: "op@box:22".to_owned(),
            file: "/home/op/.ssh/known_hosts".to_owned(),
            line: 7,
            known: "SHA256:old".to_owned(),
            offered: "SHA256:new".to_owned(),
            name: "box".to_owned(),
        }));
        let text = error.to_string();
        for part in ["SHA256:old", "SHA256:new", "known_hosts, line 7"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(error.remedy().contains("-R 'box'"));
        assert!(matches!(
            HostError::from(error),
            HostError::Barred {
                code: "ssh.host-key-changed",
                ..
            }
        ));
    }
}
