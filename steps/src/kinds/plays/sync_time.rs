//! The clocks of the data nodes.

use wiab_engine::outcome::Failure;

use super::footprint::Footprint;
use super::look::{Found, ask, question};
use super::{Role, Site};
use crate::host::shell::Shell;

/// Clocks that differ by this much break migrations and tokens, in milliseconds.
const SKEW_MS_MAX: i64 = 500;

pub(super) const PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Datanode],
    units: &["ntp"],
    packages: &["ntp"],
    removes: &["systemd-timesyncd"],
    paths: &["/etc/ntp.conf", "/var/lib/ntp"],
    ..Footprint::NONE
}];

/// Within which a clock is ahead of ours, in milliseconds: the command ran at some moment of the login.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    least: i64,
    most: i64,
}

/// The difference that two clocks have at least, whatever the network did.
fn apart(a: Ahead, b: Ahead) -> i64 {
    (a.least - b.most).max(b.least - a.most).max(0)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Looks at every node's time service and compares all clocks pairwise.
pub(super) async fn look(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut clocks: Vec<(&str, Ahead)> = Vec::new();
    let mut alone = Vec::new();
    for host in site.of(Role::Datanode) {
        let begun = signed(sh.cx.clock.wall_ms());
        let questions = [
            question("clock", &["date", "+%s%N"]),
            question("runs", &["systemctl", "is-active", "ntp"]),
            question("peers", &["ntpq", "-pn"]),
        ];
        let told = ask(sh, site, host, &questions).await?;
        let ended = signed(sh.cx.clock.wall_ms());
        if found.silent(host, &told) {
            continue;
        }
        let name = &host.name;
        found.part(
            told.yes("runs"),
            format!("ntp on {name}"),
            format!("ntp does not run on {name}"),
        );
        if !told.text("peers").lines().any(|line| line.starts_with('*')) {
            alone.push(name.as_str());
        }
        if let Ok(nanos) = told.text("clock").parse::<i64>() {
            let theirs = nanos / 1_000_000;
            let ahead = Ahead {
                least: theirs - ended,
                most: theirs - begun,
            };
            clocks.push((name, ahead));
        }
    }
    for (index, (name, clock)) in clocks.iter().enumerate() {
        for (other, theirs) in clocks.iter().skip(index + 1) {
            let skew_ms = apart(*clock, *theirs);
            if skew_ms >= SKEW_MS_MAX {
                found.missing.push(format!(
                    "the clocks of {name} and {other} differ by {skew_ms} ms at least"
                ));
            }
        }
    }
    found
        .notes
        .push(format!("clocks of {} nodes agree", clocks.len()));
    if !alone.is_empty() {
        found
            .notes
            .push(format!("no time server chosen yet by {}", alone.join(", ")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_that_the_network_cannot_explain_counts() {
        let clock = |least, most| Ahead { least, most };
        assert_eq!(apart(clock(0, 200), clock(100, 300)), 0);
        assert_eq!(apart(clock(0, 200), clock(700, 900)), 500);
        assert_eq!(apart(clock(700, 900), clock(0, 200)), 500);
    }
}
