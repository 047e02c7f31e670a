//! The secrets by name, and what each must look like.

use std::fmt;

use super::mls::{self, Curve};
use super::zauth;

/// Longest value that is accepted, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 4096;

/// Shortest password that is adopted, in bytes.
const PASSWORD_BYTES_MIN: usize = 8;

/// Shortest access key that MinIO knows, in bytes.
const ACCESS_KEY_BYTES_MIN: usize = 3;

/// One secret of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// Shared by brig and coturn; TURN credentials are signed with it.
    Zrest,
    /// Signs user tokens: one URL-safe base64 line per key.
    ZauthPrivate,
    /// Verifies user tokens; the same lines in brig and nginz.
    ZauthPublic,
    /// MinIO's root user.
    MinioAccessKey,
    /// MinIO's root password.
    MinioSecretKey,
    /// The user with which cargohold stores assets.
    CargoholdAccessKey,
    /// Its password.
    CargoholdSecretKey,
    /// Password of PostgreSQL's role `wire-server`.
    PostgresqlWire,
    /// Password of PostgreSQL's role `repmgr`.
    PostgresqlRepmgr,
    /// Password of Prometheus' web page.
    Prometheus,
    /// MLS external sender, Ed25519.
    MlsEd25519,
    /// MLS external sender, P-256.
    MlsP256,
    /// MLS external sender, P-384.
    MlsP384,
    /// MLS external sender, P-521.
    MlsP521,
}

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Letters and digits when generated; printable when adopted.
    Text {
        /// Length of a generated one.
        bytes: usize,
        /// Shortest adopted one.
        least: usize,
    },
    /// Private keys of zauth.
    ZauthPrivate,
    /// Public keys of zauth.
    ZauthPublic,
    /// A PKCS#8 key in PEM.
    Mls(Curve),
}

/// What is wrong with a value. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// It is too short.
    #[error("shorter than {least} characters")]
    Short {
        /// The least length.
        least: usize,
    },
    /// It is too long.
    #[error("longer than {VALUE_BYTES_MAX} bytes")]
    Long,
    /// It holds blanks or characters that do not print.
    #[error("holds blanks or characters outside printable ASCII")]
    Unprintable,
    /// In YAML it is a number or another thing that is no text.
    #[error("not text: put it in double quotes")]
    NotText,
    /// A generated value is not of the length and alphabet that wiab generates.
    #[error("not {bytes} letters and digits, as it was generated")]
    NotGenerated {
        /// The length.
        bytes: usize,
    },
    /// A zauth key is not URL-safe base64 with padding of the right length.
    #[error("not URL-safe base64 (`-`, `_`, padded) of {bytes} bytes per line")]
    Base64Url {
        /// Decoded length.
        bytes: usize,
    },
    /// The halves of a zauth key do not belong together.
    #[error("its public half does not belong to its seed")]
    Halves,
    /// The public keys are not those of the private keys.
    #[error("does not belong to `zauth_private`")]
    Pair,
    /// It is not what was sealed.
    #[error("its checksum does not match")]
    Checksum,
    /// An MLS key is not what galley reads.
    #[error("not an unencrypted PKCS#8 PEM of {curve} as galley reads it")]
    Pem {
        /// The curve.
        curve: Curve,
    },
}

impl Name {
    /// All, in the order of the file.
    pub const ALL: [Self; 14] = [
        Self::Zrest,
        Self::ZauthPrivate,
        Self::ZauthPublic,
        Self::MinioAccessKey,
        Self::MinioSecretKey,
        Self::CargoholdAccessKey,
        Self::CargoholdSecretKey,
        Self::PostgresqlWire,
        Self::PostgresqlRepmgr,
        Self::Prometheus,
        Self::MlsEd25519,
        Self::MlsP256,
        Self::MlsP384,
        Self::MlsP521,
    ];

