//! Archives of images and of programs: everything that machines fetch has its real form and is as small as can be.

use std::path::Path;

use wiab_steps::host::sim::StandIn;

use super::put;
use crate::cache::Scratch;
use crate::error::Result;
use crate::tools;

/// The archives of images that the asset host serves.
const SERVED: [&str; 2] = ["containers-system", "containers-helm"];
const HOST: &str = "containers-adminhost";

/// Writes all of them into the release's tree.
pub(super) fn all(scratch: &Scratch, release: &StandIn, tree: &Path) -> Result<()> {
    let work = scratch.dir().join("archives");
    let layer = work.join("layer");
    fs_err::create_dir_all(layer.join("empty"))?;
    let empty = work.join("empty.tar");
    tools::tar(&layer, &empty, &["empty"])?;
    for dir in SERVED {
        let mut index = String::new();
        for image in release.images(dir) {
            let name = StandIn::archive_name(&image);
            fs_err::create_dir_all(work.join(dir))?;
            one(&work, &empty, &image, &work.join(dir).join(&name))?;
            index = index + &name + "\n";
        }
        put(&work, &format!("{dir}/index.txt"), &index)?;
        tools::tar(&work, &tree.join(format!("{dir}.tar")), &[dir])?;
    }
    for image in release.images(HOST) {
        let to = tree.join(HOST).join(StandIn::archive_name(&image));
        one(&work, &empty, &image, &to)?;
    }
    for name in release.binaries() {
        put(&work, &format!("binaries/{name}"), &format!("{name}\n"))?;
    }
    tools::tar(&work, &tree.join("binaries.tar"), &["binaries"])
}

/// The archive of one image with an empty layer.
fn one(work: &Path, empty: &Path, image: &str, to: &Path) -> Result<()> {
    let dir = work.join("one");
    fs_err::create_dir_all(&dir)?;
    fs_err::copy(empty, dir.join("layer.tar"))?;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"image": image}},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", tools::sha256(empty)?)]},
    });
    let file = tools::write_image(&dir, &config.to_string(), image)?;
    tools::tar(&dir, to, &[&file, "layer.tar", "manifest.json"])?;
    crate::cache::remove_tree(&dir)
}
