//! Power cuts, modelled: a child's system calls are recorded, and for every one of them the disk is rebuilt as a power cut
//! right after it could leave it. Every rebuilt journal must open and hold everything acknowledged by then.
//!
//! The model, per file and per directory: what a sync covered survives. What no sync covered
//! * is lost, names included (`Strict`);
//! * is lost, but names survive, as file systems that journal their metadata do it (`Names`);
//! * survives or not, each write by itself, decided by a printed seed (`Some`).

use std::collections::BTreeMap;
use std::path::Path;

use wiab_journal::Journal;

use crate::common::{all, batch, copy_tree, options, run, scratch};
use crate::crash::strace;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survival {
    Strict,
    Names,
    Some(u64),
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
    AtLeast(usize),
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir(usize),
    File(usize),
}

type Names = BTreeMap<String, Node>;

/// A disk: what is there, and what is durable of it. Directory 0 is the state directory.
#[derive(Debug, Default)]
struct Disk {
    files: Vec<File>,
    dirs: Vec<Names>,
    durable_dirs: Vec<Names>,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
        Change::Length(length) => bytes.resize(*length, 0),
        Change::AtLeast(length) => bytes.resize(bytes.len().max(*length), 0),
    }
}

impl Disk {
    fn load(path: &Path) -> Self {
        let mut disk = Self::default();
        disk.load_dir(path);
        disk.durable_dirs.clone_from(&disk.dirs);
        disk
    }

    fn load_dir(&mut self, path: &Path) -> usize {
        let dir = self.dirs.len();
        self.dirs.push(Names::new());
        for entry in std::fs::read_dir(path).expect("list") {
            let entry = entry.expect("entry");
            let node = if entry.file_type().expect("type").is_dir() {
                Node::Dir(self.load_dir(&entry.path()))
            } else {
                let durable = std::fs::read(entry.path()).expect("read");
                let length = durable.len();
                self.files.push(File { durable, pending: Vec::new(), length });
                Node::File(self.files.len() - 1)
            };
            self.dirs[dir].insert(entry.file_name().to_string_lossy().into_owned(), node);
        }
        dir
    }

    /// The directory that holds `path`'s last name, and that name.
    fn parent<'p>(&self, path: &'p str) -> Option<(usize, &'p str)> {
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = 0;
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            match self.dirs[dir].get(part)? {
                Node::Dir(inner) => dir = *inner,
                Node::File(_) => return None,
            }
        }
        Some((dir, name))
    }

    fn node(&self, path: &str) -> Option<Node> {
        if path.is_empty() {
            return Some(Node::Dir(0));
        }
        let (dir, name) = self.parent(path)?;
        self.dirs[dir].get(name).copied()
    }

    fn file(&mut self, path: &str) -> Option<&mut File> {
        match self.node(path)? {
            Node::File(file) => Some(&mut self.files[file]),
            Node::Dir(_) => None,
        }
    }

    fn create(&mut self, path: &str, node: impl FnOnce(&mut Self) -> Node) {
        let (dir, name) = self.parent(path).unwrap_or_else(|| panic!("no directory for {path}"));
        let node = node(self);
        self.dirs[dir].insert(name.to_owned(), node);
    }

    fn remove(&mut self, path: &str) -> Option<Node> {
        let (dir, name) = self.parent(path)?;
        self.dirs[dir].remove(name)
    }

    /// A sync that began when `covered` changes were pending.
    fn sync(&mut self, node: Node, covered: usize) {
        match node {
            Node::Dir(dir) => self.durable_dirs[dir] = self.dirs[dir].clone(),
            Node::File(file) => {
                let file = &mut self.files[file];
                for change in file.pending.drain(..covered.min(file.pending.len())) {
                    apply(&mut file.durable, &change);
                }
            }
        }
    }

    fn build(&self, dir: usize, to: &Path, survival: Survival, dice: &mut Dice) {
        std::fs::create_dir_all(to).expect("create");
        let names = if survival == Survival::Strict { &self.durable_dirs[dir] } else { &self.dirs[dir] };
        for (name, node) in names {
            let path = to.join(name);
            match node {
                Node::Dir(inner) => self.build(*inner, &path, survival, dice),
                Node::File(file) => {
                    let file = &self.files[*file];
                    let mut bytes = file.durable.clone();
                    if matches!(survival, Survival::Some(_)) {
                        file.pending.iter().filter(|_| dice.heads()).for_each(|change| apply(&mut bytes, change));
                    }
                    std::fs::write(path, bytes).expect("write");
                }
            }
        }
    }
}

