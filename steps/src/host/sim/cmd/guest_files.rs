//! Files inside a virtual machine.

use super::super::inside::{self, Entry};
use super::super::sha256::sha256;
use super::super::state::Draft;
use super::guest_run::Inner;
use super::{Reply, options};

const NO_ENTRY: &str = "No such file or directory";
/// First line of a tape archive; the rest is a JSON list of path and entry.
const TAPE: &str = "tape archive\n";
/// Free on a VM's disk unless `disk/free_bytes` says otherwise.
const FREE_BYTES: u64 = 90 << 30;

pub(super) fn run(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Reply {
    let changes = matches!(
        inner.program,
        "cp" | "rm" | "rmdir" | "mkdir" | "mv" | "tee" | "touch" | "chmod"
    );
    let (_, paths) = options(inner.args, &["-m", "-C"]);
    let outside = |path: &&str| !path.starts_with("/tmp/") && !path.starts_with("/home/");
    if changes && !inner.root && paths.iter().any(outside) {
        return inner.complain(1, "Permission denied");
    }
    match inner.program {
        "cat" => cat(draft, inner, &paths),
        "cp" => copy(draft, inner, &paths),
        "test" | "[" => test(draft, inner),
        "rm" | "rmdir" => remove(draft, inner, &paths),
        "mkdir" => mkdir(draft, inner, &paths),
        "mv" => rename(draft, inner, &paths),
        "tee" => {
            let text = String::from_utf8_lossy(inner.stdin).into_owned();
            for path in paths {
                inside::write(draft, inner.vm(), path, &text);
            }
            Reply::ok(text)
        }
        "touch" => {
            for path in paths {
                if inside::file(draft, inner.vm(), path).is_none() {
                    inside::write(draft, inner.vm(), path, "");
                }
            }
            Reply::ok("")
        }
        "ls" => list(draft, inner, &paths),
        "df" => df(draft, inner),
        "sha256sum" => digest(draft, inner, &paths),
        "grep" => grep(draft, inner),
        "tar" => tar(draft, inner),
        _ => Reply::ok(""),
    }
}

fn cat(draft: &Draft<'_>, inner: &Inner<'_>, paths: &[&str]) -> Reply {
    let mut reply = Reply::ok("");
    if paths.is_empty() {
        reply.stdout = inner.stdin.to_vec();
    }
    for path in paths {
        if let Some(text) = inside::text(draft, inner.vm(), path) {
            reply.stdout.extend_from_slice(text.as_bytes());
        } else {
            reply.code = 1;
            let why = format!("cat: {path}: {NO_ENTRY}\n");
            reply.stderr.extend_from_slice(why.as_bytes());
        }
    }
    reply
}

fn test(draft: &Draft<'_>, inner: &Inner<'_>) -> Reply {
    let words = match inner.args.split_last() {
        Some((last, rest)) if inner.program == "[" && *last == "]" => rest,
        _ => inner.args,
    };
    let entry = |path: &str| inside::file(draft, inner.vm(), path);
    let truth = |words: &[&str]| match words {
        ["-e", path] => Some(entry(path).is_some()),
        ["-f", path] => Some(matches!(entry(path), Some(Entry::Text(_)))),
        ["-d", path] => Some(entry(path) == Some(Entry::Dir)),
        ["-s", path] => Some(matches!(entry(path), Some(Entry::Text(text)) if !text.is_empty())),
        ["-n", text] => Some(!text.is_empty()),
        ["-z", text] => Some(text.is_empty()),
        [left, "=", right] => Some(left == right),
        _ => None,
    };
    let found = match words {
        ["!", rest @ ..] => truth(rest).map(|is| !is),
        words => truth(words),
    };
    match found {
        Some(is) => Reply::fail(i32::from(!is), ""),
        None => inner.complain(2, "syntax error"),
    }
}

fn remove(draft: &mut Draft<'_>, inner: &Inner<'_>, paths: &[&str]) -> Reply {
    let flag = |letter: char| {
        let mut flags = inner.args.iter().take_while(|word| **word != "--");
        flags.any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter))
    };
    let vm = inner.vm();
    for path in paths {
        match inside::file(draft, vm, path) {
            None if flag('f') => {}
            None => return inner.complain(1, &format!("cannot remove '{path}': {NO_ENTRY}")),
            Some(Entry::Dir) if inner.program == "rmdir" || flag('d') => {
                if !inside::below(draft, vm, path).is_empty() {
                    let why = format!("failed to remove '{path}': Directory not empty");
                    return inner.complain(1, &why);
                }
                inside::remove(draft, vm, path);
            }
            Some(Entry::Dir) if !flag('r') => {
                return inner.complain(1, &format!("cannot remove '{path}': Is a directory"));
            }
            Some(_) => inside::remove(draft, vm, path),
        }
        draft.mark_half();
    }
    Reply::ok("")
}

