//! The journal as its one holder sees it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::blobs::Blobs;
use crate::bundle;
use crate::catalog::{Catalog, Head, RunSummary};
use crate::desk::Desk;
use crate::error::JournalError;
use crate::layout::Layout;
use crate::opening::{Access, Opened, Opening, open};
use crate::options::Options;
use crate::shared::Shared;
use crate::store::Store;
use crate::types::{Batch, Frame, RunKey};
use crate::writer::Job;

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Sequence number of its first event.
    pub first_seq: u64,
    /// Sequence number of its last event.
    pub last_seq: u64,
}

/// The open journal. Clones are cheap and share everything; one background thread serves them all.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    store: Mutex<Option<Arc<Store>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.0.shared.layout.dir)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `dir`, creating it when there is none, and verifies all of it.
    pub fn open(dir: &Path, options: Options) -> Result<Self, JournalError> {
        let layout = Layout::new(dir, &options);
        let Opened {
            store,
            catalog,
            opening,
        } = open(&layout, &options, Access::Write)?;
        let shared = Arc::new(Shared::new(layout, options, catalog, opening));
        let desk = Arc::new(Desk::new(Arc::clone(&shared), Arc::clone(&store)));
        let serving = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || serving.serve());
        let thread = thread.map_err(|error| JournalError::io(dir, error))?;
        Ok(Self(Arc::new(Inner {
            shared,
            desk,
            store: Mutex::new(Some(store)),
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Hands a batch over. `done` is called on the thread that commits, the background thread or one that appends, when
    /// the batch is durable, or with the reason why it is not; it must be quick and must neither append nor close.
    /// Blocks only while the queue is full.
    pub fn submit(
        &self,
        batch: Batch,
        done: Box<dyn FnOnce(Result<Appended, JournalError>) + Send>,
    ) {
        self.0.desk.submit(Job::Append(batch, done));
    }

    /// Appends a batch and returns when it is durable; it is committed on this thread, together with what is queued,
    /// unless another thread has taken it already.
    pub fn append(&self, batch: Batch) -> Result<Appended, JournalError> {
        self.0.desk.run(|done| Job::Append(batch, done))
    }

    /// Appends one of the journal's own events.
    pub(crate) fn append_own(&self, kind: u16, body: Vec<u8>) -> Result<Appended, JournalError> {
        self.0.desk.run(|done| Job::Own(kind, body, done))
    }

    /// Waits until the readable copies hold everything appended so far. They follow the acknowledgement by a moment.
    pub fn settle(&self) {
        self.0.desk.settle();
    }

    /// What opening did and found.
    pub fn opening(&self) -> &Opening {
        &self.0.shared.opening
    }

    fn store(&self) -> Result<Arc<Store>, JournalError> {
        let store = self.0.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.clone().ok_or(JournalError::Closed)
    }

    /// The durable events from `from_seq` on, as of now, each checked against its own hash.
    pub fn frames(
        &self,
        from_seq: u64,
    ) -> Box<dyn Iterator<Item = Result<Frame, JournalError>> + Send> {
        match self.store() {
            Ok(store) => stored(&store, from_seq, self.head().seq),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    /// The events of one run, own or imported; none when it is unknown.
    pub fn run_frames(&self, run: &RunKey) -> Result<Vec<Frame>, JournalError> {
        run_frames(&self.0.shared, &*self.store()?, run)
    }

    /// All runs: own ones in order of their first event, then imported ones.
    pub fn runs(&self) -> Vec<RunSummary> {
        self.0.shared.with_catalog(Catalog::summaries)
    }

    /// The newest durable event.
    pub fn head(&self) -> Head {
        self.0.shared.with_catalog(Catalog::head)
    }

    /// Names this installation.
    pub fn installation(&self) -> [u8; 16] {
        self.0.shared.with_catalog(|catalog| catalog.installation)
    }

    /// Captured output.
    pub fn blobs(&self) -> &Blobs {
        &self.0.shared.blobs
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Writes what is queued, closes the database and releases the lock, for all clones.
    pub fn close(self) -> Result<(), JournalError> {
        self.0.shut();
        match self.0.shared.poison.get() {
            Some(why) => Err(JournalError::Poisoned { why: why.clone() }),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn shut(&self) {
        self.desk.close();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The last handle may be dropped inside a callback, on that thread itself.
        let thread = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's background thread panicked");
        }
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.shared.pulse.beat();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Stored frames, decoded.
pub(crate) fn stored(
    store: &Arc<Store>,
    from: u64,
    to: u64,
) -> Box<dyn Iterator<Item = Result<Frame, JournalError>> + Send> {
    let rows = store.frames(from, to);
    // The store, and with it the lock, lives as long as somebody reads.
    let keep = Arc::clone(store);
    Box::new(rows.map(move |row| {
        let _keep = &keep;
        let (seq, bytes) = row?;
        Frame::decode(&bytes).map_err(|error| crate::scan::refuse(seq, &error))
    }))
}

/// The events of one run from the database, or from the file of an imported one.
pub(crate) fn run_frames(
    shared: &Shared,
    store: &Store,
    run: &RunKey,
) -> Result<Vec<Frame>, JournalError> {
    let range = shared.with_catalog(|catalog| {
        catalog
            .runs
            .get(run)
            .map(|state| (state.summary.first_seq, state.summary.last_seq))
    });
    let Some((first, last)) = range else {
        let imported =
            shared.with_catalog(|catalog| catalog.imported.iter().any(|body| body.run == *run));
        return if imported {
            bundle::stored_frames(&shared.layout, run)
        } else {
            Ok(Vec::new())
        };
    };
    let mut frames = Vec::new();
    for row in store.frames(first, last) {
        let (seq, bytes) = row?;
        let view =
            crate::frame::View::parse(&bytes).map_err(|error| crate::scan::refuse(seq, &error))?;
        if view.run == *run {
            frames.push(view.to_frame()?);
        }
    }
    Ok(frames)
}
