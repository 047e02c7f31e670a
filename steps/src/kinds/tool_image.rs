//! `tool.image/1`: exactly the tool image of this release in docker; no other one serves in its place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::jobs::{Settle, last_line, settle_earlier, settle_forward};
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Input, Kind, Out, Pace};

/// Where the release keeps the images of its tools.
const DIR: &str = "containers-adminhost";
/// The archive's file name, without its end.
const ARCHIVE: &str = "container-wire-server-deploy.";
/// The image's repository.
const REPOSITORY: &str = "quay.io/wire/wire-server-deploy:";
/// Label of the detached job.
const JOB: &str = "load";
const LOAD_MS: u64 = 20 * 60_000;
/// Finding the manifest may mean to unpack the whole archive.
const MANIFEST_MS: u64 = 5 * 60_000;
const USUAL_MS: u64 = 60_000;

/// The tool image of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolImage {
    /// The unpacked release.
    pub tree: Input<String>,
}

/// What the archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Archived {
    path: String,
    name: String,
    id: String,
}

/// What docker had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Whether it had the image, under whatever name.
    had: bool,
    /// Id of the image that had the name.
    named: Option<String>,
    /// The name and the id of the archive's image.
    name: String,
    id: String,
}

impl ToolImage {
    /// Output: the image's name, as its archive says it.
    pub const IMAGE: Out<Self> = Out::new("image");
    /// Output: the image's id.
    pub const ID: Out<Self> = Out::new("id");

    /// The archive's name, from the release's own list.
    async fn archive(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let dir = format!("{}/{DIR}", known(&self.tree, "tree")?);
        let list = format!("{dir}/index.txt");
        let Some(bytes) = sh.read(&list, false).await? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim().rsplit('/').next())
            .filter(|name| name.starts_with(ARCHIVE))
            .collect();
        match names.as_slice() {
            [name] => Ok(Some(format!("{dir}/{name}"))),
            names => Err(Failure::clean(format!(
                "{list} names {} archives of the tool image, not one",
                names.len()
            ))
            .code("tool.archive")
            .hint("the release is damaged or of an unknown shape; unpack the artifact again: wiab apply --only art")),
        }
    }

    /// What the archive says about its image; `None` while there is no release.
    async fn archived(&self, sh: Shell<'_>) -> Result<Option<Archived>, Failure> {
        let Some(path) = self.archive(sh).await? else {
            return Ok(None);
        };
        let show = Cmd::new(["tar", "-xOf", &path, "manifest.json"]).timeout_ms(MANIFEST_MS);
        let output = sh.run(&show).await?;
        if !output.ok() {
            return Err(Failure::clean(format!(
                "{path} has no manifest.json: {}",
                last_line(&output)
            ))
            .code("tool.archive")
            .hint("the archive is damaged; unpack the artifact again: wiab apply --only art"));
        }
        let (name, id) = image_of(&output.stdout).map_err(|why| {
            Failure::clean(format!("manifest.json in {path} {why}")).code("tool.archive").hint(
                "this release is unknown to this version of wiab; use another release, or a newer wiab",
            )
        })?;
        Ok(Some(Archived { path, name, id }))
    }

    fn receipt(archived: &Archived) -> Receipt {
        Receipt::note(archived.name.clone())
            .with("image", &*archived.name)
            .with("id", &*archived.id)
    }
}

