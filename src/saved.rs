//! A saved plan: what `plan --out` writes and `apply FILE` does, or refuses.

use std::path::Path;

use serde::{Deserialize, Serialize};
use wiab_engine::plan::Plan;
use wiab_engine::survey::Survey;
use wiab_engine::text::hex;

use crate::exit::Code;
use crate::problem::Problem;

/// Version of the file.
const SCHEMA: &str = "wiab-plan/1";
/// Largest accepted file, in bytes.
const BYTES_MAX: u64 = 256 << 20;

/// The file's content. Holds no secrets: plans name them by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedPlan {
    /// Version of the file.
    schema: String,
    /// Version of wiab that wrote it.
    wiab: String,
    /// The installation's name.
    pub(crate) installation: String,
    /// The host.
    pub(crate) host: String,
    /// Digest of the plan.
    plan_digest: String,
    /// Digest of what the host looked like.
    survey_digest: String,
    /// What the host looked like.
    pub(crate) survey: Survey,
    /// The plan.
    pub(crate) plan: Plan,
}

impl SavedPlan {
    /// A plan to save.
    pub(crate) fn new(installation: &str, host: &str, plan: Plan, survey: Survey) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            wiab: env!("CARGO_PKG_VERSION").to_owned(),
            installation: installation.to_owned(),
            host: host.to_owned(),
            plan_digest: hex(&plan.digest()),
            survey_digest: hex(&survey.digest()),
            survey,
            plan,
        }
    }

    /// Writes it; an existing file is replaced.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Problem> {
        let text = serde_json::to_string_pretty(self).map_err(|error| {
            Problem::from_error(Code::Bug, "the plan cannot be expressed", &error)
        })?;
        fs_err::write(path, text)
            .map_err(|error| Problem::from_error(Code::Failure, "the plan cannot be saved", &error))
    }

    /// Reads and checks it.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let shown = path.display();
        let again = "make it again: wiab plan --out FILE";
        let unreadable = |error: std::io::Error| {
            Problem::new(Code::BadPlan, format!("{shown} cannot be read: {error}")).hint(again)
        };
        let meta = std::fs::metadata(path).map_err(unreadable)?;
        if meta.len() > BYTES_MAX {
            return Err(Problem::new(
                Code::BadPlan,
                format!("{shown} is too large for a saved plan"),
            )
            .hint(again));
        }
        let file = fs_err::read_to_string(path).map_err(unreadable)?;
        let saved: Self = serde_json::from_str(&file).map_err(|error| {
            Problem::new(
                Code::BadPlan,
                format!("{shown} is not a saved plan: {error}"),
            )
            .hint(again)
        })?;
        if saved.schema != SCHEMA {
            return Err(Problem::new(
                Code::BadPlan,
                format!(
                    "{shown} has the format {}, this wiab reads {SCHEMA}",
                    saved.schema
                ),
            )
            .hint(again));
        }
        let intact = saved.plan_digest == hex(&saved.plan.digest())
            && saved.survey_digest == hex(&saved.survey.digest());
        if !intact {
            return Err(Problem::new(
                Code::BadPlan,
                format!("{shown} was changed after it was saved"),
            )
            .hint(again));
        }
        saved.plan.check().map_err(|error| {
            Problem::from_error(Code::BadPlan, "the saved plan is wrong", &error).hint(again)
        })?;
        Ok(saved)
    }
}