fn mkdir(draft: &mut Draft<'_>, inner: &Inner<'_>, paths: &[&str]) -> Reply {
    let parents = inner.args.contains(&"-p");
    for path in paths {
        match inside::file(draft, inner.vm(), path) {
            Some(Entry::Dir) if parents => {}
            Some(_) => {
                let why = format!("cannot create directory '{path}': File exists");
                return inner.complain(1, &why);
            }
            None => inside::put_file(draft, inner.vm(), path, &Entry::Dir),
        }
    }
    Reply::ok("")
}

fn rename(draft: &mut Draft<'_>, inner: &Inner<'_>, paths: &[&str]) -> Reply {
    let [from, to] = paths else {
        return inner.complain(1, "missing file operand");
    };
    let vm = inner.vm();
    let Some(entry) = inside::file(draft, vm, from) else {
        return inner.complain(1, &format!("cannot stat '{from}': {NO_ENTRY}"));
    };
    let keep = inner
        .args
        .iter()
        .any(|word| *word == "-n" || *word == "--no-clobber" || *word == "-nT" || *word == "-Tn");
    if keep && inside::file(draft, vm, to).is_some() {
        return Reply::ok("");
    }
    for path in inside::below(draft, vm, from) {
        if let Some(entry) = inside::file(draft, vm, &path) {
            let rest = path.strip_prefix(*from).unwrap_or_default();
            inside::put_file(draft, vm, &format!("{to}{rest}"), &entry);
        }
    }
    inside::put_file(draft, vm, to, &entry);
    inside::remove(draft, vm, from);
    Reply::ok("")
}

fn copy(draft: &mut Draft<'_>, inner: &Inner<'_>, paths: &[&str]) -> Reply {
    let [from, to] = paths else {
        return inner.complain(1, "missing file operand");
    };
    let Some(text) = inside::text(draft, inner.vm(), from) else {
        return inner.complain(1, &format!("cannot stat '{from}': {NO_ENTRY}"));
    };
    inside::write(draft, inner.vm(), to, &text);
    Reply::ok("")
}

fn list(draft: &Draft<'_>, inner: &Inner<'_>, paths: &[&str]) -> Reply {
    let path = paths.first().copied().unwrap_or("/home");
    match inside::file(draft, inner.vm(), path) {
        None => inner.complain(2, &format!("cannot access '{path}': {NO_ENTRY}")),
        Some(Entry::Text(_)) => Reply::ok(format!("{path}\n")),
        Some(_) => {
            let all = inside::below(draft, inner.vm(), path);
            let prefix = format!("{}/", path.trim_end_matches('/'));
            let names = all.iter().filter_map(|path| path.strip_prefix(&prefix));
            let names = names.filter(|name| !name.contains('/') && !name.starts_with('.'));
            Reply::ok(names.fold(String::new(), |text, name| text + name + "\n"))
        }
    }
}

/// Bytes that are free on a VM's disk.
pub(super) fn free_bytes(draft: &Draft<'_>, vm: &str) -> u64 {
    let own = inside::get(draft, vm, "disk/free_bytes").and_then(|value| value.as_u64());
    own.unwrap_or(FREE_BYTES)
}