/// Name and id of the tool image in a docker archive's manifest.
fn image_of(manifest: &[u8]) -> Result<(String, String), &'static str> {
    let manifest: Value = serde_json::from_slice(manifest).map_err(|_| "is not JSON")?;
    let entries = manifest.as_array().ok_or("is not a list")?;
    let mut found = Vec::new();
    for entry in entries {
        let tags = entry.get("RepoTags").and_then(Value::as_array);
        let tags = tags.into_iter().flatten().filter_map(Value::as_str);
        let config = entry.get("Config").and_then(Value::as_str);
        for tag in tags.filter(|tag| tag.starts_with(REPOSITORY)) {
            found.push((tag, config.unwrap_or_default()));
        }
    }
    let [(tag, config)] = found.as_slice() else {
        return Err("does not name exactly one image of the release's tools");
    };
    // The configuration's file is named by its own digest, which is the image's id.
    let digest = config.rsplit('/').next().unwrap_or_default();
    let digest = digest.strip_suffix(".json").unwrap_or(digest);
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digest {
        return Err("does not name its image's configuration by its digest");
    }
    if !tag
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"./:_-".contains(&byte))
    {
        return Err("has an image name with characters that no image name has");
    }
    Ok((
        (*tag).to_owned(),
        format!("sha256:{}", digest.to_lowercase()),
    ))
}

/// Id of the image that docker knows by this name or id.
async fn id_of(sh: Shell<'_>, name: &str) -> Result<Option<String>, Failure> {
    let cmd = Cmd::new([
        "docker", "image", "inspect", "--format", "{{.Id}}", "--", name,
    ])
    .root();
    let Some(output) = sh.probe(&cmd).await? else {
        return Ok(None);
    };
    if output.ok() {
        return Ok(Some(output.text().trim().to_owned()));
    }
    if output.error_text().to_lowercase().contains("no such image") {
        return Ok(None);
    }
    Err(
        Failure::clean(format!("docker does not answer: {}", last_line(&output)))
            .code("tool.docker")
            .hint("sudo systemctl start docker; systemctl status docker"),
    )
}

fn other(archived: &Archived, found: &str) -> String {
    format!(
        "- {} is {found}\n+ {} is {}",
        archived.name, archived.name, archived.id
    )
}

impl Kind for ToolImage {
    const NAME: &'static str = "tool.image/1";
    const ABOUT: About = About {
        purpose: "The tools of exactly this release: ansible, helm and kubectl run in their container.",
        probe: "Reads name and digest from the archive and asks docker for the image of exactly that name and digest.",
        effect: "Loads the archive into docker; images of other releases are neither used nor removed.",
        undo: "Removes the image if docker did not have it, and gives its name back.",
    };

    fn summary(&self) -> String {
        "load the tool image of the release into docker".to_owned()
    }

