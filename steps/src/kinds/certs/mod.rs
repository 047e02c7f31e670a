//! Certificates: the way of the self-check, waiting with early recognition, keeping what was issued, end-to-end checks.

pub mod calling_checked;
pub mod cert_ready;
pub mod cert_rehearsed;
pub mod cert_restored;
pub mod cert_saved;
pub mod cure;
mod follow;
pub mod hairpin_needed;
pub mod hairpin_rpfilter;
pub(crate) mod hairpin_way;
pub mod https_answers;
mod kept;
pub mod looks;
pub mod renewal;
mod trigger;
pub mod turn_listens;
mod verdict;
mod watch;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::{known, login};
use crate::host::Cmd;
use crate::kind::Input;

/// A Kubernetes node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubeNode {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: Input<String>,
}

impl KubeNode {
    fn ip(&self) -> Result<&str, Failure> {
        known(&self.ip, "nodes").map(String::as_str)
    }
}

/// How a try to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Yes,
    Refused,
    Lost,
    /// ssh itself, or curl for another reason.
    Unknown(i32),
}

/// Seconds that a connection may take: the repetitions of a lost first packet come after one and three seconds.
const CONNECT_S: &str = "4";

/// Options of a curl that only tries whether a web server answers. Output: status and exit code of each transfer.
const TRY: [&str; 13] = [
    "curl",
    "-s",
    "-k",
    "--fail-early",
    "-o",
    "/dev/null",
    "-H",
    "Connection: close",
    "--connect-timeout",
    CONNECT_S,
    "-w",
    "%{http_code} %{exitcode}\n",
    "--noproxy",
];

/// The command line that tries `url`, which may stand for several by `[1-6]`.
fn try_web<'a>(more: &[&'a str], url: &'a str) -> Vec<&'a str> {
    let mut argv: Vec<&str> = TRY.to_vec();
    argv.push("*");
    argv.extend(more);
    argv.push(url);
    argv
}

/// How such a try ended, by curl's exit code.
fn reached(code: i32) -> Reached {
    match code {
        // Empty or broken answers come from something that listens.
        0 | 52 | 56 => Reached::Yes,
        7 => Reached::Refused,
        28 => Reached::Lost,
        code => Reached::Unknown(code),
    }
}

/// The same on the host itself.
fn on_host(argv: Vec<&str>) -> Cmd {
    Cmd::new(argv).timeout_ms(60_000)
}

/// Exit code of ssh itself.
fn is_ssh(code: i32) -> bool {
    code == login::SSH_FAILED
}
