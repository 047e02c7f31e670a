//! Opening a journal: lock, clean up after the interrupted, create, verify, hold the copies against the record.

use std::path::Path;
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::copy_check;
use crate::database::{CONF, build};
use crate::error::JournalError;
use crate::layout::{Layout, entries, rename_durably, write_atomic};
use crate::lock::Lock;
use crate::options::Options;
use crate::own::{JOURNAL_CREATED, JournalCreated, NO_RUN};
use crate::store::Store;
use crate::types::Frame;

/// What opening did and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// Whether the journal was created.
    pub created: bool,
    /// Frames whose hash and place in both chains were verified.
    pub frames: u64,
    /// Runs among them, without imported ones.
    pub runs: u64,
    /// Names of unfinished files that were removed, or of files that were finished.
    pub leftovers: Vec<String>,
    /// Runs whose `events.jsonl` was completed or written anew, with the reason.
    pub copies_repaired: Vec<String>,
    /// Duration in milliseconds.
    pub took_ms: u64,
}

/// What opening is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Create when absent, repair copies, write.
    Write,
    /// Only read. sled itself still writes while it opens.
    Read,
}

/// Everything that opening yields.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    pub(crate) catalog: Catalog,
    pub(crate) opening: Opening,
}

/// Takes the lock, cleans up, opens and verifies.
pub(crate) fn open(
    layout: &Layout,
    options: &Options,
    access: Access,
) -> Result<Opened, JournalError> {
    let started_ms = (options.now_ms)();
    let mut opening = Opening::default();
    if access == Access::Write {
        layout.ensure()?;
    } else if layout.dir.exists() && !layout.dir.is_dir() {
        return Err(JournalError::NotADirectory {
            path: layout.dir.clone(),
        });
    } else if !layout.db().is_dir()
        && !layout.db_recovering().is_dir()
        && layout.copies()?.is_empty()
    {
        // Looking for a journal leaves no lock file where there is none.
        return Err(JournalError::Missing {
            path: layout.dir.clone(),
        });
    }
    let lock = Lock::take(&layout.lock(), options, access == Access::Read)?;
    layout.check_space(options.space_min_bytes)?;
    clean(layout, &mut opening.leftovers)?;
    if !layout.db().is_dir() {
        refuse_lost_database(layout)?;
        if access == Access::Read {
            return Err(JournalError::Missing {
                path: layout.dir.clone(),
            });
        }
        create(layout, options)?;
        opening.created = true;
    }
    let store = Store::open(&layout.db(), Some(lock))?;
    let catalog = store.scan(options)?;
    if access == Access::Write {
        store.remove_orphans(catalog.head_seq)?;
    }
    copy_check::check_all(
        layout,
        options,
        &store,
        &catalog,
        access,
        &mut opening.copies_repaired,
    )?;
    opening.frames = catalog
        .runs
        .values()
        .map(|state| state.summary.frames)
        .sum();
    opening.runs = u64::try_from(
        catalog
            .summaries()
            .iter()
            .filter(|run| !run.imported)
            .count(),
    )
    .unwrap_or(0);
    opening.took_ms = (options.now_ms)().saturating_sub(started_ms);
    Ok(Opened {
        store: Arc::new(store),
        catalog,
        opening,
    })
}

/// Removes what an interrupted process left, and finishes an interrupted recovery.
fn clean(layout: &Layout, leftovers: &mut Vec<String>) -> Result<(), JournalError> {
    let remove_tree =
        |path: &Path| fs_err::remove_dir_all(path).map_err(|error| JournalError::io(path, error));
    if layout.db_creating().is_dir() {
        remove_tree(&layout.db_creating())?;
        leftovers.push("db.creating".to_owned());
    }
    if layout.db_recovering().is_dir() {
        if layout.db().is_dir() {
            remove_tree(&layout.db_recovering())?;
        } else {
            // It was complete and durable before the old database was moved aside.
            rename_durably(&layout.db_recovering(), &layout.db(), &layout.dir)?;
        }
        leftovers.push("db.recovering".to_owned());
    }
    for path in entries(&layout.db())? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".generating") || name.starts_with('.') {
            fs_err::remove_file(&path).map_err(|error| JournalError::io(&path, error))?;
            leftovers.push(format!("db/{name}"));
        }
    }
    let conf = layout.db().join("conf");
    if layout.db().is_dir() && fs_err::read(&conf).map_or(true, |found| found != CONF) {
        write_atomic(&conf, CONF)?;
        leftovers.push("db/conf".to_owned());
    }
    Ok(())
}

/// A journal without database is new only if no copy says otherwise.
fn refuse_lost_database(layout: &Layout) -> Result<(), JournalError> {
    for path in layout.copies()? {
        if copy_check::tail(&path)?.last.is_some() {
            let what = format!("the database is missing, but {} is there", path.display());
            return Err(JournalError::Corrupt { seq: 1, what });
        }
    }
    Ok(())
}

/// Creates the database with its first event; it appears under its name when it is durable.
fn create(layout: &Layout, options: &Options) -> Result<(), JournalError> {
    let body = JournalCreated {
        installation: *uuid::Uuid::now_v7().as_bytes(),
        tool: options.tool.clone(),
    };
    let body = crate::codec::encode(&body).map_err(|what| JournalError::Batch { what })?;
    let (frame, bytes) = Frame {
        seq: 1,
        run_seq: 1,
        run: NO_RUN,
        time_ms: (options.now_ms)(),
        actor: options.user.clone(),
        kind: JOURNAL_CREATED,
        prev: [0; 32],
        run_prev: [0; 32],
        body,
        hash: [0; 32],
    }
    .sealed()?;
    build(&layout.db_creating(), std::iter::once((frame.seq, bytes)))?;
    rename_durably(&layout.db_creating(), &layout.db(), &layout.dir)
}