/// Coins from a seed: splitmix64.
struct Dice(u64);

impl Dice {
    fn heads(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 0
    }
}

/// A recorded call: its name, arguments and result.
struct Call<'l> {
    name: &'l str,
    arguments: Vec<String>,
    result: i64,
}

/// Splits arguments at top-level commas and decodes strings.
fn arguments(text: &str) -> Vec<String> {
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

fn call(text: &str) -> Option<Call<'_>> {
    let (name, rest) = text.split_once('(')?;
    let (inside, result) = rest.rsplit_once(" = ")?;
    let inside = inside.trim_end().strip_suffix(')')?;
    let digits = result.split(|char: char| !char.is_ascii_digit() && char != '-').next()?;
    Some(Call { name, arguments: arguments(inside), result: digits.parse().ok()? })
}

/// The path of `3</path>` relative to the state directory.
fn below<'a>(argument: &'a str, here: &str) -> Option<&'a str> {
    let path = argument.split_once('<').map_or(argument, |(_, path)| path.trim_end_matches('>'));
    let rest = path.strip_prefix(here)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

fn bytes(argument: &str) -> Vec<u8> {
    argument.chars().map(|char| u8::try_from(u32::from(char)).expect("byte")).collect()
}

fn number(argument: &str) -> usize {
    argument.parse().unwrap_or_else(|_| panic!("a number: {argument}"))
}

/// Changes the disk as the call did; returns what was acknowledged with it.
fn perform(disk: &mut Disk, call: &Call<'_>, here: &str, covered: Option<usize>) -> Option<u64> {
    let argument = |at: usize| call.arguments.get(at).map(String::as_str).unwrap_or_default();
    if call.result < 0 {
        return None;
    }
    if call.name == "write" && argument(0).starts_with("1<") {
        let text = argument(1);
        let said = text.trim().strip_prefix("ack ").or_else(|| text.trim().strip_prefix("opened "))?;
        return said.parse().ok();
    }
    let at = usize::from(matches!(call.name, "openat"));
    let path = below(argument(at), here)?;
    match call.name {
        "openat" if argument(2).contains("O_CREAT") && disk.node(path).is_none() => {
            disk.create(path, |disk| {
                disk.files.push(File::default());
                Node::File(disk.files.len() - 1)
            });
        }
        "openat" if argument(2).contains("O_TRUNC") => {
            let file = disk.file(path).expect("file");
            file.pending.push(Change::Length(0));
            file.length = 0;
        }
        "mkdir" => disk.create(path, |disk| {
            disk.dirs.push(Names::new());
            disk.durable_dirs.push(Names::new());
            Node::Dir(disk.dirs.len() - 1)
        }),
        "write" => {
            let file = disk.file(path).unwrap_or_else(|| panic!("no file {path}"));
            // Everything written with `write` is written at the end; the lock file is emptied before.
            file.pending.push(Change::Write(file.length, bytes(argument(1))));
            file.length += bytes(argument(1)).len();
        }
        "pwrite64" => {
            let file = disk.file(path).unwrap_or_else(|| panic!("no file {path}"));
            let (data, at) = (bytes(argument(1)), number(argument(3)));
            file.length = file.length.max(at + data.len());
            file.pending.push(Change::Write(at, data));
        }
        "ftruncate" => {
            let file = disk.file(path).unwrap_or_else(|| panic!("no file {path}"));
            file.length = number(argument(1));
            file.pending.push(Change::Length(file.length));
        }
        "fallocate" => {
            let file = disk.file(path).unwrap_or_else(|| panic!("no file {path}"));
            let end = number(argument(2)) + number(argument(3));
            file.length = file.length.max(end);
            file.pending.push(Change::AtLeast(end));
        }
        "rename" => {
            let to = below(argument(1), here).expect("within");
            let node = disk.remove(path).expect("renamed");
            disk.create(to, |_| node);
        }
        "unlink" => {
            disk.remove(path);
        }
        "fsync" | "fdatasync" => {
            let node = disk.node(path).unwrap_or_else(|| panic!("no {path}"));
            disk.sync(node, covered.unwrap_or(usize::MAX));
        }
        _ => {}
    }
    None
}

