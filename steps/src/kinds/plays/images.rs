//! The images of a release on a Kubernetes node: what the asset host lists, what containerd has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::super::at_once::all;
use super::footprint::must;
use super::look::{Found, Told, ask, must_ask, question};
use super::{Role, Site, SiteHost};
use crate::host::shell::Shell;

/// Most names in one command.
const BATCH: usize = 50;

/// A directory of the asset host with one archive per image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSet {
    /// What Kubernetes itself consists of.
    System,
    /// What the charts need.
    Helm,
}

impl ImageSet {
    /// Its directory.
    pub(crate) fn dir(self) -> &'static str {
        match self {
            Self::System => "containers-system",
            Self::Helm => "containers-helm",
        }
    }
}

/// The address of the set on the asset host.
pub(crate) fn url(site: &Site, set: ImageSet) -> Result<String, Failure> {
    let host = site.of(Role::Assethost).next();
    let host = host.ok_or_else(|| Failure::clean("the installation has no asset host"))?;
    Ok(format!("http://{}:8080/{}", host.ip, set.dir()))
}

/// What a node shall have and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Images {
    /// Names of the archives; `None` when the asset host does not list them.
    pub(crate) listed: Option<Vec<String>>,
    /// References that containerd has; `None` when it does not answer.
    pub(crate) held: Option<BTreeSet<String>>,
}

/// What an archive is called whose image containerd knows by this reference: with and without the default registry.
fn archive_names(reference: &str) -> Vec<String> {
    let name = |reference: &str| format!("{}.tar", reference.replace(['/', ':'], "_"));
    let mut names = vec![name(reference)];
    if let Some(rest) = reference.strip_prefix("docker.io/") {
        names.push(name(rest));
        names.extend(rest.strip_prefix("library/").map(name));
    }
    names
}

impl Images {
    /// Archives whose image is missing; all while containerd does not answer.
    pub(crate) fn missing(&self) -> Vec<&str> {
        let held = self.held.iter().flatten();
        let names: BTreeSet<String> = held
            .flat_map(|reference| archive_names(reference))
            .collect();
        let listed = self.listed.iter().flatten();
        listed
            .filter(|archive| !names.contains(*archive))
            .map(String::as_str)
            .collect()
    }

    /// References that belong to the set.
    pub(crate) fn of_set(&self, listed: &[String]) -> Vec<&str> {
        let held = self.held.iter().flatten();
        held.filter(|reference| {
            archive_names(reference)
                .iter()
                .any(|name| listed.contains(name))
        })
        .map(String::as_str)
        .collect()
    }

    fn of(told: &Told) -> Self {
        let lines = |name: &str| {
            let answer = told.answer(name);
            answer.ok.then(|| {
                let lines = answer.text.lines().map(str::trim);
                lines
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
        };
        Self {
            listed: lines("index"),
            held: lines("held").map(|held| held.into_iter().collect()),
        }
    }
}

const LIST: [&str; 6] = ["ctr", "-n", "k8s.io", "images", "ls", "-q"];

/// Looks at one node.
pub(crate) async fn look_at(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    set: ImageSet,
) -> Result<(Told, Images), Failure> {
    let index = format!("{}/index.txt", url(site, set)?);
    let questions = [
        question("index", &["curl", "-fsS", "--max-time", "20", &index]),
        question("held", &LIST),
    ];
    let told = ask(sh, site, host, &questions).await?;
    let images = Images::of(&told);
    Ok((told, images))
}

/// Looks at all nodes and both sets.
pub(super) async fn look(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    let nodes = site.of(Role::Kubenode);
    let looks: Vec<_> = nodes
        .flat_map(|host| [ImageSet::System, ImageSet::Helm].map(|set| (host, set)))
        .collect();
    let branches = looks
        .iter()
        .map(|(host, set)| look_at(sh, site, host, *set));
    for ((host, set), seen) in looks.iter().zip(all(sh, branches.collect()).await) {
        let (told, images) = seen?;
        if !found.silent(host, &told) {
            note(host, *set, &images, &mut found);
        }
    }
    Ok(found)
}

/// Notes what one node has of a set.
pub(crate) fn note(host: &SiteHost, set: ImageSet, images: &Images, found: &mut Found) {
    let (name, dir) = (&host.name, set.dir());
    let Some(listed) = &images.listed else {
        found
            .missing
            .push(format!("the asset host does not list {dir} to {name}"));
        return;
    };
    let missing = images.missing();
    let have = listed.len() - missing.len();
    if have > 0 {
        found.there.push(format!(
            "{have} of {} images of {dir} on {name}",
            listed.len()
        ));
    }
    if let Some(first) = missing.first() {
        found.missing.push(format!(
            "{} images of {dir} on {name}, such as {first}",
            missing.len()
        ));
    }
    found
        .notes
        .push(format!("{} images of {dir} on {name}", listed.len()));
}

/// References that a node has; a failure when containerd does not answer.
pub(crate) async fn held(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
) -> Result<BTreeSet<String>, Failure> {
    let told = must_ask(sh, site, host, &[question("held", &LIST)]).await?;
    Ok(Images::of(&told).held.unwrap_or_default())
}

/// Removes references from a node.
pub(crate) async fn remove(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    references: &[&str],
) -> Result<(), Failure> {
    for batch in references.chunks(BATCH) {
        let argv = [&["ctr", "-n", "k8s.io", "images", "rm"], batch].concat();
        must(sh, site, host, &argv).await?;
    }
    Ok(())
}

/// Removes the images of both sets that were not there before.
pub(super) async fn unseed(
    sh: Shell<'_>,
    site: &Site,
    before: &BTreeMap<String, BTreeSet<String>>,
) -> Result<(), Failure> {
    for host in site.of(Role::Kubenode) {
        let none = BTreeSet::new();
        let had = before.get(&host.name).unwrap_or(&none);
        for set in [ImageSet::System, ImageSet::Helm] {
            let (_, now) = look_at(sh, site, host, set).await?;
            let listed = now.listed.clone().unwrap_or_default();
            let ours: Vec<&str> = now
                .of_set(&listed)
                .into_iter()
                .filter(|reference| !had.contains(*reference))
                .collect();
            remove(sh, site, host, &ours).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_found_by_the_names_of_their_images() {
        let images = Images {
            listed: Some(
                [
                    "quay.io_wire_brig_5.23.0.tar",
                    "bitnami_x_1.tar",
                    "redis_7.tar",
                    "gone_1.tar",
                ]
                .map(str::to_owned)
                .to_vec(),
            ),
            held: Some(
                [
                    "quay.io/wire/brig:5.23.0",
                    "docker.io/bitnami/x:1",
                    "docker.io/library/redis:7",
                    "sha256:abc",
                ]
                .map(str::to_owned)
                .into(),
            ),
        };
        assert_eq!(images.missing(), ["gone_1.tar"]);
        let listed = images.listed.clone().unwrap();
        assert_eq!(images.of_set(&listed).len(), 3);
    }

    #[test]
    fn a_silent_engine_has_nothing() {
        let images = Images {
            listed: Some(vec!["a_1.tar".to_owned()]),
            held: None,
        };
        assert_eq!(images.missing(), ["a_1.tar"]);
    }
}
