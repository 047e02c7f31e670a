//! Committing a group: chained behind the head, made durable with one sync, then acknowledged.

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::error::JournalError;
use crate::frame::{ACTOR_BYTES_MAX, BODY_BYTES_MAX};
use crate::journal::Appended;
use crate::own::{NO_RUN, OWN_KIND_MAX};
use crate::shared::Shared;
use crate::store::Store;
use crate::types::{Batch, Entry, Frame, Hash, RunKey};

/// Most events in one batch.
const BATCH_ENTRIES_MAX: usize = 4096;

/// Called with a batch's outcome.
pub(crate) type Done = Box<dyn FnOnce(Result<Appended, JournalError>) + Send>;

/// One entry of the queue.
pub(crate) enum Job {
    /// A batch of a run.
    Append(Batch, Done),
    /// An event of the journal itself.
    Own(u16, Vec<u8>, Done),
}

impl Job {
    /// Answers without doing anything.
    pub(crate) fn finish(self, result: Result<Appended, JournalError>) {
        match self {
            Self::Append(_, done) | Self::Own(_, _, done) => done(result),
        }
    }

    /// Bytes of bodies.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append(batch, _) => batch.entries.iter().map(|entry| entry.body.len()).sum(),
            Self::Own(_, body, _) => body.len(),
        }
    }
}

/// Frames that become durable together, and who waits for them.
#[derive(Default)]
struct Group {
    frames: Vec<Frame>,
    rows: Vec<(u64, Vec<u8>)>,
    waiting: Vec<(Appended, Done)>,
}

/// Chains the jobs' events behind the head. A batch that breaks a rule is refused alone.
fn build(jobs: Vec<Job>, shared: &Shared) -> Group {
    let mut head = shared.with_catalog(crate::catalog::Catalog::head);
    let mut tails: HashMap<RunKey, (u64, Hash)> = HashMap::new();
    let mut group = Group::default();
    for job in jobs {
        let (batch, done) = match job {
            Job::Append(batch, done) => match check(&batch) {
                Ok(()) => (batch, done),
                Err(what) => {
                    done(Err(JournalError::Batch { what }));
                    continue;
                }
            },
            Job::Own(kind, body, done) => (own_batch(kind, body, shared), done),
        };
        let first_seq = head.seq + 1;
        let tail = tails
            .entry(batch.run)
            .or_insert_with(|| shared.with_catalog(|catalog| catalog.tail(&batch.run)));
        for Entry { kind, body } in batch.entries {
            let frame = Frame {
                seq: head.seq + 1,
                run_seq: tail.0 + 1,
                run: batch.run,
                time_ms: batch.time_ms,
                actor: batch.actor.clone(),
                kind,
                prev: head.hash,
                run_prev: tail.1,
                body,
                hash: [0; 32],
            };
            // The bounds were checked.
            let Ok((frame, bytes)) = frame.sealed() else {
                continue;
            };
            (head.seq, head.hash) = (frame.seq, frame.hash);
            *tail = (frame.run_seq, frame.hash);
            group.rows.push((frame.seq, bytes));
            group.frames.push(frame);
        }
        group.waiting.push((
            Appended {
                first_seq,
                last_seq: head.seq,
            },
            done,
        ));
    }
    group
}

fn own_batch(kind: u16, body: Vec<u8>, shared: &Shared) -> Batch {
    let mut actor = shared.options.user.clone();
    while actor.len() > ACTOR_BYTES_MAX {
        actor.pop();
    }
    let entries = vec![Entry { kind, body }];
    Batch {
        run: NO_RUN,
        time_ms: (shared.options.now_ms)(),
        actor,
        entries,
    }
}

fn check(batch: &Batch) -> Result<(), String> {
    if batch.run == NO_RUN {
        return Err("the run key of all zeros is the journal's own".to_owned());
    }
    if batch.entries.is_empty() || batch.entries.len() > BATCH_ENTRIES_MAX {
        return Err(format!(
            "it has {} events; 1 to {BATCH_ENTRIES_MAX} are possible",
            batch.entries.len()
        ));
    }
    if batch.actor.len() > ACTOR_BYTES_MAX {
        return Err(format!(
            "its actor has {} bytes, more than {ACTOR_BYTES_MAX}",
            batch.actor.len()
        ));
    }
    for entry in &batch.entries {
        if entry.kind <= OWN_KIND_MAX {
            return Err(format!("event kind {} is the journal's own", entry.kind));
        }
        if entry.body.len() > BODY_BYTES_MAX {
            return Err(format!(
                "a body has {} bytes, more than {BODY_BYTES_MAX}",
                entry.body.len()
            ));
        }
    }
    Ok(())
}

/// Record, then everybody who waits. Returns the durable frames, whose copies are still to be written. After the first
/// error everything is refused with it.
pub(crate) fn commit(jobs: Vec<Job>, store: &Store, shared: &Shared) -> Vec<Frame> {
    if let Some(why) = shared.poison.get() {
        for job in jobs {
            job.finish(Err(JournalError::Poisoned { why: why.clone() }));
        }
        return Vec::new();
    }
    let group = build(jobs, shared);
    if let Err(error) = store.put(&group.rows) {
        let why = shared.poison.get_or_init(|| error.chain()).clone();
        tracing::error!(why, "the journal stops");
        for (_, done) in group.waiting {
            done(Err(JournalError::Poisoned { why: why.clone() }));
        }
        shared.pulse.beat();
        return Vec::new();
    }
    {
        let mut catalog = shared
            .catalog
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for frame in &group.frames {
            catalog.extend(frame);
        }
    }
    for (appended, done) in group.waiting {
        done(Ok(appended));
    }
    shared.pulse.beat();
    group.frames
}
