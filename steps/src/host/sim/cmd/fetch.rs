//! Downloads. What an address holds follows from the address.

use super::super::artifact;
use super::super::entity::{Data, File, Image};
use super::super::files;
use super::super::state::Draft;
use super::super::surroundings::Surroundings;
use super::copy::half_of;
use super::coreutils::digest_of;
use super::{Call, Reply, connect, option, options, spread};

/// What the line carries in a millisecond.
const BYTES_PER_MS: u64 = 60_000;
/// The same from the server of artifacts, which is far away.
const ARTIFACT_BYTES_PER_MS: u64 = 12_000;

/// Virtual size of an Ubuntu cloud image.
const CLOUD_IMAGE_BYTES: u64 = 2_361_393_152;

/// Images whose digests a `SHA256SUMS` lists.
const IMAGES: [&str; 3] = [
    "jammy-server-cloudimg-amd64.img",
    "jammy-server-cloudimg-amd64-disk-kvm.img",
    "jammy-server-cloudimg-arm64.img",
];

fn content(url: &str) -> File {
    let mut file = File::new(b"", 0o644, "");
    let name = url.rsplit('/').next().unwrap_or_default();
    let big = |mib: u64| {
        let len = (mib << 20) + spread(url, 1 << 20);
        Data::Blob {
            seed: url.to_owned(),
            len,
            whole: len,
        }
    };
    let ends = |ending: &str| name.to_ascii_lowercase().ends_with(ending);
    if name == "SHA256SUMS" {
        let folder = url.strip_suffix(name).unwrap_or_default();
        let lines = IMAGES.iter().fold(String::new(), |lines, image| {
            let digest = sha256_of_url(&format!("{folder}{image}"));
            lines + &digest + " *" + image + "\n"
        });
        file.data = Data::Text(lines);
    } else if ends(".img") || ends(".qcow2") {
        file.data = big(640);
        file.image = Some(Image {
            format: "qcow2".to_owned(),
            virtual_bytes: CLOUD_IMAGE_BYTES,
            backing: None,
            backing_format: None,
            whole: true,
        });
    } else if ends(".tgz") || ends(".tar.gz") || ends(".tar") {
        file.data = big(6_000);
    } else {
        file.data = Data::Text(format!("content of {url}\n"));
    }
    file
}

/// The digest that `sha256sum` on the simulated machine prints for what it downloads from `url`.
pub fn sha256_of_url(url: &str) -> String {
    digest_of(&content(url).data)
}

/// What a server answers that will not give the file; `shown` if curl prints the answer instead of failing.
fn refused(draft: &Draft<'_>, url: &str, shown: bool) -> Option<Reply> {
    let status = Surroundings::of(draft).statuses.get(url).copied()?;
    if status < 400 {
        return None;
    }
    if shown {
        return Some(Reply::ok(format!("HTTP/2 {status} \r\n\r\n")).took(80));
    }
    let text = format!("curl: (22) The requested URL returned error: {status}\n");
    Some(Reply::fail(22, text).took(80))
}

/// The answer for what is not there: with `-f` an exit code, else a page.
fn no_such_file(status: u16, fail: bool) -> Reply {
    if fail {
        let text = format!("curl: (22) The requested URL returned error: {status}\n");
        return Reply::fail(22, text).took(80);
    }
    Reply::ok(format!("HTTP/1.1 {status}\r\n\r\n")).took(80)
}

/// Options that take the next word.
const WITH_VALUE: [&str; 15] = [
    "-o",
    "--output",
    "-C",
    "--continue-at",
    "--retry",
    "--retry-delay",
    "--max-time",
    "-m",
    "--connect-timeout",
    "-H",
    "-A",
    "--noproxy",
    "--speed-limit",
    "--speed-time",
    "-w",
];

