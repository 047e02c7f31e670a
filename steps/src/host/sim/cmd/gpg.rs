//! `gpg --show-keys`: what a public key says about itself.

use super::super::state::Draft;
use super::{Call, Reply, options};

/// How a simulated key tells its fingerprint, its creation and its expiry (0: never), in Unix seconds.
const MARK: &str = "Comment: simulated ";

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
    let now_s = draft.wall_ms() / 1_000;
    let mut shown = String::new();
    for key in text.lines().filter_map(|line| line.strip_prefix(MARK)) {
        let words: Vec<&str> = key.split(' ').collect();
        let [fingerprint, created, ends] = words.as_slice() else {
            continue;
        };
        let ends_s: u64 = ends.parse().unwrap_or_default();
        let over = ends_s != 0 && ends_s <= now_s;
        let (validity, end) = (
            if over { "e" } else { "-" },
            if ends_s == 0 { "" } else { *ends },
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
