//! Where a step gives account while it works: evidence, diagnoses, cures, obligations; each durable before the step goes on.
//!
//! A step sends an event to the loop and waits until it is in the journal. The loop stays the only writer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{
    CureEnded, CureOutcome, CureTried, Diagnosed, Event, Evidence, EvidenceTaken, ObligationOpened,
    ObligationSettled, Suspect,
};
use crate::outcome::Failure;
use crate::ports::{BoxFuture, LogError, StepCx};
use crate::state::Owed;

/// Most bytes kept of one piece of evidence; of a longer one, half from its beginning and half from its end.
pub const EVIDENCE_BYTES_MAX: usize = 256 << 10;
/// Most pieces of evidence of one attempt. Further ones are left out, and the last one says so.
pub const EVIDENCE_MAX: u32 = 64;
/// Most diagnoses of one attempt.
pub const DIAGNOSES_MAX: u32 = 16;
/// Most cures of one attempt.
pub const CURES_MAX: u32 = 16;
/// Most obligations that are open at once, in the whole installation.
pub const OWED_MAX: usize = 64;
/// Most causes in a ranking, and most facts for or against each of them.
pub const CAUSES_MAX: usize = 16;
/// Most bytes of one text in an account.
pub const TEXT_BYTES_MAX: usize = 2_000;

/// Keeps accounts: the runner in the journal, [`Notebook`] in memory.
pub trait Keeper: Send + Sync + fmt::Debug {
    /// Stores a text, already scrubbed, under its hash.
    fn store(&self, text: String) -> BoxFuture<'_, Result<Evidence, LogError>>;
    /// Makes an event durable.
    fn record(&self, event: Event) -> BoxFuture<'_, Result<(), LogError>>;
    /// `text` without secrets.
    fn scrub(&self, text: &str) -> String;
}

/// Why an account was not kept. The step must not do what it announces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// The journal refused.
    #[error(transparent)]
    Journal(#[from] LogError),
    /// The attempt has told too much.
    #[error("more than {max} {what}: this is a bug in the step")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: u64,
    },
}

impl From<BookError> for Failure {
    fn from(error: BookError) -> Self {
        Self::unknown(error.to_string())
    }
}

/// What a step concludes; see [`Diagnosed`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Possible causes, the best supported first.
    pub ranking: Vec<Suspect>,
    /// What was seen and fits no known cause.
    pub unknown: Vec<String>,
    /// The id of the cause that is acted on.
    pub chosen: Option<String>,
}

/// A step's handle to its account; clones share it.
#[derive(Debug, Clone)]
pub struct Book {
    keeper: Arc<dyn Keeper>,
    page: Arc<Mutex<Page>>,
}

/// What one attempt told so far, and what is owed.
#[derive(Debug, Default)]
struct Page {
    evidence: u32,
    diagnoses: u32,
    cures: u32,
    owed: BTreeMap<String, Owed>,
}

impl Default for Book {
    /// A book that nobody reads: what is told is kept in memory and dropped with it.
    fn default() -> Self {
        Self::new(Arc::new(Notebook::default()), Vec::new())
    }
}

