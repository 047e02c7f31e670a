//! Getting a large file onto the host: continued where it was cut off, checked, and under its name only when it is whole.

use wiab_engine::outcome::Failure;

use super::jobs::{Settle, last_line, settle_earlier};
use crate::host::Cmd;
use crate::host::shell::Shell;

/// Label of the detached job.
pub(super) const JOB: &str = "download";
/// Longest look at a file's digest or integrity.
pub(super) const CHECK_MS: u64 = 30 * 60_000;
/// Longest question to a server.
const ASK_MS: u64 = 60_000;
/// A transfer below 1 KiB/s for a minute is a dead one.
const STALL: [&str; 4] = ["--speed-limit", "1024", "--speed-time", "60"];
/// Hexadecimal digits of a digest that names of files carry.
pub(super) const DIGEST_DIGITS: usize = 16;

/// What a server says about a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// HTTP status.
    pub(super) status: u16,
    /// Length in bytes, if it says so.
    pub(super) bytes: Option<u64>,
}

/// One download.
#[derive(Debug)]
pub(super) struct Download<'a> {
    /// The address.
    pub(super) url: &'a str,
    /// Where it grows.
    pub(super) part: &'a str,
    /// Whether root writes it.
    pub(super) root: bool,
    /// Longest attempt, in milliseconds.
    pub(super) timeout_ms: u64,
}

/// The first digits of a digest.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(DIGEST_DIGITS).collect()
}

/// The command as root, if that is needed.
pub(super) fn as_root(cmd: Cmd, root: bool) -> Cmd {
    if root { cmd.root() } else { cmd }
}

/// The last answer in what `curl -I -L` shows.
fn head_of(text: &str) -> Option<Head> {
    let mut head = None;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("HTTP/") {
            let status = line.split_whitespace().nth(1)?.parse().ok()?;
            head = Some(Head {
                status,
                bytes: None,
            });
        } else if let (Some(head), Some((name, value))) = (&mut head, line.split_once(':'))
            && name.eq_ignore_ascii_case("content-length")
        {
            head.bytes = value.trim().parse().ok();
        }
    }
    head
}

/// Asks a server about a file, without getting it.
pub(super) async fn head(sh: Shell<'_>, url: &str) -> Result<Head, Failure> {
    let cmd = Cmd::new(["curl", "-sSIL", "--connect-timeout", "30", "--", url]).timeout_ms(ASK_MS);
    let output = sh.run(&cmd).await?;
    let found = head_of(&output.text()).filter(|_| output.ok());
    found.ok_or_else(|| {
        Failure::dirty(format!(
            "{url} cannot be asked for: curl code {}: {}",
            output.code,
            last_line(&output)
        ))
        .retry()
        .hint(format!("check that the host reaches it: curl -I {url}"))
        .code("download.unreachable")
    })
}

/// Text of a small file on a server; `None` if the server does not have it.
pub(super) async fn small(sh: Shell<'_>, url: &str) -> Result<Option<String>, Failure> {
    let cmd = Cmd::new(["curl", "-fsSL", "--connect-timeout", "30", "--", url]).timeout_ms(ASK_MS);
    let output = sh.run(&cmd).await?;
    match output.code {
        0 => Ok(Some(output.text())),
        22 => Ok(None),
        code => Err(Failure::dirty(format!(
            "{url} cannot be read: curl code {code}: {}",
            last_line(&output)
        ))
        .retry()
        .hint(format!("check that the host reaches it: curl {url}"))
        .code("download.unreachable")),
    }
}

/// Refuses to begin what the file system has no room for. `dir` must exist.
pub(super) async fn need_space(
    sh: Shell<'_>,
    dir: &str,
    bytes: u64,
    what: &str,
) -> Result<(), Failure> {
    let cmd = Cmd::new(["df", "--output=avail", "-B1", "--", dir]);
    let text = sh.ok(&cmd).await?.text();
    let free: Option<u64> = text
        .lines()
        .last()
        .and_then(|line| line.trim().parse().ok());
    match free {
        Some(free) if free < bytes => Err(Failure::dirty(format!(
            "{what} needs {} in {dir}, {} are free",
            gib(bytes),
            gib(free)
        ))
        .hint(format!(
            "make room on the file system of {dir} (df -h {dir}), then run again"
        ))
        .code("host.disk-full")),
        Some(_) | None => Ok(()),
    }
}

