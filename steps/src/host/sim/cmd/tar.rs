//! `tar`: listing and unpacking of the archives of releases.

use super::super::archive;
use super::super::artifact::Member;
use super::super::entity::{Data, File};
use super::super::files::{self, NO_ENTRY};
use super::super::state::Draft;
use super::{Call, Reply, option, options};

/// What is unpacked in a millisecond, and what is read in passing.
const UNPACKED_PER_MS: u64 = 44_000;
const READ_PER_MS: u64 = 1_500_000;
const GUNZIPPED_PER_MS: u64 = 400_000;
/// The last member that an interrupted unpacking leaves.
const HALFWAY: &str = "containers-helm.tar";
/// Output beyond this is not simulated.
const SHOWN_BYTES_MAX: u64 = 1 << 20;

struct Wanted<'a> {
    letters: String,
    archive: &'a str,
    dir: Option<&'a str>,
    members: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn of(call: &Call<'a>) -> Option<Self> {
        let mut letters = String::new();
        let mut args: Vec<&str> = Vec::new();
        for (at, word) in call.args.iter().enumerate() {
            let cluster = word.strip_prefix('-').or((at == 0).then_some(word));
            match cluster {
                Some(cluster)
                    if !cluster.starts_with('-') && *word != "-C" && !cluster.is_empty() =>
                {
                    letters.push_str(cluster);
                    args.extend(cluster.ends_with('f').then_some("-f"));
                }
                _ => args.push(word),
            }
        }
        let (found, members) = options(&args, &["-f", "-C"]);
        Some(Self {
            archive: option(&found, &["-f"])?,
            dir: option(&found, &["-C"]),
            letters,
            members,
        })
    }

    fn has(&self, letter: char) -> bool {
        self.letters.contains(letter)
    }

    fn picks(&self, member: &Member) -> bool {
        let path = member.path.trim_end_matches('/');
        self.members.is_empty()
            || self.members.iter().any(|wanted| {
                let wanted = wanted.trim_end_matches('/');
                path.strip_prefix(wanted)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let Some(wanted) = Wanted::of(call) else {
        return call.complain(2, "only archives in files are simulated");
    };
    let path = wanted.archive;
    let Some(file) = files::at(draft, &call.path(draft, path)) else {
        return call.complain(2, &format!("{path}: Cannot open: {NO_ENTRY}"));
    };
    let Some(mut members) = archive::members(&file.data) else {
        return call.complain(2, "This does not look like a tar archive");
    };
    let whole = keep_whole(&mut members, &file.data);
    let per_ms = if wanted.has('z') {
        GUNZIPPED_PER_MS
    } else {
        READ_PER_MS
    };
    let read_ms = file.data.len() / per_ms;
    members.retain(|member| wanted.picks(member));
    let mut reply = if wanted.has('t') {
        Reply::ok(names(&members)).took(read_ms)
    } else if wanted.has('O') {
        shown(&members).took(read_ms)
    } else if wanted.has('x') {
        extract(draft, call, &wanted, &members)
    } else {
        return call.complain(2, "only -t and -x are simulated");
    };
    for name in &wanted.members {
        if reply.code == 0 && members.is_empty() {
            let text = format!("tar: {name}: Not found in archive\n");
            reply.stderr.extend_from_slice(text.as_bytes());
            reply.code = 2;
        }
    }
    if !whole && reply.code == 0 {
        reply
            .stderr
            .extend_from_slice(b"tar: Unexpected EOF in archive\n");
        reply.code = 2;
    }
    reply
}

/// Drops the members that a truncated archive does not reach; answers whether it is whole.
fn keep_whole(members: &mut Vec<Member>, data: &Data) -> bool {
    let Data::Blob { len, whole, .. } = data else {
        return true;
    };
    if len == whole {
        return true;
    }
    let mut seen = 0;
    members.retain(|member| {
        seen += member.data.len();
        seen <= *len
    });
    false
}

fn names(members: &[Member]) -> String {
    let lines = members.iter().map(|member| member.path.clone() + "\n");
    lines.collect()
}

fn shown(members: &[Member]) -> Reply {
    let all = members.iter().filter(|member| !member.is_dir());
    let bytes = all.map(|member| member.data.bytes(SHOWN_BYTES_MAX).unwrap_or_default());
    Reply::bytes(bytes.collect::<Vec<_>>().concat())
}

fn extract(
    draft: &mut Draft<'_>,
    call: &Call<'_>,
    wanted: &Wanted<'_>,
    members: &[Member],
) -> Reply {
    let dir = call.path(draft, wanted.dir.unwrap_or("."));
    if !files::at(draft, &dir).is_some_and(|file| file.dir) {
        return call.complain(
            2,
            &format!("{}: Cannot open: {NO_ENTRY}", wanted.dir.unwrap_or(".")),
        );
    }
    let owner = files::actor(draft, call.root);
    let mut bytes = 0;
    for member in members {
        let path = format!(
            "{}/{}",
            dir.trim_end_matches('/'),
            member.path.trim_end_matches('/')
        );
        if let Some(why) = files::refuses(draft, &path, call.root) {
            return call.complain(2, &format!("{}: Cannot open: {why}", member.path));
        }
        if member.is_dir() {
            if files::at(draft, &path).is_none() {
                draft.put(&path, &File::dir(member.mode, &owner));
            }
            continue;
        }
        bytes += member.data.len();
        let mut file = File::new(b"", member.mode, &owner);
        file.data = member.data.clone();
        draft.put(&path, &file);
        if member.path == HALFWAY {
            draft.mark_half();
        }
    }
    let text = if wanted.has('v') {
        names(members)
    } else {
        String::new()
    };
    Reply::ok(text).took(20 + bytes / UNPACKED_PER_MS)
}
