//! Ranges of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;

/// The addresses that share a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    first: u32,
    prefix: u8,
}

impl Range {
    /// The range that an address is in.
    pub(super) fn of(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let prefix = Some(prefix).filter(|prefix| *prefix <= 32)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Some(Self {
            first: u32::from(address) & mask,
            prefix,
        })
    }

    /// Reads `10.0.0.0/8`; a bare address is a range of one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        Self::of(address.parse().ok()?, prefix.parse().ok()?)
    }

    /// Whether it holds an address.
    pub(super) fn holds(self, address: Ipv4Addr) -> bool {
        Self::of(address, self.prefix).is_some_and(|other| other.first == self.first)
    }

    /// Whether two ranges share addresses.
    pub(super) fn meets(self, other: Self) -> bool {
        let (wide, narrow) = if self.is_wider(other) {
            (self, other)
        } else {
            (other, self)
        };
        wide.holds(Ipv4Addr::from(narrow.first))
    }

    /// Whether it has more addresses.
    pub(super) fn is_wider(self, other: Self) -> bool {
        self.prefix < other.prefix
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_whichever_is_wider() {
        let range = |text: &str| Range::parse(text).unwrap();
        let ours = range("192.168.122.0/24");
        for (other, meets) in [
            ("192.168.122.0/24", true),
            ("192.168.122.128/25", true),
            ("192.168.0.0/16", true),
            ("192.168.122.7", true),
            ("0.0.0.0/0", true),
            ("192.168.121.0/24", false),
            ("10.0.0.0/8", false),
        ] {
            assert_eq!(ours.meets(range(other)), meets, "{other}");
            assert_eq!(range(other).meets(ours), meets, "{other}");
        }
        assert_eq!(range("10.233.70.1/17").to_string(), "10.233.0.0/17");
        for bad in ["default", "10.0.0.0/33", "::/0", ""] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
    }
}
