//! What the rules say for the defaults.

use super::world::traffic;

#[test]
fn the_rules_of_the_defaults_are_these() {
    let script = traffic().script("eth0").unwrap();
    assert_eq!(script, include_str!("defaults.nft"));
}