/// A size for people.
pub(super) fn gib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

impl Download<'_> {
    fn remedy(&self, text: &str) -> (String, &'static str) {
        if text.contains("No space left") || text.contains("Failure writing output") {
            let what = format!(
                "make room on the file system of {} (df -h), then run again; what was downloaded is kept and continued",
                self.part
            );
            return (what, "host.disk-full");
        }
        (
            "check that the host reaches the URL; what was downloaded is kept and continued"
                .to_owned(),
            "download.failed",
        )
    }

    /// Downloads what is missing of the file. `bytes` is its length, if known.
    pub(super) async fn run(&self, sh: Shell<'_>, bytes: Option<u64>) -> Result<(), Failure> {
        let (url, part) = (self.url, self.part);
        settle_earlier(sh, JOB, Settle::Kill).await?;
        if let (Some(bytes), Some(stat)) = (bytes, sh.stat(part).await?) {
            if stat.bytes == bytes {
                return Ok(());
            }
            if stat.bytes > bytes {
                // What is there is not the beginning of what the server has.
                sh.remove(part, self.root).await?;
            }
        }
        let mut argv = vec!["curl", "-fsSL", "-C", "-", "--connect-timeout", "30"];
        argv.extend(STALL);
        argv.extend(["-o", part, "--", url]);
        let curl = as_root(Cmd::new(argv), self.root).timeout_ms(self.timeout_ms);
        let output = sh.job(JOB, &curl).await?;
        if !output.ok() {
            if matches!(output.code, 22 | 33 | 36) {
                // The server will not continue the partial file: the next attempt starts afresh.
                sh.remove(part, self.root).await?;
            }
            let said = last_line(&output);
            let (hint, code) = self.remedy(&said);
            return Err(Failure::dirty(format!(
                "download of {url} ended with curl code {}: {said}",
                output.code
            ))
            .retry()
            .hint(hint)
            .code(code));
        }
        let have = sh.stat(part).await?.map_or(0, |stat| stat.bytes);
        match bytes {
            Some(bytes) if bytes != have => Err(Failure::dirty(format!(
                "download of {url} ended after {have} of {bytes} bytes"
            ))
            .retry()
            .hint("what was downloaded is kept and continued")
            .code("download.failed")),
            Some(_) | None => Ok(()),
        }
    }
}

/// SHA-256 of a file, in hexadecimal.
pub(super) async fn sha256(sh: Shell<'_>, path: &str, root: bool) -> Result<String, Failure> {
    let cmd = as_root(Cmd::new(["sha256sum", "--", path]), root).timeout_ms(CHECK_MS);
    let text = sh.ok(&cmd).await?.text();
    let digest = text.split_whitespace().next().unwrap_or_default();
    Ok(digest.trim_start_matches('\\').to_owned())
}

/// The digest of a file in a list that `sha256sum` made.
pub(super) fn listed(sums: &str, name: &str) -> Option<String> {
    sums.lines().find_map(|line| {
        let (digest, rest) = line.split_once(' ')?;
        let same = rest.trim_start_matches([' ', '*']) == name;
        let good = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        (same && good).then(|| digest.to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_counts() {
        let text = "HTTP/1.1 302 Found\r\nContent-Length: 3\r\nLocation: x\r\n\r\nHTTP/2 200 \r\ncontent-length: 12345\r\netag: \"x\"\r\n\r\n";
        let head = Head {
            status: 200,
            bytes: Some(12_345),
        };
        assert_eq!(head_of(text), Some(head));
        assert_eq!(head_of("HTTP/1.1 403 Forbidden\r\n").unwrap().bytes, None);
        assert_eq!(head_of("junk"), None);
    }

    #[test]
    fn published_digests_are_found_by_name() {
        let digest = "A".repeat(64);
        let sums = format!("{digest} *other.img\n{digest}  jammy.img\nshort *x.img\n");
        assert_eq!(listed(&sums, "jammy.img"), Some(digest.to_lowercase()));
        assert_eq!(listed(&sums, "x.img"), None);
        assert_eq!(listed(&sums, "immy.img"), None);
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(gib(12 << 30), "12.0 GiB");
        assert_eq!(gib((12 << 30) + (1 << 29)), "12.5 GiB");
    }
}
