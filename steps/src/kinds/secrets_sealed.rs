//! `secrets.sealed/1`: the installation's secrets, made once and kept in one file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;
use zeroize::Zeroizing;

use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Meta};
use crate::kind::{About, Kind, Out};
use crate::secrets::{
    Cluster, Form, Found, GenerateError, LiveError, Name, SECRET_MODE, SealedSet, extract, generate,
};

/// The sealed set of an installation. What the installation already uses is adopted; what exists is never made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsSealed {
    /// Path of the sealed set: `<deploy>/.wiab/secrets.toml`. Its directory must exist.
    pub path: String,
    /// Files of an earlier installation whose values are adopted. They must agree with each other.
    pub adopt: Vec<AdoptFile>,
    /// The cluster, whose values win over those of files.
    #[serde(default)]
    pub cluster: Option<Cluster>,
}

/// A file that may hold values in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptFile {
    /// Where; nothing needs to stand there.
    pub path: String,
    /// What it is.
    pub form: Form,
}

/// Mode of the file, if it existed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    mode: Option<u32>,
}

/// Reads the sealed set at `path`. A damaged one is a question for the operator, never a reason to make another.
pub(super) async fn read_set(sh: Shell<'_>, path: &str) -> Result<Option<SealedSet>, Failure> {
    let Some(bytes) = sh.read(path, false).await?.map(Zeroizing::new) else {
        return Ok(None);
    };
    SealedSet::parse(path, &bytes).map(Some).map_err(|error| {
        Failure::clean(format!(
            "the sealed secrets cannot be used, and are left as they are: {error}"
        ))
        .ask()
        .hint(format!(
            "restore {path} from your copy; only if nothing uses its secrets yet: mv {path} {path}.damaged; \
             then decide `retry`"
        ))
    })
}

/// A failure unless the directory of `path` exists: making it is another step's work.
pub(super) async fn require_directory(sh: Shell<'_>, path: &str) -> Result<(), Failure> {
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    match sh.stat(dir).await? {
        Some(stat) if stat.dir => Ok(()),
        Some(_) | None => Err(Failure::clean(format!("the directory {dir} is missing"))),
    }
}

/// Gives a file its permission bits.
pub(super) async fn chmod(sh: Shell<'_>, path: &str, mode: u32) -> Result<(), Failure> {
    let mode = format!("{mode:04o}");
    sh.ok(&Cmd::new(["chmod", &mode, "--", path]))
        .await
        .map(drop)
}

fn receipt(path: &str, set: &SealedSet) -> Receipt {
    let adopted = set.adopted();
    let made = Name::ALL.len().saturating_sub(adopted);
    let note = format!("{made} generated, {adopted} adopted, {}", set.created());
    Receipt::note(note).with(SecretsSealed::PATH.name(), path)
}

fn not_made(error: &GenerateError) -> Failure {
    let failure = Failure::clean(format!("the secrets cannot be made: {error}"));
    match error {
        GenerateError::Entropy(_) | GenerateError::SelfCheck { .. } => failure,
        GenerateError::Conflict { .. }
        | GenerateError::Unusable { .. }
        | GenerateError::PublicOnly { .. } => failure.ask().hint(
            "find out which value the installation uses, make the files agree (or move the wrong one away), \
             then decide `retry`",
        ),
    }
}

impl SecretsSealed {
    /// Output: the path.
    pub const PATH: Out<Self> = Out::new("path");

    async fn file(&self, sh: Shell<'_>, file: &AdoptFile, to: &mut Found) -> Result<(), Failure> {
        let Some(bytes) = sh.read(&file.path, false).await?.map(Zeroizing::new) else {
            return Ok(());
        };
        extract(file.form, &file.path, &bytes, to).map_err(|error| {
            Failure::clean(format!("the secrets in use cannot be read: {error}"))
                .ask()
                .hint(format!(
                    "correct {0}, or move it away if it is not in use, then decide `retry`",
                    file.path
                ))
        })
    }

    async fn in_use(&self, sh: Shell<'_>) -> Result<Found, Failure> {
        let mut files = Found::default();
        for file in &self.adopt {
            self.file(sh, file, &mut files).await?;
        }
        match &self.cluster {
            Some(cluster) => {
                let live = cluster.found(sh).await.map_err(LiveError::into_failure)?;
                Ok(live.over(files))
            }
            None => Ok(files),
        }
    }