/// Changes pending where a sync begins.
fn pending(disk: &Disk, text: &str, here: &str) -> Option<usize> {
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

/// Cuts the power after every call of a child that starts from `start`; returns the number of disks tried.
fn cut_everywhere(start: &Path, large: bool) -> usize {
    let dir = scratch();
    copy_tree(start, dir.path());
    let mut disk = Disk::load(dir.path());
    let log = dir.path().with_extension("strace");
    let calls = "trace=openat,mkdir,write,pwrite64,ftruncate,fallocate,rename,unlink,unlinkat,fsync,fdatasync";
    let flags = ["-xx", "-y", "-s", "2000000", "-e", calls, "-o", &log.display().to_string()].map(str::to_owned);
    let mut arguments = flags.to_vec();
    if large {
        arguments.extend(["-E".to_owned(), "WIAB_JOURNAL_LARGE=1".to_owned()]);
    }
    assert!(strace(dir.path(), &arguments).finished);
    let log = std::fs::read_to_string(log).expect("log");
    let here = dir.path().display().to_string();
    let mut begun: BTreeMap<String, (String, Option<usize>)> = BTreeMap::new();
    let (mut acknowledged, mut disks) = (0, 0);
    for line in log.lines() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        let (whole, covered) = if let Some(beginning) = text.strip_suffix("<unfinished ...>") {
            let covered = pending(&disk, beginning, &here);
            begun.insert(thread.to_owned(), (beginning.to_owned(), covered));
            continue;
        } else if let Some(end) = text.strip_prefix("<... ") {
            let (beginning, covered) = begun.remove(thread).expect("begun");
            (format!("{beginning}{}", end.split_once("resumed>").expect("resumed").1), covered)
        } else {
            (text.to_owned(), None)
        };
        let Some(call) = call(&whole) else { continue };
        let touches = call.arguments.iter().take(2).any(|argument| below(argument, &here).is_some());
        acknowledged = perform(&mut disk, &call, &here, covered).unwrap_or(acknowledged);
        if !touches || (call.name == "openat" && !call.arguments.iter().any(|flags| flags.contains("O_CREAT"))) {
            continue;
        }
        for survival in [Survival::Strict, Survival::Names, Survival::Some(disks as u64)] {
            let cut = scratch();
            disk.build(0, cut.path(), survival, &mut Dice(disks as u64));
            holds(cut.path(), acknowledged, &format!("{survival:?} cut after {} {}", call.name, call.arguments[0]));
            disks += 1;
        }
    }
    assert!(acknowledged > 8, "the child acknowledged nothing");
    disks
}

fn holds(dir: &Path, acknowledged: u64, context: &str) {
    let journal = Journal::open(dir, options()).unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
    let kept = all(&journal).len() as u64;
    assert!(kept >= acknowledged, "{context}: {acknowledged} acknowledged, {kept} kept");
    journal.append(batch(run(3), "after", 1)).unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
    journal.close().unwrap_or_else(|error| panic!("{context}: {}", error.chain()));
}

#[test]
fn power_cut_at_every_call_of_creating_and_appending() {
    let disks = cut_everywhere(scratch().path(), false);
    println!("{disks} disks after a power cut, 0 events lost");
}

#[test]
fn power_cut_at_every_call_of_reopening_and_appending() {
    let start = scratch();
    let journal = Journal::open(start.path(), options()).expect("open");
    journal.append(batch(run(1), "before", 3)).expect("append");
    journal.close().expect("close");
    let disks = cut_everywhere(start.path(), false);
    println!("{disks} disks after a power cut, 0 events lost");
}

#[test]
fn power_cut_at_every_call_across_segments() {
    let disks = cut_everywhere(scratch().path(), true);
    println!("{disks} disks after a power cut, 0 events lost");
}
