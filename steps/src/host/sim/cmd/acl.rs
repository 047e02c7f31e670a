//! Access control lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::entity::{File, User};
use super::super::files::{self, NO_ENTRY};
use super::super::state::Draft;
use super::{Call, QUICK_MS, Reply, option, options};

const GROUP: &str = "group:";
const MASK: &str = "mask:";

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    match call.program {
        "getfacl" => show(draft, call),
        _ => set(draft, call),
    }
    .took(QUICK_MS)
}

/// Three permission bits as text.
fn rights(bits: u32) -> String {
    let letters = [(4, 'r'), (2, 'w'), (1, 'x')];
    letters
        .map(|(bit, letter)| if bits & bit == 0 { '-' } else { letter })
        .iter()
        .collect()
}

fn bits(rights: &str) -> u32 {
    let bit = |letter, bit| if rights.contains(letter) { bit } else { 0 };
    bit('r', 4) | bit('w', 2) | bit('x', 1)
}

fn show(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let mut text = String::new();
    for path in options(&call.args, &[]).1 {
        let full = call.path(draft, path);
        let Some(file) = files::at(draft, &full) else {
            return call.complain(1, &format!("{path}: {NO_ENTRY}"));
        };
        let _ = writeln!(text, "user::{}", rights(file.mode >> 6));
        let acl = file.acl.unwrap_or_default();
        let named = |kind: &str| {
            let entries = acl
                .iter()
                .filter(|(who, _)| who.starts_with(kind) && *who != GROUP);
            entries.fold(String::new(), |text, (who, rights)| {
                format!("{text}{who}:{rights}\n")
            })
        };
        text.push_str(&named("user:"));
        let group = acl.get(GROUP).cloned();
        let group = group.unwrap_or_else(|| rights(file.mode >> 3));
        let _ = writeln!(text, "group::{group}");
        text.push_str(&named("group:"));
        if let Some(mask) = acl.get(MASK) {
            let _ = writeln!(text, "mask::{mask}");
        }
        let _ = write!(text, "other::{}\n\n", rights(file.mode));
    }
    Reply::ok(text)
}

/// `u:NAME:x` as key and rights; `None` for what is not simulated, or a user that does not exist.
fn entry(draft: &Draft<'_>, text: &str) -> Option<(String, String)> {
    let mut parts = text.split(':');
    let (kind, name) = (parts.next()?, parts.next()?);
    let given = rights(bits(parts.next().unwrap_or_default()));
    match kind {
        "u" | "user" if draft.has::<User>(name) => Some((format!("user:{name}"), given)),
        "m" | "mask" if name.is_empty() => Some((MASK.to_owned(), given)),
        _ => None,
    }
}

fn set(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, paths) = options(&call.args, &["-m", "-x"]);
    let flag = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    for path in paths {
        let full = call.path(draft, path);
        let Some(mut file) = files::at(draft, &full) else {
            return call.complain(1, &format!("{path}: {NO_ENTRY}"));
        };
        if !call.root
            && !file
                .owner
                .starts_with(&format!("{}:", files::user_of(draft)))
        {
            return call.complain(1, &format!("{path}: Operation not permitted"));
        }
        let mut acl = file
            .acl
            .take()
            .unwrap_or_else(|| BTreeMap::from([(GROUP.to_owned(), rights(file.mode >> 3))]));
        let own = acl.get(GROUP).map_or(0, |rights| bits(rights));
        if flag("-b") {
            file.mode = file.mode & !0o070 | own << 3;
            draft.put(&full, &file);
            continue;
        }
        let change = option(&flags, &["-m", "-x"]).unwrap_or_default();
        let Some((who, given)) = entry(draft, change) else {
            return call.complain(2, "Option -m: Invalid argument near character 3");
        };
        if flag("-x") {
            acl.remove(&who);
        } else {
            acl.insert(who, given);
        }
        if !flag("-n") || !acl.contains_key(MASK) {
            let all = acl.iter().filter(|(who, _)| *who != MASK);
            let union = all.fold(0, |all, (_, rights)| all | bits(rights));
            acl.insert(MASK.to_owned(), rights(union));
        }
        let mask = acl.get(MASK).map_or(0, |rights| bits(rights));
        file.mode = file.mode & !0o070 | mask << 3;
        file.acl = Some(acl);
        draft.put(&full, &file);
    }
    Reply::ok("")
}

impl File {
    /// The same with a further entry `u:NAME:RIGHTS` in its list, and that mask.
    pub(crate) fn with_entry(mut self, name: &str, given: &str, mask: &str) -> Self {
        let group = rights(self.mode >> 3);
        let acl = self.acl.get_or_insert_default();
        acl.entry(GROUP.to_owned()).or_insert(group);
        acl.insert(format!("user:{name}"), given.to_owned());
        acl.insert(MASK.to_owned(), mask.to_owned());
        self.mode = self.mode & !0o070 | bits(mask) << 3;
        self
    }
}
