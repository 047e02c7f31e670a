//! The sealed set: all secrets of an installation in one file, checked whenever it is read, never shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::name::{Name, ShapeError};
use super::zauth;

/// The format that this version writes and reads.
const VERSION: u64 = 1;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: usize = 256 << 10;

/// Permission bits of every file that holds secrets.
pub(crate) const SECRET_MODE: u32 = 0o600;

const HEADER: &str = "# The secrets of this installation, made once by wiab. Keep a copy in a safe place; do not edit.\n";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Made by wiab.
    Generated,
    /// Found in use.
    Adopted {
        /// File and key, or Kubernetes secret and key.
        from: String,
    },
}

/// One value with its origin.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) value: SecretString,
    pub(crate) origin: Origin,
}

/// All secrets of an installation. `Debug` shows no values; memory is wiped when it is dropped.
#[derive(Debug, Clone)]
pub struct SealedSet {
    created: String,
    rotated: Option<String>,
    values: BTreeMap<Name, Sealed>,
}

/// Why a file is not a usable sealed set. Names file, line and key; never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// The file is larger than any sealed set.
    #[error("{path} has more than {FILE_BYTES_MAX} bytes")]
    Large {
        /// The file.
        path: String,
    },
    /// The file is not text.
    #[error("{path} is not UTF-8 text")]
    NotText {
        /// The file.
        path: String,
    },
    /// The file is not TOML of the right form.
    #[error("{path}, line {line}: not the form of a sealed set")]
    Form {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The file was written by another version of wiab.
    #[error("{path} is of format {found}, but this wiab reads format {VERSION}")]
    Version {
        /// The file.
        path: String,
        /// The format found.
        found: u64,
    },
    /// A key that no secret has.
    #[error("{path}: unknown secret `{key}`")]
    Unknown {
        /// The file.
        path: String,
        /// The key.
        key: String,
    },
    /// A secret is missing.
    #[error("{path}: `{name}` is missing")]
    Missing {
        /// The file.
        path: String,
        /// The secret.
        name: Name,
    },
    /// A value is not of the right shape.
    #[error("{path}: `{name}` is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// The secret.
        name: Name,
        /// What is wrong with it.
        why: ShapeError,
    },
}

#[derive(Deserialize)]
struct RawVersion {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "version")]
    _version: u64,
    created: String,
    #[serde(default)]
    rotated: Option<String>,
    secrets: BTreeMap<String, RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawValue {
    value: SecretString,
    #[serde(default)]
    adopted_from: Option<String>,
    check: String,
}

impl SealedSet {
    /// Checks every secret in full before it is sealed; answers the first that is wrong.
    pub(crate) fn new(
        created: &str,
        values: BTreeMap<Name, Sealed>,
    ) -> Result<Self, (Name, ShapeError)> {
        let set = Self {
            created: created.to_owned(),
            rotated: None,
            values,
        };
        for name in Name::ALL {
            if set.is_generated(name) {
                name.check_generated(set.get(name))
            } else {
                name.check(set.get(name))
            }
            .map_err(|why| (name, why))?;
        }
        let public = zauth::public_of_private(set.get(Name::ZauthPrivate))
            .map_err(|why| (Name::ZauthPrivate, why))?;
        if public != set.get(Name::ZauthPublic) {
            return Err((Name::ZauthPublic, ShapeError::Pair));
        }
        Ok(set)
    }

    /// A value. Handle with care: it is what must never be shown.
    pub fn get(&self, name: Name) -> &str {
        self.values
            .get(&name)
            .map_or("", |sealed| sealed.value.expose_secret())
    }

    /// Where a value comes from.
    pub fn origin(&self, name: Name) -> Option<&Origin> {
        self.values.get(&name).map(|sealed| &sealed.origin)
    }

    pub(crate) fn is_generated(&self, name: Name) -> bool {
        self.origin(name) == Some(&Origin::Generated)
    }

