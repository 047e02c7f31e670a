//! `postgresql.password/1`: the database's role gets the password of the sealed set, during a rotation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;
use zeroize::Zeroizing;

use super::plays::{Site, SiteHost, primary};
use super::secrets_sealed::read_set;
use super::{Act, bound, known};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Pace};
use crate::secrets::{Name, SealedSet};

/// Role and database of Wire's services.
const ROLE: &str = "wire-server";

/// Logs in as they do, over the network, with the password from standard input: it is in no argument and no file.
const LOGIN: &str = "IFS= read -r PGPASSWORD && export PGPASSWORD && exec psql -X -w -h \"$1\" -U wire-server -d wire-server -Atc 'select 1'";

/// What a rejected password says.
const REJECTED: &str = "password authentication failed";

/// Keeps the statement out of the server's log and of its statistics before the password is said.
const QUIET: &str = "SET log_statement = 'none';\nSET log_min_duration_statement = -1;\nSET log_min_error_statement = 'panic';\nSET pg_stat_statements.track_utility = off;\n";

/// The password of PostgreSQL's role `wire-server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresqlPassword {
    /// The machines.
    pub site: Site,
    /// Path of the sealed set.
    pub sealed: Input<String>,
    /// Path of the sealed set before the rotation.
    pub before: Input<String>,
}

/// Whether the role had the password from before the rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    restore: bool,
}

impl PostgresqlPassword {
    async fn set(&self, sh: Shell<'_>, path: &Input<String>) -> Result<SealedSet, Failure> {
        let path = known(path, "sealed")?;
        read_set(sh, path)
            .await?
            .ok_or_else(|| Failure::clean(format!("{path} is missing: no password to hand over")))
    }

    /// Whether the role is let in with the password of a set.
    async fn accepted(
        &self,
        sh: Shell<'_>,
        primary: &SiteHost,
        set: &SealedSet,
    ) -> Result<bool, Failure> {
        let password = Zeroizing::new(format!("{}\n", set.get(Name::PostgresqlWire)));
        let words = ["sh", "-c", LOGIN, "sh", &primary.ip];
        let cmd = self.site.login.cmd(&primary.ip, &words);
        let output = sh.run(&cmd.stdin(password.as_bytes())).await?;
        if output.ok() {
            return Ok(true);
        }
        let said = output.error_text();
        if said.contains(REJECTED) {
            return Ok(false);
        }
        let last = said.lines().next_back().unwrap_or("it gave no reason");
        Err(Failure::dirty(format!(
            "PostgreSQL on {} cannot be asked as role {ROLE}: {last}",
            primary.name
        ))
        .retry()
        .hint("wiab plan --only data.verify   tells whether the database is whole"))
    }

    async fn alter(
        &self,
        sh: Shell<'_>,
        primary: &SiteHost,
        set: &SealedSet,
    ) -> Result<(), Failure> {
        let password = Zeroizing::new(set.get(Name::PostgresqlWire).replace('\'', "''"));
        let sql = Zeroizing::new(format!(
            "{QUIET}ALTER ROLE \"{ROLE}\" PASSWORD '{}';\n",
            password.as_str()
        ));
        let words = [
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            // Without it an error would show the statement.
            "-v",
            "VERBOSITY=terse",
            "-d",
            "postgres",
            "-f",
            "-",
        ];
        let cmd = self.site.on(primary, &words).stdin(sql.as_bytes());
        sh.ok(&cmd).await.map(drop)
    }

    fn receipt() -> Receipt {
        Receipt::note(format!("role {ROLE} has the password of the sealed set"))
    }
}

impl Kind for PostgresqlPassword {
    const NAME: &'static str = "postgresql.password/1";
    const ABOUT: About = About {
        purpose: "A rotated password becomes that of the database, right before the cluster's secret and the charts follow.",
        probe: "Logs in to the primary with the password of the sealed set, given on standard input.",
        effect: "Finds the primary, makes sure that the role has the password from before the rotation, and sets the new one, through standard input and unlogged.",
        undo: "Sets the password from before the rotation again.",
    };

    fn summary(&self) -> String {
        format!("give PostgreSQL's role {ROLE} its new password")
    }

    fn undo_summary(&self) -> String {
        "set the former password again".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::SHORT,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for PostgresqlPassword {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Ok(set) = self.set(sh, &self.sealed).await else {
            return Ok(Probe::Absent);
        };
        let Ok(primary) = primary(sh, &self.site).await else {
            return Ok(Probe::Absent);
        };
        Ok(match self.accepted(sh, primary, &set).await {
            Ok(true) => Probe::Satisfied(Self::receipt()),
            Ok(false) | Err(_) => Probe::Absent,
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let primary = primary(sh, &self.site).await?;
        let (new, old) = (
            self.set(sh, &self.sealed).await?,
            self.set(sh, &self.before).await?,
        );
        let done = self.accepted(sh, primary, &new).await?;
        Ok(Image {
            restore: !done && self.accepted(sh, primary, &old).await?,
        })
    }

    async fn apply(&self, sh: Shell<'_>, image: &Image) -> Result<Receipt, Failure> {
        let primary = primary(sh, &self.site).await?;
        let new = self.set(sh, &self.sealed).await?;
        // Also after a crash: whether the password was set is asked of the database, not remembered.
        if self.accepted(sh, primary, &new).await? {
            return Ok(Self::receipt());
        }
        if !image.restore {
            let before = known(&self.before, "before")?;
            return Err(Failure::clean(format!(
                "PostgreSQL's role {ROLE} has neither the password of the sealed set nor the one from before the rotation"
            ))
            .ask()
            .hint(format!(
                "on {}, `sudo -u postgres psql` and `\\password {ROLE}`: set the one that stands in {before}; then take the run back and begin a new rotation",
                primary.name
            ))
            .code("postgresql.password"));
        }
        self.alter(sh, primary, &new).await?;
        if self.accepted(sh, primary, &new).await? {
            return Ok(Self::receipt());
        }
        Err(Failure::dirty(format!(
            "PostgreSQL took the new password of role {ROLE} but does not let it in with it"
        ))
        .hint(format!(
            "look at pg_hba.conf on {}, then wiab apply --resume",
            primary.name
        ))
        .code("postgresql.password"))
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        if !image.restore {
            return Ok(());
        }
        let primary = primary(sh, &self.site).await?;
        let old = self.set(sh, &self.before).await?;
        if self.accepted(sh, primary, &old).await? {
            return Ok(());
        }
        self.alter(sh, primary, &old).await
    }
}
