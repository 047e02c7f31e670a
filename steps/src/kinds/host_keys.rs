//! Host keys of machines that wiab did not make: asked for, shown by their fingerprints, kept in a file of our own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wiab_engine::outcome::Failure;

use super::login::SSH_PORT;
use super::ssh_known_hosts::HEADER;
use super::whole_file::{Old, Replace, WholeFile, restore};
use crate::host::Cmd;
use crate::host::shell::Shell;

/// A key that a machine offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    /// `ssh-ed25519 AAAA…`.
    pub(super) key: String,
    /// `SHA256:…`.
    pub(super) print: String,
}

/// The name of a machine in a known-hosts file.
pub(super) fn known_name(ip: &str, port: u16) -> String {
    if port == SSH_PORT {
        ip.to_owned()
    } else {
        format!("[{ip}]:{port}")
    }
}

/// Whether a key is not the one that the operator gave.
pub(super) fn given_differs(given: &str, offered: &Offered) -> bool {
    given != offered.key && given != offered.print
}

/// The key that a machine offers; `None` when it does not answer. Its fingerprint is not known yet.
pub(super) async fn scan(sh: Shell<'_>, ip: &str, port: u16) -> Result<Option<Offered>, Failure> {
    let port = port.to_string();
    let scan = ["ssh-keyscan", "-T", "5", "-t", "ed25519", "-p", &port, ip];
    let output = sh.run(&Cmd::new(scan)).await?;
    let text = output.text();
    let line = text.lines().find(|line| !line.starts_with('#'));
    let mut words = line.unwrap_or_default().split_whitespace().skip(1);
    Ok(match (words.next(), words.next()) {
        (Some(kind @ "ssh-ed25519"), Some(key)) => Some(Offered {
            key: format!("{kind} {key}"),
            print: String::new(),
        }),
        _ => None,
    })
}

/// Adds the fingerprints.
pub(super) async fn fingerprints(
    sh: Shell<'_>,
    mut offered: Vec<Option<Offered>>,
) -> Result<Vec<Option<Offered>>, Failure> {
    let keys: Vec<&str> = offered
        .iter()
        .flatten()
        .map(|one| one.key.as_str())
        .collect();
    if keys.is_empty() {
        return Ok(offered);
    }
    let lines = keys.join("\n") + "\n";
    let list = Cmd::new(["ssh-keygen", "-l", "-f", "-"]).stdin(lines);
    let text = sh.ok(&list).await?.text();
    let mut prints = text.lines().map(|line| line.split_whitespace().nth(1));
    for one in offered.iter_mut().flatten() {
        let print = prints.next().flatten();
        let print = print.filter(|print| print.starts_with("SHA256:"));
        let print = print.ok_or_else(|| Failure::dirty("ssh-keygen gave no fingerprint"))?;
        print.clone_into(&mut one.print);
    }
    Ok(offered)
}

/// A known-hosts file of wiab's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) path: &'a str,
}

impl Keys<'_> {
    fn whole(&self, content: Vec<u8>) -> WholeFile<'_> {
        WholeFile {
            path: self.path,
            content,
            mode: 0o644,
            owner: None,
            root: false,
            replace: Replace::Marked(HEADER),
        }
    }

    /// Its keys by name.
    pub(super) async fn read(&self, sh: Shell<'_>) -> Result<BTreeMap<String, String>, Failure> {
        let bytes = sh.read(self.path, false).await?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut keys = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((names, key)) = line.split_once(' ') {
                for name in names.split(',') {
                    keys.insert(name.to_owned(), key.to_owned());
                }
            }
        }
        Ok(keys)
    }

    /// Writes it, unless another program's file is there.
    pub(super) async fn write(
        &self,
        sh: Shell<'_>,
        keys: &BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        let mut content = HEADER.to_owned();
        for (name, key) in keys {
            let _ = writeln!(content, "{name} {key}");
        }
        self.whole(content.into_bytes()).apply(sh).await.map(drop)
    }

    /// Puts back what was there; a file that is not ours stays.
    pub(super) async fn restore(&self, sh: Shell<'_>, old: Option<&Old>) -> Result<(), Failure> {
        let found = sh.read(self.path, false).await?;
        match found {
            Some(found) if !found.starts_with(HEADER.as_bytes()) => Ok(()),
            Some(_) | None => restore(sh, self.path, old, false).await,
        }
    }
}
