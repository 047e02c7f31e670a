//! Files of this machine; root's through sudo when wiab is not root.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use wiab_engine::ports::Cancel;

use super::super::{Cmd, HostError, Meta, OUTPUT_BYTES_MAX, Output, Stat, whole_file};
use super::LocalHost;
use super::exec::PIPE_GRACE_MS;

/// Longest file operation through sudo, in milliseconds.
const FILE_MS: u64 = 60_000;

fn failure(path: &str, why: impl std::fmt::Display) -> HostError {
    HostError::File {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

/// The temporary file of an atomic write: always of the same name, so that an interrupted write leaves at most one.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.wiab-new"))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Name of a user or group number, from the system's file; the number itself if it has none.
fn name_of(file: &str, id: u32) -> String {
    let all = fs_err::read_to_string(file).unwrap_or_default();
    let found = all.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| id.to_string())
}

impl LocalHost {
    fn needs_sudo(&self, root: bool) -> bool {
        root && !self.is_root
    }

    async fn tool(
        &self,
        words: &[&str],
        root: bool,
        stdin: Option<&[u8]>,
    ) -> Result<Output, HostError> {
        let mut cmd = Cmd::new(words.iter().copied()).timeout_ms(FILE_MS);
        cmd.root = root;
        cmd.stdin = stdin.map(<[u8]>::to_vec);
        self.execute(&cmd, &Cancel::default(), &|_| {}, PIPE_GRACE_MS)
            .await
    }

    /// Runs a tool that must succeed.
    async fn must(
        &self,
        path: &str,
        words: &[&str],
        root: bool,
        stdin: Option<&[u8]>,
    ) -> Result<(), HostError> {
        let output = self.tool(words, root, stdin).await?;
        if output.ok() {
            Ok(())
        } else {
            Err(failure(path, output.error_text()))
        }
    }

    pub(super) async fn read_file(
        &self,
        path: &str,
        root: bool,
    ) -> Result<Option<Vec<u8>>, HostError> {
        if self.needs_sudo(root) {
            // One byte more than allowed shows that the file is too long.
            let most = (OUTPUT_BYTES_MAX + 1).to_string();
            let output = self
                .tool(&["head", "-c", &most, "--", path], true, None)
                .await?;
            return match output.ok() {
                true => whole_file(path, output.stdout).map(Some),
                false if output.error_text().ends_with("No such file or directory") => Ok(None),
                false => Err(failure(path, output.error_text())),
            };
        }
        let file = match fs_err::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failure(path, error)),
        };
        let mut bytes = Vec::new();
        let most = OUTPUT_BYTES_MAX as u64 + 1;
        file.take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| failure(path, error))?;
        whole_file(path, bytes).map(Some)
    }

    pub(super) async fn write_file(
        &self,
        path: &str,
        bytes: &[u8],
        meta: &Meta,
    ) -> Result<(), HostError> {
        let target = Path::new(path);
        let Some(parent) = target.parent() else {
            return Err(failure(path, "not a file's path"));
        };
        let temp = temporary(target);
        if self.needs_sudo(meta.root) {
            return self.write_as_root(path, parent, &temp, bytes, meta).await;
        }
        fs_err::create_dir_all(parent).map_err(|error| failure(path, error))?;
        let mut file = create(&temp).map_err(|error| failure(path, error))?;
        // The owner comes before the mode: changing owners clears set-id bits.
        if let Some(owner) = &meta.owner {
            self.must(path, &["chown", "--", owner, &text(&temp)], false, None)
                .await?;
        }
        finish(&mut file, &temp, target, bytes, meta.mode).map_err(|error| failure(path, error))
    }

    async fn write_as_root(
        &self,
        path: &str,
        parent: &Path,
        temp: &Path,
        bytes: &[u8],
        meta: &Meta,
    ) -> Result<(), HostError> {
        let (parent, temp) = (text(parent), text(temp));
        let mode = format!("{:o}", meta.mode);
        self.must(
            path,
            &["mkdir", "-p", "-m", "0755", "--", &parent],
            true,
            None,
        )
        .await?;
        self.must(path, &["rm", "-f", "--", &temp], true, None)
            .await?;
        // Mode and owner stand before the first byte does.
        let (user, group) = match &meta.owner {
            Some(owner) => owner.split_once(':').unwrap_or((owner, owner)),
            None => ("root", "root"),
        };
        self.must(
            path,
            &[
                "install",
                "-m",
                &mode,
                "-o",
                user,
                "-g",
                group,
                "--",
                "/dev/null",
                &temp,
            ],
            true,
            None,
        )
        .await?;
        let of = format!("of={temp}");
        self.must(
            path,
            &[
                "dd",
                &of,
                "conv=notrunc,fsync",
                "oflag=nofollow",
                "status=none",
            ],
            true,
            Some(bytes),
        )
        .await?;
        self.must(path, &["mv", "-fT", "--", &temp, path], true, None)
            .await?;
        self.must(path, &["sync", "--", &parent], true, None).await
    }

    pub(super) async fn stat_file(&self, path: &str) -> Result<Option<Stat>, HostError> {
        let metadata = match fs_err::metadata(path) {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied && !self.is_root => {
                return self.stat_as_root(path).await;
            }
            Err(error) => return Err(failure(path, error)),
        };
        let (user, group) = (
            name_of("/etc/passwd", metadata.uid()),
            name_of("/etc/group", metadata.gid()),
        );
        Ok(Some(Stat {
            dir: metadata.is_dir(),
            bytes: metadata.len(),
            mode: metadata.mode() & 0o7777,
            owner: format!("{user}:{group}"),
        }))
    }

    /// What stands in a directory that only root may enter.
    async fn stat_as_root(&self, path: &str) -> Result<Option<Stat>, HostError> {
        let words = ["stat", "-L", "-c", "%F|%s|%a|%U:%G", "--", path];
        let output = self.tool(&words, true, None).await?;
        if !output.ok() {
            return if output.error_text().ends_with("No such file or directory") {
                Ok(None)
            } else {
                Err(failure(path, output.error_text()))
            };
        }
        let line = output.text();
        let fields: Vec<&str> = line.trim().split('|').collect();
        let [kind, bytes, mode, owner] = fields.as_slice() else {
            return Err(failure(path, "stat gave no answer"));
        };
        Ok(Some(Stat {
            dir: *kind == "directory",
            bytes: bytes.parse().unwrap_or_default(),
            mode: u32::from_str_radix(mode, 8).unwrap_or_default(),
            owner: (*owner).to_owned(),
        }))
    }

    pub(super) async fn remove_file(&self, path: &str, root: bool) -> Result<bool, HostError> {
        let temp = temporary(Path::new(path));
        if self.needs_sudo(root) {
            self.must(path, &["rm", "-f", "--", &text(&temp)], true, None)
                .await?;
            let output = self.tool(&["rm", "-d", "--", path], true, None).await?;
            return match output.ok() {
                true => Ok(true),
                false if output.error_text().ends_with("No such file or directory") => Ok(false),
                false => Err(failure(path, output.error_text())),
            };
        }
        remove(&temp).map_err(|error| failure(path, error))?;
        remove(Path::new(path)).map_err(|error| failure(path, error))
    }
}

/// A new, private file; a leftover or a link of that name is removed first.
fn create(temp: &Path) -> std::io::Result<fs_err::File> {
    remove(temp)?;
    fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temp)
}

fn finish(
    file: &mut fs_err::File,
    temp: &Path,
    target: &Path,
    bytes: &[u8],
    mode: u32,
) -> std::io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs_err::rename(temp, target)?;
    match target.parent() {
        Some(parent) => fs_err::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file, link or empty directory; `false` if nothing was there.
fn remove(path: &Path) -> std::io::Result<bool> {
    let removed = match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs_err::remove_dir(path),
        Ok(_) => fs_err::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
