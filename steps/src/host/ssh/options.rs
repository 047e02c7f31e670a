//! Whom to connect to, and with what.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

/// Where sshd listens unless something else is said.
pub const PORT: u16 = 22;

/// An account on a machine: `user@address:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The user.
    pub user: String,
    /// Name or IP address, without brackets.
    pub address: String,
    /// TCP port.
    pub port: u16,
}

/// Not an account on a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not user@address:port")]
pub struct BadEndpoint {
    /// What was given.
    pub text: String,
}

/// What a text says of an account on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The user, if it names one.
    pub user: Option<&'a str>,
    /// The address, without brackets.
    pub address: &'a str,
    /// The port, if it names one.
    pub port: Option<u16>,
}

impl<'a> Parts<'a> {
    /// Takes `ssh://user@address:port` apart, where all but the address may be missing.
    pub fn of(text: &'a str) -> Result<Self, BadEndpoint> {
        let bad = || BadEndpoint {
            text: text.to_owned(),
        };
        let rest = text.strip_prefix("ssh://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let (address, port) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (address, after) = inner.split_once(']').ok_or_else(bad)?;
                match after.strip_prefix(':') {
                    None if after.is_empty() => (address, None),
                    None => return Err(bad()),
                    Some(port) => (address, Some(port)),
                }
            }
            // More than one colon: an IPv6 address, which has no port then.
            None if rest.matches(':').count() > 1 => (rest, None),
            None => match rest.split_once(':') {
                Some((address, port)) => (address, Some(port)),
                None => (rest, None),
            },
        };
        let port = port.map(|text| text.parse().ok().filter(|port| *port != 0).ok_or_else(bad));
        let parts = Self {
            user,
            address,
            port: port.transpose()?,
        };
        let probe = Endpoint {
            user: parts.user.unwrap_or("user").to_owned(),
            address: parts.address.to_owned(),
            port: PORT,
        };
        probe.is_sound().then_some(parts).ok_or_else(bad)
    }
}

impl Endpoint {
    /// Reads `user@address:port`, also with `ssh://` before it and an IPv6 address in brackets. The user may be left out
    /// if there is a usual one, and the port.
    pub fn parse(text: &str, user: Option<&str>) -> Result<Self, BadEndpoint> {
        let parts = Parts::of(text)?;
        let end = Self {
            user: parts.user.or(user).unwrap_or_default().to_owned(),
            address: parts.address.to_owned(),
            port: parts.port.unwrap_or(PORT),
        };
        end.is_sound().then_some(end).ok_or_else(|| BadEndpoint {
            text: text.to_owned(),
        })
    }

    /// Whether user and address have only characters that such names have.
    pub fn is_sound(&self) -> bool {
        let plain = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        plain(&self.user, "._-\\") && plain(&self.address, ".-:%_") && self.port != 0
    }

    /// How the machine is written in a file of known keys.
    pub fn known_as(&self) -> String {
        let address = self.address.to_ascii_lowercase();
        if self.port == PORT {
            address
        } else {
            format!("[{address}]:{}", self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.address.contains(':') {
            write!(f, "{}@[{}]:{}", self.user, self.address, self.port)
        } else {
            write!(f, "{}@{}:{}", self.user, self.address, self.port)
        }
    }
}

/// Where the password for sudo comes from.
#[derive(Debug, Clone, Default)]
pub enum SudoPassword {
    /// sudo asks for none.
    #[default]
    None,
    /// The operator is asked when sudo does.
    Ask,
    /// It is this one.
    Given(SecretString),
}

/// The operator, as far as a connection needs one.
pub trait Operator: Send + Sync + fmt::Debug {
    /// Tells something that is no error.
    fn tell(&self, text: &str);

    /// Asks for a secret, without echo; `None` if nobody can answer.
    fn ask(&self, what: &str) -> Option<SecretString>;
}

/// Everything about a connection.
#[derive(Debug, Clone)]
pub struct SshOptions {
    /// The machine to act on.
    pub target: Endpoint,
    /// Machines to go through, the nearest first.
    pub jumps: Vec<Endpoint>,
    /// Private keys that the operator named: tried first, and each must be usable.
    pub keys: Vec<PathBuf>,
    /// Private keys that are tried if they are there and usable.
    pub usual_keys: Vec<PathBuf>,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// The file of known host keys, which new ones are added to.
    pub known_hosts: PathBuf,
    /// Further files of known host keys, only read.
    pub more_known_hosts: Vec<PathBuf>,
    /// Whether a machine whose key is not known is refused.
    pub strict: bool,
    /// The password for sudo.
    pub sudo: SudoPassword,
    /// How long a lost connection is sought again, in milliseconds.
    pub reconnect_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let cases = [
            ("op@box", Some(("op", "box", 22))),
            ("ssh://op@box:2222", Some(("op", "box", 2222))),
            ("ssh://op@box/", Some(("op", "box", 22))),
            ("box:2022", Some(("usual", "box", 2022))),
            ("op@[fe80::1%eth0]:2222", Some(("op", "fe80::1%eth0", 2222))),
            ("op@2001:db8::1", Some(("op", "2001:db8::1", 22))),
            ("op@[2001:db8::1]", Some(("op", "2001:db8::1", 22))),
            ("op@box:", None),
            ("op@box:0", None),
            ("op@box:70000", None),
            ("op@", None),
            ("@box", None),
            ("op@-oProxyCommand=x", None),
            ("op@box;id", None),
            ("op@[::1", None),
            ("op@[::1]x", None),
        ];
        for (text, want) in cases {
            let found = Endpoint::parse(text, Some("usual"));
            let found = found.ok().map(|end| (end.user, end.address, end.port));
            let want =
                want.map(|(user, address, port)| (user.to_owned(), address.to_owned(), port));
            assert_eq!(found, want, "{text}");
        }
        assert!(Endpoint::parse("box", None).is_err());
        let end = Endpoint::parse("op@[2001:db8::1]:2222", None).unwrap();
        assert_eq!(end.to_string(), "op@[2001:db8::1]:2222");
        assert_eq!(Endpoint::parse(&end.to_string(), None), Ok(end.clone()));
        assert_eq!(end.known_as(), "[2001:db8::1]:2222");
        assert_eq!(Endpoint::parse("op@BOX", None).unwrap().known_as(), "box");
    }
}
