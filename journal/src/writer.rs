//! The one thread that writes: it drains the queue, makes all of it durable with one sync, then acknowledges.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;

use crate::copy::Copies;
use crate::error::JournalError;
use crate::frame::{ACTOR_BYTES_MAX, BODY_BYTES_MAX};
use crate::journal::Appended;
use crate::own::{NO_RUN, OWN_KIND_MAX};
use crate::reserve::Reserve;
use crate::shared::Shared;
use crate::store::Store;
use crate::types::{Batch, Entry, Frame, Hash, RunKey};

/// Most batches in one group.
const GROUP_BATCHES_MAX: usize = 256;
/// A group is closed when it has this many bytes of bodies.
const GROUP_BYTES_MAX: usize = 256 << 10;
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

    fn bytes(&self) -> usize {
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

/// Serves the queue until every sender is gone. After the first error everything is refused with it.
pub(crate) fn run(queue: &Receiver<Job>, store: &Store, shared: &Shared) {
    let mut copies = Copies::new(shared.layout.clone());
    let mut reserve = shared
        .options
        .reserve
        .then(|| store.file().ok())
        .flatten()
        .map(Reserve::new);
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        let mut bytes = jobs.iter().map(Job::bytes).sum::<usize>();
        while jobs.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(job) = queue.try_recv() else { break };
            bytes += job.bytes();
            jobs.push(job);
        }
        if let Some(why) = shared.poison.get() {
            for job in jobs {
                job.finish(Err(JournalError::Poisoned { why: why.clone() }));
            }
            continue;
        }
        if let Some(reserve) = &mut reserve {
            reserve.tend(bytes);
        }
        commit(build(jobs, shared), store, shared, &mut copies);
    }
    copies.sync();
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

/// Record, then copies, then everybody who waits.
fn commit(group: Group, store: &Store, shared: &Shared, copies: &mut Copies) {
    if let Err(error) = store.put(&group.rows) {
        let why = shared.poison.get_or_init(|| error.chain()).clone();
        tracing::error!(why, "the journal stops");
        for (_, done) in group.waiting {
            done(Err(JournalError::Poisoned { why: why.clone() }));
        }
        shared.pulse.beat();
        return;
    }
    copies.append(&group.frames, &shared.options);
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
}