    async fn make(&self, sh: Shell<'_>) -> Result<SealedSet, Failure> {
        require_directory(sh, &self.path).await?;
        let found = self.in_use(sh).await?;
        let set = {
            // A date, not an instant: runs of one day that were interrupted differently end alike.
            let created = crate::time::date(sh.cx.clock.wall_ms());
            let mut entropy = sh.host.entropy(&self.path);
            generate(&mut *entropy, found, &created).map_err(|error| not_made(&error))?
        };
        let text = set.encode();
        sh.write(&self.path, text.as_bytes(), &Meta::user(SECRET_MODE))
            .await?;
        let written = sh.read(&self.path, false).await?.map(Zeroizing::new);
        if written.is_none_or(|written| written.as_slice() != text.as_bytes()) {
            return Err(Failure::dirty(format!(
                "{} does not hold what was written to it",
                self.path
            )));
        }
        Ok(set)
    }

    /// Fails if something still uses a value that would be lost with the set.
    async fn check_unused(&self, sh: Shell<'_>, set: &SealedSet) -> Result<(), Failure> {
        let mut founds = Vec::new();
        for file in &self.adopt {
            let mut found = Found::default();
            self.file(sh, file, &mut found).await?;
            founds.push(found);
        }
        if let Some(cluster) = &self.cluster {
            match cluster.found(sh).await {
                Ok(found) => founds.push(found),
                // Gone together with the machines; the operator has confirmed the loss.
                Err(LiveError::Silent(_)) => {}
                Err(error) => return Err(error.into_failure()),
            }
        }
        match founds.iter().find_map(|found| found.use_of_generated(set)) {
            None => Ok(()),
            Some((name, from)) => Err(Failure::clean(format!(
                "`{name}` is in use: {from}; {} is kept",
                self.path
            ))
            .ask()
            .hint(format!(
                "take away what uses it, then decide `retry-undo`; or keep {} and decide `accept`",
                self.path
            ))),
        }
    }
}

impl Kind for SecretsSealed {
    const NAME: &'static str = "secrets.sealed/1";
    const ABOUT: About = About {
        purpose: "All secrets are made once, kept in one private file, and never made again.",
        probe: "Reads the file and checks every value and the file's mode.",
        effect: "Adopts the values in use (cluster first, then files), generates the others, checks all, and writes \
                 them with mode 0600; a damaged file is never overwritten.",
        undo: "Removes the file if this run made it and nothing uses its values.",
    };

    fn summary(&self) -> String {
        format!("seal {} secrets in {}", Name::ALL.len(), self.path)
    }

    fn undo_summary(&self) -> String {
        "remove the secrets made, if nothing uses them".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Destructive {
            what: "the only copy of the installation's secrets".to_owned(),
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for SecretsSealed {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Some(stat) = sh.stat(&self.path).await? else {
            return Ok(Probe::Absent);
        };
        match read_set(sh, &self.path).await {
            Ok(None) => Ok(Probe::Absent),
            Err(failure) => Ok(Probe::Partial { what: failure.why }),
            Ok(Some(_)) if stat.mode != SECRET_MODE => Ok(Probe::Drifted {
                diff: format!("- mode {:o}\n+ mode {SECRET_MODE:o}", stat.mode),
            }),
            Ok(Some(set)) => Ok(Probe::Satisfied(receipt(&self.path, &set))),
        }
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let mode = sh.stat(&self.path).await?.map(|stat| stat.mode);
        Ok(Image { mode })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let set = match read_set(sh, &self.path).await? {
            None => self.make(sh).await?,
            Some(set) => {
                let stat = sh.stat(&self.path).await?;
                if stat.is_some_and(|stat| stat.mode != SECRET_MODE) {
                    chmod(sh, &self.path, SECRET_MODE).await?;
                }
                set
            }
        };
        Ok(receipt(&self.path, &set))
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        let Some(stat) = sh.stat(&self.path).await? else {
            // A write that was cut short may have left its temporary file.
            return sh.remove(&self.path, false).await.map(drop);
        };
        match image.mode {
            Some(mode) if stat.mode != mode => chmod(sh, &self.path, mode).await,
            Some(_) => Ok(()),
            None => {
                if let Some(set) = read_set(sh, &self.path).await? {
                    self.check_unused(sh, &set).await?;
                }
                sh.remove(&self.path, false).await.map(drop)
            }
        }
    }
}
