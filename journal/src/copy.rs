//! The readable copy of each run, `events.jsonl`: derived from the record, verifiable alone, repaired at opening.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::catalog::{Catalog, RunState};
use crate::error::JournalError;
use crate::layout::{Layout, create_dir};
use crate::options::Options;
use crate::own;
use crate::store::{Access, Store};
use crate::text::{hex, rfc3339};
use crate::types::{Frame, Render, RunKey};

/// Most copies kept open at once.
const OPEN_COPIES_MAX: usize = 32;
/// Where a line's checksum begins.
const SUM_MARK: &[u8] = b",\"sum\":\"";
/// Hexadecimal digits of a line's checksum.
const SUM_DIGITS: usize = 16;
/// First look at a copy's end, in bytes.
const TAIL_BYTES: u64 = 64 << 10;

/// The kind's name.
pub(crate) fn kind_name(render: &dyn Render, kind: u16) -> Option<&'static str> {
    if kind <= own::OWN_KIND_MAX {
        own::name(kind)
    } else {
        render.name(kind)
    }
}

/// One line, with its newline.
pub(crate) fn line(frame: &Frame, run_name: &str, render: &dyn Render) -> Vec<u8> {
    let body = if frame.kind <= own::OWN_KIND_MAX {
        own::render(frame.kind, &frame.body)
    } else {
        render.body(frame.kind, &frame.body)
    };
    let readable = json!({
        "seq": frame.seq,
        "run_seq": frame.run_seq,
        "run": run_name,
        "time": rfc3339(frame.time_ms),
        "time_ms": frame.time_ms,
        "actor": frame.actor,
        "kind": kind_name(render, frame.kind),
        "kind_number": frame.kind,
        "body": body.unwrap_or_else(|error| json!({ "unreadable": error })),
        "hash": hex(&frame.hash),
        "frame": BASE64.encode(frame.encode()),
    });
    let mut line = readable.to_string().into_bytes();
    // The closing brace comes after the checksum.
    line.pop();
    let sum = sum(&line);
    line.extend_from_slice(SUM_MARK);
    line.extend_from_slice(sum.as_bytes());
    line.extend_from_slice(b"\"}\n");
    line
}

fn sum(bytes: &[u8]) -> String {
    hex(blake3::hash(bytes).as_bytes())
        .chars()
        .take(SUM_DIGITS)
        .collect()
}

/// Reads a line without its newline: checksum, then the frame with its own hash.
pub(crate) fn parse(line: &[u8]) -> Result<Frame, String> {
    #[derive(serde::Deserialize)]
    struct Exact {
        frame: String,
    }
    let split = line.len().checked_sub(SUM_MARK.len() + SUM_DIGITS + 2);
    let (summed, rest) = split
        .and_then(|at| line.split_at_checked(at))
        .ok_or("the line is too short")?;
    let expected = [SUM_MARK, sum(summed).as_bytes(), b"\"}"].concat();
    if rest != expected {
        return Err("the line does not match its checksum".to_owned());
    }
    let exact: Exact = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let bytes = BASE64
        .decode(exact.frame)
        .map_err(|error| error.to_string())?;
    Frame::decode(&bytes).map_err(|error| error.to_string())
}

/// Writes the copies while the journal runs. A copy that fails is left alone until the next opening repairs it: the
/// event is in the record, and half a line must not be followed by others.
#[derive(Debug)]
pub(crate) struct Copies {
    layout: Layout,
    open: HashMap<RunKey, File>,
    failed: HashSet<RunKey>,
}

impl Copies {
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            layout,
            open: HashMap::new(),
            failed: HashSet::new(),
        }
    }

    /// Appends frames that are durable in the record.
    pub(crate) fn append(&mut self, frames: &[Frame], options: &Options) {
        let mut rest = frames;
        while let Some(first) = rest.first() {
            let run = first.run;
            let same = rest.iter().take_while(|frame| frame.run == run).count();
            let (group, after) = rest.split_at(same);
            rest = after;
            if self.failed.contains(&run) {
                continue;
            }
            let name = options.run_name(&run);
            let lines: Vec<u8> = group
                .iter()
                .flat_map(|frame| line(frame, &name, options.render.as_ref()))
                .collect();
            if let Err(error) = self.write(&run, &lines) {
                tracing::warn!(
                    run = name,
                    error = error.chain(),
                    "the readable copy cannot be written; the next opening repairs it"
                );
                self.failed.insert(run);
            }
        }
    }

    fn write(&mut self, run: &RunKey, lines: &[u8]) -> Result<(), JournalError> {
        let path = self.layout.copy(run);
        if self.open.len() >= OPEN_COPIES_MAX && !self.open.contains_key(run) {
            self.open.clear();
        }
        let file = match self.open.entry(*run) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(open_copy(&path)?),
        };
        file.write_all(lines)
            .map_err(|error| JournalError::io(&path, error))
    }

    /// Makes the copies durable, at closing; their loss would be repaired.
    pub(crate) fn sync(&self) {
        for file in self.open.values() {
            if let Err(error) = file.sync_data() {
                tracing::warn!(%error, "a readable copy could not be synced");
            }
        }
    }
}

fn open_copy(path: &Path) -> Result<File, JournalError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
        create_dir(dir)?;
    }
    let mut open = File::options();
    open.append(true).create(true).mode(0o600);
    open.open(path)
        .map_err(|error| JournalError::io(path, error))
}

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

/// A line of a copy: its frame, or its number and why it is damaged.
pub(crate) type Line = Result<Frame, (usize, String)>;

/// Everything a copy holds, line by line; damaged lines with their number, from 1.
pub(crate) fn read_all(path: &Path) -> Result<Vec<Line>, JournalError> {
    let bytes = fs_err::read(path).map_err(|error| JournalError::io(path, error))?;
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let torn = lines.pop().is_some_and(|rest| !rest.is_empty());
    let mut all: Vec<_> = (1..)
        .zip(&lines)
        .map(|(number, line)| parse(line).map_err(|why| (number, why)))
        .collect();
    if torn {
        all.push(Err((lines.len() + 1, "the line is cut off".to_owned())));
    }
    Ok(all)
}
