//! A model of a disk: what programs see of it, and what of that a power cut would leave.

use std::collections::BTreeMap;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survival {
    Strict,
    Names,
    Some(u64),
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
    AtLeast(usize),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    pub(crate) durable: Vec<u8>,
    pub(crate) pending: Vec<Change>,
    pub(crate) length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Dir(usize),
    File(usize),
}

pub(crate) type Names = BTreeMap<String, Node>;

/// A disk: what is there, and what is durable of it. Directory 0 is the state directory.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) files: Vec<File>,
    pub(crate) dirs: Vec<Names>,
    pub(crate) durable_dirs: Vec<Names>,
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
    pub(crate) fn load(path: &Path) -> Self {
        let mut disk = Self::default();
        disk.load_dir(path);
        disk.durable_dirs.clone_from(&disk.dirs);
        disk
    }

    pub(crate) fn load_dir(&mut self, path: &Path) -> usize {
        let dir = self.dirs.len();
        self.dirs.push(Names::new());
        for entry in std::fs::read_dir(path).expect("list") {
            let entry = entry.expect("entry");
            let node = if entry.file_type().expect("type").is_dir() {
                Node::Dir(self.load_dir(&entry.path()))
            } else {
                let durable = std::fs::read(entry.path()).expect("read");
                let length = durable.len();
                self.files.push(File {
                    durable,
                    pending: Vec::new(),
                    length,
                });
                Node::File(self.files.len() - 1)
            };
            self.dirs[dir].insert(entry.file_name().to_string_lossy().into_owned(), node);
        }
        dir
    }

    /// The directory that holds `path`'s last name, and that name.
    pub(crate) fn parent<'p>(&self, path: &'p str) -> Option<(usize, &'p str)> {
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

    pub(crate) fn node(&self, path: &str) -> Option<Node> {
        if path.is_empty() {
            return Some(Node::Dir(0));
        }
        let (dir, name) = self.parent(path)?;
        self.dirs[dir].get(name).copied()
    }

    pub(crate) fn file(&mut self, path: &str) -> Option<&mut File> {
        match self.node(path)? {
            Node::File(file) => Some(&mut self.files[file]),
            Node::Dir(_) => None,
        }
    }

    pub(crate) fn create(&mut self, path: &str, node: impl FnOnce(&mut Self) -> Node) {
        let (dir, name) = self
            .parent(path)
            .unwrap_or_else(|| panic!("no directory for {path}"));
        let node = node(self);
        self.dirs[dir].insert(name.to_owned(), node);
    }

    pub(crate) fn remove(&mut self, path: &str) -> Option<Node> {
        let (dir, name) = self.parent(path)?;
        self.dirs[dir].remove(name)
    }

    /// A sync that began when `covered` changes were pending.
    pub(crate) fn sync(&mut self, node: Node, covered: usize) {
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

    pub(crate) fn build(&self, dir: usize, to: &Path, survival: Survival, dice: &mut Dice) {
        std::fs::create_dir_all(to).expect("create");
        let names = if survival == Survival::Strict {
            &self.durable_dirs[dir]
        } else {
            &self.dirs[dir]
        };
        for (name, node) in names {
            let path = to.join(name);
            match node {
                Node::Dir(inner) => self.build(*inner, &path, survival, dice),
                Node::File(file) => {
                    let file = &self.files[*file];
                    let mut bytes = file.durable.clone();
                    if matches!(survival, Survival::Some(_)) {
                        file.pending
                            .iter()
                            .filter(|_| dice.heads())
                            .for_each(|change| apply(&mut bytes, change));
                    }
                    std::fs::write(path, bytes).expect("write");
                }
            }
        }
    }
}

/// Coins from a seed: splitmix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn heads(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 0
    }
}
