//! What the modules share: a renderer, fixed options, sample batches, scratch directories.

use std::path::Path;
use std::sync::Arc;

use wiab_journal::{Batch, Entry, Frame, Journal, Options, Render, RunKey};

/// Shows bodies as text.
#[derive(Debug)]
pub(crate) struct Plain;

impl Render for Plain {
    fn name(&self, kind: u16) -> Option<&'static str> {
        (kind >= 16).then_some("Sample")
    }

    fn body(&self, _kind: u16, body: &[u8]) -> Result<serde_json::Value, String> {
        Ok(serde_json::Value::String(
            String::from_utf8_lossy(body).into_owned(),
        ))
    }

    fn outputs(&self, _kind: u16, body: &[u8]) -> Vec<wiab_journal::Hash> {
        // The samples that name a blob end with its hash.
        let rest = body.strip_prefix(b"three 0");
        rest.and_then(|hash| hash.try_into().ok())
            .into_iter()
            .collect()
    }
}

/// Options that do not depend on the machine.
pub(crate) fn options() -> Options {
    Options {
        tool: "wiab test".to_owned(),
        user: "tester".to_owned(),
        command: "wiab apply".to_owned(),
        space_min_bytes: 1 << 20,
        now_ms: || 1_800_000_000_000,
        ..Options::new(Arc::new(Plain))
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

pub(crate) fn run(number: u8) -> RunKey {
    let mut run = [0x10; 16];
    run[15] = number;
    run
}

/// A batch whose events say `text` and their number.
pub(crate) fn batch(run: RunKey, text: &str, entries: usize) -> Batch {
    Batch {
        run,
        time_ms: 1_800_000_000_123,
        actor: "tester@machine 7".to_owned(),
        entries: (0..entries)
            .map(|number| Entry {
                kind: 19,
                body: format!("{text} {number}").into_bytes(),
            })
            .collect(),
    }
}

pub(crate) fn all(journal: &Journal) -> Vec<Frame> {
    journal
        .frames(1)
        .map(|frame| frame.expect("frame"))
        .collect()
}

/// A scratch directory in memory where there is one: thousands of openings would wear out a disk.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("scratch directory")
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create");
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("type");
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}
