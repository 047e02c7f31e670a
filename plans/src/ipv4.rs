//! Arithmetic on IPv4 networks.

use std::net::Ipv4Addr;

/// A network: an address in it and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Net {
    address: Ipv4Addr,
    prefix: u8,
}

impl Net {
    /// A network for hosts: a prefix of 8 to 30 bits.
    pub(crate) fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (8..=30)
            .contains(&prefix)
            .then_some(Self { address, prefix })
    }

    fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0)
    }

    /// The netmask.
    pub(crate) fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(self.mask())
    }

    /// The network's own address with its prefix: `192.168.122.0/24`.
    pub(crate) fn cidr(self) -> String {
        let network = Ipv4Addr::from(u32::from(self.address) & self.mask());
        format!("{network}/{}", self.prefix)
    }

    /// Whether a host of the network can have that address.
    pub(crate) fn holds(self, address: Ipv4Addr) -> bool {
        let (bits, mask) = (u32::from(address), self.mask());
        let same = bits & mask == u32::from(self.address) & mask;
        same && bits & !mask != 0 && bits | mask != u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_knows_its_hosts() {
        let net = Net::new(Ipv4Addr::new(192, 168, 122, 1), 24).unwrap();
        assert_eq!(net.cidr(), "192.168.122.0/24");
        assert_eq!(net.netmask(), Ipv4Addr::new(255, 255, 255, 0));
        assert!(net.holds(Ipv4Addr::new(192, 168, 122, 10)));
        for outside in [[192, 168, 122, 0], [192, 168, 122, 255], [192, 168, 123, 1]] {
            assert!(!net.holds(Ipv4Addr::from(outside)));
        }
        assert_eq!(Net::new(Ipv4Addr::LOCALHOST, 31), None);
    }
}
