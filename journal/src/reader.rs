//! Reading whatever is there: the database, the process that holds it, or the copies.

use std::path::Path;
use std::sync::Arc;

use crate::blobs::Blobs;
use crate::catalog::{Catalog, Head, RunSummary};
use crate::codec;
use crate::copy;
use crate::error::JournalError;
use crate::journal::{run_frames, stored};
use crate::layout::Layout;
use crate::live::Client;
use crate::opening::{Access, Opened, Opening, open};
use crate::options::Options;
use crate::own::{JOURNAL_CREATED, JournalCreated, NO_RUN, RUN_IMPORTED, RunImported};
use crate::shared::Shared;
use crate::store::Store;
use crate::types::{Frame, RunKey};

/// Where a reader reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The database; the reader holds the lock.
    Database,
    /// The process that holds the database, over its socket.
    Live,
    /// The readable copies.
    Copy {
        /// Why not the database.
        why: String,
    },
}

/// A journal opened for reading.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    shared: Arc<Shared>,
    from: From,
}

#[derive(Debug)]
enum From {
    Database(Arc<Store>),
    Live(Client, Vec<RunSummary>, Head),
    Copy(Vec<Frame>),
}

impl Reader {
    /// Opens the journal in `dir`. A journal of a newer version and a directory without journal are errors; damage, a
    /// full disk and another holder are not: then the copies or the holder answer.
    pub fn open(dir: &Path, options: Options) -> Result<Self, JournalError> {
        let layout = Layout::new(dir, &options);
        match open(&layout, &options, Access::Read) {
            Ok(Opened {
                store,
                catalog,
                opening,
            }) => {
                let shared = Arc::new(Shared::new(layout, options, catalog, opening));
                Ok(Self {
                    source: Source::Database,
                    shared,
                    from: From::Database(store),
                })
            }
            Err(error @ JournalError::Locked { .. }) => match Client::connect(dir) {
                Ok(Some(client)) => Self::live(layout, options, client),
                Ok(None) => Self::copy(layout, options, error.chain()),
                Err(live) => Self::copy(
                    layout,
                    options,
                    format!("{}; {}", error.chain(), live.chain()),
                ),
            },
            Err(
                error @ (JournalError::Newer { .. }
                | JournalError::Missing { .. }
                | JournalError::NotADirectory { .. }),
            ) => Err(error),
            Err(error) => Self::copy(layout, options, error.chain()),
        }
    }

    fn live(layout: Layout, options: Options, client: Client) -> Result<Self, JournalError> {
        let overview = client.overview()?;
        let catalog = Catalog {
            installation: overview.installation,
            ..Catalog::default()
        };
        let shared = Arc::new(Shared::new(layout, options, catalog, Opening::default()));
        let from = From::Live(client, overview.runs, overview.head);
        Ok(Self {
            source: Source::Live,
            shared,
            from,
        })
    }

    /// Reads the copies. Damaged lines are left out and counted in the reason.
    fn copy(layout: Layout, options: Options, why: String) -> Result<Self, JournalError> {
        let mut frames = Vec::new();
        let mut damaged = 0_usize;
        for path in layout.copies()? {
            for line in copy::read_all(&path)? {
                match line {
                    Ok(frame) => frames.push(frame),
                    Err(_) => damaged += 1,
                }
            }
        }
        frames.sort_by_key(|frame| frame.seq);
        frames.dedup_by(|one, other| one.hash == other.hash);
        let mut catalog = Catalog::default();
        for frame in &frames {
            catalog.extend(frame);
            take_own(&mut catalog, frame);
        }
        let why = match damaged {
            0 => why,
            lines => format!("{why}; {lines} damaged lines of the copies are left out"),
        };
        let shared = Arc::new(Shared::new(layout, options, catalog, Opening::default()));
        Ok(Self {
            source: Source::Copy { why },
            shared,
            from: From::Copy(frames),
        })
    }

    /// Where the answers come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What opening verified; zeros unless the source is the database.
    pub fn opening(&self) -> &Opening {
        &self.shared.opening
    }

    /// The events from `from_seq` on.
    pub fn frames(
        &self,
        from_seq: u64,
    ) -> Box<dyn Iterator<Item = Result<Frame, JournalError>> + Send + '_> {
        match &self.from {
            From::Database(store) => stored(store, from_seq, self.head().seq),
            From::Live(client, ..) => match client.frames(from_seq) {
                Ok(frames) => Box::new(frames.into_iter().map(Ok)),
                Err(error) => Box::new(std::iter::once(Err(error))),
            },
            From::Copy(frames) => Box::new(
                frames
                    .iter()
                    .filter(move |frame| frame.seq >= from_seq)
                    .cloned()
                    .map(Ok),
            ),
        }
    }

    /// The events of one run, own or imported; none when it is unknown.
    pub fn run_frames(&self, run: &RunKey) -> Result<Vec<Frame>, JournalError> {
        if self
            .runs()
            .iter()
            .any(|known| known.run == *run && known.imported)
        {
            return crate::bundle::stored_frames(&self.shared.layout, run);
        }
        match &self.from {
            From::Database(store) => run_frames(&self.shared, store, run),
            From::Live(client, runs, _) => {
                let Some(known) = runs.iter().find(|known| known.run == *run) else {
                    return Ok(Vec::new());
                };
                let mut frames = client.frames(known.first_seq)?;
                frames.retain(|frame| frame.run == *run);
                Ok(frames)
            }
            From::Copy(frames) => Ok(frames
                .iter()
                .filter(|frame| frame.run == *run)
                .cloned()
                .collect()),
        }
    }

    /// All runs: own ones in order, then imported ones. From a live holder: as of opening.
    pub fn runs(&self) -> Vec<RunSummary> {
        match &self.from {
            From::Live(_, runs, _) => runs.clone(),
            From::Database(_) | From::Copy(_) => self.shared.with_catalog(Catalog::summaries),
        }
    }

    /// The newest event. From a live holder: as of opening.
    pub fn head(&self) -> Head {
        match &self.from {
            From::Live(_, _, head) => *head,
            From::Database(_) | From::Copy(_) => self.shared.with_catalog(Catalog::head),
        }
    }

    /// Captured output.
    pub fn blobs(&self) -> &Blobs {
        &self.shared.blobs
    }

    /// Names this installation.
    pub fn installation(&self) -> [u8; 16] {
        self.shared.with_catalog(|catalog| catalog.installation)
    }

    /// The installation that wrote a run.
    pub(crate) fn installation_of(&self, run: &RunKey) -> [u8; 16] {
        let imported = self.shared.with_catalog(|catalog| {
            catalog
                .imported
                .iter()
                .find(|body| body.run == *run)
                .map(|body| body.installation)
        });
        imported.unwrap_or_else(|| self.installation())
    }

    pub(crate) fn run_name(&self, run: &RunKey) -> String {
        self.shared.options.run_name(run)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

fn take_own(catalog: &mut Catalog, frame: &Frame) {
    if frame.run != NO_RUN {
        return;
    }
    match frame.kind {
        JOURNAL_CREATED => {
            let body = codec::decode::<JournalCreated>(&frame.body);
            catalog.installation = body.map(|body| body.installation).unwrap_or_default();
        }
        RUN_IMPORTED => catalog
            .imported
            .extend(codec::decode::<RunImported>(&frame.body)),
        _ => {}
    }
}