    /// How many values were adopted.
    pub fn adopted(&self) -> usize {
        let adopted = |name: &&Name| !self.is_generated(**name);
        Name::ALL.iter().filter(adopted).count()
    }

    /// The day on which it was made: `2026-01-01`.
    pub fn created(&self) -> &str {
        &self.created
    }

    /// The rotation that made its newest values, if there was one.
    pub fn rotated(&self) -> Option<&str> {
        self.rotated.as_deref()
    }

    /// The same with other values, checked like a new set, under the name of a rotation.
    pub(crate) fn with(
        &self,
        fresh: BTreeMap<Name, Sealed>,
        rotation: &str,
    ) -> Result<Self, (Name, ShapeError)> {
        let mut values = self.values.clone();
        values.extend(fresh);
        let mut set = Self::new(&self.created, values)?;
        set.rotated = Some(rotation.to_owned());
        Ok(set)
    }

    /// The file's text.
    pub fn encode(&self) -> Zeroizing<String> {
        // Large enough from the start: growing would leave copies in memory.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
        text.push_str(HEADER);
        for part in ["version = 1\ncreated = \"", &self.created, "\"\n"] {
            text.push_str(part);
        }
        if let Some(rotation) = &self.rotated {
            entry(&mut text, "rotated", rotation);
        }
        for (name, sealed) in &self.values {
            for part in ["\n[secrets.", name.as_str(), "]\n"] {
                text.push_str(part);
            }
            entry(&mut text, "value", sealed.value.expose_secret());
            if let Origin::Adopted { from } = &sealed.origin {
                entry(&mut text, "adopted_from", from);
            }
            entry(&mut text, "check", &checksum(*name, sealed));
        }
        text
    }

    /// Reads and checks the file's bytes. `path` is for errors.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, SealedError> {
        let path = || path.to_owned();
        if bytes.len() > FILE_BYTES_MAX {
            return Err(SealedError::Large { path: path() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| SealedError::NotText { path: path() })?;
        // The parser's own message quotes the line, which may hold a value.
        let form = |error: &toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or_default();
            SealedError::Form {
                path: path(),
                line: 1 + before.matches('\n').count(),
            }
        };
        let RawVersion { version } = toml::from_str(text).map_err(|error| form(&error))?;
        if version != VERSION {
            return Err(SealedError::Version {
                path: path(),
                found: version,
            });
        }
        let raw: Raw = toml::from_str(text).map_err(|error| form(&error))?;
        let mut values = BTreeMap::new();
        for (key, raw) in raw.secrets {
            let Some(name) = Name::parse(&key) else {
                return Err(SealedError::Unknown { path: path(), key });
            };
            let origin = raw
                .adopted_from
                .map_or(Origin::Generated, |from| Origin::Adopted { from });
            let value = raw.value;
            let sealed = Sealed { value, origin };
            let damaged = |why| SealedError::Damaged {
                path: path(),
                name,
                why,
            };
            if checksum(name, &sealed) != raw.check {
                return Err(damaged(ShapeError::Checksum));
            }
            name.check_form(sealed.value.expose_secret())
                .map_err(damaged)?;
            values.insert(name, sealed);
        }
        if let Some(name) = Name::ALL
            .into_iter()
            .find(|name| !values.contains_key(name))
        {
            return Err(SealedError::Missing { path: path(), name });
        }
        Ok(Self {
            created: raw.created,
            rotated: raw.rotated,
            values,
        })
    }
}

/// Digits of a checksum.
const CHECK_DIGITS: usize = 16;

/// Tells whether a value is the one that was sealed: most values have no form that would show damage.
fn checksum(name: Name, sealed: &Sealed) -> String {
    let from = match &sealed.origin {
        Origin::Generated => "",
        Origin::Adopted { from } => from,
    };
    let mut hasher = blake3::Hasher::new_derive_key("wiab 2026-01-01 sealed secret checksum");
    for part in [name.as_str(), sealed.value.expose_secret(), from] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    let digits = hasher.finalize().to_hex();
    digits.chars().take(CHECK_DIGITS).collect()
}

