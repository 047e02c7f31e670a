//! Machines with an artifact or an unpacked release, and download servers that have something unusual.

use super::super::entity::File;
use super::super::files;
use super::super::state::Machine;
use super::{Published, Release};

impl Machine {
    /// The same with another upload under an artifact's hash. `edits`: `-x` leaves member or image x out, `+x` adds image x
    /// to those of cert-manager.
    #[must_use]
    pub fn with_published(mut self, hash: &str, edition: u32, edits: &[&str]) -> Self {
        let published = Published {
            edition,
            edits: edits.iter().map(|edit| (*edit).to_owned()).collect(),
        };
        self.put(hash, &published);
        self
    }

    /// The same with the artifact of a hash in a file, of which the first `bytes` are there (`None`: all).
    #[must_use]
    pub fn with_artifact(mut self, path: &str, hash: &str, bytes: Option<u64>) -> Self {
        self.edit(|draft| {
            // Root may make every directory.
            let _ = files::make_dirs(draft, files::parent(path), true, 0o755);
            let mut file = File::new(b"", 0o644, &files::actor(draft, false));
            file.data = Release::served(draft, hash).artifact();
            if let super::Data::Blob { len, .. } = &mut file.data {
                *len = bytes.unwrap_or(*len).min(*len);
            }
            draft.put(path, &file);
        });
        self
    }

    /// The same with the release of a hash unpacked in a directory.
    #[must_use]
    pub fn with_release(mut self, dir: &str, hash: &str) -> Self {
        self.edit(|draft| {
            // Root may make every directory.
            let _ = files::make_dirs(draft, dir, true, 0o755);
            let owner = files::actor(draft, false);
            for member in Release::served(draft, hash).members() {
                let path = format!("{dir}/{}", member.path.trim_end_matches('/'));
                let mut file = if member.is_dir() {
                    File::dir(member.mode, &owner)
                } else {
                    File::new(b"", member.mode, &owner)
                };
                file.data = member.data;
                draft.put(&path, &file);
            }
        });
        self
    }
}
