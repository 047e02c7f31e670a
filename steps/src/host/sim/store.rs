//! The machine's directory: a snapshot, and a log of changes with one `write` per operation.
//!
//! `machine.json` is the snapshot, `changes.jsonl` the log. Both name a generation; a log of another generation than the
//! snapshot's is older than it and ignored. A torn last line is cut off. Nothing is synced: the simulated machine shall
//! survive a killed process, not a power cut of the real machine.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state::{Change, Machine};

/// Bytes of log after which it is folded into a new snapshot.
const LOG_BYTES_MAX: u64 = 32 << 20;

/// Why a simulated machine cannot be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A file cannot be read or written.
    #[error("the simulated machine's files cannot be used")]
    Io(#[from] std::io::Error),
    /// A file is not what this module wrote.
    #[error("{path} is damaged: {why}; remove the directory to begin with a fresh machine")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    generation: u64,
    machine: Machine,
}

#[derive(Serialize, Deserialize)]
struct Header {
    generation: u64,
}

#[derive(Serialize, Deserialize)]
struct Line<C> {
    #[serde(rename = "t")]
    now_ms: u64,
    #[serde(rename = "c")]
    changes: C,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    generation: u64,
    log: fs_err::File,
    /// Length of the log without a torn end.
    log_bytes: u64,
    /// The log's end is not known to be whole: nothing more is written.
    broken: bool,
    buffer: Vec<u8>,
    lock: fs_err::File,
}

impl Drop for Store {
    fn drop(&mut self) {
        // By name, not by closing: a child that another thread is just starting may hold a copy of the descriptor for a
        // moment, and the lock would outlive its owner. Where unlocking fails, closing is still to come.
        let _ = rustix::fs::flock(self.lock.file(), rustix::fs::FlockOperation::Unlock);
    }
}

/// What `open` finds.
pub(crate) enum Opened {
    /// The only opener; may change it.
    Owner(Machine, Store),
    /// Another process owns it; this is a copy to look at.
    Copy(Machine),
}

impl Store {
    /// Opens or makes the machine in `dir`.
    pub(crate) fn open(dir: &Path, fresh: impl FnOnce() -> Machine) -> Result<Opened, SimError> {
        fs_err::create_dir_all(dir)?;
        let lock = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))?;
        let owner = rustix::fs::flock(
            lock.file(),
            rustix::fs::FlockOperation::NonBlockingLockExclusive,
        )
        .is_ok();
        let (generation, machine) = match load(dir)? {
            Some((generation, machine)) => (generation, machine),
            None => (0, fresh()),
        };
        if !owner {
            return Ok(Opened::Copy(machine));
        }
        let generation = generation + 1;
        let (log, log_bytes) = begin(dir, generation, &machine)?;
        let store = Self {
            dir: dir.to_owned(),
            generation,
            log,
            log_bytes,
            broken: false,
            buffer: Vec::new(),
            lock,
        };
        Ok(Opened::Owner(machine, store))
    }

    /// Records changes that the machine takes at `now_ms`, with one `write`. After an error nothing of them is recorded.
    pub(crate) fn append(&mut self, changes: &[Change], now_ms: u64) -> Result<(), SimError> {
        if self.broken {
            let why = "an earlier change could not be recorded; open the machine again";
            return Err(std::io::Error::other(why).into());
        }
        self.buffer.clear();
        let line = Line { now_ms, changes };
        serde_json::to_writer(&mut self.buffer, &line).map_err(std::io::Error::from)?;
        self.buffer.push(b'\n');
        if let Err(error) = self.log.write_all(&self.buffer) {
            // A torn line may only be the last one.
            self.broken = self.log.set_len(self.log_bytes).is_err();
            return Err(error.into());
        }
        self.log_bytes += self.buffer.len() as u64;
        Ok(())
    }

    /// Folds a long log into a new snapshot.
    pub(crate) fn fold(&mut self, machine: &Machine) {
        if self.broken || self.log_bytes <= LOG_BYTES_MAX {
            return;
        }
        self.generation += 1;
        match begin(&self.dir, self.generation, machine) {
            Ok((log, log_bytes)) => (self.log, self.log_bytes) = (log, log_bytes),
            // The old log may belong to an older snapshot now; the next change says so.
            Err(_) => self.broken = true,
        }
    }
}

