//! `ssh-keygen` for ed25519 keys. Keys are invented from their path; the private file holds no real key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::entity::File;
use super::super::files::{self, NO_ENTRY};
use super::super::state::Draft;
use super::{Call, QUICK_MS, Reply, option, options};

const HEAD: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
const FOOT: &str = "\n-----END OPENSSH PRIVATE KEY-----\n";

/// The line `ssh-ed25519 AAAA… comment` that belongs to a private key file.
pub(super) fn public_line(private: &str) -> Option<String> {
    let body = private.strip_prefix(HEAD)?.strip_suffix(FOOT)?;
    let bytes = STANDARD.decode(body.replace('\n', "")).ok()?;
    let (key, comment) = bytes.split_at_checked(32)?;
    let mut blob = Vec::new();
    for part in [b"ssh-ed25519".as_slice(), blake3::hash(key).as_bytes()] {
        blob.extend_from_slice(&u32::try_from(part.len()).ok()?.to_be_bytes());
        blob.extend_from_slice(part);
    }
    let comment = String::from_utf8_lossy(comment).into_owned();
    Some(
        format!("ssh-ed25519 {} {comment}", STANDARD.encode(blob))
            .trim_end()
            .to_owned(),
    )
}

/// The base64 part of a public line.
pub(super) fn public_blob(line: &str) -> Option<&str> {
    line.split_whitespace().nth(1)
}

/// One fingerprint per line of public keys.
fn listed(text: &str) -> Reply {
    let print = |line: &str| {
        let print = STANDARD.encode(blake3::hash(line.as_bytes()).as_bytes());
        format!(
            "256 SHA256:{} no comment (ED25519)\n",
            print.trim_end_matches('=')
        )
    };
    Reply::ok(text.lines().map(print).collect::<String>()).took(QUICK_MS)
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, _) = options(&call.args, &["-t", "-N", "-C", "-f", "-b"]);
    let has = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    let Some(path) = option(&flags, &["-f"]) else {
        return call.complain(1, "only with -f PATH");
    };
    if has("-l") && path == "-" {
        return listed(&String::from_utf8_lossy(call.stdin));
    }
    let full = call.path(draft, path);
    if has("-y") || has("-l") {
        let Some(file) = files::at(draft, &full) else {
            return Reply::fail(255, format!("{path}: {NO_ENTRY}\n"));
        };
        let private = file.text();
        let public = if has("-l") {
            Some(private.clone())
        } else {
            None
        };
        let line = public
            .filter(|text| text.starts_with("ssh-"))
            .or_else(|| public_line(&private));
        return match line {
            None => Reply::fail(255, format!("Load key \"{path}\": invalid format\n")),
            Some(line) if has("-y") => Reply::ok(format!("{line}\n")).took(QUICK_MS),
            Some(line) => {
                let print = blake3::hash(line.as_bytes());
                let print = STANDARD.encode(print.as_bytes());
                Reply::ok(format!(
                    "256 SHA256:{} (ED25519)\n",
                    print.trim_end_matches('=')
                ))
            }
        };
    }
    if files::at(draft, &full).is_some() {
        return Reply {
            stdout: format!("{path} already exists.\nOverwrite (y/n)? ").into_bytes(),
            ..Reply::fail(1, "")
        };
    }
    if let Some(why) = files::refuses(draft, &full, call.root) {
        return Reply::fail(1, format!("Saving key \"{path}\" failed: {why}\n"));
    }
    let owner = files::actor(draft, call.root);
    let comment = option(&flags, &["-C"]).unwrap_or("demo@wiab");
    let mut bytes = blake3::hash(format!("key {full}").as_bytes())
        .as_bytes()
        .to_vec();
    bytes.extend_from_slice(comment.as_bytes());
    let private = format!("{HEAD}{}{FOOT}", STANDARD.encode(bytes));
    let line = public_line(&private).unwrap_or_default();
    draft.put(&full, &File::new(private.as_bytes(), 0o600, &owner));
    draft.mark_half();
    let public = File::new(format!("{line}\n").as_bytes(), 0o644, &owner);
    draft.put(&format!("{full}.pub"), &public);
    Reply::ok("").took(40)
}
