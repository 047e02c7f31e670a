//! Files of known host keys, as OpenSSH keeps them (sshd(8), `SSH_KNOWN_HOSTS` FILE FORMAT).

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};
use sha1::Sha1;

use super::error::{ChangedKey, SshError};
use super::options::Endpoint;

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Host key algorithms that wiab accepts, the best first. RSA is not among them: the package that would check it has an
/// advisory without a fix.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
];

/// A key that a file has for a machine.
#[derive(Debug, Clone)]
struct Entry {
    file: PathBuf,
    line: usize,
    key: PublicKey,
    revoked: bool,
}

/// What is known of one machine's keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    entries: Vec<Entry>,
}

/// What a look at an offered key says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is known.
    Known,
    /// No key of the machine is known.
    New,
    /// It must not be trusted.
    Bad(SshError),
}

/// `SHA256:…`, as ssh-keygen shows it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn failure(file: &Path, error: &std::io::Error) -> SshError {
    SshError::KnownHosts {
        file: file.display().to_string(),
        why: error.to_string(),
    }
}

impl Known {
    /// Reads all files; one that does not exist knows nothing.
    pub(super) fn read<'a>(
        files: impl IntoIterator<Item = &'a PathBuf>,
        end: &Endpoint,
    ) -> Result<Self, SshError> {
        let mut entries = Vec::new();
        for file in files {
            let mut bytes = Vec::new();
            match fs_err::File::open(file) {
                Ok(open) => open
                    .take(FILE_BYTES_MAX)
                    .read_to_end(&mut bytes)
                    .map_err(|error| failure(file, &error))?,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failure(file, &error)),
            };
            let text = String::from_utf8_lossy(&bytes);
            entries.extend(text.lines().zip(1..).filter_map(|(text, line)| {
                let (key, revoked) = entry(text, &end.known_as())?;
                let file = file.clone();
                Some(Entry {
                    file,
                    line,
                    key,
                    revoked,
                })
            }));
        }
        Ok(Self { entries })
    }

    /// The algorithms to ask for: those of known keys first, so that the machine shows a key that can be compared.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let known = |algorithm: &Algorithm| {
            let mut keys = self.entries.iter().filter(|entry| !entry.revoked);
            keys.any(|entry| entry.key.algorithm() == *algorithm)
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = ALGORITHMS.into_iter().partition(known);
        first.extend(rest);
        first
    }

    /// Looks at an offered key.
    pub(super) fn judge(&self, offered: &PublicKey, end: &Endpoint) -> Verdict {
        let same = |entry: &&Entry| entry.key.key_data() == offered.key_data();
        let revoked = |entry: &&Entry| entry.revoked;
        if let Some(entry) = self.entries.iter().filter(revoked).find(same) {
            return Verdict::Bad(SshError::HostKeyRevoked {
                at: end.to_string(),
                file: entry.file.display().to_string(),
                line: entry.line,
                offered: fingerprint(offered),
            });
        }
        let mut valid = self.entries.iter().filter(|entry| !entry.revoked);
        if valid.clone().any(|entry| same(&entry)) {
            return Verdict::Known;
        }
        let alike = valid
            .clone()
            .find(|entry| entry.key.algorithm() == offered.algorithm());
        match alike.or_else(|| valid.next()) {
            None => Verdict::New,
            Some(entry) => Verdict::Bad(SshError::HostKeyChanged(Box::new(ChangedKey {
                at: end.to_string(),
                file: entry.file.display().to_string(),
                line: entry.line,
                known: fingerprint(&entry.key),
                offered: fingerprint(offered),
                name: end.known_as(),
            }))),
        }
    }
}

/// The key of a line that is about this machine, and whether it is revoked. Authorities are not followed: wiab asks for
/// keys, not certificates.
fn entry(line: &str, name: &str) -> Option<(PublicKey, bool)> {
    let mut words = line.split_whitespace();
    let mut first = words.next()?;
    let marker = first.starts_with('@').then_some(first);
    if marker.is_some() {
        first = words.next()?;
    }
    let revoked = match marker {
        None => false,
        Some("@revoked") => true,
        Some(_) => return None,
    };
    if first.starts_with('#') || !is_about(first, name) {
        return None;
    }
    let (kind, data) = (words.next()?, words.next()?);
    // A kind that is not known here is no key to compare with.
    let key = PublicKey::from_openssh(&format!("{kind} {data}")).ok()?;
    Some((key, revoked))
}

fn is_about(names: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in names.split(',') {
        if let Some(hashed) = pattern.strip_prefix("|1|") {
            found |= is_hash_of(hashed, name).unwrap_or(false);
        } else if let Some(not) = pattern.strip_prefix('!') {
            if like(&not.to_ascii_lowercase(), name) {
                return false;
            }
        } else {
            found |= like(&pattern.to_ascii_lowercase(), name);
        }
    }
    found
}

fn is_hash_of(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let salt = STANDARD.decode(salt).ok()?;
    let hash = STANDARD.decode(hash).ok()?;
    let mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    Some(mac.chain_update(name).verify_slice(&hash).is_ok())
}