fn df(draft: &Draft<'_>, inner: &Inner<'_>) -> Reply {
    let free = free_bytes(draft, inner.vm());
    Reply::ok(format!("{:>15}\n{free:>15}\n", "Avail"))
}

fn digest(draft: &Draft<'_>, inner: &Inner<'_>, paths: &[&str]) -> Reply {
    let mut reply = Reply::ok("");
    for path in paths {
        if let Some(text) = inside::text(draft, inner.vm(), path) {
            let line = format!("{}  {path}\n", sha256(text.as_bytes()));
            reply.stdout.extend_from_slice(line.as_bytes());
        } else {
            reply.code = 1;
            let why = format!("sha256sum: {path}: {NO_ENTRY}\n");
            reply.stderr.extend_from_slice(why.as_bytes());
        }
    }
    reply
}

/// `grep -rhsE '^(A|B)' PATH…` and `grep -qsF TEXT PATH`.
fn grep(draft: &Draft<'_>, inner: &Inner<'_>) -> Reply {
    let (flags, operands) = options(inner.args, &[]);
    let flag = |letter: char| flags.iter().any(|(flag, _)| flag.contains(letter));
    let Some((pattern, paths)) = operands.split_first() else {
        return inner.complain(2, "usage");
    };
    let starts: Vec<&str> = match pattern.strip_prefix("^(") {
        Some(rest) => rest.trim_end_matches(')').split('|').collect(),
        None => vec![pattern.trim_start_matches('^')],
    };
    let mut found = String::new();
    for path in paths {
        let mut files = vec![(*path).to_owned()];
        if flag('r') {
            files.extend(inside::below(draft, inner.vm(), path));
        }
        for path in files {
            let text = inside::text(draft, inner.vm(), &path).unwrap_or_default();
            for line in text.lines() {
                let anchored = pattern.starts_with('^');
                let hit = |start: &&str| {
                    if anchored {
                        line.starts_with(*start)
                    } else {
                        line.contains(*start)
                    }
                };
                if starts.iter().any(hit) {
                    found = found + line + "\n";
                }
            }
        }
    }
    let code = i32::from(found.is_empty());
    if flag('q') {
        found.clear();
    }
    Reply {
        code,
        ..Reply::ok(found)
    }
}

/// `tar -C DIR -cf ARCHIVE PATH…` and `tar -C DIR -xf ARCHIVE`.
fn tar(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Reply {
    let args: Vec<&str> = inner
        .args
        .iter()
        .copied()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let vm = inner.vm();
    match args.as_slice() {
        ["-C", dir, "-cf", archive, paths @ ..] => {
            let dir = dir.trim_end_matches('/');
            let mut held: Vec<(String, Entry)> = Vec::new();
            for path in paths {
                let full = format!("{dir}/{path}");
                let mut all = vec![full.clone()];
                all.extend(inside::below(draft, vm, &full));
                let entries = all.into_iter().filter_map(|path| {
                    let entry = inside::file(draft, vm, &path)?;
                    Some((path, entry))
                });
                held.extend(entries);
            }
            let text = serde_json::to_string(&held).unwrap_or_default();
            inside::write(draft, vm, archive, &format!("{TAPE}{text}"));
            Reply::ok("").took(40)
        }
        ["-C", _, "-xf", archive] => {
            let text = inside::text(draft, vm, archive).unwrap_or_default();
            let held = text.strip_prefix(TAPE).and_then(|text| {
                serde_json::from_str::<Vec<(String, Entry)>>(text.trim_end()).ok()
            });
            let Some(held) = held else {
                return inner.complain(2, "This does not look like a tar archive");
            };
            for (path, entry) in held {
                inside::put_file(draft, vm, &path, &entry);
                draft.mark_half();
            }
            Reply::ok("").took(40)
        }
        _ => inner.complain(2, "only `-C DIR -cf` and `-C DIR -xf` are simulated"),
    }
}
