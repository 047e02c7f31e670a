//! `preflight.artifact-url/1`: what will be downloaded is there, and has room.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::{Check, Report, existing};
use crate::host::Cmd;
use crate::host::shell::Shell;
use crate::kind::About;

/// Longest answer of a server, in seconds.
const ANSWER_S: &str = "30";
/// A download needs room for itself, for what is unpacked, and for the copy that is served to the VMs.
const ROOM: u64 = 3;
const GIB: u64 = 1 << 30;

/// Addresses that must answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightArtifactUrl {
    /// What is downloaded.
    pub downloads: Vec<Download>,
    /// Where it goes: the directory that must have room.
    pub into: String,
    /// A path whose existence says that the downloads are done and unpacked: only then no room is needed.
    pub done: String,
}

/// One download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// What it is: `artifact`, `cloud-image`.
    pub name: String,
    /// `https://…`
    pub url: String,
    /// Whether it is unpacked and needs three times its room.
    pub unpacked: bool,
}

/// The last answer's code, after redirections, and its length in bytes.
fn answer(text: &str) -> (Option<u16>, Option<u64>) {
    let mut found = (None, None);
    for line in text.lines() {
        if line.starts_with("HTTP/") {
            let code = line.split_whitespace().nth(1);
            found = (code.and_then(|code| code.parse().ok()), None);
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            found.1 = value.trim().parse().ok();
        }
    }
    found
}

impl PreflightArtifactUrl {
    fn refused(download: &Download, code: Option<u16>, report: &mut Report) {
        let Download { name, url, .. } = download;
        match code {
            Some(403) => report.error(
                name,
                format!(
                    "{url} answers 403: there is no such file (the storage says so instead of 404)"
                ),
                "compare the hash in the address with Wire's list of releases",
            ),
            Some(404 | 410) => report.error(
                name,
                format!("{url} does not exist"),
                "compare the address with Wire's list of releases",
            ),
            Some(code) => report.error(
                name,
                format!("{url} answers {code}"),
                "try again later, or give a mirror or a local file",
            ),
            None => report.error(
                name,
                format!("{url} gave no answer that can be read"),
                "check the address and a proxy on the way",
            ),
        }
    }

    /// Asks for one download; answers the room that it needs, in bytes.
    async fn ask(download: &Download, sh: Shell<'_>, report: &mut Report) -> Result<u64, Failure> {
        let Download { name, url, .. } = download;
        let curl = Cmd::new(["curl", "-sSIL", "--max-time", ANSWER_S, url]);
        let Some(output) = sh.probe(&curl).await? else {
            report.warn(
                name,
                format!("{url} was not asked for: `curl` is not installed"),
                "nothing: it comes with the host's packages",
            );
            return Ok(0);
        };
        if !output.ok() {
            let why = output.error_text();
            let why = why.lines().next_back().unwrap_or("no reason given");
            report.error(
                name,
                format!("{url} cannot be reached: {why}"),
                "check the machine's way to the internet, or give a mirror or a local file",
            );
            return Ok(0);
        }
        match answer(&output.text()) {
            (Some(200), length) => {
                let length = length.unwrap_or(0);
                Ok(if download.unpacked {
                    length * ROOM
                } else {
                    length
                })
            }
            (code, _) => {
                Self::refused(download, code, report);
                Ok(0)
            }
        }
    }
}

impl Check for PreflightArtifactUrl {
    const NAME: &'static str = "preflight.artifact-url/1";
    const ABOUT: About = About {
        purpose: "A wrong hash or a blocked way out is known before the first change, not after an hour.",
        probe: "Sends a HEAD request to each address and compares three times the length with the free space.",
        effect: "None.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check {} downloads", self.downloads.len())
    }

    fn timeout_ms(&self) -> u64 {
        180_000
    }

    fn usual_ms(&self) -> u64 {
        1_500
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Report, Failure> {
        let mut report = Report::default();
        let mut need = 0;
        for download in &self.downloads {
            need += Self::ask(download, sh, &mut report).await?;
        }
        report.note = format!("{} MiB to come", need >> 20);
        if sh.stat(&self.done).await?.is_some() {
            return Ok(report);
        }
        let at = existing(sh, &self.into).await?;
        let df = Cmd::new(["df", "-B1", "--output=avail", &at]);
        let text = sh.ok(&df).await?.text();
        let free: u64 = text
            .lines()
            .nth(1)
            .and_then(|line| line.trim().parse().ok())
            .unwrap_or(0);
        if free < need {
            report.error(
                "disk-download",
                format!(
                    "{} has {} GiB free; downloaded and unpacked files need {} GiB",
                    self.into,
                    free / GIB,
                    need.div_ceil(GIB)
                ),
                "free some space, or point deploy_dir to a larger file system",
            );
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_counts() {
        let text = "HTTP/1.1 302 Found\r\nContent-Length: 7\r\nLocation: x\r\n\r\nHTTP/2 200 \r\ncontent-length: 4096\r\n\r\n";
        assert_eq!(answer(text), (Some(200), Some(4_096)));
        assert_eq!(answer("HTTP/2 403\r\n\r\n"), (Some(403), None));
        assert_eq!(answer(""), (None, None));
    }
}
