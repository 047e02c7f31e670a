//! The programs around the cluster, from Debian's packages: etcd, kubectl, the test authority, and the ACME client.

use std::path::PathBuf;

use super::build::unpack;
use crate::apt;
use crate::cache::{Cache, Scratch};
use crate::error::Result;

const PACKAGES: [&str; 4] = ["etcd-server", "kubernetes-client", "lego", "pebble"];
/// Raised when the steps below change.
const VERSION: u32 = 1;

fn recipe() -> String {
    format!("{VERSION}\n{PACKAGES:?}")
}

/// The directory of their programs.
pub(super) fn bin(cache: &Cache) -> Result<PathBuf> {
    Ok(cache.built("kube-tools", &recipe())?.join("usr/bin"))
}

/// Fetches them unless the cache has them.
pub(super) fn ensure(cache: &Cache) -> Result<PathBuf> {
    cache.ensure("kube-tools", &recipe(), build)
}

fn build(scratch: &Scratch) -> Result<()> {
    let archive = apt::archive(scratch.dir())?.of_release_only();
    let packages = scratch.dir().join("packages");
    apt::download(scratch.dir(), &archive, &PACKAGES, &packages)?;
    unpack(&packages, &scratch.out())
}
