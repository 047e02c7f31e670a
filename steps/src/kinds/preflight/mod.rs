//! Checks before an installation: each looks at one side of the machine, changes nothing, and tells all that it found.

pub mod apt_lock;
pub mod artifact_url;
pub mod clock;
pub mod dns;
pub(super) mod dns_ask;
pub mod firewall;
pub mod inputs;
mod ipv4;
pub mod net;
pub mod os;
mod report;
pub mod resources;
mod sockets;

pub use report::{Finding, Report, Severity};

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::{Act, bound, only_looked};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Pace};

/// A kind that only looks. It is satisfied while nothing that it finds stops an installation.
pub trait Check: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static {
    /// Name and schema version of the kind.
    const NAME: &'static str;
    /// The catalogue's entry.
    const ABOUT: About;

    /// What it looks at, for the plan screen.
    fn summary(&self) -> String;

    /// Longest look, in milliseconds.
    fn timeout_ms(&self) -> u64 {
        60_000
    }

    /// Usual look, in milliseconds.
    fn usual_ms(&self) -> u64 {
        500
    }

    /// Looks. An error means that it could not, not that something is wrong.
    fn look(&self, sh: Shell<'_>) -> impl Future<Output = Result<Report, Failure>> + Send;
}

impl<C: Check> Kind for C {
    const NAME: &'static str = <C as Check>::NAME;
    const ABOUT: About = <C as Check>::ABOUT;

    fn summary(&self) -> String {
        Check::summary(self)
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::NEVER,
            timeout_ms: self.timeout_ms(),
            usual_ms: self.usual_ms(),
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl<C: Check> Act for C {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        Ok(self.look(sh).await?.probe())
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        let report = self.look(sh).await.map_err(only_looked)?;
        match report.failure() {
            None => Ok(report.receipt()),
            Some(failure) => Err(failure),
        }
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}

/// The nearest directory on the way to `path` that exists.
async fn existing(sh: Shell<'_>, path: &str) -> Result<String, Failure> {
    let mut at = path.trim_end_matches('/');
    loop {
        if at.is_empty() {
            return Ok("/".to_owned());
        }
        if sh.stat(at).await?.is_some() {
            return Ok(at.to_owned());
        }
        at = at.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}
