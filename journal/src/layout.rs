//! Paths inside the state directory, and directory work that is durable.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::options::Options;
use crate::types::RunKey;

/// Name of a run's readable copy.
pub(crate) const COPY_NAME: &str = "events.jsonl";

/// The state directory of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    run_dir_name: fn(&RunKey) -> String,
}

impl Layout {
    pub(crate) fn new(dir: &Path, options: &Options) -> Self {
        Self {
            dir: dir.to_owned(),
            run_dir_name: options.run_dir_name,
        }
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.dir.join("db")
    }

    /// A database that is being created; renamed to `db` when its first event is durable.
    pub(crate) fn db_creating(&self) -> PathBuf {
        self.dir.join("db.creating")
    }

    /// A database that is being rebuilt; renamed to `db` when it is complete.
    pub(crate) fn db_recovering(&self) -> PathBuf {
        self.dir.join("db.recovering")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.dir.join("runs")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    pub(crate) fn imported(&self, run: &RunKey) -> PathBuf {
        self.dir
            .join("imported")
            .join(format!("{}.wiab-run", (self.run_dir_name)(run)))
    }

    pub(crate) fn copy(&self, run: &RunKey) -> PathBuf {
        self.runs().join((self.run_dir_name)(run)).join(COPY_NAME)
    }

    /// All copies there are.
    pub(crate) fn copies(&self) -> Result<Vec<PathBuf>, JournalError> {
        let mut copies: Vec<PathBuf> = entries(&self.runs())?
            .into_iter()
            .map(|run| run.join(COPY_NAME))
            .filter(|copy| copy.is_file())
            .collect();
        copies.sort();
        Ok(copies)
    }

    /// Creates the state directory, readable by its owner only.
    pub(crate) fn ensure(&self) -> Result<(), JournalError> {
        let dir = &self.dir;
        if dir.exists() && !dir.is_dir() {
            return Err(JournalError::NotADirectory { path: dir.clone() });
        }
        if !dir.is_dir() {
            create_dir(dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_dir(parent)?;
            }
        }
        for inner in [self.runs(), self.out()] {
            if !inner.is_dir() {
                create_dir(&inner)?;
            }
        }
        Ok(())
    }

    /// Refuses to go on with too little room.
    pub(crate) fn check_space(&self, need_bytes: u64) -> Result<(), JournalError> {
        let path = &self.dir;
        let stat =
            rustix::fs::statvfs(path).map_err(|error| JournalError::io(path, error.into()))?;
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free_bytes >= need_bytes {
            return Ok(());
        }
        Err(JournalError::NoSpace {
            path: path.clone(),
            free_bytes,
            need_bytes,
        })
    }
}

/// Creates a directory with mode 0700 and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<(), JournalError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            JournalError::NotADirectory {
                path: path.to_owned(),
            }
        }
        _ => JournalError::io(path, error),
    })
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), JournalError> {
    let sync = || std::fs::File::open(path)?.sync_all();
    sync().map_err(|error| JournalError::io(path, error))
}

/// Makes everything in a flat directory durable, then its names; goes one level down.
pub(crate) fn sync_tree(path: &Path) -> Result<(), JournalError> {
    for entry in entries(path)? {
        if entry.is_dir() {
            sync_dir(&entry)?;
        } else {
            let sync = || std::fs::File::open(&entry)?.sync_all();
            sync().map_err(|error| JournalError::io(&entry, error))?;
        }
    }
    sync_dir(path)
}

/// Renames inside the state directory and makes it last.
pub(crate) fn rename_durably(from: &Path, to: &Path, dir: &Path) -> Result<(), JournalError> {
    fs_err::rename(from, to).map_err(|error| JournalError::io(from, error))?;
    sync_dir(dir)
}

/// The paths in a directory, sorted; none when it does not exist.
pub(crate) fn entries(path: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let read = match std::fs::read_dir(path) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(JournalError::io(path, error)),
    };
    let mut paths = Vec::new();
    for entry in read {
        paths.push(entry.map_err(|error| JournalError::io(path, error))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Writes a file so that it is there whole or not at all, durably.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Only the holder of the lock writes here, so a number is enough; a leftover of a killed one is overwritten.
    let temp = path.with_file_name(format!(".{name}.{number}"));
    let write = || -> io::Result<()> {
        let mut open = std::fs::File::options();
        let mut file = open
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temp)?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    write().map_err(|error| JournalError::io(&temp, error))?;
    fs_err::rename(&temp, path).map_err(|error| JournalError::io(path, error))?;
    path.parent().map_or(Ok(()), sync_dir)
}