    fn undo_summary(&self) -> String {
        "remove the tool image, if docker did not have it".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::SHORT,
            timeout_ms: LOAD_MS + 2 * MANIFEST_MS,
            usual_ms: USUAL_MS,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for ToolImage {
    type Image = Option<Image>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Some(archived) = self.archived(sh).await? else {
            return Ok(Probe::Absent);
        };
        Ok(match id_of(sh, &archived.name).await? {
            None => Probe::Absent,
            Some(id) if id == archived.id => Probe::Satisfied(Self::receipt(&archived)),
            Some(id) => Probe::Drifted {
                diff: other(&archived, &id),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<Image>, Failure> {
        let Some(archived) = self.archived(sh).await? else {
            return Ok(None);
        };
        Ok(Some(Image {
            had: id_of(sh, &archived.id).await?.is_some(),
            named: id_of(sh, &archived.name).await?,
            name: archived.name,
            id: archived.id,
        }))
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<Image>) -> Result<Receipt, Failure> {
        let Some(archived) = self.archived(sh).await? else {
            let tree = known(&self.tree, "tree")?;
            return Err(
                Failure::clean(format!("{tree}/{DIR}/index.txt is not there"))
                    .code("tool.archive")
                    .hint("unpack the artifact again: wiab apply --only art"),
            );
        };
        if id_of(sh, &archived.name).await?.as_ref() == Some(&archived.id) {
            return Ok(Self::receipt(&archived));
        }
        settle_earlier(sh, JOB, Settle::Wait(LOAD_MS)).await?;
        let load = Cmd::new(["docker", "load", "--input", &archived.path])
            .root()
            .timeout_ms(LOAD_MS);
        let output = sh.job(JOB, &load).await?;
        // What docker prints names the images in several ways; what it has afterwards counts.
        match id_of(sh, &archived.name).await? {
            Some(id) if id == archived.id => Ok(Self::receipt(&archived)),
            found => Err(not_loaded(
                &archived,
                &last_line(&output),
                output.code,
                found,
            )),
        }
    }

    async fn undo(&self, sh: Shell<'_>, image: &Option<Image>) -> Result<(), Failure> {
        settle_forward(sh, JOB, Settle::Wait(LOAD_MS)).await?;
        let Some(image) = image else {
            return Ok(());
        };
        if id_of(sh, &image.name).await?.as_ref() == Some(&image.id)
            && image.named.as_ref() != Some(&image.id)
        {
            if let Some(old) = &image.named {
                sh.ok(&docker(&["tag", old, &image.name])).await?;
            } else {
                sh.ok(&docker(&["image", "rm", &image.name]))
                    .await
                    .map_err(in_use)?;
            }
        }
        if !image.had && id_of(sh, &image.id).await?.is_some() {
            sh.ok(&docker(&["image", "rm", &image.id]))
                .await
                .map_err(in_use)?;
        }
        Ok(())
    }
}

fn docker(words: &[&str]) -> Cmd {
    Cmd::new([&["docker"], words].concat()).root()
}

fn in_use(failure: Failure) -> Failure {
    failure.hint("a container may still use the image: sudo docker ps -a; remove that container, then decide `retry-undo`")
}

fn not_loaded(archived: &Archived, said: &str, code: i32, found: Option<String>) -> Failure {
    let Archived { path, name, id } = archived;
    if code != 0 {
        let failure = Failure::dirty(format!("`docker load` of {path} ended with {code}: {said}"))
            .code("tool.load");
        return if said.contains("o space left") {
            failure.hint(
                "free space below /var/lib/docker: sudo docker system df; then wiab apply --resume",
            )
        } else {
            failure
                .retry()
                .hint("systemctl status docker; the archive may be damaged: wiab apply --only art")
        };
    }
    let failure = match found {
        Some(found) => Failure::dirty(format!(
            "docker says that {name} is {found}, its archive says {id}"
        )),
        None => Failure::dirty(format!("docker loaded {path}, but has no image {name}")),
    };
    failure.code("tool.load").hint(
        "docker's containerd image store counts ids in another way: set \"features\": {\"containerd-snapshotter\": false} in /etc/docker/daemon.json, sudo systemctl restart docker, then wiab apply --resume",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_manifest_tells_name_and_id() {
        let ours = format!(
            r#"{{"Config":"{DIGEST}.json","RepoTags":["quay.io/wire/wire-server-deploy:abc"],"Layers":[]}}"#
        );
        let modern = format!(
            r#"{{"Config":"blobs/sha256/{DIGEST}","RepoTags":["quay.io/wire/wire-server-deploy:abc"]}}"#
        );
        let zauth =
            format!(r#"{{"Config":"{DIGEST}.json","RepoTags":["quay.io/wire/zauth:5.23.0"]}}"#);
        let unnamed = format!(r#"{{"Config":"{DIGEST}.json","RepoTags":null}}"#);
        let wanted = (
            "quay.io/wire/wire-server-deploy:abc".to_owned(),
            format!("sha256:{DIGEST}"),
        );
        for good in [
            format!("[{ours}]"),
            format!("[{modern}]"),
            format!("[{zauth},{ours},{unnamed}]"),
        ] {
            assert_eq!(image_of(good.as_bytes()).unwrap(), wanted, "{good}");
        }
        for bad in [
            "{}".to_owned(),
            "[]".to_owned(),
            "not json".to_owned(),
            format!("[{zauth}]"),
            format!("[{unnamed}]"),
            format!("[{ours},{ours}]"),
            ours.replace(DIGEST, "config"),
            format!("[{}]", ours.replace(DIGEST, "config")),
            format!("[{}]", ours.replace(":abc", ":a b")),
        ] {
            assert!(image_of(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
