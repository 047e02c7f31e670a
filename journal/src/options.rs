//! How a journal is opened.

use std::fmt;
use std::sync::Arc;

use crate::text::hex;
use crate::types::{Render, RunKey};

/// Everything opening needs besides the directory.
#[derive(Clone)]
pub struct Options {
    /// Shows event bodies in `events.jsonl`.
    pub render: Arc<dyn Render>,
    /// Name and version of the program: `wiab 0.1.0`.
    pub tool: String,
    /// How the program was called, without secrets; others see it while the journal is held.
    pub command: String,
    /// Who runs it; others see it while the journal is held. Default: the login name of the user id.
    pub user: String,
    /// Free bytes below which the database is not opened: sled writes while opening.
    pub space_min_bytes: u64,
    /// Batches that may wait for the writer; more block their submitter.
    pub queue_batches: usize,
    /// Reserve disk blocks ahead of the writer. Off only where tests want a small file.
    pub reserve: bool,
    /// Names a run's directory. Default: the last 8 bytes of the key in hexadecimal, then the first 8, which is how
    /// the engine displays run ids.
    pub run_dir_name: fn(&RunKey) -> String,
    /// Unix time in milliseconds.
    pub now_ms: fn() -> u64,
}

impl Options {
    /// The defaults for a journal whose bodies `render` understands.
    pub fn new(render: Arc<dyn Render>) -> Self {
        Self {
            render,
            tool: format!("wiab {}", env!("CARGO_PKG_VERSION")),
            command: String::new(),
            user: login_name(),
            space_min_bytes: 32 << 20,
            queue_batches: 1024,
            reserve: true,
            run_dir_name: display_order_hex,
            now_ms: wall_ms,
        }
    }

    /// The directory name of a run.
    pub(crate) fn run_name(&self, run: &RunKey) -> String {
        (self.run_dir_name)(run)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("tool", &self.tool)
            .field("command", &self.command)
            .field("space_min_bytes", &self.space_min_bytes)
            .finish_non_exhaustive()
    }
}

/// Random bytes of a UUID v7 first, so that a short prefix tells runs apart.
fn display_order_hex(run: &RunKey) -> String {
    let mut bytes = *run;
    bytes.rotate_left(8);
    hex(&bytes)
}

fn wall_ms() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "only for the lock file's `since` and the journal's own events; callers replace it through `now_ms`"
    )]
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The login name of this process's user, from `/etc/passwd`; `uid N` when it is not listed there.
pub fn login_name() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let listed = fs_err::read_to_string("/etc/passwd").unwrap_or_default();
    let name = listed.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid {uid}"))
}
