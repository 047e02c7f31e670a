//! The readable copy of each run, `events.jsonl`: derived from the record, verifiable alone, repaired at opening.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::error::JournalError;
use crate::layout::{Layout, create_dir};
use crate::options::Options;
use crate::own;
use crate::text::{hex, rfc3339};
use crate::types::{Frame, Render, RunKey};

/// Most copies kept open at once.
const OPEN_COPIES_MAX: usize = 32;
/// Where a line's checksum begins.
const SUM_MARK: &[u8] = b",\"sum\":\"";
/// Hexadecimal digits of a line's checksum.
const SUM_DIGITS: usize = 16;

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
    checksum(line)?;
    let exact: Exact = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let bytes = BASE64
        .decode(exact.frame)
        .map_err(|error| error.to_string())?;
    Frame::decode(&bytes).map_err(|error| error.to_string())
}

/// Checks a line's own checksum.
fn checksum(line: &[u8]) -> Result<(), String> {
    let split = line.len().checked_sub(SUM_MARK.len() + SUM_DIGITS + 2);
    let (summed, rest) = split
        .and_then(|at| line.split_at_checked(at))
        .ok_or("the line is too short")?;
    let expected = [SUM_MARK, sum(summed).as_bytes(), b"\"}"].concat();
    if rest == expected {
        Ok(())
    } else {
        Err("the line does not match its checksum".to_owned())
    }
}

/// Whether a copy has so many lines and each matches its checksum.
pub(crate) fn intact(path: &Path, lines: u64) -> Result<bool, JournalError> {
    let fail = |error| JournalError::io(path, error);
    let mut reader = std::io::BufReader::new(File::open(path).map_err(fail)?);
    let mut line = Vec::new();
    let mut found = 0;
    while reader.read_until(b'\n', &mut line).map_err(fail)? > 0 {
        if line.pop() != Some(b'\n') || checksum(&line).is_err() {
            return Ok(false);
        }
        line.clear();
        found += 1;
    }
    Ok(found == lines)
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

pub(crate) fn open_copy(path: &Path) -> Result<File, JournalError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
        create_dir(dir)?;
    }
    let mut open = File::options();
    open.append(true).create(true).mode(0o600);
    open.open(path)
        .map_err(|error| JournalError::io(path, error))
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
