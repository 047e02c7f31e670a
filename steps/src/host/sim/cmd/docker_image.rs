//! `docker load`, `docker images`, `docker tag` and `docker image`.

use serde_json::Value;

use super::super::archive;
use super::super::entity::{Data, DockerImage};
use super::super::files;
use super::super::state::Draft;
use super::{Call, QUICK_MS, Reply, option, options};

/// What loading an image takes.
const LOAD_MS: u64 = 45_000;
/// Largest member of an archive that is read, in bytes.
const MEMBER_BYTES_MAX: u64 = 1 << 20;
/// How images without a name are kept: this and their id.
const UNNAMED: &str = "<none>@";

pub(super) fn images(draft: &Draft<'_>) -> Reply {
    let names = draft.names::<DockerImage>("").into_iter();
    let lines: Vec<String> = names
        .map(|name| {
            if name.starts_with(UNNAMED) {
                "<none>:<none>\n".to_owned()
            } else {
                name + "\n"
            }
        })
        .collect();
    Reply::ok(lines.concat()).took(QUICK_MS)
}

/// Names under which an image is known, by name or by id.
fn find(draft: &Draft<'_>, wanted: &str) -> Vec<(String, DockerImage)> {
    let mut all = draft.list::<DockerImage>();
    all.retain(|(name, image)| name == wanted || image.id == wanted);
    all
}

fn no_such(wanted: &str) -> Reply {
    let text = format!("Error response from daemon: No such image: {wanted}\n");
    Reply::fail(1, text).took(QUICK_MS)
}

pub(super) fn image(draft: &mut Draft<'_>, call: &Call<'_>, words: &[&str]) -> Reply {
    match words {
        ["inspect", rest @ ..] => {
            let (flags, names) = options(rest, &["--format", "-f"]);
            let wanted = names.first().copied().unwrap_or_default();
            match (
                find(draft, wanted).first(),
                option(&flags, &["--format", "-f"]),
            ) {
                (None, _) => no_such(wanted),
                (Some((_, image)), Some("{{.Id}}")) => {
                    Reply::ok(format!("{}\n", image.id)).took(QUICK_MS)
                }
                (Some(_), _) => call.complain(1, "this format is not simulated"),
            }
        }
        ["rm", rest @ ..] => {
            let names = rest.iter().filter(|word| !word.starts_with('-'));
            let mut all = Reply::ok("").took(QUICK_MS);
            for name in names {
                let reply = remove(draft, name);
                all.code = all.code.max(reply.code);
                all.stdout.extend(reply.stdout);
                all.stderr.extend(reply.stderr);
            }
            all
        }
        ["ls", ..] => images(draft),
        _ => call.complain(1, "this verb of `docker image` is not simulated"),
    }
}

fn remove(draft: &mut Draft<'_>, wanted: &str) -> Reply {
    let found = find(draft, wanted);
    if found.is_empty() {
        return no_such(wanted);
    }
    let mut lines = Vec::new();
    for (name, image) in found {
        draft.del::<DockerImage>(&name);
        lines.push(format!("Untagged: {name}\n"));
        if find(draft, &image.id).is_empty() {
            lines.push(format!("Deleted: {}\n", image.id));
        }
    }
    Reply::ok(lines.concat())
}

pub(super) fn tag(draft: &mut Draft<'_>, call: &Call<'_>, words: &[&str]) -> Reply {
    let [from, to] = words else {
        return call.complain(1, "\"docker tag\" requires exactly 2 arguments.");
    };
    let Some((_, image)) = find(draft, from).into_iter().next() else {
        return no_such(from);
    };
    name_it(draft, to, &image);
    Reply::ok("").took(QUICK_MS)
}

/// Gives an image a name; one that had it loses it. Answers the id of that other image.
fn name_it(draft: &mut Draft<'_>, name: &str, image: &DockerImage) -> Option<String> {
    let old = draft.get::<DockerImage>(name);
    let old = old.filter(|old| old.id != image.id);
    draft.put(name, image);
    draft.del::<DockerImage>(&format!("{UNNAMED}{}", image.id));
    let old = old?;
    if find(draft, &old.id).is_empty() {
        draft.put(&format!("{UNNAMED}{}", old.id), &old);
    }
    Some(old.id)
}

pub(super) fn load(draft: &mut Draft<'_>, call: &Call<'_>, words: &[&str]) -> Reply {
    let (flags, _) = options(words, &["-i", "--input"]);
    let path = option(&flags, &["-i", "--input"]).unwrap_or_default();
    let Some(file) = files::at(draft, &call.path(draft, path)) else {
        let text = format!("open {path}: no such file or directory\n");
        return Reply::fail(1, text).took(QUICK_MS);
    };
    let Some(entries) = manifest(&file.data) else {
        let text =
            "open /var/lib/docker/tmp/docker-import/manifest.json: no such file or directory\n";
        return Reply::fail(1, text).took(LOAD_MS);
    };
    let mut lines = Vec::new();
    for (id, tags) in entries {
        let image = DockerImage { id: id.clone() };
        if tags.is_empty() {
            draft.put(&format!("{UNNAMED}{id}"), &image);
            lines.push(format!("Loaded image ID: {id}\n"));
        }
        for tag in tags {
            if let Some(old) = name_it(draft, &tag, &image) {
                lines.push(format!("The image {tag} already exists, renaming the old one with ID {old} to empty string\n"));
            }
            lines.push(format!("Loaded image: {tag}\n"));
        }
    }
    Reply::ok(lines.concat()).took(LOAD_MS)
}

/// The images of an archive: id and names.
fn manifest(data: &Data) -> Option<Vec<(String, Vec<String>)>> {
    let members = archive::members(data)?;
    let member = |wanted: &str| {
        let found = members.iter().find(|member| member.path == wanted)?;
        found.data.bytes(MEMBER_BYTES_MAX)
    };
    let entries: Vec<Value> = serde_json::from_slice(&member("manifest.json")?).ok()?;
    let images = entries.iter().map(|entry| {
        let config = entry.get("Config").and_then(Value::as_str)?;
        let tags = entry.get("RepoTags").and_then(Value::as_array);
        let tags = tags.into_iter().flatten().filter_map(Value::as_str);
        // Archives name the configuration by its digest; those of the stand-in release have nothing in it.
        let digest = config.rsplit('/').next()?.trim_end_matches(".json");
        Some((
            format!("sha256:{digest}"),
            tags.map(str::to_owned).collect(),
        ))
    });
    images.collect()
}
