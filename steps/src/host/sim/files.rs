//! Files of the simulated machine: paths, permissions, and the host's file operations.

use super::SimHost;
use super::cmd::Reply;
use super::entity::{Facts, File};
use super::perform::{FOR_EVER_MS, Op};
use super::state::Draft;
use super::surroundings::virtual_file;
use crate::host::{HostError, Meta, OUTPUT_BYTES_MAX, Stat};

/// The system's words.
pub(super) const DENIED: &str = "Permission denied";
pub(super) const NO_ENTRY: &str = "No such file or directory";

/// The name of the user that wiab connects as.
pub(super) fn user_of(draft: &Draft<'_>) -> String {
    draft
        .get::<Facts>("")
        .map_or_else(|| "demo".to_owned(), |facts| facts.user)
}

/// Absolute path without `.`, `..` and doubled slashes; relative ones start in the user's home.
pub(super) fn absolute(draft: &Draft<'_>, path: &str, root: bool) -> String {
    let home = if root {
        "/root".to_owned()
    } else {
        format!("/home/{}", user_of(draft))
    };
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{home}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory that holds `path`.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

/// The entry at an absolute path; the root directory always exists.
pub(super) fn at(draft: &Draft<'_>, path: &str) -> Option<File> {
    if path == "/" {
        return Some(File::dir(0o755, "root:root"));
    }
    draft
        .get::<File>(path)
        .or_else(|| virtual_file(draft, path))
}

fn may(draft: &Draft<'_>, file: &File, root: bool, bit: u32) -> bool {
    let mine = file.owner.split(':').next() == Some(user_of(draft).as_str());
    root || file.mode & bit != 0 || (mine && file.mode & (bit << 6) != 0)
}

/// Whether the file may be read.
pub(super) fn readable(draft: &Draft<'_>, file: &File, root: bool) -> bool {
    may(draft, file, root, 0o4)
}

/// Why nothing can be made, replaced or removed in the directory of `path`; `None` if it can.
pub(super) fn refuses(draft: &Draft<'_>, path: &str, root: bool) -> Option<&'static str> {
    match at(draft, parent(path)) {
        None => Some(NO_ENTRY),
        Some(dir) if !dir.dir => Some("Not a directory"),
        Some(dir) if !may(draft, &dir, root, 0o2) => Some(DENIED),
        Some(_) => None,
    }
}

/// `user:group` of whoever acts.
pub(super) fn actor(draft: &Draft<'_>, root: bool) -> String {
    if root {
        return "root:root".to_owned();
    }
    let user = user_of(draft);
    format!("{user}:{user}")
}

/// Makes missing directories on the way to `path`, itself included.
pub(super) fn make_dirs(
    draft: &mut Draft<'_>,
    path: &str,
    root: bool,
    mode: u32,
) -> Result<(), &'static str> {
    match at(draft, path) {
        Some(file) if file.dir => return Ok(()),
        Some(_) => return Err("Not a directory"),
        None => {}
    }
    make_dirs(draft, parent(path), root, 0o755)?;
    if let Some(why) = refuses(draft, path, root) {
        return Err(why);
    }
    let owner = actor(draft, root);
    draft.put(path, &File::dir(mode, &owner));
    Ok(())
}

/// Names of everything inside a directory, at any depth.
pub(super) fn inside(draft: &Draft<'_>, dir: &str) -> Vec<String> {
    draft.names::<File>(&format!("{}/", dir.trim_end_matches('/')))
}

/// Where an interrupted `write` leaves its content: beside the file, always of the same name.
pub(super) fn temporary(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    format!("{}/.{name}.wiab-new", parent(path).trim_end_matches('/'))
}

fn failure(path: &str, why: &str) -> HostError {
    HostError::File {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

impl SimHost {
    async fn file_op(
        &self,
        verb: &str,
        path: &str,
        handler: &(dyn Fn(&mut Draft<'_>) -> Result<Reply, HostError> + Send + Sync),
    ) -> Result<Reply, HostError> {
        self.perform(&Op {
            what: &|| format!("{verb} {path}"),
            handler,
            path: Some(path),
            timeout_ms: FOR_EVER_MS,
            cancel: None,
            line: None,
        })
        .await
    }

    pub(super) async fn read_file(
        &self,
        path: &str,
        root: bool,
    ) -> Result<Option<Vec<u8>>, HostError> {
        let handler = |draft: &mut Draft<'_>| {
            let Some(file) = at(draft, &absolute(draft, path, root)) else {
                return Ok(Reply::fail(1, ""));
            };
            if file.dir {
                return Err(failure(path, "Is a directory"));
            }
            if !readable(draft, &file, root) {
                return Err(failure(path, DENIED));
            }
            match file.data.bytes(OUTPUT_BYTES_MAX as u64) {
                Some(bytes) => Ok(Reply::bytes(bytes)),
                None => Err(failure(path, "the file is too large to be read whole")),
            }
        };
        let reply = self.file_op("file-read", path, &handler).await?;
        Ok((reply.code == 0).then_some(reply.stdout))
    }

    pub(super) async fn write_file(
        &self,
        path: &str,
        bytes: &[u8],
        meta: &Meta,
    ) -> Result<(), HostError> {
        let handler = |draft: &mut Draft<'_>| {
            let full = absolute(draft, path, meta.root);
            make_dirs(draft, parent(&full), meta.root, 0o755).map_err(|why| failure(path, why))?;
            if let Some(why) = refuses(draft, &full, meta.root) {
                return Err(failure(path, why));
            }
            if at(draft, &full).is_some_and(|file| file.dir) {
                return Err(failure(path, "Is a directory"));
            }
            let owner = match &meta.owner {
                Some(owner) => owner.clone(),
                None => actor(draft, meta.root),
            };
            let file = File::new(bytes, meta.mode, &owner);
            let partial = File::new(
                bytes.get(..bytes.len() / 2).unwrap_or_default(),
                meta.mode,
                &owner,
            );
            let beside = temporary(&full);
            draft.half_only(|draft| draft.put(&beside, &partial));
            draft.del::<File>(&beside);
            draft.put(&full, &file);
            Ok(Reply::ok("").took(1))
        };
        self.file_op("file-write", path, &handler).await?;
        Ok(())
    }

    pub(super) async fn stat_file(&self, path: &str) -> Result<Option<Stat>, HostError> {
        let found = std::sync::Mutex::new(None);
        let handler = |draft: &mut Draft<'_>| {
            let stat = at(draft, &absolute(draft, path, false)).map(|file| Stat {
                dir: file.dir,
                bytes: if file.dir { 4096 } else { file.data.len() },
                mode: file.mode,
                owner: file.owner,
            });
            *found
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = stat;
            Ok(Reply::ok(""))
        };
        self.file_op("file-stat", path, &handler).await?;
        Ok(found
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) async fn remove_file(&self, path: &str, root: bool) -> Result<bool, HostError> {
        let handler = |draft: &mut Draft<'_>| {
            let full = absolute(draft, path, root);
            let there = at(draft, &full);
            let beside = temporary(&full);
            if there.is_none() && at(draft, &beside).is_none() {
                return Ok(Reply::fail(1, ""));
            }
            if let Some(why) = refuses(draft, &full, root) {
                return Err(failure(path, why));
            }
            if there.as_ref().is_some_and(|file| file.dir) && !inside(draft, &full).is_empty() {
                return Err(failure(path, "Directory not empty"));
            }
            draft.del::<File>(&beside);
            draft.del::<File>(&full);
            Ok(if there.is_some() {
                Reply::ok("")
            } else {
                Reply::fail(1, "")
            })
        };
        let reply = self.file_op("file-remove", path, &handler).await?;
        Ok(reply.code == 0)
    }
}
