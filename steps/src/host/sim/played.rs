//! Troubles to play with from the command line: what is around the machine, set anew whenever it is opened.

use super::acme::Outside;
use super::entity::Facts;
use super::state::Machine;
use super::surroundings::{Name, Surroundings};

/// Something around the machine that is not as certificates need it. Without it, it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The name `webapp` of the domain does not exist.
    Dns,
    /// The name `webapp` also has an IPv6 address, which leads elsewhere.
    Ipv6,
    /// A CAA record of the domain allows another authority only.
    Caa,
    /// Port 80 is not reached from the internet.
    Port80,
}

impl Trouble {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("dns", Self::Dns),
        ("ipv6", Self::Ipv6),
        ("caa", Self::Caa),
        ("port80", Self::Port80),
    ];

    /// The trouble of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, trouble)| *trouble)
    }
}

impl Machine {
    /// The same with exactly these troubles around an installation of that domain.
    #[must_use]
    pub fn troubled(mut self, troubles: &[Trouble], domain: &str) -> Self {
        let has = |trouble| troubles.contains(&trouble);
        let webapp = format!("webapp.{domain}");
        self.edit(|draft| {
            let mut around = Surroundings::of(draft);
            let address = draft.get::<Facts>("").map(|facts| facts.address);
            around.names.remove(&webapp);
            around.names.remove(domain);
            if has(Trouble::Dns) {
                around.names.insert(webapp, Name::default());
            } else if has(Trouble::Ipv6) {
                let name = Name {
                    a: address.into_iter().collect(),
                    aaaa: vec!["2001:db8::80".to_owned()],
                    ..Name::default()
                };
                around.names.insert(webapp, name);
            }
            if has(Trouble::Caa) {
                let name = Name {
                    caa: vec!["0 issue \"pki.example\"".to_owned()],
                    ..Name::default()
                };
                around.names.insert(domain.to_owned(), name);
            }
            draft.put("", &around);
            let mut outside = Outside::of(draft);
            outside.open = !has(Trouble::Port80);
            draft.put("", &outside);
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Draft;
    use super::*;

    #[test]
    fn troubles_come_and_go_without_a_trace() {
        let all = Trouble::ALL.map(|(_, trouble)| trouble);
        let plain = Machine::fresh().troubled(&[], "example.org");
        let there = plain.clone().troubled(&all, "example.org");
        let draft = Draft::new(&there);
        let around = Surroundings::of(&draft);
        assert_eq!(
            around.names.get("webapp.example.org"),
            Some(&Name::default())
        );
        assert!(!Outside::of(&draft).open);
        let gone = there.clone().troubled(&[], "example.org");
        assert_eq!(
            Surroundings::of(&Draft::new(&gone)),
            Surroundings::of(&Draft::new(&plain))
        );
        assert!(Outside::of(&Draft::new(&gone)).open);
        for (name, trouble) in Trouble::ALL {
            assert_eq!(Trouble::parse(name), Some(trouble));
        }
        assert_eq!(Trouble::parse("rain"), None);
    }
}