/// Writes a snapshot and begins an empty log.
fn begin(dir: &Path, generation: u64, machine: &Machine) -> Result<(fs_err::File, u64), SimError> {
    let snapshot = serde_json::to_vec(&serde_json::json!({
        "generation": generation,
        "machine": machine,
    }))
    .map_err(std::io::Error::from)?;
    let path = dir.join("machine.json");
    let temp = dir.join("machine.json.new");
    fs_err::write(&temp, snapshot)?;
    fs_err::rename(&temp, &path)?;
    // From here on the old log is of an older generation.
    let temp = dir.join("changes.jsonl.new");
    let mut header = serde_json::to_vec(&Header { generation }).map_err(std::io::Error::from)?;
    header.push(b'\n');
    fs_err::write(&temp, &header)?;
    fs_err::rename(&temp, dir.join("changes.jsonl"))?;
    let log = fs_err::OpenOptions::new()
        .append(true)
        .open(dir.join("changes.jsonl"))?;
    Ok((log, header.len() as u64))
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>, SimError> {
    match fs_err::File::open(path) {
        Ok(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn load(dir: &Path) -> Result<Option<(u64, Machine)>, SimError> {
    let path = dir.join("machine.json");
    let Some(bytes) = optional(&path)? else {
        return Ok(None);
    };
    let damaged = |path: &Path, error: &serde_json::Error| SimError::Damaged {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let snapshot: Snapshot =
        serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error))?;
    let mut machine = snapshot.machine;
    let path = dir.join("changes.jsonl");
    let log = optional(&path)?.unwrap_or_default();
    let whole = log.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let mut lines = log
        .get(..whole)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    let current = serde_json::from_slice::<Header>(header)
        .is_ok_and(|header| header.generation == snapshot.generation);
    if current {
        for line in lines {
            let line: Line<Vec<Change>> =
                serde_json::from_slice(line).map_err(|error| damaged(&path, &error))?;
            machine.commit(&line.changes);
            machine.now_ms = line.now_ms;
        }
    }
    Ok(Some((snapshot.generation, machine)))
}

#[cfg(test)]
mod tests {
    use super::super::entity::Sysctl;
    use super::*;

    fn owner(dir: &Path) -> (Machine, Store) {
        match Store::open(dir, Machine::default).unwrap() {
            Opened::Owner(machine, store) => (machine, store),
            Opened::Copy(_) => panic!("locked"),
        }
    }

    #[test]
    fn reopened_as_it_was_even_with_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, mut store) = owner(dir.path());
        for i in 0..5 {
            machine.now_ms = i;
            let change = vec![Change("sysctl:a".to_owned(), Some(i.to_string().into()))];
            machine.commit(&change);
            store.append(&change, machine.now_ms).unwrap();
        }
        assert!(matches!(
            Store::open(dir.path(), Machine::default).unwrap(),
            Opened::Copy(copy) if copy.get::<Sysctl>("a") == Some(Sysctl("4".to_owned()))
        ));
        drop(store);
        let path = dir.path().join("changes.jsonl");
        let whole = fs_err::read(&path).unwrap();
        for cut in 0..60 {
            fs_err::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (generation, found) = load(dir.path()).unwrap().unwrap();
            assert_eq!(generation, 1);
            let lost = whole[whole.len() - cut..]
                .iter()
                .map(|b| usize::from(*b == b'\n'))
                .sum::<usize>();
            let expected = 5 - lost as u64;
            assert_eq!(found.now_ms, expected.saturating_sub(1), "cut {cut}");
        }
        let (machine, _store) = owner(dir.path());
        assert!(machine.get::<Sysctl>("a").is_some());
    }

    #[test]
    fn a_log_older_than_the_snapshot_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, mut store) = owner(dir.path());
        let change = vec![Change("sysctl:a".to_owned(), Some("1".into()))];
        machine.commit(&change);
        store.append(&change, machine.now_ms).unwrap();
        let old = fs_err::read(dir.path().join("changes.jsonl")).unwrap();
        drop(store);
        let (mut machine, mut store) = owner(dir.path());
        let change = vec![Change("sysctl:a".to_owned(), None)];
        machine.commit(&change);
        store.append(&change, machine.now_ms).unwrap();
        drop(store);
        drop(owner(dir.path()));
        fs_err::write(dir.path().join("changes.jsonl"), old).unwrap();
        assert_eq!(owner(dir.path()).0.get::<Sysctl>("a"), None);
    }

    #[test]
    fn after_a_tear_that_stays_nothing_more_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, mut store) = owner(dir.path());
        let change = vec![Change("sysctl:a".to_owned(), Some("1".into()))];
        machine.commit(&change);
        store.append(&change, 1).unwrap();
        // A full disk that cannot be cut either.
        let full = fs_err::OpenOptions::new().append(true).open("/dev/full");
        let log = std::mem::replace(&mut store.log, full.unwrap());
        assert!(matches!(store.append(&change, 2), Err(SimError::Io(_))));
        store.log = log;
        assert!(store.append(&change, 3).is_err());
        drop(store);
        let (found, mut store) = owner(dir.path());
        assert_eq!((found.now_ms, found.state), (1, machine.state));
        store.append(&change, 4).unwrap();
    }
}
