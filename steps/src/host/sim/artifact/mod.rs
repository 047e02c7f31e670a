//! The stand-in release: what the simulated download server has, small files in the real layout, big ones made of nothing.

mod files;
mod images;
mod preset;
mod stand_in;

pub(crate) use images::archive_name;
pub use stand_in::{StandIn, StandInChart, StandInFile, StandInPart};

use super::cmd::spread;
use super::entity::Data;
use super::files as machine_files;
use super::state::{Draft, Entity};

use serde::{Deserialize, Serialize};

/// How an artifact's file is called, before and after its hash.
const NAME: (&str, &str) = ("wire-server-deploy-static-", ".tgz");
/// First word of the seeds of artifacts and of what is in them.
const SEED: &str = "wire-artifact";
/// The archive of the tool image.
pub(crate) const TOOL_ARCHIVE: &str = "containers-adminhost/container-wire-server-deploy.tgz";
/// The artifact that the seed of the installation's documents names: older than the staging script, without it.
const SEED_HASH: &str = "e5e1919173f6fe2b56034a57e2dc59e8343e8b8e";
/// The nearest one that is younger.
const NEAREST_HASH: &str = "f1f624256bdab0f9f76158c7f45e0618ee641237";

/// What releases look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// 5.23 before staging was thought of: three replicas on one node, a load balancer, no staging script.
    Older,
    /// 5.23.
    V523,
    /// 5.32.
    V532,
}

/// A file inside an archive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    /// Path inside the archive; directories end with `/`.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) data: Data,
}

impl Member {
    pub(crate) fn is_dir(&self) -> bool {
        self.path.ends_with('/')
    }
}

/// A release, as its archives know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    hash: String,
    /// Counts uploads under the same name, from 0.
    edition: u32,
    /// `-x`: the member or image x is missing; `+x`: image x comes in addition.
    edits: Vec<String>,
}

/// What the server has under a hash, where it differs from what is usual; its name is the hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) edition: u32,
    pub(crate) edits: Vec<String>,
}

impl Entity for Published {
    const KIND: &'static str = "published";
}

impl Release {
    /// The release of a hash, as it was uploaded first.
    pub(crate) fn usual(hash: &str) -> Self {
        Self {
            hash: hash.to_owned(),
            edition: 0,
            edits: Vec::new(),
        }
    }

    /// The release that the server has under a hash.
    fn served(draft: &Draft<'_>, hash: &str) -> Self {
        match draft.get::<Published>(hash) {
            None => Self::usual(hash),
            Some(Published { edition, edits }) => Self {
                hash: hash.to_owned(),
                edition,
                edits,
            },
        }
    }

    /// The release that an artifact, or an archive in one, belongs to.
    pub(crate) fn of(data: &Data) -> Option<Self> {
        let Data::Blob { seed, .. } = data else {
            return None;
        };
        Self::parse(seed).map(|(release, _)| release)
    }

    /// The release that is unpacked in a directory of the machine.
    pub(crate) fn unpacked(draft: &Draft<'_>, tree: &str) -> Option<Self> {
        let path = format!("{}/containers-system.tar", tree.trim_end_matches('/'));
        Self::of(&machine_files::at(draft, &path)?.data)
    }

    /// Seed: `wire-artifact HASH EDITION EDITS INNER`.
    fn parse(seed: &str) -> Option<(Self, &str)> {
        let mut words = seed.splitn(5, ' ');
        let (first, hash) = (words.next()?, words.next()?);
        let (edition, edits) = (words.next()?.parse().ok()?, words.next()?);
        let edits = edits.split(',').filter(|edit| !edit.is_empty());
        let release = Self {
            hash: hash.to_owned(),
            edition,
            edits: edits.map(str::to_owned).collect(),
        };
        (first == SEED).then_some((release, words.next()?))
    }

    fn blob(&self, inner: &str, mib: u64) -> Data {
        let (hash, edition, edits) = (&self.hash, self.edition, self.edits.join(","));
        let seed = format!("{SEED} {hash} {edition} {edits} {inner}");
        let len = (mib << 20) + spread(&seed, 1 << 20);
        Data::Blob {
            seed,
            len,
            whole: len,
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        match self.hash.as_str() {
            SEED_HASH => Shape::Older,
            NEAREST_HASH => Shape::V523,
            _ => Shape::V532,
        }
    }

    /// Version of the chart wire-server and its images.
    pub(crate) fn version(&self) -> &'static str {
        match self.shape() {
            Shape::Older | Shape::V523 => "5.23.0",
            Shape::V532 => "5.32.0",
        }
    }

    fn lacks(&self, what: &str) -> bool {
        self.edits
            .iter()
            .any(|edit| edit.strip_prefix('-') == Some(what))
    }

    fn adds(&self) -> impl Iterator<Item = &str> {
        self.edits.iter().filter_map(|edit| edit.strip_prefix('+'))
    }

    /// The whole artifact.
    fn artifact(&self) -> Data {
        self.blob("", 11_400)
    }

    /// Name and id of the tool image.
    pub(crate) fn tool_image(&self) -> (String, String) {
        let mark = blake3::hash(format!("tools {}", self.hash).as_bytes()).to_hex();
        let tag: String = mark.chars().take(32).collect();
        (
            format!("quay.io/wire/wire-server-deploy:{tag}"),
            format!("sha256:{mark}"),
        )
    }

    /// `manifest.json` of an archive of one image.
    fn manifest(name: &str, id: &str) -> String {
        let config = id.trim_start_matches("sha256:");
        let text = serde_json::json!([
            {"Config": format!("{config}.json"), "RepoTags": [name], "Layers": ["layer.tar"]}
        ]);
        text.to_string()
    }
}

/// The id of an image that is not the tool image.
pub(crate) fn image_id(name: &str) -> String {
    format!("sha256:{}", blake3::hash(name.as_bytes()).to_hex())
}

/// What the server has at an address: `None` where no artifact is meant, an error where there is none.
pub(crate) fn published(draft: &Draft<'_>, url: &str) -> Option<Result<Data, ()>> {
    let name = url.rsplit('/').next()?;
    let hash = name.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?;
    let digits = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || hash.bytes().all(|byte| byte == b'0') {
        return Some(Err(()));
    }
    Some(Ok(Release::served(draft, hash).artifact()))
}

/// The members of an archive, in its order; `None` for what is no archive of a release.
pub(crate) fn archive(data: &Data) -> Option<Vec<Member>> {
    let Data::Blob { seed, .. } = data else {
        return None;
    };
    let (release, inner) = Release::parse(seed)?;
    let images = |dir: &str, images: Vec<String>| release.image_archives(dir, &images);
    Some(match inner {
        "" => release.members(),
        "debs-jammy.tar" => Release::debs(),
        "binaries.tar" => release.binaries(),
        "containers-system.tar" => {
            images("containers-system", release.seeded(release.system_images()))
        }
        "containers-helm.tar" => images("containers-helm", release.seeded(release.helm_images())),
        TOOL_ARCHIVE => {
            let (name, id) = release.tool_image();
            Release::image_members(&name, &id)
        }
        other => {
            let name = release.image_of_archive(other)?;
            Release::image_members(&name, &image_id(&name))
        }
    })
}

#[cfg(test)]
mod tests;
