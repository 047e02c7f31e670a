//! The journal as its one holder sees it.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use crate::blobs::Blobs;
use crate::bundle;
use crate::catalog::{Catalog, Head, RunSummary};
use crate::error::JournalError;
use crate::layout::Layout;
use crate::opening::{Access, Opened, Opening, open};
use crate::options::Options;
use crate::shared::Shared;
use crate::store::Store;
use crate::types::{Batch, Frame, RunKey};
use crate::writer::{self, Done, Job};

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Sequence number of its first event.
    pub first_seq: u64,
    /// Sequence number of its last event.
    pub last_seq: u64,
}

/// The open journal. Clones are cheap and share everything; one writer thread serves them all.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    jobs: RwLock<Option<SyncSender<Job>>>,
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
        let (jobs, queue) = sync_channel(options.queue_batches.max(1));
        let (opened, result) = sync_channel(1);
        // The writer opens the database itself, so that one thread does all of the journal's writing.
        let body = move || {
            let Opened {
                store,
                catalog,
                opening,
            } = match open(&layout, &options, Access::Write) {
                Ok(opened) => opened,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let shared = Arc::new(Shared::new(layout, options, catalog, opening));
            if opened
                .send(Ok((Arc::clone(&shared), Arc::clone(&store))))
                .is_ok()
            {
                writer::run(&queue, &store, &shared);
            }
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(body);
        let thread = thread.map_err(|error| JournalError::io(dir, error))?;
        let gave_up = |_| JournalError::Poisoned {
            why: "the writer thread ended while opening".to_owned(),
        };
        let (shared, store) = result.recv().map_err(gave_up)??;
        Ok(Self(Arc::new(Inner {
            shared,
            jobs: RwLock::new(Some(jobs)),
            store: Mutex::new(Some(store)),
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Hands a batch to the writer. `done` is called on the writer's thread when the batch is durable, or with the
    /// reason why it is not; it must be quick and must not append. Blocks only while the queue is full.
    pub fn submit(
        &self,
        batch: Batch,
        done: Box<dyn FnOnce(Result<Appended, JournalError>) + Send>,
    ) {
        self.send(Job::Append(batch, done));
    }

    /// Appends a batch and waits until it is durable.
    pub fn append(&self, batch: Batch) -> Result<Appended, JournalError> {
        self.wait(|done| Job::Append(batch, done))
    }

    /// Appends one of the journal's own events.
    pub(crate) fn append_own(&self, kind: u16, body: Vec<u8>) -> Result<Appended, JournalError> {
        self.wait(|done| Job::Own(kind, body, done))
    }

    fn wait(&self, job: impl FnOnce(Done) -> Job) -> Result<Appended, JournalError> {
        let (sender, receiver) = sync_channel(1);
        self.send(job(Box::new(move |result| {
            // The receiver waits below, always.
            let _ = sender.send(result);
        })));
        receiver.recv().unwrap_or(Err(JournalError::Closed))
    }

    fn send(&self, job: Job) {
        if let Some(why) = self.0.shared.poison.get() {
            return job.finish(Err(JournalError::Poisoned { why: why.clone() }));
        }
        let jobs = self
            .0
            .jobs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match jobs {
            Some(jobs) => {
                if let Err(refused) = jobs.send(job) {
                    refused.0.finish(Err(JournalError::Closed));
                }
            }
            None => job.finish(Err(JournalError::Closed)),
        }
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
        self.jobs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The last handle may be dropped inside a callback, on the writer's own thread.
        let thread = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's writer thread panicked");
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
