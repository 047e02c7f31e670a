//! The sections `[certs]` and `[hairpin]`: certificates, and the way that their self-check takes.

use serde::{Deserialize, Serialize};

/// `[certs]`: the certificates.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the configuration of its own"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertSettings {
    /// Whether they come from the authority's test service, which browsers do not trust.
    pub staging: bool,
    /// Whether the authority's test service has to issue for all names before the real certificates are asked for.
    pub rehearse: bool,
    /// How long the authority may take, in seconds.
    pub wait_timeout_s: u64,
    /// What is done when one does not come and its cause has a cure.
    pub cure: Cure,
    /// Whether issued ones are kept in a private file, and used again by a later installation.
    pub save: bool,
    /// Whether a rollback leaves that file.
    pub keep: bool,
}

impl Default for CertSettings {
    fn default() -> Self {
        Self {
            staging: false,
            rehearse: false,
            wait_timeout_s: 1_200,
            cure: Cure::Auto,
            save: true,
            keep: false,
        }
    }
}

/// What is done about a cause that measurement shows and that a step of the plan cures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cure {
    /// The step that waits does it, and goes on.
    #[default]
    Auto,
    /// The operator is asked before.
    Ask,
    /// It is only told.
    Never,
}

/// `[hairpin]`: source NAT for VMs that call the public address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hairpin {
    /// What is done about it.
    pub policy: HairpinPolicy,
    /// What becomes of the rule when the certificates are issued.
    pub after: HairpinAfter,
}

/// What is done about the hairpin rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HairpinPolicy {
    /// The rule is added if packets show that it is needed and helps.
    #[default]
    Auto,
    /// The rule is added.
    Add,
    /// Every such rule is removed.
    Remove,
    /// Nothing is looked at.
    Off,
}

/// What becomes of the hairpin rule when the certificates are issued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HairpinAfter {
    /// It stays: renewal, after two and a half months, needs it again.
    #[default]
    Keep,
    /// It is removed.
    Remove,
}
