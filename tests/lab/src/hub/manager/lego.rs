//! The real order: lego asks the authority, whose check comes from outside through the machine's public address.

use std::path::Path;

use super::super::Order;
use crate::cmd::Cmd;

/// Longest order, in seconds.
const LIMIT_S: u64 = 180;

/// A certificate with its chain, and its key.
#[derive(Debug)]
pub(super) struct Papers {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Why the authority refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It could not prove some names: each with what it said.
    Names(Vec<(String, String)>),
    /// It did not take the order.
    Order(String),
}

/// Orders a certificate for `names`; `certificate` names the client's directory.
pub(super) fn order(
    order: &Order,
    certificate: &str,
    names: &[String],
    email: &str,
) -> Result<Papers, Refused> {
    let dir = order.work.join("lego").join(certificate);
    let text = |path: &Path| path.display().to_string();
    let refuse = |error: &dyn std::fmt::Display| Refused::Order(error.to_string());
    let web = order.work.join("web");
    for path in [&dir, &web] {
        fs_err::create_dir_all(path).map_err(|error| refuse(&error))?;
    }
    let mut cmd = Cmd::new([text(&order.lego), "--accept-tos".to_owned()])
        .args([
            "--path".to_owned(),
            text(&dir),
            "--server".to_owned(),
            order.acme.clone(),
        ])
        .args([
            "--email",
            email,
            "--key-type",
            "ec384",
            "--http",
            "--http.webroot",
            &text(&web),
        ])
        .env("LEGO_CA_CERTIFICATES", &text(&order.acme_ca))
        .limit_s(LIMIT_S);
    for name in names {
        cmd = cmd.args(["--domains", name]);
    }
    let done = cmd.arg("run").done().map_err(|error| refuse(&error))?;
    if !done.status.success() {
        return Err(reason(&format!("{}{}", done.stdout, done.stderr)));
    }
    let first = names.first().map_or("", String::as_str);
    let read =
        |end: &str| fs_err::read_to_string(dir.join("certificates").join(format!("{first}.{end}")));
    Ok(Papers {
        chain: read("crt").map_err(|error| refuse(&error))?,
        key: read("key").map_err(|error| refuse(&error))?,
    })
}

/// `[name] acme: error: 400 :: urn:ietf:params:acme:error:connection :: detail`, in cert-manager's words.
fn reason(output: &str) -> Refused {
    let one = |line: &str| {
        let (name, rest) = line.trim().strip_prefix('[')?.split_once("] ")?;
        let rest = rest.strip_prefix("acme: error: ")?;
        let mut parts = rest.splitn(3, " :: ");
        let (code, urn, detail) = (parts.next()?, parts.next()?, parts.next()?);
        Some((name.to_owned(), format!("{code} {urn}: {detail}")))
    };
    // The same lines come more than once.
    let mut names: Vec<(String, String)> = output.lines().filter_map(one).collect();
    names.sort();
    names.dedup_by(|one, other| one.0 == other.0);
    if names.is_empty() {
        let last = output
            .lines()
            .rev()
            .find(|line| line.contains("acme: error: "));
        let last = last
            .or_else(|| output.lines().next_back())
            .unwrap_or_default();
        let said = last.split("acme: error: ").last().unwrap_or_default();
        return Refused::Order(said.replacen(" :: ", " ", 1).replacen(" :: ", ": ", 1));
    }
    Refused::Names(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_was_refused_and_why() {
        let output = "2026/01/01 [INFO] [a.test] acme: Obtaining bundled SAN certificate\n\
            Could not obtain certificates:\n\terror: one or more domains had a problem:\n\
            [a.test] acme: error: 400 :: urn:ietf:params:acme:error:connection :: Fetching http://a.test: Timeout\n\
            [b.test] acme: error: 403 :: urn:ietf:params:acme:error:unauthorized :: Invalid response :: 404\n";
        let Refused::Names(names) = reason(output) else {
            panic!("{output}");
        };
        assert_eq!(names.len(), 2);
        assert_eq!(
            names[0].1,
            "400 urn:ietf:params:acme:error:connection: Fetching http://a.test: Timeout"
        );
        assert!(names[1].1.ends_with("Invalid response :: 404"));
        let output = "x\nCould not obtain certificates:\n\tacme: error: 429 :: POST :: https://a/order :: urn:ietf:params:acme:error:rateLimited :: slow\n";
        assert!(matches!(reason(output), Refused::Order(text) if text.contains("rateLimited")));
    }
}
