//! Questions about disk images, answered by `qemu-img`.

use serde::Deserialize;
use wiab_engine::outcome::Failure;

use crate::host::Cmd;
use crate::host::shell::Shell;

/// What `qemu-img info` says about an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Info {
    /// `qcow2`, `raw`, …
    pub(super) format: String,
    /// Size that the guest sees, in bytes.
    pub(super) virtual_size: u64,
    /// The image below, as recorded.
    #[serde(default)]
    pub(super) backing_filename: Option<String>,
    /// The image below, as an absolute path.
    #[serde(default)]
    pub(super) full_backing_filename: Option<String>,
}

impl Info {
    /// Path of the image below.
    pub(super) fn backing(&self) -> Option<&str> {
        self.full_backing_filename
            .as_deref()
            .or(self.backing_filename.as_deref())
    }
}

/// Describes an image, even one in use; an error when it cannot be read as one.
pub(super) async fn info(sh: Shell<'_>, path: &str) -> Result<Info, Failure> {
    let cmd = Cmd::new(["qemu-img", "info", "-U", "--output=json", path]).root();
    let output = sh.ok(&cmd).await?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::dirty(format!("qemu-img info of {path} cannot be read: {error}")))
}

/// Whether something stands at a path.
pub(super) async fn exists(sh: Shell<'_>, path: &str) -> Result<bool, Failure> {
    Ok(sh.stat(path).await?.is_some())
}

/// Removes files of root that may not be there.
pub(super) async fn remove_all(sh: Shell<'_>, paths: &[&str]) -> Result<(), Failure> {
    for path in paths {
        sh.remove(path, true).await?;
    }
    Ok(())
}

/// Moves a finished file to its name without replacing anything; `false` when the name was taken meanwhile.
pub(super) async fn move_new(sh: Shell<'_>, from: &str, to: &str) -> Result<bool, Failure> {
    sh.run(&Cmd::new(["mv", "-n", "--", from, to]).root())
        .await?;
    Ok(!exists(sh, from).await? && exists(sh, to).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_qemu_img_is_read() {
        let text = r#"{"virtual-size": 107374182400, "filename": "/p/a.qcow2", "format": "qcow2", "dirty-flag": false,
            "full-backing-filename": "/p/base.qcow2", "backing-filename": "base.qcow2"}"#;
        let info: Info = serde_json::from_str(text).unwrap();
        assert_eq!(info.backing(), Some("/p/base.qcow2"));
        assert_eq!(info.virtual_size, 100 << 30);
    }
}