/// `key = value` in TOML, several lines as they are.
fn entry(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    let plain =
        |character: char| character == '\n' || (character.is_ascii() && !character.is_control());
    if value.contains('\n') && !value.contains('\'') && value.chars().all(plain) {
        text.push_str(" = '''\n");
        text.push_str(value);
        text.push_str("'''\n");
        return;
    }
    text.push_str(" = \"");
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push_str("\"\n");
}

#[cfg(test)]
mod tests {
    use super::super::entropy::SeededEntropy;
    use super::super::generate::{Found, generate};
    use super::*;

    fn set() -> SealedSet {
        let mut found = Found::default();
        found
            .offer(
                Name::MinioSecretKey,
                r#"quote"and\back'''slash"#,
                "/a \"b\"\\c'\n\u{1}: key",
            )
            .unwrap();
        generate(&mut SeededEntropy::new("sealed"), found, "2026-01-01").unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let set = set();
        let read = SealedSet::parse("f", set.encode().as_bytes()).unwrap();
        assert_eq!(read.created(), "2026-01-01");
        assert_eq!(read.adopted(), 1);
        for name in Name::ALL {
            assert_eq!(read.get(name), set.get(name), "{name}");
            assert_eq!(read.origin(name), set.origin(name), "{name}");
        }
        assert_eq!(*read.encode(), *set.encode());
    }

    #[test]
    fn debug_shows_no_value() {
        let set = set();
        let shown = format!("{set:?}");
        for name in Name::ALL {
            assert!(!shown.contains(set.get(name)), "{name}");
            for line in set.get(name).lines() {
                assert!(line.starts_with("-----") || !shown.contains(line), "{name}");
            }
        }
    }

    #[test]
    fn damage_is_named_by_file_and_key_without_the_value() {
        let good = set().encode().to_string();
        let zrest = set().get(Name::Zrest).to_owned();
        let zauth = set().get(Name::ZauthPublic).to_owned();
        let other = generate(&mut SeededEntropy::new("other"), Found::default(), "x").unwrap();
        let cases = [
            (
                good.replace(&zrest, "canary!"),
                "f: `zrest` is damaged: its checksum does not match",
            ),
            (
                good.replace("[secrets.zrest]", "[secrets.canary]"),
                "f: unknown secret `canary`",
            ),
            (
                good.replace("version = 1", "version = 2"),
                "f is of format 2, but this wiab reads format 1",
            ),
            (
                good.replace("version = 1", "version = 'canary'"),
                "f, line 2: not the form of a sealed set",
            ),
            (
                good.replace(&format!("\"{zrest}\""), &zrest),
                "f, line 6: not the form of a sealed set",
            ),
            (
                good.replace(&zauth, other.get(Name::ZauthPublic)),
                "f: `zauth_public` is damaged: its checksum does not match",
            ),
            (
                good.replace("MIGHAgEAMBMG", "MIGHAgEAMBMH"),
                "f: `mls_ecdsa_secp256r1_sha256` is damaged: its checksum does not match",
            ),
            (
                good.split("[secrets.mls_ecdsa_secp521r1_sha512]")
                    .next()
                    .unwrap()
                    .to_owned(),
                "f: `mls_ecdsa_secp521r1_sha512` is missing",
            ),
            (String::new(), "f, line 1: not the form of a sealed set"),
            (
                "x".repeat(FILE_BYTES_MAX + 1),
                "f has more than 262144 bytes",
            ),
        ];
        for (text, says) in cases {
            let error = SealedSet::parse("f", text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), says);
        }
        assert_eq!(
            SealedSet::parse("f", b"\xff").unwrap_err().to_string(),
            "f is not UTF-8 text"
        );
    }
}
