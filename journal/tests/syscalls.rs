//! System calls as `strace -f -xx -y` records them, and what they do to the modelled disk.

use std::collections::BTreeMap;

use crate::disk::{Change, Disk, File, Node};

/// A recorded call: its name, arguments and result.
pub(crate) struct Call<'l> {
    pub(crate) name: &'l str,
    pub(crate) arguments: Vec<String>,
    pub(crate) result: i64,
}

impl Call<'_> {
    pub(crate) fn argument(&self, at: usize) -> &str {
        self.arguments
            .get(at)
            .map(String::as_str)
            .unwrap_or_default()
    }
}

/// Splits arguments at top-level commas and decodes strings.
pub(crate) fn arguments(text: &str) -> Vec<String> {
    let (mut list, mut current, mut quoted, mut depth) = (Vec::new(), String::new(), false, 0);
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        match char {
            '"' => quoted = !quoted,
            '\\' => {
                assert_eq!(rest.next(), Some('x'), "strings are hexadecimal");
                let digits: String = rest.by_ref().take(2).collect();
                current.push(char::from(u8::from_str_radix(&digits, 16).expect("digits")));
            }
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => list.push(std::mem::take(&mut current)),
            ' ' if !quoted => {}
            other => current.push(other),
        }
    }
    list.push(current);
    list
}

pub(crate) fn call(text: &str) -> Option<Call<'_>> {
    let (name, rest) = text.split_once('(')?;
    let (inside, result) = rest.rsplit_once(" = ")?;
    let inside = inside.trim_end().strip_suffix(')')?;
    let digits = result
        .split(|char: char| !char.is_ascii_digit() && char != '-')
        .next()?;
    Some(Call {
        name,
        arguments: arguments(inside),
        result: digits.parse().ok()?,
    })
}

/// The path of `3</path>` relative to the state directory.
pub(crate) fn below<'a>(argument: &'a str, here: &str) -> Option<&'a str> {
    let path = argument
        .split_once('<')
        .map_or(argument, |(_, path)| path.trim_end_matches('>'));
    let rest = path.strip_prefix(here)?;
    if rest.is_empty() {
        Some("")
    } else {
        rest.strip_prefix('/')
    }
}

pub(crate) fn bytes(argument: &str) -> Vec<u8> {
    argument
        .chars()
        .map(|char| u8::try_from(u32::from(char)).expect("byte"))
        .collect()
}

/// Performs a call on the disk; returns what was acknowledged with it.
pub(crate) fn perform(
    disk: &mut Disk,
    call: &Call<'_>,
    here: &str,
    covered: Option<usize>,
) -> Option<u64> {
    if call.result < 0 {
        return None;
    }
    if call.name == "write" && call.argument(0).starts_with("1<") {
        let text = call.argument(1).trim();
        let said = text
            .strip_prefix("ack ")
            .or_else(|| text.strip_prefix("opened "))?;
        return said.parse().ok();
    }
    let path = below(call.argument(usize::from(call.name == "openat")), here)?;
    match call.name {
        "write" | "pwrite64" | "ftruncate" | "fallocate" => {
            let file = disk.file(path).unwrap_or_else(|| panic!("no file {path}"));
            change(file, call);
        }
        "fsync" | "fdatasync" => {
            let node = disk.node(path).unwrap_or_else(|| panic!("no {path}"));
            disk.sync(node, covered.unwrap_or(usize::MAX));
        }
        _ => change_names(disk, call, path, here),
    }
    None
}

/// Calls that change a file.
fn change(file: &mut File, call: &Call<'_>) {
    let number = |at: usize| -> usize { call.argument(at).parse().expect("a number") };
    let change = match call.name {
        // Everything written with `write` is written at the end; the lock file is emptied before.
        "write" => Change::Write(file.length, bytes(call.argument(1))),
        "pwrite64" => Change::Write(number(3), bytes(call.argument(1))),
        "ftruncate" => Change::Length(number(1)),
        _ => Change::AtLeast(number(2) + number(3)),
    };
    file.length = match &change {
        Change::Write(at, data) => file.length.max(at + data.len()),
        Change::Length(length) => *length,
        Change::AtLeast(length) => file.length.max(*length),
    };
    file.pending.push(change);
}

/// Calls that change names.
fn change_names(disk: &mut Disk, call: &Call<'_>, path: &str, here: &str) {
    match call.name {
        "openat" if call.argument(2).contains("O_CREAT") && disk.node(path).is_none() => {
            disk.create(path, |disk| {
                disk.files.push(File::default());
                Node::File(disk.files.len() - 1)
            });
        }
        "openat" if call.argument(2).contains("O_TRUNC") => {
            let file = disk.file(path).expect("file");
            file.pending.push(Change::Length(0));
            file.length = 0;
        }
        "mkdir" => disk.create(path, |disk| {
            disk.dirs.push(BTreeMap::new());
            disk.durable_dirs.push(BTreeMap::new());
            Node::Dir(disk.dirs.len() - 1)
        }),
        "rename" => {
            let to = below(call.argument(1), here).expect("within");
            let node = disk.remove(path).expect("renamed");
            disk.create(to, |_| node);
        }
        "unlink" => {
            disk.remove(path);
        }
        _ => {}
    }
}

/// Changes pending where a sync begins.
pub(crate) fn pending(disk: &Disk, text: &str, here: &str) -> Option<usize> {
    let (name, rest) = text.split_once('(')?;
    if !name.ends_with("sync") {
        return None;
    }
    let list = arguments(rest.trim_end().trim_end_matches(')'));
    match disk.node(below(list.first()?, here)?)? {
        Node::File(file) => Some(disk.files[file].pending.len()),
        Node::Dir(_) => None,
    }
}
