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
    /// Digest of everything above, so that an edit by hand is noticed.
    #[serde(default)]
    digest: String,
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
            digest: String::new(),
        }
    }

    /// Digest of the document without the digest itself. Structures are serialised in the order of their fields and
    /// maps in the order of their keys, so that the file's layout does not matter.
    fn seal(&self) -> Result<String, serde_json::Error> {
        let content = (
            (&self.schema, &self.wiab, &self.installation, &self.host),
            (&self.plan_digest, &self.survey_digest),
            (&self.survey, &self.plan),
        );
        let mut hasher = blake3::Hasher::new();
        serde_json::to_writer(&mut hasher, &content)?;
        Ok(hex(hasher.finalize().as_bytes()))
    }

    /// Writes it; an existing file is replaced.
    pub(crate) fn write(mut self, path: &Path) -> Result<(), Problem> {
        let inexpressible = |error: serde_json::Error| {
            Problem::from_error(Code::Bug, "the plan cannot be expressed", &error)
        };
        self.digest = self.seal().map_err(inexpressible)?;
        let text = serde_json::to_string_pretty(&self).map_err(inexpressible)?;
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
        saved
            .fits()
            .map_err(|why| Problem::new(Code::BadPlan, format!("{shown} {why}")).hint(again))?;
        saved.plan.check().map_err(|error| {
            Problem::from_error(Code::BadPlan, "the saved plan is wrong", &error).hint(again)
        })?;
        Ok(saved)
    }

    /// Why this wiab must not do it.
    fn fits(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "has the format {}, this wiab reads {SCHEMA}",
                self.schema
            ));
        }
        let intact = self.seal().is_ok_and(|seal| seal == self.digest)
            && self.plan_digest == hex(&self.plan.digest())
            && self.survey_digest == hex(&self.survey.digest());
        if !intact {
            return Err("was edited after it was made".to_owned());
        }
        let own = env!("CARGO_PKG_VERSION");
        if self.wiab != own {
            return Err(format!(
                "was made by wiab {}, this is wiab {own}",
                self.wiab
            ));
        }
        Ok(())
    }

    /// Refuses the plan of another installation or host than the one that is configured.
    pub(crate) fn belongs(&self, installation: &str, host: &str) -> Result<(), Problem> {
        let pairs = [
            ("installation", self.installation.as_str(), installation),
            ("host", self.host.as_str(), host),
        ];
        for (what, made_for, configured) in pairs {
            if made_for != configured {
                return Err(Problem::new(
                    Code::BadPlan,
                    format!("the saved plan is for the {what} `{made_for}`, not `{configured}`"),
                )
                .hint("make one for this one: wiab plan --out FILE"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::plan::tests::survey;
    use crate::screen::status::tests::plan;

    fn saved() -> SavedPlan {
        SavedPlan::new("wiab", "sim", plan(&["net.a"]), survey())
    }

    #[test]
    fn another_version_and_any_edit_are_refused() {
        let mut own = saved();
        own.digest = own.seal().unwrap();
        assert_eq!(own.fits(), Ok(()));
        let edits: [fn(&mut SavedPlan); 6] = [
            |saved| saved.wiab = "9".into(),
            |saved| saved.installation = "other".into(),
            |saved| saved.host = "local".into(),
            |saved| saved.plan.steps[0].summary = "nothing".into(),
            |saved| saved.plan.steps[0].timeout_ms += 1,
            |saved| saved.plan.steps[0].undo = wiab_engine::outcome::UndoClass::NothingToUndo,
        ];
        for edit in edits {
            let mut edited = own.clone();
            edit(&mut edited);
            assert_eq!(edited.fits(), Err("was edited after it was made".into()));
        }
        let mut older = saved();
        older.wiab = "0.0.1".into();
        older.digest = older.seal().unwrap();
        let want = format!(
            "was made by wiab 0.0.1, this is wiab {}",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(older.fits(), Err(want));
    }

    #[test]
    fn a_plan_of_another_installation_or_host_is_refused() {
        let saved = saved();
        assert_eq!(saved.belongs("wiab", "sim"), Ok(()));
        assert!(saved.belongs("other", "sim").is_err());
        assert!(saved.belongs("wiab", "local").is_err());
    }
}
