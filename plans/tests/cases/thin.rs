//! Which kill points stand for all: one of those that leave the same machine and the same journal, and of those that differ
//! only in which machine or which of many alike they concern, the first and the last.

use std::collections::{BTreeMap, BTreeSet};

use wiab_steps::host::sim::{Phase, Point};

/// A place at which a process may be killed, as far as it matters what is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number, from 1.
    pub(crate) index: u64,
    /// What was being done there.
    pub(crate) what: String,
    /// Equal for places that leave equal machines and journals; `None` if there is no other one.
    pub(crate) left: Option<(u64, u64)>,
}

impl Place {
    /// A point of the host, at which so many events were durable.
    pub(crate) fn host(point: &Point, events: u64) -> Self {
        Self {
            index: point.index,
            what: format!("{:?} {}", point.phase, point.what),
            // What is left in the middle is only left there.
            left: (point.phase != Phase::Halfway).then_some((point.changes, events)),
        }
    }

    /// A boundary between events.
    pub(crate) fn event(index: u64, what: &str) -> Self {
        Self {
            index,
            what: what.to_owned(),
            left: None,
        }
    }
}

/// The numbers of the places that stand for all.
pub(crate) fn thin(places: &[Place]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let distinct = places
        .iter()
        .filter(|place| place.left.is_none_or(|left| seen.insert(left)));
    let mut alike: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for place in distinct {
        let ends = alike
            .entry(kind_of(&place.what))
            .or_insert((place.index, place.index));
        ends.1 = place.index;
    }
    let chosen: BTreeSet<u64> = alike.into_values().flat_map(|(a, b)| [a, b]).collect();
    chosen.into_iter().collect()
}

/// Words that only tell which of several alike is meant.
const ALIKE: [&str; 3] = ["assethost", "datanode", "kubenode"];

/// What is done, without on which machine and to which instance: names of machines, numbers and digests are all one.
fn kind_of(what: &str) -> String {
    let mut text = what.to_owned();
    for word in ALIKE {
        text = text.replace(word, "vm");
    }
    let mut kind = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let number = name.chars().any(|c| c.is_ascii_digit());
        kind.push_str(if number { "#" } else { name });
        kind.push_str(word.get(name.len()..).unwrap_or_default());
    }
    // Two addresses or names in a row are as good as one.
    while kind.contains("#.#") {
        kind = kind.replace("#.#", "#");
    }
    kind.replace("vm#", "#").replace("vm", "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_those_that_leave_the_same_and_the_ends_of_those_alike() {
        let place = |index, what: &str, left| Place {
            index,
            what: what.to_owned(),
            left,
        };
        let places = [
            place(1, "Before virsh start kubenode1", Some((0, 1))),
            place(2, "BeforeReturn virsh list", Some((0, 1))),
            place(3, "Before virsh start kubenode2", Some((1, 1))),
            place(4, "Before virsh start datanode3", Some((2, 1))),
            place(5, "Halfway cp a b", None),
            place(6, "Before ssh demo@192.168.122.21 true", Some((3, 1))),
            place(7, "Before ssh demo@192.168.122.22 true", Some((4, 1))),
            place(8, "Before ssh demo@192.168.122.23 true", Some((4, 1))),
        ];
        assert_eq!(thin(&places), [1, 4, 5, 6, 7]);
        assert_eq!(kind_of("vm.seed:kubenode1"), kind_of("vm.seed:assethost"));
        assert_ne!(kind_of("Before helm a"), kind_of("AfterEffect helm a"));
    }
}