pub(super) fn curl(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    if let Some(reply) = connect::to_node(draft, &call.args) {
        return reply;
    }
    let mut args: Vec<&str> = Vec::new();
    for word in &call.args {
        // `-fsSLo FILE`: the last letter of a cluster may take a value.
        let cluster = word.len() > 2 && word.starts_with('-') && !word.starts_with("--");
        match word.strip_suffix('o').filter(|_| cluster) {
            Some(rest) => args.extend([rest, "-o"]),
            None => args.push(word),
        }
    }
    let (flags, urls) = options(&args, &WITH_VALUE);
    let letter = |letter: char| {
        flags
            .iter()
            .any(|(flag, _)| !flag.starts_with("--") && flag.contains(letter))
    };
    let Some(url) = urls.first() else {
        return Reply::fail(2, "curl: no URL specified!\n");
    };
    let host = url.split('/').nth(2).unwrap_or_default();
    if host.ends_with(".invalid") || host.is_empty() {
        let text = format!("curl: (6) Could not resolve host: {host}\n");
        return Reply::fail(6, text).took(50);
    }
    if url.contains("/missing") {
        return no_such_file(404, letter('f'));
    }
    if let Some(reply) = refused(draft, url, letter('I') && !letter('f')) {
        return reply;
    }
    let mut file = content(url);
    let mut bytes_per_ms = BYTES_PER_MS;
    match artifact::published(draft, url) {
        Some(Ok(data)) => (file.data, bytes_per_ms) = (data, ARTIFACT_BYTES_PER_MS),
        Some(Err(())) => return no_such_file(403, letter('f')),
        None => {}
    }
    if letter('I') {
        let (len, digest) = (file.data.len(), digest_of(&file.data));
        let etag: String = digest.chars().take(32).collect();
        let text = format!(
            "HTTP/1.1 200 OK\r\nETag: \"{etag}-1\"\r\nAccept-Ranges: bytes\r\nContent-Length: {len}\r\n\r\n"
        );
        return Reply::ok(text).took(80);
    }
    let Some(path) = option(&flags, &["-o", "--output"]) else {
        let bytes = file.data.bytes(1 << 20).unwrap_or_default();
        return Reply::bytes(bytes).took(80);
    };
    save(draft, call, path, file, letter('C'), bytes_per_ms)
}

fn save(
    draft: &mut Draft<'_>,
    call: &Call<'_>,
    path: &str,
    mut file: File,
    resume: bool,
    bytes_per_ms: u64,
) -> Reply {
    if path == "/dev/null" {
        return Reply::ok("").took(80);
    }
    let full = call.path(draft, path);
    if files::refuses(draft, &full, call.root).is_some() {
        let text = format!("curl: (23) Failure writing output to destination {path}\n");
        return Reply::fail(23, text).took(80);
    }
    let old = files::at(draft, &full);
    file.owner = old
        .as_ref()
        .map_or_else(|| files::actor(draft, call.root), |old| old.owner.clone());
    file.mode = old.as_ref().map_or(0o644, |old| old.mode);
    let have = old.filter(|_| resume).map_or(0, |old| old.data.len());
    let left = file.data.len().saturating_sub(have);
    if left == 0 {
        return Reply::ok("").took(80);
    }
    let mut half = half_of(&file);
    if let Data::Blob { len, .. } = &mut half.data {
        *len = have + left / 2;
    }
    draft.half_only(|draft| draft.put(&full, &half));
    draft.put(&full, &file);
    Reply::ok("").took(150 + left / bytes_per_ms)
}

pub(super) fn gzip(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (_, paths) = options(&call.args, &[]);
    let mut took_ms = 2;
    for path in paths {
        let Some(file) = files::at(draft, &call.path(draft, path)) else {
            return call.complain(1, &format!("{path}: No such file or directory"));
        };
        took_ms += file.data.len() / 400_000;
        match file.data {
            Data::Blob { len, whole, .. } if len == whole => {}
            Data::Blob { .. } => {
                return call
                    .complain(1, &format!("{path}: unexpected end of file"))
                    .took(took_ms);
            }
            _ => return call.complain(1, &format!("{path}: not in gzip format")),
        }
    }
    Reply::ok("").took(took_ms)
}
