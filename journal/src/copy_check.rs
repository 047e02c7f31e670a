//! The copies at opening: held against the record, completed where they lag.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::catalog::{Catalog, RunState};
use crate::copy::{line, open_copy, parse};
use crate::error::JournalError;
use crate::layout::Layout;
use crate::opening::Access;
use crate::options::Options;
use crate::store::Store;
use crate::types::{Frame, RunKey};

/// First look at a copy's end, in bytes.
const TAIL_BYTES: u64 = 64 << 10;

/// The end of a copy.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The last intact line.
    pub(crate) last: Option<Frame>,
    /// Where it ends, in bytes.
    pub(crate) good_end: u64,
    /// The file's length, in bytes.
    pub(crate) len: u64,
}

/// Looks at the end of a copy.
pub(crate) fn tail(path: &Path) -> Result<Tail, JournalError> {
    let fail = |error| JournalError::io(path, error);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Tail::default()),
        Err(error) => return Err(fail(error)),
    };
    let len = file.metadata().map_err(fail)?.len();
    let mut window = TAIL_BYTES;
    loop {
        let start = len.saturating_sub(window);
        file.seek(SeekFrom::Start(start)).map_err(fail)?;
        let mut bytes = Vec::new();
        (&mut file)
            .take(window)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        if let Some((good, frame)) = last_line(&bytes, start == 0) {
            let good_end = start + u64::try_from(good).unwrap_or(u64::MAX);
            return Ok(Tail {
                last: Some(frame),
                good_end,
                len,
            });
        }
        if start == 0 {
            return Ok(Tail {
                last: None,
                good_end: 0,
                len,
            });
        }
        window = window.saturating_mul(8);
    }
}

/// The last intact line and where it ends.
fn last_line(bytes: &[u8], whole: bool) -> Option<(usize, Frame)> {
    let mut end = bytes.iter().rposition(|byte| *byte == b'\n')?;
    loop {
        let before = bytes.get(..end)?;
        let newline = before.iter().rposition(|byte| *byte == b'\n');
        let start = match newline {
            Some(at) => at + 1,
            None if whole => 0,
            None => return None,
        };
        if let Ok(frame) = parse(before.get(start..)?) {
            return Some((end + 1, frame));
        }
        end = newline?;
    }
}

/// Holds every copy's end against the record. A copy that lags is completed; one that knows more than the record is
/// the proof that the record lost events.
pub(crate) fn check_all(
    layout: &Layout,
    options: &Options,
    store: &Store,
    catalog: &Catalog,
    access: Access,
    repaired: &mut Vec<String>,
) -> Result<(), JournalError> {
    let mut known = HashSet::new();
    for (run, state) in &catalog.runs {
        let path = layout.copy(run);
        let name = options.run_name(run);
        let tail = tail(&path)?;
        check_tail(&name, &tail, run, state, store)?;
        let complete = tail.good_end == tail.len
            && tail
                .last
                .as_ref()
                .is_some_and(|last| last.seq == state.summary.last_seq);
        if !complete && access == Access::Write {
            repaired.push(repair(&path, &tail, options, store, state)?);
        }
        if access == Access::Write && !crate::copy::intact(&path, state.summary.frames)? {
            repaired.push(renew(&path, options, store, state)?);
        }
        known.insert(path);
    }
    for path in layout.copies()? {
        if let Some(last) = tail(&path)?.last.filter(|_| !known.contains(&path)) {
            let name = options.run_name(&last.run);
            let what = format!("run {name} stands in its copy and not in the database");
            return Err(JournalError::Corrupt {
                seq: last.seq,
                what,
            });
        }
    }
    repaired.sort();
    Ok(())
}

fn check_tail(
    name: &str,
    tail: &Tail,
    run: &RunKey,
    state: &RunState,
    store: &Store,
) -> Result<(), JournalError> {
    let Some(last) = &tail.last else {
        return Ok(());
    };
    let corrupt = |seq, what| Err(JournalError::Corrupt { seq, what });
    if last.run != *run {
        return corrupt(last.seq, format!("run {name}: its copy holds another run"));
    }
    let end = state.summary.last_seq;
    if last.seq > end {
        return corrupt(
            end + 1,
            format!(
                "run {name}: the copy knows event {}, the database ends the run at event {end}",
                last.seq
            ),
        );
    }
    let recorded = if last.seq == end {
        Some(state.summary.last_hash)
    } else {
        let row = store.frames(last.seq, last.seq).next().transpose()?;
        row.map(|(_, bytes)| Frame::decode(&bytes))
            .transpose()?
            .map(|frame| frame.hash)
    };
    if recorded == Some(last.hash) {
        return Ok(());
    }
    corrupt(
        last.seq,
        format!("run {name}: database and copy hold different events"),
    )
}

/// Writes a copy with damaged or missing lines anew from the record; the damaged file is kept beside it.
fn renew(
    path: &Path,
    options: &Options,
    store: &Store,
    state: &RunState,
) -> Result<String, JournalError> {
    let kept = path.with_extension("jsonl.damaged");
    fs_err::rename(path, &kept).map_err(|error| JournalError::io(path, error))?;
    repair(path, &Tail::default(), options, store, state)?;
    let name = options.run_name(&state.summary.run);
    Ok(format!(
        "run {name}: its copy was damaged and is written anew; the damaged one is kept as events.jsonl.damaged"
    ))
}

/// Cuts off what is not intact at the end, then appends what is missing. Returns what was done.
fn repair(
    path: &Path,
    tail: &Tail,
    options: &Options,
    store: &Store,
    state: &RunState,
) -> Result<String, JournalError> {
    let fail = |error| JournalError::io(path, error);
    let name = options.run_name(&state.summary.run);
    let mut file = open_copy(path)?;
    file.set_len(tail.good_end).map_err(fail)?;
    let from = tail
        .last
        .as_ref()
        .map_or(state.summary.first_seq, |last| last.seq + 1);
    let mut added = 0_u64;
    for row in store.frames(from, state.summary.last_seq) {
        let frame = Frame::decode(&row?.1)?;
        if frame.run == state.summary.run {
            file.write_all(&line(&frame, &name, options.render.as_ref()))
                .map_err(fail)?;
            added += 1;
        }
    }
    let cut = tail.len - tail.good_end;
    Ok(format!(
        "run {name}: {cut} damaged bytes cut off, {added} events added"
    ))
}
