//! `gpg --show-keys`: what a public key says about itself.

use super::super::state::Draft;
use super::{Call, Reply, options};

/// How a simulated key tells its fingerprint, its creation and its expiry (0: never), in Unix seconds.
pub(crate) const MARK: &str = "Comment: simulated ";

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, paths) = options(&call.args, &["--homedir", "--trust-model"]);
    let asked = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    if !asked("--show-keys") || !asked("--with-colons") {
        return call.complain(2, "only --show-keys --with-colons is simulated");
    }
    let path = paths.first().copied().unwrap_or("-");
    let Some(text) = call.content(draft, path) else {
        return call.complain(
            2,
            &format!("can't open '{path}': No such file or directory"),
        );
    };
    let mut shown = String::new();
    for Key {
        fingerprint,
        created,
        ends,
    } in keys(&text)
    {
        let (validity, end) = (
            if over(ends, draft.wall_ms()) {
                "e"
            } else {
                "-"
            },
            if ends == "0" { "" } else { ends },
        );
        let id = fingerprint.get(24..).unwrap_or_default();
        let lines = format!(
            "pub:{validity}:4096:1:{id}:{created}:{end}::-:::scSC::::::23::0:\nfpr:::::::::{fingerprint}:\nuid:{validity}::::{created}::0::Simulated repository::::::::::0:\n"
        );
        shown.push_str(&lines);
    }
    if shown.is_empty() {
        return call.complain(2, "no valid OpenPGP data found.");
    }
    Reply::ok(shown).took(10)
}

/// What a simulated key tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key<'a> {
    fingerprint: &'a str,
    created: &'a str,
    ends: &'a str,
}

fn keys(text: &str) -> impl Iterator<Item = Key<'_>> {
    let marked = text.lines().filter_map(|line| line.strip_prefix(MARK));
    marked.filter_map(|key| {
        let mut words = key.split(' ');
        let (fingerprint, created, ends) = (words.next()?, words.next()?, words.next()?);
        Some(Key {
            fingerprint,
            created,
            ends,
        })
    })
}

fn over(ends: &str, now_ms: u64) -> bool {
    let ends_s: u64 = ends.parse().unwrap_or_default();
    ends_s != 0 && ends_s <= now_ms / 1_000
}

/// The fingerprint of a simulated key's text, and whether the key has expired by now.
pub(super) fn state(text: &str, now_ms: u64) -> Option<(&str, bool)> {
    let key = keys(text).next()?;
    Some((key.fingerprint, over(key.ends, now_ms)))
}
