//! containerd and `ctr`: images are known by the names that their archives give them.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::Value;

use crate::{Answer, remove};

const SOCKET: &str = "/run/containerd/containerd.sock";
/// A file for every reference.
const IMAGES: &str = "/var/lib/containerd/images";
const VERSION: &str = "v1.7.22";
/// Size of the blocks of an archive.
const BLOCK: usize = 512;
/// Longest list of names in an archive, in bytes.
const MANIFEST_MAX: u64 = 1 << 20;

/// `containerd --version`, or the service itself.
pub(crate) fn containerd(args: &[&str]) -> Answer {
    if args.contains(&"--version") {
        return Answer::ok(format!(
            "containerd github.com/containerd/containerd {VERSION} 57f17b0a6295a39009d861b89e3b3b87b005ca27\n"
        ));
    }
    let listener = listen().and_then(|listener| crate::systemctl::ready().map(|()| listener));
    match listener {
        Ok(listener) => {
            // Whoever connects sees that it runs, and goes.
            listener.incoming().for_each(drop);
            Answer::default()
        }
        Err(error) => Answer::fail(1, format!("containerd: {error}\n")),
    }
}

fn listen() -> std::io::Result<UnixListener> {
    fs_err::create_dir_all("/run/containerd")?;
    remove(SOCKET)?;
    UnixListener::bind(SOCKET)
}

/// The file that an image is held by; one for each, since several imports run at once.
fn mark(image: &str) -> String {
    format!("{IMAGES}/{}", image.replace('/', "%"))
}

fn held() -> String {
    let entries = std::fs::read_dir(IMAGES).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names: BTreeSet<String> = names.map(|name| name.replace('%', "/")).collect();
    names
        .into_iter()
        .fold(String::new(), |all, name| all + &name + "\n")
}

/// The images of this machine, as the cluster is told; none while the container engine does not run.
pub(crate) fn listed() -> Vec<String> {
    let runs = UnixStream::connect(SOCKET).is_ok();
    let names = if runs { held() } else { String::new() };
    names.lines().map(str::to_owned).collect()
}

pub(crate) fn ctr(args: &[&str]) -> Answer {
    if let Err(error) = UnixStream::connect(SOCKET) {
        return Answer::fail(1, format!("ctr: failed to dial \"{SOCKET}\": {error}\n"));
    }
    let (["-n", "k8s.io", words @ ..] | ["-n=k8s.io", words @ ..]) = args else {
        return Answer::default();
    };
    let done = match words {
        ["images", "ls" | "list", "-q"] => return Answer::ok(held()),
        ["images", "import", path] => import(path),
        ["images", "rm" | "remove", names @ ..] => {
            let gone: std::io::Result<Vec<()>> =
                names.iter().map(|name| remove(&mark(name))).collect();
            gone.map(|_| String::new())
        }
        _ => return Answer::fail(1, "ctr: this stand-in does not know that command\n"),
    };
    match done {
        Ok(said) => Answer::ok(said),
        Err(error) => Answer::fail(1, format!("ctr: {error}\n")),
    }
}

fn import(path: &str) -> std::io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let manifest = member(&mut file, "manifest.json")?;
    let manifest: Value = serde_json::from_slice(&manifest.unwrap_or_default())
        .map_err(|_| std::io::Error::other("unrecognized image format"))?;
    let entries = manifest.as_array().into_iter().flatten();
    let names: Vec<&str> = entries
        .filter_map(|entry| entry.get("RepoTags")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    fs_err::create_dir_all(IMAGES)?;
    for name in &names {
        fs_err::write(mark(name), "")?;
    }
    Ok(names.iter().fold(String::new(), |all, name| {
        all + "unpacking " + name + "...done\n"
    }))
}

/// The bytes of a file in an archive.
fn member(archive: &mut impl Read, wanted: &str) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = [0_u8; BLOCK];
    while archive.read_exact(&mut head).is_ok() {
        let field = |from: usize, to: usize| {
            let bytes = head.get(from..to).unwrap_or_default();
            let end = bytes
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(bytes.len());
            String::from_utf8_lossy(bytes.get(..end).unwrap_or_default())
                .trim()
                .to_owned()
        };
        let name = field(0, 100);
        if name.is_empty() {
            break;
        }
        let size = u64::from_str_radix(&field(124, 136), 8)
            .map_err(|_| std::io::Error::other("unrecognized image format"))?;
        if name.trim_start_matches("./") == wanted {
            let mut bytes = Vec::new();
            archive
                .take(size.min(MANIFEST_MAX))
                .read_to_end(&mut bytes)?;
            return Ok(Some(bytes));
        }
        let padded = size.div_ceil(BLOCK as u64) * BLOCK as u64;
        std::io::copy(&mut archive.take(padded), &mut std::io::sink())?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().div_ceil(BLOCK) * BLOCK, 0);
        bytes
    }

    #[test]
    fn a_file_is_found_in_an_archive() {
        let mut archive = entry("layer.tar", &[7; 700]);
        archive.extend(entry("./manifest.json", b"[]"));
        archive.extend([0; 2 * BLOCK]);
        let found = member(&mut archive.as_slice(), "manifest.json").unwrap();
        assert_eq!(found.as_deref(), Some(&b"[]"[..]));
        assert_eq!(member(&mut archive.as_slice(), "x").unwrap(), None);
    }
}