/// Whether a name is like a pattern with `*` and `?`.
fn like(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || name.get(n) == Some(c) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

/// Adds a key, on a line of its own, durably.
pub(super) fn learn(file: &Path, end: &Endpoint, key: &PublicKey) -> Result<(), SshError> {
    let add = || -> std::io::Result<()> {
        if let Some(parent) = file.parent() {
            use std::os::unix::fs::DirBuilderExt as _;
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(parent)?;
        }
        let mut options = fs_err::OpenOptions::new();
        let mut open = options
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(file)?;
        let mut last = [b'\n'];
        if open.seek(SeekFrom::End(-1)).is_ok() {
            open.read_exact(&mut last)?;
        }
        let key = PublicKey::new(key.key_data().clone(), "");
        let text = key.to_openssh().map_err(std::io::Error::other)?;
        let lead = if last == [b'\n'] { "" } else { "\n" };
        let line = format!("{lead}{} {}\n", end.known_as(), text.trim());
        open.write_all(line.as_bytes())?;
        open.sync_all()
    };
    add().map_err(|error| failure(file, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO6hFCrzZTS+RzafuY997/uNqazr0+IwIHSug6HGZyl/";
    const B: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFX3+JniO3jDNJEkwXnDI7swDNlWBpjPqiCMusnkfKIV";
    // `ssh-keygen -H` made this of `box`.
    const HASHED: &str = "|1|SV0UBpnRevfsVZfDZGrI3PO/khg=|/ugZUjrHVs+UfmwvPYMssFIZsz0=";

    fn end(text: &str) -> Endpoint {
        Endpoint::parse(text, Some("op")).unwrap()
    }

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn known(text: &str, name: &str) -> Known {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        fs_err::write(&file, text).unwrap();
        Known::read([&file, &dir.path().join("missing")], &end(name)).unwrap()
    }

    #[test]
    fn names() {
        let cases = [
            ("box", "box", true),
            ("BOX", "box", true),
            ("other,box", "box", true),
            ("box", "box:2222", false),
            ("[box]:2222", "box:2222", true),
            ("[box]:2222", "box", false),
            ("*.example.org", "a.example.org", true),
            ("*.example.org,!a.example.org", "a.example.org", false),
            ("b?x", "box", true),
            ("b*x*", "box", true),
            ("bo", "box", false),
            ("2001:db8::1", "op@[2001:db8::1]", true),
            (HASHED, "box", true),
            (HASHED, "bax", false),
        ];
        for (names, name, want) in cases {
            assert_eq!(
                is_about(names, &end(name).known_as()),
                want,
                "{names} {name}"
            );
        }
    }

    #[test]
    fn verdicts() {
        let text = format!(
            "# a comment\n\nother {B}\nbox {A} a comment\nbox ssh-rsa AAAA\n@cert-authority * {B}\n"
        );
        let found = known(&text, "box");
        assert!(matches!(found.judge(&key(A), &end("box")), Verdict::Known));
        let Verdict::Bad(SshError::HostKeyChanged(changed)) = found.judge(&key(B), &end("box"))
        else {
            panic!("a changed key was taken");
        };
        let prints = (fingerprint(&key(A)), fingerprint(&key(B)));
        assert_eq!(
            (changed.line, (changed.known, changed.offered)),
            (4, prints)
        );
        assert!(matches!(
            known(&text, "new").judge(&key(A), &end("new")),
            Verdict::New
        ));
        let revoked = known(&format!("box {A}\n@revoked * {A}\n"), "box");
        assert!(matches!(
            revoked.judge(&key(A), &end("box")),
            Verdict::Bad(SshError::HostKeyRevoked { line: 2, .. })
        ));
    }

    #[test]
    fn learned_keys_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ssh/known_hosts");
        let ends = [end("box"), end("op@box:2222"), end("op@[2001:db8::1]:22")];
        for end in &ends {
            learn(&file, end, &key(A)).unwrap();
        }
        // A file that does not end with a newline keeps its last line.
        let text = fs_err::read_to_string(&file).unwrap();
        fs_err::write(&file, text.trim_end()).unwrap();
        learn(&file, &end("last"), &key(B)).unwrap();
        for end in &ends {
            let known = Known::read([&file], end).unwrap();
            assert!(matches!(known.judge(&key(A), end), Verdict::Known), "{end}");
        }
        assert_eq!(fs_err::read_to_string(&file).unwrap().lines().count(), 4);
    }

    #[test]
    fn known_kinds_are_asked_for_first() {
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJ2Px+Gh4j1wTeZWIW89vTnrmXeHaLW9iVBDnZ+1Hf0bo3D11PElwXyzDmLSnAxJPdcFGTtrUFhRe0qDdsZFBc0=";
        let first = known(&format!("box {ecdsa}\n"), "box")
            .algorithms()
            .swap_remove(0);
        assert_eq!(first.as_str(), "ecdsa-sha2-nistp256");
        assert_eq!(
            known("", "box").algorithms().swap_remove(0),
            Algorithm::Ed25519
        );
    }
}
