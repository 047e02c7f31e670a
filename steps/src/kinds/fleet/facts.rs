//! What a machine says about itself, read from the lines of `look.sh`.

use std::collections::BTreeMap;

/// Facts of one machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `hostname -s`.
    pub(super) host: String,
    /// `ubuntu 22.04`.
    pub(super) os: String,
    /// Whether `/usr/bin/python3` is there.
    pub(super) python: bool,
    /// Whether sudo works without a password.
    pub(super) sudo: bool,
    /// Whether gpg is there.
    pub(super) gpg: bool,
    /// Devices that memory is swapped to.
    pub(super) swap: Vec<String>,
    /// The least and the most that its clock can be ahead of ours, in milliseconds.
    pub(super) ahead_ms: Option<(i64, i64)>,
    /// Offset of its time zone: `+0000`.
    pub(super) zone: String,
    /// Interfaces and their IPv4 addresses.
    pub(super) addresses: Vec<(String, String)>,
    /// MTU by interface.
    pub(super) mtu: BTreeMap<String, u32>,
    /// Interface of its default route.
    pub(super) route: Option<String>,
    /// What became of a connection, by `address:port`: `open`, `refused`, or why not.
    pub(super) reach: BTreeMap<String, String>,
}

impl Facts {
    /// Reads the answer to a question that was asked between these two Unix times.
    pub(super) fn read(text: &str, begun_ms: u64, ended_ms: u64) -> Self {
        let mut facts = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let pair = || value.split_once(' ');
            let owned = |(one, two): (&str, &str)| (device(one), two.trim().to_owned());
            match name {
                "host" => value.clone_into(&mut facts.host),
                "os" => value.clone_into(&mut facts.os),
                "python" => facts.python = true,
                "sudo" => facts.sudo = true,
                "gpg" => facts.gpg = true,
                "swap" => facts.swap = value.split_whitespace().map(str::to_owned).collect(),
                "time" => {
                    if let Some((seconds, zone)) = pair() {
                        zone.clone_into(&mut facts.zone);
                        facts.ahead_ms = ahead_ms(seconds, begun_ms, ended_ms);
                    }
                }
                "address" => {
                    let found = pair().map(owned);
                    facts.addresses.extend(found.map(|(device, address)| {
                        let ip = address.split('/').next().unwrap_or_default();
                        (device, ip.to_owned())
                    }));
                }
                "mtu" => {
                    let found = pair().map(owned);
                    facts
                        .mtu
                        .extend(found.and_then(|(device, mtu)| Some((device, mtu.parse().ok()?))));
                }
                "route" if facts.route.is_none() => facts.route = Some(device(value)),
                "reach" => {
                    let found = pair().map(|(peer, said)| (peer.to_owned(), said.to_owned()));
                    facts.reach.extend(found);
                }
                _ => {}
            }
        }
        facts
    }

    /// The interface with an address; behind address translation, that of the default route.
    pub(super) fn interface_of(&self, ip: &str) -> Option<&str> {
        let own = self.addresses.iter().find(|(_, address)| address == ip);
        own.map(|(device, _)| device.as_str())
            .or(self.route.as_deref())
    }

    /// Whether the interface has an address.
    pub(super) fn has_address(&self, interface: &str) -> bool {
        self.addresses.iter().any(|(device, _)| device == interface)
    }
}

/// `eth0` of `eth0@if7`.
fn device(text: &str) -> String {
    text.split('@').next().unwrap_or_default().to_owned()
}

/// A clock that said this full second between two moments of ours is ahead by something in this range.
fn ahead_ms(seconds: &str, begun_ms: u64, ended_ms: u64) -> Option<(i64, i64)> {
    let said_ms = seconds.parse::<i64>().ok()?.checked_mul(1_000)?;
    let (begun_ms, ended_ms) = (i64::try_from(begun_ms).ok()?, i64::try_from(ended_ms).ok()?);
    Some((said_ms - ended_ms, said_ms + 999 - begun_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_machine_is_read() {
        let text = "host=kubenode1\nos=ubuntu 22.04\npython=yes\nsudo=yes\ngpg=yes\nswap=/swap.img \n\
                    time=1000 +0200\naddress=lo 127.0.0.1/8\naddress=enp1s0 10.0.0.7/24\nmtu=lo 65536\n\
                    mtu=enp1s0@if5 1450\nroute=enp1s0\nroute=other\nreach=10.0.0.8:22 open\n\
                    reach=10.0.0.9:22 No route to host\nnonsense\n";
        let facts = Facts::read(text, 999_500, 1_000_200);
        assert_eq!(facts.host, "kubenode1");
        assert!(facts.python && facts.sudo && facts.gpg);
        assert_eq!(facts.swap, ["/swap.img"]);
        assert_eq!(facts.zone, "+0200");
        assert_eq!(facts.ahead_ms, Some((-200, 1_499)));
        assert_eq!(facts.interface_of("10.0.0.7"), Some("enp1s0"));
        assert_eq!(facts.interface_of("203.0.113.7"), Some("enp1s0"));
        assert_eq!(facts.mtu["enp1s0"], 1450);
        assert!(facts.has_address("enp1s0") && !facts.has_address("eth1"));
        assert_eq!(facts.reach["10.0.0.9:22"], "No route to host");
        assert_eq!(Facts::read("", 0, 0), Facts::default());
    }
}
