//! `tar`: one member of an archive to standard output.

use super::super::archive;
use super::super::files;
use super::super::state::Draft;
use super::{Call, Reply};

/// Largest archive that is looked into, in bytes.
const ARCHIVE_BYTES_MAX: u64 = 64 << 20;

/// What finding a member of a large archive takes.
const SEEK_MS: u64 = 4_000;

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    match call.args.as_slice() {
        ["-xOf", archive, member] | ["-xOf", archive, "--", member] => {
            show(draft, call, archive, member)
        }
        _ => call.complain(2, "these options are not simulated"),
    }
}

fn show(draft: &Draft<'_>, call: &Call<'_>, path: &str, member: &str) -> Reply {
    let Some(file) = files::at(draft, &call.path(draft, path)) else {
        return call.complain(
            2,
            &format!("{path}: Cannot open: No such file or directory"),
        );
    };
    let bytes = file.data.bytes(ARCHIVE_BYTES_MAX).unwrap_or_default();
    let Some(members) = archive::unpack(&bytes) else {
        return call.complain(2, "This does not look like a tar archive");
    };
    match members.into_iter().find(|(name, _)| name == member) {
        Some((_, content)) => Reply::bytes(content).took(SEEK_MS),
        None => call
            .complain(2, &format!("{member}: Not found in archive"))
            .took(SEEK_MS),
    }
}
