//! Settings of the release: which artifact, where from, and what is put up with.

use serde::{Deserialize, Serialize};

use crate::check::{Problems, plain_path, word};

/// The oldest release whose staging values fit this installation, and the default.
pub const ARTIFACT_HASH: &str = "5b01f250e128db689715558bad6b5e532cf4a7a0";

/// Where artifacts are published, before and after the hash.
const ARTIFACT_URL: (&str, &str) = (
    "https://s3-eu-west-1.amazonaws.com/public.wire.com/artifacts/wire-server-deploy-static-",
    ".tgz",
);

/// `[artifact]`: the release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArtifactSettings {
    /// Hash of a published release.
    pub hash: Option<String>,
    /// Instead of a hash: an absolute path on the host, or an `https://` URL.
    pub source: Option<String>,
    /// SHA-256; without it, that of the first use is kept.
    pub sha256: Option<String>,
    /// Whether a release whose package repository is signed with an expired key is put up with.
    pub accept_expired_key: bool,
    /// Whether a rollback leaves the finished download.
    pub keep_download: bool,
}

impl ArtifactSettings {
    /// URL or path of the artifact.
    pub fn source(&self) -> String {
        if let Some(source) = &self.source {
            return source.clone();
        }
        let hash = self.hash.as_deref().unwrap_or(ARTIFACT_HASH);
        format!("{}{hash}{}", ARTIFACT_URL.0, ARTIFACT_URL.1)
    }

    /// How the operator calls the release: its hash, or the name of its file.
    pub fn name(&self) -> String {
        match &self.source {
            Some(source) => source.rsplit('/').next().unwrap_or_default().to_owned(),
            None => self.hash.as_deref().unwrap_or(ARTIFACT_HASH).to_owned(),
        }
    }
}

impl ArtifactSettings {
    /// Adds what is wrong.
    pub(crate) fn check(&self, problems: &mut Problems) {
        let artifact = self;
        if let Some(hash) = &artifact.hash {
            let good = hash.len() == 40
                && hash
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            problems.check(
                good,
                "artifact.hash",
                hash,
                "use the 40 hexadecimal digits of a release",
            );
        }
        if let Some(source) = &artifact.source {
            let file = source.rsplit('/').next().unwrap_or_default();
            let url = source.starts_with("https://") && !source.chars().any(char::is_whitespace);
            problems.check(
                (url || plain_path(source)) && word(file, 120, "._-+"),
                "artifact.source",
                source,
                "use an absolute path on the host or an https:// URL, with a file name of letters, digits and `. _ - +`",
            );
            if artifact.hash.is_some() {
                problems.add(
                    "artifact.hash",
                    "the source says already which release is used",
                    "leave `hash` or `source` out",
                );
            }
        }
        if let Some(digest) = &artifact.sha256 {
            let good = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            problems.check(
                good,
                "artifact.sha256",
                digest,
                "use the 64 hexadecimal digits that sha256sum prints",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;

    #[test]
    fn a_hash_or_a_source_names_the_release() {
        let mut settings = Settings::rehearsal();
        assert!(
            settings
                .artifact
                .source()
                .ends_with("static-5b01f250e128db689715558bad6b5e532cf4a7a0.tgz")
        );
        settings.artifact.source = Some("https://mirror.example/wire.tgz".to_owned());
        assert_eq!(settings.artifact.name(), "wire.tgz");
        assert!(settings.problems().is_empty());
        settings.artifact.hash = Some("E5E1".to_owned());
        settings.artifact.source = Some("http://mirror.example/a b.tgz".to_owned());
        settings.artifact.sha256 = Some("x".to_owned());
        let keys: Vec<String> = settings
            .problems()
            .into_iter()
            .map(|problem| problem.key)
            .collect();
        assert_eq!(
            keys,
            [
                "artifact.hash",
                "artifact.source",
                "artifact.hash",
                "artifact.sha256"
            ]
        );
    }
}
