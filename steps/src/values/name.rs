//! Names and addresses that enter files and commands: checked once, safe everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest domain: the longest host below it (`nginz-https.`) must still be a host name.
const DOMAIN_BYTES_MAX: usize = 241;
/// Longest part of a mail address before the `@`.
const LOCAL_BYTES_MAX: usize = 64;

/// Why a text is not such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a domain.
    #[error(
        "`{0}` is not a domain: use two or more labels of a-z, 0-9 and `-`, such as `wire.example.org`; write other letters in their `xn--` form"
    )]
    Domain(String),
    /// Not a mail address.
    #[error(
        "`{0}` is not a mail address that certificate authorities accept, such as `admin@example.org`"
    )]
    Email(String),
    /// Not a node.
    #[error("`{0}` is not the name of a Kubernetes node: use a-z, 0-9, `-` and `.`")]
    Node(String),
}

macro_rules! checked_text {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    DomainName,
    "The domain of an installation, in lower case: `wire.example.org`."
);
checked_text!(Email, "A mail address for a certificate authority.");
checked_text!(NodeName, "The name of a Kubernetes node.");

impl TryFrom<String> for DomainName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let top = text.rsplit('.').next().unwrap_or_default();
        let fine = text.len() <= DOMAIN_BYTES_MAX
            && text.contains('.')
            && text.split('.').all(is_label)
            && !top.bytes().all(|byte| byte.is_ascii_digit());
        if fine {
            Ok(Self(text))
        } else {
            Err(NameError::Domain(text))
        }
    }
}

impl TryFrom<String> for Email {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let fine = text.split_once('@').is_some_and(|(local, domain)| {
            local.len() <= LOCAL_BYTES_MAX
                && local.split('.').all(|part| {
                    !part.is_empty()
                        && part
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
                })
                && local.starts_with(|first: char| first.is_ascii_alphanumeric())
                && domain.parse::<DomainName>().is_ok()
        });
        if fine {
            Ok(Self(text))
        } else {
            Err(NameError::Email(text))
        }
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        if text.len() <= 253 && text.split('.').all(is_label) {
            return Ok(Self(text));
        }
        Err(NameError::Node(text))
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