    /// Its key in the file and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zrest => "zrest",
            Self::ZauthPrivate => "zauth_private",
            Self::ZauthPublic => "zauth_public",
            Self::MinioAccessKey => "minio_access_key",
            Self::MinioSecretKey => "minio_secret_key",
            Self::CargoholdAccessKey => "minio_cargohold_access_key",
            Self::CargoholdSecretKey => "minio_cargohold_secret_key",
            Self::PostgresqlWire => "postgresql_wire",
            Self::PostgresqlRepmgr => "postgresql_repmgr",
            Self::Prometheus => "prometheus",
            Self::MlsEd25519 => "mls_ed25519",
            Self::MlsP256 => "mls_ecdsa_secp256r1_sha256",
            Self::MlsP384 => "mls_ecdsa_secp384r1_sha384",
            Self::MlsP521 => "mls_ecdsa_secp521r1_sha512",
        }
    }

    /// The secret of that key.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }

    pub(crate) fn shape(self) -> Shape {
        let text = |bytes, least| Shape::Text { bytes, least };
        match self {
            Self::Zrest => text(64, PASSWORD_BYTES_MIN),
            Self::ZauthPrivate => Shape::ZauthPrivate,
            Self::ZauthPublic => Shape::ZauthPublic,
            Self::MinioAccessKey | Self::CargoholdAccessKey => text(20, ACCESS_KEY_BYTES_MIN),
            Self::MinioSecretKey => text(42, PASSWORD_BYTES_MIN),
            Self::CargoholdSecretKey => text(30, PASSWORD_BYTES_MIN),
            Self::PostgresqlWire | Self::PostgresqlRepmgr => text(32, PASSWORD_BYTES_MIN),
            Self::Prometheus => text(16, PASSWORD_BYTES_MIN),
            Self::MlsEd25519 => Shape::Mls(Curve::Ed25519),
            Self::MlsP256 => Shape::Mls(Curve::P256),
            Self::MlsP384 => Shape::Mls(Curve::P384),
            Self::MlsP521 => Shape::Mls(Curve::P521),
        }
    }

    /// Checks a value that somebody else may have chosen.
    pub(crate) fn check(self, value: &str) -> Result<(), ShapeError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(ShapeError::Long);
        }
        match self.shape() {
            Shape::Text { least, .. } if value.len() < least => Err(ShapeError::Short { least }),
            Shape::Text { .. } if !value.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(ShapeError::Unprintable)
            }
            Shape::Text { .. } => Ok(()),
            Shape::ZauthPrivate => zauth::check_private(value),
            Shape::ZauthPublic => zauth::check_public(value),
            Shape::Mls(curve) => mls::check(curve, value),
        }
    }

    /// Checks a value that wiab generated.
    pub(crate) fn check_generated(self, value: &str) -> Result<(), ShapeError> {
        if let Shape::Text { bytes, .. } = self.shape()
            && (value.len() != bytes || !value.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        {
            return Err(ShapeError::NotGenerated { bytes });
        }
        self.check(value)
    }

    /// Checks the form of a value that was checked in full when it was sealed: an MLS key's public point is not computed
    /// again, which would take most of the time of every read.
    pub(crate) fn check_form(self, value: &str) -> Result<(), ShapeError> {
        match self.shape() {
            Shape::Mls(curve) => mls::check_form(curve, value),
            Shape::Text { .. } | Shape::ZauthPrivate | Shape::ZauthPublic => self.check(value),
        }
    }

    /// A found value without what files and tools add around it.
    pub(crate) fn normal(self, found: &str) -> String {
        match self.shape() {
            Shape::Text { .. } => found.to_owned(),
            Shape::ZauthPrivate | Shape::ZauthPublic => found.trim().to_owned(),
            Shape::Mls(_) => format!("{}\n", found.trim()),
        }
    }

    /// Whether a found text only stands for a value that was never filled in.
    pub(crate) fn is_placeholder(self, found: &str) -> bool {
        let found = found.trim();
        let unset = match self {
            Self::Prometheus => &["", "admin"][..],
            _ => &["", "dummykey", "dummysecret", "verysecurepassword"],
        };
        let empty = match self.shape() {
            Shape::Mls(_) => found
                .lines()
                .all(|line| line.trim().is_empty() || line.starts_with("-----")),
            Shape::Text { .. } | Shape::ZauthPrivate | Shape::ZauthPublic => false,
        };
        let marked = found.starts_with('<') && found.ends_with('>');
        unset.contains(&found) || empty || marked || found.starts_with("CHANGEME")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_read_back() {
        for name in Name::ALL {
            assert_eq!(Name::parse(name.as_str()), Some(name));
        }
        assert_eq!(Name::parse("nonsense"), None);
    }

    #[test]
    fn what_the_release_ships_is_no_value() {
        for (name, text) in [
            (Name::Zrest, "CHANGEMEE6KHMJU1uDhhgvsVWoIyzmn3u3GHRoWjTp"),
            (Name::Zrest, ""),
            (Name::ZauthPublic, "<public key>"),
            (Name::CargoholdAccessKey, "dummykey"),
            (Name::CargoholdSecretKey, "dummysecret"),
            (Name::PostgresqlWire, "verysecurepassword"),
            (Name::Prometheus, "admin"),
            (
                Name::MlsP256,
                "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
            ),
        ] {
            assert!(name.is_placeholder(text), "{name}");
        }
        assert!(!Name::Zrest.is_placeholder("k5Ld81"));
    }

    #[test]
    fn adopted_values_may_differ_from_generated_ones_within_bounds() {
        let name = Name::MinioSecretKey;
        assert_eq!(name.check("an-older_secret!"), Ok(()));
        assert_eq!(
            name.check_generated("an-older_secret!"),
            Err(ShapeError::NotGenerated { bytes: 42 })
        );
        assert_eq!(name.check("short"), Err(ShapeError::Short { least: 8 }));
        assert_eq!(name.check("two words"), Err(ShapeError::Unprintable));
        assert_eq!(name.check(&"x".repeat(5000)), Err(ShapeError::Long));
        assert_eq!(Name::MinioAccessKey.check("abc"), Ok(()));
    }
}