impl Book {
    /// A fresh page. `owed` is what is open on the host, over all runs.
    pub fn new(keeper: Arc<dyn Keeper>, owed: impl IntoIterator<Item = Owed>) -> Self {
        let owed = owed.into_iter().map(|owed| (owed.id.clone(), owed));
        let page = Page {
            owed: owed.collect(),
            ..Page::default()
        };
        Self {
            keeper,
            page: Arc::new(Mutex::new(page)),
        }
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `text` without secrets and within its bound.
    fn text(&self, text: &str) -> String {
        let clean = self.keeper.scrub(text);
        if clean.len() <= TEXT_BYTES_MAX {
            return clean;
        }
        let end = clean.floor_char_boundary(TEXT_BYTES_MAX);
        format!("{}…", clean.get(..end).unwrap_or_default())
    }

    fn texts(&self, texts: &[String]) -> Vec<String> {
        texts
            .iter()
            .take(CAUSES_MAX)
            .map(|text| self.text(text))
            .collect()
    }

    fn suspect(&self, suspect: &Suspect) -> Suspect {
        Suspect {
            cause: self.text(&suspect.cause),
            meaning: self.text(&suspect.meaning),
            facts_for: self.texts(&suspect.facts_for),
            facts_against: self.texts(&suspect.facts_against),
            step: suspect.step.as_deref().map(|step| self.text(step)),
            cure: self.text(&suspect.cure),
        }
    }
}

/// Beginning and end of a long text.
fn bounded(text: &str) -> String {
    if text.len() <= EVIDENCE_BYTES_MAX {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(EVIDENCE_BYTES_MAX / 2);
    let tail = text.ceil_char_boundary(text.len() - EVIDENCE_BYTES_MAX / 2);
    format!(
        "{}\n… {} bytes left out …\n{}",
        text.get(..head).unwrap_or_default(),
        tail - head,
        text.get(tail..).unwrap_or_default()
    )
}

/// The account of a step, usable in `apply` and `undo`; evidence and diagnoses also in `probe`. What is told is scrubbed,
/// bounded, and durable when the call returns.
impl StepCx {
    /// Keeps what was seen. `topic` is a short id (`challenge`, `nft`), `summary` one line, `body` the text itself.
    /// More than [`EVIDENCE_MAX`] pieces are left out without an error.
    pub async fn take_evidence(
        &self,
        topic: &str,
        summary: &str,
        body: &str,
    ) -> Result<(), BookError> {
        let taken = {
            let mut page = self.book.page();
            page.evidence = page.evidence.saturating_add(1);
            page.evidence
        };
        let (summary, body) = match taken.cmp(&EVIDENCE_MAX) {
            std::cmp::Ordering::Less => (summary, body),
            std::cmp::Ordering::Equal => ("more was seen than one attempt keeps", ""),
            std::cmp::Ordering::Greater => return Ok(()),
        };
        let clean = bounded(&self.book.keeper.scrub(body));
        let event = EvidenceTaken {
            step: self.step.clone(),
            attempt: self.attempt,
            topic: self.book.text(topic),
            summary: self.book.text(summary),
            body: self.book.keeper.store(clean).await?,
        };
        Ok(self.book.keeper.record(event.into()).await?)
    }

    /// Records what the step concludes from what it saw.
    pub async fn diagnosed(&self, diagnosis: &Diagnosis) -> Result<(), BookError> {
        {
            let mut page = self.book.page();
            page.diagnoses = room(page.diagnoses, DIAGNOSES_MAX, "diagnoses")?;
        }
        let ranking = diagnosis.ranking.iter().take(CAUSES_MAX);
        let event = Diagnosed {
            step: self.step.clone(),
            attempt: self.attempt,
            ranking: ranking.map(|suspect| self.book.suspect(suspect)).collect(),
            unknown: self.book.texts(&diagnosis.unknown),
            chosen: diagnosis.chosen.as_deref().map(|id| self.book.text(id)),
        };
        Ok(self.book.keeper.record(event.into()).await?)
    }

    /// Announces a cure, before anything of it is done. `by` names the step of the plan that does the same.
    pub async fn cure_tried(
        &self,
        cause: &str,
        what: &str,
        by: Option<&str>,
    ) -> Result<(), BookError> {
        {
            let mut page = self.book.page();
            page.cures = room(page.cures, CURES_MAX, "cures")?;
        }
        let event = CureTried {
            step: self.step.clone(),
            attempt: self.attempt,
            cause: self.book.text(cause),
            what: self.book.text(what),
            by: by.map(|by| self.book.text(by)),
        };
        Ok(self.book.keeper.record(event.into()).await?)
    }

    /// Records what came of a cure.
    pub async fn cure_ended(
        &self,
        cause: &str,
        outcome: CureOutcome,
        seen: &str,
    ) -> Result<(), BookError> {
        let event = CureEnded {
            step: self.step.clone(),
            attempt: self.attempt,
            cause: self.book.text(cause),
            outcome,
            seen: self.book.text(seen),
        };
        Ok(self.book.keeper.record(event.into()).await?)
    }

    /// Opens an obligation, before what it is about is put on the host. Every later command shows it until it is settled.
    /// Opening one that this step has open already changes nothing.
    ///
    /// A step that owes something is not finished by a look: `apply` is called even if its probe is satisfied, and `undo`
    /// even if its class says that there is nothing to undo. Both settle it.
    pub async fn open_obligation(
        &self,
        id: &str,
        what: &str,
        settle: &str,
    ) -> Result<(), BookError> {
        let owed = Owed {
            id: self.book.text(id),
            step: self.step.clone(),
            what: self.book.text(what),
            settle: self.book.text(settle),
        };
        {
            let page = self.book.page();
            if page.owed.get(&owed.id) == Some(&owed) {
                return Ok(());
            }
            if page.owed.len() >= OWED_MAX {
                return Err(BookError::Full {
                    what: "open obligations",
                    max: OWED_MAX as u64,
                });
            }
        }
        let event = ObligationOpened {
            step: owed.step.clone(),
            attempt: self.attempt,
            id: owed.id.clone(),
            what: owed.what.clone(),
            settle: owed.settle.clone(),
        };
        self.book.keeper.record(event.into()).await?;
        self.book.page().owed.insert(owed.id.clone(), owed);
        Ok(())
    }

    /// Settles an obligation, after what it is about is gone from the host; it may be one of an earlier run or another
    /// step. Settling one that is not open changes nothing.
    pub async fn settle_obligation(&self, id: &str, how: &str) -> Result<(), BookError> {
        let id = self.book.text(id);
        if !self.book.page().owed.contains_key(&id) {
            return Ok(());
        }
        let event = ObligationSettled {
            step: self.step.clone(),
            attempt: self.attempt,
            id: id.clone(),
            how: self.book.text(how),
        };
        self.book.keeper.record(event.into()).await?;
        self.book.page().owed.remove(&id);
        Ok(())
    }

    /// What is owed on this host, over all runs and steps, by id.
    pub fn owed(&self) -> Vec<Owed> {
        self.book.page().owed.values().cloned().collect()
    }

    /// What this step owes, in this or an earlier run.
    pub fn owes(&self) -> Vec<Owed> {
        let mut owed = self.owed();
        owed.retain(|owed| owed.step == self.step);
        owed
    }
}

/// One more, if there is room.
fn room(told: u32, max: u32, what: &'static str) -> Result<u32, BookError> {
    if told < max {
        return Ok(told + 1);
    }
    let max = u64::from(max);
    Err(BookError::Full { what, max })
}

/// Keeps accounts in memory: for steps that are tried without a run, and for tests that look at what was told.
#[derive(Debug, Default)]
pub struct Notebook(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    events: Vec<Event>,
    bodies: BTreeMap<[u8; 32], String>,
}

impl Notebook {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was told, in order.
    pub fn events(&self) -> Vec<Event> {
        self.notes().events.clone()
    }

    /// The text of a piece of evidence.
    pub fn body(&self, evidence: &Evidence) -> Option<String> {
        self.notes().bodies.get(&evidence.hash).cloned()
    }
}

impl Keeper for Notebook {
    fn store(&self, text: String) -> BoxFuture<'_, Result<Evidence, LogError>> {
        let evidence = Evidence {
            hash: *blake3::hash(text.as_bytes()).as_bytes(),
            bytes: text.len() as u64,
        };
        self.notes().bodies.insert(evidence.hash, text);
        Box::pin(std::future::ready(Ok(evidence)))
    }

    fn record(&self, event: Event) -> BoxFuture<'_, Result<(), LogError>> {
        let mut notes = self.notes();
        // Steps under test may be driven for ever; what nobody reads must not grow for ever.
        if notes.events.len() < 4_096 {
            notes.events.push(event);
        }
        drop(notes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn scrub(&self, text: &str) -> String {
        text.to_owned()
    }
}
